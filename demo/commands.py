"""One of our own commands as a child process, started as a person would type it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from demo.processes import ServerProcess

TIMEOUT_S = 60


class CommandProcess(ServerProcess):
    """``tillbox …`` with settings in its environment, ready when its port answers; ``{port}`` stands for the port."""

    def __init__(self, name: str, *, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
        super().__init__(name, folder=folder, start_timeout_s=TIMEOUT_S)
        self._arguments = arguments
        self._environment = environment

    def command(self) -> Sequence[str]:
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        program = [sys.executable, "-m", "tillbox", *self._arguments]
        return ["/usr/bin/env", *settings, *(part.format(port=self.port) for part in program)]
