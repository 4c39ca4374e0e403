"""The commands ``tillbox terminal …`` and ``tillbox scan``.

Everything but click is imported by the command that needs it, so that help and typing errors answer at once.
"""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge.settings import TerminalSettings

_File = click.Path(path_type=Path, dir_okay=False)
_Folder = click.Path(path_type=Path, file_okay=False)


@click.group()
@click.option("--data", "data_folder", type=_Folder, help="The box's data folder; default /var/lib/tillbox.")
@click.option("--root-key", "root_key_file", type=_File, help="The pinned root; default /etc/tillbox/root.pub.")
@click.pass_context
def terminal(context: click.Context, data_folder: Path | None, root_key_file: Path | None) -> None:
    """Run and look after the box on the counter.

    Every option can also be set in the environment, as TILLBOX_TERMINAL_… .
    """
    context.obj = {"data_folder": data_folder, "root_key_file": root_key_file}


@terminal.command()
@click.option("--camera", help="Camera source, such as v4l2:/dev/video0, picamera2 or counter:FILE.")
@click.option("--port", "api_port", type=click.IntRange(0, 65535), help="Port of the local API; default 8700.")
@click.option("--broker-host", help="Overrides the broker that enrolment named.")
@click.option("--broker-port", type=click.IntRange(1, 65535), help="Overrides the broker's port.")
@click.pass_context
def run(context: click.Context, /, **options: object) -> None:
    """Take payments until stopped."""
    from edge.main import run_box

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with _told_to_a_person():
        settings = _settings(context, **options)
        asyncio.run(run_box(settings))


@terminal.command()
@click.option("--cloud", "cloud_url", required=True, help="The cloud's address, https://…")
@click.option("--code", required=True, help="The enrolment code: ten characters, good for 24 hours.")
@click.option("--hardware-serial", help="The board's serial number; by default the board is asked.")
@click.pass_context
def enrol(context: click.Context, cloud_url: str, code: str, hardware_serial: str | None) -> None:
    """Enrol this box with a one-time code. If the answer got lost, run the same again."""
    from edge.main import enrol_box

    with _told_to_a_person():
        identity = asyncio.run(
            enrol_box(_settings(context), cloud_url=cloud_url, code=code, hardware_serial=hardware_serial)
        )
    click.echo(f"This box is terminal {identity.terminal.terminal_id.hex()} of {identity.terminal.name}.")


@terminal.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def status(context: click.Context, *, as_json: bool) -> None:
    """Show what the running box says of itself."""
    from edge.till import Till

    with _told_to_a_person():
        view = Till(_settings(context)).state()
    if as_json:
        click.echo(json.dumps(view))
        return
    box = view["box"]
    click.echo(f"{view['merchant']}: {view['state']}, {box['link']}, {box['level']}")
    click.echo(f"waiting to be sent: {box['queue']['count']} sales, {box['queue']['amount']}")
    hours = box["room"]["seconds"] // 3600
    click.echo(f"may still approve offline: {box['room']['amount']}, {box['room']['count']} sales, {hours} h")
    for finding in box["findings"]:
        click.echo(f"  {finding['level']:<8} {finding['check']:<8} {finding['words']} {finding['to_do']}".rstrip())


class _Amount(click.ParamType[int]):
    """An amount of money with two decimals, as it is typed at a till; never a float."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return minor units."""
        found = re.fullmatch(r"([0-9]{1,8})(?:\.([0-9]{2}))?", str(value))
        if found is None or not int(found[1] + (found[2] or "00")):
            self.fail(f"{value} is not an amount such as 12.30.", param, ctx)
        return int(found[1] + (found[2] or "00"))


@terminal.command()
@click.option("--amount", "amount_minor", type=_Amount(), required=True, help="What to ask for, such as 12.30.")
@click.pass_context
def request(context: click.Context, amount_minor: int) -> None:
    """Sell by two-way code at the running box: show its payment request here and wait for the answer.

    The phone scans the QR code, and its answer is held to the box's camera. Ctrl-C takes the sale back. Exit 1 where
    it was not approved.
    """
    import segno

    from edge.till import Till

    with _told_to_a_person():
        till = Till(_settings(context))
        sale = till.start_sale(amount_minor, show_request=True)
        segno.make_qr(sale["request"], error="m").terminal(compact=True)
        click.echo(f"{sale['amount']}: let the phone scan this, then hold its answer to the camera.")
        try:
            ended = till.until_ended(sale["payment_id"], on_state=lambda state: click.echo(f"  {state}"))
        except KeyboardInterrupt:
            till.cancel(sale["payment_id"])
            raise
    if ended["state"] != "approved":
        click.echo(f"{ended['state']}: {ended.get('happened', 'Nothing was paid.')} {ended.get('to_do', '')}".rstrip())
        sys.exit(1)
    click.echo(f"approved: {ended['amount']}, record {ended['record_number']}")


@terminal.command("self-test")
@click.pass_context
def self_test(context: click.Context) -> None:
    """Check keys, trust, outbox, clock and decoders of a stopped box; exit 1 where something fails."""
    from edge.main import examine_box

    with _told_to_a_person():
        findings = asyncio.run(examine_box(_settings(context)))
    for finding in findings:
        click.echo(f"{finding.level.name.lower():<8} {finding.check:<8} {finding.words} {finding.to_do}".rstrip())
    if any(finding.level.name == "FAILING" for finding in findings):
        sys.exit(1)


@terminal.command()
@click.argument("file", type=_File)
@click.pass_context
def export(context: click.Context, file: Path) -> None:
    """Write a consistent copy of the outbox of a stopped box to FILE, which must be new."""
    from edge.main import export_box

    with _told_to_a_person():
        asyncio.run(export_box(_settings(context), file))
    click.echo(f"Wrote {file}. It holds signed sales; keep it as safe as the box itself.")


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--data", "data_folder", type=_Folder, help="Verify with the trust of the box whose data lies here.")
@click.option("--root-key", "root_key_file", type=_File, help="The pinned root of that box.")
@click.option("--amount-minor", type=click.IntRange(1), default=100, show_default=True, help="Decide this amount.")
@click.option("--decode-only", is_flag=True, help="Only look for texts.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each picture or text.")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=30.0, show_default=True, help="How long to watch a webcam."
)
def scan(
    paths: tuple[str, ...],
    data_folder: Path | None,
    root_key_file: Path | None,
    *,
    amount_minor: int,
    decode_only: bool,
    as_json: bool,
    seconds: float,
) -> None:
    """Send pictures, folders, a video file or a webcam (/dev/video0) through reader and chain.

    Prints each intermediate product: text, code, signatures, decision. Nothing is stored and nothing is paid.
    """
    from edge.scan import scan_paths

    with _told_to_a_person():
        settings = None
        if data_folder is not None:
            settings = _load_settings({"data_folder": data_folder, "root_key_file": root_key_file})
        for line in scan_paths(
            paths, settings=settings, amount_minor=amount_minor, decode_only=decode_only, watch_s=seconds
        ):
            click.echo(line.to_json() if as_json else line.to_text())


@contextmanager
def _told_to_a_person() -> Iterator[None]:
    """Turn what can go wrong on purpose into one message and exit status 1; bugs keep their traceback."""
    from edge.devices import HARDWARE_ERRORS
    from edge.errors import EdgeError

    try:
        yield
    except EdgeError as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    except HARDWARE_ERRORS as error:
        raise click.ClickException(str(error)) from error


def _settings(context: click.Context, **options: object) -> "TerminalSettings":
    return _load_settings({**context.obj, **options})


def _load_settings(given: dict[str, object]) -> "TerminalSettings":
    from edge.settings import load_settings

    return load_settings(**given)
