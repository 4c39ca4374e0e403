"""Payment ids are UUIDs of version 7 that any other implementation reads as such."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from sync.ids import make_payment_id


@given(st.integers(min_value=0, max_value=2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_payment_id_is_a_version_7_uuid_that_holds_its_time(now_ms: int, random: bytes) -> None:
    payment_id = make_payment_id(now_ms=now_ms, random_bytes=lambda size: random[:size])
    parsed = uuid.UUID(bytes=payment_id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(payment_id[:6], "big") == now_ms


@given(st.binary(min_size=10, max_size=10))
def test_all_74_random_bits_come_through(random: bytes) -> None:
    payment_id = make_payment_id(now_ms=0, random_bytes=lambda size: random[:size])
    assert payment_id[6] & 0x0F == random[0] & 0x0F
    assert payment_id[7] == random[1]
    assert payment_id[8] & 0x3F == random[2] & 0x3F
    assert payment_id[9:] == random[3:]


def test_the_example_of_rfc_9562_appendix_a_6() -> None:
    random = bytes.fromhex("0cc3 18c4 dc0c0c07398f")
    payment_id = make_payment_id(now_ms=0x017F22E279B0, random_bytes=lambda size: random[:size])
    assert uuid.UUID(bytes=payment_id) == uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


def test_later_ids_sort_behind_earlier_ones() -> None:
    early = make_payment_id(now_ms=1_000, random_bytes=lambda size: b"\xff" * size)
    late = make_payment_id(now_ms=1_001, random_bytes=lambda size: bytes(size))
    assert early < late
