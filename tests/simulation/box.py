"""A box of a simulated world: production's terminal, outbox, uplink and downlink on a card and clocks that may fail.

A box has lives. Each begins with the files that the one before left behind and ends by a kill, a power cut or an
order; what happens after the moment of death is seen by nobody.
"""

import asyncio
import random
import shutil
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TypeVar

from edge.authorise import SELECTION_DRAWS, Authoriser
from edge.downlink import Downlink
from edge.errors import EdgeError, NotProvisionedError, OutboxCorruptError, OutboxUnsafeError
from edge.main import Box, open_box, void_left_over
from edge.outbox_types import OutboxState
from edge.questions import Questions
from edge.signer import Signer
from edge.states import AskingCloud, CustomerAsked, Result, Sale, Scanning, ShowingResult, State
from edge.terminal import BusyError, Terminal
from edge.uplink import Uplink
from sync.ids import TerminalId
from sync.money import Money
from sync.topics import ACKNOWLEDGEMENT, ANSWER
from sync.upload import UploaderSettings
from tests.simulation.broker import Broker, Cable, Line
from tests.simulation.card import Card, Cards, How
from tests.simulation.card_files import WATCHED_NAMES, flip_bit, lay_out
from tests.simulation.hands import HandsOfBox, HeldUpCode, SilentSignals
from tests.simulation.template import CURRENCY, Owner, box_settings

BOOT_S = (5.0, 60.0)
KEEP_RECORDS = 20
ANSWERS_KEPT = 64
PRUNE_EVERY_S = 1800.0
NEEDS_TECHNICIAN = (OutboxCorruptError, OutboxUnsafeError, NotProvisionedError)
UPLOADER = UploaderSettings(contact_every_ms=1_800_000)

T = TypeVar("T")
Show = Callable[["SimulatedBox", Sale, Result], None]
Asked = Callable[["SimulatedBox", Sale], None]


@dataclass(eq=False)
class Life:
    """One life: from opening the box to its end."""

    box: Box
    card: Card
    line: Line
    authoriser: Authoriser
    terminal: Terminal
    uplink: Uplink
    camera: HeldUpCode
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SimulatedBox:
    """One board and its card; ``show`` is told what its display says, ``asked`` when the customer is asked."""

    def __init__(
        self,
        number: int,
        *,
        world: Path,
        folder: Path,
        owner: Owner,
        hands: HandsOfBox,
        cards: Cards,
        broker: Broker,
        rng: random.Random,
        show: Show,
        asked: Asked,
    ) -> None:
        self.number = number
        self.board = f"board-{number}"
        self.owner = owner
        self.hands = hands
        self.cable = Cable()
        self.life: Life | None = None
        self.is_out_of_order = False
        """Its card holds something that the box refuses to work with."""
        self._world = world
        self._folder = folder
        self._cards = cards
        self._broker = broker
        self._rng = rng
        self._show = show
        self._asked = asked
        self._lives = 0
        self._shown: Result | None = None
        self._asking: Sale | None = None
        self._terminal_id: TerminalId | None = None
        self._card: Card | None = None
        self.is_twin = False
        """It runs on a copy of another box's card."""
        self.is_scrapped = False
        self.opened_with: OutboxState | None = None
        """What the outbox held when the newest card was opened first."""
        self.stopped_since_ms: int | None = None
        """Since when its own screen says that it approves nothing any more; None after each start."""
        self.enrolled_ms = 0
        """When it was enrolled last, by the cloud's clock."""
        self.heard_count = 0
        """How much of the cloud has come to it over its line, ever, answers to its questions apart."""
        self.cards_put_in = 0
        """How often another card was put in than the one that the board had."""
        self.answers: deque[tuple[str, bytes]] = deque(maxlen=ANSWERS_KEPT)
        """The cloud's answers to this card, as somebody who listens on the line has written them down."""
        self.old_answer: tuple[str, bytes] | None = None
        """With this one somebody answers whatever the box sends, and holds back what really comes."""

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def known_as(self) -> TerminalId:
        """The terminal's id, which stays through all lives."""
        if self._terminal_id is None:
            raise RuntimeError("the box has never run")
        return self._terminal_id

    def lay_out(self, image: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
        """Make the card of a box that has never run from the copy of another."""
        files, others = image
        _write_all(others, self._folder)
        lay_out(files, self._folder, self._rng)

    def heal(self) -> None:
        """Whatever is wrong with the card ends."""
        if self._card is not None:
            self._card.heal()

    async def state(self) -> OutboxState | None:
        """Read the outbox, if the box runs."""
        life = self.life
        if life is None or life.card.is_dead:
            return None
        try:
            return await life.box.outbox.state()
        except EdgeError:
            return None

    async def has_open_sales(self) -> bool:
        """Whether the card holds a sale that left the box and has no record and no void; true where unknown."""
        life = self.life
        if life is None or life.card.is_dead:
            return True
        try:
            return bool(await life.box.outbox.open_sales())
        except EdgeError:
            return True

    def image(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Copy the whole card: the outbox's files, and all others by their path."""
        others = {
            str(path.relative_to(self._folder)): path.read_bytes()
            for path in self._folder.rglob("*")
            if path.is_file() and path.name not in WATCHED_NAMES and not path.name.endswith(("-shm", "-lock"))
        }
        if self._card is None:
            raise RuntimeError("the box has never run")
        return self._card.image(), others

    # --- Lives ---

    async def live(self) -> None:
        """Run one life to its end; leaves a card for the next. A box that does not open is out of order."""
        self._lives += 1
        settings = box_settings(self._world, self._folder, has_rtc=self.hands.has_rtc)
        card = self._cards.insert(Card(self._folder)) if self._card is None else self._card
        self._card = card
        async with AsyncExitStack() as stack:
            try:
                with self._cards.watching():
                    box = await stack.enter_async_context(open_box(settings, self.hands.hands()))
            except EdgeError as error:
                self.is_out_of_order = isinstance(error, NEEDS_TECHNICIAN) and not card.is_dead
                card.die_now("kill")
                return
            await self._work(box, card)

    async def _work(self, box: Box, card: Card) -> None:
        if self.opened_with is None:
            self.opened_with = await box.outbox.state()
        life = self._put_together(box, card)
        card.on_death = lambda: self._cut_off(life)
        self.life = life
        await void_left_over(life.authoriser)
        loops = [asyncio.create_task(each) for each in (life.terminal.run(), life.uplink.run(), self._keep_house(life))]
        loops.append(self._broker.connect_for_ever(life.line))
        ending = asyncio.create_task(life.ended.wait())
        try:
            await asyncio.wait((*loops, ending), return_when=asyncio.FIRST_COMPLETED)
            self._look_for_bugs(life, loops)
        finally:
            self._cut_off(life)
            for task in (*loops, ending):
                task.cancel()
            await asyncio.gather(*loops, ending, return_exceptions=True)
            if not card.is_dead:
                card.die_now("kill")

    def _put_together(self, box: Box, card: Card) -> Life:
        """Production's parts, with randomness of the seed."""
        terminal_id = self._terminal_id = box.trust.identity.terminal.terminal_id
        camera = HeldUpCode(self._rng)
        # The line needs the loops and the loops the line.
        line = Line(terminal_id.hex(), self.cable, _nobody_takes, _nothing, _nothing)
        publisher = _Publisher(self._broker, line, self)
        questions = Questions(publisher=publisher, trust=box.trust, clock=box.clock)
        authoriser = Authoriser(
            outbox=box.outbox,
            trust=box.trust,
            signer=Signer(box.signing_key, terminal_id),
            clock=box.clock,
            draw=lambda: self._rng.randrange(SELECTION_DRAWS),
            is_link_up=lambda: line.is_connected,
            free_bytes_min=0,
            questions=questions,
            random_bytes=self._rng.randbytes,
        )
        uplink = Uplink(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            authoriser=authoriser,
            signing_key=box.signing_key,
            publisher=publisher,
            random_bytes=self._rng.randbytes,
            on_change=lambda: None,
            settings=UPLOADER,
        )
        terminal = Terminal(
            authoriser=authoriser,
            scanner=camera,
            signals=SilentSignals(),
            clock=box.clock,
            random_bytes=self._rng.randbytes,
            on_change=lambda state: self._changed(life, state),
        )
        downlink = Downlink(trust=box.trust, uplink=uplink, questions=questions)

        async def came_up() -> None:
            await uplink.link_came_up()
            downlink.link_came_up()

        line.take = lambda topic, payload: self.hear(downlink, topic, payload)
        line.came_up, line.went_down = came_up, uplink.link_went_down
        life = Life(box, card, line, authoriser, terminal, uplink, camera)
        return life

    async def hear(self, downlink: Downlink, topic: str, payload: bytes) -> None:
        """Take what comes over the line, unless somebody holds it back."""
        if self.old_answer not in (None, (topic, payload)):
            return
        if self.old_answer is None and not topic.endswith(f"/{ANSWER.name}"):
            # What is played to it is nothing that it hears of the cloud.
            self.heard_count += 1
        if topic.endswith(f"/{ACKNOWLEDGEMENT.name}"):
            self.answers.append((topic, payload))
        await downlink.take(topic, payload)

    def _changed(self, life: Life, state: State) -> None:
        if life is not self.life or life.card.is_dead:
            return
        life.uplink.records_appended()
        if isinstance(state, CustomerAsked) and state.sale is not self._asking:
            self._asking = state.sale
            self._asked(self, state.sale)
        if isinstance(state, ShowingResult) and state.result is not self._shown:
            self._shown = state.result
            life.camera.put_away()
            self._show(self, state.sale, state.result)

    def _cut_off(self, life: Life) -> None:
        """From this moment nobody sees or hears this life."""
        if self.life is life:
            self.life = None
        self._broker.forget(life.line)
        life.ended.set()

    def _look_for_bugs(self, life: Life, loops: "list[asyncio.Task[None]]") -> None:
        if life.card.is_dead:
            return
        for task in loops:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                if isinstance(error, EdgeError):
                    # The card failed: the process ends and is started again.
                    continue
                raise error

    async def _keep_house(self, life: Life) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            await void_left_over(life.authoriser)
            try:
                await life.box.outbox.prune(before_ms=life.box.clock.now_ms() - 3600_000, keep_count=KEEP_RECORDS)
            except EdgeError:
                continue

    # --- Between two lives ---

    def end(self, how: How) -> None:
        """Stop the box at once."""
        if self.life is not None:
            self.life.card.die_now(how)

    def next_card(self, *, flipped: bool = False) -> None:
        """Lay out what the last life left in a new folder; with ``flipped`` a bit of it has changed meanwhile."""
        if self._card is None:
            return
        folder = self._new_folder()
        if flipped:
            files = self._card.remains(self._rng)
            flip_bit(files, self._rng)
            lay_out(files, folder, self._rng)
            card = Card(folder)
        else:
            card = self._card.next_life(folder, self._rng)
        if self._card.died_by == "power":
            self.hands.boot()
        self._replace(folder, card)

    def put_in(self, image: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
        """Put a copy of an earlier card in."""
        files, others = image
        self.cards_put_in += 1
        folder = self._new_folder(others)
        lay_out(files, folder, self._rng)
        self.opened_with = None
        self.hands.boot()
        self._replace(folder, Card(folder))

    def put_in_new(self, folder: Path) -> None:
        """Put a card in that was enrolled anew."""
        self.is_out_of_order = False
        self.cards_put_in += 1
        self.answers.clear()
        self._replace(folder, Card(folder))

    def fresh_folder(self) -> Path:
        """Name a folder that is not there yet."""
        return self._folder.parent / f"{self.number}-{self._lives}-{self._rng.getrandbits(32):08x}"

    def _new_folder(self, others: dict[str, bytes] | None = None) -> Path:
        folder = self.fresh_folder()
        if others is None:
            shutil.copytree(self._folder, folder, ignore=shutil.ignore_patterns(*WATCHED_NAMES, "*-shm", "*-lock"))
        else:
            _write_all(others, folder)
        return folder

    def _replace(self, folder: Path, card: Card) -> None:
        if self._card is not None:
            self._cards.take_out(self._card)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder, self._card = folder, self._cards.insert(card)
        self.stopped_since_ms = None

    # --- Sales ---

    async def sell(self, amount_minor: int, text: str) -> Sale | None:
        """Begin a sale and hold the code up; the display will say what became of it. None where it was busy or off."""
        sale = await self.begin_sale(amount_minor)
        if sale is not None:
            self.hold_up(sale, text)
        return sale

    async def begin_sale(self, amount_minor: int) -> Sale | None:
        """Begin a sale; None where the box was busy or off."""
        if self.life is None:
            return None
        try:
            return await _alive(self.life, self.life.terminal.start_sale(Money(amount_minor, CURRENCY)))
        except BusyError:
            return None

    async def show_request(self, sale: Sale) -> str | None:
        """Have the display show the sale's request; None where it does not."""
        if self.life is None:
            return None
        return await _alive(self.life, self.life.terminal.show_request(sale.payment_id))

    def hold_up(self, sale: Sale, text: str) -> None:
        """Hold up a code for this sale, if the display still waits for one."""
        if self.life is not None and self._is_at(sale, Scanning):
            self.life.camera.hold_up(text)

    async def cancel(self, sale: Sale) -> bool:
        """Take the sale back, as long as it waits for somebody; tells whether it did."""
        if self.life is None or not self._is_at(sale, Scanning | AskingCloud | CustomerAsked):
            return False
        await _alive(self.life, self.life.terminal.cancel_sale(sale.payment_id))
        return True

    def _is_at(self, sale: Sale, kinds: "type[Scanning] | UnionType") -> bool:
        state = self.life.terminal.state if self.life is not None else None
        return isinstance(state, kinds) and getattr(state, "sale", None) is sale


async def _alive(life: Life, doing: Coroutine[None, None, T]) -> T | None:
    """Wait for something that the box does, as long as it lives."""
    working, ending = asyncio.create_task(doing), asyncio.create_task(life.ended.wait())
    await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return None


class _Publisher:
    def __init__(self, broker: Broker, line: Line, box: SimulatedBox) -> None:
        self._broker = broker
        self._line = line
        self._box = box
        self._playing: set[asyncio.Task[None]] = set()

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        await self._broker.publish_up(self._line, topic, payload)
        if self._box.old_answer is not None:
            playing = asyncio.create_task(self._play(*self._box.old_answer))
            self._playing.add(playing)
            playing.add_done_callback(self._playing.discard)

    async def _play(self, topic: str, payload: bytes) -> None:
        """Give the box an old answer before the cloud can give the right one."""
        if self._line.is_connected:
            await self._line.take(topic, payload)


def _write_all(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)
        path.chmod(0o600)


async def _nobody_takes(_topic: str, _payload: bytes) -> None:
    """Before the loops stand."""


async def _nothing() -> None:
    """Before the loops stand."""
