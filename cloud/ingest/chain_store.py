"""The chains' SQL: locks one terminal's chain, loads what judging needs of it, and stores what came of it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from cloud.db import insert_new, upsert, where_keys
from cloud.errors import LedgerInvariantError
from cloud.ingest.chain_times import Moment
from cloud.ingest.tables import BRANCHES, CHAINS, LOST_RANGES, RECORDS, SET_ASIDE
from sync.chain import Branch, ChainView, Held, LostRange, held_from, new_chain, numbers_needed
from sync.ids import TerminalId
from sync.message import Message
from sync.record import RECORD, Record, RecordKind
from sync.refusals import Refusal

ChainKey = tuple[TerminalId, int]
"""(terminal, epoch)."""

SET_ASIDE_MAX = 1_000
"""Pieces of evidence kept of one terminal; who sends nothing but garbage shows no more with the next piece."""

_KEY = ("terminal_id", "epoch")
# No record was authorised after it was received, whatever its terminal's clock said.
_TIME_MS = case(
    (RECORDS.c.authorised_at_ms < RECORDS.c.received_at_ms, RECORDS.c.authorised_at_ms),
    else_=RECORDS.c.received_at_ms,
)


@dataclass(frozen=True, slots=True)
class LoadedChain:
    """A locked chain with the time below which each branch's next record may not lie, Unix milliseconds."""

    view: ChainView
    times_ms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class SetAsideBytes:
    """Bytes that are no record of the terminal that sent them."""

    terminal_id: TerminalId
    reason: str
    content_hash: bytes
    content: bytes


def lock_chains(session: Session, base_hashes: Mapping[ChainKey, bytes]) -> None:
    """Lock the chains in one order for everybody, making those that have no record yet; ``base_hashes`` by chain."""
    keys = sorted(base_hashes)
    rows = [{"terminal_id": t, "epoch": e, "is_forked": False, "is_rolled_back": False} for t, e in keys]
    insert_new(session, CHAINS, rows, key=_KEY)
    for condition in where_keys(CHAINS, key=_KEY, keys=keys):
        session.execute(select(CHAINS.c.epoch).where(condition).order_by(*CHAINS.primary_key).with_for_update()).all()


def load_chain(
    session: Session,
    key: ChainKey,
    *,
    base_hash: bytes,
    records: Sequence[Message[Record]] = (),
    hashes: Collection[bytes] = (),
) -> LoadedChain:
    """Load of a locked chain what judging these records (or a hello with these hashes) needs."""
    terminal_id, epoch = key
    flags = session.execute(select(CHAINS.c.is_forked, CHAINS.c.is_rolled_back).where(_is(CHAINS, key))).one_or_none()
    branch_rows = session.execute(select(BRANCHES).where(_is(BRANCHES, key)).order_by(BRANCHES.c.branch)).all()
    base = new_chain(terminal_id=terminal_id, epoch=epoch, base_hash=base_hash)
    branches = tuple(
        Branch(row.branch, row.tip_number, row.tip_hash, row.parent, row.fork_number) for row in branch_rows
    )
    floating = _held(session, and_(_is(RECORDS, key), RECORDS.c.branch.is_(None)))
    numbers = numbers_needed(records)
    wanted = or_(RECORDS.c.number.in_(sorted(numbers)), RECORDS.c.record_hash.in_(list(hashes)))
    view = ChainView(
        terminal_id,
        epoch,
        base_hash,
        branches=branches or base.branches,
        held=_held(session, and_(_is(RECORDS, key), wanted)),
        floating=floating,
        lost=_lost(session, key, numbers),
        is_forked=bool(flags and flags.is_forked),
        is_rolled_back=bool(flags and flags.is_rolled_back),
    )
    return LoadedChain(view, {row.branch: row.tip_time_ms for row in branch_rows})


def insert_records(
    session: Session, records: Sequence[tuple[Message[Record], int | None]], *, received_at_ms: int
) -> None:
    """Store records as they came, each with its branch, or None while it floats."""
    rows = [_row(message, branch, received_at_ms=received_at_ms) for message, branch in records]
    insert_new(session, RECORDS, rows, key=("record_hash",))


def save_branches(session: Session, key: ChainKey, branches: Sequence[Branch], times_ms: Mapping[int, int]) -> None:
    """Store every branch as it stands now."""
    rows = [
        {
            "terminal_id": key[0],
            "epoch": key[1],
            "branch": branch.number,
            "tip_number": branch.tip_number,
            "tip_hash": branch.tip_hash,
            "tip_time_ms": times_ms.get(branch.number, 0),
            "parent": branch.parent,
            "fork_number": branch.fork_number,
        }
        for branch in branches
    ]
    columns = ("tip_number", "tip_hash", "tip_time_ms", "parent", "fork_number")
    upsert(session, BRANCHES, rows, key=(*_KEY, "branch"), update=columns)


def save_landed(session: Session, landed: Sequence[Held]) -> None:
    """Note for records that floated on which branch they stand now."""
    for held in landed:
        session.execute(update(RECORDS).where(RECORDS.c.record_hash == held.hash).values(branch=held.branch))


def landed_moments(session: Session, landed: Sequence[Held]) -> list[Moment]:
    """Return the times of records that floated and stand on a branch now."""
    branch_of = {held.hash: held.branch for held in landed}
    columns = (RECORDS.c.number, RECORDS.c.record_hash, RECORDS.c.previous_hash, RECORDS.c.kind, _TIME_MS.label("time"))
    found: list[Moment] = []
    for condition in where_keys(RECORDS, key=("record_hash",), keys=[(each,) for each in branch_of]):
        for row in session.execute(select(*columns).where(condition)):
            is_clock_set = row.kind == int(RecordKind.CLOCK_SET)
            branch = branch_of[row.record_hash]
            found.append(Moment(row.number, row.record_hash, row.previous_hash, branch, row.time, is_clock_set))
    return found


def newest_time(session: Session, key: ChainKey, way: Sequence[tuple[int, int]]) -> int | None:
    """Return the newest time of the held records on a way of (branch, last number); None where there are none."""
    on_way = or_(*(and_(RECORDS.c.branch == branch, RECORDS.c.number <= last) for branch, last in way))
    found: int | None = session.execute(select(func.max(_TIME_MS)).where(_is(RECORDS, key), on_way)).scalar_one()
    return found


def save_lost(session: Session, key: ChainKey, closed: Sequence[LostRange]) -> None:
    """Store gaps that a ``lost`` record closed."""
    rows = [
        {
            "terminal_id": key[0],
            "epoch": key[1],
            "branch": lost.branch,
            "first_number": lost.first,
            "last_number": lost.last,
        }
        for lost in closed
    ]
    insert_new(session, LOST_RANGES, rows, key=(*_KEY, "branch", "first_number"))


def save_flags(session: Session, key: ChainKey, *, is_forked: bool, is_rolled_back: bool) -> None:
    """Note that a chain has forked or was rolled back; neither is ever taken back within an epoch."""
    values = {"is_forked": is_forked, "is_rolled_back": is_rolled_back}
    session.execute(update(CHAINS).where(_is(CHAINS, key)).values(**values))


def insert_set_aside(session: Session, items: Sequence[SetAsideBytes], *, received_at_ms: int) -> None:
    """Keep bytes as evidence, each once for a terminal and at most ``SET_ASIDE_MAX`` of one."""
    held = _set_aside_counts(session, {item.terminal_id for item in items})
    rows = []
    for item in items:
        held[item.terminal_id] += 1
        if held[item.terminal_id] <= SET_ASIDE_MAX:
            rows.append(
                {
                    "content_hash": item.content_hash,
                    "terminal_id": item.terminal_id,
                    "reason": item.reason[:40],
                    "content": item.content[:2048],
                    "received_at_ms": received_at_ms,
                }
            )
    insert_new(session, SET_ASIDE, rows, key=("content_hash", "terminal_id"))


def last_head(session: Session, terminal_id: TerminalId) -> bytes | None:
    """Return the head of the newest epoch's main branch, which the next epoch continues; None before any record."""
    newest = (
        select(BRANCHES.c.tip_hash)
        .where(BRANCHES.c.terminal_id == terminal_id, BRANCHES.c.branch == 0)
        .order_by(BRANCHES.c.epoch.desc())
        .limit(1)
    )
    found: bytes | None = session.execute(newest).scalar_one_or_none()
    return found


def _set_aside_counts(session: Session, terminal_ids: Collection[TerminalId]) -> Counter[TerminalId]:
    counts: Counter[TerminalId] = Counter()
    for condition in where_keys(SET_ASIDE, key=("terminal_id",), keys=[(each,) for each in sorted(terminal_ids)]):
        counted = select(SET_ASIDE.c.terminal_id, func.count()).where(condition).group_by(SET_ASIDE.c.terminal_id)
        counts.update({TerminalId(row[0]): row[1] for row in session.execute(counted)})
    return counts


def _is(table: Any, key: ChainKey) -> Any:
    return and_(table.c.terminal_id == key[0], table.c.epoch == key[1])


def _lost(session: Session, key: ChainKey, numbers: Collection[int]) -> tuple[LostRange, ...]:
    first, last = min(numbers, default=0), max(numbers, default=0)
    touching = select(LOST_RANGES).where(
        _is(LOST_RANGES, key), LOST_RANGES.c.first_number <= last, LOST_RANGES.c.last_number >= first
    )
    return tuple(LostRange(row.first_number, row.last_number, row.branch) for row in session.execute(touching))


def _held(session: Session, condition: Any) -> tuple[Held, ...]:
    columns = (RECORDS.c.number, RECORDS.c.record_hash, RECORDS.c.previous_hash, RECORDS.c.branch)
    rows = session.execute(select(*columns, RECORDS.c.kind, RECORDS.c.encoded).where(condition))
    return tuple(_held_row(row) for row in rows)


def _held_row(row: Any) -> Held:
    held = Held(row.number, row.record_hash, row.previous_hash, row.branch)
    if row.kind != int(RecordKind.LOST):
        return held
    message = RECORD.read(row.encoded)
    if isinstance(message, Refusal):
        raise LedgerInvariantError(f"the stored record {row.record_hash.hex()} cannot be read: {message}")
    return replace(held, lost=held_from(message).lost)


def _row(message: Message[Record], branch: int | None, *, received_at_ms: int) -> dict[str, Any]:
    record = message.content
    return {
        "terminal_id": record.terminal_id,
        "epoch": record.epoch,
        "number": record.number,
        "branch": branch,
        "record_hash": message.hash,
        "previous_hash": record.previous_hash,
        "kind": int(record.kind),
        "payment_id": record.payment_id,
        "amount_minor": record.amount_minor,
        "currency": record.currency,
        "authorised_at_ms": record.authorised_at_ms,
        "received_at_ms": received_at_ms,
        "encoded": message.encode(),
    }
