"""The rules of the reserve (protocol §4 and §5), without I/O: who gets a grant, what is moved, what stays held.

The reserve belongs to a wallet's device, not to one grant. An honest phone counts every code it has shown at its
ceiling until the cloud says that the counter is posted, and shows no code for which

    sum of the ceilings shown and not posted + the next ceiling  >  reserve

so one reserve covers all grants of that device. What may still be drawn is therefore all of it while a grant without
statement can still be posted, and afterwards what the phone's own statement left open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sync.ids import Serial

GRANT_LIFETIME_S = 72 * 3600
RECORDS_ACCEPTED_MS = 7 * 24 * 3600 * 1000
"""A record is posted up to 7 days after its sale (protocol §5)."""


class WalletStatus(StrEnum):
    """Whether a customer may pay."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"


class DeviceStatus(StrEnum):
    """Whether a phone is still the customer's."""

    ACTIVE = "active"
    LOST = "lost"


class GrantStatus(StrEnum):
    """How a grant stands with the cloud; a live one past its time is as good as expired."""

    LIVE = "live"
    RETURNED = "returned"
    LOST = "lost"
    EXPIRED = "expired"
    DENIED = "denied"


class DenyReason(StrEnum):
    """Why no terminal may take a serial offline."""

    KEY_LOST = "key_lost"
    DOUBLE_SPEND = "double_spend"
    """One counter with two contents, or more spent than the reserve and the balance: both are the same money twice."""
    FALSE_RETURN = "false_return"
    WALLET_BLOCKED = "wallet_blocked"


class GrantRefusal(StrEnum):
    """Why a grant was not issued, in the order of the checks."""

    WALLET_UNKNOWN = "wallet_unknown"
    DEVICE_UNKNOWN = "device_unknown"
    WALLET_NOT_ACTIVE = "wallet_not_active"
    NOT_VERIFIED = "not_verified"
    DEVICE_NOT_ACTIVE = "device_not_active"
    OTHER_DEVICE_HAS_OFFLINE_RIGHTS = "other_device_has_offline_rights"
    DEVICE_KEY_INVALID = "device_key_invalid"
    DEVICE_KEY_SEEN = "device_key_seen"
    """Each grant has a key of its own; this one belongs to another grant, or is the phone's binding key."""
    SERIAL_TAKEN = "serial_taken"
    TOO_MANY_LIVE_GRANTS = "too_many_live_grants"
    PIN_REQUIRED = "pin_required"
    DEVICE_DENIED = "device_denied"
    """The phone, or a copy of it, has spent twice or lied about it: only another phone gets grants again."""
    INSUFFICIENT_BALANCE = "insufficient_balance"


class ReturnRefusal(StrEnum):
    """Why a return was not taken; nothing was released."""

    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_NOT_ACTIVE = "device_not_active"
    GRANT_NOT_OPEN = "grant_not_open"
    """A statement about a grant that is not this device's, or is returned, lost or denied already."""
    STATEMENT_INCOMPLETE = "statement_incomplete"
    """A live grant without statement."""
    STATEMENT_MALFORMED = "statement_malformed"


@dataclass(frozen=True, slots=True)
class GrantPolicy:
    """The numbers of protocol §4 and §5; amounts in minor units of the wallet's currency."""

    limit_minor: int = 50_00
    """Ceiling of one one-way code, at which the phone counts each it has shown; a two-way code counts its amount."""
    total_minor: int = 200_00
    lifetime_s: int = GRANT_LIFETIME_S
    live_grants_max: int = 2
    no_pin_payments_max: int = 5
    no_pin_sum_minor_max: int = 150_00


@dataclass(frozen=True, slots=True)
class PinUsage:
    """Payments without PIN since the last PIN."""

    payments_count: int
    payments_sum_minor: int


@dataclass(frozen=True, slots=True)
class IssueFacts:
    """What is known under the wallet's lock when a device asks for a grant."""

    wallet_status: WalletStatus
    kyc_verified: bool
    device_status: DeviceStatus
    other_device_has_live_grants: bool
    live_grants_count: int
    pin_usage: PinUsage
    pin_verified: bool


@dataclass(frozen=True, slots=True)
class ReservePlan:
    """What to move from available to offline, and the total to write into the grant."""

    move_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class ReturnStatement:
    """The phone's last word on one grant, its signature verified: ``signed`` is the evidence as it came.

    ``shown`` lists (counter, ceiling in minor units) of codes shown and not known to be posted.
    """

    serial: Serial
    last_counter: int
    shown: tuple[tuple[int, int], ...]
    signed: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """What one grant can still draw: ``open_minor`` after its return, anything (None) without a statement."""

    expires_ms: int
    open_minor: int | None


def check_issue(facts: IssueFacts, policy: GrantPolicy) -> GrantRefusal | None:
    """Say why this device gets no grant now, or None."""
    if facts.wallet_status is not WalletStatus.ACTIVE:
        return GrantRefusal.WALLET_NOT_ACTIVE
    if not facts.kyc_verified:
        return GrantRefusal.NOT_VERIFIED
    if facts.device_status is not DeviceStatus.ACTIVE:
        return GrantRefusal.DEVICE_NOT_ACTIVE
    if facts.other_device_has_live_grants:
        return GrantRefusal.OTHER_DEVICE_HAS_OFFLINE_RIGHTS
    if facts.live_grants_count >= policy.live_grants_max:
        return GrantRefusal.TOO_MANY_LIVE_GRANTS
    if not facts.pin_verified and is_pin_due(facts.pin_usage, policy):
        return GrantRefusal.PIN_REQUIRED
    return None


def is_pin_due(usage: PinUsage, policy: GrantPolicy) -> bool:
    """After five payments without PIN, or 150.00, the cloud asks for it (protocol §5)."""
    return usage.payments_count >= policy.no_pin_payments_max or usage.payments_sum_minor >= policy.no_pin_sum_minor_max


def plan_reserve(*, reserve_minor: int, available_minor: int, policy: GrantPolicy) -> ReservePlan | GrantRefusal:
    """Keep the reserve there is and fill it up towards the policy's total, at most by what is available."""
    move_minor = min(max(policy.total_minor - reserve_minor, 0), max(available_minor, 0))
    total_minor = min(policy.total_minor, reserve_minor + move_minor)
    return ReservePlan(move_minor, total_minor) if total_minor else GrantRefusal.INSUFFICIENT_BALANCE


def due_ms(expires_ms: int) -> int:
    """When nothing of a grant that expires at ``expires_ms`` can be posted any more."""
    return expires_ms + RECORDS_ACCEPTED_MS


def held_minor(holds: Iterable[Hold], *, reserve_minor: int, now_ms: int) -> int:
    """How much of the reserve stays: all of it under a grant without statement, else the codes still open."""
    open_minor = 0
    for hold in holds:
        if now_ms >= due_ms(hold.expires_ms):
            continue
        if hold.open_minor is None:
            return reserve_minor
        open_minor += hold.open_minor
    return min(open_minor, reserve_minor)


def check_return(
    statements: Sequence[ReturnStatement], *, open_limits_minor: Mapping[Serial, int], live: Iterable[Serial]
) -> ReturnRefusal | None:
    """Say why these statements release nothing, or None.

    ``open_limits_minor`` holds the payment limits of the device's grants that are neither returned nor lost nor
    denied; each ``live`` one needs its statement.
    """
    stated = {statement.serial for statement in statements}
    if not stated or not stated.issuperset(live):
        return ReturnRefusal.STATEMENT_INCOMPLETE
    if not stated.issubset(open_limits_minor):
        return ReturnRefusal.GRANT_NOT_OPEN
    if len(stated) != len(statements):
        return ReturnRefusal.STATEMENT_MALFORMED
    if not all(_is_well_formed(each, limit_minor=open_limits_minor[each.serial]) for each in statements):
        return ReturnRefusal.STATEMENT_MALFORMED
    return None


def contradicts(shown: Mapping[int, int], *, counter: int, amount_minor: int) -> bool:
    """Whether a *first* posting belies the statement that only ``shown`` (counter → ceiling) was still open.

    The phone has signed both, so either a counter it left out or an amount above the ceiling convicts it.
    """
    ceiling_minor = shown.get(counter)
    return ceiling_minor is None or amount_minor > ceiling_minor


def _is_well_formed(statement: ReturnStatement, *, limit_minor: int) -> bool:
    counters = [counter for counter, _ in statement.shown]
    return (
        len(set(counters)) == len(counters)
        and all(1 <= counter <= statement.last_counter for counter in counters)
        and all(0 < ceiling_minor <= limit_minor for _, ceiling_minor in statement.shown)
    )
