"""The sale's states: what every event does in every state, to the millisecond."""

from itertools import product

import pytest

from edge.states import (
    APPROVED_SHOWN_MS,
    DECLINED_SHOWN_MS,
    NOT_A_PAYMENT_CODE,
    SALE_MS_MAX,
    Announce,
    Authorise,
    Authorising,
    CameraFailed,
    Event,
    Idle,
    RefuseBusy,
    Result,
    ResultKind,
    Sale,
    SaleAuthorised,
    SaleCancelled,
    SaleStarted,
    Scanning,
    ShowingResult,
    StartReading,
    State,
    Step,
    StopReading,
    TextRead,
    TimePassed,
    step,
)
from sync.ids import PaymentId
from sync.money import Money
from sync.refusals import Refusal

NOW_MS = 1_000_000
ENDS_MS = NOW_MS + 50_000
SALE = Sale(PaymentId(b"a" * 16), Money(12_50, "EUR"))
OTHER = Sale(PaymentId(b"b" * 16), Money(3_00, "EUR"))

APPROVED = Result(ResultKind.APPROVED, record_number=7, receipt_text="TR1:")
DECLINED = Result(ResultKind.DECLINED, refusal=Refusal.CODE_EXPIRED)
FOREIGN = Result(ResultKind.DECLINED, refusal=Refusal.FOREIGN_TEXT)
CANCELLED = Result(ResultKind.CANCELLED)
TIMED_OUT = Result(ResultKind.TIMED_OUT)
CAMERA_GONE = Result(ResultKind.FAILED, words="The camera is gone.")

IDLE = Idle()
SCANNING = Scanning(SALE, ENDS_MS)
HINTING = Scanning(SALE, ENDS_MS, hint=Refusal.FOREIGN_TEXT)
OVERDUE = Scanning(SALE, NOW_MS)
AUTHORISING = Authorising(SALE, ENDS_MS)
AUTHORISING_LATE = Authorising(SALE, NOW_MS)
SHOWING = ShowingResult(SALE, APPROVED, NOW_MS + 1)
SHOWN = ShowingResult(SALE, DECLINED, NOW_MS)

STARTED = SaleStarted(OTHER)
READ = TextRead(SALE.payment_id, "TP1:TEXT")
READ_FOR_OTHER = TextRead(OTHER.payment_id, "TP1:TEXT")
IS_APPROVED = SaleAuthorised(SALE.payment_id, APPROVED)
IS_DECLINED = SaleAuthorised(SALE.payment_id, DECLINED)
IS_FOREIGN = SaleAuthorised(SALE.payment_id, FOREIGN)
OTHER_IS_APPROVED = SaleAuthorised(OTHER.payment_id, APPROVED)
CANCEL = SaleCancelled(SALE.payment_id)
CANCEL_OTHER = SaleCancelled(OTHER.payment_id)
FAILED = CameraFailed(SALE.payment_id, "The camera is gone.")
FAILED_FOR_OTHER = CameraFailed(OTHER.payment_id, "The camera is gone.")
PASSED = TimePassed()

STATES: tuple[State, ...] = (
    IDLE,
    SCANNING,
    HINTING,
    OVERDUE,
    AUTHORISING,
    AUTHORISING_LATE,
    SHOWING,
    SHOWN,
)
EVENTS: tuple[Event, ...] = (
    STARTED,
    READ,
    READ_FOR_OTHER,
    IS_APPROVED,
    IS_DECLINED,
    IS_FOREIGN,
    OTHER_IS_APPROVED,
    CANCEL,
    CANCEL_OTHER,
    FAILED,
    FAILED_FOR_OTHER,
    PASSED,
)

BEGIN_OTHER = Step(Scanning(OTHER, NOW_MS + SALE_MS_MAX), (StartReading(OTHER.payment_id),))
DECIDE = Step(AUTHORISING, (StopReading(), Authorise(SALE, READ.text)))
GO_ON = Step(HINTING, (StartReading(SALE.payment_id),))


def ended(result: Result, *, shown_ms: int = DECLINED_SHOWN_MS, is_reading: bool = False) -> Step:
    before = (StopReading(),) if is_reading else ()
    return Step(ShowingResult(SALE, result, NOW_MS + shown_ms), (*before, Announce(result)))


# Every pair that does something; all others change nothing and have no effect.
DOES: dict[tuple[State, Event], Step] = {
    (IDLE, STARTED): BEGIN_OTHER,
    (SHOWING, STARTED): BEGIN_OTHER,
    (SHOWN, STARTED): BEGIN_OTHER,
    (SHOWN, PASSED): Step(IDLE),
    (SHOWING, CANCEL): Step(IDLE),
    (SHOWN, CANCEL): Step(IDLE),
    **{(state, STARTED): Step(state, (RefuseBusy(OTHER),)) for state in STATES[1:6]},
    **{(state, CANCEL): ended(CANCELLED, is_reading=True) for state in (SCANNING, HINTING, OVERDUE)},
    **{(state, FAILED): ended(CAMERA_GONE, is_reading=True) for state in (SCANNING, HINTING, OVERDUE)},
    (SCANNING, READ): DECIDE,
    (HINTING, READ): DECIDE,
    (OVERDUE, READ): Step(AUTHORISING_LATE, (StopReading(), Authorise(SALE, READ.text))),
    (OVERDUE, PASSED): ended(TIMED_OUT, is_reading=True),
    **{(state, IS_APPROVED): ended(APPROVED, shown_ms=APPROVED_SHOWN_MS) for state in (AUTHORISING, AUTHORISING_LATE)},
    **{(state, IS_DECLINED): ended(DECLINED) for state in (AUTHORISING, AUTHORISING_LATE)},
    (AUTHORISING, IS_FOREIGN): GO_ON,
    (AUTHORISING_LATE, IS_FOREIGN): ended(FOREIGN),
}


@pytest.mark.parametrize("state, event", list(product(STATES, EVENTS)))
def test_every_event_in_every_state(state: State, event: Event) -> None:
    assert step(state, event, now_ms=NOW_MS) == DOES.get((state, event), Step(state))


def test_the_table_has_every_kind_of_state_and_event() -> None:
    assert {type(state) for state in STATES} == set(State.__args__)
    assert {type(event) for event in EVENTS} == set(Event.__args__)
    assert set(DOES) <= set(product(STATES, EVENTS))


@pytest.mark.parametrize("refusal", Refusal)
def test_only_a_text_that_was_not_meant_for_us_lets_scanning_go_on(refusal: Refusal) -> None:
    refused = SaleAuthorised(SALE.payment_id, Result(ResultKind.DECLINED, refusal=refusal))
    after = step(AUTHORISING, refused, now_ms=NOW_MS).state
    expected = Scanning(SALE, ENDS_MS, hint=refusal) if refusal in NOT_A_PAYMENT_CODE else None
    assert after == (expected or ShowingResult(SALE, refused.result, NOW_MS + DECLINED_SHOWN_MS))


@pytest.mark.parametrize(
    "state, now_ms, is_over",
    [
        (SCANNING, ENDS_MS - 1, False),
        (SCANNING, ENDS_MS, True),
        (SCANNING, ENDS_MS + 1, True),
        (SHOWING, NOW_MS, False),
        (SHOWING, NOW_MS + 1, True),
        (SHOWING, NOW_MS + 2, True),
    ],
)
def test_a_state_ends_at_its_moment_and_not_before(state: State, now_ms: int, is_over: bool) -> None:
    assert (step(state, PASSED, now_ms=now_ms).state != state) == is_over


@pytest.mark.parametrize(
    "now_ms, after", [(ENDS_MS - 1, Scanning), (ENDS_MS, ShowingResult), (ENDS_MS + 1, ShowingResult)]
)
def test_a_hint_does_not_prolong_the_sale(now_ms: int, after: type[State]) -> None:
    assert isinstance(step(AUTHORISING, IS_FOREIGN, now_ms=now_ms).state, after)


@pytest.mark.parametrize(
    "state, wake_at_ms",
    [(IDLE, None), (SCANNING, ENDS_MS), (AUTHORISING, None), (SHOWING, NOW_MS + 1)],
)
def test_a_state_names_the_moment_it_must_be_woken_at(state: State, wake_at_ms: int | None) -> None:
    assert Step(state).wake_at_ms == wake_at_ms


def test_a_sale_looks_for_a_code_for_two_minutes_and_a_refusal_is_shown_longer_than_an_approval() -> None:
    assert (SALE_MS_MAX, APPROVED_SHOWN_MS, DECLINED_SHOWN_MS) == (120_000, 4_000, 8_000)


def test_a_sale_that_is_being_decided_is_not_interrupted_by_anything_but_its_answer() -> None:
    deaf_to = [event for event in EVENTS if not isinstance(event, SaleAuthorised)]
    assert all(step(AUTHORISING, event, now_ms=ENDS_MS + 1).state == AUTHORISING for event in deaf_to)
