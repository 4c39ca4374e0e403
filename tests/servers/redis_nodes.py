"""A Redis Cluster of six nodes on free loopback ports: three hold the keys, three copy them and take over.

It is as production should have it: while a node is away, the keys of the others are still served
(``cluster-require-full-coverage no``), and a node counts as gone after two seconds.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from demo.processes import LOOPBACK, find_program, free_port
from demo.servers import Redis
from tests.servers.mariadb import server_folder
from tests.servers.waiting import wait_until

MASTERS = 3
_SLOTS = 16_384


class RedisNode(Redis):
    """One node; its second port is for the other nodes."""

    def __init__(self, *, folder: Path, log_path: Path) -> None:
        executable = find_program("redis-server", package="redis-server")
        super().__init__(folder=folder, executable=executable, log_path=log_path)
        self._bus_port = free_port()

    def command(self) -> Sequence[str]:
        options = {
            "--cluster-enabled": "yes",
            "--cluster-config-file": "nodes.conf",
            "--cluster-node-timeout": "2000",
            "--cluster-port": str(self._bus_port),
            "--cluster-require-full-coverage": "no",
        }
        return [*super().command(), *(word for option in options.items() for word in option)]

    def ask(self, *words: str) -> object:
        """Run one command on this very node."""
        with redis.Redis(host=LOOPBACK, port=self.port, protocol=2, decode_responses=True) as connection:
            return connection.execute_command(*words)

    @property
    def is_master(self) -> bool:
        answer = self.ask("ROLE")
        return isinstance(answer, list) and answer[0] == "master"

    def meet(self, other: "RedisNode") -> None:
        self.ask("CLUSTER", "MEET", LOOPBACK, str(other.port), str(other._bus_port))


class RedisNodes:
    """The cluster, started and stopped as one; ``url`` names all its nodes."""

    def __init__(self, *, logs: Path) -> None:
        self._stack = ExitStack()
        self.nodes = [
            RedisNode(folder=self._stack.enter_context(server_folder()), log_path=logs / f"redis_node_{number}.log")
            for number in range(2 * MASTERS)
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    @property
    def living(self) -> list[RedisNode]:
        return [node for node in self.nodes if node.is_running]

    @property
    def masters(self) -> list[RedisNode]:
        return [node for node in self.living if node.is_master]

    def flush(self) -> None:
        """Forget everything."""
        for node in self.masters:
            node.flush()

    def revive(self) -> None:
        """Start the nodes that are not running, and wait until each is where it belongs."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until every key has a node that serves it, and all living nodes agree and are in step."""
        wait_until(lambda: len(self.masters) == MASTERS)
        wait_until(lambda: all(map(self._is_content, self.living)))

    def _is_content(self, node: RedisNode) -> bool:
        info = str(node.ask("CLUSTER", "INFO"))
        role = node.ask("ROLE")
        assert isinstance(role, list)
        in_step = role[0] == "master" or role[3] == "connected"
        return in_step and "cluster_state:ok" in info and f"cluster_slots_ok:{_SLOTS}" in info

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._form()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            for node in self.nodes:
                node.stop()

    def _form(self) -> None:
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, master in enumerate(masters):
            first, end = _SLOTS * number // MASTERS, _SLOTS * (number + 1) // MASTERS
            master.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
            # Each its own epoch, or two of them would have to agree on that first.
            master.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in self.nodes[1:]:
            self.nodes[0].meet(node)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes))
        for master, replica in zip(masters, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", str(master.ask("CLUSTER", "MYID")))
        self.wait_until_whole()

    def _knows_all(self, node: RedisNode) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}" in str(node.ask("CLUSTER", "INFO"))
