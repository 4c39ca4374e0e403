"""Role keys: what the offline root says about the few keys that sign in the cloud's name (protocol §2)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from sync.envelope import SignedType
from sync.ids import KeyId
from sync.keys import PublicKey, parse_public_key
from sync.layout import Layout, choice, data, time_ms, uint
from sync.message import MessageKind
from sync.refusals import Refusal


class RoleUse(IntEnum):
    """What a role key may sign."""

    GRANT = 1
    APPROVAL = 2
    ACKNOWLEDGEMENT = 3
    TRUST = 4
    POLICY = 5
    FLEET_CA = 6


@dataclass(frozen=True, slots=True)
class RoleKey:
    """``public_key`` may be used as ``use``, ``not_before_ms`` ≤ time < ``not_after_ms``; ``key_id`` is the root's."""

    key_id: KeyId
    use: RoleUse
    version: int
    public_key: bytes
    not_before_ms: int
    not_after_ms: int

    def is_valid_at(self, now_ms: int) -> bool:
        return self.not_before_ms <= now_ms < self.not_after_ms


ROLE_KEY = MessageKind(
    SignedType.ROLE_KEY,
    Layout(
        RoleKey,
        data("key_id", 4),
        choice("use", RoleUse),
        uint("version", least=1),
        data("public_key", 32, 33),
        time_ms("not_before_ms"),
        time_ms("not_after_ms"),
        size_max=80,
    ),
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A role key that the root vouches for, loaded and ready to verify with."""

    role: RoleKey
    key: PublicKey


def verify_role_key(encoded: bytes, root: PublicKey) -> Issuer | Refusal:
    """Decode a signed role key and check the root's signature; its validity is checked where it is used."""
    message = ROLE_KEY.open(encoded, lambda _: root)
    if isinstance(message, Refusal):
        return message
    key = parse_public_key(message.content.public_key)
    return key if isinstance(key, Refusal) else Issuer(message.content, key)


FindKey = Callable[[KeyId, int], PublicKey | Refusal]
"""Gives the key with this id that was valid at this Unix time in milliseconds, or a refusal."""


def find_for_life(find: FindKey, key_id: KeyId, *, issued_ms: int, expires_ms: int) -> PublicKey | Refusal:
    """Return the key if it is valid from ``issued_ms`` until before ``expires_ms``: nothing outlives its signer.

    The time of issue is the signer's own claim. Without the second look, who steals a key after its end could sign
    for a past in which it was good, and make that last for ever.
    """
    key = find(key_id, issued_ms)
    if isinstance(key, Refusal):
        return key
    at_the_end = find(key_id, expires_ms - 1)
    return at_the_end if isinstance(at_the_end, Refusal) else key


class Issuers:
    """The role keys held at one time, found by use and key id."""

    def __init__(self, issuers: tuple[Issuer, ...]) -> None:
        # Where two statements name one key, the newer version stands last and counts.
        oldest_first = sorted(issuers, key=lambda issuer: issuer.role.version)
        self._by_use_and_id = {(issuer.role.use, issuer.key.key_id): issuer for issuer in oldest_first}

    def find(self, use: RoleUse, key_id: KeyId, *, at_ms: int) -> PublicKey | Refusal:
        """Return the key for ``use`` that was valid ``at_ms``, or ``unknown_issuer`` / ``issuer_not_valid``."""
        issuer = self._by_use_and_id.get((use, key_id))
        if issuer is None:
            return Refusal.UNKNOWN_ISSUER
        return issuer.key if issuer.role.is_valid_at(at_ms) else Refusal.ISSUER_NOT_VALID

    def find_for_life(self, use: RoleUse, key_id: KeyId, *, issued_ms: int, expires_ms: int) -> PublicKey | Refusal:
        """Return the key for ``use`` if it was valid at issue and until the end (see the function of this name)."""
        return find_for_life(
            lambda wanted, at_ms: self.find(use, wanted, at_ms=at_ms),
            key_id,
            issued_ms=issued_ms,
            expires_ms=expires_ms,
        )
