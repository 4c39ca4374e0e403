"""The chains' SQL: locks one terminal's chain, loads what judging needs of it, and stores what came of it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from cloud.db import insert_new, upsert, where_keys
from cloud.errors import LedgerInvariantError
from cloud.ingest.chain_times import Moment
from cloud.ingest.tables import BRANCHES, CHAINS, LOST_RANGES, RECORDS, SET_ASIDE
from sync.chain import MAIN_BRANCH, Branch, ChainView, Held, LostRange, held_from, new_chain, numbers_needed
from sync.ids import TerminalId
from sync.message import Message
from sync.record import RECORD, Record, RecordKind
from sync.refusals import Refusal

ChainKey = tuple[TerminalId, int]
"""(terminal, epoch)."""

SET_ASIDE_MAX = 1_000
"""Pieces of evidence kept of one terminal; who sends nothing but garbage shows no more with the next piece."""

_KEY = ("terminal_id", "epoch")
_KEY_COLUMNS = (RECORDS.c.terminal_id, RECORDS.c.epoch)
_CHAINS_MAX = 100
"""Chains in one condition."""
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
class ChainFlags:
    """What earlier receptions found of a chain."""

    is_forked: bool
    is_rolled_back: bool


@dataclass(frozen=True, slots=True)
class ChainQuestion:
    """What is to be judged against a chain: records, or a hello with these hashes."""

    base_hash: bytes
    records: Sequence[Message[Record]] = ()
    hashes: Collection[bytes] = ()


@dataclass(frozen=True, slots=True)
class SetAsideBytes:
    """Bytes that are no record of the terminal that sent them."""

    terminal_id: TerminalId
    reason: str
    content_hash: bytes
    content: bytes


def lock_chains(session: Session, keys: Collection[ChainKey]) -> dict[ChainKey, ChainFlags]:
    """Lock the chains in one order for everybody, making those that have no record yet; answers what is held of each.

    Those that are there are found without a lock first: an INSERT that meets its duplicate costs more than a look.
    """
    wanted = sorted(keys)
    known = _flags(session, wanted)
    missing = [key for key in wanted if key not in known]
    rows = [{"terminal_id": t, "epoch": e, "is_forked": False, "is_rolled_back": False} for t, e in missing]
    insert_new(session, CHAINS, rows, key=_KEY)
    return _flags(session, wanted, is_locking=True)


def load_chains(
    session: Session, questions: Mapping[ChainKey, ChainQuestion], flags: Mapping[ChainKey, ChainFlags]
) -> dict[ChainKey, LoadedChain]:
    """Load of locked chains what judging their questions needs, many chains in a few statements.

    A chain of any length costs the same: only the records on the numbers asked for, those that float and the branches'
    ends are read, each by an index.
    """
    branch_rows = _branch_rows(session, questions)
    numbers = {key: numbers_needed(question.records) for key, question in questions.items()}
    places = [
        and_(_is(RECORDS, key), RECORDS.c.branch.in_(_branch_numbers(branch_rows[key])), _on_numbers(numbers[key]))
        for key in questions
        if numbers[key]
    ]
    floating = [and_(_is(RECORDS, key), RECORDS.c.branch.is_(None)) for key in questions]
    named = [
        and_(_is(RECORDS, key), RECORDS.c.record_hash.in_(sorted(question.hashes)))
        for key, question in questions.items()
        if question.hashes
    ]
    held = _held(session, places + named)
    afloat = _held(session, floating)
    lost = _lost(session, {key: needed for key, needed in numbers.items() if needed})
    loaded: dict[ChainKey, LoadedChain] = {}
    for key, question in questions.items():
        base = new_chain(terminal_id=key[0], epoch=key[1], base_hash=question.base_hash)
        branches = tuple(
            Branch(row.branch, row.tip_number, row.tip_hash, row.parent, row.fork_number) for row in branch_rows[key]
        )
        view = ChainView(
            *key,
            question.base_hash,
            branches=branches or base.branches,
            held=tuple(held[key]),
            floating=tuple(afloat[key]),
            lost=tuple(lost[key]),
            is_forked=flags[key].is_forked,
            is_rolled_back=flags[key].is_rolled_back,
        )
        loaded[key] = LoadedChain(view, {row.branch: row.tip_time_ms for row in branch_rows[key]})
    return loaded


def insert_records(
    session: Session, records: Sequence[tuple[Message[Record], int | None]], *, received_at_ms: int
) -> None:
    """Store records as they came, each with its branch, or None while it floats."""
    rows = [_row(message, branch, received_at_ms=received_at_ms) for message, branch in records]
    insert_new(session, RECORDS, rows, key=("record_hash",))


def save_branches(session: Session, chains: Mapping[ChainKey, tuple[Sequence[Branch], Mapping[int, int]]]) -> None:
    """Store every branch of the chains as it stands now, with the time below which its next record may not lie."""
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
        for key, (branches, times_ms) in sorted(chains.items())
        for branch in branches
    ]
    columns = ("tip_number", "tip_hash", "tip_time_ms", "parent", "fork_number")
    upsert(session, BRANCHES, rows, key=(*_KEY, "branch"), update=columns)


def save_landed(session: Session, landed: Sequence[Held]) -> None:
    """Note for records that floated on which branch they stand now."""
    on_branch: defaultdict[int | None, list[tuple[bytes]]] = defaultdict(list)
    for held in landed:
        on_branch[held.branch].append((held.hash,))
    for branch, hashes in on_branch.items():
        for condition in where_keys(RECORDS, key=("record_hash",), keys=hashes):
            session.execute(update(RECORDS).where(condition).values(branch=branch))


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


def _flags(session: Session, keys: Sequence[ChainKey], *, is_locking: bool = False) -> dict[ChainKey, ChainFlags]:
    found: dict[ChainKey, ChainFlags] = {}
    for condition in where_keys(CHAINS, key=_KEY, keys=keys):
        statement = select(CHAINS).where(condition).order_by(*CHAINS.primary_key)
        for row in session.execute(statement.with_for_update() if is_locking else statement):
            found[TerminalId(row.terminal_id), row.epoch] = ChainFlags(bool(row.is_forked), bool(row.is_rolled_back))
    return found


def _branch_rows(session: Session, keys: Collection[ChainKey]) -> defaultdict[ChainKey, list[Any]]:
    found: defaultdict[ChainKey, list[Any]] = defaultdict(list)
    for condition in where_keys(BRANCHES, key=_KEY, keys=keys):
        for row in session.execute(select(BRANCHES).where(condition).order_by(*BRANCHES.primary_key)):
            found[TerminalId(row.terminal_id), row.epoch].append(row)
    return found


def _branch_numbers(rows: Sequence[Any]) -> list[int]:
    return [row.branch for row in rows] or [MAIN_BRANCH]


def _on_numbers(numbers: Collection[int]) -> Any:
    """Select these numbers as runs, which a batch is one of; a hostile one costs no more than it has records."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return or_(*(RECORDS.c.number.between(first, last) for first, last in runs))


def _lost(session: Session, numbers: Mapping[ChainKey, Collection[int]]) -> defaultdict[ChainKey, list[LostRange]]:
    found: defaultdict[ChainKey, list[LostRange]] = defaultdict(list)
    touching = [
        and_(_is(LOST_RANGES, key), LOST_RANGES.c.first_number <= max(needed), LOST_RANGES.c.last_number >= min(needed))
        for key, needed in numbers.items()
    ]
    for condition in _any_of(touching):
        for row in session.execute(select(LOST_RANGES).where(condition)):
            key = (TerminalId(row.terminal_id), row.epoch)
            found[key].append(LostRange(row.first_number, row.last_number, row.branch))
    return found


def _held(session: Session, conditions: Sequence[Any]) -> defaultdict[ChainKey, list[Held]]:
    found: defaultdict[ChainKey, list[Held]] = defaultdict(list)
    # What a record says of lost numbers counts only while it floats, so hardly any record is read whole.
    floats_as_lost = and_(RECORDS.c.kind == int(RecordKind.LOST), RECORDS.c.branch.is_(None))
    columns = (*_KEY_COLUMNS, RECORDS.c.number, RECORDS.c.record_hash, RECORDS.c.previous_hash, RECORDS.c.branch)
    lost = case((floats_as_lost, RECORDS.c.encoded), else_=None).label("lost")
    for condition in _any_of(conditions):
        for row in session.execute(select(*columns, lost).where(condition)):
            found[TerminalId(row.terminal_id), row.epoch].append(_held_row(row))
    return found


def _held_row(row: Any) -> Held:
    held = Held(row.number, row.record_hash, row.previous_hash, row.branch)
    if row.lost is None:
        return held
    message = RECORD.read(row.lost)
    if isinstance(message, Refusal):
        raise LedgerInvariantError(f"the stored record {row.record_hash.hex()} cannot be read: {message}")
    return replace(held, lost=held_from(message).lost)


def _any_of(conditions: Sequence[Any]) -> Iterator[Any]:
    remaining = iter(conditions)
    while chunk := list(islice(remaining, _CHAINS_MAX)):
        yield or_(*chunk)


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
