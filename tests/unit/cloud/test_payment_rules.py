"""The rules of sessions, payments, refunds and the day's limit: tables of cases, and every order of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import EntryError
from cloud.ledger import entries
from cloud.ledger.entries import AccountKind, JournalEntry, Sale
from cloud.notifications.notices import notification_id
from cloud.payments import notices
from cloud.payments.notices import NoticeKind, Sides
from cloud.payments.rules import Item, Proof, add_up, input_hash, is_proof_enough, is_readable
from cloud.payments.states import PaymentEvent, PaymentStatus, holds_session, next_status, status_at
from cloud.sessions import rules as session_rules
from cloud.sessions.rules import SessionRefusal, SessionStatus, location_of, refusal_of
from cloud.wallets.spending import is_within, wallet_day
from sync.ids import MerchantId
from sync.money import Money
from sync.refusals import Refusal

S, E = PaymentStatus, PaymentEvent
MERCHANT = MerchantId(b"merchant")
WALLET = "W000000000001"
DAY_MS = 24 * 3600 * 1000
MIDNIGHT_MS = 1_799_971_200_000
EVERY_MOVE = {
    (S.PENDING, E.CONFIRMED): S.PROCESSING,
    (S.PENDING, E.FAILED): S.FAILED,
    (S.PENDING, E.TIMED_OUT): S.TIMEOUT,
    (S.PROCESSING, E.POSTED): S.COMPLETED,
    (S.PROCESSING, E.FAILED): S.FAILED,
    (S.COMPLETED, E.REVERSED): S.REVERSED,
}


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("event", E)
def test_a_payment_moves_as_the_table_says_and_no_other_way(status: PaymentStatus, event: PaymentEvent) -> None:
    assert next_status(status, event) is EVERY_MOVE.get((status, event))


@given(st.lists(st.sampled_from(E), max_size=12))
def test_no_order_of_events_completes_a_payment_twice_or_after_its_end(events: list[PaymentEvent]) -> None:
    status, way = S.PENDING, [S.PENDING]
    for event in events:
        status = next_status(status, event) or status
        if status is not way[-1]:
            way.append(status)
    assert len(set(way)) == len(way), "a state was entered twice"
    assert way.count(S.COMPLETED) <= 1
    if S.COMPLETED in way:
        assert way[: way.index(S.COMPLETED)] == [S.PENDING, S.PROCESSING]
        assert not {S.FAILED, S.TIMEOUT} & set(way)
    if S.REVERSED in way:
        assert way[-2:] == [S.COMPLETED, S.REVERSED]


def test_only_what_failed_or_timed_out_gives_its_session_free() -> None:
    assert [status for status in S if not holds_session(status)] == [S.FAILED, S.TIMEOUT]


@pytest.mark.parametrize("status", S)
def test_time_ends_what_is_pending_and_nothing_else(status: PaymentStatus) -> None:
    assert status_at(status, confirm_by_ms=1000, now_ms=999) is status
    at_the_end = status_at(status, confirm_by_ms=1000, now_ms=1000)
    assert at_the_end is (S.TIMEOUT if status is S.PENDING else status)


TEA = Item("Tea", 2, 1_50, 3_00)


@pytest.mark.parametrize(
    ("items", "amount_minor", "expected"),
    [
        ([], 1, True),
        ([TEA], 3_00, True),
        ([TEA, Item("Bag", 1, 0, 0)], 3_00, True),
        ([TEA, TEA], 6_00, True),
        ([TEA], 2_99, False),
        ([TEA], 3_01, False),
        ([Item("Tea", 2, 1_50, 3_01)], 3_01, False),
        ([Item("Tea", 2, 1_50, 2_99), Item("Bag", 1, 1, 1)], 3_00, False),
        # Two wrong lines whose sum is right are still wrong.
        ([Item("Tea", 1, 2_00, 1_00), Item("Bag", 1, 1_00, 2_00)], 3_00, False),
    ],
)
def test_items_are_right_line_by_line_and_together(items: list[Item], amount_minor: int, expected: bool) -> None:
    assert add_up(items, amount_minor=amount_minor) is expected


@pytest.mark.parametrize(
    ("proof", "amount_minor", "is_pin_due", "expected"),
    [
        (Proof.ONE_TAP, 50_00, False, True),
        (Proof.ONE_TAP, 50_01, False, False),
        (Proof.ONE_TAP, 1, True, False),
        (Proof.PIN, 50_01, False, True),
        (Proof.PIN, 1, True, True),
        (Proof.PASSWORD, 10_000_00, True, True),
    ],
)
def test_one_tap_is_enough_up_to_the_limit(proof: Proof, amount_minor: int, is_pin_due: bool, expected: bool) -> None:
    enough = is_proof_enough(proof, amount_minor=amount_minor, no_pin_limit_minor=50_00, is_pin_due=is_pin_due)
    assert enough is expected


def test_a_person_sees_all_of_a_text_or_it_is_refused() -> None:
    for text in ("Tee & Kännchen", "茶", "", "👨‍👩‍👧", "نامه‌ای"):
        assert is_readable(text)
    for hidden in ("\x00", "\n", "\x7f", "\u202e", "\u2066", "\u2028", "\ufeff", "\u200f"):
        assert not is_readable(f"Tea{hidden}100.00")


def test_one_request_has_one_hash_however_it_was_spelled() -> None:
    assert input_hash("pay", {"a": 1, "b": "é"}) == input_hash("pay", {"b": "é", "a": 1})
    others: list[tuple[str, dict[str, object]]] = [
        ("pay", {"a": 1, "b": "e"}),
        ("pay", {"a": "1", "b": "é"}),
        ("refund", {"a": 1, "b": "é"}),
        ("pay", {}),
    ]
    hashes = {input_hash("pay", {"a": 1, "b": "é"}), *(input_hash(action, body) for action, body in others)}
    assert len(hashes) == 5


def moved(entry: JournalEntry) -> dict[AccountKind, int]:
    return {posting.account.kind: posting.amount.amount_minor for posting in entry.postings}


def sale(amount_minor: int, ppm: int = 20_000) -> Sale:
    return Sale("refund:x", Money(amount_minor, "EUR"), MERCHANT, ppm)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.data())
def test_refunds_give_back_the_commission_that_was_taken_to_the_cent(
    amount_minor: int, ppm: int, data: st.DataObject
) -> None:
    commission, net = Money(amount_minor, "EUR").split_rate(rate_ppm=ppm)
    left = amount_minor
    back = dict.fromkeys((AccountKind.PAYER_AVAILABLE, AccountKind.MERCHANT_PAYABLE, AccountKind.FEE_INCOME), 0)
    for turn in range(6):
        part = left if turn == 5 else data.draw(st.integers(1, left))
        entry = entries.refund(
            sale(amount_minor, ppm), wallet_id=WALLET, before=Money(left, "EUR"), after=Money(left - part, "EUR")
        )
        amounts = moved(entry)
        assert amounts[AccountKind.PAYER_AVAILABLE] == part
        assert amounts.get(AccountKind.MERCHANT_PAYABLE, 0) <= 0
        assert amounts.get(AccountKind.FEE_INCOME, 0) <= 0
        for kind, minor in amounts.items():
            back[kind] += minor
        left -= part
        if not left:
            break
    assert back[AccountKind.MERCHANT_PAYABLE] == -net.amount_minor
    assert back[AccountKind.FEE_INCOME] == -commission.amount_minor


@pytest.mark.parametrize(("before_minor", "after_minor"), [(100, 100), (100, 101), (101, 0), (100, -1)])
def test_more_than_is_left_cannot_be_given_back(before_minor: int, after_minor: int) -> None:
    with pytest.raises(EntryError, match="is no refund"):
        entries.refund(sale(100), wallet_id=WALLET, before=Money(before_minor, "EUR"), after=Money(after_minor, "EUR"))


def test_a_day_is_one_of_utc_and_its_limit_may_be_reached() -> None:
    assert wallet_day(WALLET, MIDNIGHT_MS) == f"{WALLET}/2027-01-15"
    assert wallet_day(WALLET, MIDNIGHT_MS - 1) == f"{WALLET}/2027-01-14"
    assert wallet_day(WALLET, MIDNIGHT_MS + DAY_MS - 1) == f"{WALLET}/2027-01-15"
    assert is_within(spent_minor=9_999_00, amount_minor=1_00, limit_minor=10_000_00)
    assert not is_within(spent_minor=9_999_00, amount_minor=1_01, limit_minor=10_000_00)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (SessionStatus.ACTIVE, None),
        (SessionStatus.USED, SessionRefusal.USED),
        (SessionStatus.EXPIRED, SessionRefusal.EXPIRED),
    ],
)
def test_a_session_pays_while_it_is_active(status: SessionStatus, expected: SessionRefusal | None) -> None:
    assert refusal_of(status) is expected
    at_the_end = session_rules.status_at(status, expires_ms=1000, now_ms=1000)
    assert at_the_end is (SessionStatus.EXPIRED if status is SessionStatus.ACTIVE else status)
    assert session_rules.status_at(status, expires_ms=1000, now_ms=999) is status


def test_a_code_of_another_version_is_told_from_one_that_cannot_be_read() -> None:
    assert session_rules.judge_code(Refusal.UNSUPPORTED_VERSION) is SessionRefusal.VERSION_UNSUPPORTED
    assert session_rules.judge_code(Refusal.BAD_BASE45) is SessionRefusal.CODE_UNREADABLE


def test_a_place_is_stored_in_millionths_of_a_degree_or_not_at_all() -> None:
    place = location_of(-89.9999999, 13.405)
    assert place is not None
    assert (place.latitude_e6, place.longitude_e6) == (-90_000_000, 13_405_000)
    assert location_of(None, 1.0) is None


SIDES = Sides("TXN1", WALLET, MERCHANT, "Corner shop", Money(12_34, "EUR"))


@pytest.mark.parametrize("status", S)
def test_both_sides_are_told_of_every_state_that_can_be_seen(status: PaymentStatus) -> None:
    told = notices.of_status(SIDES, status, now_ms=1, reason="rejected_by_customer", window_s=120)
    assert [notice.recipient for notice in told] == ([] if status is S.PROCESSING else [WALLET, MERCHANT.hex()])
    for notice in told:
        assert "12.34 EUR" in notice.body
        assert dict(notice.data)["status"] == status.value
        assert "{" not in notice.title + notice.body
    to_merchant = [notice for notice in told if notice.recipient != WALLET]
    assert WALLET not in str([(each.title, each.body, each.data) for each in to_merchant])


def test_one_event_tells_one_recipient_once_and_another_again() -> None:
    first = notices.of_status(SIDES, S.COMPLETED, now_ms=1)
    again = notices.of_status(SIDES, S.COMPLETED, now_ms=2)
    assert [notification_id(each) for each in first] == [notification_id(each) for each in again]
    others = notices.of_refund(SIDES, "RF1", now_ms=1) + notices.of_refund(SIDES, "RF2", now_ms=1)
    assert len({notification_id(each) for each in (*first, *others)}) == 6
    assert {each.kind for each in others} == {NoticeKind.REFUNDED}
