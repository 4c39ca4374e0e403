"""Posting on the embedded database, and an audit that finds what somebody changed behind the ledger's back."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.audit import FindingKind, trial_balance, verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import AccountKind, JournalEntry
from cloud.ledger.service import find_entry, lock_accounts, lock_for_posting, post_entries, read_balances
from sync.money import Money

AVAILABLE = entries.payer_available("W1", "EUR")
OFFLINE = entries.payer_offline("D1", "EUR")


def top_up(cause: str, amount_minor: int) -> JournalEntry:
    return entries.top_up(cause, wallet_id="W1", amount=Money(amount_minor, "EUR"))


def reserve(cause: str, amount_minor: int) -> JournalEntry:
    return entries.reserve_moved(cause, wallet_id="W1", device_id="D1", amount=Money(amount_minor, "EUR"))


def post(engine: Engine, *batch: JournalEntry) -> list[PostOutcome]:
    return run_transaction(engine, lambda session: post_entries(session, batch, now_ms=1))


def balance(engine: Engine) -> tuple[int, int]:
    found = run_read(engine, lambda session: read_balances(session, [AVAILABLE, OFFLINE]))
    return found[AVAILABLE], found[OFFLINE]


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = 1")
        assert connection.execute(text(statement)).rowcount > 0
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = 0")


def test_a_batch_moves_balances_and_the_books_stay_right(engine: Engine) -> None:
    assert post(engine, top_up("t", 500), reserve("r", 200)) == [PostOutcome.POSTED] * 2
    assert balance(engine) == (300, 200)
    assert run_read(engine, verify_ledger) == []
    lines = run_read(engine, trial_balance)
    assert sum(line.balance_minor for line in lines) == 0
    assert {line.kind: line.balance_minor for line in lines} == {
        AccountKind.FUNDING_CLEARING: -500,
        AccountKind.PAYER_AVAILABLE: 300,
        AccountKind.PAYER_OFFLINE: 200,
    }


def test_posting_nothing_asks_the_database_nothing(engine: Engine) -> None:
    assert post(engine) == []


def test_the_same_cause_again_changes_nothing(engine: Engine) -> None:
    post(engine, top_up("t", 500))
    outcomes = post(engine, top_up("t", 500), top_up("t", 501), top_up("u", 1))
    assert outcomes == [PostOutcome.EXISTS, PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT, PostOutcome.POSTED]
    assert balance(engine) == (501, 0)


def test_an_overdraft_is_named_and_leaves_no_trace(engine: Engine) -> None:
    post(engine, top_up("t", 500))
    assert post(engine, reserve("r", 501)) == [PostOutcome.INSUFFICIENT_FUNDS]
    assert balance(engine) == (500, 0)
    assert run_read(engine, lambda session: find_entry(session, "r")) is None


def test_a_replay_that_has_no_cover_any_more_is_still_a_replay(engine: Engine) -> None:
    assert post(engine, top_up("t", 500), reserve("r", 400)) == [PostOutcome.POSTED] * 2
    assert post(engine, reserve("r", 400), reserve("s", 100)) == [PostOutcome.EXISTS, PostOutcome.POSTED]
    assert balance(engine) == (0, 500)


def test_accounts_that_are_locked_already_are_posted_on_as_they_were_found(engine: Engine) -> None:
    def work(session: Session) -> list[PostOutcome]:
        clearing = entries.platform(AccountKind.FUNDING_CLEARING, "EUR")
        locked = lock_for_posting(session, [AVAILABLE, OFFLINE, clearing])
        return post_entries(session, [top_up("t", 500), reserve("r", 200)], now_ms=1, locked=locked)

    assert run_transaction(engine, work) == [PostOutcome.POSTED] * 2
    assert balance(engine) == (300, 200)
    assert run_read(engine, verify_ledger) == []


def test_posting_twice_on_one_finding_gives_the_transaction_up(engine: Engine) -> None:
    def work(session: Session) -> None:
        locked = lock_for_posting(session, [AVAILABLE, entries.platform(AccountKind.FUNDING_CLEARING, "EUR")])
        for cause in ("one", "two"):
            post_entries(session, [top_up(cause, 500)], now_ms=1, locked=locked)

    with pytest.raises((LedgerInvariantError, IntegrityError)):
        run_transaction(engine, work)
    assert balance(engine) == (0, 0)


def test_a_posted_entry_is_found_and_reversed_once(engine: Engine) -> None:
    post(engine, top_up("t", 500))
    entry = run_read(engine, lambda session: find_entry(session, "t"))
    assert entry is not None
    assert post(engine, entries.reversal(entry, cause="v")) == [PostOutcome.POSTED]
    assert post(engine, entries.reversal(entry, cause="v2")) == [PostOutcome.ALREADY_REVERSED]
    assert post(engine, entries.reversal(entry, cause="v")) == [PostOutcome.EXISTS]
    assert balance(engine) == (0, 0)
    assert run_read(engine, verify_ledger) == []


def test_a_reversal_that_would_overdraw_the_payer_is_named(engine: Engine) -> None:
    post(engine, top_up("t", 500), reserve("r", 1))
    assert post(engine, entries.reversal(top_up("t", 500), cause="v")) == [PostOutcome.INSUFFICIENT_FUNDS]


def test_balances_are_read_under_lock_before_an_entry_is_built(engine: Engine) -> None:
    post(engine, top_up("t", 500))

    def work(session: Session) -> list[PostOutcome]:
        balances = lock_accounts(session, [OFFLINE, AVAILABLE])
        assert balances == {OFFLINE: 0, AVAILABLE: 500}
        return post_entries(session, [reserve("r", balances[AVAILABLE])], now_ms=2)

    assert run_transaction(engine, work) == [PostOutcome.POSTED]
    assert balance(engine) == (0, 500)


def test_a_total_that_moved_under_the_lock_gives_the_transaction_up(engine: Engine) -> None:
    post(engine, top_up("t", 500))

    def work(session: Session) -> None:
        # What no other writer can do while the row is locked, a defect in the same transaction could.
        trigger = (
            "CREATE TEMP TRIGGER defect AFTER INSERT ON main.postings "
            "BEGIN UPDATE accounts SET balance_minor = balance_minor + 1 WHERE kind = 'payer_available'; END"
        )
        session.execute(text(trigger))
        post_entries(session, [top_up("u", 1)], now_ms=2)

    with pytest.raises(LedgerInvariantError):
        run_transaction(engine, work)
    assert balance(engine) == (500, 0)


def test_the_database_itself_refuses_an_overdrawn_payer(engine: Engine) -> None:
    post(engine, top_up("t", 500))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET balance_minor = -1 WHERE kind = 'payer_available'"))


@pytest.mark.parametrize(
    "statement, expected",
    [
        (
            "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE kind = 'payer_available'",
            {FindingKind.TOTAL_DIFFERS},
        ),
        ("UPDATE accounts SET postings_count = 7 WHERE kind = 'payer_available'", {FindingKind.TOTAL_DIFFERS}),
        (
            "UPDATE postings SET amount_minor = amount_minor + 1 WHERE amount_minor = 500",
            {FindingKind.ENTRY_UNBALANCED, FindingKind.TOTAL_DIFFERS, FindingKind.CHAIN_BROKEN},
        ),
        (
            "UPDATE postings SET balance_before_minor = 1, balance_after_minor = 201 WHERE amount_minor = 200",
            {FindingKind.CHAIN_BROKEN},
        ),
        (
            "UPDATE postings SET account_sequence = 9 WHERE amount_minor = -200",
            {FindingKind.CHAIN_BROKEN},
        ),
        (
            "DELETE FROM postings WHERE entry_id = (SELECT id FROM journal_entries WHERE cause = 'r')",
            {FindingKind.ENTRY_WITHOUT_POSTINGS, FindingKind.TOTAL_DIFFERS},
        ),
    ],
)
def test_the_audit_finds_what_was_changed_behind_the_ledgers_back(
    engine: Engine, statement: str, expected: set[FindingKind]
) -> None:
    post(engine, top_up("t", 500), reserve("r", 200))
    change(engine, statement)
    assert {finding.kind for finding in run_read(engine, verify_ledger)} == expected


def test_what_the_work_raises_undoes_everything(engine: Engine) -> None:
    def work(session: Session) -> None:
        post_entries(session, [top_up("t", 500)], now_ms=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_transaction(engine, work)
    assert balance(engine) == (0, 0)
