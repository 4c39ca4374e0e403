"""A Galera cluster of three MariaDBs on free loopback ports, of which the first is the one that is written to.

A node is a MariaDB as the other tests have it, and a member of the group: what commits on one is certified by all.
A node that starts fetches the others' data by rsync, which takes some seconds; one that is killed is missed for five,
Galera's own patience, in which commits wait.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql

from demo.processes import LOOPBACK, ServerMissingError, free_port
from tests.servers.mariadb import MariaDb, server_folder
from tests.servers.waiting import wait_until

NODES = 3
_PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
_PATIENCE_S = 120.0


class GaleraNode(MariaDb):
    """One member. It answers once it has all that the group has; ``peers`` are the group's addresses of the others."""

    def __init__(self, *, name: str, template: Path, folder: Path, log_path: Path) -> None:
        super().__init__(folder=folder, template=template, log_path=log_path, start_timeout_s=_PATIENCE_S)
        self.group_port = free_port()
        self.peers: Sequence[GaleraNode] = ()
        self._node_name = name
        provider_options = (
            f"base_port={self.group_port};gmcast.listen_addr=tcp://{LOOPBACK}:{self.group_port};"
            f"ist.recv_addr={LOOPBACK}:{free_port()}"
        )
        self._fixed = (
            "--wsrep-on=ON",
            f"--wsrep-provider={_find_provider()}",
            "--wsrep-cluster-name=tillbox",
            f"--wsrep-node-name={name}",
            f"--wsrep-node-address={LOOPBACK}",
            f"--wsrep-provider-options={provider_options}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address={LOOPBACK}:{free_port()}",
            "--wsrep-slave-threads=2",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        )

    def command(self) -> Sequence[str]:
        members = ",".join(f"{LOOPBACK}:{peer.group_port}" for peer in self.peers if peer.is_running)
        return [*super().command(), *self._fixed, f"--wsrep-cluster-address=gcomm://{members}"]

    def answers(self) -> bool:
        try:
            return self.status("wsrep_local_state_comment") == "Synced"
        except pymysql.MySQLError:
            return False

    def status(self, name: str) -> str:
        """The value of one status variable."""
        ((_, value),) = self.execute(f"SHOW STATUS LIKE '{name}'")
        return str(value)

    def isolate(self, is_isolated: bool) -> None:
        """Cut the line to the other members, or mend it; clients still reach this one."""
        self.execute(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(is_isolated)}'")

    def is_catching_up(self) -> bool:
        """Tell whether a connection waits until this node has applied what the group had committed."""
        return bool(
            self.execute(
                "SELECT 1 FROM information_schema.processlist WHERE info LIKE '%wsrep_sync_wait = 1%'"
                " AND id <> CONNECTION_ID()"
            )
        )

    def rows_of(self, query: str) -> list[tuple[object, ...]]:
        """Ask, after this node has applied everything that the group had committed before."""
        return self.execute("SET SESSION wsrep_sync_wait = 1", query)


class Galera:
    """The cluster; ``primary`` is written to. Started and stopped as one."""

    def __init__(self, *, template: Path, logs: Path) -> None:
        self._stack = ExitStack()
        self.nodes = [
            GaleraNode(
                name=f"node{number}",
                template=template,
                folder=self._stack.enter_context(server_folder()),
                log_path=logs / f"galera_{number}.log",
            )
            for number in range(NODES)
        ]
        for node in self.nodes:
            node.peers = [each for each in self.nodes if each is not node]

    @property
    def primary(self) -> GaleraNode:
        """The one that is written to: the first that lives."""
        return self.living[0]

    @property
    def living(self) -> list[GaleraNode]:
        return [node for node in self.nodes if node.is_running]

    def revive(self) -> None:
        """Start the members that are not running; they fetch what they missed."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until all living members are one group again and each has all that the group has."""
        size = str(len(self.living))
        wait_until(lambda: all(node.answers() and node.status("wsrep_cluster_size") == size for node in self.living))

    def __enter__(self) -> Self:
        try:
            self.revive()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            for node in reversed(self.nodes):
                node.stop()


def _find_provider() -> str:
    for place in _PROVIDERS:
        if Path(place).exists():
            return place
    raise ServerMissingError("libgalera_smm.so", package="galera-4")
