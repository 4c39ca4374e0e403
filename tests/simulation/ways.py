"""Ways to pay that need more than a code: the request on the display, and the question on the customer's phone.

A customer's phone answers the request itself, or carries the cloud's approval back; some never do. Whoever is asked
says yes, or no, or nothing, and now and then the merchant takes the sale back at that very moment.
"""

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from cloud.payments import authorisation_store, confirmation
from cloud.payments.confirmation import Confirmation
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Proof
from edge.states import Sale
from sync.payment_code import PaymentCode
from sync.payment_request import ShownRequest, read_payment_request
from sync.qr_text import QrPrefix, to_text
from tests.simulation.box import SimulatedBox
from tests.simulation.phones import CustomerPhone
from tests.simulation.sightings import Tried, Way
from tests.simulation.template import Customer

if TYPE_CHECKING:
    from tests.simulation.world import World

PLAYED_IN_SALES = frozenset({"approval_not_shown", "customer_refuses", "customer_silent", "sale_cancelled"})
SCANNED_S = (1.0, 8.0)
AT_THE_PHONE_S = 15.0
NOT_SHOWN = 0.25
"""The share of carried approvals that are never shown."""
SILENT, REFUSED, CANCELLED = 0.1, 0.2, 0.4
"""Of whom is asked on the phone, these say nothing, then these no, then of these the merchant loses patience."""


async def pay_by_request(
    world: "World", box: SimulatedBox, phone: CustomerPhone, way: Way, *, amount_minor: int
) -> None:
    """Have a display show its request, and the customer answer it or carry it to the cloud."""
    sale = await box.begin_sale(amount_minor)
    text = None if sale is None else await box.show_request(sale)
    if sale is None or text is None:
        return
    await asyncio.sleep(world.rng.uniform(*SCANNED_S))
    shown = read_payment_request(text)
    if not isinstance(shown, ShownRequest):
        world.findings.append(f"box {box.number} shows a request that cannot be read: {shown}")
        return
    if way is Way.TWO_WAY:
        await _answer(world, box, phone, sale, shown)
    else:
        await _carry(world, box, phone, sale, shown)
    await asyncio.sleep(8)


async def _answer(world: "World", box: SimulatedBox, phone: CustomerPhone, sale: Sale, shown: ShownRequest) -> None:
    now_ms = world.clock.now_ms()
    code = phone.phone.answer_request(shown, now_ms=now_ms)
    if not isinstance(code, PaymentCode):
        world.oracle.shown[code.value] += 1
        await box.cancel(sale)
        return
    _try(world, box, sale, Tried(code.serial, code.counter, now_ms, phone.customer, box.owner, box.number, Way.TWO_WAY))
    box.hold_up(sale, code.to_text())


async def _carry(world: "World", box: SimulatedBox, phone: CustomerPhone, sale: Sale, shown: ShownRequest) -> None:
    now_ms = world.clock.now_ms()
    refusal = world.cloud.front.verify_request(shown, now_ms)
    if refusal is not None:
        # A clock that is wrong, or a card that was put in after another one had been enrolled.
        world.oracle.shown[refusal.value] += 1
        await box.cancel(sale)
        return
    _try(world, box, sale, Tried(None, None, now_ms, phone.customer, box.owner, box.number, Way.COURIER))
    held = await phone.carry(world.cloud, shown, now_ms)
    if isinstance(held, PaymentRefusal):
        world.oracle.shown[held.value] += 1
        await box.cancel(sale)
    elif world.rng.random() < NOT_SHOWN:
        world.count("approval_not_shown")
        if world.rng.random() < 0.5:
            await box.cancel(sale)
    else:
        await asyncio.sleep(world.rng.uniform(*SCANNED_S))
        box.hold_up(sale, to_text(QrPrefix.APPROVAL, held.approval))


def _try(world: "World", box: SimulatedBox, sale: Sale, tried: Tried) -> None:
    world.oracle.tried[sale.payment_id] = tried


async def lose_patience(world: "World", box: SimulatedBox, sale: Sale) -> None:
    """Take a sale back while it waits, if it still does."""
    await asyncio.sleep(world.rng.expovariate(1.0))
    if await box.cancel(sale):
        world.count("sale_cancelled")


async def asked_on_phone(world: "World", box: SimulatedBox, sale: Sale) -> None:
    """A display says that the customer is asked: look at the phone, and answer."""
    rng, tried = world.rng, world.oracle.tried.get(sale.payment_id)
    if tried is None:
        return
    choice = rng.random()
    await asyncio.sleep(rng.expovariate(1 / AT_THE_PHONE_S))
    if choice < SILENT:
        world.count("customer_silent")
        return
    is_yes = choice >= REFUSED and not tried.is_stolen
    if REFUSED <= choice < CANCELLED:
        world.begin(lose_patience(world, box, sale))
        await asyncio.sleep(rng.uniform(0, 2))
    if not is_yes:
        world.count("customer_refuses")
    await _say(world, box, sale, tried.payer, is_yes=is_yes)
    await world.cloud.tell_terminals()


async def _say(world: "World", box: SimulatedBox, sale: Sale, payer: Customer, *, is_yes: bool) -> None:
    """Answer what the customer is asked about this sale, in whatever state it is by now."""
    front, key = world.cloud.front, (box.known_as, sale.payment_id)

    def work(session: Session) -> None:
        asked = authorisation_store.find(session, [key]).get(key)
        if asked is None or asked.online_payment_id is None:
            return
        now_ms = world.clock.now_ms()
        if is_yes:
            said = Confirmation(asked.online_payment_id, payer.wallet_id, Proof.PIN)
            rules, policy = front.payment_rules(), front.grant_policy()
            confirmation.confirm(session, said, rules=rules, policy=policy, now_ms=now_ms)
        else:
            confirmation.reject(session, asked.online_payment_id, wallet_id=payer.wallet_id, now_ms=now_ms)

    await world.cloud.run(work)
