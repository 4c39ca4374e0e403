"""SQL of the two keys under which a terminal's payment is posted once, whichever way it comes (protocol §3).

An offline record and an online approval take the same keys, so that one payment is posted by whichever is first, and
the other finds it. Whoever takes them does so before it locks the ledger's accounts.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import insert_new, where_keys
from cloud.payments.tables import SPENT_CODES, TERMINAL_PAYMENTS
from sync import cbor
from sync.ids import PaymentId, Serial, TerminalId
from sync.payment_code import PaymentCode

SpentKey = tuple[Serial, int]
"""(serial, counter)."""


class Claimed(Protocol):
    """A terminal's request or record of one sale."""

    @property
    def terminal_id(self) -> TerminalId: ...
    @property
    def payment_id(self) -> PaymentId: ...
    @property
    def code(self) -> bytes: ...
    @property
    def request(self) -> bytes: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SpentCode:
    """A code that a record or an approval spends; ``content_hash`` is of what the phone signed."""

    serial: Serial
    counter: int
    content_hash: bytes
    record_hash: bytes


def claim_payments(session: Session, claims: Sequence[tuple[TerminalId, PaymentId, bytes]]) -> list[bool]:
    """Take (terminal, payment id) for a record hash; false where another record has it."""
    rows = [{"terminal_id": t, "payment_id": p, "record_hash": h} for t, p, h in claims]
    return insert_new(session, TERMINAL_PAYMENTS, rows, key=("terminal_id", "payment_id"))


def spend_codes(session: Session, codes: Sequence[SpentCode]) -> list[SpentCode | None]:
    """Spend each code once; for a code that was spent before, answer who did, else None."""
    rows = [
        {"serial": c.serial, "counter": c.counter, "content_hash": c.content_hash, "record_hash": c.record_hash}
        for c in codes
    ]
    is_new = insert_new(session, SPENT_CODES, rows, key=("serial", "counter"))
    taken = {(code.serial, code.counter) for code, new in zip(codes, is_new, strict=True) if not new}
    first = spent_codes(session, taken)
    return [None if new else first[(code.serial, code.counter)] for code, new in zip(codes, is_new, strict=True)]


def spent_codes(session: Session, keys: Collection[SpentKey]) -> dict[SpentKey, SpentCode]:
    """Return those of the codes that are spent."""
    found: dict[SpentKey, SpentCode] = {}
    for condition in where_keys(SPENT_CODES, key=("serial", "counter"), keys=keys):
        for row in session.execute(select(SPENT_CODES).where(condition)):
            key = (Serial(row.serial), row.counter)
            found[key] = SpentCode(key[0], row.counter, row.content_hash, row.record_hash)
    return found


def posted_counters(session: Session, serials: Sequence[Serial]) -> dict[Serial, frozenset[int]]:
    """Return the spent counters of each serial."""
    counters: dict[Serial, set[int]] = {serial: set() for serial in serials}
    for condition in where_keys(SPENT_CODES, key=("serial",), keys=[(serial,) for serial in serials]):
        for row in session.execute(select(SPENT_CODES.c.serial, SPENT_CODES.c.counter).where(condition)):
            counters[Serial(row.serial)].add(row.counter)
    return {serial: frozenset(found) for serial, found in counters.items()}


def claimed_record(
    session: Session, terminal_id: TerminalId, payment_id: PaymentId, *, is_locking: bool = False
) -> bytes | None:
    """Return the hash of the record that holds this payment id, if one was posted.

    ``is_locking`` waits for a void of it that is under way, and keeps others away until the transaction ends.
    """
    statement = select(TERMINAL_PAYMENTS.c.record_hash).where(
        TERMINAL_PAYMENTS.c.terminal_id == terminal_id, TERMINAL_PAYMENTS.c.payment_id == payment_id
    )
    found: bytes | None = session.scalars(statement.with_for_update() if is_locking else statement).one_or_none()
    return found


def give_up(session: Session, terminal_id: TerminalId, payment_id: PaymentId) -> None:
    """Give a payment id back that this transaction has claimed and posts nothing for."""
    columns = TERMINAL_PAYMENTS.c
    is_meant = (columns.terminal_id == terminal_id) & (columns.payment_id == payment_id)
    session.execute(TERMINAL_PAYMENTS.delete().where(is_meant))


def hand_over(
    session: Session,
    terminal_id: TerminalId,
    payment_id: PaymentId,
    *,
    record_hash: bytes,
    spent: SpentKey | None = None,
) -> None:
    """The record of an approved payment has come: it is what holds the payment id and has spent the code now."""
    columns = TERMINAL_PAYMENTS.c
    is_meant = (columns.terminal_id == terminal_id) & (columns.payment_id == payment_id)
    session.execute(TERMINAL_PAYMENTS.update().where(is_meant).values(record_hash=record_hash))
    if spent is not None:
        is_spent = (SPENT_CODES.c.serial == spent[0]) & (SPENT_CODES.c.counter == spent[1])
        session.execute(SPENT_CODES.update().where(is_spent).values(record_hash=record_hash))


def cause_of(terminal_id: TerminalId, payment_id: PaymentId) -> str:
    """Return the journal's idempotency key of a payment that is posted by its record."""
    return f"offline:{terminal_id.hex()}:{payment_id.hex()}"


def claim_hash(asked: Claimed) -> bytes:
    """Return SHA-256 of what a terminal asks or has recorded: the same for the same sale, whichever way it comes."""
    sale = (asked.terminal_id, asked.payment_id, asked.code, asked.request, asked.amount_minor, asked.currency.encode())
    return hashlib.sha256(cbor.encode(sale)).digest()


def content_hash(code: PaymentCode) -> bytes:
    """Return SHA-256 of what the phone signed: the same for the same code, whatever carries it."""
    return hashlib.sha256(code.signed_payload()).digest()
