"""The oracle excuses no approval that was seen to be sent, and bounds what a copied phone may cost."""

from cloud.ingest.outcomes import Outcome
from tests.simulation.oracle import Oracle
from tests.unit.simulation.seen import HERE, PAYER, approval, payment_id, row, tried


def oracle_of_two_yes(*, amount_minor: int = 60_00, heard_counts: tuple[int, int] = (0, 0)) -> Oracle:
    """A copied phone was served twice at one box."""
    oracle = Oracle(copied_ms={PAYER.device_id: 50})
    for number, heard_count in enumerate(heard_counts):
        oracle.tried[payment_id(number)] = tried(number)
        oracle.answered.add(payment_id(number))
        oracle.approvals[HERE, payment_id(number)] = approval(
            number, amount_minor=amount_minor, heard_count=heard_count
        )
    return oracle


def test_a_lost_approval_is_excused_by_its_card_only_where_nobody_saw_that_it_was_sent() -> None:
    oracle = Oracle(approvals={(HERE, payment_id(1)): approval(1, amount_minor=5_00)})
    assert any("is lost" in words for words in oracle.approvals_lost_or_changed([]))
    oracle.doubt(HERE, since_ms=0)
    assert oracle.approvals_lost_or_changed([]) == []
    assert oracle.lost_by_cards == 1
    oracle.seen_sent.add((HERE, payment_id(1)))
    assert any("though its box said that it was sent" in words for words in oracle.approvals_lost_or_changed([]))


def test_a_loss_within_what_the_reserve_left_of_the_bound_is_borne() -> None:
    oracle = oracle_of_two_yes()
    rows = [row(0, reserve_minor=60_00), row(1, uncovered_minor=40_00, outcome=Outcome.OVER_GRANT)]
    assert oracle.thieves_beyond_bound(rows) == []
    assert (oracle.loss_minor, oracle.loss_share_of_bound) == (40_00, 1.0)


def test_what_the_reserve_paid_in_that_time_comes_off_the_bound() -> None:
    rows = [row(0, reserve_minor=60_00), row(1, uncovered_minor=60_00, outcome=Outcome.OVER_GRANT)]
    assert any("its bound is 4000" in words for words in oracle_of_two_yes().thieves_beyond_bound(rows))
    # The box had contact in between, so that it began to count anew.
    assert oracle_of_two_yes(heard_counts=(0, 1)).thieves_beyond_bound(rows) == []


def test_a_box_that_only_said_no_adds_nothing_to_the_bound() -> None:
    oracle = oracle_of_two_yes(heard_counts=(0, 1))
    rows = [row(number, uncovered_minor=60_00, outcome=Outcome.OVER_GRANT) for number in range(2)]
    assert any("its bound is 10000" in words for words in oracle.thieves_beyond_bound(rows))
    oracle.tried[payment_id(9)] = tried(9, box_number=1)
    oracle.answered.add(payment_id(9))
    assert any("its bound is 10000" in words for words in oracle.thieves_beyond_bound(rows))
    # A display that died before it said anything may have meant yes.
    oracle.answered.remove(payment_id(9))
    assert oracle.thieves_beyond_bound(rows) == []


def test_a_phone_that_nobody_copied_may_cost_nothing() -> None:
    oracle = oracle_of_two_yes()
    oracle.copied_ms.clear()
    assert any("its bound is 0" in words for words in oracle.thieves_beyond_bound([row(0, uncovered_minor=1)]))
