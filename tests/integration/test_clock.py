"""An altered clock at a real box and a real cloud (protocol §7): 1970, 2100, an hour back, a little over an hour on.

Whoever holds the card can set the board's clock. What the box then approves, what its records say of it, and how
signed cloud time sets it right, is followed here through box, worker and ledger; only the clocks are turned by hand.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloud.ingest.outcomes import Fault, Outcome
from edge.box_clock import BUILD_TIME_MS
from edge.health import Level
from edge.settings import TerminalSettings
from sync.record import RECORD, ClockConfidence, Record, RecordKind
from sync.refusals import Refusal
from tests.fakes.cloud_world import START_MS, CloudWorld, FakePhone
from tests.fakes.edge_world import TurnedHands
from tests.stack.boxes import enrolled_box
from tests.stack.memory_link import BoxAtHand, box_at_hand

HOUR_MS = 3_600_000
YEAR_1970_MS = 12_345
YEAR_2100_MS = 4_102_444_800_000
OFF_S = 600
"""How long the box is without power in these tests, and how much later it really is when it starts again."""
NOW_MS = START_MS + OFF_S * 1000
PRICE_MINOR = 3_00
SYNCED, KEPT, FLOOR = ClockConfidence.SYNCED, ClockConfidence.KEPT, ClockConfidence.FLOOR


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path / "cloud")
    yield made
    made.close()


@dataclass(frozen=True)
class Case:
    """What the board's clock says at a start ``OFF_S`` after the last contact, and what comes of it.

    ``now_ms`` is what the box takes for the time; ``refusal`` is what a customer with an honest phone is told, None
    for an approval.
    """

    system_ms: int
    now_ms: int
    confidence: ClockConfidence
    refusal: Refusal | None
    has_rtc: bool = False
    is_same_boot: bool = False


UNSURE = Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY
CASES = {
    # A new boot without a real-time clock: nobody vouches for the time, whatever it says.
    "1970": Case(YEAR_1970_MS, START_MS, FLOOR, UNSURE),
    "an hour back": Case(NOW_MS - HOUR_MS, START_MS, FLOOR, UNSURE),
    "right": Case(NOW_MS, NOW_MS, FLOOR, UNSURE),
    "an hour on": Case(START_MS + HOUR_MS, START_MS + HOUR_MS, FLOOR, UNSURE),
    "an hour and 1 ms on": Case(START_MS + HOUR_MS + 1, START_MS, FLOOR, UNSURE),
    "2100": Case(YEAR_2100_MS, START_MS, FLOOR, UNSURE),
    # With one: never below the floor, else believed, and then only codes of that time are fresh.
    "1970 with RTC": Case(YEAR_1970_MS, START_MS, FLOOR, UNSURE, has_rtc=True),
    "an hour back with RTC": Case(NOW_MS - HOUR_MS, START_MS, FLOOR, UNSURE, has_rtc=True),
    "right with RTC": Case(NOW_MS, NOW_MS, KEPT, None, has_rtc=True),
    "an hour and 1 ms on with RTC": Case(
        NOW_MS + HOUR_MS + 1, NOW_MS + HOUR_MS + 1, KEPT, Refusal.CODE_EXPIRED, has_rtc=True
    ),
    "2100 with RTC": Case(YEAR_2100_MS, YEAR_2100_MS, KEPT, Refusal.SNAPSHOT_EXPIRED, has_rtc=True),
    # Killed and started in one boot after contact: the boot clock knows, and no other clock is asked.
    "1970 in the same boot": Case(YEAR_1970_MS, NOW_MS, SYNCED, None, is_same_boot=True),
    "an hour back in the same boot": Case(NOW_MS - HOUR_MS, NOW_MS, SYNCED, None, is_same_boot=True),
    "an hour and 1 ms on in the same boot": Case(NOW_MS + HOUR_MS + 1, NOW_MS, SYNCED, None, is_same_boot=True),
    "2100 in the same boot, with RTC": Case(YEAR_2100_MS, NOW_MS, SYNCED, None, has_rtc=True, is_same_boot=True),
}


async def a_box_after_contact(
    world: CloudWorld, folder: Path, hands: TurnedHands
) -> tuple[TerminalSettings, FakePhone]:
    """Enrol a box and let it have contact at ``START_MS``; give it and a customer."""
    settings = await enrolled_box(world, folder)
    world.clock.wall_ms = hands.system_ms = START_MS - 1_000
    # The first start is on a clock that is right, so that no chain begins with a step of it.
    async with box_at_hand(world, settings, replace(hands, has_rtc=True)) as box:
        await box.have_contact()
        assert (await box.state()).last_contact_ms == START_MS
    hands.pass_s(1)
    return settings, world.phone()


async def chain_of(box: BoxAtHand) -> list[Record]:
    stored = await box.box.outbox.records_from(1, limit_count=1000, limit_bytes=2**24)
    messages = [RECORD.read(each.signed_record) for each in stored]
    return [message.content for message in messages if not isinstance(message, Refusal)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_box_that_starts_with_this_clock(case: Case, world: CloudWorld, tmp_path: Path) -> None:
    hands = TurnedHands(has_rtc=case.has_rtc)
    settings, phone = await a_box_after_contact(world, tmp_path / "box", hands)
    world.clock.pass_s(OFF_S)
    if case.is_same_boot:
        hands.pass_s(OFF_S)
        hands.system_ms = case.system_ms
    else:
        hands.reboot(system_ms=case.system_ms)

    async with box_at_hand(world, settings, hands) as box:
        reading = box.box.clock.read()
        assert (reading.now_ms, reading.confidence) == (case.now_ms, case.confidence)
        products = await box.sell(phone.code(), PRICE_MINOR)
        assert products.refusal == case.refusal
        assert products.is_approved == (case.refusal is None)
        assert [record.clock_confidence for record in await chain_of(box)] == [case.confidence] * products.is_approved
        clock = next(each for each in (await box.health.examine()).findings if each.check == "clock")
        assert (clock.level is Level.FAILING) == (case.confidence is FLOOR)

        # Signed cloud time sets it right, whatever it was; a step of over a minute stands in the chain.
        await box.have_contact()
        right_ms = world.clock.now_ms()
        reading = box.box.clock.read()
        assert (reading.now_ms, reading.confidence) == (right_ms, SYNCED)
        steps = [record.detail for record in await chain_of(box) if record.kind is RecordKind.CLOCK_SET]
        before_ms = case.now_ms + 1_000
        assert steps == ([(before_ms, right_ms)] if abs(before_ms - right_ms) > 60_000 else [])

        again = await box.sell(phone.code(), PRICE_MINOR)
        assert again.is_approved, again.refusal
        await box.have_contact()
    report = world.report()
    assert report.is_clean
    assert report.exceptions == ()
    (statement,) = report.statement.terminals
    assert statement.is_complete
    assert statement.outcomes == {Outcome.SETTLED_FROM_RESERVE: 1 + products.is_approved}


@pytest.mark.parametrize("system_ms", [YEAR_1970_MS, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS + 1, YEAR_2100_MS])
@pytest.mark.parametrize("has_rtc", [False, True], ids=["without RTC", "with RTC"])
async def test_a_clock_that_is_turned_while_the_box_runs_changes_nothing(
    system_ms: int, has_rtc: bool, world: CloudWorld, tmp_path: Path
) -> None:
    hands = TurnedHands(has_rtc=has_rtc)
    settings, phone = await a_box_after_contact(world, tmp_path / "box", hands)
    async with box_at_hand(world, settings, hands) as box:
        box.pass_s(OFF_S)
        hands.system_ms = system_ms
        assert (await box.sell(phone.code(), PRICE_MINOR)).is_approved
        (record,) = await chain_of(box)
        assert (record.authorised_at_ms, record.clock_confidence) == (NOW_MS, SYNCED)


async def test_an_enrolled_box_that_never_had_contact_takes_no_code_by_the_clock_of_its_build(
    world: CloudWorld, tmp_path: Path
) -> None:
    settings = await enrolled_box(world, tmp_path / "box")
    hands = TurnedHands(system_ms=YEAR_1970_MS, has_rtc=False)
    phone = world.phone()
    async with box_at_hand(world, settings, hands) as box:
        assert box.box.clock.now_ms() == BUILD_TIME_MS
        code = phone.code()
        refused = await box.sell(code, PRICE_MINOR)
        assert refused.refusal is UNSURE
        # The grant was verified, so it is later than its issue; that is a lower bound and not the time.
        assert refused.reading is not None
        assert refused.reading.now_ms == phone.grant.content.issued_s * 1000
        assert refused.reading.confidence is FLOOR
        floor_ms = (await box.state()).clock_floor_ms
    async with box_at_hand(world, settings, hands) as box:
        assert box.box.clock.now_ms() == floor_ms == phone.grant.content.issued_s * 1000


async def test_a_fast_clock_is_lowered_by_signed_cloud_time_and_the_cloud_takes_the_later_sales(
    world: CloudWorld, tmp_path: Path
) -> None:
    hands = TurnedHands(has_rtc=True)
    settings, honest = await a_box_after_contact(world, tmp_path / "box", hands)
    accomplice = world.phone()
    world.clock.pass_s(OFF_S)
    wrong_ms = NOW_MS + 2 * HOUR_MS
    hands.reboot(system_ms=wrong_ms)
    async with box_at_hand(world, settings, hands) as box:
        # A phone whose clock is as wrong as the box's shows codes that are fresh there, and nowhere else.
        ahead = await box.sell(accomplice.code(time_s=wrong_ms // 1000), PRICE_MINOR)
        assert ahead.is_approved
        await box.have_contact()
        right_ms = world.clock.now_ms()
        state = await box.state()
        assert state.clock_floor_ms == right_ms
        assert (await box.sell(honest.code(), PRICE_MINOR)).is_approved
        await box.have_contact()
        kinds = [(record.kind, record.detail) for record in await chain_of(box)]
    assert kinds == [
        (RecordKind.SALE, ()),
        (RecordKind.CLOCK_SET, (wrong_ms + 1_000, right_ms)),
        (RecordKind.SALE, ()),
    ]
    report = world.report()
    assert report.is_clean
    (statement,) = report.statement.terminals
    assert statement.outcomes == {Outcome.FORGED: 1, Outcome.SETTLED_FROM_RESERVE: 1}
    assert (statement.posted_minor, statement.not_posted_minor) == (PRICE_MINOR, PRICE_MINOR)
    (case,) = report.exceptions
    assert case.kind == Fault.TIME_AFTER_RECEIPT
    assert "clock" in case.next_action


@pytest.mark.parametrize("fast_s", [2, 20, 59])
async def test_a_clock_that_is_a_little_fast_never_puts_a_sale_before_the_one_it_follows(
    fast_s: int, world: CloudWorld, tmp_path: Path
) -> None:
    hands = TurnedHands(has_rtc=True)
    settings, phone = await a_box_after_contact(world, tmp_path / "box", hands)
    world.clock.pass_s(OFF_S)
    hands.reboot(system_ms=NOW_MS + fast_s * 1000)
    async with box_at_hand(world, settings, hands) as box:
        assert (await box.sell(phone.code(time_s=hands.system_ms // 1000), PRICE_MINOR)).is_approved
        await box.have_contact()
        assert (await box.sell(phone.code(time_s=box.box.clock.now_ms() // 1000), PRICE_MINOR)).is_approved
        await box.have_contact()
        times_ms = [record.authorised_at_ms for record in await chain_of(box)]
    assert times_ms == sorted(times_ms)
    report = world.report()
    assert report.exceptions == ()
    assert report.statement.terminals[0].outcomes == {Outcome.SETTLED_FROM_RESERVE: 2}


async def test_a_sale_that_meets_the_cloud_setting_the_clock_stands_behind_the_record_of_it(
    world: CloudWorld, tmp_path: Path
) -> None:
    hands = TurnedHands(has_rtc=True)
    settings, phone = await a_box_after_contact(world, tmp_path / "box", hands)
    world.clock.pass_s(OFF_S)
    hands.reboot(system_ms=NOW_MS + 2 * HOUR_MS)
    async with box_at_hand(world, settings, hands) as box:
        box.link.is_up = True
        await box.uplink.link_came_up()
        refusals = set()
        # Customers keep coming while the answer to the greeting is on its way and is carried out.
        async with asyncio.timeout(60):
            while not (products := await box.sell(phone.code(), 1)).is_approved:
                refusals.add(products.refusal)
        await box.until_all_sent()
        kinds = [record.kind for record in await chain_of(box)]
    assert refusals <= {Refusal.CODE_EXPIRED}
    assert kinds == [RecordKind.CLOCK_SET, RecordKind.SALE]
    assert world.report().exceptions == ()


async def test_a_box_whose_clock_outran_its_trust_gets_new_trust_with_the_right_time(
    world: CloudWorld, tmp_path: Path
) -> None:
    hands = TurnedHands(has_rtc=True)
    settings, phone = await a_box_after_contact(world, tmp_path / "box", hands)
    away_s = 4 * 24 * 3600
    world.clock.pass_s(away_s)
    phone = world.phone()
    hands.reboot(system_ms=YEAR_2100_MS)
    async with box_at_hand(world, settings, hands) as box:
        assert (await box.sell(phone.code(), PRICE_MINOR)).refusal is Refusal.SNAPSHOT_EXPIRED
        await box.have_contact()
        await box.have_contact()
        products = await box.sell(phone.code(), PRICE_MINOR)
        assert products.is_approved, products.refusal
