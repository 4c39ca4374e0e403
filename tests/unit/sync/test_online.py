"""An online answer is believed only for the sale that was asked for, and only until its end."""

from dataclasses import replace
from typing import Any

import pytest

from sync.ids import PaymentId, TerminalId
from sync.online import OnlineAnswer, OnlineOutcome, OnlineReason, check_answer
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, SignedWorld

WORLD = SignedWorld()
BOX = WORLD.terminal("Café 1")
ASKED = BOX.online_request(WORLD.phone("alice").one_way_code(), amount_minor=12_50).content
ANSWER = OnlineAnswer(
    key_id=BOX.key_id,
    terminal_id=ASKED.terminal_id,
    payment_id=ASKED.payment_id,
    outcome=OnlineOutcome.APPROVED,
    reason=OnlineReason.NONE,
    amount_minor=ASKED.amount_minor,
    currency=ASKED.currency,
    expires_ms=NOW_MS + 1,
)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, None),
        ({"expires_ms": NOW_MS}, Refusal.MESSAGE_EXPIRED),
        ({"terminal_id": TerminalId(bytes(8))}, Refusal.WRONG_TERMINAL),
        ({"payment_id": PaymentId(bytes(16))}, Refusal.REQUEST_MISMATCH),
        ({"amount_minor": 12_51}, Refusal.REQUEST_MISMATCH),
        ({"currency": "USD"}, Refusal.REQUEST_MISMATCH),
    ],
)
def test_an_answer_is_to_this_request_and_in_time(changes: dict[str, Any], refusal: Refusal | None) -> None:
    assert check_answer(replace(ANSWER, **changes), ASKED, now_ms=NOW_MS) is refusal


def test_no_reason_has_the_name_of_a_refusal() -> None:
    assert not {reason.value for reason in OnlineReason} & {refusal.value for refusal in Refusal}
