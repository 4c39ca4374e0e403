"""Approvals: carried as a code, they answer one request with one amount until their end."""

from typing import Any

import pytest

from sync.approval import APPROVAL, approval_to_text, check_approval, read_approval
from sync.qr_text import OTHER_CODE_SIZE_MAX
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_S, SignedWorld

WORLD = SignedWorld()
SHOWN = WORLD.terminal("box").request(amount_minor=42_00)
APPROVED = WORLD.approval(SHOWN)


def test_is_carried_as_text_and_read_again() -> None:
    assert read_approval(approval_to_text(APPROVED)) == APPROVED


def test_the_largest_approval_fits_its_size() -> None:
    assert APPROVAL.size_max <= OTHER_CODE_SIZE_MAX


@pytest.mark.parametrize(
    "text, refusal",
    [
        ("TR1:" + approval_to_text(APPROVED)[4:], Refusal.WRONG_TYPE_OF_CODE),
        ("TA3:" + approval_to_text(APPROVED)[4:], Refusal.UNSUPPORTED_VERSION),
        ("TA1:", Refusal.BAD_BASE45),
        (approval_to_text(APPROVED)[:-3], Refusal.TRUNCATED),
        ("TA1:" + "0" * 600, Refusal.OVERSIZED),
    ],
)
def test_a_text_is_refused_by_name(text: str, refusal: Refusal) -> None:
    assert read_approval(text) is refusal


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({}, None),
        ({"request_hash": bytes(16)}, Refusal.REQUEST_MISMATCH),
        ({"amount_minor": 42_01}, Refusal.REQUEST_MISMATCH),
        ({"now_s": NOW_S + 119}, None),
        ({"now_s": NOW_S + 120}, Refusal.MESSAGE_EXPIRED),
    ],
)
def test_answers_one_request_with_one_amount_until_its_end(changes: dict[str, Any], refusal: Refusal | None) -> None:
    asked: dict[str, Any] = {"request_hash": SHOWN.short_hash, "amount_minor": 42_00, "now_s": NOW_S}
    assert check_approval(APPROVED.content, **(asked | changes)) is refusal


def test_an_approval_of_nothing_cannot_be_signed() -> None:
    with pytest.raises(ValueError):
        WORLD.approval(SHOWN, amount_minor=0)
