"""The terminal's states, what happens to them, and what the shell is asked for: plain values, one sale at a time.

``edge/steps.py`` says what leads where. Durations are on the monotonic clock.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from sync.ids import PaymentId
from sync.money import Money
from sync.online import OnlineReason
from sync.refusals import Refusal

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

    ``record_number`` of an approved sale, ``is_by_cloud`` where the cloud has said yes to it; ``receipt_text`` for its
    QR code; ``words`` only where the box itself failed, else the refusal names the words.
    """

    kind: ResultKind
    refusal: Refusal | OnlineReason | None = None
    record_number: int | None = None
    receipt_text: str = ""
    words: str = ""
    is_by_cloud: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Ready for an amount."""


@dataclass(frozen=True, slots=True)
class Scanning:
    """Looks for a payment code until ``ends_at_ms``; ``hint`` says why the last text seen was passed over.

    ``request_text`` is the payment request that is shown for the customer's phone, if one is.
    """

    sale: Sale
    ends_at_ms: int
    hint: Refusal | None = None
    request_text: str = ""


@dataclass(frozen=True, slots=True)
class Authorising:
    """A code was seen and is being decided; nothing interrupts this, since an approval may already be written."""

    sale: Sale
    ends_at_ms: int
    request_text: str = ""


@dataclass(frozen=True, slots=True)
class AskingCloud:
    """The question is out; what the cloud has not answered until ``silent_at_ms`` is decided without it."""

    sale: Sale
    asked_at_ms: int
    silent_at_ms: int


@dataclass(frozen=True, slots=True)
class CustomerAsked:
    """The customer is asked on the phone, until ``ends_at_ms``."""

    sale: Sale
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class ShowingResult:
    """The result stays on the display until ``until_ms``, or until the next sale begins."""

    sale: Sale
    result: Result
    until_ms: int


State = Idle | Scanning | Authorising | AskingCloud | CustomerAsked | ShowingResult


class WaitEnd(StrEnum):
    """Why nobody waits for the cloud's word any more."""

    SILENCE = "silence"
    """The cloud has said nothing in time, or cannot be reached at all."""
    TIMED_OUT = "timed_out"
    """The customer was asked and has not answered in time."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class SaleStarted:
    sale: Sale


@dataclass(frozen=True, slots=True)
class TextRead:
    """A text that was before the camera while this payment looked for one."""

    payment_id: PaymentId
    text: str


@dataclass(frozen=True, slots=True)
class RequestWanted:
    """Somebody wants the payment request of this payment to be shown."""

    payment_id: PaymentId


@dataclass(frozen=True, slots=True)
class RequestMade:
    """The payment request is on the card and may be shown; an empty text says why not in ``problem``."""

    payment_id: PaymentId
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CloudAsked:
    """The question about this payment is on its way; the cloud is given ``patience_ms`` for its answer."""

    payment_id: PaymentId
    patience_ms: int


@dataclass(frozen=True, slots=True)
class QuestionTaken:
    """The broker has the question, so that the answer is worth ``patience_ms`` from when it was asked."""

    payment_id: PaymentId
    patience_ms: int


@dataclass(frozen=True, slots=True)
class CustomerWasAsked:
    """The cloud asks the customer about this payment."""

    payment_id: PaymentId


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


Event = (
    SaleStarted
    | TextRead
    | RequestWanted
    | RequestMade
    | CloudAsked
    | QuestionTaken
    | CustomerWasAsked
    | SaleAuthorised
    | SaleCancelled
    | CameraFailed
    | TimePassed
)


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
class MakeRequest:
    """Make this sale's payment request and store it."""

    sale: Sale


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """Let the chain wait no longer for the cloud's word on this payment; it ends with a result all the same."""

    payment_id: PaymentId
    why: WaitEnd


@dataclass(frozen=True, slots=True)
class CloseSale:
    """The payment ended without a code that was decided on: take back what its request may have brought about."""

    payment_id: PaymentId


@dataclass(frozen=True, slots=True)
class Announce:
    """Sound and light for this result."""

    result: Result


@dataclass(frozen=True, slots=True)
class RefuseBusy:
    """Another sale runs; the asker is told."""

    sale: Sale


Effect = StartReading | StopReading | Authorise | MakeRequest | StopWaiting | CloseSale | Announce | RefuseBusy


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, what to do, and when to wake it (monotonic ms) if nothing happens before."""

    state: State
    effects: tuple[Effect, ...] = field(default=())

    @property
    def wake_at_ms(self) -> int | None:
        match self.state:
            case Scanning(ends_at_ms=at_ms) | CustomerAsked(ends_at_ms=at_ms) | ShowingResult(until_ms=at_ms):
                return at_ms
            case AskingCloud(silent_at_ms=at_ms):
                return at_ms
            case Idle() | Authorising():
                return None
        assert_never(self.state)
