"""Open sales at work: shows requests, notes questions, and voids what ended without an approval (protocol §6).

Whatever leaves the box about a sale is on the card before it does. So a sale that ends without its record, even by a
power cut, is known to be one that the cloud may have approved, and gets the void record that takes it back.
"""

import asyncio
import logging
from dataclasses import replace

from edge.box_clock import BoxClock
from edge.outbox import Outbox
from edge.outbox_types import OpenSale, OutboxEntry, OutboxState
from edge.signer import Signer, entry_of
from edge.states import Sale
from edge.steps import SALE_MS_MAX
from edge.surroundings import versions_of
from edge.timekeeping import Reading
from edge.trust import Trust
from sync.ids import PaymentId, RandomBytes, Serial
from sync.payment_code import PaymentCode
from sync.payment_request import ShownRequest
from sync.record import ClockConfidence, RecordKind

_log = logging.getLogger(__name__)

NONCE_SIZE = 8


class OpenSales:
    """The open sales of one box, here as in its outbox. ``turn`` is held while the chain of records is added to."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        trust: Trust,
        signer: Signer,
        clock: BoxClock,
        random_bytes: RandomBytes,
        free_bytes_min: int,
        turn: asyncio.Lock,
    ) -> None:
        self._outbox = outbox
        self._trust = trust
        self._signer = signer
        self._clock = clock
        self._random_bytes = random_bytes
        self._free_bytes_min = free_bytes_min
        self._turn = turn
        self._open: dict[PaymentId, OpenSale] = {}
        self._shown: dict[PaymentId, ShownRequest] = {}

    def is_open(self, payment_id: PaymentId) -> bool:
        """Tell whether somebody outside this box was told of the sale."""
        return payment_id in self._open

    def request_of(self, payment_id: PaymentId) -> ShownRequest | None:
        """Return the request that the sale shows, if it shows one."""
        return self._shown.get(payment_id)

    async def show_request(self, sale: Sale) -> ShownRequest | None:
        """Make the sale's request, or give the one it has; on the card when this returns. None where it has its record.

        Raises ``OutboxError`` where it could not be stored.
        """
        async with self._turn:
            shown = self._shown.get(sale.payment_id)
            if shown is not None:
                return shown
            shown = self._make_request(sale)
            known = self._open.get(sale.payment_id) or self._new(sale)
            if not await self._keep(replace(known, request=shown.encode())):
                return None
            self._shown[sale.payment_id] = shown
            return shown

    async def note_question(self, sale: Sale, code: PaymentCode) -> bool:
        """Note that the cloud is about to be asked about this sale; False where it has its record.

        Raises ``OutboxError`` where it could not be stored; then nothing may be sent.
        """
        async with self._turn:
            known = self._open.get(sale.payment_id) or self._new(sale)
            return await self._keep(replace(known, is_asked=True, serial=code.serial, counter=code.counter))

    def sold(self, payment_id: PaymentId) -> None:
        """Note that the sale has its record; the outbox dropped it in the same transaction."""
        self._open.pop(payment_id, None)
        self._shown.pop(payment_id, None)

    async def close(self, payment_id: PaymentId, *, is_refused: bool = False) -> None:
        """End a sale that was not approved: append its void, unless it was not open.

        ``is_refused``: the cloud has signed its no, so that nothing is to be taken back; but a request that was shown
        may have been carried there besides. Raises ``OutboxError`` where the card did not take it; then the sale stays
        open in the outbox, for ``void_left_over``.
        """
        async with self._turn:
            sale = self._open.get(payment_id)
            if sale is None:
                return
            self.sold(payment_id)
            if is_refused and not sale.request:
                await self._outbox.forget(payment_id)
            else:
                await self._void(sale)

    async def void_left_over(self) -> int:
        """Void every sale that the outbox counts as open and that is not running here; returns how many."""
        async with self._turn:
            left_over = [sale for sale in await self._outbox.open_sales() if sale.payment_id not in self._open]
            for sale in left_over:
                await self._void(sale)
            return len(left_over)

    async def _keep(self, sale: OpenSale) -> bool:
        is_open = await self._outbox.open_sale(sale, min_free_bytes=self._free_bytes_min)
        if is_open:
            self._open[sale.payment_id] = sale
        return is_open

    async def _void(self, sale: OpenSale) -> None:
        reading = self._clock.read()
        await self._outbox.void(sale.payment_id, sign=lambda chain: self._sign_void(sale, chain, reading))
        _log.info("sale_voided payment_id=%s was_asked=%s", sale.payment_id.hex(), sale.is_asked)

    def _sign_void(self, sale: OpenSale, chain: OutboxState, reading: Reading) -> OutboxEntry:
        record = self._signer.sign_notice(
            RecordKind.VOID,
            chain=chain,
            versions=versions_of(self._trust),
            reading=reading,
            payment_id=sale.payment_id,
        )
        # The code of a sale that was taken back is no good for another one here.
        return replace(entry_of(record, None), serial=sale.serial, counter=sale.counter)

    def _make_request(self, sale: Sale) -> ShownRequest:
        certificate, reading = self._trust.identity.certificate, self._clock.read()
        expires_s = (reading.now_ms + SALE_MS_MAX) // 1000
        if reading.confidence is ClockConfidence.FLOOR:
            # A box that does not know the time cannot say when in the phone's; the sale itself ends by uptime.
            expires_s = certificate.content.not_after_s
        request = self._signer.sign_payment_request(sale, nonce=self._random_bytes(NONCE_SIZE), expires_s=expires_s)
        return ShownRequest(request, certificate)

    def _new(self, sale: Sale) -> OpenSale:
        return OpenSale(
            payment_id=sale.payment_id,
            amount_minor=sale.amount.amount_minor,
            currency=sale.amount.currency,
            request=b"",
            is_asked=False,
            serial=Serial(b""),
            counter=0,
            opened_at_ms=self._clock.now_ms(),
        )
