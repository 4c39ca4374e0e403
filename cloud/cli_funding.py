"""The command of ``tillbox cloud`` that plays the top-up provider, for trials without one."""

from typing import TYPE_CHECKING

import click

from cloud.cli_shared import current_ms, settings_of_now, told_to_a_person

if TYPE_CHECKING:
    from cloud.settings import CloudSettings
    from cloud.wallets.provider import ProviderEvent
    from cloud.wallets.sandbox import Sandbox
    from cloud.wallets.top_up_store import TopUp

_TIMEOUT_S = 10


@click.command()
@click.argument("top_up_id")
@click.argument("outcome", type=click.Choice(("succeeded", "declined")))
@click.option(
    "--times", type=click.IntRange(1, 100), default=1, show_default=True, help="Send the same message so often."
)
@click.option("--url", help="Where the cloud serves; default: TILLBOX_HTTP_HOST and TILLBOX_HTTP_PORT of this host.")
def sandbox_webhook(top_up_id: str, outcome: str, times: int, url: str | None) -> None:
    """Decide a pending top-up as the sandbox provider does: by a signed message."""
    import secrets

    from cloud.foundation import make_provider
    from cloud.wallets.funding import ProviderWord
    from cloud.wallets.provider import ProviderAnswer, ProviderEvent
    from cloud.wallets.sandbox import Sandbox

    with told_to_a_person():
        settings = settings_of_now()
        provider = make_provider(settings)
        if not isinstance(provider, Sandbox):
            raise click.ClickException("TILLBOX_TOP_UP_PROVIDER is not sandbox here; nothing was sent.")
        top_up = _find(settings, top_up_id)
        answer = ProviderAnswer(ProviderWord(outcome), f"sb-{top_up_id}")
        event = ProviderEvent(f"evt-{secrets.token_hex(8)}", top_up_id, top_up.amount, answer)
        to = f"{url or f'http://{settings.http_host}:{settings.http_port}'}/api/v1/providers/sandbox/webhook"
        for _ in range(times):
            click.echo(_send(provider, event, to))


def _find(settings: "CloudSettings", top_up_id: str) -> "TopUp":
    from cloud.db import make_engine, run_read
    from cloud.wallets.top_up_store import find_top_up

    engine = make_engine(settings.effective_database_url, pool_size=1)
    try:
        found = run_read(engine, lambda session: find_top_up(session, top_up_id))
    finally:
        engine.dispose()
    if found is None:
        raise click.ClickException("There is no such top-up.")
    return found


def _send(provider: "Sandbox", event: "ProviderEvent", to: str) -> str:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if not to.startswith(("http://", "https://")):
        raise click.ClickException("The cloud is served by http:// or https:// only.")
    headers, body = provider.write_webhook(event, time_s=current_ms() // 1000)
    try:
        with urlopen(Request(to, data=body, headers=headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked.
            said: bytes = answer.read()
    except HTTPError as error:
        with error:
            said = error.read()
    except URLError as error:
        raise click.ClickException(f"The cloud does not answer at {to}: {error.reason}") from error
    return said.decode("utf-8", errors="replace")
