"""Several workers at once on one MariaDB: the same messages in different orders post every sale once."""

import random
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.ingest.outcomes import Outcome
from cloud.ingest.service import Incoming, take_batches
from cloud.ledger.entries import PLATFORM, AccountKind
from sync.batch import encode_batch
from sync.record import RecordKind, SignedRecord
from tests.fakes.cloud_world import CloudWorld

WORKERS = 4
BOXES = 6
ROUNDS = 5
PRICE_MINOR = 2_00


@pytest.fixture
def world(migrated_mariadb_url: str, tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path, migrated_mariadb_url)
    yield made
    made.close()


def test_the_same_messages_at_every_worker_post_every_sale_once(world: CloudWorld) -> None:
    boxes, phones = [world.box() for _ in range(BOXES)], [world.phone() for _ in range(BOXES)]
    batches: list[Incoming] = []
    for _ in range(ROUNDS):
        world.clock.pass_s(1)
        shared = world.phone().code()
        for box, phone in zip(boxes, phones, strict=True):
            own = box.sale(phone.code(), PRICE_MINOR)
            replayed = box.sale(shared, PRICE_MINOR)
            voided = box.append(kind=RecordKind.VOID, payment_id=own.content.payment_id)
            records: list[SignedRecord] = [own, replayed, voided]
            encoded = [record.encode() for record in records]
            batches.append(Incoming(box.terminal_id, encode_batch(nonce=secrets.token_bytes(16), records=encoded)))

    judge, now_ms = world.cloud.judge(), world.clock.now_ms()

    def take(session: Session, some: list[Incoming]) -> None:
        take_batches(session, some, judge=judge, now_ms=now_ms)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        mine = chance.sample(batches, len(batches))
        while mine:
            some = [mine.pop() for _ in range(min(len(mine), chance.randint(1, 5)))]
            run_transaction(world.engine, partial(take, some=some))

    with ThreadPoolExecutor(WORKERS) as threads:
        for done in [threads.submit(work, seed) for seed in range(WORKERS)]:
            done.result()
    report = world.report()
    assert report.is_clean
    outcomes: dict[Outcome, int] = {}
    for terminal in report.statement.terminals:
        assert terminal.is_complete
        for outcome, count in terminal.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    assert outcomes == {
        Outcome.VOID: BOXES * ROUNDS,
        Outcome.SETTLED_FROM_RESERVE: ROUNDS,
        Outcome.REPLAYED_CODE: (BOXES - 1) * ROUNDS,
    }
    assert world.balance(AccountKind.OFFLINE_LOSS, PLATFORM) == -(BOXES - 1) * ROUNDS * PRICE_MINOR
