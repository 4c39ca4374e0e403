"""The text form against the public library, for every pair of bytes and every length a code may have."""

import os

import base45
import pytest

from sync.qr_text import OTHER_CODE_SIZE_MAX, PAYMENT_CODE_SIZE_MAX, QrPrefix, from_text, to_text


def test_every_pair_of_bytes_is_written_as_the_library_writes_it() -> None:
    raw = b"".join(word.to_bytes(2, "big") for word in range(2**16))
    assert to_text(QrPrefix.RECEIPT, raw) == "TR1:" + base45.b45encode(raw).decode("ascii")


@pytest.mark.parametrize("last", range(256))
def test_every_last_byte_is_written_as_the_library_writes_it(last: int) -> None:
    raw = bytes((7, 9, last))
    assert to_text(QrPrefix.RECEIPT, raw) == "TR1:" + base45.b45encode(raw).decode("ascii")


@pytest.mark.parametrize(
    "prefix, size_max",
    [(QrPrefix.PAYMENT_CODE, PAYMENT_CODE_SIZE_MAX), (QrPrefix.RECEIPT, OTHER_CODE_SIZE_MAX)],
)
def test_what_is_written_is_read_back_at_every_length(prefix: QrPrefix, size_max: int) -> None:
    for size in range(1, size_max + 1):
        raw = os.urandom(size)
        assert from_text(prefix, to_text(prefix, raw)) == raw
