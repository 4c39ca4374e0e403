"""Online answers and commands: what the cloud says to one terminal, signed and with an end."""

from dataclasses import dataclass
from enum import IntEnum

from sync.envelope import SignedType
from sync.ids import KeyId, PaymentId, TerminalId
from sync.layout import Layout, blob, choice, currency, data, text, time_ms, uint
from sync.message import MessageKind


class OnlineOutcome(IntEnum):
    """The cloud's word on a sale it was asked about."""

    APPROVED = 1
    DECLINED = 2
    CUSTOMER_ASKED = 3


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """``reason`` is a refusal's stable name, or ``none``."""

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
