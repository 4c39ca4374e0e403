"""What is done with enrolled terminals: looked up, quarantined, lifted, retired, allowed to enrol again, published to.

Every function works inside the caller's transaction. Quarantine stops approvals at a box, never the posting of what
it approved (protocol §3), and always says what a person has to do next.
"""

from collections.abc import Collection

from sqlalchemy.orm import Session

from cloud.fleet import authority, publishing_store, store
from cloud.fleet.publishing import PublishingError
from cloud.fleet.states import FleetRefusal, TerminalState
from cloud.fleet.store import Terminal, TerminalEpoch
from cloud.fleet.tables import POLICIES, REASON_LENGTH_MAX, TRUST_SNAPSHOTS
from cloud.keyring import Keyring
from sync.ids import TerminalId

RE_ENROLMENT_ALLOWED_MS = 24 * 3600 * 1000
PAGE_MAX = 200


def find_terminal(session: Session, terminal_id: TerminalId) -> Terminal | None:
    """The terminal of this id."""
    return store.find_terminals(session, [terminal_id]).get(terminal_id)


def find_terminals(session: Session, terminal_ids: Collection[TerminalId]) -> dict[TerminalId, Terminal]:
    """Those of the terminals that exist."""
    return store.find_terminals(session, terminal_ids)


def find_epochs(
    session: Session, keys: Collection[tuple[TerminalId, int]]
) -> dict[tuple[TerminalId, int], TerminalEpoch]:
    """Those of the chains (terminal, epoch) that were opened, each with the key that signs it."""
    return store.find_epochs(session, keys)


def list_terminals(session: Session, *, after: TerminalId | None = None, limit: int = PAGE_MAX) -> list[Terminal]:
    """A page of at most 200 terminals by id, those behind ``after``."""
    return store.list_terminals(session, after=after, limit=min(limit, PAGE_MAX))


def quarantine(session: Session, terminal_id: TerminalId, *, reason: str, next_action: str) -> Terminal | FleetRefusal:
    """Mark the terminal as quarantined, with why and what a person does next; a first reason is not written over."""
    is_changed = store.change_state(
        session,
        terminal_id,
        from_states=[TerminalState.ACTIVE],
        to_state=TerminalState.QUARANTINED,
        reason=reason[:REASON_LENGTH_MAX],
        next_action=next_action[:REASON_LENGTH_MAX],
    )
    return _changed(session, terminal_id, is_changed=is_changed, otherwise=FleetRefusal.ALREADY_QUARANTINED)


def lift_quarantine(session: Session, terminal_id: TerminalId) -> Terminal | FleetRefusal:
    """Take the mark away, after a person has looked."""
    is_changed = store.change_state(
        session, terminal_id, from_states=[TerminalState.QUARANTINED], to_state=TerminalState.ACTIVE
    )
    return _changed(session, terminal_id, is_changed=is_changed, otherwise=FleetRefusal.NOT_QUARANTINED)


def retire(session: Session, terminal_id: TerminalId, *, reason: str, now_ms: int) -> Terminal | FleetRefusal:
    """Take the terminal out of service for good: its link is revoked, its board is free to be enrolled as another."""
    is_changed = store.change_state(
        session,
        terminal_id,
        from_states=[TerminalState.ACTIVE, TerminalState.QUARANTINED],
        to_state=TerminalState.RETIRED,
        reason=reason[:REASON_LENGTH_MAX],
    )
    if is_changed:
        store.revoke_links(session, terminal_id, now_ms=now_ms)
    return _changed(session, terminal_id, is_changed=is_changed, otherwise=FleetRefusal.RETIRED)


def allow_re_enrolment(session: Session, terminal_id: TerminalId, *, now_ms: int) -> Terminal | FleetRefusal:
    """Let the board of this terminal enrol once more, with a code of the same merchant and site, within 24 hours."""
    is_changed = store.allow_re_enrolment(session, terminal_id, until_ms=now_ms + RE_ENROLMENT_ALLOWED_MS)
    return _changed(session, terminal_id, is_changed=is_changed, otherwise=FleetRefusal.RETIRED)


def publishable(session: Session, terminal_id: TerminalId) -> tuple[bytes, bytes] | FleetRefusal:
    """The newest signed snapshot and policy for a terminal; refresh them by ``Publisher`` before.

    Raises ``PublishingError`` (``nothing_published``) where no version was ever made.
    """
    terminal = find_terminal(session, terminal_id)
    if terminal is None:
        return FleetRefusal.UNKNOWN_TERMINAL
    if terminal.state is TerminalState.RETIRED:
        return FleetRefusal.RETIRED
    snapshot = publishing_store.newest(session, TRUST_SNAPSHOTS)
    policy = publishing_store.newest(session, POLICIES)
    if snapshot is None or policy is None:
        raise PublishingError("nothing_published", "no trust snapshot or policy was published yet")
    return snapshot.encoded, policy.encoded


def export_revocations(session: Session, keyring: Keyring, *, now_ms: int) -> bytes:
    """Return the revocation list (PEM) of every link certificate that was revoked and has not ended."""
    revoked = [
        authority.RevokedLink(serial_number, revoked_ms)
        for serial_number, revoked_ms in store.revoked_links(session, not_ended_ms=now_ms)
    ]
    return authority.export_revocations(keyring.fleet_ca(now_ms=now_ms), revoked, now_ms=now_ms)


def _changed(
    session: Session, terminal_id: TerminalId, *, is_changed: bool, otherwise: FleetRefusal
) -> Terminal | FleetRefusal:
    terminal = find_terminal(session, terminal_id)
    if terminal is None:
        return FleetRefusal.UNKNOWN_TERMINAL
    if is_changed:
        return terminal
    return FleetRefusal.RETIRED if terminal.state is TerminalState.RETIRED else otherwise
