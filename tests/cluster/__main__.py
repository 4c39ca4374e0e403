"""``make test-cluster``: the tests of money and cache on a three-node Galera and a six-node Redis Cluster.

They are those of one MariaDB and one Redis, with a node of each cluster killed in their middle, and then those that
need a cluster to say anything. They take some minutes and stand outside of ``make test``.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES = (
    "tests/integration/test_ledger.py",
    "tests/integration/test_payments.py",
    "tests/integration/test_payments_http.py",
    "tests/integration/test_cache.py",
    "tests/integration/test_rate_limit.py",
    "tests/integration/test_redis_traffic.py",
)
OWN = ("tests/cluster/certification.py", "tests/cluster/deaths.py")


def command(arguments: Sequence[str] = ()) -> list[str]:
    """Return what runs them; SQLite has no cluster."""
    pytest = ("-m", "pytest", "-p", "tests.cluster.halfway", "-k", "not sqlite")
    return [sys.executable, *pytest, *arguments, *SUITES, *OWN]


def environment() -> dict[str, str]:
    """Return what tells the fixtures to share clusters instead of single servers."""
    return os.environ | {"TILLBOX_SERVERS": "cluster"}


if __name__ == "__main__":
    sys.exit(subprocess.call(command(sys.argv[1:]), cwd=ROOT, env=environment()))
