"""The fleet's SQL about terminals: their rows, epochs and link certificates. A state changes only from a named one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, not_, select
from sqlalchemy.orm import Session

from cloud.db import insert_new, where_keys
from cloud.fleet.states import ReEnrolment, TerminalState
from cloud.fleet.tables import LINK_CERTIFICATES, SERIAL_NUMBER_SIZE, TERMINAL_EPOCHS, TERMINALS
from sync.ids import KeyId, MerchantId, SiteId, TerminalId


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal as stored; ``reason`` and ``next_action`` are empty while it is active."""

    terminal_id: TerminalId
    merchant_id: MerchantId
    site_id: SiteId
    name: str
    public_key: bytes
    hardware_serial: str
    epoch: int
    state: TerminalState
    reason: str
    next_action: str
    re_enrolment: ReEnrolment
    re_enrolment_ms: int | None
    """When it asked, or until when it is allowed."""
    re_enrolment_key_id: KeyId | None
    created_ms: int


@dataclass(frozen=True, slots=True)
class TerminalEpoch:
    """One chain: ``public_key`` signs its records, ``previous_hash`` is what its number 1 continues."""

    terminal_id: TerminalId
    epoch: int
    public_key: bytes
    previous_hash: bytes
    opened_ms: int


@dataclass(frozen=True, slots=True)
class LinkCertificate:
    """The X.509 certificate of a terminal's link."""

    serial_number: int
    terminal_id: TerminalId
    not_after_ms: int


def find_terminals(session: Session, terminal_ids: Collection[TerminalId]) -> dict[TerminalId, Terminal]:
    """Those of the terminals that exist."""
    found: dict[TerminalId, Terminal] = {}
    keys = [(terminal_id,) for terminal_id in terminal_ids]
    for condition in where_keys(TERMINALS, key=("terminal_id",), keys=keys):
        for row in session.execute(select(TERMINALS).where(condition)):
            found[TerminalId(row.terminal_id)] = _terminal(row)
    return found


def list_terminals(session: Session, *, after: TerminalId | None, limit: int) -> list[Terminal]:
    """A page of terminals by id."""
    statement = select(TERMINALS).order_by(TERMINALS.c.terminal_id).limit(limit)
    if after is not None:
        statement = statement.where(TERMINALS.c.terminal_id > after)
    return [_terminal(row) for row in session.execute(statement)]


def terminals_of(session: Session, merchant_id: MerchantId, *, limit: int) -> list[Terminal]:
    """A merchant's terminals by id."""
    chosen = select(TERMINALS).where(TERMINALS.c.merchant_id == merchant_id)
    return [_terminal(row) for row in session.execute(chosen.order_by(TERMINALS.c.terminal_id).limit(limit))]


def find_enrolled(session: Session, hardware_serial: str) -> Terminal | None:
    """The terminal that this board is enrolled as; retired ones are not meant."""
    row = session.execute(select(TERMINALS).where(TERMINALS.c.enrolled_serial == hardware_serial)).one_or_none()
    return _terminal(row) if row else None


def insert_terminal(session: Session, terminal: Terminal) -> bool:
    """Insert a newly enrolled terminal; false where its board is enrolled already."""
    row = {
        "terminal_id": terminal.terminal_id,
        "merchant_id": terminal.merchant_id,
        "site_id": terminal.site_id,
        "name": terminal.name,
        "public_key": terminal.public_key,
        "hardware_serial": terminal.hardware_serial,
        "enrolled_serial": terminal.hardware_serial,
        "epoch": terminal.epoch,
        "state": terminal.state.value,
        "reason": terminal.reason,
        "next_action": terminal.next_action,
        "re_enrolment": terminal.re_enrolment.value,
        "re_enrolment_ms": terminal.re_enrolment_ms,
        "re_enrolment_key_id": terminal.re_enrolment_key_id,
        "created_ms": terminal.created_ms,
    }
    return insert_new(session, TERMINALS, [row], key=("enrolled_serial",))[0]


def change_state(
    session: Session,
    terminal_id: TerminalId,
    *,
    from_states: Collection[TerminalState],
    to_state: TerminalState,
    reason: str = "",
    next_action: str = "",
) -> bool:
    """Change the state if it still is one of ``from_states``; retiring gives the board free."""
    values: dict[str, Any] = {"state": to_state.value, "reason": reason, "next_action": next_action}
    if to_state is TerminalState.RETIRED:
        values |= {"enrolled_serial": None, "re_enrolment": ReEnrolment.NONE.value}
    is_meant = TERMINALS.c.terminal_id == terminal_id
    is_from = TERMINALS.c.state.in_([state.value for state in from_states])
    return _changed_one(session, TERMINALS.update().where(is_meant, is_from).values(values))


def ask_re_enrolment(session: Session, terminal_id: TerminalId, *, key_id: KeyId, now_ms: int) -> None:
    """Keep that a board asked to enrol again with this key; a permission that holds is left alone."""
    columns = TERMINALS.c
    is_meant = (columns.terminal_id == terminal_id) & (columns.state != TerminalState.RETIRED.value)
    statement = TERMINALS.update().where(is_meant, not_(_is_allowed(now_ms)))
    session.execute(
        statement.values(
            re_enrolment=ReEnrolment.NEEDS_PERSON.value, re_enrolment_ms=now_ms, re_enrolment_key_id=key_id
        )
    )


def allow_re_enrolment(session: Session, terminal_id: TerminalId, *, until_ms: int) -> bool:
    """Let the terminal enrol once more until then; false where it is unknown or retired."""
    is_meant = (TERMINALS.c.terminal_id == terminal_id) & (TERMINALS.c.state != TerminalState.RETIRED.value)
    statement = TERMINALS.update().where(is_meant)
    return _changed_one(session, statement.values(re_enrolment=ReEnrolment.ALLOWED.value, re_enrolment_ms=until_ms))


def reopen_terminal(session: Session, terminal: Terminal, *, name: str, public_key: bytes, now_ms: int) -> bool:
    """Use up the permission: the next epoch, under a new key, active; false where there is none (any more)."""
    is_meant = (TERMINALS.c.terminal_id == terminal.terminal_id) & (TERMINALS.c.epoch == terminal.epoch)
    statement = TERMINALS.update().where(is_meant, _is_allowed(now_ms))
    return _changed_one(
        session,
        statement.values(
            epoch=terminal.epoch + 1,
            name=name,
            public_key=public_key,
            state=TerminalState.ACTIVE.value,
            reason="",
            next_action="",
            re_enrolment=ReEnrolment.NONE.value,
            re_enrolment_ms=None,
            re_enrolment_key_id=None,
        ),
    )


def _is_allowed(now_ms: int) -> ColumnElement[bool]:
    return and_(TERMINALS.c.re_enrolment == ReEnrolment.ALLOWED.value, TERMINALS.c.re_enrolment_ms > now_ms)


def insert_epoch(session: Session, epoch: TerminalEpoch) -> None:
    """Open a chain."""
    row = {
        "terminal_id": epoch.terminal_id,
        "epoch": epoch.epoch,
        "public_key": epoch.public_key,
        "previous_hash": epoch.previous_hash,
        "opened_ms": epoch.opened_ms,
    }
    session.execute(TERMINAL_EPOCHS.insert(), [row])


def find_epochs(
    session: Session, keys: Collection[tuple[TerminalId, int]]
) -> dict[tuple[TerminalId, int], TerminalEpoch]:
    """Those of the (terminal, epoch) chains that were opened."""
    found: dict[tuple[TerminalId, int], TerminalEpoch] = {}
    for condition in where_keys(TERMINAL_EPOCHS, key=("terminal_id", "epoch"), keys=keys):
        for row in session.execute(select(TERMINAL_EPOCHS).where(condition)):
            terminal_id = TerminalId(row.terminal_id)
            found[terminal_id, row.epoch] = TerminalEpoch(
                terminal_id, row.epoch, row.public_key, row.previous_hash, row.opened_ms
            )
    return found


def insert_link(session: Session, link: LinkCertificate) -> None:
    """Keep what identifies an issued link certificate."""
    row = {
        "serial_number": link.serial_number.to_bytes(SERIAL_NUMBER_SIZE, "big"),
        "terminal_id": link.terminal_id,
        "not_after_ms": link.not_after_ms,
        "revoked_ms": None,
    }
    session.execute(LINK_CERTIFICATES.insert(), [row])


def revoke_links(session: Session, terminal_id: TerminalId, *, now_ms: int) -> int:
    """Revoke every link certificate of the terminal that still holds; answers how many."""
    is_meant = (LINK_CERTIFICATES.c.terminal_id == terminal_id) & LINK_CERTIFICATES.c.revoked_ms.is_(None)
    statement = LINK_CERTIFICATES.update().where(is_meant).values(revoked_ms=now_ms)
    return session.connection().execute(statement).rowcount


def revoked_links(session: Session, *, not_ended_ms: int) -> list[tuple[int, int]]:
    """Serial number and time of revocation of the revoked link certificates that would still be valid."""
    columns = (LINK_CERTIFICATES.c.serial_number, LINK_CERTIFICATES.c.revoked_ms)
    is_meant = LINK_CERTIFICATES.c.revoked_ms.is_not(None) & (LINK_CERTIFICATES.c.not_after_ms > not_ended_ms)
    rows = session.execute(select(*columns).where(is_meant).order_by(LINK_CERTIFICATES.c.serial_number))
    return [(int.from_bytes(row.serial_number, "big"), row.revoked_ms) for row in rows]


def _changed_one(session: Session, statement: Any) -> bool:
    return bool(session.connection().execute(statement).rowcount == 1)


def _terminal(row: Row[Any]) -> Terminal:
    return Terminal(
        terminal_id=TerminalId(row.terminal_id),
        merchant_id=MerchantId(row.merchant_id),
        site_id=SiteId(row.site_id),
        name=row.name,
        public_key=row.public_key,
        hardware_serial=row.hardware_serial,
        epoch=row.epoch,
        state=TerminalState(row.state),
        reason=row.reason,
        next_action=row.next_action,
        re_enrolment=ReEnrolment(row.re_enrolment),
        re_enrolment_ms=row.re_enrolment_ms,
        re_enrolment_key_id=row.re_enrolment_key_id and KeyId(row.re_enrolment_key_id),
        created_ms=row.created_ms,
    )
