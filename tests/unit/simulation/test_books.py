"""The oracle sees whose money is where: a wrong merchant, rate or wallet shows although all sums are right."""

import pytest

from cloud.ledger.entries import AccountKind
from sync.ids import MerchantId, SiteId
from sync.money import Money
from tests.simulation.books import fee_minor, merchants_not_owed_what_they_sold, wallets_without_what_is_left
from tests.simulation.template import Customer, Owner
from tests.unit.simulation.seen import PAYER, SHOP, row, tried

OTHER_SHOP = Owner(MerchantId(b"neighbou"), SiteId(bytes(8)), 20_000)
OTHER_PAYER = Customer("WOTHER", "DOTHER", 50_00)
PAYABLE, SUSPENSE, FEES = AccountKind.MERCHANT_PAYABLE, AccountKind.SUSPENSE, AccountKind.FEE_INCOME
HERE, THERE = SHOP.merchant_id.hex(), OTHER_SHOP.merchant_id.hex()

SOLD = [
    (row(1, reserve_minor=8_00), tried(1)),
    (row(2, reserve_minor=1_00, uncovered_minor=4_00), tried(2, owner=OTHER_SHOP, payer=OTHER_PAYER)),
]
GOOD: dict[tuple[str, str], int] = {
    (PAYABLE, HERE): 7_90,
    (PAYABLE, THERE): 98,
    (SUSPENSE, THERE): 4_00,
    (FEES, "platform"): 12,
}
LEFT: dict[tuple[str, str], int] = {
    (AccountKind.PAYER_AVAILABLE, "WPAYER"): 100_00,
    (AccountKind.PAYER_OFFLINE, "DPAYER"): 92_00,
    (AccountKind.PAYER_AVAILABLE, "WOTHER"): 49_00,
}


@pytest.mark.parametrize("rate_ppm", [0, 1, 12_500, 20_000, 333_333, 500_000, 1_000_000])
def test_the_oracles_fee_is_the_documented_one(rate_ppm: int) -> None:
    for covered_minor in (0, 1, 2, 39, 40, 41, 99, 100, 120, 12_345):
        share, _ = Money(covered_minor, "EUR").split_rate(rate_ppm=rate_ppm)
        assert fee_minor(covered_minor, commission_ppm=rate_ppm) == share.amount_minor


def test_books_in_which_each_merchant_has_its_own_are_right() -> None:
    assert merchants_not_owed_what_they_sold(SOLD, GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({(PAYABLE, HERE): 7_90 + 98, (PAYABLE, THERE): 0}, f"merchant {THERE} has 0 in merchant_payable"),
        ({(PAYABLE, HERE): 7_80, (FEES, "platform"): 22}, "fees are 22, and the commissions of all sales are 12"),
        ({(SUSPENSE, THERE): 0, (SUSPENSE, HERE): 4_00}, f"merchant {HERE} has 400 in suspense, and sold for 0"),
        ({(PAYABLE, "nobody"): 1}, "merchant nobody has 1 in merchant_payable"),
    ],
)
def test_money_of_another_merchant_or_at_another_rate_is_named(change: dict[tuple[str, str], int], words: str) -> None:
    found = merchants_not_owed_what_they_sold(SOLD, {**GOOD, **change})
    assert any(words in each for each in found), found


def test_each_wallet_has_what_its_own_codes_left() -> None:
    assert wallets_without_what_is_left(SOLD, LEFT, [PAYER, OTHER_PAYER]) == []


def test_money_drawn_on_another_wallet_is_named_on_both() -> None:
    drawn: dict[tuple[str, str], int] = {
        **LEFT,
        (AccountKind.PAYER_OFFLINE, "DPAYER"): 91_00,
        (AccountKind.PAYER_AVAILABLE, "WOTHER"): 50_00,
    }
    found = wallets_without_what_is_left(SOLD, drawn, [PAYER, OTHER_PAYER])
    assert [words.split()[1] for words in found] == ["WPAYER", "WOTHER"]
