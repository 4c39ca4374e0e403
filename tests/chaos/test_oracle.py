"""The oracle speaks up for each thing that can be wrong, and is silent where all is well."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.box import APPROVED, BEGUN, REFUSED, UNKNOWN
from tests.chaos.oracle import SETTLED, Books, Decided, Kept, Payment, Seen, judge_books, judge_outbox

ONE, TWO, THREE = (Payment("box-1", name * 16) for name in ("aa", "bb", "cc"))


def line(word: str, payment: Payment, **further: object) -> str:
    return f"{word} {json.dumps({'payment_id': payment.payment_id, 'amount_minor': 5} | further)}\n"


def seen(*further: str) -> Seen:
    """ONE approved, TWO begun when the box died, THREE refused."""
    lines = [
        "2026-11-23 01:00:00,000 INFO a line of the log\n",
        line(BEGUN, ONE),
        line(APPROVED, ONE),
        line(BEGUN, TWO),
        line(BEGUN, THREE),
        line(REFUSED, THREE, refusal="code_expired"),
    ]
    made = Seen()
    made.add("box-1", [*lines, *further])
    return made


def books(*payments: Payment) -> Books:
    return Books(
        decided=tuple(Decided(payment, 5, SETTLED) for payment in payments),
        credited=dict.fromkeys(payments, 5),
        entries=dict.fromkeys(payments, 1),
        merchants_minor=5 * len(payments),
    )


def test_what_was_seen_and_posted_once_is_well() -> None:
    assert judge_books(seen(), books(ONE)).faults == ()


def test_a_sale_that_was_in_flight_when_its_box_died_may_be_posted_and_is_named() -> None:
    verdict = judge_books(seen(), books(ONE, TWO))
    assert verdict.faults == ()
    assert verdict.unseen == (TWO,)


def test_half_a_line_is_nothing_that_was_seen() -> None:
    assert judge_books(seen(line(APPROVED, TWO)[:30] + "\n"), books(ONE)).faults == ()


def test_a_sale_of_which_the_box_does_not_know_may_be_posted() -> None:
    four = Payment("box-1", "dd" * 16)
    unknown = seen(line(BEGUN, four), line(REFUSED, four, refusal=UNKNOWN))
    assert judge_books(unknown, books(ONE, four)).faults == ()


BROKEN: dict[str, tuple[Callable[[], Books], str]] = {
    "lost": (lambda: books(), "LOST: payment aaaa"),
    "refused and yet posted": (lambda: books(ONE, THREE), "no box approved it (code_expired)"),
    "never begun": (lambda: books(ONE, Payment("box-2", "ee" * 16)), "no box approved it (never begun)"),
    "posted twice": (lambda: books(ONE, ONE), "TWICE"),
    "two entries": (lambda: replace(books(ONE), entries={ONE: 2}), "2 journal entries"),
    "no entry": (lambda: replace(books(ONE), entries={}, credited={}), "0 journal entries"),
    "credited too much": (lambda: replace(books(ONE), credited={ONE: 10}), "credited 10"),
    "money from nowhere": (lambda: replace(books(ONE), merchants_minor=6), "gained 6, all payments come to 5"),
    "another amount": (lambda: replace(books(ONE), decided=(Decided(ONE, 4, SETTLED),)), "approved over 5"),
    "no cover": (lambda: replace(books(ONE), decided=(Decided(ONE, 5, "over_grant"),)), "is over_grant"),
    "entry without outcome": (lambda: replace(books(ONE), entries={ONE: 1, TWO: 1}), "has no outcome"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_wrong_book_is_named(name: str) -> None:
    make, words = BROKEN[name]
    assert any(words in fault for fault in judge_books(seen(), make()).faults)


def test_an_approval_shown_twice_is_a_fault() -> None:
    assert any("ended twice" in fault for fault in judge_books(seen(line(APPROVED, ONE)), books(ONE)).faults)


def kept(*payments: Payment) -> Kept:
    return Kept("box-1", head=2, acknowledged=2, quarantine=None, sales=dict.fromkeys(payments, 5))


def test_an_outbox_that_holds_what_was_seen_and_posted_is_well() -> None:
    assert list(judge_outbox(seen(), books(ONE, TWO), kept(ONE, TWO))) == []


WRONG: dict[str, tuple[Kept, str]] = {
    "lost": (kept(TWO), "LOST"),
    "refused and yet stored": (kept(ONE, TWO, THREE), "the box said code_expired"),
    "not sent": (replace(kept(ONE, TWO), acknowledged=1), "1 acknowledged"),
    "quarantine": (replace(kept(ONE, TWO), quarantine="forked"), "forked"),
    "not in the cloud": (kept(ONE), "differ"),
    "another amount": (replace(kept(ONE, TWO), sales={ONE: 4, TWO: 5}), "stored over 4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_outbox_is_named(name: str) -> None:
    held, words = WRONG[name]
    assert any(words in fault for fault in judge_outbox(seen(), books(ONE, TWO), held))
