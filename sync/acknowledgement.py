"""Hello and acknowledgement: how a box greets the cloud, and the only thing that counts as contact.

An acknowledgement is sent after the cloud's commit and carries a nonce the box made; without one of its own nonces
the box believes nothing of it (protocol §2).
"""

from dataclasses import dataclass
from enum import IntEnum

from sync.envelope import SignedType
from sync.ids import KeyId, TerminalId
from sync.layout import Layout, choice, data, time_ms, uint
from sync.message import MessageKind

NONCE_SIZE = 16


class ChainState(IntEnum):
    """What the box says of its own chain when it greets."""

    SOUND = 1
    ROLLED_BACK = 2
    FORKED = 3


@dataclass(frozen=True, slots=True)
class Hello:
    """The box's greeting after each connection; head and acknowledged are numbers with hashes, 0 with 32 bytes."""

    key_id: KeyId
    terminal_id: TerminalId
    epoch: int
    nonce: bytes
    head_number: int
    head_hash: bytes
    acknowledged_number: int
    acknowledged_hash: bytes
    chain_state: ChainState
    sent_at_ms: int


HELLO = MessageKind(
    SignedType.HELLO,
    Layout(
        Hello,
        data("key_id", 4),
        data("terminal_id", 8),
        uint("epoch", least=1),
        data("nonce", NONCE_SIZE),
        uint("head_number"),
        data("head_hash", 32),
        uint("acknowledged_number"),
        data("acknowledged_hash", 32),
        choice("chain_state", ChainState),
        time_ms("sent_at_ms"),
        size_max=200,
    ),
)


class AckStatus(IntEnum):
    """What the cloud found when it took the message that is answered."""

    OK = 1
    GAP = 2
    """Numbers behind the acknowledged one are missing: send again from there."""
    FORKED = 3
    """A number came with two hashes: stop approving, go on sending."""
    ROLLED_BACK = 4
    """The box's head lies behind what was acknowledged before: stop approving, go on sending."""
    UNKNOWN_EPOCH = 5
    """The cloud does not know this epoch: the box must be enrolled again."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """All records up to ``number``, whose hash is ``head_hash``, are committed in the cloud."""

    key_id: KeyId
    terminal_id: TerminalId
    epoch: int
    number: int
    head_hash: bytes
    nonce: bytes
    status: AckStatus
    cloud_time_ms: int


ACKNOWLEDGEMENT = MessageKind(
    SignedType.ACKNOWLEDGEMENT,
    Layout(
        Acknowledgement,
        data("key_id", 4),
        data("terminal_id", 8),
        uint("epoch", least=1),
        uint("number"),
        data("head_hash", 32),
        data("nonce", NONCE_SIZE),
        choice("status", AckStatus),
        time_ms("cloud_time_ms"),
        size_max=120,
    ),
)
