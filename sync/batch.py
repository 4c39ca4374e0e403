"""Batches: how records travel, several in one message; each record is signed, so the batch itself is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from sync import cbor
from sync.acknowledgement import NONCE_SIZE
from sync.layout import FORMAT_VERSION
from sync.record import RECORD
from sync.refusals import Refusal

BATCH_RECORDS_MAX = 100
BATCH_SIZE_MAX = 64 + BATCH_RECORDS_MAX * (RECORD.size_max + 3)


@dataclass(frozen=True, slots=True)
class Batch:
    """``nonce`` comes back in the acknowledgement; ``records`` are encoded signed records, in order."""

    nonce: bytes
    records: tuple[bytes, ...]


def encode_batch(*, nonce: bytes, records: Sequence[bytes]) -> bytes:
    """Return ``[1, nonce, [record, …]]``."""
    return cbor.encode((FORMAT_VERSION, nonce, tuple(records)))


def decode_batch(encoded: bytes) -> Batch | Refusal:
    """Parse strictly; the records themselves are left to ``RECORD.read``, so that a bad one stays alone."""
    if len(encoded) > BATCH_SIZE_MAX:
        return Refusal.OVERSIZED
    value = cbor.decode(encoded)
    if isinstance(value, Refusal):
        return value
    match value:
        case (int() as version, bytes() as nonce, tuple() as records) if len(nonce) == NONCE_SIZE:
            if version != FORMAT_VERSION:
                return Refusal.UNSUPPORTED_VERSION
            if not 0 < len(records) <= BATCH_RECORDS_MAX:
                return Refusal.OUT_OF_RANGE
            encoded_records = tuple(record for record in records if isinstance(record, bytes))
            if len(encoded_records) != len(records):
                return Refusal.WRONG_SHAPE
            return Batch(nonce, encoded_records)
    return Refusal.WRONG_SHAPE
