"""What the commands of ``tillbox keys`` and ``tillbox cloud`` share: settings, words for a person, whole files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud.settings import CloudSettings


def settings_of_now() -> "CloudSettings":
    from cloud.settings import CloudSettings

    return CloudSettings()


def current_ms() -> int:
    from sync.clock import SystemClock

    return SystemClock().now_ms()


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that nobody ever reads half of it."""
    half = file.with_name(f".{file.name}.new")
    half.write_bytes(content)
    half.replace(file)


@contextmanager
def told_to_a_person() -> Iterator[None]:
    """Turn what can go wrong on purpose into one line and exit status 1; bugs keep their traceback."""
    from pydantic import ValidationError

    from cloud.errors import CloudError
    from sync.errors import LinkError

    try:
        yield
    except (CloudError, LinkError) as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    except (OSError, ValidationError) as error:
        raise click.ClickException(str(error)) from error
