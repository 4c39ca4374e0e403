"""A batch as a table of events with the expected outcome of each."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from cloud.ledger import entries
from cloud.ledger.batch import AccountState, BatchPlan, PostOutcome, accounts_of, plan_batch
from cloud.ledger.entries import AccountKind, JournalEntry
from sync.money import Money

AVAILABLE = entries.payer_available("W1", "EUR")
OFFLINE = entries.payer_offline("D1", "EUR")
CLEARING = entries.platform(AccountKind.FUNDING_CLEARING, "EUR")


def top_up(cause: str, amount_minor: int) -> JournalEntry:
    return entries.top_up(cause, wallet_id="W1", amount=Money(amount_minor, "EUR"))


def reserve(cause: str, amount_minor: int) -> JournalEntry:
    return entries.reserve_moved(cause, wallet_id="W1", device_id="D1", amount=Money(amount_minor, "EUR"))


def plan(
    *batch: JournalEntry, known: Mapping[str, bytes] | None = None, taken_back: AbstractSet[str] = frozenset()
) -> BatchPlan:
    states = {account: AccountState(0, 0) for account in accounts_of(batch)}
    return plan_batch(batch, states=states, content_by_cause=known or {}, reversed_causes=taken_back)


def test_later_entries_see_the_balances_of_earlier_ones() -> None:
    planned = plan(top_up("t", 500), reserve("r1", 200), reserve("r2", 300))
    assert planned.outcomes == [PostOutcome.POSTED] * 3
    assert planned.states == {
        CLEARING: AccountState(-500, 1),
        AVAILABLE: AccountState(0, 3),
        OFFLINE: AccountState(500, 2),
    }
    chain = [
        (line.sequence, line.balance_before_minor, line.balance_after_minor)
        for line in planned.lines
        if line.account == AVAILABLE
    ]
    assert chain == [(1, 0, 500), (2, 500, 300), (3, 300, 0)]


def test_an_overdraft_by_one_cent_is_left_out_and_the_next_one_goes_on() -> None:
    planned = plan(top_up("t", 500), reserve("r1", 501), reserve("r2", 500))
    assert planned.outcomes == [PostOutcome.POSTED, PostOutcome.INSUFFICIENT_FUNDS, PostOutcome.POSTED]
    assert [entry.cause for entry in planned.entries] == ["t", "r2"]
    assert planned.states[OFFLINE] == AccountState(500, 1)


def test_a_left_out_entry_may_be_tried_again_in_the_same_batch() -> None:
    planned = plan(reserve("r", 10), top_up("t", 10), reserve("r", 10))
    assert planned.outcomes == [PostOutcome.INSUFFICIENT_FUNDS, PostOutcome.POSTED, PostOutcome.POSTED]


def test_a_cause_in_the_books_is_named_by_whether_its_content_is_the_same() -> None:
    first = top_up("t", 500)
    planned = plan(first, top_up("t2", 7), known={"t": first.content_hash, "t2": first.content_hash})
    assert planned.outcomes == [PostOutcome.EXISTS, PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT]
    assert planned.lines == []
    assert planned.states == {}


def test_a_cause_that_comes_twice_in_one_batch_is_posted_once() -> None:
    planned = plan(top_up("t", 500), top_up("t", 500), top_up("t", 501))
    assert planned.outcomes == [
        PostOutcome.POSTED,
        PostOutcome.EXISTS,
        PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT,
    ]
    assert planned.states[AVAILABLE] == AccountState(500, 1)


def test_an_entry_is_taken_back_once_under_whatever_cause() -> None:
    first = top_up("t", 500)
    planned = plan(first, entries.reversal(first, cause="v1"), entries.reversal(first, cause="v2"))
    assert planned.outcomes == [PostOutcome.POSTED, PostOutcome.POSTED, PostOutcome.ALREADY_REVERSED]
    again = plan(entries.reversal(first, cause="v3"), taken_back={"t"})
    assert again.outcomes == [PostOutcome.ALREADY_REVERSED]


def test_accounts_of_ours_may_run_negative_and_a_credit_never_overdraws() -> None:
    states = {CLEARING: AccountState(-100, 1), AVAILABLE: AccountState(-10, 1)}
    planned = plan_batch([top_up("t", 5)], states=states, content_by_cause={}, reversed_causes=set())
    assert planned.outcomes == [PostOutcome.POSTED]
    assert planned.states[AVAILABLE] == AccountState(-5, 2)
