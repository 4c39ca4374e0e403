"""Posts journal entries in micro-batches and proves the books; every function works inside the caller's transaction.

Order of locks, for every writer: rows of one's own domain first, then accounts by ascending id, all in one call, then
entries. Callers that read balances before they build entries call ``lock_accounts`` with *every* account the
transaction will touch; a second call with more accounts may meet another transaction halfway (a deadlock then, which
``run_transaction`` repeats).
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import store
from cloud.ledger.batch import AccountState, BatchPlan, PostOutcome, accounts_of, plan_batch
from cloud.ledger.entries import AccountRef, JournalEntry
from cloud.ledger.store import LockedAccount

_CAUSE_RACES_MAX = 5


def post_entries(
    session: Session,
    entries: Sequence[JournalEntry],
    *,
    now_ms: int,
    locked: Mapping[AccountRef, LockedAccount] | None = None,
) -> list[PostOutcome]:
    """Post a batch; answers one outcome for each entry, in order.

    Missing accounts are made, all accounts locked once, balances computed in memory, and each touched account written
    once, guarded by its old total. ``locked`` are the accounts as ``lock_for_posting`` gave them in this transaction,
    where nothing was posted since. Raises ``LedgerInvariantError`` where a guard does not hold.
    """
    if not entries:
        return []
    if locked is None:
        locked = lock_for_posting(session, accounts_of(entries))
    plan = _plan_as_new(entries, locked)
    if plan is not None and store.insert_entries(session, plan.entries, posted_ms=now_ms):
        _write(session, plan, locked)
        return plan.outcomes
    for _ in range(_CAUSE_RACES_MAX):
        plan = _plan(session, entries, locked)
        if store.insert_entries(session, plan.entries, posted_ms=now_ms):
            _write(session, plan, locked)
            return plan.outcomes
        # Somebody without an account in common has taken one of our causes: now it is seen.
    raise LedgerInvariantError("causes were taken again and again between look and insert")


def lock_accounts(session: Session, refs: Collection[AccountRef]) -> dict[AccountRef, int]:
    """Lock the accounts until the transaction ends, making those that are missing; answers balances in minor units."""
    return {ref: account.state.balance_minor for ref, account in lock_for_posting(session, refs).items()}


def lock_for_posting(session: Session, refs: Collection[AccountRef]) -> dict[AccountRef, LockedAccount]:
    """Lock like ``lock_accounts``; the answer, handed to ``post_entries``, saves it from looking a second time."""
    wanted = sorted(set(refs))
    ids = store.find_account_ids(session, wanted)
    missing = [ref for ref in wanted if ref not in ids]
    if missing:
        store.create_accounts(session, missing)
        ids |= store.find_account_ids(session, missing)
    locked = store.lock_accounts(session, ids)
    if len(locked) != len(wanted):
        raise LedgerInvariantError(f"{len(wanted)} accounts were to be locked, {len(locked)} were there")
    return locked


def read_balances(session: Session, refs: Collection[AccountRef]) -> dict[AccountRef, int]:
    """Balances in minor units without a lock, to be shown and never decided by; an account never used has 0."""
    found = store.read_balances(session, refs)
    return {ref: found.get(ref, 0) for ref in refs}


def find_entry(session: Session, cause: str) -> JournalEntry | None:
    """The posted entry of a cause, to be shown or reversed."""
    return store.find_entry(session, cause)


def _plan_as_new(entries: Sequence[JournalEntry], locked: Mapping[AccountRef, LockedAccount]) -> BatchPlan | None:
    """Plan without looking for the causes, as nearly all are new; None where more than the unique key has to decide.

    A reversal needs to know what was taken back, and an entry without cover may be in the books already.
    """
    if any(entry.reverses is not None for entry in entries):
        return None
    plan = plan_batch(entries, states=_states(locked), content_by_cause={}, reversed_causes=frozenset())
    return plan if all(outcome is PostOutcome.POSTED for outcome in plan.outcomes) else None


def _plan(session: Session, entries: Sequence[JournalEntry], locked: Mapping[AccountRef, LockedAccount]) -> BatchPlan:
    reverses = {entry.reverses for entry in entries if entry.reverses is not None}
    return plan_batch(
        entries,
        states=_states(locked),
        content_by_cause=store.contents_by_cause(session, {entry.cause for entry in entries}),
        reversed_causes=store.reversed_causes(session, reverses),
    )


def _states(locked: Mapping[AccountRef, LockedAccount]) -> dict[AccountRef, AccountState]:
    return {ref: account.state for ref, account in locked.items()}


def _write(session: Session, plan: BatchPlan, locked: Mapping[AccountRef, LockedAccount]) -> None:
    if not plan.entries:
        return
    store.insert_lines(session, plan.lines, locked)
    changed = store.move_totals(session, plan.states, locked)
    if changed != len(plan.states):
        raise LedgerInvariantError(f"{len(plan.states)} locked totals were to be moved, {changed} held still")
