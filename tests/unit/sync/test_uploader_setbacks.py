"""The uploader in trouble: answers that do not come, records that are refused or gone, and chains that disagree."""

from dataclasses import replace

from sync.acknowledgement import Acknowledgement, AckStatus, ChainState
from sync.ids import KeyId
from sync.upload import (
    AcknowledgementReceived,
    AppendLost,
    IgnoredReason,
    LinkDown,
    LoadRecords,
    LostAppended,
    MarkAcknowledged,
    Quarantine,
    QuarantineReason,
    ReportIgnored,
    SendBatch,
    SendHello,
    Tick,
    WakeAt,
)
from sync.upload_state import Greeting
from sync.uploader import Chance, step
from tests.unit.sync.upload_box import ANSWER_MS, HELLO_MS, SETTINGS, TERMINAL, Box, hash_of


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


def test_the_nonces_remembered_are_bounded() -> None:
    box = Box()
    first = box.greet()
    for _ in range(100):
        box.now_ms = box.one(WakeAt).monotonic_ms
        box.tell(Tick())
    assert len(box.state.pace.late) <= 16
    assert box.hear(first, 0).one(ReportIgnored).reason is IgnoredReason.UNKNOWN_NONCE


def test_a_quarantined_box_does_not_take_a_record_that_is_gone_here_for_its_own() -> None:
    box = Box(head=10, acknowledged=8)
    box.state = replace(box.state, chain=replace(box.chain, quarantine=QuarantineReason.FORKED))
    box.hear(box.greet(), 6, status=AckStatus.FORKED, is_known=False)
    assert box.batches() == [(1, 10)]
