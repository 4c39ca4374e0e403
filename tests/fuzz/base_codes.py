"""The genuine codes that are mutated, made once: every mode under every pair of algorithms, by several phones."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sync import cbor
from sync.grant import GRANT
from sync.ids import KeyId
from sync.keys import PublicKey, SigningKey
from sync.message import Message
from sync.payment_code import CodeMode, PaymentCode
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import HOUR_S, NOW_S, Algorithm, Phone, SignedWorld
from tests.vectors.parts import parts_of, role_key_json

REQUEST_HASH = bytes(range(16))
"""The short hash of the request that the box shows."""
PHONES_FOR_EACH_PAIR = 3
WEAK_KEYS = (
    b"\x01" + bytes(31),
    bytes(32),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    b"\x01" + bytes(30) + b"\x80",
    (2**255 - 18).to_bytes(32, "little"),
    b"\x02" + (1).to_bytes(32, "big"),
    b"\x04" + bytes(32),
)


@dataclass(frozen=True, slots=True)
class Base:
    """A genuine code with what a mutation needs: its elements, the phone's key and the key that signed its grant."""

    code: PaymentCode
    raw: bytes
    parts: tuple[Any, ...]
    grant_parts: tuple[Any, ...]
    device_key: SigningKey
    grant_key: SigningKey

    @property
    def is_session(self) -> bool:
        return self.code.mode is CodeMode.SESSION


@dataclass(frozen=True, slots=True)
class BaseCodes:
    """All genuine codes, and other grants that the right key signed although no phone should have them."""

    worlds: tuple[SignedWorld, ...]
    bases: tuple[Base, ...]
    genuine: frozenset[bytes]
    weak_grants: tuple[Message[Any], ...]
    dead_grants: tuple[Base, ...]
    thief: SigningKey

    def find_issuer(self, key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
        """The box knows the grant keys of both worlds."""
        for world in self.worlds:
            found = world.find_grant_issuer(key_id, at_ms)
            if found is not Refusal.UNKNOWN_ISSUER:
                return found
        return Refusal.UNKNOWN_ISSUER

    def grant_keys(self) -> list[dict[str, Any]]:
        """The same keys, for the stranger."""
        return [role_key_json(world, RoleUse.GRANT) for world in self.worlds]


@cache
def base_codes() -> BaseCodes:
    """Make everything once a process."""
    worlds = tuple(SignedWorld(algorithm=algorithm) for algorithm in Algorithm)
    bases: list[Base] = []
    for world in worlds:
        for algorithm in Algorithm:
            for number in range(PHONES_FOR_EACH_PAIR):
                phone = world.phone(f"fuzz {algorithm.value} {number}", algorithm=algorithm)
                bases.append(base_of(phone.one_way_code(time_s=NOW_S - number, counter=HOUR_S + number), phone))
                bases.append(base_of(phone.two_way_code(REQUEST_HASH, counter=HOUR_S + 10 + number), phone))
        phone = world.phone("never used")
        bases += [base_of(world.session_code(f"fuzz {number}"), phone) for number in range(PHONES_FOR_EACH_PAIR)]
    return BaseCodes(
        worlds,
        tuple(bases),
        frozenset(base.raw for base in bases),
        tuple(world.grant("weak", device_key=raw) for world in worlds for raw in WEAK_KEYS),
        tuple(_dead_grants(worlds[0])),
        worlds[0].key("thief"),
    )


def base_of(code: PaymentCode, phone: Phone) -> Base:
    """Return a genuine code with its parts."""
    return Base(
        code,
        code.encode(),
        tuple(parts_of(code.encode())),
        tuple(parts_of(code.signed_grant.payload)),
        phone.key,
        phone.world.role_keys[RoleUse.GRANT],
    )


def _dead_grants(world: SignedWorld) -> list[Base]:
    """Codes that are well signed throughout, of grants that do not hold now or whose issuer does not."""
    other_role, stranger = world.role_keys[RoleUse.TRUST], world.key("stranger")
    live = world.phone("dead", lifetime_s=2 * HOUR_S)
    by_others = [
        Phone(world, GRANT.sign(key, replace(live.grant.content, key_id=key.public_key.key_id)), live.key)
        for key in (other_role, stranger)
    ]
    phones = [
        world.phone("dead", lifetime_s=HOUR_S),
        world.phone("dead", issued_s=NOW_S + 31),
        world.phone("dead", lifetime_s=2**32 - 1),
        *by_others,
    ]
    return [base_of(phone.one_way_code(counter=2 * HOUR_S), phone) for phone in phones]


def encoded(parts: list[Any] | tuple[Any, ...]) -> bytes:
    return cbor.encode(tuple(parts))
