"""The sale's states: what every event does in every state, to the millisecond."""

from dataclasses import replace
from itertools import product

import pytest

from edge.states import (
    NOT_A_PAYMENT_CODE,
    Announce,
    AskingCloud,
    Authorise,
    Authorising,
    CameraFailed,
    CloseSale,
    CloudAsked,
    CustomerAsked,
    CustomerWasAsked,
    Event,
    Idle,
    MakeRequest,
    QuestionTaken,
    RefuseBusy,
    RequestMade,
    RequestWanted,
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
    StopWaiting,
    TextRead,
    TimePassed,
    WaitEnd,
)
from edge.steps import APPROVED_SHOWN_MS, CUSTOMER_MS_MAX, DECLINED_SHOWN_MS, SALE_MS_MAX, patience_ms, step
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
CARD_FULL = Result(ResultKind.FAILED, words="The card is full.")
CAMERA_GONE = Result(ResultKind.FAILED, words="The camera is gone.")

IDLE = Idle()
SCANNING = Scanning(SALE, ENDS_MS)
HINTING = Scanning(SALE, ENDS_MS, hint=Refusal.FOREIGN_TEXT)
OVERDUE = Scanning(SALE, NOW_MS)
AUTHORISING = Authorising(SALE, ENDS_MS)
AUTHORISING_LATE = Authorising(SALE, NOW_MS)
REQUEST = "TQ1:REQUEST"
SHOWING_REQUEST = Scanning(SALE, ENDS_MS, request_text=REQUEST)
REQUEST_OVERDUE = Scanning(SALE, NOW_MS, request_text=REQUEST)
DECIDING_ANSWER = Authorising(SALE, ENDS_MS, REQUEST)
DECIDING_ANSWER_LATE = Authorising(SALE, NOW_MS, REQUEST)
ASKED_MS = NOW_MS - 300
ASKING = AskingCloud(SALE, ASKED_MS, ASKED_MS + 5_000)
NO_WORD = AskingCloud(SALE, ASKED_MS, NOW_MS)
WAITING = CustomerAsked(SALE, NOW_MS + 1)
WAITED = CustomerAsked(SALE, NOW_MS)
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
WANTED = RequestWanted(SALE.payment_id)
WANTED_FOR_OTHER = RequestWanted(OTHER.payment_id)
MADE = RequestMade(SALE.payment_id, REQUEST)
MADE_FOR_OTHER = RequestMade(OTHER.payment_id, REQUEST)
NOT_MADE = RequestMade(SALE.payment_id, "", "The card is full.")
ASKED = CloudAsked(SALE.payment_id, 300)
ASKED_FOR_OTHER = CloudAsked(OTHER.payment_id, 300)
TAKEN = QuestionTaken(SALE.payment_id, 5_000)
TAKEN_FOR_OTHER = QuestionTaken(OTHER.payment_id, 5_000)
CUSTOMER = CustomerWasAsked(SALE.payment_id)
OTHER_CUSTOMER = CustomerWasAsked(OTHER.payment_id)
IS_CANCELLED = SaleAuthorised(SALE.payment_id, CANCELLED)

STATES: tuple[State, ...] = (
    IDLE,
    SCANNING,
    HINTING,
    OVERDUE,
    AUTHORISING,
    AUTHORISING_LATE,
    SHOWING_REQUEST,
    REQUEST_OVERDUE,
    DECIDING_ANSWER,
    DECIDING_ANSWER_LATE,
    ASKING,
    NO_WORD,
    WAITING,
    WAITED,
    SHOWING,
    SHOWN,
)
SCANS = (SCANNING, HINTING, OVERDUE)
SHOWS_REQUEST = (SHOWING_REQUEST, REQUEST_OVERDUE)
DECIDES = (AUTHORISING, AUTHORISING_LATE, DECIDING_ANSWER, DECIDING_ANSWER_LATE)
WAITS = (ASKING, NO_WORD, WAITING, WAITED)
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
    WANTED,
    WANTED_FOR_OTHER,
    MADE,
    MADE_FOR_OTHER,
    NOT_MADE,
    ASKED,
    ASKED_FOR_OTHER,
    TAKEN,
    TAKEN_FOR_OTHER,
    CUSTOMER,
    OTHER_CUSTOMER,
    IS_CANCELLED,
)

BEGIN_OTHER = Step(Scanning(OTHER, NOW_MS + SALE_MS_MAX), (StartReading(OTHER.payment_id),))
DECIDE = Step(AUTHORISING, (StopReading(), Authorise(SALE, READ.text)))
GO_ON = Step(HINTING, (StartReading(SALE.payment_id),))


TAKE_BACK = CloseSale(SALE.payment_id)


def ended(
    result: Result, *, shown_ms: int = DECLINED_SHOWN_MS, is_reading: bool = False, is_taken_back: bool = False
) -> Step:
    before = (StopReading(),) if is_reading else ()
    closing = (TAKE_BACK,) if is_taken_back else ()
    return Step(ShowingResult(SALE, result, NOW_MS + shown_ms), (*before, *closing, Announce(result)))


def stopped_waiting(why: WaitEnd) -> Step:
    return Step(Authorising(SALE, NOW_MS), (StopWaiting(SALE.payment_id, why),))


# Every pair that does something; all others change nothing and have no effect.
DOES: dict[tuple[State, Event], Step] = {
    (IDLE, STARTED): BEGIN_OTHER,
    (SHOWING, STARTED): BEGIN_OTHER,
    (SHOWN, STARTED): BEGIN_OTHER,
    (SHOWN, PASSED): Step(IDLE),
    (SHOWING, CANCEL): Step(IDLE),
    (SHOWN, CANCEL): Step(IDLE),
    **{(state, STARTED): Step(state, (RefuseBusy(OTHER),)) for state in STATES[1:-2]},
    **{(state, CANCEL): ended(CANCELLED, is_reading=True) for state in SCANS},
    **{(state, CANCEL): ended(CANCELLED, is_reading=True, is_taken_back=True) for state in SHOWS_REQUEST},
    **{(state, FAILED): ended(CAMERA_GONE, is_reading=True) for state in SCANS},
    **{(state, FAILED): ended(CAMERA_GONE, is_reading=True, is_taken_back=True) for state in SHOWS_REQUEST},
    (SCANNING, READ): DECIDE,
    (HINTING, READ): DECIDE,
    (OVERDUE, READ): Step(AUTHORISING_LATE, (StopReading(), Authorise(SALE, READ.text))),
    (SHOWING_REQUEST, READ): Step(DECIDING_ANSWER, DECIDE.effects),
    (REQUEST_OVERDUE, READ): Step(DECIDING_ANSWER_LATE, DECIDE.effects),
    (OVERDUE, PASSED): ended(TIMED_OUT, is_reading=True),
    (REQUEST_OVERDUE, PASSED): ended(TIMED_OUT, is_reading=True, is_taken_back=True),
    # However the chain ends, it has taken back itself what there was to take back, but for a text it passed over.
    **{(state, IS_APPROVED): ended(APPROVED, shown_ms=APPROVED_SHOWN_MS) for state in DECIDES + WAITS},
    **{(state, IS_DECLINED): ended(DECLINED) for state in DECIDES + WAITS},
    **{(state, IS_CANCELLED): ended(CANCELLED) for state in DECIDES + WAITS},
    (AUTHORISING, IS_FOREIGN): GO_ON,
    (AUTHORISING_LATE, IS_FOREIGN): ended(FOREIGN),
    (DECIDING_ANSWER, IS_FOREIGN): Step(replace(HINTING, request_text=REQUEST), GO_ON.effects),
    (DECIDING_ANSWER_LATE, IS_FOREIGN): ended(FOREIGN, is_taken_back=True),
    **{(state, IS_FOREIGN): ended(FOREIGN) for state in WAITS},
    # A request is made once, shown while the sale looks for a code, and taken back where it came too late.
    **{(state, WANTED): Step(state, (MakeRequest(SALE),)) for state in SCANS},
    **{(state, MADE): Step(replace(state, request_text=REQUEST)) for state in (*SCANS, AUTHORISING, AUTHORISING_LATE)},
    **{
        (state, NOT_MADE): ended(CARD_FULL, is_reading=True, is_taken_back=state in SHOWS_REQUEST)
        for state in SCANS + SHOWS_REQUEST
    },
    **{(state, MADE_FOR_OTHER): Step(state, (CloseSale(OTHER.payment_id),)) for state in STATES},
    **{(state, made): Step(state, (TAKE_BACK,)) for state in (IDLE, SHOWING, SHOWN) for made in (MADE, NOT_MADE)},
    # Asking the cloud: the clock of its silence runs from the question, the customer's from the cloud's word.
    **{(state, ASKED): Step(AskingCloud(SALE, NOW_MS, NOW_MS + 300)) for state in DECIDES},
    **{(state, TAKEN): Step(ASKING) for state in (NO_WORD,)},
    **{(state, CUSTOMER): Step(CustomerAsked(SALE, NOW_MS + CUSTOMER_MS_MAX)) for state in (*DECIDES, ASKING, NO_WORD)},
    (NO_WORD, PASSED): stopped_waiting(WaitEnd.SILENCE),
    (WAITED, PASSED): stopped_waiting(WaitEnd.TIMED_OUT),
    **{(state, CANCEL): stopped_waiting(WaitEnd.CANCELLED) for state in WAITS},
}


@pytest.mark.parametrize("state, event", list(product(STATES, EVENTS)))
def test_every_event_in_every_state(state: State, event: Event) -> None:
    assert step(state, event, now_ms=NOW_MS) == DOES.get((state, event), Step(state))


@pytest.mark.parametrize(
    "can_fall_back, is_certain, patience",
    [(True, False, 300), (True, True, 5_000), (False, False, 5_000), (False, True, 5_000)],
)
def test_a_sale_that_could_be_decided_alone_waits_for_a_doubtful_cloud_but_a_moment(
    can_fall_back: bool, is_certain: bool, patience: int
) -> None:
    assert patience_ms(can_fall_back=can_fall_back, is_certain=is_certain) == patience


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
        (ASKING, ASKED_MS + 4_999, False),
        (ASKING, ASKED_MS + 5_000, True),
        (WAITING, NOW_MS, False),
        (WAITING, NOW_MS + 1, True),
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
    [
        (IDLE, None),
        (SCANNING, ENDS_MS),
        (AUTHORISING, None),
        (ASKING, ASKED_MS + 5_000),
        (WAITING, NOW_MS + 1),
        (SHOWING, NOW_MS + 1),
    ],
)
def test_a_state_names_the_moment_it_must_be_woken_at(state: State, wake_at_ms: int | None) -> None:
    assert Step(state).wake_at_ms == wake_at_ms


def test_a_sale_looks_for_a_code_for_two_minutes_and_a_refusal_is_shown_longer_than_an_approval() -> None:
    assert (SALE_MS_MAX, APPROVED_SHOWN_MS, DECLINED_SHOWN_MS) == (120_000, 4_000, 8_000)


def test_a_sale_that_is_being_decided_is_not_interrupted_by_anything_but_its_own_chain() -> None:
    of_the_chain = (SaleAuthorised, CloudAsked, CustomerWasAsked, RequestMade)
    deaf_to = [event for event in EVENTS if not isinstance(event, of_the_chain)]
    assert all(step(AUTHORISING, event, now_ms=ENDS_MS + 1).state == AUTHORISING for event in deaf_to)
