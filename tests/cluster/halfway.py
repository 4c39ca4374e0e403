"""A pytest plugin that kills a node of each cluster halfway: one half of every file's tests runs before, one after.

Between two tests it waits until the rest has taken over, because the tests count to the last key. Nodes that die under
running payments are the matter of ``tests/cluster/deaths.py``.
"""

from itertools import groupby

import pytest

from tests.servers.galera import Galera
from tests.servers.redis_nodes import RedisNodes

_after: set[str] = set()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the first half of every file's tests first."""
    first, second, own = [], [], []
    for path, of_file in groupby(items, key=lambda item: item.path):
        tests = list(of_file)
        if path.parent.name == "cluster":
            own += tests
            continue
        middle = (len(tests) + 1) // 2
        first += tests[:middle]
        second += tests[middle:]
    _after.update(item.nodeid for item in second)
    items[:] = first + second + own


@pytest.fixture(autouse=True)
def halfway(request: pytest.FixtureRequest) -> None:
    """Kill them before the first test of the second half, and leave them dead."""
    if request.node.nodeid not in _after:
        return
    galera: Galera = request.getfixturevalue("galera")
    redis_nodes: RedisNodes = request.getfixturevalue("redis_nodes")
    if len(galera.living) == len(galera.nodes):
        galera.living[-1].kill()
        redis_nodes.masters[0].kill()
        redis_nodes.wait_until_whole()
