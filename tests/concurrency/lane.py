"""One stepped session: a thread on an engine of its own that stops before each statement, COMMIT, ROLLBACK and pause.

The engine is production's; only listeners are added. What the thread does between two stops is Python alone, so the
order in which the stops are passed is the order in which the server sees the statements.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from cloud.db import Retry, make_engine
from tests.concurrency.trace import Stop, StopKind, summary


@dataclass(frozen=True, slots=True)
class Tools:
    """What a session works with: its engine, and a ``Retry`` whose pauses are steps."""

    engine: Engine
    retry: Retry


Work = Callable[[Tools], object]


class AbandonedError(Exception):
    """The run was given up; the session undoes what it has begun."""


class Lane:
    """A session; ``changed`` is notified whenever it stops or ends. Its connection outlives the runs.

    ``lock_wait_s`` replaces production's ten seconds; 0 refuses at once where a lock is taken.
    """

    def __init__(self, url: str, *, changed: threading.Condition, lock_wait_s: int | None = None) -> None:
        self.engine = make_engine(url, pool_size=1)
        self.connection_id = 0
        self.stop: Stop | None = None
        self.errors: list[int] = []
        self.answer: object = None
        self.failure: BaseException | None = None
        self._changed = changed
        self._lock_wait_s = lock_wait_s
        self._thread: threading.Thread | None = None
        self._is_done = True
        self._is_abandoned = False
        self._listen()
        with self.engine.connect():
            pass

    @property
    def is_done(self) -> bool:
        return self._is_done

    @property
    def is_running(self) -> bool:
        """Whether it is neither at a stop nor at its end: its last statement has not come back."""
        return self.stop is None and not self._is_done

    def begin(self, work: Work, *, seed: int) -> None:
        """Start the thread, which stops before anything is done; ``seed`` decides how long its pauses are."""
        self.answer, self.failure, self.errors = None, None, []
        self._is_done = self._is_abandoned = False
        tools = Tools(self.engine, Retry(sleep=self._pause, random=random.Random(seed).random))
        self._thread = threading.Thread(target=self._run, args=(work, tools), daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """Let it pass the stop at which it stands; call it while holding ``changed``."""
        self.stop = None
        self._changed.notify_all()

    def abandon(self) -> None:
        """Make it end: every stop from now on raises ``AbandonedError``."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        self.engine.dispose()

    def _run(self, work: Work, tools: Tools) -> None:
        try:
            self._reach(Stop(StopKind.BEGIN, "begin"))
            self.answer = work(tools)
        except BaseException as error:
            self.failure = error
        with self._changed:
            self._is_done = True
            self._changed.notify_all()

    def _listen(self) -> None:
        event.listen(self.engine, "before_cursor_execute", self._before_statement)
        event.listen(self.engine, "commit", self._before_commit)
        event.listen(self.engine, "rollback", self._before_rollback)
        event.listen(self.engine, "handle_error", self._note_error)
        if self._lock_wait_s is not None:
            event.listen(self.engine, "connect", self._set_patience)

    def _before_statement(
        self, connection: Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        self._note_connection(connection)
        self._reach(Stop(StopKind.STATEMENT, summary(statement)))

    def _before_commit(self, connection: Connection) -> None:
        self._note_connection(connection)
        self._reach(Stop(StopKind.COMMIT, "COMMIT"))

    def _before_rollback(self, _connection: Connection) -> None:
        if not self._is_abandoned:
            self._reach(Stop(StopKind.ROLLBACK, "ROLLBACK"))

    def _pause(self, pause_s: float) -> None:
        self._reach(Stop(StopKind.PAUSE, "pause", pause_s))

    def _note_error(self, context: ExceptionContext) -> None:
        number = context.original_exception.args[0] if context.original_exception.args else None
        if isinstance(number, int):
            self.errors.append(number)

    def _note_connection(self, connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        self.connection_id = driver.thread_id()

    def _set_patience(self, connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {self._lock_wait_s}")

    def _reach(self, stop: Stop) -> None:
        if threading.current_thread() is not self._thread:
            return
        with self._changed:
            if not self._is_abandoned:
                self.stop = stop
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.stop is None or self._is_abandoned)
            if self._is_abandoned:
                self.stop = None
                raise AbandonedError
