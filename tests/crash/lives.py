"""Lives of one terminal, each ended by SIGKILL at a drawn moment, and what its outbox must hold after each.

The processes are forked from one that has everything imported and holds no outbox, so that a life begins in
milliseconds and the process that dies is the one that sells.
"""

import hashlib
import random
import time
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

from edge.outbox import Outbox, StoredRecord
from edge.trust import Identity, Trust, load_root
from sync.ids import PaymentId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.payment_code import decode_payment_code
from sync.record import RECORD, Record
from sync.refusals import Refusal
from tests.crash.terminal import READY, REFUSED, Life, sell_until_killed

START_PATIENCE_S = 30.0
OPENING_S_MAX = 0.06
SELLING_S_MAX = 0.16
KILLED_WHILE_OPENING = 0.15
"""The share of lives that end within the first moments, most of them before the outbox is open."""
ALL = 2**31

_processes = get_context("forkserver")


def warm_up() -> None:
    """Let the process that lives are forked from import what they need; works once, before the first life."""
    _processes.set_forkserver_preload(["tests.crash.terminal"])


@dataclass(slots=True)
class End:
    """How a life ended: the payments it told of, and the refusal of a sale that should have been approved."""

    reported: list[bytes]
    refused: str = ""


def live_and_be_killed(life: Life, chance: random.Random) -> End:
    """Run one life and end it at a drawn moment."""
    reports, theirs = _processes.Pipe(duplex=False)
    process = _processes.Process(target=sell_until_killed, args=(life, theirs))
    process.start()
    theirs.close()
    if chance.random() < KILLED_WHILE_OPENING:
        delay_s = chance.uniform(0, OPENING_S_MAX)
    else:
        if not reports.poll(START_PATIENCE_S):
            raise TimeoutError("the terminal did not open its outbox")
        delay_s = chance.uniform(0, SELLING_S_MAX)
    # The moment of the kill is what is drawn here; nothing is waited for.
    time.sleep(delay_s)
    process.kill()
    process.join()
    process.close()
    return _heard(reports)


def _heard(reports: Connection) -> End:
    end = End([])
    with reports:
        while True:
            try:
                word = reports.recv_bytes()
            except EOFError:
                return end
            if word.startswith(REFUSED):
                end.refused = word.removeprefix(REFUSED).decode()
            elif word != READY:
                end.reported.append(word)


@dataclass(slots=True)
class Witness:
    """Remembers everything one terminal ever told and stored, and compares its outbox with that after each life."""

    life: Life
    identity: Identity
    key: PublicKey
    hashes: list[bytes] = field(default_factory=list)
    records: list[Message[Record]] = field(default_factory=list)
    stored: dict[PaymentId, int] = field(default_factory=dict)
    reported_count: int = 0
    faults: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, life: Life) -> "Witness":
        trust = Trust.load(life.settings.trust_folder, load_root(life.settings.root_key_file))
        key = parse_public_key(trust.identity.terminal.public_key)
        if isinstance(key, Refusal):
            raise ValueError(f"the terminal's own key cannot be read: {key}")
        return cls(life, trust.identity, key)

    async def open(self) -> Outbox:
        """Open the outbox as the terminal does at its next start."""
        return await Outbox.open(
            self.life.settings.outbox_file,
            terminal_id=self.identity.terminal.terminal_id,
            epoch=self.identity.answer.epoch,
        )

    async def look(self, end: End) -> None:
        """Open the outbox after a life and note every fault."""
        if end.refused:
            self._fault(f"a sale was refused: {end.refused}")
        async with await self.open() as outbox:
            fresh = await self._take_chain(outbox)
            await self._check_counters(outbox, fresh)
        self._check_reports(end, fresh)

    def next_life(self) -> Life:
        self.life = replace(self.life, number=self.life.number + 1)
        return self.life

    async def _take_chain(self, outbox: Outbox) -> list[Message[Record]]:
        """Verify what is new, from the last record known on, and that the last known one is still that."""
        known = len(self.records)
        stored = await outbox.records_from(max(1, known), limit_count=ALL, limit_bytes=ALL)
        if known and (not stored or stored.pop(0).record_hash != self.hashes[-1]):
            self._fault(f"record {known} is not what it was")
            return []
        fresh = []
        for each in stored:
            message = self._verified(each, number=len(self.records) + 1)
            if message is None:
                break
            self.records.append(message)
            self.hashes.append(message.hash)
            fresh.append(message)
        return fresh

    def _verified(self, stored: StoredRecord, *, number: int) -> Message[Record] | None:
        message = RECORD.open(stored.signed_record, lambda _record: self.key)
        if isinstance(message, Refusal):
            self._fault(f"record {number} does not verify: {message}")
            return None
        content = message.content
        previous = self.hashes[-1] if self.hashes else self.identity.answer.previous_hash
        if (stored.number, content.number, content.previous_hash) != (number, number, previous):
            self._fault(f"record {content.number} does not continue the chain at {number - 1}")
            return None
        if stored.record_hash != hashlib.sha256(message.signed.payload).digest():
            self._fault(f"record {number} is stored under another hash")
        if content.payment_id in self.stored:
            self._fault(f"payment {content.payment_id.hex()} has two records")
        self.stored[content.payment_id] = number
        return message

    async def _check_counters(self, outbox: Outbox, fresh: list[Message[Record]]) -> None:
        state = await outbox.state()
        waiting = [message.content for message in self.records[state.acknowledged_number :]]
        expected = (len(self.records), len(waiting), sum(record.amount_minor for record in waiting))
        found = (state.head_number, state.unacknowledged_count, state.unacknowledged_amount_minor)
        if found != expected or (self.hashes and state.head_hash != self.hashes[-1]):
            self._fault(f"the state counts {found}, the records come to {expected}")
        sums: dict[bytes, int] = {}
        for record in waiting:
            code = decode_payment_code(record.code)
            if not isinstance(code, Refusal):
                sums[code.serial] = sums.get(code.serial, 0) + record.amount_minor
        for message in fresh:
            code = decode_payment_code(message.content.code)
            if isinstance(code, Refusal) or not await outbox.is_spent(code.serial, code.counter):
                self._fault(f"the code of record {message.content.number} is not spent")
            elif (await outbox.payer_sums(code.serial)).total_minor != sums[code.serial]:
                self._fault(f"the payer's sum after record {message.content.number} is wrong")

    def _check_reports(self, end: End, fresh: list[Message[Record]]) -> None:
        """Every payment told of has its record; one more may have been stored that nobody could be told of."""
        self.reported_count += len(end.reported)
        for payment_id in end.reported:
            if payment_id not in self.stored:
                self._fault(f"LOST: payment {payment_id.hex()} was reported and has no record")
        unreported = {message.content.payment_id for message in fresh} - set(end.reported)
        if len(unreported) > 1:
            self._fault(f"{len(unreported)} records were stored in one life and not reported")

    def _fault(self, words: str) -> None:
        self.faults.append(f"life {self.life.number}: {words}")
