"""The cloud's verdicts on batches and greetings, case by case."""

from dataclasses import replace

import pytest

from sync.acknowledgement import AckStatus, ChainState, Hello
from sync.chain import BRANCHES_MAX, FLOATING_MAX, Branch, ChainView, Held, LostRange, new_chain, numbers_needed
from sync.message import Message
from sync.receiver import Reception, SetAside, Verdict, greet, receive
from sync.record import GENESIS_HASH, Record
from tests.unit.sync.lossy_world import EPOCH, KEY, TERMINAL, CloudStore, make_record

ACCEPTED, DUPLICATE, FLOATING = Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.FLOATING
FORKED, RECOVERED, SET_ASIDE = Verdict.FORKED, Verdict.RECOVERED_LATER, Verdict.SET_ASIDE


def make_chain(
    count: int, *, behind: Message[Record] | None = None, lost: dict[int, tuple[int, int]] | None = None, salt: int = 0
) -> list[Message[Record]]:
    """Make ``count`` linked records; ``lost`` says which numbers are LOST records and what they name."""
    number, previous = (0, GENESIS_HASH) if behind is None else (behind.content.number, behind.hash)
    chain = []
    for at in range(number + 1, number + count + 1):
        message = make_record(at, previous, salt=salt or at, lost=(lost or {}).get(at))
        chain.append(message)
        previous = message.hash
    return chain


class Cloud:
    """The store of the lossy world, driven batch by batch."""

    def __init__(self) -> None:
        self.store = CloudStore()

    def take(self, *batch: Message[Record]) -> Reception:
        reception = receive(self.store.load(numbers_needed(batch)), batch)
        self.store.store(reception)
        return reception


def make_hello(
    head: Message[Record] | None, acknowledged: Message[Record] | None, state: ChainState = ChainState.SOUND
) -> Hello:
    def end(message: Message[Record] | None) -> tuple[int, bytes]:
        return (0, GENESIS_HASH) if message is None else (message.content.number, message.hash)

    (head_number, head_hash), (acked_number, acked_hash) = end(head), end(acknowledged)
    return Hello(KEY, TERMINAL, EPOCH, bytes(16), head_number, head_hash, acked_number, acked_hash, state, 0)


def verdicts(reception: Reception) -> list[Verdict]:
    return [judged.verdict for judged in reception.judged]


def answered(reception: Reception) -> tuple[AckStatus, int]:
    return reception.answer.status, reception.answer.number


def test_records_in_order_extend_the_chain_and_are_acknowledged_by_the_last() -> None:
    chain = make_chain(3)
    reception = Cloud().take(*chain)
    assert verdicts(reception) == [ACCEPTED] * 3
    assert answered(reception) == (AckStatus.OK, 3)
    assert reception.answer.head_hash == chain[2].hash
    assert reception.gap is None
    assert not reception.is_forked


def test_records_in_any_order_within_a_batch_are_accepted() -> None:
    reception = Cloud().take(*reversed(make_chain(4)))
    assert verdicts(reception) == [ACCEPTED] * 4
    assert answered(reception) == (AckStatus.OK, 4)


def test_a_second_copy_is_a_duplicate_in_a_later_batch_and_in_the_same() -> None:
    cloud, chain = Cloud(), make_chain(2)
    assert verdicts(cloud.take(chain[0], chain[0])) == [ACCEPTED, DUPLICATE]
    reception = cloud.take(*chain)
    assert verdicts(reception) == [DUPLICATE, ACCEPTED]
    assert answered(reception) == (AckStatus.OK, 2)


def test_records_behind_a_gap_float_and_the_gap_is_asked_for() -> None:
    cloud, chain = Cloud(), make_chain(6)
    cloud.take(chain[0])
    reception = cloud.take(*chain[3:5])
    assert verdicts(reception) == [FLOATING] * 2
    assert answered(reception) == (AckStatus.GAP, 1)
    assert reception.gap == (2, 3)
    assert verdicts(cloud.take(chain[3])) == [DUPLICATE]


def test_filling_the_gap_lands_what_floated_and_acknowledges_all_of_it() -> None:
    cloud, chain = Cloud(), make_chain(6)
    cloud.take(*chain[3:])
    reception = cloud.take(*chain[:3])
    assert verdicts(reception) == [ACCEPTED] * 3
    assert {held.number for held in reception.landed} == {4, 5, 6}
    assert answered(reception) == (AckStatus.OK, 6)


def test_a_batch_with_a_hole_is_acknowledged_up_to_the_hole() -> None:
    chain = make_chain(5)
    reception = Cloud().take(*chain[:2], *chain[3:])
    assert verdicts(reception) == [ACCEPTED] * 2 + [FLOATING] * 2
    assert answered(reception) == (AckStatus.GAP, 2)
    assert reception.gap == (3, 3)


def test_a_batch_without_a_good_record_is_answered_with_where_the_chain_stands() -> None:
    cloud, chain = Cloud(), make_chain(2)
    assert answered(cloud.take()) == (AckStatus.OK, 0)
    cloud.take(*chain)
    assert answered(cloud.take()) == (AckStatus.OK, 2)


def test_a_second_record_under_a_number_forks_the_chain_and_both_lines_go_on() -> None:
    cloud, main = Cloud(), make_chain(5)
    cloud.take(*main)
    rival = make_chain(3, behind=main[1], salt=99)
    reception = cloud.take(*rival[:2])
    assert verdicts(reception) == [FORKED, ACCEPTED]
    assert [judged.branch for judged in reception.judged] == [1, 1]
    assert reception.branches[1] == Branch(1, 4, rival[1].hash, parent=0, fork_number=2)
    assert reception.is_forked
    assert answered(reception) == (AckStatus.FORKED, 4)
    assert reception.answer.head_hash == rival[1].hash
    assert verdicts(cloud.take(rival[2], *make_chain(1, behind=main[4]))) == [ACCEPTED, ACCEPTED]


def test_a_forked_chain_stays_forked_for_every_later_batch() -> None:
    cloud, main = Cloud(), make_chain(2)
    cloud.take(*main)
    cloud.take(*make_chain(1, behind=main[0], salt=99))
    assert cloud.take(*make_chain(1, behind=main[1])).answer.status is AckStatus.FORKED


def test_a_forked_box_is_told_its_own_last_record_not_the_end_of_the_branch() -> None:
    cloud, main = Cloud(), make_chain(4)
    cloud.take(*main)
    cloud.take(*make_chain(1, behind=main[1], salt=99))
    reception = cloud.take(*main[:2])
    assert (reception.answer.number, reception.answer.head_hash) == (2, main[1].hash)


def test_a_first_record_on_another_base_forks_at_the_root() -> None:
    cloud = Cloud()
    stranger = make_record(1, bytes([7]) * 32)
    assert verdicts(cloud.take(*make_chain(2), stranger)) == [ACCEPTED, ACCEPTED, FORKED]
    assert cloud.store.view.branches[1].fork_number == 0


def test_two_floating_records_under_one_number_are_a_fork_already() -> None:
    ours, theirs = make_chain(5), make_chain(5, salt=99)
    reception = Cloud().take(ours[4], theirs[4])
    assert verdicts(reception) == [FLOATING] * 2
    assert reception.is_forked


def test_a_record_that_skips_a_number_behind_a_known_hash_floats() -> None:
    chain = make_chain(2)
    liar = make_record(9, chain[1].hash)
    assert verdicts(Cloud().take(*chain, liar)) == [ACCEPTED, ACCEPTED, FLOATING]


def test_floating_records_of_a_forked_chain_are_answered_with_the_nearest_branch_below() -> None:
    cloud, main = Cloud(), make_chain(8)
    cloud.take(*main)
    rival = make_chain(5, behind=main[2], salt=99)
    cloud.take(rival[0])
    reception = cloud.take(rival[2])
    assert reception.answer.number == 4
    assert reception.gap == (5, 5)


def test_a_lost_record_closes_the_gap_it_names() -> None:
    cloud, chain = Cloud(), make_chain(6, lost={6: (3, 4)})
    cloud.take(*chain[:2])
    reception = cloud.take(*chain[4:])
    assert verdicts(reception) == [ACCEPTED] * 2
    assert reception.closed == (LostRange(3, 4, 0),)
    assert answered(reception) == (AckStatus.OK, 6)


def test_a_lost_record_that_comes_first_closes_the_gap_once_the_record_behind_it_is_there() -> None:
    cloud, chain = Cloud(), make_chain(7, lost={7: (3, 4)})
    cloud.take(*chain[:2])
    assert answered(cloud.take(chain[6])) == (AckStatus.GAP, 2)
    reception = cloud.take(chain[4])
    assert answered(reception) == (AckStatus.GAP, 5)
    assert reception.closed == (LostRange(3, 4, 0),)
    assert answered(cloud.take(chain[5])) == (AckStatus.OK, 7)


def test_a_lost_record_closes_only_numbers_that_are_not_filled() -> None:
    cloud, chain = Cloud(), make_chain(9, lost={9: (2, 7)})
    cloud.take(*chain[:3])
    reception = cloud.take(chain[4], *chain[7:])
    assert reception.closed == (LostRange(4, 4, 0), LostRange(6, 7, 0))
    assert answered(reception) == (AckStatus.OK, 9)


def test_two_lost_records_that_adjoin_close_one_gap_together() -> None:
    cloud, chain = Cloud(), make_chain(8, lost={7: (3, 3), 8: (4, 5)})
    cloud.take(*chain[:2])
    reception = cloud.take(*chain[5:])
    assert reception.closed == (LostRange(3, 5, 0),)
    assert answered(reception) == (AckStatus.OK, 8)


def test_a_lost_record_closes_a_gap_at_the_very_beginning() -> None:
    chain = make_chain(4, lost={4: (1, 2)})
    assert answered(Cloud().take(*chain[2:])) == (AckStatus.OK, 4)


@pytest.mark.parametrize("lost", [(1, 1), (3, 3), (4, 9), (5, 5)], ids=str)
def test_a_lost_record_that_does_not_name_the_whole_gap_closes_nothing(lost: tuple[int, int]) -> None:
    cloud, chain = Cloud(), make_chain(6, lost={6: lost})
    cloud.take(*chain[:2])
    reception = cloud.take(*chain[4:])
    assert verdicts(reception) == [FLOATING] * 2
    assert reception.closed == ()


def test_a_lost_number_that_comes_later_is_recovered_and_nobodys_fault() -> None:
    cloud, chain = Cloud(), make_chain(7, lost={7: (3, 5)})
    cloud.take(*chain[:2])
    cloud.take(*chain[5:])
    for number in (4, 3, 5):
        reception = cloud.take(chain[number - 1])
        assert verdicts(reception) == [RECOVERED]
        assert not reception.is_forked
        assert answered(reception) == (AckStatus.OK, 7)
        assert verdicts(cloud.take(chain[number - 1])) == [DUPLICATE]


@pytest.mark.parametrize("at", [3, 5], ids=["first", "last"])
def test_a_stranger_on_a_lost_number_is_not_recovered(at: int) -> None:
    cloud, chain = Cloud(), make_chain(7, lost={7: (3, 5)})
    cloud.take(*chain[:2])
    cloud.take(*chain[5:])
    stranger = make_record(at, bytes([9]) * 32)
    assert verdicts(cloud.take(stranger)) == [FLOATING]


def test_a_second_record_on_a_recovered_number_is_a_fork() -> None:
    cloud, chain = Cloud(), make_chain(6, lost={6: (3, 4)})
    cloud.take(*chain[:2])
    cloud.take(*chain[4:])
    cloud.take(chain[2])
    reception = cloud.take(*make_chain(1, behind=chain[1], salt=99))
    assert verdicts(reception) == [FORKED]


def test_a_record_of_another_line_is_not_recovered_without_a_neighbour_in_a_forked_chain() -> None:
    cloud, chain = Cloud(), make_chain(9, lost={9: (3, 7)})
    cloud.take(*chain[:2])
    cloud.take(*chain[7:])
    rival = make_chain(5, behind=chain[0], salt=99)
    cloud.take(rival[0])
    reception = cloud.take(rival[3])
    assert verdicts(reception) == [FLOATING]
    assert reception.answer.head_hash == rival[0].hash


def test_a_lost_range_that_is_filled_already_makes_the_rest_a_line_of_its_own() -> None:
    cloud, main = Cloud(), make_chain(8)
    cloud.take(*main)
    rival = make_chain(6, behind=main[1], salt=99, lost={8: (3, 5)})
    reception = cloud.take(*rival[3:])
    assert verdicts(reception) == [FORKED, ACCEPTED, ACCEPTED]
    assert reception.branches[1] == Branch(1, 8, rival[5].hash, parent=0, fork_number=2)
    assert reception.closed == (LostRange(3, 5, 1),)


def test_a_record_extends_the_branch_that_its_hash_names_where_two_are_of_one_height() -> None:
    cloud, main = Cloud(), make_chain(4)
    cloud.take(*main)
    rival = make_chain(4, behind=main[1], salt=99)
    cloud.take(*rival[:2])
    reception = cloud.take(*rival[2:])
    assert [judged.branch for judged in reception.judged] == [1, 1]
    assert reception.branches[0].tip_number == 4


def test_a_recovered_record_says_nothing_of_those_before_it() -> None:
    cloud, chain = Cloud(), make_chain(7, lost={7: (3, 5)})
    cloud.take(*chain[:2])
    cloud.take(*chain[5:])
    cloud.take(*make_chain(1, behind=chain[0], salt=99))
    reception = cloud.take(chain[4])
    assert verdicts(reception) == [RECOVERED]
    assert reception.answer.number == 2


def test_records_of_another_epoch_are_set_aside_and_hold_up_nothing() -> None:
    chain = make_chain(2)
    stranger = make_record(1, GENESIS_HASH, epoch=EPOCH + 1)
    reception = Cloud().take(chain[0], stranger, chain[1])
    assert verdicts(reception) == [ACCEPTED, SET_ASIDE, ACCEPTED]
    assert reception.judged[1].set_aside is SetAside.FOREIGN_CHAIN
    assert answered(reception) == (AckStatus.OK, 2)


def floating_view(count: int) -> ChainView:
    view = new_chain(terminal_id=TERMINAL, epoch=EPOCH, base_hash=GENESIS_HASH)
    held = [Held(10 + 2 * at, at.to_bytes(32, "big"), (at + 10**6).to_bytes(32, "big")) for at in range(1, count + 1)]
    return replace(view, floating=tuple(held))


def test_floating_records_are_bounded_and_the_one_over_it_is_set_aside() -> None:
    strangers = [make_record(5, bytes([7]) * 32), make_record(7, bytes([8]) * 32)]
    reception = receive(floating_view(FLOATING_MAX - 1), strangers)
    assert verdicts(reception) == [FLOATING, SET_ASIDE]
    assert reception.judged[1].set_aside is SetAside.TOO_MANY_FLOATING


def test_a_lost_record_over_the_bound_closes_nothing() -> None:
    chain = make_chain(30, lost={30: (2, 29)})
    view = floating_view(FLOATING_MAX)
    reception = receive(replace(view, branches=(Branch(0, 1, chain[0].hash),)), [chain[29]])
    assert verdicts(reception) == [SET_ASIDE]
    assert reception.closed == ()


def test_as_many_records_as_may_float_land_at_once() -> None:
    chain = make_chain(FLOATING_MAX + 1)
    floating = tuple(Held(m.content.number, m.hash, m.content.previous_hash) for m in chain[1:])
    view = replace(new_chain(terminal_id=TERMINAL, epoch=EPOCH, base_hash=GENESIS_HASH), floating=floating)
    reception = receive(view, chain[:1])
    assert len(reception.landed) == FLOATING_MAX
    assert answered(reception) == (AckStatus.OK, FLOATING_MAX + 1)


def test_branches_are_bounded_and_the_one_over_it_is_set_aside() -> None:
    cloud = Cloud()
    for salt in range(1, BRANCHES_MAX + 1):
        cloud.take(*make_chain(1, salt=salt))
    reception = cloud.take(*make_chain(1, salt=99))
    assert verdicts(reception) == [SET_ASIDE]
    assert reception.judged[0].set_aside is SetAside.TOO_MANY_BRANCHES
    assert len(cloud.store.view.branches) == BRANCHES_MAX


def test_the_numbers_to_load_are_bounded_by_the_batch_not_by_its_span() -> None:
    far = make_record(4_000_000_000, bytes(32))
    assert numbers_needed([*make_chain(1), far]) == {0, 1, 2, 3_999_999_999, 4_000_000_000, 4_000_000_001}


MAIN = make_chain(5)
RIVAL = make_chain(3, behind=MAIN[2], salt=99)


@pytest.mark.parametrize(
    "head, acknowledged, state, expected",
    [
        (MAIN[4], MAIN[4], ChainState.SOUND, (AckStatus.OK, MAIN[4])),
        (MAIN[2], MAIN[1], ChainState.SOUND, (AckStatus.OK, MAIN[4])),
        (make_chain(1, behind=MAIN[4])[0], MAIN[3], ChainState.SOUND, (AckStatus.OK, MAIN[4])),
        (None, None, ChainState.SOUND, (AckStatus.OK, MAIN[4])),
        (RIVAL[2], RIVAL[0], ChainState.SOUND, (AckStatus.OK, MAIN[4])),
        (MAIN[2], MAIN[1], ChainState.ROLLED_BACK, (AckStatus.ROLLED_BACK, MAIN[2])),
        (RIVAL[0], MAIN[1], ChainState.ROLLED_BACK, (AckStatus.ROLLED_BACK, MAIN[1])),
        (RIVAL[0], MAIN[1], ChainState.FORKED, (AckStatus.FORKED, MAIN[1])),
        (RIVAL[1], RIVAL[0], ChainState.FORKED, (AckStatus.FORKED, MAIN[4])),
    ],
)
def test_a_greeting_is_told_where_to_go_on(
    head: Message[Record] | None,
    acknowledged: Message[Record] | None,
    state: ChainState,
    expected: tuple[AckStatus, Message[Record]],
) -> None:
    cloud = Cloud()
    cloud.take(*MAIN)
    hello = make_hello(head, acknowledged, state)
    greeted = greet(cloud.store.load(frozenset(), (hello.head_hash, hello.acknowledged_hash)), hello)
    assert (greeted.answer.status, greeted.answer.head_hash) == (expected[0], expected[1].hash)
    assert greeted.is_forked == (state is ChainState.FORKED)
    assert greeted.is_rolled_back == (state is ChainState.ROLLED_BACK)


def test_a_greeting_from_before_the_records_convicts_nobody() -> None:
    cloud = Cloud()
    cloud.take(*MAIN)
    hello = make_hello(None, None)
    greeted = greet(cloud.store.load(frozenset(), (hello.head_hash,)), hello)
    assert not greeted.is_forked
    assert not greeted.is_rolled_back


def test_a_greeting_learns_of_a_gap() -> None:
    cloud = Cloud()
    cloud.take(MAIN[0], MAIN[3])
    hello = make_hello(MAIN[4], MAIN[0])
    greeted = greet(cloud.store.load(frozenset(), (hello.head_hash, hello.acknowledged_hash)), hello)
    assert (greeted.answer.status, greeted.answer.number) == (AckStatus.GAP, 1)


def test_what_a_chain_was_convicted_of_stays() -> None:
    view = replace(new_chain(terminal_id=TERMINAL, epoch=EPOCH, base_hash=GENESIS_HASH), is_rolled_back=True)
    greeted = greet(view, make_hello(None, None))
    assert greeted.is_rolled_back
    assert receive(view, make_chain(1)).answer.status is AckStatus.ROLLED_BACK


def test_a_greeting_of_another_chain_is_a_bug_of_ours() -> None:
    view = new_chain(terminal_id=TERMINAL, epoch=EPOCH + 1, base_hash=GENESIS_HASH)
    with pytest.raises(ValueError, match="another chain"):
        greet(view, make_hello(None, None))
