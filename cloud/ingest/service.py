"""Takes messages of many terminals in one transaction: keeps every record raw, judges chains, posts sales, answers.

Everything here may run twice (a deadlock, a commit whose outcome nobody knows): a record is new once, and the second
run finds it held and gives the same answer. Answers are signed and sent only after the commit, by the worker.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.fleet import service as fleet_service
from cloud.fleet.store import Terminal, TerminalEpoch
from cloud.ingest import chain_store, payment_store
from cloud.ingest.chain_store import ChainKey, ChainQuestion, LoadedChain, SetAsideBytes
from cloud.ingest.chain_times import ChainTimes, HeldTimes, Moment, follow_times, way_to
from cloud.ingest.joining import SaleRecord
from cloud.ingest.judgement import CLOCK_TOLERANCE_MS
from cloud.ingest.payment_store import OpenException
from cloud.ingest.posting import Judge, post_sales, void_payment
from cloud.merchants import store as merchant_store
from cloud.merchants.store import Merchant
from sync.acknowledgement import HELLO, AckStatus, Hello
from sync.batch import decode_batch, encode_batch
from sync.ids import MerchantId, TerminalId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.receiver import UNKNOWN_EPOCH, Answer, Judged, Poison, Reception, Verdict, greet, judge_record, receive
from sync.record import Record, RecordKind
from sync.refusals import Refusal

_KEPT = frozenset({Verdict.ACCEPTED, Verdict.FLOATING, Verdict.FORKED, Verdict.RECOVERED_LATER})
_SET_ASIDE_ACTION = "Look at the bytes and at the terminal's software; the sales behind it are posted."
_NOT_POSTED_ACTION = "Find out by the log why the books could not take this record; the sales around it are posted."
_EVIDENCE_SIZE_MAX = 4096
_DAY_MS = 24 * 3600 * 1000
_FORK_ACTION = "Find out which card was copied or restored, then enrol the box again; both branches are posted."


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of a terminal, as it came on the terminal's own topic."""

    terminal_id: TerminalId
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What to sign and send back after the commit."""

    terminal_id: TerminalId
    epoch: int
    nonce: bytes
    answer: Answer


@dataclass(slots=True)
class _Bundle:
    """All records of one chain in one transaction, and the batches that ask for its answer by their nonces."""

    records: list[Message[Record]] = field(default_factory=list)
    asking: list[tuple[bytes, list[Message[Record]]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    terminals: Mapping[TerminalId, Terminal]
    epochs: Mapping[ChainKey, TerminalEpoch]
    merchants: Mapping[MerchantId, Merchant]


@dataclass(frozen=True, slots=True)
class _Taken:
    """One chain with what came of its records."""

    key: ChainKey
    loaded: LoadedChain
    reception: Reception
    kept: list[Judged]
    times: ChainTimes


def take_batches(session: Session, incoming: Sequence[Incoming], *, judge: Judge, now_ms: int) -> list[Reply]:
    """Take batches of any terminals; answers a reply for each nonce that could be read."""
    known = _load_known(session, {message.terminal_id for message in incoming})
    bundles, set_aside, replies = _sort(incoming, known)
    _keep_aside(session, set_aside, now_ms=now_ms)
    taken = _take_chains(session, bundles, known, now_ms=now_ms)
    sales: list[SaleRecord] = []
    voids: list[Message[Record]] = []
    for each in taken:
        _sort_kept(each, known, sales=sales, voids=voids)
    post_sales(session, sales, judge=judge, now_ms=now_ms)
    for void in voids:
        void_payment(session, void, now_ms=now_ms)
    for each in taken:
        replies.extend(_replies(session, each, bundles[each.key], known))
    return replies


def take_hello(session: Session, message: Incoming, *, now_ms: int) -> Reply | Refusal:
    """Answer a greeting; one that does not verify is refused by name and changes nothing."""
    known = _load_known(session, {message.terminal_id})

    def find_key(hello: Hello) -> PublicKey | Refusal:
        if hello.terminal_id != message.terminal_id:
            return Refusal.WRONG_TERMINAL
        newest = known.terminals.get(message.terminal_id)
        epoch = known.epochs.get((hello.terminal_id, hello.epoch))
        raw = epoch.public_key if epoch is not None else newest.public_key if newest is not None else b""
        return parse_public_key(raw)

    opened = HELLO.open(message.payload, find_key)
    if isinstance(opened, Refusal):
        return opened
    hello = opened.content
    key = (hello.terminal_id, hello.epoch)
    if key not in known.epochs:
        return Reply(*key, hello.nonce, UNKNOWN_EPOCH)
    question = ChainQuestion(known.epochs[key].previous_hash, hashes={hello.head_hash, hello.acknowledged_hash})
    loaded = chain_store.load_chains(session, {key: question}, chain_store.lock_chains(session, [key]))[key]
    greeted = greet(loaded.view, hello)
    before = (loaded.view.is_forked, loaded.view.is_rolled_back)
    if (greeted.is_forked, greeted.is_rolled_back) != before:
        chain_store.save_flags(session, key, is_forked=greeted.is_forked, is_rolled_back=greeted.is_rolled_back)
        reason = "forked" if greeted.is_forked else "rolled_back"
        _quarantine(session, key, known, reason, subject=opened.hash, now_ms=now_ms)
    return Reply(*key, hello.nonce, greeted.answer)


def single_records(message: Incoming) -> list[Incoming]:
    """Split a batch into batches of one record each under its nonce; what is no batch stays as it is."""
    batch = decode_batch(message.payload)
    if isinstance(batch, Refusal):
        return [message]
    alone = (encode_batch(nonce=batch.nonce, records=[record]) for record in batch.records)
    return [Incoming(message.terminal_id, payload) for payload in alone]


def note_not_posted(session: Session, message: Incoming, *, code: str, now_ms: int) -> None:
    """Name a batch of one record that the books could not take, so that a person looks at it."""
    batch = decode_batch(message.payload)
    record = message.payload if isinstance(batch, Refusal) else batch.records[0]
    subject, kind = hashlib.sha256(record).digest(), f"not_posted:{code}"[:40]
    case = OpenException(subject, kind, message.terminal_id, None, _NOT_POSTED_ACTION, record[:_EVIDENCE_SIZE_MAX])
    payment_store.open_exceptions(session, [case], now_ms=now_ms)


def _load_known(session: Session, terminal_ids: set[TerminalId]) -> _Known:
    terminals = fleet_service.find_terminals(session, terminal_ids)
    chains = [(each.terminal_id, epoch) for each in terminals.values() for epoch in range(1, each.epoch + 1)]
    epochs = fleet_service.find_epochs(session, chains)
    merchant_ids = {terminal.merchant_id for terminal in terminals.values()}
    return _Known(terminals, epochs, merchant_store.merchants_by_id(session, merchant_ids))


def _sort(
    incoming: Sequence[Incoming], known: _Known
) -> tuple[dict[ChainKey, _Bundle], list[SetAsideBytes], list[Reply]]:
    """Split messages into chains; what is no batch or no record of its terminal is set aside under its name."""
    bundles: defaultdict[ChainKey, _Bundle] = defaultdict(_Bundle)
    set_aside: list[SetAsideBytes] = []
    replies: list[Reply] = []
    for message in incoming:
        batch = decode_batch(message.payload)
        if isinstance(batch, Refusal):
            set_aside.append(_aside(message.terminal_id, batch, message.payload))
            continue
        of_chain: defaultdict[ChainKey, list[Message[Record]]] = defaultdict(list)
        last: ChainKey | None = None
        for encoded in batch.records:
            judged = judge_record(
                encoded, terminal_id=message.terminal_id, find_terminal_key=lambda record: _key_of(record, known)
            )
            if isinstance(judged, Poison):
                set_aside.append(_aside(message.terminal_id, judged.reason, encoded))
                continue
            last = (judged.content.terminal_id, judged.content.epoch)
            of_chain[last].append(judged)
        for key, records in of_chain.items():
            bundles[key].records.extend(records)
        if last is None and (newest := known.terminals.get(message.terminal_id)) is not None:
            # Nothing in it was good: the terminal is told where its newest chain stands, and can go on behind it.
            last = (newest.terminal_id, newest.epoch)
        if last is not None:
            bundles[last].asking.append((batch.nonce, of_chain[last]))
    return dict(bundles), set_aside, replies


def _key_of(record: Record, known: _Known) -> PublicKey | Refusal:
    epoch = known.epochs.get((record.terminal_id, record.epoch))
    return Refusal.UNKNOWN_ISSUER if epoch is None else parse_public_key(epoch.public_key)


def _aside(terminal_id: TerminalId, reason: Refusal, content: bytes) -> SetAsideBytes:
    return SetAsideBytes(terminal_id, reason.value, hashlib.sha256(content).digest(), content)


def _keep_aside(session: Session, items: Sequence[SetAsideBytes], *, now_ms: int) -> None:
    """Keep the bytes, and open one exception a day for each terminal and reason: garbage must not hide the others."""
    chain_store.insert_set_aside(session, items, received_at_ms=now_ms)
    opened = [
        OpenException(
            hashlib.sha256(item.terminal_id + (now_ms // _DAY_MS).to_bytes(8, "big")).digest(),
            f"set_aside:{item.reason}"[:40],
            item.terminal_id,
            None,
            _SET_ASIDE_ACTION,
            item.content[:_EVIDENCE_SIZE_MAX],
        )
        for item in items
    ]
    payment_store.open_exceptions(session, opened, now_ms=now_ms)


def _take_chains(session: Session, bundles: Mapping[ChainKey, _Bundle], known: _Known, *, now_ms: int) -> list[_Taken]:
    """Lock, load, judge and store the records of all chains, in the order of the chains' keys."""
    flags = chain_store.lock_chains(session, bundles)
    questions = {key: ChainQuestion(known.epochs[key].previous_hash, bundles[key].records) for key in sorted(bundles)}
    taken: list[_Taken] = []
    for key, loaded in chain_store.load_chains(session, questions, flags).items():
        reception = receive(loaded.view, bundles[key].records)
        kept = [judged for judged in reception.judged if judged.verdict in _KEPT]
        opened_ms = known.epochs[key].opened_ms
        times = _times(session, key, loaded, reception, kept, opened_ms=opened_ms, now_ms=now_ms)
        taken.append(_Taken(key, loaded, reception, kept, times))
    _store(session, taken, now_ms=now_ms)
    for each in taken:
        _note_fork(session, each.key, each.loaded, each.reception, known, now_ms=now_ms)
    return taken


def _store(session: Session, taken: Sequence[_Taken], *, now_ms: int) -> None:
    """Store what came of all chains, each table in one statement."""
    kept = [(judged.record, judged.branch) for each in taken for judged in each.kept]
    chain_store.insert_records(session, kept, received_at_ms=now_ms)
    refused: list[SetAsideBytes] = []
    for each in taken:
        chain_store.save_landed(session, each.reception.landed)
        chain_store.save_lost(session, each.key, each.reception.closed)
        judged = (one for one in each.reception.judged if one.verdict is Verdict.SET_ASIDE)
        refused += [_aside_judged(each.key[0], one) for one in judged]
    _keep_aside(session, refused, now_ms=now_ms)
    chain_store.save_branches(session, {each.key: (each.reception.branches, each.times.tips_ms) for each in taken})


def _sort_kept(taken: _Taken, known: _Known, *, sales: list[SaleRecord], voids: list[Message[Record]]) -> None:
    """Add what is to be posted of one chain to ``sales`` and ``voids``, in the order of its numbers."""
    merchant = known.merchants[known.terminals[taken.key[0]].merchant_id]
    terminal_key = _must_parse(known.epochs[taken.key].public_key)
    for record in sorted((judged.record for judged in taken.kept), key=lambda each: each.content.number):
        if record.content.kind is RecordKind.SALE:
            sales.append(SaleRecord(record, terminal_key, merchant, taken.times.not_before_ms[record.hash]))
        elif record.content.kind is RecordKind.VOID:
            voids.append(record)


def _replies(session: Session, taken: _Taken, bundle: _Bundle, known: _Known) -> Iterator[Reply]:
    """Answer each batch; in a forked chain each by its own branch, since two boxes may be sending under one name."""
    key, reception = taken.key, taken.reception
    for nonce, records in bundle.asking:
        answer = reception.answer
        if reception.is_forked and records and len(bundle.asking) > 1:
            question = ChainQuestion(known.epochs[key].previous_hash, records)
            stored = chain_store.load_chains(session, {key: question}, chain_store.lock_chains(session, [key]))[key]
            answer = receive(stored.view, records).answer
        yield Reply(*key, nonce, answer)


def _times(
    session: Session,
    key: ChainKey,
    loaded: LoadedChain,
    reception: Reception,
    kept: Sequence[Judged],
    *,
    opened_ms: int,
    now_ms: int,
) -> ChainTimes:
    """Say before which time each kept record cannot have been authorised, and where each branch's time stands now."""
    behind_ms: dict[bytes, int] = {}
    for judged in kept:
        way = _way_behind(judged, loaded, reception)
        if way and (newest_ms := chain_store.newest_time(session, key, way)) is not None:
            behind_ms[judged.record.hash] = newest_ms
    held = HeldTimes(opened_ms - CLOCK_TOLERANCE_MS, loaded.times_ms, behind_ms)
    moments = [_moment(judged, now_ms=now_ms) for judged in kept]
    moments += chain_store.landed_moments(session, reception.landed)
    is_sound = len(reception.branches) == 1 and not reception.is_forked and not loaded.view.is_rolled_back
    return follow_times(loaded.view, moments, held=held, is_sound=is_sound)


def _way_behind(judged: Judged, loaded: LoadedChain, reception: Reception) -> list[tuple[int, int]]:
    """Return the way to a record that does not simply extend a branch: to a fork, or up to a range closed as lost."""
    if judged.branch is None:
        return []
    branches = {branch.number: branch for branch in reception.branches}
    number, branch = judged.record.content.number, branches[judged.branch]
    if judged.verdict is Verdict.FORKED and branch.parent is not None:
        return way_to(reception.branches, branch.parent, branch.fork_number)
    if judged.verdict is Verdict.RECOVERED_LATER:
        ranges = (*loaded.view.lost, *reception.closed)
        first = min(r.first for r in ranges if r.branch == branch.number and r.first <= number <= r.last)
        return way_to(reception.branches, branch.number, first - 1)
    return []


def _moment(judged: Judged, *, now_ms: int) -> Moment:
    record = judged.record.content
    return Moment(
        record.number,
        judged.record.hash,
        record.previous_hash,
        judged.branch,
        min(record.authorised_at_ms, now_ms),
        is_clock_set=record.kind is RecordKind.CLOCK_SET,
        is_recovered=judged.verdict is Verdict.RECOVERED_LATER,
    )


def _must_parse(raw: bytes) -> PublicKey:
    key = parse_public_key(raw)
    if isinstance(key, Refusal):
        raise LedgerInvariantError(f"the stored key of a terminal was refused: {key}")
    return key


def _aside_judged(terminal_id: TerminalId, judged: Judged) -> SetAsideBytes:
    reason = judged.set_aside.value if judged.set_aside is not None else "set_aside"
    return SetAsideBytes(terminal_id, reason, judged.record.hash, judged.record.encode())


def _note_fork(
    session: Session, key: ChainKey, loaded: LoadedChain, reception: Reception, known: _Known, *, now_ms: int
) -> None:
    is_rolled_back = reception.answer.status is AckStatus.ROLLED_BACK or loaded.view.is_rolled_back
    if (reception.is_forked, is_rolled_back) == (loaded.view.is_forked, loaded.view.is_rolled_back):
        return
    chain_store.save_flags(session, key, is_forked=reception.is_forked, is_rolled_back=is_rolled_back)
    rival = next((j.record.hash for j in reception.judged if j.verdict is Verdict.FORKED), reception.answer.head_hash)
    _quarantine(session, key, known, "forked", subject=rival, now_ms=now_ms)


def _quarantine(session: Session, key: ChainKey, known: _Known, reason: str, *, subject: bytes, now_ms: int) -> None:
    """Name what a chain proves, and stop the terminal if it still writes that chain.

    A box that was enrolled again has a new key and a new chain; whoever keeps the old key cannot stop it any more.
    """
    terminal_id, epoch = key
    if epoch == known.terminals[terminal_id].epoch:
        fleet_service.quarantine(session, terminal_id, reason=reason, next_action=_FORK_ACTION)
    exception = OpenException(subject, f"chain_{reason}", terminal_id, None, _FORK_ACTION)
    payment_store.open_exceptions(session, [exception], now_ms=now_ms)
