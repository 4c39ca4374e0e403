"""Journal entries: what may be built, and who pays an offline sale, to the cent."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import EntryError
from cloud.ledger import entries
from cloud.ledger.entries import (
    AccountKind,
    AccountRef,
    EntryKind,
    JournalEntry,
    OfflineSplit,
    Posting,
    Sale,
)
from sync.ids import MerchantId
from sync.money import Money

MERCHANT = MerchantId(b"merchant")
WALLET, DEVICE = "W000000000001", "D000000000001"
AVAILABLE = entries.payer_available(WALLET, "EUR")
OFFLINE = entries.payer_offline(DEVICE, "EUR")
PAYABLE = entries.merchant_payable(MERCHANT, "EUR")
SUSPENSE = entries.suspense(MERCHANT, "EUR")
FEE = entries.platform(AccountKind.FEE_INCOME, "EUR")
LOSS = entries.platform(AccountKind.OFFLINE_LOSS, "EUR")
CLEARING = entries.platform(AccountKind.FUNDING_CLEARING, "EUR")


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


def sale(amount_minor: int, *, commission_ppm: int = 20_000) -> Sale:
    return Sale("record:1", eur(amount_minor), MERCHANT, commission_ppm)


def offline(
    amount_minor: int, *, reserve_minor: int, available_minor: int, commission_ppm: int = 20_000
) -> JournalEntry:
    split = entries.split_offline(eur(amount_minor), reserve=eur(reserve_minor), available=eur(available_minor))
    sold = sale(amount_minor, commission_ppm=commission_ppm)
    return entries.offline_sale(sold, wallet_id=WALLET, device_id=DEVICE, split=split)


def amounts(entry: JournalEntry) -> dict[AccountRef, int]:
    return {posting.account: posting.amount.amount_minor for posting in entry.postings}


@pytest.mark.parametrize(
    "postings, code",
    [
        ((), "empty_entry"),
        ((Posting(AVAILABLE, eur(1)),), "unbalanced_entry"),
        ((Posting(AVAILABLE, eur(1)), Posting(OFFLINE, eur(-2))), "unbalanced_entry"),
        ((Posting(AVAILABLE, eur(0)), Posting(OFFLINE, eur(0))), "zero_posting"),
        ((Posting(AVAILABLE, eur(1)), Posting(AVAILABLE, eur(-1))), "account_twice"),
        ((Posting(AVAILABLE, Money(1, "USD")), Posting(OFFLINE, eur(-1))), "posting_currency_mismatch"),
        (
            (Posting(AVAILABLE, eur(1)), Posting(entries.payer_offline(DEVICE, "USD"), Money(-1, "USD"))),
            "unbalanced_entry",
        ),
        (
            (Posting(AVAILABLE, eur(1)), Posting(AccountRef(AccountKind.SUSPENSE, "x" * 33, "EUR"), eur(-1))),
            "bad_owner",
        ),
    ],
)
def test_an_entry_that_breaks_double_entry_cannot_be_built(postings: tuple[Posting, ...], code: str) -> None:
    with pytest.raises(EntryError) as raised:
        JournalEntry("cause", EntryKind.TOP_UP, postings)
    assert raised.value.code == code


@pytest.mark.parametrize("cause", ["", "x" * 121, "grüezi"])
def test_a_cause_that_the_database_could_cut_or_fold_is_refused(cause: str) -> None:
    with pytest.raises(EntryError) as raised:
        entries.top_up(cause, wallet_id=WALLET, amount=eur(1))
    assert raised.value.code == "bad_cause"


def test_two_currencies_balance_each_by_itself() -> None:
    dollars = entries.payer_available("W2", "USD"), entries.payer_offline("D2", "USD")
    entry = JournalEntry(
        "cause",
        EntryKind.TOP_UP,
        (
            Posting(AVAILABLE, eur(5)),
            Posting(OFFLINE, eur(-5)),
            Posting(dollars[0], Money(7, "USD")),
            Posting(dollars[1], Money(-7, "USD")),
        ),
    )
    assert len(entry.postings) == 4


def test_a_top_up_is_owed_to_the_payer_and_by_the_provider() -> None:
    assert amounts(entries.top_up("t", wallet_id=WALLET, amount=eur(500))) == {CLEARING: -500, AVAILABLE: 500}


def test_the_reserve_moves_between_the_payers_two_accounts_and_back() -> None:
    moved = entries.reserve_moved("m", wallet_id=WALLET, device_id=DEVICE, amount=eur(200))
    released = entries.reserve_released("r", wallet_id=WALLET, device_id=DEVICE, amount=eur(200))
    assert amounts(moved) == {AVAILABLE: -200, OFFLINE: 200}
    assert amounts(released) == {OFFLINE: -200, AVAILABLE: 200}


def test_an_online_sale_is_split_between_merchant_and_commission() -> None:
    assert amounts(entries.online_sale(sale(1000), wallet_id=WALLET)) == {AVAILABLE: -1000, PAYABLE: 980, FEE: 20}


@pytest.mark.parametrize(
    "reserve_minor, available_minor, expected",
    [
        (1000, 0, {OFFLINE: -1000, PAYABLE: 980, FEE: 20}),
        (5000, 9000, {OFFLINE: -1000, PAYABLE: 980, FEE: 20}),
        (999, 1, {OFFLINE: -999, AVAILABLE: -1, PAYABLE: 980, FEE: 20}),
        (0, 1000, {AVAILABLE: -1000, PAYABLE: 980, FEE: 20}),
        (600, 300, {OFFLINE: -600, AVAILABLE: -300, PAYABLE: 882, FEE: 18, LOSS: -100, SUSPENSE: 100}),
        (0, 999, {AVAILABLE: -999, PAYABLE: 979, FEE: 20, LOSS: -1, SUSPENSE: 1}),
        (0, 0, {LOSS: -1000, SUSPENSE: 1000}),
        (-5, -5, {LOSS: -1000, SUSPENSE: 1000}),
    ],
)
def test_an_offline_sale_draws_on_reserve_then_available_then_our_loss(
    reserve_minor: int, available_minor: int, expected: dict[AccountRef, int]
) -> None:
    assert amounts(offline(1000, reserve_minor=reserve_minor, available_minor=available_minor)) == expected


def test_commission_is_rounded_half_up_and_the_merchant_bears_the_remainder() -> None:
    assert amounts(offline(25, reserve_minor=25, available_minor=0)) == {OFFLINE: -25, PAYABLE: 24, FEE: 1}
    assert amounts(offline(24, reserve_minor=24, available_minor=0)) == {OFFLINE: -24, PAYABLE: 24}


def test_a_commission_of_everything_or_nothing_leaves_no_zero_posting() -> None:
    everything = offline(10, reserve_minor=10, available_minor=0, commission_ppm=1_000_000)
    nothing = offline(10, reserve_minor=10, available_minor=0, commission_ppm=0)
    assert amounts(everything) == {OFFLINE: -10, FEE: 10}
    assert amounts(nothing) == {OFFLINE: -10, PAYABLE: 10}


@given(
    amount=st.integers(1, 10**12),
    reserve=st.integers(-100, 10**12),
    available=st.integers(-100, 10**12),
    commission_ppm=st.integers(0, 1_000_000),
)
def test_an_offline_sale_credits_exactly_its_amount_and_never_overdraws(
    amount: int, reserve: int, available: int, commission_ppm: int
) -> None:
    found = amounts(offline(amount, reserve_minor=reserve, available_minor=available, commission_ppm=commission_ppm))
    assert found.get(PAYABLE, 0) + found.get(FEE, 0) + found.get(SUSPENSE, 0) == amount
    assert -found.get(OFFLINE, 0) <= max(reserve, 0)
    assert -found.get(AVAILABLE, 0) <= max(available, 0)


def test_a_split_of_another_amount_is_refused() -> None:
    split = OfflineSplit(eur(10), eur(0), eur(0))
    with pytest.raises(EntryError) as raised:
        entries.offline_sale(sale(11), wallet_id=WALLET, device_id=DEVICE, split=split)
    assert raised.value.code == "split_mismatch"


def test_a_replayed_sale_never_touches_the_payer() -> None:
    assert amounts(entries.replayed_sale(sale(700))) == {LOSS: -700, SUSPENSE: 700}


@pytest.mark.parametrize("amount_minor", [0, -1])
def test_nothing_moves_by_nothing_or_less(amount_minor: int) -> None:
    for build in (
        lambda: entries.top_up("t", wallet_id=WALLET, amount=eur(amount_minor)),
        lambda: entries.online_sale(sale(amount_minor), wallet_id=WALLET),
        lambda: entries.replayed_sale(sale(amount_minor)),
        lambda: entries.split_offline(eur(amount_minor), reserve=eur(1), available=eur(1)),
    ):
        with pytest.raises(EntryError) as raised:
            build()
        assert raised.value.code == "amount_not_positive"


def test_a_reversal_is_the_exact_opposite_and_names_what_it_takes_back() -> None:
    entry = offline(1000, reserve_minor=600, available_minor=300)
    back = entries.reversal(entry, cause="void:1")
    assert amounts(back) == {account: -amount for account, amount in amounts(entry).items()}
    assert back.reverses == entry.cause
    with pytest.raises(EntryError):
        entries.reversal(back, cause="void:2")


def test_an_offline_sale_is_the_same_claim_whatever_its_cover_was() -> None:
    covered = offline(1000, reserve_minor=1000, available_minor=0)
    uncovered = offline(1000, reserve_minor=0, available_minor=0)
    assert covered.content_hash == uncovered.content_hash


def test_another_amount_payer_or_commission_is_another_claim() -> None:
    split = entries.split_offline(eur(1000), reserve=eur(1000), available=eur(0))
    first = entries.offline_sale(sale(1000), wallet_id=WALLET, device_id=DEVICE, split=split)
    others = [
        offline(1001, reserve_minor=2000, available_minor=0),
        entries.offline_sale(sale(1000, commission_ppm=1), wallet_id=WALLET, device_id=DEVICE, split=split),
        entries.offline_sale(sale(1000), wallet_id=WALLET, device_id="D2", split=split),
        entries.offline_sale(
            replace(sale(1000), merchant_id=MerchantId(b"another1")), wallet_id=WALLET, device_id=DEVICE, split=split
        ),
        entries.online_sale(sale(1000), wallet_id=WALLET),
    ]
    assert first.content_hash not in [other.content_hash for other in others]
    assert len({other.content_hash for other in others}) == len(others)


def test_content_does_not_hang_on_the_order_of_postings() -> None:
    entry = entries.top_up("t", wallet_id=WALLET, amount=eur(5))
    turned = JournalEntry("t", EntryKind.TOP_UP, tuple(reversed(entry.postings)))
    assert turned.content_hash == entry.content_hash
