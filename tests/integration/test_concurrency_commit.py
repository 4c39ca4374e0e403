"""COMMITs whose outcome nobody heard, in the middle of other sessions: the end is right and nothing counts twice."""

import random
from collections.abc import Iterator, Sequence

import pytest

from tests.concurrency.cuts import KillsConnection, LosesCommit
from tests.concurrency.explorer import Explorer, explorer_of, seeds
from tests.concurrency.fixtures import server
from tests.concurrency.line import Line, Loss
from tests.concurrency.order import Order, SeededOrder
from tests.concurrency.scenarios import STAGES
from tests.concurrency.theatre import Theatre
from tests.concurrency.trace import StopKind
from tests.counts import count
from tests.servers.mariadb import MariaDb

__all__ = ["server"]

SEEDS = count(9, 500)
"""How many COMMITs are lost in each way, of one scenario after the other."""


@pytest.fixture(scope="module")
def line(server: MariaDb) -> Iterator[Line]:
    with Line(server.port) as opened:
        yield opened


@pytest.fixture(scope="module")
def theatre(server: MariaDb, line: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(server, tmp_path_factory.mktemp("commit"), line=line) as opened:
        yield opened
        opened.end_world()


def spread(first: int) -> Iterator[tuple[int, Explorer]]:
    """Each seed with the next scenario, from another one on for each test, so that few seeds see many."""
    for seed in seeds(SEEDS):
        # Steps of five go through all seventeen.
        yield seed, explorer_of(STAGES[(first * 3 + seed * 5) % len(STAGES)])


@pytest.mark.parametrize("loss", Loss)
def test_a_commit_of_unknown_outcome_counts_once(loss: Loss, theatre: Theatre, line: Line) -> None:
    orders: list[LosesCommit] = []

    def losing(seed: int, names: Sequence[str]) -> Order:
        victim = random.Random(seed).choice(names)
        made = LosesCommit(SeededOrder(seed), victim=victim, loss=loss, line=line, watch=theatre.watch, seed=seed)
        orders.append(made)
        return made

    for seed, explorer in spread(list(Loss).index(loss)):
        run = theatre.run(explorer, seed, make_order=losing)
        assert orders[-1].is_lost
        assert run.errors[2013] == 1, run.text()


@pytest.mark.parametrize("is_at_commit", [True, False])
def test_a_connection_that_the_server_cuts_loses_nothing(is_at_commit: bool, theatre: Theatre) -> None:
    killed = 0
    orders: list[KillsConnection] = []

    def killing(seed: int, names: Sequence[str]) -> Order:
        chance = random.Random(seed)
        left = [chance.randint(1, 12)]

        def moment(stop: object) -> bool:
            left[0] -= 1
            return left[0] == 0

        made = KillsConnection(
            SeededOrder(seed),
            victim=chance.choice(names),
            moment=(lambda stop: stop.kind is StopKind.COMMIT) if is_at_commit else moment,
            watch=theatre.watch,
        )
        orders.append(made)
        return made

    for seed, explorer in spread(4 if is_at_commit else 6):
        theatre.run(explorer, seed, make_order=killing)
        killed += orders[-1].is_killed
    assert killed > len(orders) // 2
