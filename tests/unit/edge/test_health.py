"""Health: what each check says at its borders, what the box may still do, and that the worst finding leads."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.health import CHECKS, Box, Finding, Level, examine
from edge.limits import OfflineRoom
from edge.outbox_types import OutboxState, QueueSummary
from edge.timekeeping import Reading
from sync.record import ClockConfidence
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.signed_world import NOW_MS, SignedWorld

HOUR_S = 3600
KEPT = ClockConfidence.KEPT
NO_ROOM = OfflineRoom(0, 0, 0)
CHAIN = OutboxState(
    terminal_id=SignedWorld().terminal("box").terminal_id,
    epoch=1,
    head_number=0,
    head_hash=bytes(32),
    acknowledged_number=0,
    acknowledged_hash=bytes(32),
    unacknowledged_amount_minor=0,
    unacknowledged_count=0,
    currency="EUR",
    clock_floor_ms=0,
    floor_clock_sales=0,
    last_contact_ms=NOW_MS,
    last_contact_boot_id=None,
    last_contact_monotonic_ms=None,
    quarantine_reason=None,
)
SOUND = Box(
    chain=CHAIN,
    queue=QueueSummary(count=0, amount_minor=0, oldest_at_ms=None),
    reading=Reading(NOW_MS, ClockConfidence.SYNCED),
    policy=SignedWorld().policy().content,
    offline_s=0,
    trust_ends_in_s=72 * HOUR_S,
    is_link_up=True,
    link_words="",
    write_failure="",
    reader_note="",
)


def box_with(
    *,
    quarantine: str | None = None,
    waiting_minor: int = 0,
    waiting: int = 0,
    confidence: ClockConfidence = ClockConfidence.SYNCED,
    **changes: Any,
) -> Box:
    return replace(
        SOUND,
        chain=replace(
            CHAIN,
            quarantine_reason=quarantine,
            unacknowledged_amount_minor=waiting_minor,
            unacknowledged_count=waiting,
        ),
        queue=QueueSummary(count=waiting, amount_minor=waiting_minor, oldest_at_ms=None),
        reading=Reading(NOW_MS, confidence),
        **changes,
    )


def finding(box: Box, check: str) -> Finding:
    return next(each for each in examine(box).findings if each.check == check)


@pytest.mark.parametrize(
    "check, box, level, words",
    [
        ("chain", box_with(), Level.GOOD, "The chain of sales is whole."),
        ("chain", box_with(quarantine="forked"), Level.FAILING, "This box has been stopped (forked). No sale is lost."),
        ("outbox", box_with(), Level.GOOD, "Sales can be stored."),
        ("outbox", box_with(write_failure="The card is full."), Level.FAILING, "The card is full."),
        ("clock", box_with(), Level.GOOD, "The time is right."),
        (
            "clock",
            box_with(confidence=ClockConfidence.KEPT),
            Level.GOOD,
            "The time has been kept since the last contact.",
        ),
        ("clock", box_with(confidence=ClockConfidence.FLOOR), Level.FAILING, "The box is not sure of the time."),
        ("trust", box_with(), Level.GOOD, "The trust list holds for 72 h."),
        ("trust", box_with(trust_ends_in_s=12 * HOUR_S), Level.GOOD, "The trust list holds for 12 h."),
        ("trust", box_with(trust_ends_in_s=12 * HOUR_S - 1), Level.WARNING, "The trust list ends in 11 h."),
        ("trust", box_with(trust_ends_in_s=2 * HOUR_S), Level.WARNING, "The trust list ends in 2 h."),
        ("trust", box_with(trust_ends_in_s=2 * HOUR_S - 1), Level.WARNING, "The trust list ends in 119 min."),
        ("trust", box_with(trust_ends_in_s=60), Level.WARNING, "The trust list ends in 1 min."),
        ("trust", box_with(trust_ends_in_s=59), Level.WARNING, "The trust list ends in less than a minute."),
        ("trust", box_with(trust_ends_in_s=1), Level.WARNING, "The trust list ends in less than a minute."),
        ("trust", box_with(trust_ends_in_s=0), Level.FAILING, "The trust list or the limits have expired."),
        ("trust", box_with(trust_ends_in_s=-1), Level.FAILING, "The trust list or the limits have expired."),
        (
            "trust",
            box_with(confidence=ClockConfidence.FLOOR),
            Level.WARNING,
            "How long the trust list holds cannot be said without the time.",
        ),
        ("queue", box_with(), Level.GOOD, "Every record has been sent."),
        ("queue", box_with(waiting=1, waiting_minor=5), Level.GOOD, "1 record waits to be sent."),
        ("queue", box_with(waiting=2), Level.GOOD, "2 records wait to be sent."),
        ("queue", box_with(waiting=399, waiting_minor=1_599_99), Level.GOOD, "399 records wait to be sent."),
        ("queue", box_with(waiting=400), Level.WARNING, "The box holds nearly as much as it may."),
        ("queue", box_with(waiting_minor=1_600_00), Level.WARNING, "The box holds nearly as much as it may."),
        (
            "queue",
            box_with(waiting=499, waiting_minor=1_999_99),
            Level.WARNING,
            "The box holds nearly as much as it may.",
        ),
        ("queue", box_with(waiting=500), Level.FAILING, "The box holds as much as it may."),
        ("queue", box_with(waiting_minor=2_000_00), Level.FAILING, "The box holds as much as it may."),
        ("link", box_with(), Level.GOOD, "The cloud is reached."),
        ("link", box_with(is_link_up=False), Level.WARNING, "The cloud is not reached."),
        (
            "link",
            box_with(is_link_up=False, link_words="the broker's certificate is wrong"),
            Level.WARNING,
            "The cloud is not reached: the broker's certificate is wrong.",
        ),
        ("link", box_with(is_link_up=False, offline_s=72 * HOUR_S), Level.FAILING, "The cloud is not reached."),
        ("link", box_with(is_link_up=False, waiting=500), Level.FAILING, "The cloud is not reached."),
        ("reader", box_with(), Level.GOOD, "Both decoders are there."),
        ("reader", box_with(reader_note="libzbar is missing."), Level.WARNING, "libzbar is missing."),
    ],
)
def test_each_check_at_its_borders(check: str, box: Box, level: Level, words: str) -> None:
    found = finding(box, check)
    assert (found.level, found.words) == (level, words)
    assert bool(found.to_do) == (level is not Level.GOOD)


@pytest.mark.parametrize(
    "offline_s, to_do",
    [
        (0, "Selling goes on for 72 h at most."),
        (70 * HOUR_S, "Selling goes on for 2 h at most."),
        (71 * HOUR_S, "Selling goes on for 60 min at most."),
        (72 * HOUR_S - 1, "Selling goes on for less than a minute at most."),
    ],
)
def test_without_the_cloud_the_box_says_how_long_selling_goes_on(offline_s: int, to_do: str) -> None:
    assert finding(box_with(is_link_up=False, offline_s=offline_s), "link").to_do == to_do


def test_a_sound_box_is_good_in_everything() -> None:
    health = examine(SOUND)
    assert health.level is Level.GOOD
    assert len(health.findings) == len(CHECKS)


def test_the_worst_finding_leads_and_decides() -> None:
    health = examine(box_with(is_link_up=False, quarantine="forked", reader_note="libzbar is missing."))
    assert [each.check for each in health.findings[:3]] == ["chain", "link", "reader"]
    assert [each.level for each in health.findings[:3]] == [Level.FAILING, Level.FAILING, Level.WARNING]
    assert health.level is Level.FAILING


@pytest.mark.parametrize(
    "box, room",
    [
        (box_with(waiting_minor=500_00, waiting=20, offline_s=HOUR_S), OfflineRoom(1_500_00, 480, 71 * HOUR_S)),
        (box_with(trust_ends_in_s=60), OfflineRoom(2_000_00, 500, 60)),
        (box_with(quarantine="forked"), NO_ROOM),
        (box_with(write_failure="The card is full."), NO_ROOM),
        (box_with(confidence=ClockConfidence.FLOOR), NO_ROOM),
        (box_with(confidence=ClockConfidence.KEPT), OfflineRoom(2_000_00, 500, 72 * HOUR_S)),
    ],
)
def test_the_room_is_what_the_box_may_still_approve_alone(box: Box, room: OfflineRoom) -> None:
    assert box.room == room


@pytest.mark.parametrize(
    "box, one_payment_minor",
    [
        (box_with(), 50_00),
        (box_with(offline_s=24 * HOUR_S + 1), 25_00),
        (box_with(waiting_minor=1_980_00), 20_00),
        (box_with(offline_s=72 * HOUR_S), 0),
        (box_with(quarantine="forked"), 0),
    ],
)
def test_the_largest_payment_the_box_may_take_alone(box: Box, one_payment_minor: int) -> None:
    assert box.one_payment_minor == one_payment_minor


@pytest.fixture
async def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def running(surroundings: EdgeWorld) -> AsyncIterator[RunningBox]:
    async with surroundings.running() as box:
        yield box


async def test_a_running_box_is_read_as_it_stands(surroundings: EdgeWorld, running: RunningBox) -> None:
    await running.authorise(12_50, running.code("alice"))
    surroundings.hands.pass_s(90)
    surroundings.is_link_up, surroundings.link_words = True, ""
    health = await running.health.examine()
    assert health.level is Level.GOOD
    assert (health.box.queue.count, health.box.queue.amount_minor) == (1, 12_50)
    assert (health.box.offline_s, health.box.trust_ends_in_s) == (90, 72 * HOUR_S - 91)
    assert health.box.room == OfflineRoom(2_000_00 - 12_50, 499, 72 * HOUR_S - 91)


async def test_contact_empties_the_queue_of_a_running_box(running: RunningBox) -> None:
    await running.authorise(12_50, running.code("alice"))
    await running.acknowledge()
    health = await running.health.examine()
    assert health.box.queue.count == 0
    assert health.box.chain.acknowledged_number == 1


async def test_a_full_card_is_found_before_a_customer_stands_there(surroundings: EdgeWorld) -> None:
    async with surroundings.running(free_bytes_min=2**62) as box:
        health = await box.health.examine()
    assert health.level is Level.FAILING
    assert "too little room" in finding(health.box, "outbox").words
    assert health.box.room == NO_ROOM
