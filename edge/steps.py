"""What leads where in a sale, from the amount to the result. Pure.

``step(state, event, now_ms=…)`` gives the next state and the effects that the shell carries out, and the state says
when it wants to be woken. All clocks of a sale run here: how long it looks for a code, how long the cloud may be
silent, how long the customer may take, how long the result stays.
"""

from dataclasses import replace
from typing import assert_never

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
    Effect,
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
from sync.refusals import Refusal

SALE_MS_MAX = 120_000
"""A sale that found no code in two minutes ends by itself."""
CUSTOMER_MS_MAX = 120_000
"""How long the customer may take to confirm on the phone (protocol §6)."""
UNSURE_MS_MAX = 300
"""How long a sale that the box could decide alone waits for a cloud that may not be there."""
SILENCE_MS_MAX = 5_000
"""How long it waits for one whose broker has the question, and a sale that only the cloud can decide in any case."""
APPROVED_SHOWN_MS = 4_000
DECLINED_SHOWN_MS = 8_000


def patience_ms(*, can_fall_back: bool, is_certain: bool) -> int:
    """Say how long the cloud is waited for: long where only it can decide, or where it is likely to hear us."""
    return UNSURE_MS_MAX if can_fall_back and not is_certain else SILENCE_MS_MAX


def step(state: State, event: Event, *, now_ms: int) -> Step:
    """Return the next state and its effects; an event that means nothing in this state changes nothing."""
    if isinstance(event, RequestMade) and (isinstance(state, Idle) or state.sale.payment_id != event.payment_id):
        # The sale is over: what was made for it is taken back at once.
        return Step(state, (CloseSale(event.payment_id),))
    match state:
        case Idle() | ShowingResult():
            return _when_free(state, event, now_ms=now_ms)
        case Scanning():
            return _when_scanning(state, event, now_ms=now_ms)
        case Authorising():
            return _when_authorising(state, event, now_ms=now_ms)
        case AskingCloud() | CustomerAsked():
            return _when_waiting(state, event, now_ms=now_ms)
    assert_never(state)


def _when_free(state: Idle | ShowingResult, event: Event, *, now_ms: int) -> Step:
    match event:
        case SaleStarted(sale):
            return Step(Scanning(sale, now_ms + SALE_MS_MAX), (StartReading(sale.payment_id),))
        case TimePassed():
            is_over = isinstance(state, ShowingResult) and now_ms >= state.until_ms
            return Step(Idle() if is_over else state)
        case SaleCancelled(payment_id):
            is_shown = isinstance(state, ShowingResult) and state.sale.payment_id == payment_id
            return Step(Idle() if is_shown else state)
        case RequestMade(payment_id):
            return Step(state, (CloseSale(payment_id),))
        case TextRead() | SaleAuthorised() | CameraFailed() | RequestWanted():
            return Step(state)
        case CloudAsked() | QuestionTaken() | CustomerWasAsked():
            return Step(state)
    assert_never(event)


def _when_scanning(state: Scanning, event: Event, *, now_ms: int) -> Step:
    if isinstance(event, SaleStarted):
        return Step(state, (RefuseBusy(event.sale),))
    if isinstance(event, TimePassed):
        return (
            _stop_scanning(state, Result(ResultKind.TIMED_OUT), now_ms=now_ms)
            if _is_over(state, now_ms)
            else Step(state)
        )
    if event.payment_id != state.sale.payment_id:
        return Step(state)
    match event:
        case TextRead(_, text):
            authorising = Authorising(state.sale, state.ends_at_ms, state.request_text)
            return Step(authorising, (StopReading(), Authorise(state.sale, text)))
        case SaleCancelled():
            return _stop_scanning(state, Result(ResultKind.CANCELLED), now_ms=now_ms)
        case CameraFailed(_, words):
            return _stop_scanning(state, Result(ResultKind.FAILED, words=words), now_ms=now_ms)
        case RequestWanted():
            return Step(state, () if state.request_text else (MakeRequest(state.sale),))
        case RequestMade(_, text, problem):
            if not text:
                return _stop_scanning(state, Result(ResultKind.FAILED, words=problem), now_ms=now_ms)
            return Step(replace(state, request_text=text))
        case SaleAuthorised() | CloudAsked() | QuestionTaken() | CustomerWasAsked():
            return Step(state)
    assert_never(event)


def _when_authorising(state: Authorising, event: Event, *, now_ms: int) -> Step:
    if isinstance(event, SaleStarted):
        return Step(state, (RefuseBusy(event.sale),))
    if isinstance(event, TimePassed) or event.payment_id != state.sale.payment_id:
        return Step(state)
    match event:
        case SaleAuthorised(payment_id, result):
            if result.refusal not in NOT_A_PAYMENT_CODE:
                return _end(state.sale, result, now_ms=now_ms)
            if _is_over(state, now_ms):
                return _end(state.sale, result, now_ms=now_ms, before=_closing(state))
            hint = result.refusal if isinstance(result.refusal, Refusal) else None
            scanning = Scanning(state.sale, state.ends_at_ms, hint, state.request_text)
            return Step(scanning, (StartReading(payment_id),))
        case RequestMade(_, text) if text:
            return Step(replace(state, request_text=text))
        case CloudAsked(_, patience):
            return Step(AskingCloud(state.sale, now_ms, now_ms + patience))
        case CustomerWasAsked():
            return Step(CustomerAsked(state.sale, now_ms + CUSTOMER_MS_MAX))
        case TextRead() | SaleCancelled() | CameraFailed() | RequestWanted() | RequestMade() | QuestionTaken():
            return Step(state)
    assert_never(event)


def _when_waiting(state: AskingCloud | CustomerAsked, event: Event, *, now_ms: int) -> Step:
    """While the chain waits for the cloud's word, it may be told to stop; how it ends it says itself."""
    if isinstance(event, SaleStarted):
        return Step(state, (RefuseBusy(event.sale),))
    if isinstance(event, TimePassed):
        return _stop_waiting_if_over(state, now_ms=now_ms)
    if event.payment_id != state.sale.payment_id:
        return Step(state)
    match event:
        case SaleAuthorised(_, result):
            return _end(state.sale, result, now_ms=now_ms)
        case SaleCancelled():
            return _stop_waiting(state, WaitEnd.CANCELLED, now_ms=now_ms)
        case QuestionTaken(_, patience) if isinstance(state, AskingCloud):
            return Step(replace(state, silent_at_ms=state.asked_at_ms + patience))
        case CustomerWasAsked() if isinstance(state, AskingCloud):
            return Step(CustomerAsked(state.sale, now_ms + CUSTOMER_MS_MAX))
        case QuestionTaken() | CustomerWasAsked() | CloudAsked():
            return Step(state)
        case TextRead() | CameraFailed() | RequestWanted() | RequestMade():
            return Step(state)
    assert_never(event)


def _stop_waiting_if_over(state: AskingCloud | CustomerAsked, *, now_ms: int) -> Step:
    match state:
        case AskingCloud(silent_at_ms=at_ms) if now_ms >= at_ms:
            return _stop_waiting(state, WaitEnd.SILENCE, now_ms=now_ms)
        case CustomerAsked(ends_at_ms=at_ms) if now_ms >= at_ms:
            return _stop_waiting(state, WaitEnd.TIMED_OUT, now_ms=now_ms)
        case AskingCloud() | CustomerAsked():
            return Step(state)
    assert_never(state)


def _stop_waiting(state: AskingCloud | CustomerAsked, why: WaitEnd, *, now_ms: int) -> Step:
    # The chain has passed the text as a code, so that it will not ask for another one: the time left is of no use.
    return Step(Authorising(state.sale, now_ms), (StopWaiting(state.sale.payment_id, why),))


def _stop_scanning(state: Scanning, result: Result, *, now_ms: int) -> Step:
    return _end(state.sale, result, now_ms=now_ms, before=(StopReading(), *_closing(state)))


def _closing(state: Scanning | Authorising) -> tuple[Effect, ...]:
    """Take back what the request brought about, where one is shown."""
    return (CloseSale(state.sale.payment_id),) if state.request_text else ()


def _is_over(state: Scanning | Authorising, now_ms: int) -> bool:
    return now_ms >= state.ends_at_ms


def _end(sale: Sale, result: Result, *, now_ms: int, before: tuple[Effect, ...] = ()) -> Step:
    shown_ms = APPROVED_SHOWN_MS if result.kind is ResultKind.APPROVED else DECLINED_SHOWN_MS
    return Step(ShowingResult(sale, result, now_ms + shown_ms), (*before, Announce(result)))
