"""Publishes trust snapshot and policy: a new signed version whenever its content changes, and long before it ends.

Both are valid for 72 hours (protocol §2). A box that loses its link decides by what it holds, so what it holds must be
fresh: a version older than six hours is issued again, and a box has at least 66 of its 72 hours.

Two processes may publish at once. The version is the key of the table, and the content is read *after* the newest
version: whoever loses the race for a number reads the content again, so a newer version never says less.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import Table
from sqlalchemy.orm import Session

from cloud.errors import CloudError
from cloud.fleet import publishing_store as store
from cloud.fleet.publishing_store import Published
from cloud.fleet.tables import POLICIES, TRUST_SNAPSHOTS
from cloud.keyring import Keyring
from sync import cbor
from sync.ids import KeyId, Serial
from sync.policy import POLICY, Policy
from sync.roles import RoleUse
from sync.trust_snapshot import DENIED_MAX, TRUST_SNAPSHOT, TrustSnapshot

VALID_MS = 72 * 3600 * 1000
REISSUED_AFTER_MS = 6 * 3600 * 1000
_RACES_MAX = 20


class PublishingError(CloudError):
    """What the boxes must learn cannot be published; they go on with what they hold."""

    code = "publishing_error"

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class DenyList(Protocol):
    """Who is denied; kept by the wallets, which the fleet does not know."""

    def denied(self, session: Session, *, now_ms: int) -> Collection[Serial]:
        """The serials that no terminal may take now."""
        ...

    def mark_published(self, session: Session, serials: Collection[Serial], *, version: int) -> None:
        """Keep that the snapshot of this version names these serials."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers boxes decide by: those of ``content``, whose key, version and times are set when it is signed."""

    content: Policy

    @classmethod
    def of(cls, currency: str, **limits: int) -> "Limits":
        """The defaults of protocol §5 in one currency but for the ``limits`` named; raises ``ValueError`` if absurd."""
        content = Policy(key_id=KeyId(bytes(4)), version=1, issued_ms=0, expires_ms=1, currency=currency, **limits)
        POLICY.layout.encode(content)
        return cls(content)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Makes and keeps the versions; needs the trust and the policy key."""

    keyring: Keyring
    deny_list: DenyList
    limits: Limits

    def refresh_snapshot(self, session: Session, *, now_ms: int) -> Published:
        """Return the newest snapshot after publishing another if role keys or denials changed or it is six hours old.

        Raises ``PublishingError`` (``deny_list_full``) and ``KeyringError``.
        """
        for _ in range(_RACES_MAX):
            newest = store.newest(session, TRUST_SNAPSHOTS)
            denied = tuple(sorted(self.deny_list.denied(session, now_ms=now_ms)))
            if len(denied) > DENIED_MAX:
                raise PublishingError(
                    "deny_list_full", f"{len(denied)} serials are denied, a snapshot holds {DENIED_MAX}"
                )
            content_hash = _snapshot_hash(self.keyring, denied, now_ms=now_ms)
            if newest is not None and _is_current(newest, content_hash, now_ms=now_ms):
                return newest
            made = build_snapshot(self.keyring, denied, version=_next(newest), now_ms=now_ms)
            if store.append(session, TRUST_SNAPSHOTS, made):
                self.deny_list.mark_published(session, denied, version=made.version)
                return made
        raise _lost_every_race(TRUST_SNAPSHOTS)

    def refresh_policy(self, session: Session, *, now_ms: int) -> Published:
        """Return the newest policy after publishing another if the limits changed or it is six hours old."""
        for _ in range(_RACES_MAX):
            newest = store.newest(session, POLICIES)
            content_hash = _policy_hash(self.keyring, self.limits, now_ms=now_ms)
            if newest is not None and _is_current(newest, content_hash, now_ms=now_ms):
                return newest
            made = build_policy(self.keyring, self.limits, version=_next(newest), now_ms=now_ms)
            if store.append(session, POLICIES, made):
                return made
        raise _lost_every_race(POLICIES)


def build_snapshot(keyring: Keyring, denied: tuple[Serial, ...], *, version: int, now_ms: int) -> Published:
    """Sign a snapshot of the keyring's role keys and the denied serials (ascending), valid for 72 hours."""
    key = keyring.signing_key(RoleUse.TRUST, now_ms=now_ms)
    content = TrustSnapshot(
        key_id=key.public_key.key_id,
        version=version,
        issued_ms=now_ms,
        expires_ms=_expires_ms(keyring, RoleUse.TRUST, now_ms=now_ms),
        role_keys=keyring.statements(now_ms=now_ms),
        denied=denied,
    )
    content_hash = _snapshot_hash(keyring, denied, now_ms=now_ms)
    return Published(version, now_ms, content_hash, TRUST_SNAPSHOT.sign(key, content).encode())


def build_policy(keyring: Keyring, limits: Limits, *, version: int, now_ms: int) -> Published:
    """Sign a policy with these limits, valid for 72 hours."""
    key = keyring.signing_key(RoleUse.POLICY, now_ms=now_ms)
    key_id = key.public_key.key_id
    expires_ms = _expires_ms(keyring, RoleUse.POLICY, now_ms=now_ms)
    content = replace(limits.content, key_id=key_id, version=version, issued_ms=now_ms, expires_ms=expires_ms)
    content_hash = _policy_hash(keyring, limits, now_ms=now_ms)
    return Published(version, now_ms, content_hash, POLICY.sign(key, content).encode())


def _expires_ms(keyring: Keyring, use: RoleUse, *, now_ms: int) -> int:
    """72 hours on, or when the signing key ends: a box believes nothing that would outlive its signer."""
    return min(now_ms + VALID_MS, keyring.current(use, now_ms=now_ms).role.not_after_ms)


def _snapshot_hash(keyring: Keyring, denied: tuple[Serial, ...], *, now_ms: int) -> bytes:
    key_id = keyring.signing_key(RoleUse.TRUST, now_ms=now_ms).public_key.key_id
    return hashlib.sha256(cbor.encode((key_id, keyring.statements(now_ms=now_ms), denied))).digest()


def _policy_hash(keyring: Keyring, limits: Limits, *, now_ms: int) -> bytes:
    key_id = keyring.signing_key(RoleUse.POLICY, now_ms=now_ms).public_key.key_id
    return hashlib.sha256(POLICY.layout.encode(replace(limits.content, key_id=key_id))).digest()


def _next(newest: Published | None) -> int:
    return 1 if newest is None else newest.version + 1


def _is_current(newest: Published, content_hash: bytes, *, now_ms: int) -> bool:
    """Say whether what is published still says what would be said now, and is young; a clock set back makes it old."""
    return newest.content_hash == content_hash and 0 <= now_ms - newest.issued_ms < REISSUED_AFTER_MS


def _lost_every_race(table: Table) -> PublishingError:
    return PublishingError("publishing_contended", f"others publish {table.name} without pause; try again")
