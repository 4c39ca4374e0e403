"""What is poison in a batch: everything that its terminal has not signed, each kind by its name."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sync.ids import TerminalId
from sync.keys import Ed25519SigningKey, PublicKey
from sync.message import Message
from sync.receiver import Poison, judge_record
from sync.record import GENESIS_HASH, RECORD, Record
from sync.refusals import Refusal
from tests.unit.sync.lossy_world import TERMINAL, make_record

SIGNING_KEY = Ed25519SigningKey.generate()


def sign_record(key: Ed25519SigningKey, terminal_id: TerminalId = TERMINAL) -> bytes:
    content = make_record(1, GENESIS_HASH).content
    return RECORD.sign(key, replace(content, key_id=key.public_key.key_id, terminal_id=terminal_id)).encode()


def break_last_byte(encoded: bytes) -> bytes:
    return encoded[:-1] + bytes((encoded[-1] ^ 1,))


def judge(encoded: bytes, known: Sequence[PublicKey] = (SIGNING_KEY.public_key,)) -> Message[Record] | Poison:
    keys = {key.key_id: key for key in known}
    return judge_record(
        encoded,
        terminal_id=TERMINAL,
        find_terminal_key=lambda record: keys.get(record.key_id, Refusal.UNKNOWN_ISSUER),
    )


def test_a_record_that_its_terminal_signed_is_taken() -> None:
    message = judge(sign_record(SIGNING_KEY))
    assert isinstance(message, Message)
    assert message.content.number == 1


@pytest.mark.parametrize(
    "encoded, reason",
    [
        (b"", Refusal.TRUNCATED),
        (b"\x80", Refusal.WRONG_SHAPE),
        (bytes(2_000), Refusal.OVERSIZED),
        (sign_record(SIGNING_KEY) + b"\x00", Refusal.TRAILING_BYTES),
        (sign_record(SIGNING_KEY, TerminalId(bytes(8))), Refusal.WRONG_TERMINAL),
        (sign_record(Ed25519SigningKey.generate()), Refusal.UNKNOWN_ISSUER),
        (break_last_byte(sign_record(SIGNING_KEY)), Refusal.SIGNATURE_INVALID),
    ],
    ids=["empty", "no_pair", "oversized", "trailing", "foreign_terminal", "foreign_key", "broken"],
)
def test_poison_is_named_and_kept_under_its_hash(encoded: bytes, reason: Refusal) -> None:
    assert judge(encoded) == Poison(reason, hashlib.sha256(encoded).digest())
