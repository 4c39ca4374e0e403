"""A box and a cloud around the real uploader and receiver, joined by a pipe that loses, repeats, delays and reorders.

Everything that would be durable lives in ``Outbox`` and ``CloudStore``; everything else is lost in a restart. Time is
virtual and chance is seeded, so a failing seed fails again. The world checks its promises while it runs.
"""

import heapq
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count

from sync.acknowledgement import Acknowledgement, AckStatus, Hello
from sync.chain import (
    MAIN_BRANCH,
    ChainView,
    Held,
    LostRange,
    held_from,
    new_chain,
    numbers_needed,
)
from sync.envelope import Signed
from sync.ids import KeyId, PaymentId, TerminalId
from sync.message import Message
from sync.receiver import UNKNOWN_EPOCH, Answer, Reception, Verdict, greet, receive
from sync.record import GENESIS_HASH, RECORD, ClockConfidence, Record, RecordKind
from sync.upload import (
    AcknowledgementReceived,
    AppendLost,
    Effect,
    Event,
    IgnoredReason,
    LinkDown,
    LinkUp,
    LoadRecords,
    LostAppended,
    MarkAcknowledged,
    OutboxRecord,
    Quarantine,
    QuarantineReason,
    RecordsAppended,
    RecordsLoaded,
    ReportContact,
    ReportIgnored,
    SendBatch,
    SendHello,
    Tick,
    UploaderSettings,
    WakeAt,
)
from sync.upload_state import OwnChain, State
from sync.uploader import Chance, start, step

TERMINAL = TerminalId(bytes(range(8)))
EPOCH = 1
KEY = KeyId(bytes(4))
SETTINGS = UploaderSettings(window_batches_max=3, batch_records_max=5)


def make_record(
    number: int, previous_hash: bytes, *, salt: int = 0, lost: tuple[int, int] | None = None, epoch: int = EPOCH
) -> Message[Record]:
    """Make a record with an empty signature; ``salt`` tells records of one number apart."""
    record = Record(
        key_id=KEY,
        terminal_id=TERMINAL,
        epoch=epoch,
        number=number,
        previous_hash=previous_hash,
        kind=RecordKind.SALE if lost is None else RecordKind.LOST,
        payment_id=PaymentId(salt.to_bytes(16, "big")),
        amount_minor=100 if lost is None else 0,
        currency="EUR",
        code=b"",
        request=b"",
        approval=b"",
        policy_version=1,
        snapshot_version=1,
        sums_before=(0, 0, 0, 0),
        reason_bits=0,
        clock_confidence=ClockConfidence.SYNCED,
        authorised_at_ms=0,
        detail=() if lost is None else lost,
    )
    return Message(record, Signed(RECORD.layout.encode(record), bytes(64)))


@dataclass
class Outbox:
    """What survives on the box's card."""

    records: dict[int, Message[Record]] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=lambda: {0: GENESIS_HASH})
    head: int = 0
    acknowledged: int = 0
    quarantine: QuarantineReason | None = None
    lost: dict[tuple[int, int], int] = field(default_factory=dict)

    def append(self, *, salt: int, lost: tuple[int, int] | None = None) -> Message[Record]:
        message = make_record(self.head + 1, self.hashes[self.head], salt=salt, lost=lost)
        self.head += 1
        self.records[self.head] = message
        self.hashes[self.head] = message.hash
        if lost is not None:
            self.lost[lost] = self.head
        return message

    def hash_of(self, number: int) -> bytes | None:
        if number in self.records:
            return self.records[number].hash
        if number + 1 in self.records:
            return self.records[number + 1].content.previous_hash
        return self.hashes[number] if number in (0, self.head, self.acknowledged) else None

    def forget(self, number: int) -> None:
        """Lose a record's row, or prune it."""
        self.records.pop(number, None)

    def chain(self) -> OwnChain:
        return OwnChain(
            TERMINAL,
            EPOCH,
            head_number=self.head,
            head_hash=self.hashes[self.head],
            acknowledged_number=self.acknowledged,
            acknowledged_hash=self.hashes[self.acknowledged],
            quarantine=self.quarantine,
        )


@dataclass
class CloudStore:
    """What survives in the cloud's database."""

    view: ChainView = field(
        default_factory=lambda: new_chain(terminal_id=TERMINAL, epoch=EPOCH, base_hash=GENESIS_HASH)
    )
    held: dict[bytes, Held] = field(default_factory=dict)
    lost: list[LostRange] = field(default_factory=list)
    knows_epoch: bool = True

    def load(self, numbers: frozenset[int], hashes: tuple[bytes, ...] = ()) -> ChainView:
        return replace(
            self.view,
            held=tuple(h for h in self.held.values() if h.number in numbers or h.hash in hashes),
            floating=tuple(h for h in self.held.values() if h.branch is None),
            lost=tuple(r for r in self.lost if any(r.first <= number <= r.last for number in numbers)),
        )

    def store(self, reception: Reception) -> None:
        for judged in reception.judged:
            match judged.verdict:
                case Verdict.DUPLICATE:
                    assert judged.record.hash in self.held
                case Verdict.SET_ASIDE:
                    assert judged.set_aside is not None
                case _:
                    assert judged.record.hash not in self.held, "a record was to be stored twice"
                    self.held[judged.record.hash] = replace(held_from(judged.record), branch=judged.branch)
        for landed in reception.landed:
            assert self.held[landed.hash].branch is None
            self.held[landed.hash] = landed
        self.lost.extend(reception.closed)
        self.view = replace(self.view, branches=reception.branches, is_forked=reception.is_forked)


@dataclass
class Faults:
    """How bad the pipe is; probabilities and milliseconds."""

    lose: float = 0.0
    repeat: float = 0.0
    delay_ms_max: int = 40
    long_delay: float = 0.0
    hello_only: bool = False


class World:
    """One box, one cloud, the pipe between them, and the promises."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 1_000
        self.faults = Faults()
        self.outbox = Outbox()
        self.cloud = CloudStore()
        self.ever_committed: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.is_linked = False
        self.ignored: list[IgnoredReason] = []
        self.contacts = 0
        self.messages_up = 0
        self.is_outbox_full = False
        self.state: State = start(self.outbox.chain(), SETTINGS)
        self._by_bytes: dict[bytes, Message[Record]] = {}
        self._salt = count(1)
        self._order = count()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._wake_ms: int | None = None
        self._session = 0

    # --- Time ---

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now_ms + delay_ms, next(self._order), action))

    def run_until(self, is_done: Callable[[], bool], *, longest_ms: int, steps_max: int = 20_000) -> bool:
        """Run until the condition holds; False when virtual time or steps ran out first."""
        end_ms = self.now_ms + longest_ms
        for _ in range(steps_max):
            if is_done():
                return True
            next_ms = min(self._agenda[0][0] if self._agenda else end_ms, self._wake_ms or end_ms)
            if next_ms >= end_ms:
                return False
            self.now_ms = max(self.now_ms, next_ms)
            if self._wake_ms is not None and self._wake_ms <= self.now_ms:
                self._wake_ms = None
                self.tell(Tick())
            else:
                heapq.heappop(self._agenda)[2]()
        raise AssertionError("a hot loop: too many steps for the time that passed")

    def run_for(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        self.run_until(lambda: self.now_ms >= end_ms, longest_ms=duration_ms)
        self.now_ms = max(self.now_ms, end_ms)

    # --- The box ---

    def sell(self) -> None:
        self._remember(self.outbox.append(salt=next(self._salt)))
        self.tell(RecordsAppended(self.outbox.head, self.outbox.hashes[self.outbox.head]))

    def link_up(self) -> None:
        if not self.is_linked:
            self.is_linked = True
            self._session += 1
            self.tell(LinkUp())

    def link_down(self) -> None:
        if self.is_linked:
            self.is_linked = False
            self.tell(LinkDown())

    def restart_box(self) -> None:
        """Lose everything but the card."""
        self.is_linked = False
        self._session += 1
        self._wake_ms = None
        self.state = start(self.outbox.chain(), SETTINGS)

    def restore_card(self, backup: Outbox) -> None:
        self.outbox = deepcopy(backup)
        self.restart_box()

    def tell(self, event: Event) -> None:
        chance = Chance(self.random.randbytes(16), self.random.random())
        self.state, effects = step(self.state, event, now_ms=self.now_ms, chance=chance, settings=SETTINGS)
        assert sum(isinstance(effect, SendHello | SendBatch) for effect in effects) <= 1
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendHello():
                hello = self._hello(effect)
                self._send_up(lambda: self._cloud_greets(hello))
            case SendBatch(nonce, records):
                encoded = tuple(record.encoded for record in records)
                assert len(encoded) <= SETTINGS.batch_records_max
                self._send_up(lambda: self._cloud_takes(nonce, encoded), is_batch=True)
            case LoadRecords():
                self._later(self._loaded(effect))
            case MarkAcknowledged(number, hash_):
                self._mark(number, hash_)
            case AppendLost(first, last):
                self._append_lost(first, last)
            case Quarantine(reason):
                self.outbox.quarantine = reason
            case ReportContact():
                self.contacts += 1
            case ReportIgnored(ignored):
                self.ignored.append(ignored)
            case WakeAt(at_ms):
                assert at_ms >= self.now_ms
                self._wake_ms = at_ms

    def _later(self, event: Event) -> None:
        session = self._session

        def tell_if_alive() -> None:
            if session == self._session:
                self.tell(event)

        self.at(self.random.randrange(3), tell_if_alive)

    def _hello(self, effect: SendHello) -> Hello:
        return Hello(
            KEY,
            TERMINAL,
            EPOCH,
            effect.nonce,
            effect.head_number,
            effect.head_hash,
            effect.acknowledged_number,
            effect.acknowledged_hash,
            effect.chain_state,
            sent_at_ms=self.now_ms,
        )

    def _loaded(self, effect: LoadRecords) -> RecordsLoaded:
        numbers = sorted(number for number in self.outbox.records if number >= effect.from_number)
        messages = [self.outbox.records[number] for number in numbers[: effect.count_max]]
        records = tuple(OutboxRecord(m.content.number, m.hash, m.encode()) for m in messages)
        return RecordsLoaded(effect.from_number, records)

    def _mark(self, number: int, hash_: bytes) -> None:
        assert number > self.outbox.acknowledged, "the acknowledged number went back"
        assert self.outbox.hash_of(number) == hash_, "a foreign record was acknowledged"
        for below in range(self.outbox.acknowledged + 1, number + 1):
            is_named_lost = any(first <= below <= last for first, last in self.outbox.lost)
            is_safe = is_named_lost or self.outbox.hashes[below] in self.ever_committed
            assert is_safe, f"record {below} was acknowledged without being committed"
        self.outbox.acknowledged = number

    def _append_lost(self, first: int, last: int) -> None:
        if self.is_outbox_full:
            return
        for number in range(first, last + 1):
            is_gone = number not in self.outbox.records
            assert is_gone or self.outbox.hashes[number] in self.refused, f"sound record {number} was called lost"
        if self.outbox.lost.get((first, last)) not in self.outbox.records:
            self._remember(self.outbox.append(salt=next(self._salt), lost=(first, last)))
        number = self.outbox.lost[(first, last)]
        self._later(LostAppended(first, last, number, self.outbox.hashes[number]))

    def _remember(self, message: Message[Record]) -> None:
        self._by_bytes[message.encode()] = message

    # --- The pipe ---

    def _send_up(self, arrive: Callable[[], None], *, is_batch: bool = False) -> None:
        self.messages_up += 1
        if self.is_linked and not (is_batch and self.faults.hello_only):
            self._transmit(arrive)

    def _send_down(self, acknowledgement: Acknowledgement) -> None:
        session = self._session

        def arrive() -> None:
            if self.is_linked and (session == self._session or self.random.random() < 0.5):
                own_hash = self.outbox.hash_of(acknowledgement.number)
                self.tell(AcknowledgementReceived(acknowledgement, own_hash))

        self._transmit(arrive)

    def _transmit(self, arrive: Callable[[], None]) -> None:
        copies = 0 if self.random.random() < self.faults.lose else 1
        copies += 1 if self.random.random() < self.faults.repeat else 0
        for _ in range(copies):
            is_long = self.random.random() < self.faults.long_delay
            self.at(self.random.randrange(1, 25_000 if is_long else self.faults.delay_ms_max), arrive)

    # --- The cloud ---

    def _cloud_greets(self, hello: Hello) -> None:
        if not self.cloud.knows_epoch:
            self._answer(UNKNOWN_EPOCH, hello.nonce)
            return
        greeted = greet(self.cloud.load(frozenset(), (hello.head_hash, hello.acknowledged_hash)), hello)
        self.cloud.view = replace(self.cloud.view, is_forked=greeted.is_forked, is_rolled_back=greeted.is_rolled_back)
        self._answer(greeted.answer, hello.nonce)

    def _cloud_takes(self, nonce: bytes, encoded: tuple[bytes, ...]) -> None:
        if not self.cloud.knows_epoch:
            self._answer(UNKNOWN_EPOCH, nonce)
            return
        messages = [self._by_bytes[each] for each in encoded]
        good = [message for message in messages if message.hash not in self.refused]
        reception = receive(self.cloud.load(numbers_needed(good)), good)
        self.cloud.store(reception)
        self.ever_committed.update(message.hash for message in good)
        self._answer(reception.answer, nonce)

    def _answer(self, answer: Answer, nonce: bytes) -> None:
        assert answer.number >= 0
        if answer.status is not AckStatus.UNKNOWN_EPOCH and answer.number:
            assert self.cloud.held[answer.head_hash].branch is not None
        self._send_down(
            Acknowledgement(
                KEY, TERMINAL, EPOCH, answer.number, answer.head_hash, nonce, answer.status, cloud_time_ms=self.now_ms
            )
        )

    # --- What is promised at the end ---

    def heal(self) -> None:
        """End all faults; what is under way may still arrive late."""
        self.faults = Faults()
        self.is_outbox_full = False
        self.link_down()
        self.link_up()

    def is_settled(self) -> bool:
        """Whether the box knows that the cloud has everything, and the cloud has it.

        Excused are records that the cloud refuses, and those it holds as lost: a card that named them as lost and
        was then restored to a state that had them would have to be asked for them.
        """
        outbox = self.outbox
        if outbox.acknowledged != outbox.head:
            return False
        return all(
            message.hash in self.refused or self._is_placed(message.hash) or self._is_named_lost(number)
            for number, message in outbox.records.items()
        )

    def is_clean(self) -> bool:
        """Whether the cloud's main branch is exactly the box's chain and nothing floats."""
        main = self.cloud.view.branches[MAIN_BRANCH]
        is_same = (main.tip_number, main.tip_hash) == (self.outbox.head, self.outbox.hashes[self.outbox.head])
        return is_same and all(held.branch is not None for held in self.cloud.held.values())

    def _is_placed(self, hash_: bytes) -> bool:
        return hash_ in self.cloud.held and self.cloud.held[hash_].branch is not None

    def _is_named_lost(self, number: int) -> bool:
        return any(closed.first <= number <= closed.last for closed in self.cloud.lost)
