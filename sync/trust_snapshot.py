"""Trust snapshots: which issuer keys hold and which payers are denied, in full or as a delta to a full one.

A box takes one only if it is newer than the one held; the role keys inside stand under the pinned root, so a
snapshot cannot bring a key of its own.
"""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, Serial
from sync.keys import PublicKey
from sync.layout import Layout, blob, data, many, time_ms, uint
from sync.message import MessageKind
from sync.refusals import Refusal
from sync.roles import Issuer, Issuers, RoleUse, verify_role_key

ROLE_KEYS_MAX = 32
DENIED_MAX = 20_000


@dataclass(frozen=True, slots=True)
class TrustSnapshot:
    """``role_keys`` are signed role keys as encoded; ``denied`` are serials, ascending. Times in Unix milliseconds."""

    key_id: KeyId
    version: int
    issued_ms: int
    expires_ms: int
    role_keys: tuple[bytes, ...]
    denied: tuple[Serial, ...]


TRUST_SNAPSHOT = MessageKind(
    SignedType.TRUST_SNAPSHOT,
    Layout(
        TrustSnapshot,
        data("key_id", 4),
        uint("version", least=1),
        time_ms("issued_ms"),
        time_ms("expires_ms"),
        many("role_keys", blob("role_key", size_max=160), count_max=ROLE_KEYS_MAX),
        many("denied", data("serial", 8), count_max=DENIED_MAX, is_sorted=True),
        size_max=200_000,
    ),
)


@dataclass(frozen=True, slots=True)
class TrustDelta:
    """Turns the snapshot of ``base_version`` into ``version``: serials newly denied and no longer denied."""

    key_id: KeyId
    version: int
    base_version: int
    issued_ms: int
    expires_ms: int
    denied: tuple[Serial, ...]
    no_longer_denied: tuple[Serial, ...]


TRUST_DELTA = MessageKind(
    SignedType.TRUST_DELTA,
    Layout(
        TrustDelta,
        data("key_id", 4),
        uint("version", least=1),
        uint("base_version", least=1),
        time_ms("issued_ms"),
        time_ms("expires_ms"),
        many("denied", data("serial", 8), count_max=DENIED_MAX, is_sorted=True),
        many("no_longer_denied", data("serial", 8), count_max=DENIED_MAX, is_sorted=True),
        size_max=200_000,
        check=lambda delta: None if delta.version > delta.base_version else Refusal.OUT_OF_RANGE,
    ),
)


@dataclass(frozen=True, slots=True)
class HeldTrust:
    """A verified snapshot, ready to ask."""

    version: int
    issued_ms: int
    expires_ms: int
    issuers: Issuers
    denied: frozenset[Serial]


def open_snapshot(encoded: bytes, root: PublicKey, *, held_version: int, now_ms: int) -> HeldTrust | Refusal:
    """Verify a full snapshot from the root down.

    Refuses ``older_than_held`` below ``held_version``, ``snapshot_expired`` at or after its end, ``unknown_issuer``
    where no role key inside may sign it, ``issuer_not_valid`` where that key is not valid from its issue to its end,
    and every refusal of its parts.
    """
    message = TRUST_SNAPSHOT.read(encoded)
    if isinstance(message, Refusal):
        return message
    snapshot = message.content
    issuers: list[Issuer] = []
    for role_key in snapshot.role_keys:
        issuer = verify_role_key(role_key, root)
        if isinstance(issuer, Refusal):
            return issuer
        issuers.append(issuer)
    held = HeldTrust(
        snapshot.version,
        snapshot.issued_ms,
        snapshot.expires_ms,
        Issuers(tuple(issuers)),
        frozenset(snapshot.denied),
    )
    signer = _find_signer(held.issuers, snapshot)
    if isinstance(signer, Refusal):
        return signer
    refusal = TRUST_SNAPSHOT.verify(message, signer)
    return refusal or _check_age(snapshot, held_version=held_version, now_ms=now_ms) or held


def open_delta(encoded: bytes, held: HeldTrust, *, now_ms: int) -> HeldTrust | Refusal:
    """Verify a delta under the trust key held and apply it; ``delta_base_mismatch`` if made for another snapshot."""
    message = TRUST_DELTA.open(encoded, lambda delta: _find_signer(held.issuers, delta))
    if isinstance(message, Refusal):
        return message
    delta = message.content
    if refusal := _check_age(delta, held_version=held.version, now_ms=now_ms):
        return refusal
    if delta.base_version != held.version:
        return Refusal.DELTA_BASE_MISMATCH
    denied = (held.denied | frozenset(delta.denied)) - frozenset(delta.no_longer_denied)
    return HeldTrust(delta.version, delta.issued_ms, delta.expires_ms, held.issuers, denied)


def _find_signer(issuers: Issuers, content: TrustSnapshot | TrustDelta) -> PublicKey | Refusal:
    return issuers.find_for_life(
        RoleUse.TRUST, content.key_id, issued_ms=content.issued_ms, expires_ms=content.expires_ms
    )


def _check_age(content: TrustSnapshot | TrustDelta, *, held_version: int, now_ms: int) -> Refusal | None:
    if content.version < held_version:
        return Refusal.OLDER_THAN_HELD
    return None if now_ms < content.expires_ms else Refusal.SNAPSHOT_EXPIRED
