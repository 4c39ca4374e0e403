"""What an outbox must hold after the steps of a workload, worked out apart from the outbox's own code."""

from dataclasses import dataclass, field

from edge.outbox import Decline, OpenSale, Outbox, OutboxEntry, OutboxState
from sync.ids import PaymentId, Serial
from sync.record import GENESIS_HASH, RecordKind
from tests.powercut.sales import EPOCH, TERMINAL
from tests.powercut.workload import Acknowledge, Close, Forget, Prune, Quarantine, Step

_PRUNE_STEP = 500
_LIMIT = 10_000


@dataclass(slots=True)
class Holdings:
    """The books of a workload: its entries, how far they were acknowledged and pruned, and the rest."""

    entries: list[OutboxEntry] = field(default_factory=list)
    acknowledged: int = 0
    acknowledged_hash: bytes = GENESIS_HASH
    pruned: int = 0
    contact_ms: int | None = None
    quarantine: str | None = None
    declines: list[Decline] = field(default_factory=list)
    open_sales: dict[PaymentId, OpenSale] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        """Take the next step."""
        match step:
            case OutboxEntry():
                self.entries.append(step)
            case OpenSale():
                self.open_sales[step.payment_id] = step
            case Close(entry):
                del self.open_sales[entry.payment_id]
                self.entries.append(entry)
            case Forget(payment_id):
                del self.open_sales[payment_id]
            case Acknowledge(number, head_hash, contact_ms):
                self.acknowledged, self.acknowledged_hash, self.contact_ms = number, head_hash, contact_ms
            case Quarantine(reason):
                self.quarantine = reason
            case Prune(before_ms, keep_count):
                self._prune(before_ms, keep_count)
            case Decline():
                self.declines.append(step)
            case _:
                pass

    def _prune(self, before_ms: int, keep_count: int) -> None:
        last = min(self.acknowledged, len(self.entries) - max(keep_count, 1), self.pruned + _PRUNE_STEP)
        while self.pruned < last and self.entries[self.pruned].authorised_at_ms < before_ms:
            self.pruned += 1

    def state(self) -> OutboxState:
        """Give the state row as it must read."""
        waiting = self.entries[self.acknowledged :]
        return OutboxState(
            terminal_id=TERMINAL,
            epoch=EPOCH,
            head_number=len(self.entries),
            head_hash=self.entries[-1].record_hash if self.entries else GENESIS_HASH,
            acknowledged_number=self.acknowledged,
            acknowledged_hash=self.acknowledged_hash,
            unacknowledged_amount_minor=sum(entry.amount_minor for entry in waiting),
            unacknowledged_count=len(waiting),
            currency="EUR" if any(entry.kind == RecordKind.SALE for entry in self.entries) else None,
            clock_floor_ms=max((entry.authorised_at_ms for entry in self.entries), default=0),
            floor_clock_sales=0,
            last_contact_ms=self.contact_ms,
            last_contact_boot_id=None,
            last_contact_monotonic_ms=None,
            quarantine_reason=self.quarantine,
        )

    async def find_difference(self, outbox: Outbox) -> str | None:
        """Compare with an open outbox, byte for byte; name the first thing that differs."""
        if (found := await outbox.state()) != (expected := self.state()):
            return f"state is {found}, not {expected}"
        records = await outbox.records_from(1, limit_count=_LIMIT, limit_bytes=2**31)
        if [(record.number, record.record_hash, record.signed_record) for record in records] != [
            (entry.number, entry.record_hash, entry.signed_record) for entry in self.entries[self.pruned :]
        ]:
            return f"records {[record.number for record in records]} are not {self.pruned + 1} … {len(self.entries)}"
        if await outbox.declines(_LIMIT) != self.declines[::-1]:
            return "the declined sales differ"
        if {sale.payment_id: sale for sale in await outbox.open_sales()} != self.open_sales:
            return "the open sales differ"
        return await self._find_difference_of_payers(outbox)

    async def _find_difference_of_payers(self, outbox: Outbox) -> str | None:
        for serial in sorted({entry.serial for entry in self.entries}):
            sums = await outbox.payer_sums(Serial(serial))
            waiting = [entry for entry in self.entries[self.acknowledged :] if entry.serial == serial]
            total_minor = sum(entry.amount_minor for entry in waiting)
            one_way_minor = sum(entry.amount_minor for entry in waiting if entry.is_one_way)
            if (sums.total_minor, sums.one_way_minor) != (total_minor, one_way_minor):
                return f"the sums of payer {serial.hex()} differ"
        for entry in self.entries[-30:]:
            if not await outbox.is_spent(entry.serial, entry.counter):
                return f"the code of record {entry.number} is not spent"
        return None
