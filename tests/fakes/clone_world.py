"""A cloned phone on a real cloud: boxes that keep to their limits, out of contact, and phones that keep to none."""

import random
from dataclasses import dataclass, field

from cloud.db import run_read, run_transaction
from cloud.reconciliation.evidence import Issued, Subject, make_pack
from cloud.reconciliation.exposure import Exposure
from cloud.wallets import store as wallet_store
from sync.ids import PaymentId
from sync.record import SignedRecord
from tests.fakes.cloud_world import CloudWorld, FakeBox, FakePhone

CEILING_MINOR = 100_00
"""What a box takes of one grant since contact (protocol §5)."""


@dataclass(slots=True)
class HonestBox:
    """A box that takes at most its ceiling of one phone, says so in its signed sums, and sends when it has contact."""

    world: CloudWorld
    box: FakeBox
    taken_minor: int = 0
    waiting: list[SignedRecord] = field(default_factory=list)

    def take(self, phone: FakePhone, amount_minor: int, *, counter: int, nonce: bytes | None = None) -> bool:
        """Approve a one-way code without network; false where the sum since contact would be over the ceiling."""
        if self.taken_minor + amount_minor > CEILING_MINOR:
            return False
        sums = (self.taken_minor, self.taken_minor, self.taken_minor, len(self.waiting))
        code = phone.code(counter=counter, nonce=nonce)
        self.waiting.append(self.box.sale(code, amount_minor, sums_before=sums))
        self.taken_minor += amount_minor
        return True

    def contact(self) -> None:
        """Send what waits; the sums begin anew."""
        if self.waiting:
            self.world.send(self.box, *self.waiting)
        self.taken_minor, self.waiting = 0, []


@dataclass(frozen=True, slots=True)
class SpentTwice:
    """A reserve of 60.00, of which two boxes out of contact took 50.00, 30.00 (one counter) and 20.00 (another)."""

    phone: FakePhone
    first: SignedRecord
    again: SignedRecord
    beyond: SignedRecord


def spend_twice(world: CloudWorld) -> SpentTwice:
    """Play the standard case, the first box's record arriving first."""
    boxes = [HonestBox(world, world.box()) for _ in range(2)]
    phone = world.phone(funds_minor=60_00)
    world.clock.pass_s(5)
    boxes[0].take(phone, 50_00, counter=7, nonce=b"original")
    boxes[1].take(phone, 30_00, counter=7, nonce=b"the copy")
    boxes[1].take(phone, 20_00, counter=9)
    (first,), (again, beyond) = boxes[0].waiting, boxes[1].waiting
    for box in boxes:
        world.clock.pass_s(1)
        box.contact()
    return SpentTwice(phone, first, again, beyond)


def evidence_of(world: CloudWorld, record: SignedRecord) -> bytes:
    """Return the evidence pack of the payment in this record."""
    subject = Subject(record.content.terminal_id, PaymentId(record.content.payment_id))
    return run_read(world.engine, lambda session: make_pack(session, subject, issued=issued_by(world)))


def issued_by(world: CloudWorld) -> Issued:
    return Issued(world.cloud.keyring.root, world.cloud.keyring.versions)


def publish(world: CloudWorld) -> int:
    """Publish the deny list as upkeep does; answers its version."""
    now_ms = world.clock.now_ms()
    refresh = world.cloud.publisher.refresh_snapshot
    return run_transaction(world.engine, lambda session: refresh(session, now_ms=now_ms)).version


def is_denied(world: CloudWorld, phone: FakePhone) -> bool:
    """Whether a trust list made now names the phone's grant."""
    return bool(run_read(world.engine, lambda session: wallet_store.denials_by_serial(session, [phone.serial])))


def play_clone(world: CloudWorld, boxes: list[HonestBox], *, seed: int, reserve_minor: int) -> Exposure | None:
    """Let copies of one phone pay anyhow at boxes that come and go, until the phone is denied and all have heard.

    A box that has contact after the denial has heard of it and takes the phone no more.
    """
    chance = random.Random(seed)
    phone = world.phone(funds_minor=reserve_minor, total_minor=min(reserve_minor, 200_00))
    deaf = list(boxes)
    counter = 100
    for _ in range(40):
        if not deaf:
            break
        box = chance.choice(deaf)
        if chance.random() < 0.25:
            box.contact()
            if is_denied(world, phone):
                deaf.remove(box)
        else:
            counter += chance.choice((0, 1, 1, 2))
            box.take(phone, chance.choice((1, 10_00, 33_33, 50_00)), counter=counter)
    for box in boxes:
        box.contact()
    return next((each for each in world.report().exposures if each.serial == phone.serial), None)
