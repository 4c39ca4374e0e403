"""Below which time a record cannot have been authorised, wherever in its chain it stands."""

from dataclasses import replace

from cloud.ingest.chain_times import ChainTimes, HeldTimes, Moment, follow_times, way_to
from cloud.ingest.judgement import CLOCK_TOLERANCE_MS
from sync.chain import Branch, ChainView, new_chain
from sync.ids import TerminalId

OPENED_MS = 1_000_000_000
HOUR_MS = 3_600_000
BASE_HASH = bytes(32)
TIP_HASH = b"\x07" * 32
CHAIN = new_chain(terminal_id=TerminalId(bytes(8)), epoch=1, base_hash=BASE_HASH)
GROWN = replace(CHAIN, branches=(Branch(0, 7, TIP_HASH),))
TIP_MS = OPENED_MS + HOUR_MS


def moment(
    number: int,
    time_ms: int,
    *,
    behind: bytes,
    branch: int | None = 0,
    is_clock_set: bool = False,
    is_recovered: bool = False,
) -> Moment:
    return Moment(number, bytes([number]) * 32, behind, branch, time_ms, is_clock_set, is_recovered)


def follow(
    *moments: Moment, view: ChainView = GROWN, behind_ms: dict[bytes, int] | None = None, is_sound: bool = True
) -> ChainTimes:
    held = HeldTimes(
        OPENED_MS, {branch.number: TIP_MS for branch in view.branches if branch.tip_number}, behind_ms or {}
    )
    return follow_times(view, moments, held=held, is_sound=is_sound)


def test_the_first_record_of_an_epoch_lies_behind_its_opening() -> None:
    first = moment(1, OPENED_MS + 5, behind=BASE_HASH)
    times = follow(first, view=CHAIN)
    assert times.not_before_ms == {first.hash: OPENED_MS}
    assert times.tips_ms == {0: OPENED_MS + 5}


def test_each_record_lies_behind_the_one_before_in_whatever_order_they_came() -> None:
    eighth = moment(8, TIP_MS + 10, behind=TIP_HASH)
    ninth = moment(9, TIP_MS + 20, behind=eighth.hash)
    times = follow(ninth, eighth)
    assert times.not_before_ms == {eighth.hash: TIP_MS, ninth.hash: TIP_MS + 10}
    assert times.tips_ms == {0: TIP_MS + 20}


def test_a_record_dated_back_does_not_open_the_way_for_the_next() -> None:
    eighth = moment(8, OPENED_MS + 1, behind=TIP_HASH)
    ninth = moment(9, OPENED_MS + 1, behind=eighth.hash)
    assert follow(eighth, ninth).not_before_ms[ninth.hash] == TIP_MS


def test_a_record_afloat_lies_behind_what_is_acknowledged() -> None:
    afloat = moment(20, TIP_MS, behind=b"?" * 32, branch=None)
    assert follow(afloat).not_before_ms[afloat.hash] == TIP_MS - CLOCK_TOLERANCE_MS


def test_a_record_afloat_in_a_convicted_chain_may_be_of_another_line() -> None:
    afloat = moment(20, TIP_MS, behind=b"?" * 32, branch=None)
    assert follow(afloat, is_sound=False).not_before_ms[afloat.hash] == OPENED_MS


def test_a_record_behind_a_gap_that_was_closed_lies_behind_the_end_of_its_branch() -> None:
    behind_gap = moment(12, TIP_MS + 5, behind=b"?" * 32)
    assert follow(behind_gap).not_before_ms[behind_gap.hash] == TIP_MS


def test_a_fork_lies_behind_the_record_it_leaves_and_not_behind_the_other_branch() -> None:
    fork = moment(4, OPENED_MS + 9, behind=b"3" * 32, branch=1)
    child = moment(5, OPENED_MS + 10, behind=fork.hash, branch=1)
    times = follow(fork, child, behind_ms={fork.hash: OPENED_MS + 8})
    assert times.not_before_ms == {fork.hash: OPENED_MS + 8, child.hash: OPENED_MS + 9}
    assert times.tips_ms == {0: TIP_MS, 1: OPENED_MS + 10}


def test_a_record_that_comes_after_its_number_was_given_up_lies_where_it_was_missing() -> None:
    recovered = moment(3, OPENED_MS + 30, behind=b"2" * 32, is_recovered=True)
    times = follow(recovered, behind_ms={recovered.hash: OPENED_MS + 20})
    assert times.not_before_ms[recovered.hash] == OPENED_MS + 20
    assert times.tips_ms == {0: TIP_MS}


def test_a_clock_that_was_set_back_lets_the_next_record_be_earlier() -> None:
    ahead = moment(8, TIP_MS + 5 * HOUR_MS, behind=TIP_HASH)
    clock_set = moment(9, TIP_MS + 10, behind=ahead.hash, is_clock_set=True)
    sale = moment(10, TIP_MS + 11, behind=clock_set.hash)
    assert follow(ahead, clock_set, sale).not_before_ms[sale.hash] == TIP_MS + 10


def test_no_clock_that_was_set_leads_back_before_what_was_acknowledged() -> None:
    clock_set = moment(8, OPENED_MS + 1, behind=TIP_HASH, is_clock_set=True)
    sale = moment(9, OPENED_MS + 2, behind=clock_set.hash)
    assert follow(clock_set, sale).not_before_ms[sale.hash] == TIP_MS - CLOCK_TOLERANCE_MS


def test_the_way_to_a_branch_leads_over_its_parents() -> None:
    branches = (Branch(0, 9, TIP_HASH), Branch(1, 8, TIP_HASH, 0, 5), Branch(2, 7, TIP_HASH, 1, 6))
    assert way_to(branches, 2, 7) == [(2, 7), (1, 6), (0, 5)]
    assert way_to(branches, 2, 4) == [(2, 4), (1, 4), (0, 4)]
    assert way_to(branches, 0, 3) == [(0, 3)]
