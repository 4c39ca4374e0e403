"""The uploader step by step: what it sends, what it believes, and when it rests."""

from collections.abc import Callable, Sequence

import pytest

from sync.acknowledgement import AckStatus, ChainState
from sync.ids import TerminalId
from sync.upload import (
    Event,
    IgnoredReason,
    LinkDown,
    LinkUp,
    MarkAcknowledged,
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
from sync.upload_state import Offline, Sending
from sync.uploader import Chance
from tests.unit.sync.upload_box import ANSWER_MS, CONTACT_MS, HELLO_MS, Box, hash_of


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
    kept = [type(effect) for effect in box.effects if isinstance(effect, Quarantine | ReportContact)]
    assert kept == [Quarantine, ReportContact], "a power cut between them must not leave more time to sell"


@pytest.mark.parametrize("status", [AckStatus.OK, AckStatus.GAP])
def test_an_honest_answer_quarantines_nobody(status: AckStatus) -> None:
    box = Box(head=10)
    assert not box.hear(box.greet(), 7, status=status).all(Quarantine)


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


def test_batches_that_were_overtaken_do_not_slow_the_others_down() -> None:
    box = Box(head=60)
    first, second = box.begin()
    assert box.hear(second, 0, status=AckStatus.GAP).batches() == [(21, 30)]
    assert box.hear(first, 20).batches() == [(31, 40)]


def test_what_is_acknowledged_meanwhile_is_not_sent_again() -> None:
    box = Box(head=20)
    first, second = box.begin()
    box.hear(first, 4, status=AckStatus.GAP)
    box.hear(second, 20)
    assert not box.wait(500).all(SendBatch)


def test_a_late_nonce_is_forgotten_with_its_connection() -> None:
    box = Box(head=40)
    first, _ = box.begin()
    box.wait(ANSWER_MS)
    box.hear(box.wait_until_woken().one(SendHello).nonce, 0)
    box.tell(LinkDown()).tell(LinkUp())
    assert box.hear(first, 10).one(ReportIgnored).reason is IgnoredReason.UNKNOWN_NONCE
