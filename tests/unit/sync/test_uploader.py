"""The uploader step by step: what it sends, what it believes, and what it does when nothing comes back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

import pytest

from sync.acknowledgement import Acknowledgement, AckStatus, ChainState
from sync.backoff import Backoff
from sync.ids import KeyId, TerminalId
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
    SendNow,
    Tick,
    UploaderSettings,
    WakeAt,
)
from sync.upload_state import Greeting, Offline, OwnChain, Sending, State
from sync.uploader import Chance, start, step

TERMINAL = TerminalId(bytes(8))
SETTINGS = UploaderSettings(window_batches_max=2, batch_records_max=10, refusals_max=3, backoff=Backoff(1_000, 8_000))
HELLO_MS, ANSWER_MS, CONTACT_MS = SETTINGS.hello_timeout_ms, SETTINGS.answer_timeout_ms, SETTINGS.contact_every_ms

E = TypeVar("E")


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Box:
    """Drives ``step``; the outbox holds every number to ``head`` but those in ``missing``. Jitter is one half."""

    def __init__(self, *, head: int = 0, acknowledged: int = 0, settings: UploaderSettings = SETTINGS) -> None:
        chain = OwnChain(TERMINAL, 1, head, hash_of(head), acknowledged, hash_of(acknowledged))
        self.settings = settings
        self.state: State = start(chain, settings)
        self.head = head
        self.missing: set[int] = set()
        self.now_ms = 50_000
        self.effects: list[Effect] = []
        self._nonces = count(1)

    def tell(self, event: Event) -> "Box":
        """Take one event; what the outbox is asked for is answered at once."""
        self.effects = []
        self._tell(event)
        return self

    def _tell(self, event: Event) -> None:
        chance = Chance(next(self._nonces).to_bytes(16, "big"), 0.5)
        self.state, effects = step(self.state, event, now_ms=self.now_ms, chance=chance, settings=self.settings)
        self.effects.extend(effects)
        for effect in effects:
            if isinstance(effect, LoadRecords):
                self._tell(self._load(effect))

    def _load(self, effect: LoadRecords) -> RecordsLoaded:
        numbers = [n for n in range(effect.from_number, self.head + 1) if n not in self.missing][: effect.count_max]
        return RecordsLoaded(effect.from_number, tuple(OutboxRecord(n, hash_of(n), b"record") for n in numbers))

    def append(self, number: int = 1) -> "Box":
        self.head += number
        return self.tell(RecordsAppended(self.head, hash_of(self.head)))

    def wait(self, duration_ms: int) -> "Box":
        self.now_ms += duration_ms
        return self.tell(Tick())

    def hear(
        self,
        nonce: bytes,
        number: int,
        *,
        status: AckStatus = AckStatus.OK,
        head_hash: bytes | None = None,
        is_known: bool = True,
        terminal_id: TerminalId = TERMINAL,
        epoch: int = 1,
    ) -> "Box":
        """Receive an acknowledgement; ``is_known`` says whether the box can still look up its own record."""
        named = hash_of(number) if head_hash is None else head_hash
        ack = Acknowledgement(KeyId(bytes(4)), terminal_id, epoch, number, named, nonce, status, self.now_ms + 7)
        own = hash_of(number) if is_known and number <= self.head else None
        return self.tell(AcknowledgementReceived(ack, own))

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def one(self, kind: type[E]) -> E:
        (effect,) = self.all(kind)
        return effect

    def batches(self) -> list[tuple[int, int]]:
        return [(batch.records[0].number, batch.records[-1].number) for batch in self.all(SendBatch)]

    def nonces(self) -> list[bytes]:
        return [batch.nonce for batch in self.all(SendBatch)]

    @property
    def chain(self) -> OwnChain:
        return self.state.chain

    def greet(self) -> bytes:
        return self.tell(LinkUp()).one(SendHello).nonce

    def begin(self, *, held: int = 0) -> list[bytes]:
        """Connect, let the cloud say that it holds our records to ``held``, and return the nonces of the batches."""
        return self.hear(self.greet(), held).nonces()


def test_a_new_link_is_greeted_with_where_the_chain_stands() -> None:
    hello = Box(head=9, acknowledged=4).tell(LinkUp()).one(SendHello)
    assert (hello.head_number, hello.head_hash) == (9, hash_of(9))
    assert (hello.acknowledged_number, hello.acknowledged_hash) == (4, hash_of(4))
    assert hello.chain_state is ChainState.SOUND


def test_nothing_is_sent_before_the_cloud_has_answered_the_greeting() -> None:
    box = Box(head=9)
    box.greet()
    assert not box.all(SendBatch)
    assert not box.append().all(SendBatch)


def test_the_answer_to_the_greeting_says_from_where_to_send() -> None:
    box = Box(head=9, acknowledged=4)
    box.hear(box.greet(), 6)
    assert box.batches() == [(7, 9)]
    assert box.one(MarkAcknowledged).number == 6


def test_an_unanswered_greeting_is_repeated_with_a_growing_back_off() -> None:
    box = Box()
    box.greet()
    waits = []
    for _ in range(6):
        before_ms = box.now_ms
        box.now_ms = box.one(WakeAt).monotonic_ms
        waits.append(box.now_ms - before_ms)
        assert box.tell(Tick()).all(SendHello)
    assert waits == [HELLO_MS + half for half in (0, 500, 1_000, 2_000, 4_000, 4_000)]


def test_a_greeting_is_not_repeated_before_its_time() -> None:
    box = Box()
    box.greet()
    assert not box.wait(HELLO_MS - 1).all(SendHello)


def test_a_late_answer_to_an_earlier_greeting_is_believed() -> None:
    box = Box(head=3)
    first = box.greet()
    box.wait(HELLO_MS)
    assert box.hear(first, 0).batches() == [(1, 3)]


def test_the_window_bounds_the_batches_in_flight() -> None:
    box = Box(head=35)
    first, _ = box.begin()
    assert box.batches() == [(1, 10), (11, 20)]
    assert not box.append().all(SendBatch)
    assert box.hear(first, 10).batches() == [(21, 30)]


def test_new_records_are_sent_at_once_while_there_is_room() -> None:
    box = Box()
    box.begin()
    assert box.append().batches() == [(1, 1)]
    assert box.append(2).batches() == [(2, 3)]


def test_an_acknowledgement_is_marked_reported_as_contact_and_never_taken_back() -> None:
    box = Box(head=20)
    first, second = box.begin()
    box.hear(second, 20)
    assert box.one(MarkAcknowledged) == MarkAcknowledged(20, hash_of(20), box.now_ms + 7)
    assert box.one(ReportContact) == ReportContact(box.now_ms + 7, box.now_ms)
    assert not box.hear(first, 10).all(MarkAcknowledged)
    assert box.chain.acknowledged_number == 20


def test_one_acknowledgement_may_cover_the_whole_window() -> None:
    box = Box(head=40)
    first, _ = box.begin()
    assert box.hear(first, 20).batches() == [(21, 30), (31, 40)]


@pytest.mark.parametrize(
    "answer, reason",
    [
        (lambda box, nonce: box.hear(bytes(16), 10), IgnoredReason.UNKNOWN_NONCE),
        (lambda box, nonce: box.hear(nonce, 10, terminal_id=TerminalId(b"stranger")), IgnoredReason.FOREIGN_CHAIN),
        (lambda box, nonce: box.hear(nonce, 10, epoch=2), IgnoredReason.FOREIGN_CHAIN),
        (lambda box, nonce: box.tell(RecordsLoaded(99, ())), IgnoredReason.STALE_RECORDS),
    ],
    ids=["foreign_nonce", "foreign_terminal", "foreign_epoch", "records_nobody_asked_for"],
)
def test_what_is_not_believed_changes_nothing_and_is_named(
    answer: Callable[[Box, bytes], Box], reason: IgnoredReason
) -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    before = box.state
    answer(box, nonce)
    assert box.one(ReportIgnored).reason is reason
    assert not box.all(MarkAcknowledged)
    assert not box.all(ReportContact)
    assert box.state == before


@pytest.mark.parametrize("event", [LinkUp(), LinkDown()], ids=["reconnected", "disconnected"])
def test_nonces_of_an_earlier_connection_are_forgotten(event: Event) -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    box.tell(event)
    assert box.hear(nonce, 10).one(ReportIgnored).reason is IgnoredReason.UNKNOWN_NONCE


def test_a_nonce_is_believed_once() -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    box.hear(nonce, 10)
    assert box.hear(nonce, 10).one(ReportIgnored).reason is IgnoredReason.UNKNOWN_NONCE


def test_a_batch_that_was_overtaken_is_waited_for_and_not_sent_again() -> None:
    box = Box(head=20)
    first, second = box.begin()
    assert not box.hear(second, 0, status=AckStatus.GAP).all(SendBatch)
    assert not box.hear(first, 20).all(SendBatch)
    assert box.chain.acknowledged_number == 20


def test_after_a_setback_one_batch_goes_ahead_of_the_others() -> None:
    box = Box(head=30)
    box.begin()
    box.tell(LinkDown())
    (nonce,) = box.begin()
    assert box.batches() == [(1, 5)]
    assert box.hear(nonce, 5).batches() == [(6, 15), (16, 25)]


def test_a_missing_answer_leads_to_asking_where_the_cloud_stands_after_a_back_off() -> None:
    box = Box(head=20)
    box.begin()
    assert not box.wait(ANSWER_MS).all(SendBatch)
    assert not box.all(SendHello)
    assert box.one(WakeAt).monotonic_ms == box.now_ms + 500
    hello = box.wait(500).one(SendHello)
    assert box.hear(hello.nonce, 0).batches() == [(1, 5)]


def test_batches_shrink_while_answers_are_missing_and_grow_again() -> None:
    box = Box(head=100)
    box.begin()
    sizes = []
    for _ in range(5):
        box.wait(ANSWER_MS)
        box.now_ms = box.one(WakeAt).monotonic_ms
        box.hear(box.tell(Tick()).one(SendHello).nonce, 0)
        sizes.append(box.batches())
    assert sizes == [[(1, 5)], [(1, 2)], [(1, 1)], [(1, 1)], [(1, 1)]]
    assert box.hear(box.nonces()[0], 1).batches() == [(2, 3), (4, 5)]


def test_a_batch_that_kills_the_link_shrinks_too() -> None:
    box = Box(head=100)
    box.begin()
    for size in (5, 2, 1, 1):
        box.tell(LinkDown())
        box.begin()
        assert box.batches() == [(1, size)]


def test_a_late_answer_still_acknowledges_while_greeting() -> None:
    box = Box(head=20)
    first, _ = box.begin()
    box.wait(ANSWER_MS)
    assert isinstance(box.state, Greeting)
    assert box.hear(first, 10).one(MarkAcknowledged).number == 10


def test_part_of_a_batch_may_be_acknowledged_and_the_rest_is_sent_again() -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    box.hear(nonce, 4, status=AckStatus.GAP)
    assert box.one(MarkAcknowledged).number == 4
    assert not box.all(SendBatch)
    assert box.wait(500).batches() == [(5, 10)]


def refuse_record(box: Box, number: int, times: int) -> list[int]:
    """Let the cloud never take ``number``; return how long the box waited before each try."""
    waits = []
    (nonce,) = box.begin()
    for _ in range(times):
        box.hear(nonce, number - 1, status=AckStatus.GAP)
        before_ms = box.now_ms
        box.now_ms = box.one(WakeAt).monotonic_ms
        waits.append(box.now_ms - before_ms)
        (nonce,) = box.tell(Tick()).nonces()
    box.hear(nonce, number - 1, status=AckStatus.GAP)
    return waits


def test_a_refused_record_is_tried_with_a_growing_back_off_and_then_named_as_lost() -> None:
    box = Box(head=10)
    assert refuse_record(box, 4, 3) == [500, 1_000, 2_000]
    assert box.one(AppendLost) == AppendLost(4, 4)


def test_a_quarantined_box_calls_no_refused_record_lost() -> None:
    box = Box(head=10)
    box.state = replace(box.state, chain=replace(box.chain, quarantine=QuarantineReason.FORKED))
    refuse_record(box, 4, 5)
    assert not box.all(AppendLost)


def test_the_same_gap_asked_for_again_and_again_makes_no_hot_loop() -> None:
    box = Box(head=10)
    box.state = replace(box.state, chain=replace(box.chain, quarantine=QuarantineReason.FORKED))
    begun_ms, sent = box.now_ms, 1
    box.begin()
    while box.now_ms < begun_ms + 600_000:
        for nonce in box.nonces():
            box.hear(nonce, 0, status=AckStatus.GAP)
        box.now_ms = box.one(WakeAt).monotonic_ms
        sent += len(box.tell(Tick()).all(SendBatch))
    # The longest back-off is 8 s, halved by the jitter.
    assert 150 <= sent <= 160


def test_numbers_the_outbox_cannot_supply_are_named_and_sending_goes_on_behind_them() -> None:
    box = Box(head=10)
    box.missing = {4, 5}
    (first,) = box.begin()
    assert box.batches() == [(1, 3)]
    assert box.hear(first, 3).one(AppendLost) == AppendLost(4, 5)
    box.head = 11
    assert box.tell(LostAppended(4, 5, 11, hash_of(11))).batches() == [(11, 11), (6, 11)]


def test_nothing_behind_a_hole_is_sent_before_everything_in_front_of_it_is_confirmed() -> None:
    box = Box(head=30)
    box.missing = {15}
    first, second = box.begin()
    assert box.batches() == [(1, 10), (11, 14)]
    assert not box.hear(second, 0, status=AckStatus.GAP).all(AppendLost)
    assert not box.all(SendBatch)
    assert box.hear(first, 14).one(AppendLost) == AppendLost(15, 15)


def test_a_hole_at_the_head_is_named_too() -> None:
    box = Box(head=10)
    box.missing = {9, 10}
    (first,) = box.begin()
    assert box.hear(first, 8).one(AppendLost) == AppendLost(9, 10)


def test_without_the_lost_record_sending_goes_on_and_it_is_asked_for_again() -> None:
    box = Box(head=5)
    box.missing = {1}
    box.begin()
    assert box.one(AppendLost) == AppendLost(1, 1)
    assert not box.append().all(SendBatch)
    (nonce,) = box.wait(ANSWER_MS).nonces()
    assert box.batches() == [(2, 6)]
    box.hear(nonce, 0, status=AckStatus.GAP)
    assert isinstance(box.state, Greeting)
    box.now_ms = box.one(WakeAt).monotonic_ms
    assert box.hear(box.tell(Tick()).one(SendHello).nonce, 0).all(AppendLost)


def test_a_cloud_that_fell_back_to_a_backup_gets_again_what_the_outbox_has() -> None:
    box = Box(head=10, acknowledged=10)
    box.hear(box.greet(), 4)
    assert box.batches() == [(5, 10)]
    assert box.chain.acknowledged_number == 10
    assert not box.all(Quarantine)


def test_a_cloud_that_falls_back_while_we_send_is_asked_where_it_stands() -> None:
    box = Box(head=20, acknowledged=10)
    box.begin(held=10)
    nonce = box.nonces()[0]
    box.hear(nonce, 4)
    assert not box.all(AppendLost)
    assert box.wait(500).all(SendHello)


def test_what_a_pruned_outbox_lacks_for_a_fallen_back_cloud_is_named_as_lost() -> None:
    box = Box(head=10, acknowledged=10)
    box.missing = {1, 2, 3, 4, 5}
    assert box.hear(box.greet(), 2, is_known=False).one(AppendLost) == AppendLost(3, 5)


def test_a_number_whose_record_is_gone_here_acknowledges_nothing() -> None:
    box = Box(head=20, acknowledged=5)
    box.hear(box.greet(), 15, is_known=False)
    assert not box.all(MarkAcknowledged)
    assert not box.all(Quarantine)
    assert box.batches() == [(6, 15), (16, 20)]


@pytest.mark.parametrize(
    "number, status, head_hash, reason",
    [
        (7, AckStatus.OK, bytes([9]) * 32, QuarantineReason.FORKED),
        (10, AckStatus.OK, bytes([9]) * 32, QuarantineReason.FORKED),
        (0, AckStatus.OK, bytes([9]) * 32, QuarantineReason.FORKED),
        (11, AckStatus.OK, None, QuarantineReason.ROLLED_BACK),
        (7, AckStatus.FORKED, None, QuarantineReason.FORKED),
        (7, AckStatus.ROLLED_BACK, None, QuarantineReason.ROLLED_BACK),
        (0, AckStatus.UNKNOWN_EPOCH, bytes(32), QuarantineReason.UNKNOWN_EPOCH),
    ],
)
@pytest.mark.parametrize("is_batch", [False, True], ids=["hello", "batch"])
def test_proof_against_the_chain_quarantines_the_box(
    number: int, status: AckStatus, head_hash: bytes | None, reason: QuarantineReason, is_batch: bool
) -> None:
    box = Box(head=10)
    nonce = box.begin()[0] if is_batch else box.greet()
    box.hear(nonce, number, status=status, head_hash=head_hash)
    assert box.one(Quarantine).reason is reason
    assert box.chain.quarantine is reason
    assert box.all(ReportContact)


@pytest.mark.parametrize("status", [AckStatus.OK, AckStatus.GAP])
def test_an_honest_answer_quarantines_nobody(status: AckStatus) -> None:
    box = Box(head=10)
    assert not box.hear(box.greet(), 7, status=status).all(Quarantine)


def test_a_forked_box_tells_the_cloud_and_goes_on_sending_what_it_has() -> None:
    box = Box(head=10, acknowledged=4)
    hello = box.hear(box.greet(), 8, head_hash=bytes([9]) * 32).one(SendHello)
    assert hello.chain_state is ChainState.FORKED
    box.hear(hello.nonce, 4, status=AckStatus.FORKED)
    assert not box.all(Quarantine)
    assert box.batches() == [(5, 10)]


def test_a_rolled_back_box_of_which_the_cloud_knows_nothing_sends_everything_once() -> None:
    box = Box(head=25, acknowledged=4)
    hello = box.hear(box.greet(), 80).one(SendHello)
    assert hello.chain_state is ChainState.ROLLED_BACK
    first, second = box.hear(hello.nonce, 80, status=AckStatus.ROLLED_BACK).nonces()
    assert box.batches() == [(1, 10), (11, 20)]
    assert box.hear(first, 80, status=AckStatus.ROLLED_BACK).batches() == [(21, 25)]
    third = box.nonces()[0]
    box.hear(second, 80, status=AckStatus.ROLLED_BACK)
    assert not box.all(SendBatch)
    box.hear(third, 80, status=AckStatus.ROLLED_BACK)
    assert not box.all(SendBatch)
    assert isinstance(box.state, Greeting)


def test_the_first_reason_for_quarantine_stays() -> None:
    box = Box(head=10)
    hello = box.hear(box.greet(), 80).one(SendHello)
    box.hear(hello.nonce, 7, head_hash=bytes([9]) * 32)
    assert not box.all(Quarantine)
    assert box.chain.quarantine is QuarantineReason.ROLLED_BACK


def test_a_fork_outweighs_an_unknown_epoch() -> None:
    box = Box(head=10)
    box.hear(box.greet(), 0, status=AckStatus.UNKNOWN_EPOCH)
    box.now_ms = box.one(WakeAt).monotonic_ms
    nonce = box.tell(Tick()).one(SendHello).nonce
    assert box.hear(nonce, 7, head_hash=bytes([9]) * 32).one(Quarantine).reason is QuarantineReason.FORKED


def test_an_unknown_epoch_is_asked_about_ever_more_slowly_and_nothing_is_sent() -> None:
    box = Box(head=10)
    nonce = box.greet()
    waits = []
    for _ in range(5):
        box.hear(nonce, 0, status=AckStatus.UNKNOWN_EPOCH)
        assert not box.all(SendBatch)
        waits.append(box.one(WakeAt).monotonic_ms - box.now_ms)
        box.now_ms = box.one(WakeAt).monotonic_ms
        nonce = box.tell(Tick()).one(SendHello).nonce
    assert waits == [HELLO_MS + half for half in (500, 1_000, 2_000, 4_000, 4_000)]


def test_a_quiet_box_renews_its_contact() -> None:
    box = Box(head=3, acknowledged=3)
    box.begin(held=3)
    assert box.one(WakeAt).monotonic_ms == box.now_ms + CONTACT_MS
    assert not box.wait(CONTACT_MS - 1).all(SendHello)
    assert box.wait(1).all(SendHello)


def test_send_now_does_not_wait_for_the_back_off() -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    box.hear(nonce, 4, status=AckStatus.GAP)
    assert box.tell(SendNow()).batches() == [(5, 10)]
    box.wait(ANSWER_MS)
    assert box.tell(SendNow()).all(SendHello)


def test_records_appended_without_a_link_are_sent_when_it_comes() -> None:
    box = Box()
    assert not box.append(3).effects
    assert box.tell(Tick()).tell(SendNow()).effects == []
    box.begin()
    assert box.batches() == [(1, 3)]


def test_an_outbox_that_does_not_answer_is_asked_again() -> None:
    box = Box(head=10)
    hello = box.greet()
    chance = Chance(bytes(16), 0.5)
    ack = Acknowledgement(KeyId(bytes(4)), TERMINAL, 1, 0, hash_of(0), hello, AckStatus.OK, 1)
    event = AcknowledgementReceived(ack, hash_of(0))
    box.state, _ = step(box.state, event, now_ms=box.now_ms, chance=chance, settings=SETTINGS)
    assert not box.wait(ANSWER_MS - 1).all(LoadRecords)
    assert box.wait(1).batches() == [(1, 10)]


def test_records_with_a_hole_are_sent_up_to_the_hole() -> None:
    box = Box(head=10)
    box.missing = {3}
    box.begin()
    assert box.batches() == [(1, 2)]


def test_a_link_that_comes_again_without_having_gone_is_greeted_again() -> None:
    box = Box(head=10)
    box.begin()
    assert box.tell(LinkUp()).all(SendHello)
    assert box.tell(LinkUp()).all(SendHello)


def test_every_step_with_a_link_says_when_to_wake_and_never_in_the_past() -> None:
    box = Box(head=30)
    events: Sequence[Event] = (LinkUp(), Tick(), SendNow(), RecordsAppended(31, hash_of(31)), LinkUp())
    for event in events:
        box.now_ms += 1_000_000
        assert all(wake.monotonic_ms >= box.now_ms for wake in box.tell(event).all(WakeAt))
        assert box.all(WakeAt)
    assert not box.tell(LinkDown()).all(WakeAt)
    assert isinstance(box.state, Offline)


def test_the_nonces_remembered_are_bounded() -> None:
    box = Box()
    first = box.greet()
    for _ in range(100):
        box.now_ms = box.one(WakeAt).monotonic_ms
        box.tell(Tick())
    assert len(box.state.pace.late) <= 16
    assert box.hear(first, 0).one(ReportIgnored).reason is IgnoredReason.UNKNOWN_NONCE


def test_a_box_with_everything_acknowledged_is_at_rest() -> None:
    box = Box(head=10)
    (nonce,) = box.begin()
    box.hear(nonce, 10)
    assert isinstance(box.state, Sending)
    assert not box.state.in_flight
    assert box.state.pace.failures == 0


@pytest.mark.parametrize("window_batches, batch_records", [(0, 10), (4, 0), (4, 101)])
def test_settings_without_sense_are_refused(window_batches: int, batch_records: int) -> None:
    with pytest.raises(ValueError, match="window"):
        UploaderSettings(window_batches_max=window_batches, batch_records_max=batch_records)


def test_a_nonce_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="nonce"):
        Chance(bytes(15), 0.5)
