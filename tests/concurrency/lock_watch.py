"""Asks the server whether sessions wait for row locks, so that nobody has to guess it from silence.

``information_schema.innodb_trx`` answers from a cache that is renewed only after 0.1 s without a question, so the
question here is ``SHOW ENGINE INNODB STATUS``, which reads the transactions themselves. It names a session as waiting
from the moment its request is queued; ``Innodb_row_lock_current_waits`` counts it only once the search for a deadlock
has ended, but still for a moment after the lock was granted. Both together are the truth: asked before and after.
"""

import re
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

import pymysql

from demo.processes import LOOPBACK

_THREAD_ID = re.compile(r"(?:MariaDB|MySQL) thread id (\d+)")
_QUESTIONS_MAX = 20_000
"""Each is a round trip, so that these are seconds."""


class LockWatch:
    """A connection of its own on which the server is asked; one run at a time may be watched on a server."""

    def __init__(self, port: int) -> None:
        self._connection: Any = pymysql.connect(host=LOOPBACK, port=port, user="root", autocommit=True)

    def are_waiting(self, connection_ids: Collection[int]) -> bool:
        """Say whether each of these connections waits for a row lock that nobody has granted yet."""
        wanted = set(connection_ids)
        return not wanted or (
            wanted <= self._waiting_ids()
            and self._waits_count() >= len(wanted)
            # Whoever searched for a deadlock meanwhile may have taken another one's wait away.
            and wanted <= self._waiting_ids()
        )

    def is_connected(self, connection_id: int) -> bool:
        """Say whether the server still has this connection."""
        rows = self._ask(f"SELECT 1 FROM information_schema.processlist WHERE id = {connection_id}")
        return bool(rows)

    def kill(self, connection_id: int) -> None:
        """Cut a connection at the server, which undoes its open transaction; returns when it is gone."""
        self._ask(f"KILL CONNECTION {connection_id}")
        self.wait_until_gone(connection_id)

    def wait_until_gone(self, connection_id: int) -> None:
        """Wait until the server has forgotten a connection that fell, and undone its transaction."""
        for _ in range(_QUESTIONS_MAX):
            if not self.is_connected(connection_id):
                return
        raise TimeoutError(f"the server still holds connection {connection_id}")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _waiting_ids(self) -> set[int]:
        status = str(self._ask("SHOW ENGINE INNODB STATUS")[0][2])
        transactions = status.split("---TRANSACTION")[1:]
        waiting = (_THREAD_ID.search(each) for each in transactions if "LOCK WAIT" in each)
        return {int(found[1]) for found in waiting if found is not None}

    def _waits_count(self) -> int:
        return int(self._ask("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0][1])

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(question)
            return list(cursor.fetchall())
