"""People of a simulated world: customers, thieves, and whoever photographs a code or pulls a plug.

They hold codes up and look at displays. What a display said is noted by the world's witness.
"""

import asyncio
from typing import TYPE_CHECKING

from demo.phone import PhoneRefusal
from sync.payment_code import PaymentCode
from tests.simulation.box import SimulatedBox
from tests.simulation.phones import CustomerPhone, Thief
from tests.simulation.sightings import Tried, Way
from tests.simulation.template import Customer
from tests.simulation.ways import PLAYED_IN_SALES, lose_patience, pay_by_request

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY_S = 86400.0
PLAYED_BY_PEOPLE = frozenset({"code_relayed", "plug_pulled"}) | PLAYED_IN_SALES
"""Kinds of faults that no swarm draws: every world has people."""
SALES_A_DAY, THEFTS_A_DAY = 120, 60
AMOUNT_MINOR = (50, 10_00)
RELAYED = 0.04
"""The share of codes that are shown a second time, by whoever saw them."""
UNPLUGGED = 0.2
"""The share of those for which the same box's plug is pulled in between."""
PLUG_LOOKS, PLUG_LOOK_S = 12, 5.0
SPLIT = 0.01
"""The share of sales that are too dear for one code, so that the shop takes code after code."""
SPLIT_CODES, SPLIT_MINOR = 18, 10_00
TWO_WAY, COURIER = 0.08, 0.05
"""The share of sales whose request the display shows."""
IMPATIENT = 0.03
"""The share of sales that are taken back a moment after the code was held up, where that is still possible."""


async def customers(world: "World", box: SimulatedBox) -> None:
    """Have customers come to a shop, one after the other."""
    rng = world.rng
    while True:
        await asyncio.sleep(rng.expovariate(SALES_A_DAY / DAY_S))
        if box.life is None or world.is_healing:
            continue
        phone = rng.choice(world.phones)
        if phone.is_lost:
            continue
        if rng.random() < 0.5 or phone.needs_grant(world.clock.now_ms()):
            await phone.sync(world.cloud, rng, world.clock.now_ms())
        if rng.random() < SPLIT:
            await _split(world, box, phone)
            continue
        if (draw := rng.random()) < TWO_WAY + COURIER:
            way = Way.TWO_WAY if draw < TWO_WAY else Way.COURIER
            await pay_by_request(world, box, phone, way, amount_minor=rng.randint(*AMOUNT_MINOR))
            continue
        made_ms = world.clock.now_ms()
        code = phone.show(made_ms)
        await _pay(world, box, code, payer=phone.customer)
        if isinstance(code, PaymentCode) and rng.random() < RELAYED:
            await _pay_again(world, box, code, payer=phone.customer, made_ms=made_ms)


async def rob(world: "World", thief: Thief) -> None:
    """Have a thief go from shop to shop."""
    while not world.is_healing:
        await asyncio.sleep(world.rng.expovariate(THEFTS_A_DAY / DAY_S))
        box = world.rng.choice(world.boxes)
        if box.life is not None and not world.is_healing:
            await _pay(world, box, thief.show(world.clock.now_ms()), payer=thief.victim.customer, is_stolen=True)


async def _split(world: "World", box: SimulatedBox, phone: CustomerPhone) -> None:
    """Pay one dear thing by code after code, until one is refused."""
    await phone.sync(world.cloud, world.rng, world.clock.now_ms())
    for _ in range(SPLIT_CODES):
        code = phone.show(world.clock.now_ms())
        if not await _pay(world, box, code, payer=phone.customer, amount_minor=SPLIT_MINOR):
            return


async def _pay_again(world: "World", box: SimulatedBox, code: PaymentCode, *, payer: Customer, made_ms: int) -> None:
    """Somebody has photographed the code and holds it up once more, here or in another shop."""
    if world.rng.random() < UNPLUGGED:
        await _pull_the_plug(world, box)
    else:
        await asyncio.sleep(world.rng.choice((40, 400)) * world.rng.random())
        box = world.rng.choice((box, world.rng.choice(world.boxes)))
    if box.life is not None and not world.is_healing:
        await _pay(world, box, code, payer=payer, made_ms=made_ms, is_relayed=True)


async def _pull_the_plug(world: "World", box: SimulatedBox) -> None:
    """Have a box start anew, so that it knows what is on its card and nothing else."""
    if box.life is None:
        return
    world.count("plug_pulled")
    box.end("power")
    for _ in range(PLUG_LOOKS):
        await asyncio.sleep(PLUG_LOOK_S)
        if box.life is not None:
            return


async def _pay(
    world: "World",
    box: SimulatedBox,
    code: PaymentCode | PhoneRefusal,
    *,
    payer: Customer,
    amount_minor: int | None = None,
    made_ms: int | None = None,
    is_relayed: bool = False,
    is_stolen: bool = False,
) -> bool:
    """Hold up a code, made now or at ``made_ms``, for an amount or any amount; tells whether the box said yes."""
    if not isinstance(code, PaymentCode):
        world.oracle.shown[code.value] += 1
        return False
    if made_ms is None:
        made_ms = world.clock.now_ms()
    if amount_minor is None:
        amount_minor = world.rng.randint(*AMOUNT_MINOR)
    sale = await box.sell(amount_minor, code.to_text())
    if sale is None:
        return False
    if is_relayed:
        world.count("code_relayed")
        world.oracle.relayed.add((code.serial, code.counter))
    world.oracle.tried[sale.payment_id] = Tried(
        code.serial, code.counter, made_ms, payer, box.owner, box.number, is_stolen=is_stolen
    )
    if world.rng.random() < IMPATIENT:
        await lose_patience(world, box, sale)
    await asyncio.sleep(8)
    return (box.known_as, sale.payment_id) in world.oracle.approvals
