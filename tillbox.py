"""The ``tillbox`` command: a dispatcher that loads only the one command that was called.

Box and cloud each register their commands as entry points, so this module imports neither; a box starts cold without
loading the cloud, and ``tillbox --help`` loads nothing at all. That is also why the one-line summaries stand here.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import click

ENTRY_POINT_GROUP = "tillbox.commands"

SUMMARIES = {
    "terminal": "Run, inspect and export the box on the counter.",
    "scan": "Send pictures, a video or a webcam through reader and checks, and print each step.",
    "keys": "Make the root, the role keys and the fleet CA.",
    "cloud": "Run the cloud's services and look after its database.",
    "demo": "Play a day with and without network on this machine, then serve all screens.",
}
"""What ``tillbox --help`` says of each command."""

EXTRAS_BY_PACKAGE = {"edge": "edge", "cloud": "cloud", "demo": "demo,edge,cloud"}
"""Which extras of our distribution bring what a package of ours imports."""

_OURS = {"edge", "cloud", "hardware", "sync", "demo", "tillbox"}


class Registration(Protocol):
    """What is used of an ``importlib.metadata.EntryPoint``."""

    @property
    def module(self) -> str: ...

    def load(self) -> Any: ...


def registered_commands() -> Mapping[str, Registration]:
    """Return what is registered as a command, by name, without loading any of it."""
    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}


class MissingExtraError(click.ClickException):
    """A command was called whose libraries are not installed."""


class LazyGroup(click.Group):
    """A group whose commands are registered elsewhere, found by name and loaded when called."""

    def __init__(
        self, *args: Any, find: Callable[[], Mapping[str, Registration]] = registered_commands, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._find = find
        self._called: Registration | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._find())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._called = self._find().get(cmd_name)
        if self._called is None:
            return None
        command = self._called.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"what is registered as {cmd_name} is no command: {command!r}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        # Around the whole run, because commands import their heavier libraries where they need them.
        try:
            return super().invoke(ctx)
        except ImportError as error:
            # A missing module of our own is a bug and must look like one.
            if self._called is None or _package(error.name) in _OURS:
                raise
            extras = EXTRAS_BY_PACKAGE.get(_package(self._called.module), "")
            raise MissingExtraError(
                f"A library this command needs is not installed: {error}. "
                f'Install it with: pip install "tillbox[{extras}]"'
            ) from error


@click.group(cls=LazyGroup)
@click.version_option(package_name="tillbox")
def main() -> None:
    """Take payments from QR codes, with or without network, and keep the money right."""


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


if __name__ == "__main__":
    main(prog_name="tillbox")
