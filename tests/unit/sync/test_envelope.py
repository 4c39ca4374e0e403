"""The envelope: the exact bytes that are signed, and that nothing signed as one type passes for another."""

import hashlib

import cbor2
import pytest

from sync import cbor
from sync.envelope import Signed, SignedType, decode_signed, sig_structure, sign
from sync.keys import COSE_EDDSA, COSE_ES256, SigningKey
from sync.refusals import Refusal
from tests.fakes.signed_world import Algorithm, SignedWorld

WORLD = SignedWorld()
KEYS = [WORLD.key("signer", algorithm) for algorithm in Algorithm]


@pytest.mark.parametrize("algorithm", [COSE_EDDSA, COSE_ES256])
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 70_000])
def test_signs_the_sig_structure_of_rfc_9052(algorithm: int, size: int) -> None:
    payload = bytes(size)
    expected = ["Signature1", cbor2.dumps({1: algorithm}, canonical=True), b"tillbox/1/grant", payload]
    assert sig_structure(SignedType.GRANT, payload, cose_algorithm=algorithm) == cbor2.dumps(expected, canonical=True)


def test_every_type_has_its_own_name_that_begins_no_other_structure() -> None:
    structures = {sig_structure(kind, b"", cose_algorithm=COSE_EDDSA) for kind in SignedType}
    assert len(structures) == len(SignedType)
    assert {kind.value for kind in SignedType} == {b"tillbox/1/" + kind.name.lower().encode() for kind in SignedType}


@pytest.mark.parametrize("key", KEYS, ids=[algorithm.value for algorithm in Algorithm])
def test_what_is_signed_as_one_type_holds_as_no_other(key: SigningKey) -> None:
    for signed_as in SignedType:
        signed = sign(key, signed_as, b"payload")
        for read_as in SignedType:
            refusal = signed.verify(read_as, key.public_key)
            assert refusal is (None if read_as is signed_as else Refusal.SIGNATURE_INVALID)


def test_the_encoded_form_is_payload_and_signature() -> None:
    signed = sign(KEYS[0], SignedType.RECORD, b"payload")
    assert signed.encode() == cbor.encode((b"payload", signed.signature))
    assert decode_signed(signed.encode(), size_max=100) == signed


def test_the_hash_leaves_the_signature_out() -> None:
    assert Signed(b"payload", bytes(64)).hash == hashlib.sha256(b"payload").digest()


@pytest.mark.parametrize(
    "encoded, refusal",
    [
        (bytes(101), Refusal.OVERSIZED),
        (b"", Refusal.TRUNCATED),
        (cbor.encode(1), Refusal.WRONG_SHAPE),
        (cbor.encode((b"p",)), Refusal.WRONG_SHAPE),
        (cbor.encode((b"p", 1)), Refusal.WRONG_SHAPE),
        (cbor.encode((1, bytes(64))), Refusal.WRONG_SHAPE),
        (cbor.encode((b"p", bytes(64), b"")), Refusal.WRONG_SHAPE),
        (cbor.encode((b"p", bytes(63))), Refusal.OUT_OF_RANGE),
        (cbor.encode((b"p", bytes(65))), Refusal.OUT_OF_RANGE),
        (cbor.encode((b"p", bytes(64))) + b"\x00", Refusal.TRAILING_BYTES),
        (b"\x82\x58\x01p" + cbor.encode(bytes(64)), Refusal.NON_CANONICAL),
        (b"\x82\x61p" + cbor.encode(bytes(64)), Refusal.FORBIDDEN_CBOR),
    ],
)
def test_refuses_by_name(encoded: bytes, refusal: Refusal) -> None:
    assert decode_signed(encoded, size_max=100) is refusal
