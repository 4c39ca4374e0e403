"""What an evidence pack holds on the cloud's word alone: outcomes, postings, denials, what it could cost. Pure.

Nobody but the cloud signs these figures, so they are kept apart from what the signed bytes prove, and checked only for
fitting them. Names stay out: a payer is a grant's serial, a payer's account has no owner here, no account a balance.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.ingest.outcomes import BorneBy, Fault, Outcome
from cloud.ledger.entries import AccountKind, EntryKind
from cloud.wallets.reserve import DenyReason
from sync.record import Record

FORMAT: Final = "tillbox-evidence/1"
ROWS_MAX = 2_000
PAYER = "payer"
"""Stands for the owner of a payer's accounts."""
NOTHING_POSTED = frozenset({Outcome.FORGED, Outcome.CONFLICT, Outcome.DENIED_PAYER})

Hex = Annotated[str, Field(pattern="^([0-9a-f]{2})*$", max_length=64)]
Minor = Annotated[int, Field(strict=True)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimedPayment(_Row):
    """The outcome of one record, minor units."""

    record_hash: Hex
    outcome: Outcome
    fault: Fault
    borne_by: BorneBy
    amount_minor: Minor
    currency: str
    from_reserve_minor: Minor
    from_available_minor: Minor
    uncovered_minor: Minor
    received_at_ms: Minor


class ClaimedPosting(_Row):
    """One line of an entry; ``owner`` is a merchant id, ``platform`` or ``payer``."""

    account: AccountKind
    owner: str
    amount_minor: Minor


class ClaimedEntry(_Row):
    """One journal entry of a payment, or the one that takes it back."""

    cause: str
    kind: EntryKind
    record_hash: Hex
    postings: tuple[ClaimedPosting, ...]


class ClaimedDenial(_Row):
    """Since when, why, and from which trust snapshot on boxes refuse a serial."""

    serial: Hex
    reason: DenyReason
    since_ms: Minor
    snapshot_version: int | None


class ClaimedCase(_Row):
    """What waits or waited for a person."""

    kind: str
    next_action: str
    opened_at_ms: Minor


class ClaimedExposure(_Row):
    """What the grant could cost and did, minor units."""

    serial: Hex
    groups: int
    ceiling_minor: Minor
    reserve_minor: Minor
    bound_minor: Minor
    loss_minor: Minor


class Claims(_Row):
    """Everything the cloud says besides what was signed."""

    format: Literal["tillbox-evidence/1"] = FORMAT
    terminal_id: Hex
    payment_id: Hex
    cases: tuple[ClaimedCase, ...] = Field(max_length=ROWS_MAX)
    payments: tuple[ClaimedPayment, ...] = Field(max_length=ROWS_MAX)
    entries: tuple[ClaimedEntry, ...] = Field(max_length=ROWS_MAX)
    denials: tuple[ClaimedDenial, ...] = Field(max_length=ROWS_MAX)
    exposures: tuple[ClaimedExposure, ...] = Field(max_length=ROWS_MAX)

    def encode(self) -> bytes:
        """Return the one spelling of these claims."""
        return to_json(self.model_dump(mode="json"))


def decode_claims(encoded: bytes) -> Claims | None:
    """Read claims strictly; None for anything but their one spelling."""
    try:
        claims = Claims.model_validate_json(encoded)
    except ValidationError:
        return None
    return claims if claims.encode() == encoded else None


def to_json(content: object) -> bytes:
    """Return JSON in the one spelling of evidence packs: sorted keys, ASCII, a line for each value."""
    return (json.dumps(content, sort_keys=True, ensure_ascii=True, indent=1) + "\n").encode("ascii")


def contradiction(claims: Claims, records: Mapping[bytes, Record]) -> str | None:
    """Say which of the claims does not fit the signed records (by hash) or does not add up, or None."""
    payments = {bytes.fromhex(each.record_hash): each for each in claims.payments}
    if payments.keys() != records.keys() or len(payments) != len(claims.payments):
        return "the outcomes are of other records"
    for record_hash, payment in payments.items():
        if words := _payment_fault(payment, records[record_hash]):
            return f"{words}: record {record_hash.hex()}"
    return _entries_fault(claims, payments) or _exposures_fault(claims)


def _payment_fault(payment: ClaimedPayment, record: Record) -> str | None:
    if (payment.amount_minor, payment.currency) != (record.amount_minor, record.currency):
        return "the outcome is of another amount"
    parts = (payment.from_reserve_minor, payment.from_available_minor, payment.uncovered_minor)
    expected_minor = 0 if payment.outcome in NOTHING_POSTED else payment.amount_minor
    is_split = min(parts) >= 0 and (sum(parts) == expected_minor or payment.outcome is Outcome.VOID)
    return None if is_split else "the parts of the payment do not add up"


def _entries_fault(claims: Claims, payments: Mapping[bytes, ClaimedPayment]) -> str | None:
    posted: defaultdict[bytes, defaultdict[AccountKind, int]] = defaultdict(lambda: defaultdict(int))
    for entry in claims.entries:
        if sum(posting.amount_minor for posting in entry.postings):
            return f"an entry does not sum to zero: {entry.cause}"
        for posting in entry.postings:
            posted[bytes.fromhex(entry.record_hash)][posting.account] += posting.amount_minor
    if not posted.keys() <= payments.keys():
        return "an entry is of no record here"
    for record_hash, payment in payments.items():
        is_void = payment.outcome is Outcome.VOID
        expected = {
            AccountKind.PAYER_OFFLINE: -payment.from_reserve_minor,
            AccountKind.PAYER_AVAILABLE: -payment.from_available_minor,
            AccountKind.SUSPENSE: payment.uncovered_minor,
            AccountKind.OFFLINE_LOSS: -payment.uncovered_minor,
        }
        found = posted[record_hash]
        if any(found[kind] != (0 if is_void else amount_minor) for kind, amount_minor in expected.items()):
            return f"the postings are of another payment: record {record_hash.hex()}"
    return None


def _exposures_fault(claims: Claims) -> str | None:
    for each in claims.exposures:
        if each.bound_minor != max(0, each.ceiling_minor - each.reserve_minor):
            return f"the bound does not add up: serial {each.serial}"
    return None
