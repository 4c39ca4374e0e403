"""The uplink: carries out what the sync engine asks for, and tells it what happened, one event after another.

The engine (``sync/uploader.py``) decides; here are only the outbox, the link, the signer and the clock it works with.
"""

import asyncio
import logging
from collections.abc import Callable

from edge.authorise import Authoriser
from edge.box_clock import BoxClock
from edge.errors import OutboxCorruptError, OutboxLockedError, OutboxNotWritableError
from edge.outbox import Outbox
from edge.outbox_types import AcknowledgeOutcome, StoredRecord
from edge.publisher import Publisher, SendFailed
from edge.trust import Trust
from sync.acknowledgement import HELLO, NONCE_SIZE, Acknowledgement, Hello
from sync.batch import encode_batch
from sync.ids import RandomBytes, TerminalId
from sync.keys import SigningKey
from sync.record import RECORD, ClockConfidence, RecordKind
from sync.refusals import Refusal
from sync.topics import HELLO as HELLO_TOPIC
from sync.topics import RECORDS as RECORDS_TOPIC
from sync.topics import Topic, topic
from sync.upload import (
    AcknowledgementReceived,
    AppendLost,
    Effect,
    Event,
    LinkDown,
    LinkUp,
    LoadRecords,
    LostAppended,
    MarkAcknowledged,
    OutboxRecord,
    Quarantine,
    QuarantineReason,
    RecordsAppended,
    RecordsLoaded,
    ReportContact,
    ReportIgnored,
    SendBatch,
    SendHello,
    SendNow,
    Tick,
    UploaderSettings,
    WakeAt,
)
from sync.upload_state import OwnChain, State
from sync.uploader import Chance, start, step

_log = logging.getLogger(__name__)

EVENTS_MAX = 256
LOST_LOOKED_THROUGH = 500
"""A gap is met again soon or never: only the newest records are looked through for the one that names it."""
JITTER_SIZE = 6
"""Bytes of chance behind one jitter: 48 bits fit a float exactly, so that it stays below 1."""
CARD_FAILURES = (OutboxNotWritableError, OutboxLockedError)
"""A card that takes no writes now stops no sending, or a full box could never get rid of its sales."""


class Uplink:
    """Sends one box's chain; ``run`` never ends by itself. ``on_change`` is called when the queue has moved."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        trust: Trust,
        clock: BoxClock,
        authoriser: Authoriser,
        signing_key: SigningKey,
        publisher: Publisher,
        random_bytes: RandomBytes,
        on_change: Callable[[], None],
        settings: UploaderSettings | None = None,
    ) -> None:
        self._outbox = outbox
        self._trust = trust
        self._clock = clock
        self._authoriser = authoriser
        self._signing_key = signing_key
        self._publisher = publisher
        self._random_bytes = random_bytes
        self._on_change = on_change
        self._settings = settings or UploaderSettings()
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._state: State | None = None
        self._wake_at_ms: int | None = None
        self._unmarked: tuple[int, bytes] | None = None
        self.is_up = False
        self.ignored_count = 0

    @property
    def terminal_id(self) -> TerminalId:
        return self._trust.identity.terminal.terminal_id

    async def run(self) -> None:
        """Handle events for ever."""
        self._state = start(await self._own_chain(), self._settings)
        while True:
            event = await self._next_event()
            await self._handle(event)

    async def link_came_up(self) -> None:
        """The link stands and is subscribed."""
        self.is_up = True
        await self._events.put(LinkUp())
        self._on_change()

    async def link_went_down(self) -> None:
        """The link is gone."""
        self.is_up = False
        await self._events.put(LinkDown())
        self._on_change()

    def records_appended(self) -> None:
        """The outbox has grown; the head is read when its turn comes."""
        self._put_or_drop(Tick())

    def send_now(self) -> None:
        """Do not wait for the back-off."""
        self._put_or_drop(SendNow())

    async def take_acknowledgement(self, payload: bytes) -> None:
        """Verify what came on the acknowledgement topic; what does not verify is counted and dropped."""
        acknowledgement = self._trust.open_acknowledgement(payload)
        if isinstance(acknowledgement, Refusal):
            self.ignored_count += 1
            _log.warning("acknowledgement_refused refusal=%s", acknowledgement)
            return
        own_hash = await self._own_hash(acknowledgement)
        await self._events.put(AcknowledgementReceived(acknowledgement, own_hash))

    def _put_or_drop(self, event: Event) -> None:
        # A full queue has an event in it that does as well.
        if not self._events.full():
            self._events.put_nowait(event)

    async def _own_chain(self) -> OwnChain:
        chain = await self._outbox.state()
        reasons = {reason.value: reason for reason in QuarantineReason}
        return OwnChain(
            terminal_id=chain.terminal_id,
            epoch=chain.epoch,
            head_number=chain.head_number,
            head_hash=chain.head_hash,
            acknowledged_number=chain.acknowledged_number,
            acknowledged_hash=chain.acknowledged_hash,
            quarantine=reasons.get(chain.quarantine_reason or ""),
        )

    async def _own_hash(self, acknowledgement: Acknowledgement) -> bytes | None:
        number = acknowledgement.number
        chain = await self._outbox.state()
        known = {chain.acknowledged_number: chain.acknowledged_hash, chain.head_number: chain.head_hash}
        if number in known:
            return known[number]
        own = await self._sound_record(number)
        if own is not None:
            return own.record_hash
        behind = await self._sound_record(number + 1)
        if behind is None:
            return self._trust.identity.answer.previous_hash if number == 0 else None
        message = RECORD.read(behind.signed_record)
        return None if isinstance(message, Refusal) else message.content.previous_hash

    async def _next_event(self) -> Event:
        if self._wake_at_ms is None:
            return await self._events.get()
        wait_s = max(0, self._wake_at_ms - self._clock.monotonic_ms()) / 1000
        try:
            # Not wait_for: until Python 3.12 it loses a cancellation that meets an event, and the box would not stop.
            async with asyncio.timeout(wait_s):
                return await self._events.get()
        except TimeoutError:
            self._wake_at_ms = None
            return Tick()

    async def _handle(self, event: Event) -> None:
        """Take one event, and before and behind it whatever the outbox has grown by; carrying out may append, too."""
        await self._note_growth()
        await self._step(event)
        await self._note_growth()

    async def _note_growth(self) -> None:
        chain = await self._outbox.state()
        if self._state is not None and chain.head_number > self._state.chain.head_number:
            await self._step(RecordsAppended(chain.head_number, chain.head_hash))

    async def _step(self, event: Event) -> None:
        """Run the engine on one event and on every answer that its effects bring."""
        pending: list[Event] = [event]
        while pending and self._state is not None:
            self._state, effects = step(
                self._state,
                pending.pop(0),
                now_ms=self._clock.monotonic_ms(),
                chance=self._draw_chance(),
                settings=self._settings,
            )
            for effect in effects:
                pending.extend(await self._carry_out(effect))

    def _draw_chance(self) -> Chance:
        jitter = int.from_bytes(self._random_bytes(JITTER_SIZE), "big") / 256**JITTER_SIZE
        return Chance(self._random_bytes(NONCE_SIZE), jitter)

    async def _carry_out(self, effect: Effect) -> list[Event]:
        match effect:
            case SendHello():
                await self._send(HELLO_TOPIC, self._sign_hello(effect))
            case SendBatch(nonce, records):
                batch = encode_batch(nonce=nonce, records=[record.encoded for record in records])
                await self._send(RECORDS_TOPIC, batch)
            case LoadRecords():
                return [await self._load(effect)]
            case MarkAcknowledged(number, head_hash, _):
                await self._mark(number=number, head_hash=head_hash)
            case AppendLost(first, last):
                return await self._append_lost(first, last)
            case Quarantine(reason):
                _log.error("quarantined reason=%s", reason.value)
                await self._outbox.set_quarantine(reason.value)
                self._on_change()
            case ReportContact(cloud_time_ms, sent_at_ms):
                await self._note_contact(cloud_time_ms, round_trip_ms=self._clock.monotonic_ms() - sent_at_ms)
            case ReportIgnored(reason):
                self.ignored_count += 1
                _log.info("sync_event_ignored reason=%s", reason.value)
            case WakeAt(monotonic_ms):
                self._wake_at_ms = monotonic_ms
        return []

    def _sign_hello(self, effect: SendHello) -> bytes:
        hello = Hello(
            key_id=self._signing_key.public_key.key_id,
            terminal_id=self.terminal_id,
            epoch=self._trust.identity.answer.epoch,
            nonce=effect.nonce,
            head_number=effect.head_number,
            head_hash=effect.head_hash,
            acknowledged_number=effect.acknowledged_number,
            acknowledged_hash=effect.acknowledged_hash,
            chain_state=effect.chain_state,
            sent_at_ms=self._clock.now_ms(),
        )
        return HELLO.sign(self._signing_key, hello).encode()

    async def _send(self, row: Topic, payload: bytes) -> None:
        try:
            await self._publisher.publish(topic(row, self.terminal_id), payload, qos=row.qos, retain=row.retained)
        except SendFailed as error:
            # The engine misses the answer and asks again after its back-off.
            _log.info("send_failed topic=%s reason=%s", row.name, error)

    async def _load(self, effect: LoadRecords) -> RecordsLoaded:
        """Load what the outbox can supply; from a damaged record on nothing is supplied in this batch."""
        try:
            stored = await self._outbox.records_from(
                effect.from_number, limit_count=effect.count_max, limit_bytes=effect.size_max
            )
        except OutboxCorruptError:
            stored = await self._sound_records(effect)
        records = tuple(OutboxRecord(each.number, each.record_hash, each.signed_record) for each in stored)
        return RecordsLoaded(effect.from_number, records)

    async def _sound_records(self, effect: LoadRecords) -> list[StoredRecord]:
        """Go past damaged records one by one: the engine names the numbers that are skipped as lost."""
        chain = await self._outbox.state()
        sound: list[StoredRecord] = []
        for number in range(effect.from_number, chain.head_number + 1):
            if (record := await self._sound_record(number)) is not None:
                sound.append(record)
            if len(sound) >= effect.count_max:
                break
        return sound

    async def _sound_record(self, number: int) -> StoredRecord | None:
        """Give a record unless it is damaged or gone."""
        try:
            return await self._outbox.record(number)
        except OutboxCorruptError:
            _log.error("record_damaged number=%d", number)
            return None

    async def _append_lost(self, first: int, last: int) -> list[Event]:
        """Append a ``lost`` record for exactly these numbers, or answer with the one that names them already.

        A card that takes no writes gives no answer: the engine goes on without one after a while.
        """
        for row in await self._outbox.history(limit=LOST_LOOKED_THROUGH):
            stored = await self._sound_record(row.number) if row.kind == RecordKind.LOST else None
            message = None if stored is None else RECORD.read(stored.signed_record)
            if message is None or isinstance(message, Refusal):
                continue
            if message.content.detail[:2] == (first, last):
                return [LostAppended(first, last, message.content.number, message.hash)]
        try:
            record = await self._authoriser.append_notice(
                RecordKind.LOST, detail=(first, last), reading=self._clock.read()
            )
        except CARD_FAILURES as error:
            _log.error("lost_not_appended code=%s", error.code)
            return []
        return [LostAppended(first, last, record.content.number, record.hash)]

    async def _mark(self, *, number: int, head_hash: bytes) -> None:
        """Note on the card what the cloud holds, and the box's time as it is now.

        What the card does not take now it is given again at the next contact.
        """
        reading = self._clock.read()
        is_sure = reading.confidence is not ClockConfidence.FLOOR
        try:
            outcome = await self._outbox.acknowledge(
                number=number,
                head_hash=head_hash,
                contact_ms=reading.now_ms,
                boot_id=self._clock.boot_id if is_sure else None,
                monotonic_ms=self._clock.boot_clock_ms() if is_sure else None,
            )
        except CARD_FAILURES as error:
            _log.error("acknowledgement_not_stored code=%s number=%d", error.code, number)
            self._unmarked = (number, head_hash)
            return
        self._unmarked = None
        if outcome not in (AcknowledgeOutcome.ADVANCED, AcknowledgeOutcome.UNCHANGED):
            _log.warning("acknowledgement_not_stored outcome=%s number=%d", outcome.value, number)
        self._on_change()

    async def _note_contact(self, cloud_time_ms: int, *, round_trip_ms: int) -> None:
        try:
            await self._authoriser.set_clock(cloud_time_ms, round_trip_ms=round_trip_ms)
        except CARD_FAILURES as error:
            # The step could not be recorded, so it was not taken; the next contact tries again.
            _log.error("clock_not_set code=%s", error.code)
        chain = await self._outbox.state()
        number, head_hash = self._unmarked or (chain.acknowledged_number, chain.acknowledged_hash)
        await self._mark(number=number, head_hash=head_hash)
