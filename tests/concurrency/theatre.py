"""The house of the runs: one MariaDB, and on it a world that is followed by a new one after some runs.

What a run leaves behind stays, and proving the books reads every row; so now and then a new world begins, which is
cheaper than a new one, or an emptied one, for each run.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import make_url

from tests.concurrency.explorer import Explorer, MakeOrder, seeded
from tests.concurrency.ground import Ground
from tests.concurrency.line import Line
from tests.concurrency.lock_watch import LockWatch
from tests.concurrency.stepper import Stepper
from tests.concurrency.trace import Run
from tests.servers.mariadb import MariaDb

RUNS_OF_ONE_WORLD = 100


class Theatre:
    """Runs explorers' seeds; ``lock_wait_s`` as in ``Lane``. The server MUST be used by nobody else meanwhile.

    ``line`` is the sessions' way to the server where they have one of their own.
    """

    def __init__(
        self, server: MariaDb, folder: Path, *, lock_wait_s: int | None = None, line: Line | None = None
    ) -> None:
        self.watch = LockWatch(server.port)
        self._server = server
        self._port = server.port if line is None else line.port
        self._folder = folder
        self._lock_wait_s = lock_wait_s
        self._stack = ExitStack()
        self._runs = 0
        self._worlds = 0
        self._current: tuple[Ground, Stepper] | None = None

    def run(self, explorer: Explorer, seed: int, *, make_order: MakeOrder = seeded) -> Run:
        """Run one seed of a scenario and prove its end."""
        ground, stepper = self.stage()
        self._runs += 1
        return explorer.explore(seed, ground=ground, stepper=stepper, make_order=make_order)

    def stage(self) -> tuple[Ground, Stepper]:
        """The world of now with its stepper."""
        if self._current is not None and self._runs >= RUNS_OF_ONE_WORLD:
            self.end_world()
        if self._current is None:
            self._runs, self._worlds = 0, self._worlds + 1
            name = f"{self._folder.name}_{self._worlds}".replace("-", "_")
            url = self._server.create_database(name)
            self._stack.callback(self._server.drop_database, name)
            ground = Ground(self._folder / name, url)
            self._stack.callback(ground.close)
            way = make_url(url).set(port=self._port).render_as_string(hide_password=False)
            stepper = Stepper(way, watch=self.watch, lock_wait_s=self._lock_wait_s)
            self._stack.callback(stepper.close)
            self._current = ground, stepper
        return self._current

    def end_world(self) -> None:
        """Take the world down after reconciling all of it: nothing may be left unexplained."""
        if self._current is None:
            return
        report, self._current = self._current[0].world.report(), None
        self._stack.close()
        assert report.is_clean, report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._current = None
        self._stack.close()
        self.watch.close()
