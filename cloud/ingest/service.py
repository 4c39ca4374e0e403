"""Takes messages of many terminals in one transaction: keeps every record raw, judges chains, posts sales, answers.

Everything here may run twice (a deadlock, a commit whose outcome nobody knows): a record is new once, and the second
run finds it held and gives the same answer. Answers are signed and sent only after the commit, by the worker.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from cloud.fleet import service as fleet_service
from cloud.fleet.store import Terminal, TerminalEpoch
from cloud.ingest import chain_store, payment_store
from cloud.ingest.chain_store import ChainKey, LoadedChain, SetAsideBytes
from cloud.ingest.payment_store import OpenException
from cloud.ingest.posting import Judge, SaleRecord, post_sales, void_payment
from cloud.merchants import store as merchant_store
from cloud.merchants.store import Merchant
from sync.acknowledgement import HELLO, AckStatus, Hello
from sync.batch import decode_batch
from sync.ids import MerchantId, TerminalId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.receiver import UNKNOWN_EPOCH, Answer, Judged, Poison, Reception, Verdict, greet, judge_record, receive
from sync.record import Record, RecordKind
from sync.refusals import Refusal

_KEPT = frozenset({Verdict.ACCEPTED, Verdict.FLOATING, Verdict.FORKED, Verdict.RECOVERED_LATER})
_SET_ASIDE_ACTION = "Look at the bytes and at the terminal's software; the sales behind it are posted."
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
    """All records of one chain in one transaction, and the nonces that ask for its answer."""

    records: list[Message[Record]] = field(default_factory=list)
    nonces: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    terminals: Mapping[TerminalId, Terminal]
    epochs: Mapping[ChainKey, TerminalEpoch]
    merchants: Mapping[MerchantId, Merchant]


def take_batches(session: Session, incoming: Sequence[Incoming], *, judge: Judge, now_ms: int) -> list[Reply]:
    """Take batches of any terminals; answers a reply for each nonce that could be read."""
    known = _load_known(session, {message.terminal_id for message in incoming})
    bundles, set_aside, replies = _sort(incoming, known)
    _keep_aside(session, set_aside, now_ms=now_ms)
    chain_store.lock_chains(session, {key: known.epochs[key].previous_hash for key in bundles})
    sales: list[SaleRecord] = []
    voids: list[Message[Record]] = []
    for key in sorted(bundles):
        bundle = bundles[key]
        answer = _take_chain(session, key, bundle, known, sales=sales, voids=voids, now_ms=now_ms)
        replies.extend(Reply(*key, nonce, answer) for nonce in bundle.nonces)
    post_sales(session, sales, judge=judge, now_ms=now_ms)
    for void in voids:
        void_payment(session, void.content.terminal_id, void.content.payment_id, now_ms=now_ms)
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
    chain_store.lock_chains(session, {key: known.epochs[key].previous_hash})
    loaded = chain_store.load_chain(
        session,
        key,
        base_hash=known.epochs[key].previous_hash,
        hashes={hello.head_hash, hello.acknowledged_hash},
    )
    greeted = greet(loaded.view, hello)
    before = (loaded.view.is_forked, loaded.view.is_rolled_back)
    if (greeted.is_forked, greeted.is_rolled_back) != before:
        chain_store.save_flags(session, key, is_forked=greeted.is_forked, is_rolled_back=greeted.is_rolled_back)
        reason = "forked" if greeted.is_forked else "rolled_back"
        _quarantine(session, hello.terminal_id, reason, subject=opened.hash, now_ms=now_ms)
    return Reply(*key, hello.nonce, greeted.answer)


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
        last: ChainKey | None = None
        for encoded in batch.records:
            judged = judge_record(
                encoded, terminal_id=message.terminal_id, find_terminal_key=lambda record: _key_of(record, known)
            )
            if isinstance(judged, Poison):
                set_aside.append(_aside(message.terminal_id, judged.reason, encoded))
                continue
            last = (judged.content.terminal_id, judged.content.epoch)
            bundles[last].records.append(judged)
        if last is not None:
            bundles[last].nonces.append(batch.nonce)
        elif (newest := known.terminals.get(message.terminal_id)) is not None:
            # Nothing in it was good: the terminal is told where its newest chain stands, and can go on behind it.
            bundles[(newest.terminal_id, newest.epoch)].nonces.append(batch.nonce)
    return dict(bundles), set_aside, replies


def _key_of(record: Record, known: _Known) -> PublicKey | Refusal:
    epoch = known.epochs.get((record.terminal_id, record.epoch))
    return Refusal.UNKNOWN_ISSUER if epoch is None else parse_public_key(epoch.public_key)


def _aside(terminal_id: TerminalId, reason: Refusal, content: bytes) -> SetAsideBytes:
    return SetAsideBytes(terminal_id, reason.value, hashlib.sha256(content).digest(), content)


def _keep_aside(session: Session, items: Sequence[SetAsideBytes], *, now_ms: int) -> None:
    is_new = chain_store.insert_set_aside(session, items, received_at_ms=now_ms)
    opened = [
        OpenException(item.content_hash, f"set_aside:{item.reason}"[:40], item.terminal_id, None, _SET_ASIDE_ACTION)
        for item, new in zip(items, is_new, strict=True)
        if new
    ]
    payment_store.open_exceptions(session, opened, now_ms=now_ms)


def _take_chain(
    session: Session,
    key: ChainKey,
    bundle: _Bundle,
    known: _Known,
    *,
    sales: list[SaleRecord],
    voids: list[Message[Record]],
    now_ms: int,
) -> Answer:
    """Judge and store one chain's records; adds what is to be posted to ``sales`` and ``voids``."""
    base_hash = known.epochs[key].previous_hash
    loaded = chain_store.load_chain(session, key, base_hash=base_hash, records=bundle.records)
    reception = receive(loaded.view, bundle.records)
    kept = [judged for judged in reception.judged if judged.verdict in _KEPT]
    chain_store.insert_records(session, [(j.record, j.branch) for j in kept], received_at_ms=now_ms)
    chain_store.save_landed(session, reception.landed)
    chain_store.save_lost(session, key, reception.closed)
    refused = [judged for judged in reception.judged if judged.verdict is Verdict.SET_ASIDE]
    _keep_aside(session, [_aside_judged(key[0], judged) for judged in refused], now_ms=now_ms)
    merchant = known.merchants[known.terminals[key[0]].merchant_id]
    times_ms = _collect(kept, loaded, merchant, sales=sales, voids=voids)
    chain_store.save_branches(session, key, reception.branches, times_ms)
    _note_fork(session, key, loaded, reception, now_ms=now_ms)
    return reception.answer


def _collect(
    kept: Sequence[Judged],
    loaded: LoadedChain,
    merchant: Merchant,
    *,
    sales: list[SaleRecord],
    voids: list[Message[Record]],
) -> dict[int, int]:
    """Sort the kept records by kind and follow each branch's time; answers the time each branch stands at now."""
    times_ms = dict(loaded.times_ms)
    for judged in sorted(kept, key=lambda each: each.record.content.number):
        record = judged.record.content
        branch = judged.branch
        not_before_ms = 0 if branch is None else times_ms.get(branch, 0)
        if record.kind is RecordKind.SALE:
            sales.append(SaleRecord(judged.record, merchant, not_before_ms))
        elif record.kind is RecordKind.VOID:
            voids.append(judged.record)
        if branch is not None:
            times_ms[branch] = _time_after(record, not_before_ms)
    return times_ms


def _time_after(record: Record, before_ms: int) -> int:
    """Return the time below which the next record may not lie: only ``clock_set`` may lower it."""
    if record.kind is RecordKind.CLOCK_SET and len(record.detail) == 2:
        return record.detail[1]
    return max(before_ms, record.authorised_at_ms)


def _aside_judged(terminal_id: TerminalId, judged: Judged) -> SetAsideBytes:
    reason = judged.set_aside.value if judged.set_aside is not None else "set_aside"
    return SetAsideBytes(terminal_id, reason, judged.record.hash, judged.record.encode())


def _note_fork(session: Session, key: ChainKey, loaded: LoadedChain, reception: Reception, *, now_ms: int) -> None:
    is_rolled_back = reception.answer.status is AckStatus.ROLLED_BACK or loaded.view.is_rolled_back
    if (reception.is_forked, is_rolled_back) == (loaded.view.is_forked, loaded.view.is_rolled_back):
        return
    chain_store.save_flags(session, key, is_forked=reception.is_forked, is_rolled_back=is_rolled_back)
    rival = next((j.record.hash for j in reception.judged if j.verdict is Verdict.FORKED), reception.answer.head_hash)
    _quarantine(session, key[0], "forked", subject=rival, now_ms=now_ms)


def _quarantine(session: Session, terminal_id: TerminalId, reason: str, *, subject: bytes, now_ms: int) -> None:
    fleet_service.quarantine(session, terminal_id, reason=reason, next_action=_FORK_ACTION)
    exception = OpenException(subject, f"chain_{reason}", terminal_id, None, _FORK_ACTION)
    payment_store.open_exceptions(session, [exception], now_ms=now_ms)
