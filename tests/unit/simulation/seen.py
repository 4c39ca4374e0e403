"""Rows of the books and what was seen at displays, made by hand for tests of the oracle."""

from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Row

from cloud.ingest.outcomes import Outcome
from sync.ids import MerchantId, PaymentId, Serial, SiteId, TerminalId
from tests.simulation.sightings import Approval, Tried
from tests.simulation.template import Customer, Owner

HERE = TerminalId(bytes(8))
SERIAL = Serial(b"serial 1")
PAYER = Customer("WPAYER", "DPAYER", 200_00)
SHOP = Owner(MerchantId(b"merchant"), SiteId(bytes(8)), 12_500)


def payment_id(number: int) -> PaymentId:
    return PaymentId(number.to_bytes(16, "big"))


def row(
    number: int,
    *,
    reserve_minor: int = 0,
    available_minor: int = 0,
    uncovered_minor: int = 0,
    outcome: Outcome = Outcome.SETTLED_FROM_RESERVE,
) -> Row[Any]:
    """A posted payment of ``PAYER`` at ``HERE``."""
    made = SimpleNamespace(
        terminal_id=HERE,
        payment_id=payment_id(number),
        serial=SERIAL,
        counter=number,
        amount_minor=reserve_minor + available_minor + uncovered_minor,
        from_reserve_minor=reserve_minor,
        from_available_minor=available_minor,
        uncovered_minor=uncovered_minor,
        outcome=outcome.value,
    )
    return cast(Row[Any], made)


def tried(
    number: int, *, payer: Customer = PAYER, owner: Owner = SHOP, box_number: int = 0, made_ms: int = 100
) -> Tried:
    """A code of ``payer`` held up at a display of ``owner``."""
    return Tried(SERIAL, number, made_ms, payer, owner, box_number)


def approval(
    number: int, *, amount_minor: int, at_ms: int = 100, box_number: int = 0, heard_count: int = 0
) -> Approval:
    """A yes to it."""
    return Approval(amount_minor, SERIAL, number, at_ms, box_number, heard_count)
