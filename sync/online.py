"""Online requests, and answers and commands: what the cloud says to one terminal, signed and with an end."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sync.envelope import SignedType
from sync.ids import KeyId, PaymentId, TerminalId
from sync.layout import Layout, blob, choice, currency, data, text, time_ms, uint
from sync.message import MessageKind
from sync.qr_text import OTHER_CODE_SIZE_MAX, PAYMENT_CODE_SIZE_MAX
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class OnlineRequest:
    """The terminal asks the cloud to decide one sale; the same request asked again gets the same answer.

    ``code``: raw bytes of the payment code. ``request``: raw bytes of the payment request that a two-way code answers,
    else empty. ``asked_at_ms``: the terminal's time, Unix milliseconds.
    """

    key_id: KeyId
    terminal_id: TerminalId
    payment_id: PaymentId
    code: bytes
    request: bytes
    amount_minor: int
    currency: str
    asked_at_ms: int


ONLINE_REQUEST = MessageKind(
    SignedType.ONLINE_REQUEST,
    Layout(
        OnlineRequest,
        data("key_id", 4),
        data("terminal_id", 8),
        data("payment_id", 16),
        blob("code", size_max=PAYMENT_CODE_SIZE_MAX),
        blob("request", size_max=OTHER_CODE_SIZE_MAX),
        uint("amount_minor", least=1),
        currency(),
        time_ms("asked_at_ms"),
        size_max=640,
        check=lambda asked: None if asked.code else Refusal.OUT_OF_RANGE,
    ),
)


class OnlineReason(StrEnum):
    """Why the cloud declined a sale, where no ``Refusal`` says it; never renamed, only added."""

    NONE = "none"
    """It was not declined."""
    PAYMENT_SEEN = "payment_seen"
    """Another sale was asked for, or recorded, under this payment id."""
    PAYMENT_VOIDED = "payment_voided"
    CODE_USED = "code_used"
    """Another sale was paid with this code, or is being."""
    CODE_UNKNOWN = "code_unknown"
    """The cloud has issued no such grant or session."""
    SESSION_USED = "session_used"
    SESSION_EXPIRED = "session_expired"
    SESSION_TAKEN = "session_taken"
    """The customer is being asked about another sale."""
    INSUFFICIENT_BALANCE = "insufficient_balance"
    DAILY_LIMIT_EXCEEDED = "daily_limit_exceeded"
    CUSTOMER_NOT_ACTIVE = "customer_not_active"
    MERCHANT_NOT_ACTIVE = "merchant_not_active"
    TERMINAL_NOT_ACTIVE = "terminal_not_active"
    REJECTED_BY_CUSTOMER = "rejected_by_customer"
    CANCELLED_BY_MERCHANT = "cancelled_by_merchant"
    NOT_CONFIRMED_IN_TIME = "not_confirmed_in_time"


class OnlineOutcome(IntEnum):
    """The cloud's word on a sale it was asked about."""

    APPROVED = 1
    DECLINED = 2
    CUSTOMER_ASKED = 3


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """``reason`` is the stable name of an ``OnlineReason`` or a ``Refusal``; a reader takes names it does not know."""

    key_id: KeyId
    terminal_id: TerminalId
    payment_id: PaymentId
    outcome: OnlineOutcome
    reason: str
    amount_minor: int
    currency: str
    expires_ms: int


ONLINE_ANSWER = MessageKind(
    SignedType.ONLINE_ANSWER,
    Layout(
        OnlineAnswer,
        data("key_id", 4),
        data("terminal_id", 8),
        data("payment_id", 16),
        choice("outcome", OnlineOutcome),
        text("reason", size_max=40),
        uint("amount_minor"),
        currency(),
        time_ms("expires_ms"),
        size_max=120,
    ),
)


def check_answer(answer: OnlineAnswer, asked: OnlineRequest, *, now_ms: int) -> Refusal | None:
    """Check that a verified answer is one to this request and still holds.

    ``wrong_terminal``, ``request_mismatch`` (another payment, amount or currency) or ``message_expired``.
    """
    if answer.terminal_id != asked.terminal_id:
        return Refusal.WRONG_TERMINAL
    said = (answer.payment_id, answer.amount_minor, answer.currency)
    if said != (asked.payment_id, asked.amount_minor, asked.currency):
        return Refusal.REQUEST_MISMATCH
    return None if now_ms < answer.expires_ms else Refusal.MESSAGE_EXPIRED


class CommandName(IntEnum):
    """What the fleet service may tell a box to do."""

    SEND_NOW = 1
    SELF_TEST = 2
    QUARANTINE = 3
    LIFT_QUARANTINE = 4
    RESTART = 5
    RETIRE = 6


@dataclass(frozen=True, slots=True)
class Command:
    """Command ``number`` (ascending for each terminal, so that an old one is not carried out again)."""

    key_id: KeyId
    terminal_id: TerminalId
    number: int
    name: CommandName
    argument: bytes
    expires_ms: int


COMMAND = MessageKind(
    SignedType.COMMAND,
    Layout(
        Command,
        data("key_id", 4),
        data("terminal_id", 8),
        uint("number", least=1),
        choice("name", CommandName),
        blob("argument", size_max=256),
        time_ms("expires_ms"),
        size_max=320,
    ),
)
