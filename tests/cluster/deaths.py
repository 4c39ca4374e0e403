"""Nodes die while people pay over HTTP: nothing is lost, nothing happens twice, all nodes hold the same books."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from cloud.cli import cloud
from demo.processes import LOOPBACK
from tests.cluster.switch import Switch
from tests.fakes.payment_list import Purchase, Street, draw_purchases, make_street
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import PaymentWorld
from tests.servers.galera import Galera, GaleraNode
from tests.servers.redis_nodes import RedisNodes
from tests.stack.servers import serving

SEED = 29
PURCHASES, PAYERS, SHOPS, LANES = 240, 48, 6, 8
FUNDS_MINOR = 150_00
"""Half of what five purchases may cost: some customers run out of money."""
_ACCOUNTS = "SELECT owner, kind, currency, balance_minor, postings_count FROM {}.accounts ORDER BY 1, 2, 3"
_POSTINGS = "SELECT account_id, account_sequence, amount_minor, balance_after_minor FROM {}.postings ORDER BY 1, 2"


@pytest.fixture
def clusters(galera: Galera, redis_nodes: RedisNodes) -> tuple[Galera, RedisNodes]:
    """Both clusters with all their nodes."""
    galera.revive()
    redis_nodes.revive()
    redis_nodes.flush()
    return galera, redis_nodes


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens when so many purchases are done."""

    after: int
    strike: Callable[[], None]


@asynccontextmanager
async def street_of(folder: Path, database_url: str, redis_url: str) -> AsyncIterator[tuple[PaymentWorld, Street]]:
    """A cloud with its people, served over HTTP."""
    world = PaymentWorld(folder, database_url, redis_url=redis_url)
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=120) as http:
        yield world, make_street(world, Web(http), payers=PAYERS, shops=SHOPS, funds_minor=FUNDS_MINOR)
    world.close()


async def rush(street: Street, *faults: Fault) -> dict[Purchase, list[tuple[int, str]]]:
    """Carry all purchases out, eight customers at once, while the faults strike; answers what they were told."""
    told: dict[Purchase, list[tuple[int, str]]] = {}
    drawn = draw_purchases(SEED, PURCHASES, payers=PAYERS, shops=SHOPS)
    # A customer buys five times, so that nobody meets the rate limit, whether it is counted or not.
    purchases = [replace(each, payer=each.number % PAYERS) for each in drawn]
    pending = sorted(faults, key=lambda fault: fault.after)

    async def walk(lane: int) -> None:
        for purchase in purchases:
            if purchase.payer % LANES == lane:
                told[purchase] = await street.carry_out(purchase)
                if pending and len(told) >= pending[0].after:
                    await asyncio.to_thread(pending.pop(0).strike)

    await asyncio.gather(*(walk(lane) for lane in range(LANES)))
    assert not pending
    return told


def check_books(world: PaymentWorld, street: Street, told: dict[Purchase, list[tuple[int, str]]]) -> None:
    """Whoever was told yes has paid once, whoever was told no has not, and nobody was told anything else."""
    outcomes = Counter(steps[2] for steps in told.values())
    assert set(outcomes) == {(200, "ok"), (400, "insufficient_balance")}
    assert outcomes[200, "ok"] > PURCHASES // 2
    paid = [purchase for purchase, steps in told.items() if steps[2] == (200, "ok")]
    for at, payer in enumerate(street.payers):
        spent = sum(each.amount_minor - each.refund_minor for each in paid if each.payer == at)
        assert world.available(payer) == FUNDS_MINOR - spent, payer
    by_kind = Counter(kind for (kind,) in _rows(world, "SELECT kind FROM journal_entries"))
    refunded = sum(each.refund_minor > 0 for each in paid)
    assert by_kind == {"top_up": PAYERS, "online_sale": len(paid), "refund": refunded}
    statuses = Counter(status for (status,) in _rows(world, "SELECT status FROM online_payments"))
    assert statuses == {"completed": len(paid), "failed": PURCHASES - len(paid)}
    assert world.findings() == []


def check_nodes(nodes: list[GaleraNode], database: str) -> None:
    """Each node holds the same balances and postings, and the command that proves the ledger says so of each."""
    first = [nodes[0].rows_of(query.format(database)) for query in (_ACCOUNTS, _POSTINGS)]
    assert all(first)
    for node in nodes:
        assert [node.rows_of(query.format(database)) for query in (_ACCOUNTS, _POSTINGS)] == first
        proven = CliRunner().invoke(cloud, ["verify"], env={"TILLBOX_DATABASE_URL": node.url(database)})
        assert proven.exit_code == 0, proven.output


def _rows(world: PaymentWorld, query: str) -> list[tuple[object, ...]]:
    with world.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


async def test_payments_outlive_a_dead_database_node_and_a_dead_cache_node(
    clusters: tuple[Galera, RedisNodes], tmp_path: Path
) -> None:
    galera, redis_nodes = clusters
    url = galera.primary.create_database("outlived")
    async with street_of(tmp_path, url, redis_nodes.url) as (world, street):
        told = await rush(
            street,
            Fault(PURCHASES // 3, galera.living[-1].kill),
            Fault(PURCHASES // 2, lambda: redis_nodes.masters[0].kill()),
        )
        check_books(world, street, told)
    assert (len(galera.living), len(redis_nodes.living)) == (2, 5)
    check_nodes(galera.living, "outlived")
    galera.revive()
    check_nodes(galera.nodes, "outlived")


async def test_payments_outlive_the_node_that_was_written_to(
    clusters: tuple[Galera, RedisNodes], tmp_path: Path
) -> None:
    galera, redis_nodes = clusters
    primary = galera.primary
    primary.create_database("inherited")
    with Switch(lambda: galera.primary.port) as switch:
        url = f"mysql://root@{LOOPBACK}:{switch.port}/inherited"
        async with street_of(tmp_path, url, redis_nodes.url) as (world, street):
            told = await rush(street, Fault(PURCHASES // 3, primary.kill))
            check_books(world, street, told)
            print(f"{street.repeated} requests were sent again")
    assert galera.primary is not primary
    check_nodes(galera.living, "inherited")
    galera.revive()
    check_nodes(galera.nodes, "inherited")
