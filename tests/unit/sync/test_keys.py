"""Keys and signatures: what both algorithms accept, and every way in which a key or signature is refused."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from sync.keys import Ed25519SigningKey, P256SigningKey, PublicKey, SigningKey, key_id_of, parse_public_key
from sync.refusals import Refusal
from tests.fakes.signed_world import Rfc6979SigningKey

ED25519_P = 2**255 - 19
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
P256_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MESSAGE = b"what was signed"

# The encodings that the literature lists ("Taming the many EdDSAs", table 4, and libsodium's blocklist): the eight
# points of small order, canonical and not.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

MakeKey = Callable[[], SigningKey]
MAKERS: list[MakeKey] = [
    lambda: Ed25519SigningKey.from_private_bytes(bytes(range(32))),
    lambda: P256SigningKey.from_private_bytes(bytes(range(1, 33))),
    lambda: Rfc6979SigningKey(bytes(range(1, 33))),
]
every_algorithm = pytest.mark.parametrize("make_key", MAKERS, ids=["ed25519", "p256", "p256_rfc6979"])


def loaded(raw: bytes) -> PublicKey:
    key = parse_public_key(raw)
    assert isinstance(key, PublicKey)
    return key


@every_algorithm
def test_a_signature_holds_for_its_message_and_key_only(make_key: MakeKey) -> None:
    key = make_key()
    signature = key.sign(MESSAGE)
    assert len(signature) == 64
    assert key.public_key.verify(signature, MESSAGE) is None
    assert key.public_key.verify(signature, MESSAGE + b"!") is Refusal.SIGNATURE_INVALID
    assert Ed25519SigningKey.generate().public_key.verify(signature, MESSAGE) is Refusal.SIGNATURE_INVALID
    assert P256SigningKey.generate().public_key.verify(signature, MESSAGE) in (
        Refusal.SIGNATURE_INVALID,
        Refusal.HIGH_S,
    )


@every_algorithm
def test_no_bit_of_a_signature_may_change(make_key: MakeKey) -> None:
    key = make_key()
    signature = key.sign(MESSAGE)
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert key.public_key.verify(bytes(changed), MESSAGE) in (Refusal.SIGNATURE_INVALID, Refusal.HIGH_S)


@every_algorithm
@pytest.mark.parametrize("size", [0, 63, 65, 70, 72])
def test_a_signature_of_another_length_is_invalid(make_key: MakeKey, size: int) -> None:
    key = make_key()
    signature = (key.sign(MESSAGE) * 2)[:size]
    assert key.public_key.verify(signature, MESSAGE) is Refusal.SIGNATURE_INVALID


@every_algorithm
def test_private_bytes_bring_the_same_key_back(make_key: MakeKey) -> None:
    key = make_key()
    if isinstance(key, Ed25519SigningKey | P256SigningKey):
        assert type(key).from_private_bytes(key.private_bytes()).public_key == key.public_key


def test_the_key_id_is_the_first_four_bytes_of_the_hash() -> None:
    raw = Ed25519SigningKey.generate().public_key.raw
    assert loaded(raw).key_id == key_id_of(raw) == hashlib.sha256(raw).digest()[:4]


def test_keys_are_equal_when_their_bytes_are() -> None:
    raw = P256SigningKey.generate().public_key.raw
    assert {loaded(raw)} == {loaded(bytes(bytearray(raw)))}
    assert loaded(raw) != P256SigningKey.generate().public_key
    assert loaded(raw) != raw


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_an_ed25519_key_of_small_order_is_weak(encoded: str) -> None:
    assert parse_public_key(bytes.fromhex(encoded)) is Refusal.WEAK_KEY


@pytest.mark.parametrize("excess", range(19))
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_an_ed25519_key_that_is_not_canonical_is_weak(excess: int, sign: int) -> None:
    assert parse_public_key((ED25519_P + excess | sign).to_bytes(32, "little")) is Refusal.WEAK_KEY


def test_the_largest_canonical_ordinate_is_not_called_weak() -> None:
    assert isinstance(parse_public_key((ED25519_P - 2).to_bytes(32, "little")), PublicKey)


def test_without_the_check_one_signature_would_hold_for_every_message() -> None:
    """Why weak keys are refused: the library underneath says yes here."""
    identity = bytes.fromhex(SMALL_ORDER[0])
    for message in (b"one", b"two"):
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), message)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_any_32_bytes_and_any_signature_give_a_refusal_and_never_raise(raw: bytes, signature: bytes) -> None:
    key = parse_public_key(raw)
    assert key is Refusal.WEAK_KEY or loaded(raw).verify(signature, MESSAGE) is Refusal.SIGNATURE_INVALID


@given(st.binary(min_size=33, max_size=33), st.binary(min_size=64, max_size=64))
def test_any_33_bytes_and_any_signature_give_a_refusal_and_never_raise(raw: bytes, signature: bytes) -> None:
    raw = bytes((2 + raw[0] % 2,)) + raw[1:]
    key = parse_public_key(raw)
    if key is not Refusal.BAD_KEY:
        assert loaded(raw).verify(signature, MESSAGE) in (Refusal.SIGNATURE_INVALID, Refusal.HIGH_S)


@given(st.binary(max_size=70).filter(lambda raw: len(raw) not in (32, 33)))
def test_any_other_length_is_no_key(raw: bytes) -> None:
    assert parse_public_key(raw) is Refusal.BAD_KEY


def test_only_the_two_compressed_heads_begin_a_p256_key() -> None:
    raw = P256SigningKey.generate().public_key.raw
    for head in range(256):
        key = parse_public_key(bytes((head,)) + raw[1:])
        assert isinstance(key, PublicKey) == (head in (2, 3))


def test_a_p256_abscissa_beyond_the_field_is_no_key() -> None:
    small = [x for x in range(1, 200) if isinstance(parse_public_key(b"\x02" + x.to_bytes(32, "big")), PublicKey)]
    assert len(small) > 50
    for x in small:
        for head in (b"\x02", b"\x03"):
            assert parse_public_key(head + (P256_P + x).to_bytes(32, "big")) is Refusal.BAD_KEY


def test_a_p256_abscissa_that_is_on_no_point_is_no_key() -> None:
    refused = [x for x in range(1, 200) if parse_public_key(b"\x02" + x.to_bytes(32, "big")) is Refusal.BAD_KEY]
    assert len(refused) > 50


def test_the_p256_signature_with_the_other_s_is_high_s() -> None:
    key = P256SigningKey.generate()
    signature = key.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "big")
    other = signature[:32] + (P256_ORDER - s).to_bytes(32, "big")
    assert key.public_key.verify(other, MESSAGE) is Refusal.HIGH_S


def test_every_p256_signature_of_ours_has_low_s() -> None:
    key = P256SigningKey(ec.generate_private_key(ec.SECP256R1()))
    for number in range(40):
        signature = key.sign(bytes((number,)))
        assert int.from_bytes(signature[32:], "big") <= P256_ORDER // 2


@pytest.mark.parametrize("r", [0, 1, P256_ORDER - 1, P256_ORDER, P256_ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, P256_ORDER // 2, P256_ORDER // 2 + 1, P256_ORDER - 1, P256_ORDER, 2**256 - 1])
def test_r_and_s_at_the_edges_of_their_range_are_refused(r: int, s: int) -> None:
    key = P256SigningKey.from_private_bytes(bytes(range(1, 33))).public_key
    refusal = key.verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), MESSAGE)
    assert refusal is (Refusal.HIGH_S if s > P256_ORDER // 2 else Refusal.SIGNATURE_INVALID)


def test_a_p256_signature_with_r_plus_the_order_is_refused() -> None:
    """The small r that has a second spelling is rare, so the spelling itself is tried on ordinary ones."""
    key = P256SigningKey.from_private_bytes(bytes(range(1, 33)))
    signature = key.sign(MESSAGE)
    r = int.from_bytes(signature[:32], "big")
    wrapped = (r + P256_ORDER) % 2**256
    refusal = key.public_key.verify(wrapped.to_bytes(32, "big") + signature[32:], MESSAGE)
    assert refusal is Refusal.SIGNATURE_INVALID


@pytest.mark.parametrize("multiple", range(1, 16))
def test_an_ed25519_s_beyond_the_order_is_refused(multiple: int) -> None:
    key = Ed25519SigningKey.from_private_bytes(bytes(range(32)))
    signature = key.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "little") + multiple * ED25519_ORDER
    if s < 2**256:
        changed = signature[:32] + s.to_bytes(32, "little")
        assert key.public_key.verify(changed, MESSAGE) is Refusal.SIGNATURE_INVALID


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_an_ed25519_signature_with_r_of_small_order_and_s_zero_is_refused(encoded: str) -> None:
    key = Ed25519SigningKey.generate().public_key
    assert key.verify(bytes.fromhex(encoded) + bytes(32), MESSAGE) is Refusal.SIGNATURE_INVALID


def test_the_first_vector_of_rfc_8032() -> None:
    key = Ed25519SigningKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert key.public_key.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


def test_the_sample_vector_of_rfc_6979_with_s_made_low() -> None:
    scalar = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
    signature = Rfc6979SigningKey(scalar).sign(b"sample")
    assert signature[:32].hex() == "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert int.from_bytes(signature[32:], "big") == min(s, P256_ORDER - s)
