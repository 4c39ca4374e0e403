"""A box's process as it starts after a power cut: what was open is taken back before anything else is sold."""

import asyncio
from pathlib import Path

from sync.ids import PaymentId
from sync.message import Message
from sync.record import RECORD, Record, RecordKind
from tests.benchmarks.terminal_process import make_box, running_terminal
from tests.fakes.edge_world import EdgeWorld


async def leave_a_sale_open(world: EdgeWorld) -> PaymentId:
    """Show a request, and end as a power cut does: without a word about it."""
    async with world.running() as box:
        shown = await box.authoriser.open_sales.show_request(box.sale(80_00))
        assert shown is not None
        return shown.request.content.payment_id


async def records_and_open_count(world: EdgeWorld) -> tuple[list[Record], int]:
    async with world.running() as box:
        stored = await box.outbox.records_from(1, limit_count=10, limit_bytes=2**20)
        messages = [RECORD.read(each.signed_record) for each in stored]
        records = [message.content for message in messages if isinstance(message, Message)]
        return records, len(await box.outbox.open_sales())


def test_what_was_open_is_voided_before_the_box_answers(tmp_path: Path) -> None:
    data_folder = make_box(tmp_path)
    world = EdgeWorld(tmp_path)
    payment_id = asyncio.run(leave_a_sale_open(world))
    with running_terminal(data_folder) as terminal:
        assert terminal.state() == "idle"
    records, open_count = asyncio.run(records_and_open_count(world))
    assert [(record.kind, record.payment_id) for record in records] == [(RecordKind.VOID, payment_id)]
    assert open_count == 0
