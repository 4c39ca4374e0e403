"""SIGKILL at random moments: whatever the terminal has told anybody is in its outbox, and is posted once.

The terminal is production's own composition in a process of its own; it approves in a tight loop under a policy with
high ceilings. After each kill the real outbox is opened again and compared with everything that was ever reported and
stored. All its records go to the real cloud at the end, and once more from the beginning.
"""

import os
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import run_transaction
from cloud.ingest.outcomes import Outcome
from cloud.ingest.service import Incoming, Reply, take_batches
from edge.outbox import AcknowledgeOutcome
from sync.acknowledgement import AckStatus
from sync.batch import BATCH_RECORDS_MAX, encode_batch
from sync.keys import Ed25519SigningKey
from tests.counts import count
from tests.crash.lives import Witness, live_and_be_killed, warm_up
from tests.crash.terminal import BOOT_ID, Life, PhoneInHand
from tests.fakes.cloud_world import CloudWorld
from tests.stack.boxes import enrolled_box

KILLS = count(200, 2_000)
LIVES_BETWEEN_CONTACTS = 25
PHONES = 12
SEED = int(os.environ.get("TILLBOX_SIGKILL_SEED", "20261122"))
TEST_POLICY = {
    "payer_sum_minor": 2**31,
    "payer_one_way_sum_minor": 2**31,
    "unacknowledged_soft_minor": 2**31,
    "unacknowledged_hard_minor": 2**31,
    "unacknowledged_soft_count": 2**31,
    "unacknowledged_hard_count": 2**31,
}


@pytest.fixture
def world(tmp_path: Path, migrated_mariadb_url: str) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path / "cloud", migrated_mariadb_url, limits=TEST_POLICY)
    yield made
    made.close()


async def a_terminal(world: CloudWorld, folder: Path, *, reports_early: bool = False) -> Witness:
    """Enrol a box, prepare its customers, and give the witness of its lives to come."""
    warm_up()
    phones = [world.phone() for _ in range(PHONES)]
    keys = [phone.key for phone in phones if isinstance(phone.key, Ed25519SigningKey)]
    in_hand = tuple(
        PhoneInHand(phone.grant.encode(), key.private_bytes()) for phone, key in zip(phones, keys, strict=True)
    )
    settings = await enrolled_box(world, folder)
    origin_s = time.monotonic()
    return Witness.of(Life(0, settings, in_hand, world.clock.now_ms(), origin_s, reports_early))


@pytest.mark.timeout(600)
async def test_every_approval_reported_before_200_kills_is_in_the_outbox_and_posted_once(
    world: CloudWorld, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    witness = await a_terminal(world, tmp_path / "box")
    for kill in range(1, KILLS + 1):
        end = live_and_be_killed(witness.next_life(), chance)
        await witness.look(end)
        assert witness.faults == [], f"TILLBOX_SIGKILL_SEED={SEED}, kill {kill}"
        if kill % LIVES_BETWEEN_CONTACTS == 0 or kill == KILLS:
            await have_contact(world, witness)
    assert witness.reported_count > KILLS // 4, "the terminal sold too little for the kills to hit a sale"
    check_posted_once(world, witness)
    # The box lost every acknowledgement, or a backup of it is sent in: the whole chain comes again.
    send(world, witness, from_number=1)
    check_posted_once(world, witness)


async def test_a_terminal_that_reports_before_its_commit_is_caught(world: CloudWorld, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    witness = await a_terminal(world, tmp_path / "box", reports_early=True)
    for _ in range(20):
        await witness.look(live_and_be_killed(witness.next_life(), chance))
    assert any("LOST" in fault for fault in witness.faults), f"TILLBOX_SIGKILL_SEED={SEED}"


async def have_contact(world: CloudWorld, witness: Witness) -> None:
    """Send what waits to the cloud and let the box have its acknowledgement."""
    world.clock.wall_ms = witness.life.now_ms()
    async with await witness.open() as outbox:
        reply = send(world, witness, from_number=(await outbox.state()).acknowledged_number + 1)
        outcome = await outbox.acknowledge(
            number=reply.answer.number,
            head_hash=reply.answer.head_hash,
            contact_ms=world.clock.now_ms(),
            boot_id=BOOT_ID,
            monotonic_ms=witness.life.since_origin_ms(),
        )
        assert outcome is AcknowledgeOutcome.ADVANCED
        assert (await outbox.state()).unacknowledged_count == 0


def send(world: CloudWorld, witness: Witness, *, from_number: int) -> Reply:
    """Send the chain from a number on in full batches; answers the cloud's last word."""
    encoded = [message.encode() for message in witness.records[from_number - 1 :]]
    batches = [encoded[first : first + BATCH_RECORDS_MAX] for first in range(0, len(encoded), BATCH_RECORDS_MAX)]
    replies = [reply for batch in batches for reply in take(world, witness, batch)]
    assert {reply.answer.status for reply in replies} == {AckStatus.OK}
    return replies[-1]


def take(world: CloudWorld, witness: Witness, records: list[bytes]) -> list[Reply]:
    """Let the cloud take one batch."""
    batch = encode_batch(nonce=secrets.token_bytes(16), records=records)
    incoming = [Incoming(witness.identity.terminal.terminal_id, batch)]
    judge, now_ms = world.cloud.judge(), world.clock.now_ms()
    return run_transaction(world.engine, lambda session: take_batches(session, incoming, judge=judge, now_ms=now_ms))


def check_posted_once(world: CloudWorld, witness: Witness) -> None:
    report = world.report()
    assert report.is_clean
    assert report.exceptions == ()
    (statement,) = report.statement.terminals
    amounts_minor = [message.content.amount_minor for message in witness.records]
    assert statement.is_complete
    assert statement.sales_count == len(amounts_minor)
    assert statement.approved_minor == statement.posted_minor == sum(amounts_minor)
    assert statement.outcomes == {Outcome.SETTLED_FROM_RESERVE: len(amounts_minor)}
