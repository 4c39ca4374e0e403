"""Uploader and receiver joined: whatever the pipe, the card and the database do, everything arrives exactly once."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from sync.upload import QuarantineReason
from tests.counts import count
from tests.unit.sync.lossy_world import Faults, World

SEEDS = count(200, 5_000)
FAULTS_MS = 90_000
PATIENCE_MS = 3_600_000

Mischief = Callable[[World], None]


def make_trouble(world: World, mischiefs: tuple[Mischief, ...] = ()) -> None:
    """Run a bad pipe for a while, with sales, cuts, restarts and the given mischiefs at random times."""
    chance = world.random
    world.faults = Faults(
        lose=chance.choice((0.0, 0.1, 0.4)),
        repeat=chance.choice((0.0, 0.3)),
        delay_ms_max=chance.choice((10, 300, 4_000)),
        long_delay=chance.choice((0.0, 0.05)),
    )
    for _ in range(chance.randrange(5, 40)):
        world.at(chance.randrange(FAULTS_MS), world.sell)
    for _ in range(chance.randrange(8)):
        world.at(chance.randrange(FAULTS_MS), world.link_down)
        world.at(chance.randrange(FAULTS_MS), world.link_up)
    for _ in range(chance.randrange(3)):
        world.at(chance.randrange(FAULTS_MS), world.restart_box)
    for mischief in mischiefs:
        world.at(chance.randrange(FAULTS_MS // 2, FAULTS_MS), lambda mischief=mischief: mischief(world))  # type: ignore[misc]
    world.link_up()
    world.run_for(FAULTS_MS)
    world.heal()


def settle(world: World) -> None:
    assert world.run_until(world.is_settled, longest_ms=PATIENCE_MS), (
        f"not settled: acknowledged {world.outbox.acknowledged} of {world.outbox.head}, {world.state}"
    )


def restore_cloud_backup(world: World) -> None:
    """Bring back the cloud's database as it is now, some time later."""
    backup = deepcopy(world.cloud)

    def restore() -> None:
        world.cloud = deepcopy(backup)

    world.at(world.random.randrange(FAULTS_MS // 2), restore)


def prune_acknowledged(world: World) -> None:
    for number in range(1, world.random.randrange(world.outbox.acknowledged + 1) + 1):
        world.outbox.forget(number)


def lose_rows(world: World) -> None:
    if world.outbox.head > 1:
        first = world.random.randrange(1, world.outbox.head)
        for number in range(first, min(world.outbox.head, first + world.random.randrange(1, 8))):
            world.outbox.forget(number)


def refuse_a_record(world: World) -> None:
    world.sell()
    world.refused.add(world.outbox.hashes[world.outbox.head])
    world.sell()


def fill_the_disk(world: World) -> None:
    world.is_outbox_full = True


@pytest.mark.parametrize("seed", range(SEEDS))
def test_everything_arrives_exactly_once_over_a_bad_pipe(seed: int) -> None:
    world = World(seed)
    make_trouble(world)
    settle(world)
    assert world.is_clean()
    assert world.outbox.quarantine is None
    assert not world.cloud.lost


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_older_backup_of_the_cloud_is_filled_up_again(seed: int) -> None:
    world = World(seed)
    make_trouble(world, (restore_cloud_backup,))
    world.sell()
    settle(world)
    assert world.run_until(world.is_clean, longest_ms=PATIENCE_MS)
    assert world.outbox.quarantine is None
    assert not world.cloud.lost


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_a_pruned_outbox_cannot_send_again_is_named_as_lost(seed: int) -> None:
    world = World(seed)
    make_trouble(world, (restore_cloud_backup, prune_acknowledged, prune_acknowledged))
    world.sell()
    settle(world)
    assert world.run_until(world.is_clean, longest_ms=PATIENCE_MS)
    assert world.outbox.quarantine is None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_lost_rows_are_named_and_hold_up_nothing(seed: int) -> None:
    world = World(seed)
    make_trouble(world, (lose_rows, lose_rows, restore_cloud_backup, fill_the_disk))
    world.sell()
    settle(world)
    assert world.run_until(world.is_clean, longest_ms=PATIENCE_MS)
    assert world.outbox.quarantine is None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_record_that_the_cloud_refuses_is_named_in_the_end(seed: int) -> None:
    world = World(seed)
    make_trouble(world, (refuse_a_record,))
    settle(world)
    assert world.is_clean()
    assert world.outbox.quarantine is None
    assert {number for closed in world.cloud.lost for number in range(closed.first, closed.last + 1)}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_restored_card_is_found_and_still_sends_what_it_has(seed: int) -> None:
    world = World(seed)
    backups = []

    def back_up(world: World) -> None:
        backups.append(deepcopy(world.outbox))

    make_trouble(world, (back_up,))
    settle(world)
    was_beyond = world.outbox.head > backups[0].head
    world.restore_card(backups[0])
    for _ in range(world.random.randrange(20)):
        world.sell()
    world.link_up()
    if was_beyond:
        assert world.run_until(lambda: world.outbox.quarantine is not None, longest_ms=PATIENCE_MS)
        assert world.outbox.quarantine in (QuarantineReason.FORKED, QuarantineReason.ROLLED_BACK)
    settle(world)
    assert was_beyond or world.outbox.quarantine is None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_restored_card_and_a_restored_cloud_together_still_settle(seed: int) -> None:
    world = World(seed)
    backups = []

    def back_up(world: World) -> None:
        backups.append(deepcopy(world.outbox))

    make_trouble(world, (back_up, restore_cloud_backup, prune_acknowledged))
    world.restore_card(backups[0])
    world.sell()
    make_trouble(world, (restore_cloud_backup, lose_rows, refuse_a_record))
    world.refused.clear()
    settle(world)
