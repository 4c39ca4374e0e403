"""The bound of a cloned grant: how often a box was out of contact, what it may take, what the reserve paid."""

from dataclasses import replace

import pytest

from cloud.reconciliation.exposure import Exposure, TakenPayment, bound_minor, exposure_of

SERIAL = b"8 bytes."
HERE, THERE = (b"terminal", 1), (b"another.", 1)
PAID = TakenPayment(
    chain=HERE,
    number=1,
    amount_minor=50_00,
    sum_before_minor=0,
    ceiling_minor=100_00,
    from_reserve_minor=50_00,
    uncovered_minor=0,
    is_double_spend=False,
    is_first_spend=False,
)
FIRST = replace(PAID, is_first_spend=True)
AGAIN = replace(
    PAID, chain=THERE, amount_minor=30_00, from_reserve_minor=10_00, uncovered_minor=20_00, is_double_spend=True
)
BEYOND = replace(
    PAID, chain=THERE, number=2, amount_minor=20_00, sum_before_minor=30_00, from_reserve_minor=0, uncovered_minor=20_00
)


@pytest.mark.parametrize(
    ("payments", "groups", "bound", "loss"),
    [
        ([], 0, 0, 0),
        ([PAID], 0, 0, 0),
        ([FIRST, AGAIN, BEYOND], 2, 140_00, 40_00),
        ([BEYOND, AGAIN, FIRST], 2, 140_00, 40_00),
        # The box had contact between: twice out of contact is two groups.
        ([FIRST, AGAIN, replace(BEYOND, sum_before_minor=0)], 3, 240_00, 40_00),
        # A sum that does not go on says that something of this box is not here; that is no tighter bound.
        ([FIRST, AGAIN, replace(BEYOND, sum_before_minor=45_00)], 3, 240_00, 40_00),
        # What was paid in peace before, and after, is no part of it.
        ([replace(PAID, number=9), FIRST, AGAIN, BEYOND], 2, 140_00, 40_00),
        # The same number in a forked chain is another time out of contact.
        ([FIRST, replace(FIRST, is_first_spend=False, uncovered_minor=1, from_reserve_minor=0)], 2, 150_00, 1),
        ([replace(BEYOND, chain=(b"terminal", 2), sum_before_minor=0)], 1, 100_00, 20_00),
    ],
)
def test_the_bound_counts_each_time_a_box_was_out_of_contact_and_took_part(
    payments: list[TakenPayment], groups: int, bound: int, loss: int
) -> None:
    exposure = exposure_of(SERIAL, payments)
    assert (exposure.groups, exposure.bound_minor, exposure.loss_minor) == (groups, bound, loss)
    assert exposure.is_within


def test_a_box_that_took_more_than_it_may_is_seen() -> None:
    exposure = exposure_of(SERIAL, [replace(AGAIN, amount_minor=111_00, uncovered_minor=101_00)])
    assert exposure == Exposure(SERIAL, 1, 100_00, 10_00, 101_00)
    assert not exposure.is_within


def test_the_ceiling_is_that_of_the_policy_each_box_decided_under() -> None:
    lower = replace(AGAIN, ceiling_minor=25_00)
    assert exposure_of(SERIAL, [FIRST, lower, replace(BEYOND, ceiling_minor=40_00)]).ceiling_minor == 140_00


def test_a_reserve_larger_than_all_ceilings_leaves_no_loss_to_bound() -> None:
    assert bound_minor(ceilings_minor=100_00, reserve_minor=200_00) == 0
    assert bound_minor(ceilings_minor=300_00, reserve_minor=200_00) == 100_00
