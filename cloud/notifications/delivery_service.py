"""Brings notices to people: what is due is offered, one process takes it, tries the ways in order, and notes the end.

The database is the truth about every delivery, so that a queue of jobs between offering and taking may lose or repeat
whatever it holds: what it lost is offered again, and what it repeats finds nothing to take. A try is counted before it
is made, so that no process that dies at it makes it for ever.
"""

import logging
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.notifications import delivery_store as store
from cloud.notifications.channels import CHANNELS_OF, TRIES_MAX, Channel, DeliveryState, Sent, pause_ms
from cloud.notifications.delivery_store import Delivery
from cloud.notifications.store import Notification
from sync.clock import Clock

_log = logging.getLogger(__name__)
T = TypeVar("T")

OFFER_MS = 20_000
"""How long a queue of jobs has to bring what it was offered to somebody, before it is offered again."""
OFFERED_AT_ONCE_MAX = 200
KEPT_FOR_MS = 30 * 24 * 3600 * 1000

Sender = Callable[[Notification], Sent]
"""Sends a notice one way; never raises for a phone, a gateway or a network that is away."""


class Concern(Protocol):
    """What a notice is about, which may be over, or may have to end because nobody could be told."""

    def is_over(self, session: Session, notification: Notification, *, now_ms: int) -> bool: ...

    def give_up(self, session: Session, notification: Notification, *, now_ms: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Delivers by the ways that are set up; safe between threads."""

    engine: Engine
    clock: Clock
    senders: Mapping[Channel, Sender]
    concern: Concern
    random_share: Callable[[], float] = random.random

    def offer_due(self) -> list[str]:
        """Return the ids of deliveries that somebody has to take now."""
        now_ms = self.clock.now_ms()
        # Mostly nothing is due, and to look is no reason to wait for whoever writes.
        if not run_read(self.engine, lambda session: store.due_ids(session, now_ms=now_ms, deliveries_max=1)):
            return []
        return self._run(
            lambda session: store.offer_due(
                session, now_ms=now_ms, offer_ms=OFFER_MS, deliveries_max=OFFERED_AT_ONCE_MAX
            )
        )

    def deliver(self, notification_id: str) -> None:
        """Take this delivery, if nobody else has it, and try it once."""
        claimed = self._run(lambda session: self._claim(session, notification_id))
        if claimed is None:
            return
        state, channel = self._try(claimed)
        self._run(lambda session: self._conclude(session, claimed, state, channel))

    def forget_old(self) -> int:
        """Delete deliveries that were done with long ago; answers how many, at most 1 000."""
        before_ms = self.clock.now_ms() - KEPT_FOR_MS
        return self._run(lambda session: store.forget_old(session, before_ms=before_ms))

    def _claim(self, session: Session, notification_id: str) -> Delivery | None:
        now_ms = self.clock.now_ms()
        claimed = store.claim(session, notification_id, now_ms=now_ms)
        if claimed is None:
            return None
        if self.concern.is_over(session, claimed.notification, now_ms=now_ms):
            self._conclude(session, claimed, DeliveryState.OVER, None)
            return None
        if claimed.tries > TRIES_MAX:
            # The last try was lost with its process.
            self._conclude(session, claimed, DeliveryState.FAILED, None)
            return None
        return claimed

    def _try(self, claimed: Delivery) -> tuple[DeliveryState, Channel | None]:
        has_failed = False
        for channel in CHANNELS_OF[claimed.reach]:
            sender = self.senders.get(channel)
            sent = Sent.NO_ADDRESS if sender is None else sender(claimed.notification)
            _log.info("delivery_tried id=%s channel=%s try=%d sent=%s", _name(claimed), channel, claimed.tries, sent)
            if sent is Sent.TAKEN:
                return DeliveryState.DELIVERED, channel
            has_failed = has_failed or sent is Sent.FAILED
        return (DeliveryState.FAILED if has_failed else DeliveryState.KEPT), None

    def _conclude(self, session: Session, claimed: Delivery, state: DeliveryState, channel: Channel | None) -> None:
        now_ms = self.clock.now_ms()
        if state is DeliveryState.FAILED and claimed.tries < TRIES_MAX:
            pause = pause_ms(claimed.tries, share=self.random_share())
            store.put_off(session, claimed, until_ms=now_ms + pause)
            return
        is_ours = store.conclude(session, claimed, state, channel, now_ms=now_ms)
        if is_ours and state is DeliveryState.FAILED:
            _log.warning("delivery_failed id=%s tries=%d", _name(claimed), claimed.tries)
            self.concern.give_up(session, claimed.notification, now_ms=now_ms)

    def _run(self, work: Callable[[Session], T]) -> T:
        # Looking up nothing lets a commit of unknown outcome run again: it finds what it has done.
        return run_transaction(self.engine, work, lookup=lambda _session: None)


def note_taken(engine: Engine, ids: Collection[str], channel: Channel, *, now_ms: int) -> None:
    """Note that a screen has these notices, or that somebody has asked for them; mostly there is nothing to note."""
    waiting = run_read(engine, lambda session: store.waiting_of(session, ids)) if ids else []
    if waiting:
        run_transaction(
            engine,
            lambda session: store.note_taken(session, waiting, channel, now_ms=now_ms),
            lookup=lambda _session: None,
        )


def _name(delivery: Delivery) -> str:
    return delivery.notification_id
