"""The terminal's states: one sale at a time, from the amount to the result. Pure.

``step(state, event, now_ms=…)`` gives the next state and the effects that the shell carries out. Durations are on
the monotonic clock.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from sync.ids import PaymentId
from sync.money import Money
from sync.refusals import Refusal

SALE_MS_MAX = 120_000
"""A sale that found no code in two minutes ends by itself."""
APPROVED_SHOWN_MS = 4_000
DECLINED_SHOWN_MS = 8_000

NOT_A_PAYMENT_CODE = frozenset(
    {
        Refusal.FOREIGN_TEXT,
        Refusal.UNSUPPORTED_VERSION,
        Refusal.WRONG_TYPE_OF_CODE,
        Refusal.OVERSIZED,
        Refusal.BAD_BASE45,
    }
)
"""A text refused for these was not meant for us: a hint is shown and scanning goes on."""


@dataclass(frozen=True, slots=True)
class Sale:
    """What is being paid; the id is made before anything else."""

    payment_id: PaymentId
    amount: Money


class ResultKind(StrEnum):
    """How a sale ended."""

    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """How the last sale ended, and what is to be shown of it.

    ``record_number`` of an approved sale; ``receipt_text`` for its QR code; ``words`` only where the box itself
    failed, else the refusal names the words.
    """

    kind: ResultKind
    refusal: Refusal | None = None
    record_number: int | None = None
    receipt_text: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Idle:
    """Ready for an amount."""


@dataclass(frozen=True, slots=True)
class Scanning:
    """Looks for a payment code until ``ends_at_ms``; ``hint`` says why the last text seen was passed over."""

    sale: Sale
    ends_at_ms: int
    hint: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Authorising:
    """A code was seen and is being decided; nothing interrupts this, since an approval may already be written."""

    sale: Sale
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class ShowingResult:
    """The result stays on the display until ``until_ms``, or until the next sale begins."""

    sale: Sale
    result: Result
    until_ms: int


State = Idle | Scanning | Authorising | ShowingResult


@dataclass(frozen=True, slots=True)
class SaleStarted:
    sale: Sale


@dataclass(frozen=True, slots=True)
class TextRead:
    """A text that was before the camera while this payment looked for one."""

    payment_id: PaymentId
    text: str


@dataclass(frozen=True, slots=True)
class SaleAuthorised:
    """The authorise chain ended for this payment."""

    payment_id: PaymentId
    result: Result


@dataclass(frozen=True, slots=True)
class SaleCancelled:
    payment_id: PaymentId


@dataclass(frozen=True, slots=True)
class CameraFailed:
    """The camera gave up while this payment looked for a code; ``words`` say what to do."""

    payment_id: PaymentId
    words: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A moment came that the state asked to be woken at."""


Event = SaleStarted | TextRead | SaleAuthorised | SaleCancelled | CameraFailed | TimePassed


@dataclass(frozen=True, slots=True)
class StartReading:
    """Look for codes for this payment, and for no other."""

    payment_id: PaymentId


@dataclass(frozen=True, slots=True)
class StopReading:
    """Let the camera rest."""


@dataclass(frozen=True, slots=True)
class Authorise:
    """Run the chain on this text for this sale."""

    sale: Sale
    text: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Sound and light for this result."""

    result: Result


@dataclass(frozen=True, slots=True)
class RefuseBusy:
    """Another sale runs; the asker is told."""

    sale: Sale


Effect = StartReading | StopReading | Authorise | Announce | RefuseBusy


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, what to do, and when to wake it (monotonic ms) if nothing happens before."""

    state: State
    effects: tuple[Effect, ...] = field(default=())

    @property
    def wake_at_ms(self) -> int | None:
        match self.state:
            case Scanning(ends_at_ms=at_ms) | ShowingResult(until_ms=at_ms):
                return at_ms
            case Idle() | Authorising():
                return None
        assert_never(self.state)


def step(state: State, event: Event, *, now_ms: int) -> Step:
    """Return the next state and its effects; an event that means nothing in this state changes nothing."""
    match state:
        case Idle() | ShowingResult():
            return _when_free(state, event, now_ms=now_ms)
        case Scanning():
            return _when_scanning(state, event, now_ms=now_ms)
        case Authorising():
            return _when_authorising(state, event, now_ms=now_ms)
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
        case TextRead() | SaleAuthorised() | CameraFailed():
            return Step(state)
    assert_never(event)


def _when_scanning(state: Scanning, event: Event, *, now_ms: int) -> Step:
    match event:
        case TextRead(payment_id, text) if payment_id == state.sale.payment_id:
            return Step(Authorising(state.sale, state.ends_at_ms), (StopReading(), Authorise(state.sale, text)))
        case SaleCancelled(payment_id) if payment_id == state.sale.payment_id:
            return _end(state.sale, Result(ResultKind.CANCELLED), now_ms=now_ms, before=(StopReading(),))
        case TimePassed() if now_ms >= state.ends_at_ms:
            return _end(state.sale, Result(ResultKind.TIMED_OUT), now_ms=now_ms, before=(StopReading(),))
        case CameraFailed(payment_id, words) if payment_id == state.sale.payment_id:
            failed = Result(ResultKind.FAILED, words=words)
            return _end(state.sale, failed, now_ms=now_ms, before=(StopReading(),))
        case SaleStarted(sale):
            return Step(state, (RefuseBusy(sale),))
        case TextRead() | TimePassed() | SaleCancelled() | SaleAuthorised() | CameraFailed():
            return Step(state)
    assert_never(event)


def _when_authorising(state: Authorising, event: Event, *, now_ms: int) -> Step:
    match event:
        case SaleAuthorised(payment_id, result) if payment_id == state.sale.payment_id:
            if result.refusal in NOT_A_PAYMENT_CODE and now_ms < state.ends_at_ms:
                return Step(Scanning(state.sale, state.ends_at_ms, hint=result.refusal), (StartReading(payment_id),))
            return _end(state.sale, result, now_ms=now_ms)
        case SaleStarted(sale):
            return Step(state, (RefuseBusy(sale),))
        case SaleAuthorised() | TextRead() | SaleCancelled() | CameraFailed() | TimePassed():
            return Step(state)
    assert_never(event)


def _end(sale: Sale, result: Result, *, now_ms: int, before: tuple[Effect, ...] = ()) -> Step:
    shown_ms = APPROVED_SHOWN_MS if result.kind is ResultKind.APPROVED else DECLINED_SHOWN_MS
    return Step(ShowingResult(sale, result, now_ms + shown_ms), (*before, Announce(result)))
