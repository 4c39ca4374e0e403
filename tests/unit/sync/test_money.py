"""Money counts minor units of one currency, and splits without losing one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.money import RATE_BASE, CurrencyMismatchError, Money

AMOUNTS = st.integers(min_value=0, max_value=10**12)


def test_adds_subtracts_and_negates_minor_units() -> None:
    assert Money(12_50, "EUR") + Money(50, "EUR") == Money(13_00, "EUR")
    assert Money(12_50, "EUR") - Money(13_00, "EUR") == Money(-50, "EUR")
    assert -Money(1, "EUR") == Money(-1, "EUR")


def test_orders_amounts_of_one_currency() -> None:
    assert Money(1, "EUR") < Money(2, "EUR") <= Money(2, "EUR")
    assert Money(2, "EUR") > Money(1, "EUR") >= Money(1, "EUR")


def test_only_zero_is_false() -> None:
    assert not Money(0, "EUR")
    assert Money(-1, "EUR")


def test_equal_numbers_of_two_currencies_are_not_equal() -> None:
    assert Money(0, "EUR") != Money(0, "USD")


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "__lt__", "__le__"])
def test_two_currencies_never_meet(operation: str) -> None:
    with pytest.raises(CurrencyMismatchError):
        getattr(Money(1, "EUR"), operation)(Money(1, "USD"))


@pytest.mark.parametrize("amount", [1.0, True, "1", None])
def test_an_amount_is_an_int_and_nothing_like_one(amount: int) -> None:
    with pytest.raises(TypeError):
        Money(amount, "EUR")


@pytest.mark.parametrize("currency", ["eur", "EU", "EURO", "E1R", "E R", "ÄÖÜ", ""])
def test_a_currency_is_three_capital_ascii_letters(currency: str) -> None:
    with pytest.raises(ValueError):
        Money(1, currency)


@pytest.mark.parametrize(
    "amount_minor, rate_ppm, share_minor",
    [(0, 20_000, 0), (1, 20_000, 0), (24, 20_000, 0), (25, 20_000, 1), (100, 20_000, 2), (7, RATE_BASE, 7), (7, 0, 0)],
)
def test_the_share_is_rounded_half_up(amount_minor: int, rate_ppm: int, share_minor: int) -> None:
    share, rest = Money(amount_minor, "EUR").split_rate(rate_ppm=rate_ppm)
    assert (share, rest) == (Money(share_minor, "EUR"), Money(amount_minor - share_minor, "EUR"))


@given(AMOUNTS, st.integers(min_value=0, max_value=RATE_BASE))
def test_share_and_rest_are_the_whole_and_neither_is_negative(amount_minor: int, rate_ppm: int) -> None:
    whole = Money(amount_minor, "EUR")
    share, rest = whole.split_rate(rate_ppm=rate_ppm)
    assert share + rest == whole
    assert share >= Money(0, "EUR")
    assert rest >= Money(0, "EUR")


@pytest.mark.parametrize("amount_minor, rate_ppm", [(-1, 1), (1, -1), (1, RATE_BASE + 1)])
def test_no_share_of_a_negative_amount_or_beyond_the_whole(amount_minor: int, rate_ppm: int) -> None:
    with pytest.raises(ValueError):
        Money(amount_minor, "EUR").split_rate(rate_ppm=rate_ppm)


@pytest.mark.parametrize(
    "amount_minor, text", [(0, "0.00 EUR"), (5, "0.05 EUR"), (-5, "-0.05 EUR"), (123_45, "123.45 EUR")]
)
def test_is_written_with_two_decimals_and_its_currency(amount_minor: int, text: str) -> None:
    assert str(Money(amount_minor, "EUR")) == text
