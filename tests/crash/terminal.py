"""The terminal that gets killed: production's own chain, approving as fast as it can, in a process of its own.

It tells of each approval through a pipe, after ``authorise`` has returned, as a display would show it. What it sells
under, and what codes it is shown, it is told beforehand, so that it may be killed at any moment.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from edge.box_clock import Hands
from edge.main import make_authoriser, open_box
from edge.settings import TerminalSettings
from edge.states import Sale
from sync.grant import GRANT, Grant
from sync.ids import make_payment_id
from sync.keys import Ed25519SigningKey
from sync.message import Message
from sync.money import Money
from sync.payment_code import make_payment_code
from sync.refusals import Refusal

READY = b"ready"
REFUSED = b"refused "
BOOT_ID = "one boot for all lives"
FIRST_COUNTER = 10_000
"""Above the seconds since the grants' issue, however long the test takes."""
COUNTERS_OF_ONE_LIFE = 10_000


@dataclass(frozen=True, slots=True)
class PhoneInHand:
    """A phone as the terminal's process needs it: its encoded grant and its private key."""

    grant: bytes
    private_key: bytes

    def unpacked(self) -> tuple[Message[Grant], Ed25519SigningKey]:
        grant = GRANT.read(self.grant)
        if isinstance(grant, Refusal):
            raise ValueError(f"a phone holds a grant that cannot be read: {grant}")
        return grant, Ed25519SigningKey.from_private_bytes(self.private_key)


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the terminal: the ``number``-th, in a world whose clock read ``epoch_ms`` at ``origin_s``.

    ``origin_s`` is a reading of the monotonic clock, which all processes share. ``reports_early`` makes the terminal
    tell of each sale before it is decided, which these tests must notice.
    """

    number: int
    settings: TerminalSettings
    phones: tuple[PhoneInHand, ...]
    epoch_ms: int
    origin_s: float
    reports_early: bool = False

    def now_ms(self) -> int:
        return self.epoch_ms + self.since_origin_ms()

    def since_origin_ms(self) -> int:
        return int((time.monotonic() - self.origin_s) * 1000)

    def hands(self) -> Hands:
        """Return the board's clocks."""
        return Hands(self.now_ms, self.since_origin_ms, BOOT_ID, has_rtc=True)


def sell_until_killed(life: Life, reports: Connection) -> None:
    """Run one life; it ends only by SIGKILL, or by a sale that was refused, which it reports."""
    asyncio.run(_sell(life, reports))


async def _sell(life: Life, reports: Connection) -> None:
    async with open_box(life.settings, life.hands()) as box:
        authoriser = make_authoriser(box, is_link_up=lambda: False)
        reports.send_bytes(READY)
        for sale, text in _sales(life, currency=box.trust.policy.currency):
            if life.reports_early:
                reports.send_bytes(sale.payment_id)
            products = await authoriser.authorise(sale, text)
            if not products.is_approved:
                reports.send_bytes(REFUSED + str(products.refusal).encode())
                return
            if not life.reports_early:
                reports.send_bytes(sale.payment_id)


def _sales(life: Life, *, currency: str) -> Iterator[tuple[Sale, str]]:
    """Yield sales of 1 to 9 cents with fresh codes of all phones in turn, none of them ever shown before."""
    phones = [
        (GRANT.read(phone.grant), Ed25519SigningKey.from_private_bytes(phone.private_key)) for phone in life.phones
    ]
    for count in range(COUNTERS_OF_ONE_LIFE):
        grant, key = phones[count % len(phones)]
        if isinstance(grant, Refusal):
            raise ValueError(f"a phone holds a grant that cannot be read: {grant}")
        code = make_payment_code(
            grant,
            key,
            time_s=life.now_ms() // 1000,
            counter=FIRST_COUNTER + life.number * COUNTERS_OF_ONE_LIFE + count,
            challenge=count.to_bytes(8, "big"),
        )
        payment_id = make_payment_id(now_ms=life.now_ms(), random_bytes=secrets.token_bytes)
        yield Sale(payment_id, Money(1 + count % 9, currency)), code.to_text()
