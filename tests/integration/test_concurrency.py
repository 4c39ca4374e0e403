"""Production's transactions on real MariaDB, stepped statement by statement in the orders of many seeds.

``TILLBOX_CONCURRENCY_SEED=17`` runs one seed alone; a failure prints it with the order of the statements.
"""

from pathlib import Path

import pytest

from tests.concurrency.explorer import Stage, explorer_of, seeds
from tests.concurrency.fixtures import server, theatre
from tests.concurrency.scenarios import STAGES
from tests.concurrency.theatre import Theatre
from tests.counts import count
from tests.servers.mariadb import MariaDb

__all__ = ["server", "theatre"]

SEEDS = count(4, 500)
SEEDS_WITHOUT_PATIENCE = count(1, 100)
OF_EACH_SCENARIO = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)


@OF_EACH_SCENARIO
def test_every_order_ends_like_a_serial_one(stage: Stage, theatre: Theatre) -> None:
    explorer = explorer_of(stage)
    for seed in seeds(SEEDS):
        theatre.run(explorer, seed)


def test_every_order_ends_like_a_serial_one_where_no_lock_is_waited_for(server: MariaDb, tmp_path: Path) -> None:
    refused = 0
    with Theatre(server, tmp_path, lock_wait_s=0) as impatient:
        for stage in STAGES:
            explorer = explorer_of(stage)
            for seed in seeds(SEEDS_WITHOUT_PATIENCE):
                refused += impatient.run(explorer, seed).errors[1205]
        impatient.end_world()
    assert refused > 0
