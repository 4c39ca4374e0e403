"""Receipts: the terminal's signed word on one record, carried as a code."""

import pytest

from sync.keys import PublicKey
from sync.qr_text import OTHER_CODE_SIZE_MAX
from sync.receipt import RECEIPT, read_receipt, receipt_to_text
from sync.refusals import Refusal
from tests.fakes.signed_world import SignedWorld

WORLD = SignedWorld()
BOX = WORLD.terminal("box")
CODE = WORLD.phone("alice").one_way_code()
RECORD = BOX.sale(CODE, amount_minor=12_50)
RECEIPT_MADE = BOX.receipt(RECORD, CODE)


def verified(text: str, key: PublicKey) -> Refusal | None:
    receipt = read_receipt(text)
    return receipt if isinstance(receipt, Refusal) else RECEIPT.verify(receipt, key)


def test_names_the_record_by_number_and_hash_and_the_payment_by_serial_and_counter() -> None:
    receipt = read_receipt(receipt_to_text(RECEIPT_MADE))
    assert receipt == RECEIPT_MADE
    content = RECEIPT_MADE.content
    assert (content.number, content.record_hash) == (1, RECORD.hash)
    assert (content.serial, content.counter) == (CODE.serial, CODE.counter)


def test_holds_under_the_terminals_key_only() -> None:
    text = receipt_to_text(RECEIPT_MADE)
    assert verified(text, BOX.key.public_key) is None
    assert verified(text, WORLD.terminal("other").key.public_key) is Refusal.UNKNOWN_ISSUER


def test_the_largest_receipt_fits_its_size() -> None:
    assert RECEIPT.size_max <= OTHER_CODE_SIZE_MAX


@pytest.mark.parametrize(
    "text, refusal",
    [
        ("TP1:" + receipt_to_text(RECEIPT_MADE)[4:], Refusal.WRONG_TYPE_OF_CODE),
        ("TR2:" + receipt_to_text(RECEIPT_MADE)[4:], Refusal.UNSUPPORTED_VERSION),
        (receipt_to_text(RECEIPT_MADE)[:-3], Refusal.TRUNCATED),
        ("TR1:" + "0" * 600, Refusal.OVERSIZED),
    ],
)
def test_a_text_is_refused_by_name(text: str, refusal: Refusal) -> None:
    assert verified(text, BOX.key.public_key) is refusal
