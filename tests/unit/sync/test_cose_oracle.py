"""A public COSE library says yes to our signatures once the implied headers are put back, and no to changed ones."""

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pycose.headers import KID, Algorithm
from pycose.keys import curves
from pycose.keys.ec2 import EC2Key
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from sync.envelope import Signed, SignedType
from sync.ids import KeyId
from sync.keys import COSE_EDDSA, PublicKey
from tests.fakes.signed_examples import Example, examples
from tests.fakes.signed_world import Algorithm as Chosen
from tests.fakes.signed_world import SignedWorld

WORLDS = {chosen: SignedWorld(algorithm=chosen) for chosen in Chosen}
EXAMPLES = [
    pytest.param(example, id=f"{kind.name.lower()}-{chosen.value}")
    for chosen, world in WORLDS.items()
    for kind, example in examples(world, algorithm=chosen).items()
]


def cose_sign1(signed: Signed, key: PublicKey) -> list[Any]:
    """Put the implied headers back: RFC 9052 COSE_Sign1 with protected {1: algorithm} and unprotected {4: key id}."""
    protected = cbor2.dumps({1: key.cose_algorithm})
    return [protected, {4: bytes(key.key_id)}, signed.payload, signed.signature]


def cose_key(key: PublicKey) -> OKPKey | EC2Key:
    if key.cose_algorithm == COSE_EDDSA:
        return OKPKey(crv=curves.Ed25519, x=key.raw)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw).public_numbers()
    return EC2Key(crv=curves.P256, x=point.x.to_bytes(32, "big"), y=point.y.to_bytes(32, "big"))


def oracle_says_yes(signed: Signed, key: PublicKey, *, external_aad: bytes, key_id: KeyId) -> bool:
    message = Sign1Message.from_cose_obj(cose_sign1(signed, key), allow_unknown_attributes=False)
    assert message.phdr[Algorithm].identifier == key.cose_algorithm
    assert message.uhdr[KID] == key_id
    message.key = cose_key(key)
    message.external_aad = external_aad  # type: ignore[misc]
    return bool(message.verify_signature())


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_message_holds_as_cose_sign1_and_no_changed_one_does(example: Example) -> None:
    signed, key = example.message.signed, example.key.public_key
    aad, key_id = example.kind.signed_type.value, example.message.content.key_id
    assert oracle_says_yes(signed, key, external_aad=aad, key_id=key_id)
    changed = [
        (Signed(flipped(signed.payload, len(signed.payload) - 1), signed.signature), aad),
        (Signed(signed.payload, flipped(signed.signature, 5)), aad),
        (Signed(signed.payload, flipped(signed.signature, 40)), aad),
        (signed, aad + b"_"),
        (signed, b""),
    ]
    for spoiled, external_aad in changed:
        assert not oracle_says_yes(spoiled, key, external_aad=external_aad, key_id=key_id)


@pytest.mark.parametrize("issuer", Chosen)
@pytest.mark.parametrize("device", Chosen)
def test_both_signatures_of_a_payment_code_hold_as_cose_sign1(issuer: Chosen, device: Chosen) -> None:
    world = WORLDS[issuer]
    phone = world.phone("alice", algorithm=device)
    code = phone.one_way_code()
    device_part = Signed(code.signed_payload(), code.signature)
    device_key = phone.key.public_key
    aad = SignedType.PAYMENT_CODE.value
    assert oracle_says_yes(device_part, device_key, external_aad=aad, key_id=device_key.key_id)
    moved = Signed(phone.one_way_code(nonce=bytes(8)).signed_payload(), code.signature)
    assert not oracle_says_yes(moved, device_key, external_aad=aad, key_id=device_key.key_id)
    grant_key = world.find_grant_issuer(code.grant.key_id, code.grant.issued_s * 1000)
    assert isinstance(grant_key, PublicKey)
    assert oracle_says_yes(code.signed_grant, grant_key, external_aad=SignedType.GRANT.value, key_id=code.grant.key_id)
    assert not oracle_says_yes(code.signed_grant, grant_key, external_aad=aad, key_id=code.grant.key_id)
