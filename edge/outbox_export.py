"""A consistent copy of the outbox for a person or for support, made while sales go on."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from edge.errors import OutboxExportError
from edge.outbox_files import OWNER_ONLY, sync_file
from edge.outbox_sqlite import connect


def export_outbox(source: Path, target: Path) -> None:
    """Copy the outbox at ``source`` into the new file ``target``, readable by its owner only.

    ``VACUUM INTO`` sees one moment of the database and blocks no writer (https://sqlite.org/lang_vacuum.html).
    Raises ``OutboxExportError``; an unfinished copy is removed, an existing file never touched.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    except OSError as error:
        raise OutboxExportError("The copy cannot be created under this name.") from error
    try:
        with closing(connect(source, mode="ro", connection_class=sqlite3.Connection)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        sync_file(target)
        sync_file(target.parent)
    except (OSError, sqlite3.Error) as error:
        target.unlink(missing_ok=True)
        raise OutboxExportError("The copy could not be finished.") from error
