"""The faults of a simulated world, each a small story, and the swarm that a seed draws from them.

A seed takes about half of the kinds, at rates far above life: with all of them at once each would hide the others
(swarm testing, Groce et al., ISSTA 2012). A fault counts when it takes effect: a full or failing card when a write or a
flush was refused, a planned death when it comes, weather for each message, a lying card when its power is cut.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.key_ceremony import rotate_key
from cloud.wallets.release_service import report_key_lost
from sync.roles import RoleUse
from tests.simulation.box import SimulatedBox
from tests.simulation.card import How
from tests.simulation.cloud import DATABASE_FAULTS, DEATHS
from tests.simulation.people import rob
from tests.simulation.phones import CustomerPhone, Honesty, Thief, clone, restore, tell_lies
from tests.simulation.template import POOR, cloud_settings, seeded_key
from tests.simulation.world import DAY_S, World

Story = Callable[[World], Awaitable[None]]
ROTATED = (RoleUse.GRANT, RoleUse.ACKNOWLEDGEMENT, RoleUse.TRUST, RoleUse.POLICY)


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: how often a day in each world that has it, and its story."""

    name: str
    per_day: float
    story: Story


def begin(world: World) -> list[Awaitable[None]]:
    """Draw the swarm of this world and begin its stories."""
    kinds = [fault for fault in FAULTS if world.rng.random() < 0.5]
    return [_again_and_again(world, fault) for fault in kinds]


async def _again_and_again(world: World, fault: Fault) -> None:
    while True:
        await asyncio.sleep(world.rng.expovariate(fault.per_day / DAY_S))
        await fault.story(world)


def _running(world: World) -> SimulatedBox | None:
    boxes = [box for box in world.boxes if box.life is not None]
    return world.rng.choice(boxes) if boxes else None


# --- Boxes and cards ---


def _dies(how: How, name: str) -> Story:
    async def story(world: World) -> None:
        box = _running(world)
        if box is None or box.life is None:
            return
        if world.rng.random() < 0.5:
            world.count(name)
            box.end(how)
        else:
            # In the midst of a write or a flush, whenever the next ones come.
            box.life.card.on_first("planned_death", lambda: world.count(name))
            box.life.card.die_after(world.rng.randint(1, 24), how)

    return story


async def _lying_flush(world: World) -> None:
    box = _running(world)
    if box is None or box.life is None:
        return
    doubtful = world.oracle.doubt(box.known_as, since_ms=world.clock.now_ms())
    box.life.card.lie(flushes_back=world.rng.randint(1, 64))
    try:
        await asyncio.sleep(world.rng.uniform(600, 6 * 3600))
    finally:
        if box.life is not None:
            # The card of the next life is honest. A box that is off now keeps the card, and the doubt stays.
            doubtful.until_ms = world.clock.now_ms()
            if box.life.card.is_lying:
                world.count("lying_flush")
            box.end("power")


async def _disk_full(world: World) -> None:
    box = _running(world)
    if box is None or box.life is None:
        return
    card = box.life.card
    card.on_first("disk_full", lambda: world.count("disk_full"))
    card.is_full = True
    await asyncio.sleep(world.rng.uniform(300, 3600))
    card.is_full = False


async def _flush_fails(world: World) -> None:
    if (box := _running(world)) is not None and box.life is not None:
        box.life.card.on_first("flush_error", lambda: world.count("flush_error"))
        box.life.card.fail_flushes(count=world.rng.randint(1, 3))


async def _write_fails(world: World) -> None:
    if (box := _running(world)) is not None and box.life is not None:
        box.life.card.on_first("write_error", lambda: world.count("write_error"))
        box.life.card.fail_writes(10, count=world.rng.randint(1, 8))


async def _bit_flip(world: World) -> None:
    if (box := _running(world)) is not None:
        world.flip_next.add(box.number)
        box.end(world.rng.choice(("kill", "power")))


async def _roll_back(world: World) -> None:
    if (box := _running(world)) is None:
        return
    taken_ms, image = world.clock.now_ms(), box.image()
    epoch = box.life.box.trust.identity.answer.epoch if box.life else 0
    await asyncio.sleep(world.rng.uniform(1800, 10 * 3600))
    if box.life is not None and box.life.box.trust.identity.answer.epoch == epoch:
        world.count("card_rolled_back")
        world.images[box.number] = (taken_ms, image)
        box.end("power")


async def _card_cloned(world: World) -> None:
    boxes = [box for box in world.boxes if box.life is not None and not box.is_twin]
    if boxes and not any(box.is_twin for box in world.boxes):
        world.count("card_cloned")
        await world.clone_card(world.rng.choice(boxes))


async def _clock_jump(world: World) -> None:
    if (box := _running(world)) is None:
        return
    world.count("clock_jump")
    spread_ms = world.rng.choice((20_000, 90_000, 3 * 3600_000, 400 * 86400_000))
    box.hands.system_offset_ms = world.rng.randint(-spread_ms, spread_ms)
    box.hands.boot()
    box.end("power")
    await asyncio.sleep(world.rng.uniform(600, 4 * 3600))
    # Somebody sets it right, and the box is started with it.
    box.hands.system_offset_ms = 0
    box.hands.boot()
    box.end("power")


# --- The network ---


def _cut(name: str, *, up: bool, down: bool) -> Story:
    async def story(world: World) -> None:
        box = world.rng.choice(world.boxes)
        world.count(name)
        box.cable.up, box.cable.down = box.cable.up and not up, box.cable.down and not down
        if up and down and box.life is not None:
            await world.broker.drop(box.life.line)
        await asyncio.sleep(world.rng.choice((600, 3600, 8 * 3600)) * world.rng.random())
        box.cable.up = box.cable.down = True
        if box.life is not None:
            await world.broker.drop(box.life.line)

    return story


def _weather(name: str) -> Story:
    async def story(world: World) -> None:
        setattr(world.broker.weather, name, world.rng.choice((0.05, 0.2, 0.6)))
        await asyncio.sleep(world.rng.uniform(600, 4 * 3600))
        setattr(world.broker.weather, name, 0.0)

    return story


async def _broker_wiped(world: World) -> None:
    world.count("broker_wiped")
    world.broker.is_away = True
    await world.broker.wipe()
    await asyncio.sleep(world.rng.uniform(1, 60))
    world.broker.is_away = False


async def _answer_replayed(world: World) -> None:
    """Somebody on the line holds back what comes from the cloud and plays an old answer of its instead."""
    box = _running(world)
    if box is None or not box.answers:
        return
    world.count("answer_replayed")
    box.old_answer = box.answers[0]
    try:
        await asyncio.sleep(world.rng.uniform(1800, 3 * 3600))
    finally:
        box.old_answer = None


# --- The cloud ---


def _worker_meets(kinds: tuple[str, ...]) -> Story:
    async def story(world: World) -> None:
        worker = world.rng.choice(world.cloud.workers)
        worker.fate.planned.append(world.rng.choice(kinds))

    return story


async def _database_restarts(world: World) -> None:
    world.count("database_restart")
    world.cloud.database.is_away = True
    await asyncio.sleep(world.rng.uniform(1, 120))
    world.cloud.database.is_away = False


async def _key_rotated(world: World) -> None:
    folder = cloud_settings(world.folder).key_folder
    rotate_key(
        folder,
        world.rng.choice(ROTATED),
        root_folder=folder / "root",
        now_ms=world.clock.now_ms(),
        ask_passphrase=str,
        at_once=True,
        new_key=lambda use: seeded_key(world.rng.randbytes, use),
    )
    world.count("key_rotated")
    world.cloud.reload()


async def _policy_changed(world: World) -> None:
    world.count("policy_changed")
    world.cloud.limits = {
        "one_way_limit_minor": world.rng.choice((5_00, 20_00, 50_00)),
        "payer_one_way_sum_minor": world.rng.choice((20_00, 50_00, 100_00)),
        "unacknowledged_hard_minor": world.rng.choice((300_00, 2_000_00)),
    }
    world.cloud.reload()


# --- Phones ---


def _honest(world: World) -> CustomerPhone | None:
    phones = [
        each for each in world.phones if each.honesty is Honesty.HONEST and each.phone.grants and not each.is_lost
    ]
    return world.rng.choice(phones) if phones else None


def _with_open_codes(world: World) -> CustomerPhone | None:
    """Choose the honest phone that was the last to show something: it is likely to be on its way still."""
    now_ms = world.clock.now_ms()
    phones = [
        each
        for each in world.phones
        if each.honesty is Honesty.HONEST and not each.is_lost and each.phone.outstanding_minor
        if not each.needs_grant(now_ms)
    ]
    return max(phones, key=lambda each: each.last_shown_s, default=None)


def _copied(world: World, phone: CustomerPhone, *, hides: bool) -> Thief:
    world.oracle.copied_ms.setdefault(phone.customer.device_id, world.clock.now_ms())
    return clone(phone, random_bytes=world.rng.randbytes, hides=hides)


async def _phone_cloned(world: World) -> None:
    poor = [each for each in world.phones[:POOR] if each.honesty is Honesty.HONEST and each.phone.grants]
    phone = world.rng.choice(poor) if poor and world.rng.random() < 0.7 else _honest(world)
    if phone is not None and not phone.is_lost:
        world.count("phone_cloned")
        world.begin(rob(world, _copied(world, phone, hides=world.rng.random() < 0.5)))


async def _phone_restored(world: World) -> None:
    if (phone := _honest(world)) is None:
        return
    backup, returns_count = phone.path.read_bytes(), phone.returns_count
    await asyncio.sleep(world.rng.uniform(3600, 12 * 3600))
    # Whoever has given grants back meanwhile lets the phone forget them before it shows anything.
    if phone.honesty is Honesty.HONEST and not phone.is_lost and phone.returns_count == returns_count:
        world.count("phone_restored")
        restore(phone, backup, random_bytes=world.rng.randbytes)


async def _phone_lost(world: World) -> None:
    """Somebody finds a phone and pays with it; its owner reports it only later."""
    if (phone := _honest(world)) is None:
        return
    thief = _copied(world, phone, hides=False)
    phone.is_lost = True
    world.begin(rob(world, thief))
    await asyncio.sleep(world.rng.uniform(600, 6 * 3600))
    device_id, now_ms = phone.customer.device_id, world.clock.now_ms()

    def report(session: Session) -> None:
        report_key_lost(session, device_id, now_ms=now_ms)

    run_transaction(world.cloud.engine, report)
    world.count("denied_late")


async def _grants_returned(world: World) -> None:
    """Somebody wants the reserve back; the codes that are on their way are paid out of what stays of it."""
    phone = _with_open_codes(world)
    if phone is None:
        return
    world.count("grants_returned")
    is_answer_lost = world.rng.random() < 0.3
    wrong = await phone.return_grants(world.cloud, world.clock.now_ms(), is_answer_lost=is_answer_lost)
    world.findings += [wrong] if wrong else []


async def _false_return(world: World) -> None:
    """Somebody says that nothing was shown, gets the reserve back, and goes on paying by what was returned."""
    phone, now_ms = _with_open_codes(world), world.clock.now_ms()
    if phone is None:
        return
    world.count("false_return")
    world.oracle.copied_ms.setdefault(phone.customer.device_id, 0)
    world.oracle.lied_ms |= {held.grant.serial: now_ms for held in phone.phone.grants if not held.is_returned}
    thief = tell_lies(phone, random_bytes=world.rng.randbytes)
    await phone.return_grants(world.cloud, now_ms, is_answer_lost=False)
    world.begin(rob(world, thief))


FAULTS = (
    Fault("kill", 6, _dies("kill", "kill")),
    Fault("power_cut", 6, _dies("power", "power_cut")),
    Fault("lying_flush", 1.5, _lying_flush),
    Fault("disk_full", 3, _disk_full),
    Fault("flush_error", 4, _flush_fails),
    Fault("write_error", 4, _write_fails),
    Fault("bit_flip", 1.5, _bit_flip),
    Fault("card_rolled_back", 2, _roll_back),
    Fault("card_cloned", 1.5, _card_cloned),
    Fault("clock_jump", 2, _clock_jump),
    Fault("partition", 3, _cut("partition", up=True, down=True)),
    Fault("partition_up", 3, _cut("partition_up", up=True, down=False)),
    Fault("partition_down", 3, _cut("partition_down", up=False, down=True)),
    *(Fault(name, 3, _weather(name)) for name in ("loss", "duplicate", "delay", "corrupt")),
    Fault("answer_replayed", 2, _answer_replayed),
    Fault("broker_wiped", 4, _broker_wiped),
    *(Fault(name, 6, _worker_meets((name,))) for name in (*DEATHS, *DATABASE_FAULTS)),
    Fault("database_restart", 4, _database_restarts),
    Fault("key_rotated", 1.5, _key_rotated),
    Fault("policy_changed", 3, _policy_changed),
    Fault("phone_cloned", 1.5, _phone_cloned),
    Fault("phone_restored", 2, _phone_restored),
    Fault("denied_late", 1.5, _phone_lost),
    Fault("grants_returned", 4, _grants_returned),
    Fault("false_return", 1, _false_return),
)
