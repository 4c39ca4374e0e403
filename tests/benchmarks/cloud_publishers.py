"""The boxes of a drain, in a process of their own: each its own TLS connection under its own certificate.

``python -m tests.benchmarks.cloud_publishers PORT CA_FILE FOLDER RECORDS`` connects all boxes of the backlog, prints
``ready``, waits for a line, sends, and prints one JSON object when the cloud has acknowledged everything. A box keeps
a window of batches in flight as the uploader does, and sends again what is not answered. It does not check the
acknowledgements' signatures, which costs a box next to nothing and 250 boxes on one machine a good deal.
"""

import asyncio
import json
import secrets
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from demo.processes import LOOPBACK
from sync.acknowledgement import ACKNOWLEDGEMENT, NONCE_SIZE
from sync.batch import encode_batch
from sync.link import Link, LinkSettings, Received, Up
from sync.refusals import Refusal
from sync.topics import ACKNOWLEDGEMENT as ACKNOWLEDGEMENT_TOPIC
from sync.topics import POLICY, RECORDS, TRUST, terminal_name, topic
from sync.upload import UploaderSettings
from tests.benchmarks.cloud_backlog import BacklogBox, get_backlog

WINDOW = UploaderSettings().window_batches_max
ANSWER_TIMEOUT_S = 60.0
"""Longer than a box waits: here all of them begin at one moment, and the drain itself is what is measured."""
CONNECTING_MAX = 20


@dataclass(slots=True)
class Drain:
    """What all boxes saw: ``acknowledged`` are (seconds since the first publish, records acknowledged by then)."""

    began_s: float = 0.0
    total: int = 0
    resent: int = 0
    acknowledged: list[tuple[float, int]] = field(default_factory=list)

    def note(self, records: int) -> None:
        self.total += records
        self.acknowledged.append((time.monotonic() - self.began_s, self.total))


class PublishingBox:
    """One box with its batches."""

    def __init__(self, box: BacklogBox, link: Link, drain: Drain, *, records: int) -> None:
        self._box, self._link, self._drain = box, link, drain
        cuts = box.cut(records)
        self._batches = [encode_batch(nonce=secrets.token_bytes(NONCE_SIZE), records=cut) for cut in cuts]
        # Chains begin with number 1, so that the records counted so far are the number of the last one.
        self._ends = list(accumulate(map(len, cuts)))
        self._number = 0
        self._moved = asyncio.Event()
        self.is_up = asyncio.Event()

    async def listen(self) -> None:
        """Take what the broker brings, until cancelled."""
        async for event in self._link.events():
            match event:
                case Up():
                    self.is_up.set()
                case Received():
                    event.acknowledge()
                    self._take(event)
                case _:
                    pass

    async def send_all(self) -> None:
        """Send every batch, and again what is not answered, until the cloud has acknowledged the last record."""
        sent = 0
        while self._number < self._ends[-1]:
            self._moved.clear()
            done = sum(end <= self._number for end in self._ends)
            sent = max(sent, done)
            while sent < min(done + WINDOW, len(self._batches)):
                await self._link.publish(topic(RECORDS, self._box.terminal_id), self._batches[sent])
                sent += 1
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await self._moved.wait()
            except TimeoutError:
                self._drain.resent += sent - done
                sent = done

    def _take(self, event: Received) -> None:
        if event.topic != topic(ACKNOWLEDGEMENT_TOPIC, self._box.terminal_id):
            return
        message = ACKNOWLEDGEMENT.read(event.payload)
        if isinstance(message, Refusal):
            raise RuntimeError(f"the cloud's answer could not be read: {message}")
        if message.content.number > self._number:
            self._drain.note(message.content.number - self._number)
            self._number = message.content.number
        self._moved.set()


async def drain_all(boxes: Sequence[BacklogBox], *, port: int, ca_file: Path, folder: Path, records: int) -> Drain:
    """Connect, wait for the word, send; answers what was seen."""
    drain, slots = Drain(), asyncio.Semaphore(CONNECTING_MAX)
    links = [Link(_settings(box, port=port, ca_file=ca_file, folder=folder)) for box in boxes]
    publishing = [PublishingBox(box, link, drain, records=records) for box, link in zip(boxes, links, strict=True)]
    listening: list[asyncio.Task[None]] = []

    async def connect(link: Link, box: PublishingBox) -> None:
        async with slots:
            await link.__aenter__()
            listening.append(asyncio.create_task(box.listen()))
            await box.is_up.wait()

    try:
        async with asyncio.TaskGroup() as tasks:
            for link, box in zip(links, publishing, strict=True):
                tasks.create_task(connect(link, box))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        drain.began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for box in publishing:
                tasks.create_task(box.send_all())
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*(link.__aexit__(None, None, None) for link in links))
    return drain


def _settings(box: BacklogBox, *, port: int, ca_file: Path, folder: Path) -> LinkSettings:
    name = terminal_name(box.terminal_id)
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_file.write_text(ssl.DER_cert_to_PEM_cert(box.link_certificate))
    key_file.write_bytes(box.link_key)
    return LinkSettings(
        host=LOOPBACK,
        port=port,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
        client_id=name,
        subscriptions=[(topic(row, box.terminal_id), row.qos) for row in (ACKNOWLEDGEMENT_TOPIC, TRUST, POLICY)],
        keepalive_s=60,
    )


def main(port: str, ca_file: str, folder: str, records: str) -> None:
    """Drain and print what was seen."""
    drain = asyncio.run(
        drain_all(get_backlog().boxes, port=int(port), ca_file=Path(ca_file), folder=Path(folder), records=int(records))
    )
    print(json.dumps({"acknowledged": drain.acknowledged, "resent": drain.resent}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
