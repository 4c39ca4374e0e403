"""What is remembered of signatures is what the library says of exactly these bytes."""

from sync.keys import Ed25519SigningKey, PublicKey, parse_public_key
from sync.refusals import Refusal
from tests.simulation.signatures import RememberingKey, signatures_remembered

KEY = Ed25519SigningKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519SigningKey.from_private_bytes(bytes(32))
MESSAGE = b"what was signed"


def loaded(raw: bytes) -> PublicKey:
    key = parse_public_key(raw)
    assert isinstance(key, PublicKey)
    return key


def test_a_signature_that_holds_is_found_to_hold_each_time() -> None:
    with signatures_remembered():
        key = loaded(KEY.public_key.raw)
        assert isinstance(key._key, RememberingKey)
        assert [key.verify(KEY.sign(MESSAGE), MESSAGE) for _ in range(3)] == [None] * 3


def test_no_changed_bit_is_taken_for_what_is_remembered() -> None:
    signature = KEY.sign(MESSAGE)
    with signatures_remembered():
        key, other = loaded(KEY.public_key.raw), loaded(OTHER.public_key.raw)
        for _ in range(2):
            assert key.verify(signature, MESSAGE) is None
            assert other.verify(signature, MESSAGE) is Refusal.SIGNATURE_INVALID
            for bit in range(8 * len(signature)):
                damaged = bytearray(signature)
                damaged[bit // 8] ^= 1 << bit % 8
                assert key.verify(bytes(damaged), MESSAGE) is Refusal.SIGNATURE_INVALID
            for bit in range(8 * len(MESSAGE)):
                changed = bytearray(MESSAGE)
                changed[bit // 8] ^= 1 << bit % 8
                assert key.verify(signature, bytes(changed)) is Refusal.SIGNATURE_INVALID


def test_behind_the_block_keys_are_the_librarys_own_again() -> None:
    with signatures_remembered():
        assert isinstance(loaded(KEY.public_key.raw)._key, RememberingKey)
    assert not isinstance(loaded(KEY.public_key.raw)._key, RememberingKey)
