"""One simulated world: shops with boxes, customers, thieves, technicians and the cloud, played by a seed.

The world runs under its faults for some days, then everything heals, and it must come to rest: every box has sent all
it holds, every payment has its outcome, and once nothing can be posted any more every reserve is back.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.ingest.tables import PAYMENTS
from cloud.ledger.tables import ACCOUNTS
from cloud.payments import courier
from cloud.payments.claim_store import posted_counters
from cloud.wallets.release_service import release_due
from demo.phone import load_phone
from edge.states import Result, Sale
from tests.simulation.books import unreleased_minor
from tests.simulation.box import BOOT_S, SimulatedBox
from tests.simulation.broker import Broker
from tests.simulation.card import Cards
from tests.simulation.cloud import SimulatedCloud
from tests.simulation.hands import HandsOfBox
from tests.simulation.inspector import Inspector
from tests.simulation.oracle import Oracle
from tests.simulation.people import customers
from tests.simulation.phones import CustomerPhone
from tests.simulation.template import START_MS, Owner, Template, box_settings, enrol_box
from tests.simulation.ways import asked_on_phone
from tests.simulation.witness import Witness

HOUR_S, DAY_S = 3600.0, 86400.0
POOR_LINES = 0.8
"""The share of shops that have network only now and then: what this box is made for."""
REST_S_MAX = 6 * HOUR_S
RESERVES_BACK_MS = 12 * 24 * 3600 * 1000
UNDER_WAY_MS = 180_000
"""No sale takes longer, its customer's answer included."""
TECHNICIAN_S = (HOUR_S / 2, 3 * HOUR_S)


class WorldClock:
    """True time, which the cloud has."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000)

    def monotonic_ms(self) -> int:
        return int(self._loop.time() * 1000)


@dataclass(frozen=True, slots=True)
class Plan:
    """How big a world is."""

    boxes: int
    days: float

    @property
    def terminal_days(self) -> float:
        return self.boxes * self.days


class World:
    """Everything of one seed; ``play`` runs it and gives what was found wrong."""

    def __init__(self, folder: Path, template: Template, plan: Plan, rng: random.Random) -> None:
        template.copy_to(folder)
        self.folder = folder
        self.template = template
        self.plan = plan
        self.rng = rng
        self.clock = WorldClock(asyncio.get_running_loop())
        self.faults: Counter[str] = Counter()
        self.oracle = Oracle()
        self.cards = Cards()
        self.broker = Broker(rng, self.count)
        self.cloud = SimulatedCloud(folder, clock=self.clock, broker=self.broker, rng=rng, count=self.count)
        self.boxes = [self._box(number) for number in range(plan.boxes)]
        self.phones = [
            CustomerPhone(customer, path, load_phone(path, random_bytes=rng.randbytes))
            for number, customer in enumerate(template.customers)
            for path in (folder / "phones" / f"{number}.json",)
        ]
        self.findings: list[str] = []
        self.witness = Witness(self.oracle, self.findings)
        self.inspector = Inspector(self.cloud, self.oracle, self.findings, self.clock)
        self.last_hash = ""
        self.is_healing = False
        self.flip_next: set[int] = set()
        self.images: dict[int, tuple[int, tuple[dict[str, bytes], dict[str, bytes]]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def count(self, kind: str) -> None:
        """Note that a fault has happened."""
        self.faults[kind] += 1

    async def play(self, begin_faults: Callable[["World"], list[Awaitable[None]]]) -> list[str]:
        """Play the days, heal, come to rest, and judge."""
        try:
            for worker in self.cloud.workers:
                self.begin(worker.run())
            for box in self.boxes:
                self.begin(self._keep_alive(box))
                self.begin(customers(self, box))
                if self.rng.random() < POOR_LINES:
                    self.begin(self._poor_line(box))
            self.begin(self._technician())
            self.begin(self._watch_the_books())
            self.begin(self.inspector.watch(lambda: list(self.boxes)))
            troubles = [asyncio.ensure_future(each) for each in begin_faults(self)]
            await self._pass(self.plan.days * DAY_S, troubles)
            self.is_healing = True
            for trouble in troubles:
                trouble.cancel()
            await asyncio.gather(*troubles, return_exceptions=True)
            await self._heal()
            await self._come_to_rest()
            if self.inspector.is_waiting:
                await self._pass(HOUR_S, [])
            self._judge()
            self.last_hash = self.ledger_hash()
        finally:
            await self._end()
        return self.findings

    def begin(self, doing: Awaitable[None]) -> None:
        """Let something go on beside all else; if it ends by an error, the world ends."""
        self._tasks.append(asyncio.ensure_future(doing))

    async def _pass(self, seconds: float, troubles: "Sequence[asyncio.Future[None]]") -> None:
        done, _ = await asyncio.wait((*self._tasks, *troubles), timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    # --- Boxes ---

    def _box(self, number: int) -> SimulatedBox:
        hands = HandsOfBox(number, self.clock.now_ms, has_rtc=self.rng.random() < 0.7)
        hands.boot()
        return self._box_on(number, self.folder / "boxes" / str(number), self.template.owners[number], hands)

    def _box_on(self, number: int, folder: Path, owner: Owner, hands: HandsOfBox) -> SimulatedBox:
        return SimulatedBox(
            number,
            world=self.folder,
            folder=folder,
            owner=owner,
            hands=hands,
            cards=self.cards,
            broker=self.broker,
            rng=self.rng,
            show=self._shown,
            asked=lambda box, sale: self.begin(asked_on_phone(self, box, sale)),
        )

    async def _keep_alive(self, box: SimulatedBox) -> None:
        """Start the box again whenever it has ended, with the card as it is or as somebody has exchanged it."""
        while not box.is_scrapped:
            await box.live()
            await asyncio.sleep(self.rng.uniform(*BOOT_S))
            if box.number in self.images:
                taken_ms, image = self.images.pop(box.number)
                self.oracle.doubt(box.known_as, since_ms=taken_ms, until_ms=self.clock.now_ms())
                box.put_in(image)
                # Often where there is a line, so that its first contact comes before its first sale.
                box.cable.is_served = box.cable.is_served or self.rng.random() < 0.5
                self.inspector.older_card(box)
            elif box.is_out_of_order:
                await asyncio.sleep(self.rng.uniform(*TECHNICIAN_S))
                await self.enrol_again(box)
            else:
                is_flipped = box.number in self.flip_next
                self.flip_next.discard(box.number)
                if is_flipped:
                    self.count("bit_flip")
                    self.oracle.doubt(box.known_as, since_ms=0, until_ms=self.clock.now_ms())
                box.next_card(flipped=is_flipped)

    async def _poor_line(self, box: SimulatedBox) -> None:
        """Have network for some minutes an hour."""
        while not self.is_healing:
            box.cable.is_served = False
            if box.life is not None:
                await self.broker.drop(box.life.line)
            await asyncio.sleep(self.rng.uniform(0.2, 2.0) * HOUR_S)
            box.cable.is_served = True
            await asyncio.sleep(self.rng.uniform(60, 600))

    async def clone_card(self, box: SimulatedBox) -> None:
        """Somebody copies the card and runs the copy in another board, out of sight, until it has network once."""
        image, now_ms = box.image(), self.clock.now_ms()
        # What is under way at this moment is taken back by the copy, which does not know what becomes of it.
        self.oracle.doubt(box.known_as, since_ms=now_ms, until_ms=now_ms + UNDER_WAY_MS)
        number = 100 + self.rng.getrandbits(16)
        hands = HandsOfBox(number, self.clock.now_ms, has_rtc=True)
        hands.boot()
        twin = self._box_on(number, self.folder / "boxes" / str(number), box.owner, hands)
        twin.lay_out(image)
        twin.is_twin, twin.cable.is_served = True, False
        self.boxes.append(twin)
        self.inspector.copied_card(box, twin)
        self.begin(self._keep_alive(twin))
        self.begin(customers(self, twin))
        await asyncio.sleep(self.rng.uniform(1, 6) * HOUR_S)
        twin.cable.is_served = True

    async def _technician(self) -> None:
        """Enrol boxes anew that have stopped by themselves, once they have sent all they hold."""
        while True:
            await asyncio.sleep(self.rng.uniform(*TECHNICIAN_S))
            for box in list(self.boxes):
                state = await box.state()
                if state is None or state.quarantine_reason is None or self.is_healing:
                    continue
                if state.acknowledged_number != state.head_number or not self._is_stopped_for_long(box):
                    continue
                if await box.has_open_sales():
                    continue
                if box.is_twin:
                    self.boxes.remove(box)
                    box.is_scrapped = True
                    box.end("kill")
                else:
                    box.end("kill")
                    box.is_out_of_order = True

    def _is_stopped_for_long(self, box: SimulatedBox) -> bool:
        """A technician takes an hour to come."""
        return box.stopped_since_ms is not None and self.clock.now_ms() - box.stopped_since_ms > HOUR_S * 1000

    async def enrol_again(self, box: SimulatedBox) -> None:
        """Give the board a new card, under its old name and in a new epoch."""
        cloud, now_ms = self.cloud.front, self.clock.now_ms()
        terminal_id = box.known_as
        run_transaction(
            cloud.engine, lambda session: fleet_service.allow_re_enrolment(session, terminal_id, now_ms=now_ms)
        )
        folder = box.fresh_folder()
        settings = box_settings(self.folder, folder)
        await enrol_box(cloud, settings, box.owner, board=box.board, random_bytes=self.rng.randbytes)
        box.put_in_new(folder)
        box.enrolled_ms = now_ms

    # --- People ---

    def _shown(self, box: SimulatedBox, sale: Sale, result: Result) -> None:
        """Somebody stands before the display."""
        self.witness.see(box, sale, result, now_ms=self.clock.now_ms())
        key = (box.known_as, sale.payment_id)
        if key in self.oracle.approvals:
            self.inspector.approved(box, key)

    async def _watch_the_books(self) -> None:
        """Every journal entry balances, at every look and not only in the end."""
        while True:
            await asyncio.sleep(600)
            self.findings += self.cloud.unbalanced()

    # --- The end ---

    async def _heal(self) -> None:
        self.broker.weather.clear()
        self.broker.is_away = self.cloud.database.is_away = False
        for worker in self.cloud.workers:
            worker.fate.planned.clear()
        for box in self.boxes:
            box.cable.up = box.cable.down = box.cable.is_served = True
            box.heal()
        self.images.clear()
        self.flip_next.clear()

    async def _come_to_rest(self) -> None:
        began_s = asyncio.get_running_loop().time()
        while waiting := [words for box in self.boxes for words in (await self._unsent(box),) if words]:
            if asyncio.get_running_loop().time() - began_s > REST_S_MAX:
                self.findings += waiting
                return
            await self._pass(60.0, [])

    async def _unsent(self, box: SimulatedBox) -> str:
        state = await box.state()
        if state is None:
            return f"box {box.number} does not run"
        if state.acknowledged_number != state.head_number:
            return f"box {box.number} is acknowledged up to {state.acknowledged_number} of {state.head_number}"
        return ""

    def _judge(self) -> None:
        self.findings += self.cloud.unbalanced()
        self.findings += self.cloud.read(lambda session: self.oracle.judge(session, self.phones))
        self.inspector.judge()
        later_ms = self.clock.now_ms() + RESERVES_BACK_MS

        def release(session: Session) -> int:
            return len(release_due(session, posted=posted_counters, now_ms=later_ms))

        while run_transaction(self.cloud.engine, release):
            pass
        while run_transaction(self.cloud.engine, lambda session: courier.release_overdue(session, now_ms=later_ms)):
            pass
        if held_minor := self.cloud.read(unreleased_minor):
            self.findings.append(f"{held_minor} stay reserved although nothing can be posted any more")

    def ledger_hash(self) -> str:
        """Say in one line what the books hold: two runs of one seed must agree.

        A record may carry the terminal's certificate, whose ECDSA signature is another one each time it is made, so
        that times and amounts stand for the records' own hashes.
        """

        def rows(session: Session) -> list[str]:
            accounts = select(ACCOUNTS.c.kind, ACCOUNTS.c.owner, ACCOUNTS.c.balance_minor, ACCOUNTS.c.postings_count)
            of_payment = PAYMENTS.c
            payments = select(
                of_payment.terminal_id,
                of_payment.payment_id,
                of_payment.outcome,
                of_payment.amount_minor,
                of_payment.from_reserve_minor,
                of_payment.uncovered_minor,
                of_payment.authorised_at_ms,
                of_payment.received_at_ms,
            )
            return sorted(repr(tuple(row)) for query in (accounts, payments) for row in session.execute(query))

        return hashlib.sha256("\n".join(self.cloud.read(rows)).encode()).hexdigest()[:16]

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.broker.close()
        self.cloud.close()
