"""Phones of a simulated world: honest ones, ones restored from a backup, clones, and ones that lie when they return.

An honest phone is the demo's: it writes a counter down before it shows the code, and never shows more than its
reserve. A thief holds a copy of what a phone held and shows codes by its keys as it pleases.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from sqlalchemy.orm import Session

from cloud.payments import courier
from cloud.payments.claim_store import posted_counters
from cloud.payments.courier import CourierOrder
from cloud.payments.courier_store import CourierHold
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Proof
from cloud.wallets import service
from cloud.wallets.api import open_statements
from cloud.wallets.release_service import ReserveRelease, return_grants
from cloud.wallets.reserve import GrantPolicy, GrantRefusal, ReturnRefusal
from cloud.wallets.service import GrantRequest, ReserveStatus
from cloud.wallets.store import IssuedGrant
from demo.phone import HeldGrant, Phone, PhoneRefusal, load_phone
from sync.ids import Serial
from sync.payment_code import ONE_WAY_NONCE_SIZE, PaymentCode, make_payment_code
from sync.payment_request import ShownRequest
from tests.simulation.cloud import SimulatedCloud
from tests.simulation.template import Customer

GRANT_POLICY = GrantPolicy(limit_minor=10_00, total_minor=200_00)
RENEWED_BEFORE_S = 60 * 3600
GREED_OF_256 = 80
"""How often of 256 times a clone signs another payment under a counter that it has shown already."""


class Honesty(Enum):
    """What a phone's owner may expect of its payments."""

    HONEST = auto()
    RESTORED = auto()
    """It has forgotten what it showed: its payments stand, but may exceed the reserve."""
    CLONED = auto()
    """Another phone shows codes by the same keys."""
    LYING = auto()
    """It has returned its grants, has not named what it had shown by them, and goes on showing codes by them."""


@dataclass
class CustomerPhone:
    """A customer's phone and how it talks to the cloud."""

    customer: Customer
    path: Path
    phone: Phone
    honesty: Honesty = Honesty.HONEST
    is_lost: bool = False
    returns_count: int = 0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """It asks the cloud one thing after the other, so that no older answer comes behind a newer one."""

    async def sync(self, cloud: SimulatedCloud, rng: random.Random, now_ms: int) -> None:
        """Learn what was posted, and get the next grant in time."""
        async with self._asking:
            if self.needs_grant(now_ms):
                await self._get_grant(cloud, rng, now_ms)
            await self._learn(cloud, now_ms)

    async def return_grants(self, cloud: SimulatedCloud, now_ms: int, *, is_answer_lost: bool) -> str | None:
        """Give all grants back by the phone's own word; says what its owner finds wrong with the answer."""
        async with self._asking:
            statements = self.phone.sign_returns(now_ms=now_ms)
            self.returns_count += 1
            open_minor = self.phone.outstanding_minor
            answer = await self._give_back(cloud, statements, now_ms)
            again = await self._give_back(cloud, statements, now_ms) if is_answer_lost else answer
        if not isinstance(answer, ReserveRelease) or not isinstance(again, ReserveRelease):
            return f"the return of the device {self.customer.device_id} was answered {answer}, and then {again}"
        if again.released != answer.released:
            return f"one return of the device {self.customer.device_id} released twice"
        if answer.held.amount_minor > open_minor:
            held_minor = answer.held.amount_minor
            return f"the device {self.customer.device_id} gave its grants back, and {held_minor} stay for {open_minor}"
        return None

    async def _give_back(
        self, cloud: SimulatedCloud, statements: list[bytes], now_ms: int
    ) -> ReserveRelease | ReturnRefusal:
        def work(session: Session) -> ReserveRelease | ReturnRefusal:
            opened = open_statements(session, [statement.hex() for statement in statements])
            return return_grants(session, self.customer.device_id, opened, posted=posted_counters, now_ms=now_ms)

        return await cloud.run(work)

    async def _learn(self, cloud: SimulatedCloud, now_ms: int) -> None:
        def ask(session: Session) -> ReserveStatus | None:
            return service.reserve_status(session, self.customer.device_id, posted=posted_counters, now_ms=now_ms)

        status = await cloud.run(ask)
        if status is None:
            raise RuntimeError("the cloud does not know its own phone")
        posted: set[tuple[bytes, int]] = {
            (grant.serial, counter) for grant in status.grants for counter in grant.posted_counters
        }
        self.phone.learn(reserve_minor=status.reserve_minor, posted=posted, cloud_time_ms=now_ms, now_ms=now_ms)

    def show(self, now_ms: int) -> PaymentCode | PhoneRefusal:
        return self.phone.show_code(now_ms=now_ms)

    async def carry(self, cloud: SimulatedCloud, shown: ShownRequest, now_ms: int) -> CourierHold | PaymentRefusal:
        """Have the cloud approve what a display asks for, and hold the money for it."""
        front = cloud.front
        order = CourierOrder(self.customer.wallet_id, shown, Proof.PIN)

        def work(session: Session) -> CourierHold | PaymentRefusal:
            rules, policy = front.payment_rules(), front.grant_policy()
            return courier.approve(session, order, sign=front.sign_approval, rules=rules, policy=policy, now_ms=now_ms)

        return await cloud.run(work)

    @property
    def last_shown_s(self) -> int:
        """When it has shown its last code by its newest grant."""
        held = self.phone.grants[-1]
        return held.grant.issued_s + held.last_counter

    def needs_grant(self, now_ms: int) -> bool:
        """Whether it holds none that it may show codes by for long."""
        if not self.phone.grants or self.phone.grants[-1].is_returned:
            return True
        return self.phone.grants[-1].grant.expires_s - now_ms // 1000 < RENEWED_BEFORE_S

    async def _get_grant(self, cloud: SimulatedCloud, rng: random.Random, now_ms: int) -> None:
        device_key, serial = self.phone.new_device_key(), Serial(rng.randbytes(8))
        # The customer types the PIN each time, so that no grant is refused for want of it.
        request = GrantRequest(
            self.customer.wallet_id, self.customer.device_id, serial, device_key.public_key.raw, pin_verified=True
        )

        def work(session: Session) -> IssuedGrant | GrantRefusal:
            sign = cloud.front.sign_grant
            return service.issue_grant(session, request, policy=GRANT_POLICY, sign_grant=sign, now_ms=now_ms)

        answer = await cloud.run(work)
        if isinstance(answer, IssuedGrant):
            self.phone.take_grant(answer.grant_bytes, device_key)


@dataclass
class Thief:
    """A clone: the keys and counters of a phone as they were when it was copied, and no scruples."""

    victim: CustomerPhone
    grants: list[HeldGrant]
    random_bytes: Callable[[int], bytes]
    hides: bool
    """Takes counters that the original does not use, so that only the sum gives it away, or its own greed."""
    has_shown: bool = False

    def show(self, now_ms: int) -> PaymentCode | PhoneRefusal:
        live = [held for held in self.grants if now_ms // 1000 < held.grant.expires_s]
        if not live:
            return PhoneRefusal.GRANT_EXPIRED
        held = live[-1]
        counter = max(held.last_counter + 1, now_ms // 1000 - held.grant.issued_s)
        if self.hides:
            is_greedy = self.has_shown and self.random_bytes(1)[0] < GREED_OF_256
            counter = held.last_counter if is_greedy else counter + 1_000_000
            self.has_shown = True
        held.last_counter = counter
        challenge = self.random_bytes(ONE_WAY_NONCE_SIZE)
        return make_payment_code(
            held.message, held.device_key, time_s=now_ms // 1000, counter=counter, challenge=challenge
        )


def clone(phone: CustomerPhone, *, random_bytes: Callable[[int], bytes], hides: bool) -> Thief:
    """Copy a phone as a thief does, who read its memory."""
    copied = load_phone(phone.path, random_bytes=random_bytes)
    phone.honesty = Honesty.CLONED
    return Thief(phone, copied.grants, random_bytes, hides)


def tell_lies(phone: CustomerPhone, *, random_bytes: Callable[[int], bytes]) -> Thief:
    """Have a phone forget what it has shown, for its return, and keep the keys of what it returns."""
    copied = load_phone(phone.path, random_bytes=random_bytes)
    for held in phone.phone.grants:
        held.shown.clear()
    phone.honesty = Honesty.LYING
    return Thief(phone, copied.grants, random_bytes, hides=False)


def restore(phone: CustomerPhone, backup: bytes, *, random_bytes: Callable[[int], bytes]) -> None:
    """Give a phone the memory of its backup, as its owner does in good faith."""
    phone.path.write_bytes(backup)
    phone.phone = load_phone(phone.path, random_bytes=random_bytes)
    if phone.honesty is Honesty.HONEST:
        phone.honesty = Honesty.RESTORED
