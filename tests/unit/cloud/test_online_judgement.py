"""What a terminal asks online is judged by the cloud's clock, its own grants and the request that a code answers."""

from dataclasses import replace
from typing import Any

import pytest

from cloud.fleet.states import TerminalState
from cloud.ingest.judgement import IssuedGrant, Rules
from cloud.ingest.online_judgement import Asked, judge_grant_code, judge_request, reserve_limit_minor
from sync.ids import MerchantId
from sync.online import OnlineReason
from sync.payment_code import PaymentCode
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, NOW_S, SignedWorld

WORLD = SignedWorld()
PHONE = WORLD.phone("alice")
BOX, OTHER = WORLD.terminal("Café 1"), WORLD.terminal("Café 2")
ONE_WAY = PHONE.one_way_code()
RULES = Rules("EUR", 50_00, 100_00, code_age_s_max=60, code_ahead_s_max=30)
ISSUED = IssuedGrant("W1", "D1", PHONE.grant.signed, None)


def asked(code: PaymentCode | Refusal = ONE_WAY, *, amount_minor: int = 42_00, **changes: Any) -> Asked:
    carried = code if isinstance(code, PaymentCode) else ONE_WAY
    request = BOX.online_request(carried, amount_minor=amount_minor, **changes).content
    return Asked(request, TerminalState.ACTIVE, MerchantId(bytes(8)), BOX.key.public_key, code)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (asked(), ONE_WAY),
        (asked(asked_at_ms=NOW_MS - 60_000), ONE_WAY),
        (asked(asked_at_ms=NOW_MS - 60_001), Refusal.MESSAGE_EXPIRED),
        (asked(asked_at_ms=NOW_MS + 60_000), ONE_WAY),
        (asked(asked_at_ms=NOW_MS + 60_001), Refusal.MESSAGE_EXPIRED),
        (asked(Refusal.WRONG_SHAPE), Refusal.WRONG_SHAPE),
        (replace(asked(), terminal_state=TerminalState.QUARANTINED), OnlineReason.TERMINAL_NOT_ACTIVE),
        (replace(asked(), terminal_state=TerminalState.RETIRED), OnlineReason.TERMINAL_NOT_ACTIVE),
    ],
)
def test_terminal_and_time_are_looked_at_first(question: Asked, expected: object) -> None:
    assert judge_request(question, now_ms=NOW_MS) == expected


@pytest.mark.parametrize(
    ("now_s", "issued", "currency", "expected"),
    [
        (NOW_S, ISSUED, "EUR", None),
        (NOW_S + 60, ISSUED, "EUR", None),
        (NOW_S + 61, ISSUED, "EUR", Refusal.CODE_EXPIRED),
        (NOW_S - 30, ISSUED, "EUR", None),
        (NOW_S - 31, ISSUED, "EUR", Refusal.CODE_FROM_FUTURE),
        (NOW_S, None, "EUR", OnlineReason.CODE_UNKNOWN),
        (NOW_S, replace(ISSUED, grant=WORLD.phone("bob").grant.signed), "EUR", OnlineReason.CODE_UNKNOWN),
        (NOW_S, replace(ISSUED, is_live=False), "EUR", Refusal.DENIED_PAYER),
        (NOW_S, ISSUED, "USD", Refusal.CURRENCY_MISMATCH),
    ],
)
def test_a_grants_code_is_fresh_issued_and_alive(
    now_s: int, issued: IssuedGrant | None, currency: str, expected: object
) -> None:
    question = asked(currency=currency)
    assert judge_grant_code(question, ONE_WAY, issued, rules=RULES, now_ms=now_s * 1000) == expected


SHOWN = BOX.request(amount_minor=42_00)
TWO_WAY = PHONE.two_way_code(SHOWN.short_hash)
RIGHT: dict[str, Any] = {"request": SHOWN.encode(), "payment_id": SHOWN.request.content.payment_id}


@pytest.mark.parametrize(
    ("changes", "now_s", "expected"),
    [
        ({}, NOW_S, None),
        ({}, NOW_S + 119, None),
        ({}, NOW_S + 120, Refusal.REQUEST_EXPIRED),
        ({"request": b""}, NOW_S, Refusal.TRUNCATED),
        ({"amount_minor": 42_01}, NOW_S, Refusal.REQUEST_MISMATCH),
        ({"payment_id": bytes(16)}, NOW_S, Refusal.REQUEST_MISMATCH),
        ({"request": BOX.request(amount_minor=42_00, nonce=bytes(8)).encode()}, NOW_S, Refusal.REQUEST_MISMATCH),
        ({"request": OTHER.request(amount_minor=42_00).encode()}, NOW_S, Refusal.REQUEST_MISMATCH),
    ],
)
def test_a_two_way_code_answers_one_request_of_this_terminal(
    changes: dict[str, Any], now_s: int, expected: object
) -> None:
    question = asked(TWO_WAY, **(RIGHT | changes))
    assert judge_grant_code(question, TWO_WAY, ISSUED, rules=RULES, now_ms=now_s * 1000) == expected


def test_the_reserve_gives_what_the_phone_has_counted() -> None:
    assert reserve_limit_minor(ONE_WAY, 80_00) == 50_00
    assert reserve_limit_minor(TWO_WAY, 80_00) == 80_00
