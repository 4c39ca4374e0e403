"""A box around the uploader for its tests: an outbox that answers at once, and a clock that is set by hand."""

from itertools import count
from typing import TypeVar

from sync.acknowledgement import Acknowledgement, AckStatus
from sync.backoff import Backoff
from sync.ids import KeyId, TerminalId
from sync.upload import (
    AcknowledgementReceived,
    Effect,
    Event,
    LinkUp,
    LoadRecords,
    OutboxRecord,
    RecordsAppended,
    RecordsLoaded,
    SendBatch,
    SendHello,
    Tick,
    UploaderSettings,
    WakeAt,
)
from sync.upload_state import OwnChain, State
from sync.uploader import Chance, start, step

TERMINAL = TerminalId(bytes(8))
SETTINGS = UploaderSettings(window_batches_max=2, batch_records_max=10, refusals_max=3, backoff=Backoff(1_000, 8_000))
HELLO_MS, ANSWER_MS, CONTACT_MS = SETTINGS.hello_timeout_ms, SETTINGS.answer_timeout_ms, SETTINGS.contact_every_ms

E = TypeVar("E")


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Box:
    """Drives ``step``; the outbox holds every number to ``head`` but those in ``missing``. Jitter is one half."""

    def __init__(self, *, head: int = 0, acknowledged: int = 0, settings: UploaderSettings = SETTINGS) -> None:
        chain = OwnChain(TERMINAL, 1, head, hash_of(head), acknowledged, hash_of(acknowledged))
        self.settings = settings
        self.state: State = start(chain, settings)
        self.head = head
        self.missing: set[int] = set()
        self.now_ms = 50_000
        self.effects: list[Effect] = []
        self._nonces = count(1)

    def tell(self, event: Event) -> "Box":
        """Take one event; what the outbox is asked for is answered at once."""
        self.effects = []
        self._tell(event)
        return self

    def _tell(self, event: Event) -> None:
        chance = Chance(next(self._nonces).to_bytes(16, "big"), 0.5)
        self.state, effects = step(self.state, event, now_ms=self.now_ms, chance=chance, settings=self.settings)
        self.effects.extend(effects)
        for effect in effects:
            if isinstance(effect, LoadRecords):
                self._tell(self._load(effect))

    def _load(self, effect: LoadRecords) -> RecordsLoaded:
        numbers = [n for n in range(effect.from_number, self.head + 1) if n not in self.missing][: effect.count_max]
        return RecordsLoaded(effect.from_number, tuple(OutboxRecord(n, hash_of(n), b"record") for n in numbers))

    def append(self, number: int = 1) -> "Box":
        self.head += number
        return self.tell(RecordsAppended(self.head, hash_of(self.head)))

    def wait(self, duration_ms: int) -> "Box":
        self.now_ms += duration_ms
        return self.tell(Tick())

    def hear(
        self,
        nonce: bytes,
        number: int,
        *,
        status: AckStatus = AckStatus.OK,
        head_hash: bytes | None = None,
        is_known: bool = True,
        terminal_id: TerminalId = TERMINAL,
        epoch: int = 1,
    ) -> "Box":
        """Receive an acknowledgement; ``is_known`` says whether the box can still look up its own record."""
        named = hash_of(number) if head_hash is None else head_hash
        ack = Acknowledgement(KeyId(bytes(4)), terminal_id, epoch, number, named, nonce, status, self.now_ms + 7)
        own = hash_of(number) if is_known and number <= self.head else None
        return self.tell(AcknowledgementReceived(ack, own))

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def one(self, kind: type[E]) -> E:
        (effect,) = self.all(kind)
        return effect

    def batches(self) -> list[tuple[int, int]]:
        return [(batch.records[0].number, batch.records[-1].number) for batch in self.all(SendBatch)]

    def nonces(self) -> list[bytes]:
        return [batch.nonce for batch in self.all(SendBatch)]

    @property
    def chain(self) -> OwnChain:
        return self.state.chain

    def wait_until_woken(self) -> "Box":
        """Let the time come that was asked for."""
        self.now_ms = self.one(WakeAt).monotonic_ms
        return self.tell(Tick())

    def greet(self) -> bytes:
        return self.tell(LinkUp()).one(SendHello).nonce

    def begin(self, *, held: int = 0) -> list[bytes]:
        """Connect, let the cloud say that it holds our records to ``held``, and return the nonces of the batches."""
        return self.hear(self.greet(), held).nonces()
