"""Every kind of message, the same way: it is read as it was written, verified under its key only, and never changed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import cbor
from sync.envelope import SignedType
from sync.keys import PublicKey
from sync.message import ENVELOPE_OVERHEAD, Message
from sync.refusals import Refusal
from tests.fakes.signed_examples import ALL_KINDS, Example, examples
from tests.fakes.signed_world import Algorithm, SignedWorld

WORLD = SignedWorld()
ED25519 = examples(WORLD)
P256 = examples(SignedWorld(algorithm=Algorithm.P256), algorithm=Algorithm.P256)
EVERY = [*ED25519.values(), *P256.values()]
every_example = pytest.mark.parametrize(
    "example", EVERY, ids=[f"{e.kind.signed_type.name.lower()}-{len(e.key.public_key.raw)}" for e in EVERY]
)
CONTENT_FREE = {SignedType.PAYMENT_CODE, SignedType.DEVICE_REQUEST}
"""Signed types with a form of their own."""


def test_there_is_an_example_of_every_kind_and_a_kind_for_every_signed_type() -> None:
    assert set(ED25519) == set(P256) == set(ALL_KINDS) == set(SignedType) - CONTENT_FREE


@every_example
def test_is_read_as_it_was_written(example: Example) -> None:
    read = example.kind.read(example.message.encode())
    assert read == example.message
    assert isinstance(read, Message)
    assert read.hash == example.message.hash
    assert read.encode() == example.message.encode()


@every_example
def test_is_verified_under_the_key_it_names(example: Example) -> None:
    opened = example.kind.open(example.message.encode(), lambda _: example.key.public_key)
    assert opened == example.message


@every_example
def test_another_key_is_an_unknown_issuer(example: Example) -> None:
    stranger = WORLD.key("stranger").public_key
    assert example.kind.open(example.message.encode(), lambda _: stranger) is Refusal.UNKNOWN_ISSUER


@every_example
def test_signed_by_another_key_under_the_same_id_is_invalid(example: Example) -> None:
    """Key ids are four bytes, so somebody can make a key with the same one: the signature decides."""
    public_key = example.key.public_key
    forger = WORLD.key("forger", Algorithm.ED25519 if len(public_key.raw) == 32 else Algorithm.P256)
    payload = example.message.signed.payload
    forged = cbor.encode((payload, forger.sign(payload)))
    assert example.kind.open(forged, lambda _: public_key) in (Refusal.SIGNATURE_INVALID, Refusal.HIGH_S)


@every_example
def test_the_refusal_of_the_key_search_is_handed_on(example: Example) -> None:
    refusal = example.kind.open(example.message.encode(), lambda _: Refusal.ISSUER_NOT_VALID)
    assert refusal is Refusal.ISSUER_NOT_VALID


@every_example
def test_signing_with_another_key_than_the_one_named_is_a_bug(example: Example) -> None:
    with pytest.raises(ValueError):
        example.kind.sign(WORLD.key("stranger"), example.message.content)


@every_example
def test_is_no_message_of_any_other_kind(example: Example) -> None:
    for other in ALL_KINDS.values():
        if other is not example.kind:
            opened = other.open(example.message.encode(), lambda _: example.key.public_key)
            assert isinstance(opened, Refusal)


@every_example
def test_no_byte_of_it_may_change(example: Example) -> None:
    encoded = example.message.encode()

    def find_key(_: Any) -> PublicKey:
        return example.key.public_key

    for at in {*range(min(len(encoded), 200)), *range(max(0, len(encoded) - 80), len(encoded))}:
        changed = bytearray(encoded)
        changed[at] ^= 1 + at % 255
        assert isinstance(example.kind.open(bytes(changed), find_key), Refusal)


@every_example
def test_is_refused_when_cut_or_longer(example: Example) -> None:
    encoded = example.message.encode()
    for size in {*range(0, len(encoded), 7), len(encoded) - 1}:
        assert example.kind.read(encoded[:size]) is Refusal.TRUNCATED
    assert example.kind.read(encoded + b"\x00") in (Refusal.TRAILING_BYTES, Refusal.OVERSIZED)
    assert example.kind.read(bytes(example.kind.size_max + 1)) is Refusal.OVERSIZED


@pytest.mark.parametrize("kind", ALL_KINDS.values(), ids=[kind.name.lower() for kind in ALL_KINDS])
@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_random_bytes_are_refused_by_name(kind: Any, data: bytes) -> None:
    assert isinstance(kind.read(data), Refusal)
    assert isinstance(kind.read(cbor.encode((data, bytes(64)))), Refusal)


LISTS_SHARE_THEIR_SIZE = {SignedType.TRUST_DELTA}
"""Both lists of a delta at their longest would not fit; it is small by its nature."""


@pytest.mark.parametrize(
    "signed_type",
    [kind for kind in ALL_KINDS if kind not in LISTS_SHARE_THEIR_SIZE],
    ids=lambda kind: kind.name.lower(),
)
def test_the_longest_content_fits_its_size_and_its_envelope(signed_type: SignedType) -> None:
    layout = ALL_KINDS[signed_type].layout
    assert layout.fields_size_max <= layout.size_max
    envelope = len(cbor.encode((bytes(layout.size_max), bytes(64)))) - layout.size_max
    assert envelope <= ENVELOPE_OVERHEAD


@every_example
def test_a_content_out_of_its_range_cannot_be_signed(example: Example) -> None:
    with pytest.raises((ValueError, TypeError)):
        example.kind.sign(example.key, replace(example.message.content, key_id=b"12345"))
