"""The memory of genuine grants: it answers as the check itself does, and knows only what held."""

import pytest

from cloud.ingest.verified_grants import VerifiedGrants
from sync.envelope import Signed, SignedType, sign
from sync.keys import Ed25519SigningKey, PublicKey
from sync.refusals import Refusal

KEY, OTHER_KEY = Ed25519SigningKey.generate(), Ed25519SigningKey.generate()
GRANT = sign(KEY, SignedType.GRANT, b"a grant")


class CountingKey(PublicKey):
    """A public key that counts how often it was asked."""

    asked: list[bytes]

    def __init__(self, key: PublicKey) -> None:
        super().__init__(key.raw, key._key)
        object.__setattr__(self, "asked", [])

    def verify(self, signature: bytes, message: bytes) -> Refusal | None:
        self.asked.append(signature)
        return super().verify(signature, message)


def check(memory: VerifiedGrants, grant: Signed, key: PublicKey = KEY.public_key) -> Refusal | None:
    return memory.check(key, SignedType.GRANT, payload=grant.payload, signature=grant.signature)


def test_a_known_grant_is_not_checked_again() -> None:
    memory, key = VerifiedGrants(), CountingKey(KEY.public_key)
    assert check(memory, GRANT, key) is None
    assert check(memory, GRANT, key) is None
    assert len(key.asked) == 1


@pytest.mark.parametrize(
    ("grant", "key"),
    [
        (Signed(b"another grant", GRANT.signature), KEY),
        (Signed(GRANT.payload, bytes(64)), KEY),
        (Signed(GRANT.payload, GRANT.signature[::-1]), KEY),
        (GRANT, OTHER_KEY),
    ],
    ids=["other content", "no signature", "other signature", "other key"],
)
def test_whatever_differs_from_a_known_grant_is_refused(grant: Signed, key: Ed25519SigningKey) -> None:
    memory = VerifiedGrants()
    assert check(memory, GRANT) is None
    assert check(memory, grant, key.public_key) is Refusal.SIGNATURE_INVALID
    assert check(memory, grant, key.public_key) is Refusal.SIGNATURE_INVALID


def test_other_types_are_checked_each_time() -> None:
    memory, key = VerifiedGrants(), CountingKey(KEY.public_key)
    code = sign(KEY, SignedType.PAYMENT_CODE, b"a code")
    for _ in range(2):
        refusal = memory.check(key, SignedType.PAYMENT_CODE, payload=code.payload, signature=code.signature)
        assert refusal is None
    assert len(key.asked) == 2


def test_a_grant_does_not_pass_for_another_type() -> None:
    memory = VerifiedGrants()
    assert check(memory, GRANT) is None
    refusal = memory.check(KEY.public_key, SignedType.PAYMENT_CODE, payload=GRANT.payload, signature=GRANT.signature)
    assert refusal is Refusal.SIGNATURE_INVALID


def test_the_grant_not_met_for_longest_is_forgotten_first() -> None:
    memory, key = VerifiedGrants(grants_max=2), CountingKey(KEY.public_key)
    first, second, third = (sign(KEY, SignedType.GRANT, name) for name in (b"first", b"second", b"third"))
    for grant in (first, second, first, third, first, second):
        assert check(memory, grant, key) is None
    assert key.asked == [each.signature for each in (first, second, third, second)]
