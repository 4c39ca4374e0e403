"""A customer's phone in Python: holds its own keys and obeys the reserve rule of protocol §4.

It writes down a code's counter before it shows the code, counts every code it has shown at its ceiling until the
cloud says that it is posted, and never shows more than the reserve the cloud has told it.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sync.grant import GRANT, Grant
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.keys import Ed25519SigningKey
from sync.message import Message
from sync.payment_code import ONE_WAY_NONCE_SIZE, PaymentCode, make_payment_code
from sync.payment_request import ShownRequest
from sync.refusals import Refusal

RECORDS_ACCEPTED_S = 7 * 24 * 3600
"""How long after a grant's end its codes may still be posted (protocol §4)."""


class PhoneRefusal(StrEnum):
    """Why the phone shows no code."""

    NO_GRANT = "no_grant"
    GRANT_EXPIRED = "grant_expired"
    RESERVE_USED_UP = "reserve_used_up"


@dataclass(slots=True)
class HeldGrant:
    """A grant with the device key made for it and the last counter shown."""

    message: Message[Grant]
    device_key: Ed25519SigningKey
    last_counter: int = 0
    shown: dict[int, int] = field(default_factory=dict)
    """Counter → ceiling in minor units, of codes shown and not known to be posted."""
    is_returned: bool = False
    """Its last word is signed: no code of it is shown any more."""

    @property
    def grant(self) -> Grant:
        return self.message.content


class Phone:
    """One phone; everything it must not forget lies in ``path``, written before it counts."""

    def __init__(self, path: Path, *, binding_key: Ed25519SigningKey, random_bytes: Callable[[int], bytes]) -> None:
        self._path = path
        self._random_bytes = random_bytes
        self.binding_key = binding_key
        self.grants: list[HeldGrant] = []
        self.reserve_minor = 0
        self.offset_ms = 0

    @property
    def outstanding_minor(self) -> int:
        """The sum of the ceilings of all codes shown and not known to be posted."""
        return sum(sum(held.shown.values()) for held in self.grants)

    @property
    def spendable_minor(self) -> int:
        """What may still be shown before the cloud is asked again."""
        return max(0, self.reserve_minor - self.outstanding_minor)

    def new_device_key(self) -> Ed25519SigningKey:
        """Make the fresh key of the next grant."""
        return Ed25519SigningKey.from_private_bytes(self._random_bytes(32))

    def take_grant(self, encoded: bytes, device_key: Ed25519SigningKey) -> None:
        """Keep a grant that the cloud has issued for ``device_key``."""
        message = GRANT.read(encoded)
        if isinstance(message, Refusal):
            raise ValueError(f"the cloud sent a grant that cannot be read: {message}")
        self.grants.append(HeldGrant(message, device_key))
        self._save()

    def learn(self, *, reserve_minor: int, posted: set[tuple[bytes, int]], cloud_time_ms: int, now_ms: int) -> None:
        """Take the cloud's word of one moment: the reserve, which counters were posted by then, and the time.

        A grant under which nothing can be posted any more is forgotten with its codes.
        """
        self.offset_ms = cloud_time_ms - now_ms
        ended_s = cloud_time_ms // 1000 - RECORDS_ACCEPTED_S
        self.grants = [held for held in self.grants if held.grant.expires_s > ended_s]
        for held in self.grants:
            for counter in [c for c in held.shown if (held.grant.serial, c) in posted]:
                del held.shown[counter]
        self.reserve_minor = reserve_minor
        self._save()

    def show_code(self, *, now_ms: int) -> PaymentCode | PhoneRefusal:
        """Make a fresh one-way code, after its counter has been written down."""
        challenge = self._random_bytes(ONE_WAY_NONCE_SIZE)
        return self._show(challenge, ceiling_minor=None, now_ms=now_ms)

    def answer_request(self, shown: ShownRequest, *, now_ms: int) -> PaymentCode | PhoneRefusal:
        """Make the two-way code for a request that the caller has verified; it counts at its amount."""
        return self._show(shown.short_hash, ceiling_minor=shown.request.content.amount_minor, now_ms=now_ms)

    def _show(self, challenge: bytes, *, ceiling_minor: int | None, now_ms: int) -> PaymentCode | PhoneRefusal:
        """Make a code that counts at ``ceiling_minor``, or at the grant's own ceiling."""
        now_s = (now_ms + self.offset_ms) // 1000
        if not self.grants:
            return PhoneRefusal.NO_GRANT
        held = self.grants[-1]
        if held.is_returned:
            return PhoneRefusal.NO_GRANT
        if now_s >= held.grant.expires_s:
            return PhoneRefusal.GRANT_EXPIRED
        if ceiling_minor is None:
            ceiling_minor = held.grant.limit_minor
        if self.outstanding_minor + ceiling_minor > self.reserve_minor:
            return PhoneRefusal.RESERVE_USED_UP
        counter = max(held.last_counter + 1, now_s - held.grant.issued_s)
        held.last_counter = counter
        held.shown[counter] = ceiling_minor
        self._save()
        return make_payment_code(held.message, held.device_key, time_s=now_s, counter=counter, challenge=challenge)

    def sign_returns(self, *, now_ms: int) -> list[bytes]:
        """Sign the last word on each grant that is not over, after it is written down that none is used any more.

        The cloud then releases all of the reserve but what is open by these statements; sent again, they are the same.
        """
        now_s = (now_ms + self.offset_ms) // 1000
        live = [held for held in self.grants if now_s < held.grant.expires_s and not held.is_returned]
        for held in live:
            held.is_returned = True
        self._save()
        return [_sign_return(held, now_s=now_s) for held in live]

    def _save(self) -> None:
        state = {
            "binding_key": self.binding_key.private_bytes().hex(),
            "reserve_minor": self.reserve_minor,
            "offset_ms": self.offset_ms,
            "grants": [
                {
                    "grant": held.message.encode().hex(),
                    "device_key": held.device_key.private_bytes().hex(),
                    "last_counter": held.last_counter,
                    "shown": list(held.shown.items()),
                    "is_returned": held.is_returned,
                }
                for held in self.grants
            ],
        }
        draft = self._path.with_suffix(".new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        # The new name must be on the disk, too, before a code is shown.
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_phone(path: Path, *, random_bytes: Callable[[int], bytes]) -> Phone:
    """Load a phone as it was last written: a phone that was switched off goes on where it stood."""
    state = json.loads(path.read_text(encoding="ascii"))
    binding_key = Ed25519SigningKey.from_private_bytes(bytes.fromhex(state["binding_key"]))
    phone = Phone(path, binding_key=binding_key, random_bytes=random_bytes)
    phone.reserve_minor, phone.offset_ms = state["reserve_minor"], state["offset_ms"]
    for row in state["grants"]:
        message = GRANT.read(bytes.fromhex(row["grant"]))
        if isinstance(message, Refusal):
            raise ValueError("the phone's memory holds a grant that cannot be read")
        key = Ed25519SigningKey.from_private_bytes(bytes.fromhex(row["device_key"]))
        phone.grants.append(HeldGrant(message, key, row["last_counter"], dict(row["shown"]), row["is_returned"]))
    return phone


def _sign_return(held: HeldGrant, *, now_s: int) -> bytes:
    key_id = held.device_key.public_key.key_id
    shown = tuple(sorted(held.shown.items()))
    statement = GrantReturn(key_id, held.grant.serial, held.last_counter, shown, now_s)
    return GRANT_RETURN.sign(held.device_key, statement).encode()
