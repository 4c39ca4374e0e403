"""A short day of the real outbox on a simulated card, lived until the card dies."""

from edge.errors import OutboxError
from edge.outbox import AppendOutcome, Outbox, OutboxEntry
from tests.powercut.boxes import open_outbox
from tests.powercut.sales import Sales
from tests.powercut.vfs import watching
from tests.powercut.workload import Acknowledge, Provision, Reopen, Step
from tests.simulation.card import Card
from tests.simulation.card_files import DATABASE

SEED = 20261123


def day() -> list[Step]:
    """Give the day's steps: sales, an acknowledgement, a clean stop and start in between, and one at the end."""
    sales = Sales(SEED)
    entries = [sales.next() for _ in range(8)]
    acknowledge = Acknowledge(2, entries[1].record_hash, entries[1].authorised_at_ms)
    return [Provision(), Reopen(), *entries[:5], acknowledge, Reopen(), *entries[5:], Reopen()]


async def live(card: Card) -> tuple[int, int]:
    """Do the day on a provisioned card until it dies; give the steps begun and the steps reported."""
    begun = reported = 1
    outbox: Outbox | None = None
    with watching(card):
        try:
            for step in day()[1:]:
                begun += 1
                outbox = await _do(step, outbox, card)
                reported += 1
        except OutboxError:
            if not card.is_dead:
                raise
        finally:
            if outbox is not None:
                await outbox.close()
    return begun, reported


async def _do(step: Step, outbox: Outbox | None, card: Card) -> Outbox:
    match step, outbox:
        case Reopen(), None:
            return await open_outbox(card.folder / DATABASE)
        case Reopen(), Outbox():
            await outbox.close()
            return await open_outbox(card.folder / DATABASE)
        case OutboxEntry(), Outbox():
            assert await outbox.append(step) is AppendOutcome.APPENDED
            return outbox
        case Acknowledge(number, head_hash, contact_ms), Outbox():
            await outbox.acknowledge(number=number, head_hash=head_hash, contact_ms=contact_ms)
            return outbox
        case _:
            raise RuntimeError(f"{step} is no step of this day")
