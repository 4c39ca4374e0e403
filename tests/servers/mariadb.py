"""A private MariaDB: its own data folder, its own port, durable as in production, gone with the test session.

Started by root it runs as the user ``mysql``, who must be able to reach the data folder; that is why the folder is
not pytest's own, which only its owner may enter. A ready data folder is made once and copied, which takes 0.1 s
instead of 1.2 s.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql

from demo.processes import LOOPBACK, ServerError, ServerProcess, find_program

_PACKAGE = "mariadb-server"
_NO_SUCH_CONNECTION = 1094
"""ER_NO_SUCH_THREAD: it ended by itself meanwhile."""


class MariaDb(ServerProcess):
    """One server. ``folder`` must be short (its socket's path has at most 107 characters) and open to ``mysql``.

    ``template`` is a data folder from ``make_template``; without one it is made at the first start.
    ``options`` are further arguments of ``mariadbd``.
    """

    def __init__(
        self,
        *,
        folder: Path,
        template: Path | None = None,
        port: int | None = None,
        log_path: Path | None = None,
        options: Sequence[str] = (),
        start_timeout_s: float = 30.0,
    ) -> None:
        super().__init__("mariadb", folder=folder, port=port, log_path=log_path, start_timeout_s=start_timeout_s)
        self._template = template
        self._options = tuple(options)
        self._data = folder / "data"

    def command(self) -> Sequence[str]:
        program = find_program("mariadbd", package=_PACKAGE)
        if not self._data.exists():
            self._provide_data()
        return [
            str(program),
            "--no-defaults",
            *_user_option(),
            f"--datadir={self._data}",
            f"--port={self.port}",
            f"--bind-address={LOOPBACK}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            *self._options,
        ]

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one database."""
        return f"mysql+pymysql://root@{LOOPBACK}:{self.port}/{database}"

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as root over a connection of their own; return the last one's rows."""
        connection = pymysql.connect(host=LOOPBACK, port=self.port, user="root", autocommit=True, connect_timeout=5)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, after ending the connections a test may have left open on it, which would hold it."""
        self.end_connections(name)
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def end_connections(self, name: str) -> None:
        """End every connection to a database."""
        open_connections = self.execute(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}' AND id <> CONNECTION_ID()"
        )
        for (connection_id,) in open_connections:
            try:
                self.execute(f"KILL {connection_id}")
            except pymysql.err.OperationalError as error:
                if error.args[0] != _NO_SUCH_CONNECTION:
                    raise

    def _provide_data(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _open_to_mysql(self.folder)
        if self._template is None:
            make_template(self._data)
        else:
            shutil.copytree(self._template, self._data, copy_function=shutil.copy)
            _open_to_mysql(self._data)


def make_template(folder: Path) -> Path:
    """Make a ready data folder (root without password, no test database) to be copied by many servers."""
    folder.mkdir(parents=True)
    _open_to_mysql(folder)
    command = [
        str(find_program("mariadb-install-db", package=_PACKAGE)),
        "--no-defaults",
        *_user_option(),
        f"--datadir={folder}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"mariadb-install-db failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return folder


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short folder that other users may pass through, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tillbox-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _user_option() -> list[str]:
    return ["--user=mysql"] if os.geteuid() == 0 else []


def _open_to_mysql(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "mysql", "mysql")
