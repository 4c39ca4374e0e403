"""Issues grants, says how a reserve stands, denies serials; inside the caller's transaction.

Each writer locks the wallet's row first, which makes it the only one to change this wallet's devices and grants, then
the ledger's accounts. While a device's offline account is locked nothing can be posted from it, so balance and posted
counters are read as one moment.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import JournalEntry
from cloud.ledger.service import lock_accounts, post_entries
from cloud.wallets import customer_store, store
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import (
    DenyReason,
    GrantPolicy,
    GrantRefusal,
    GrantStatus,
    IssueFacts,
    ReservePlan,
    check_issue,
    contradicts,
    due_ms,
    is_pin_due,
    plan_reserve,
)
from cloud.wallets.store import DeniedSerial, IssuedGrant
from sync.ids import Serial
from sync.keys import parse_public_key
from sync.money import Money
from sync.refusals import Refusal

PostedCounters = Callable[[Session, Sequence[Serial]], Mapping[Serial, AbstractSet[int]]]
"""Which counters of these serials are posted; whoever keeps the spent codes answers, in the same transaction."""


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A phone asks for a grant; ``serial`` is made by the caller before the transaction and is its idempotency key."""

    wallet_id: str
    device_id: str
    serial: Serial
    device_key: bytes
    pin_verified: bool


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is to be signed; the signer adds its own key id. Seconds on the wire, amounts in minor units."""

    serial: Serial
    device_key: bytes
    issued_s: int
    lifetime_s: int
    limit_minor: int
    total_minor: int
    currency: str


SignGrant = Callable[[GrantTerms], bytes]
"""Signs with the grant key and answers the grant's bytes, as the phone will show them."""


@dataclass(frozen=True, slots=True)
class GrantStanding:
    """A grant under which something may still be posted, and its counters that are."""

    serial: Serial
    status: GrantStatus
    expires_ms: int
    posted_counters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReserveStatus:
    """What a phone reckons with: what it showed and is not in ``posted_counters`` counts against ``reserve_minor``."""

    device_id: str
    currency: str
    reserve_minor: int
    grants: tuple[GrantStanding, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    request: GrantRequest
    wallet: Wallet
    device: Device
    now_ms: int


def issue_grant(
    session: Session, request: GrantRequest, *, policy: GrantPolicy, sign_grant: SignGrant, now_ms: int
) -> IssuedGrant | GrantRefusal:
    """Issue a grant and fill the device's reserve; a repeated request with the same key gets the first answer.

    Offline rights go to this device if no other of the wallet has a live grant.
    """
    wallet = customer_store.lock_wallets(session, [request.wallet_id]).get(request.wallet_id)
    if wallet is None:
        return GrantRefusal.WALLET_UNKNOWN
    devices = {device.device_id: device for device in customer_store.devices_of(session, wallet.wallet_id)}
    device = devices.get(request.device_id)
    if device is None:
        return GrantRefusal.DEVICE_UNKNOWN
    case = _Case(request, wallet, device, now_ms)
    earlier = _earlier_answer(session, case)
    if earlier is not None:
        return earlier
    refusal = check_issue(_issue_facts(session, case, list(devices.values())), policy)
    return refusal or _issue(session, case, policy=policy, sign_grant=sign_grant)


def reserve_status(session: Session, device_id: str, *, posted: PostedCounters, now_ms: int) -> ReserveStatus | None:
    """Balance and posted counters of one moment; None where there is no such device."""
    device = customer_store.devices_by_id(session, [device_id]).get(device_id)
    if device is None:
        return None
    currency = customer_store.wallets_by_id(session, [device.wallet_id])[device.wallet_id].currency
    account = entries.payer_offline(device_id, currency)
    reserve_minor = lock_accounts(session, [account])[account]
    grants = store.drawable_grants(session, [device_id], now_ms=now_ms)
    counters = posted(session, [grant.serial for grant in grants])
    standings = tuple(
        GrantStanding(each.serial, each.status, each.expires_ms, tuple(sorted(counters.get(each.serial, ()))))
        for each in grants
    )
    return ReserveStatus(device_id, currency, reserve_minor, standings)


def deny_serials(session: Session, serials: Collection[Serial], *, reason: DenyReason, now_ms: int) -> set[Serial]:
    """Put grants on the deny list; answers which were not on it before. A serial we never issued is left out."""
    grants = store.grants_by_serial(session, serials)
    store.change_status(session, grants, from_status=GrantStatus.LIVE, to_status=GrantStatus.DENIED)
    denials = [DeniedSerial(each.serial, now_ms, each.expires_ms, reason) for each in grants.values()]
    return store.insert_denials(session, denials)


def convict_devices(session: Session, serials: Collection[Serial], *, reason: DenyReason, now_ms: int) -> set[Serial]:
    """Deny these grants with every other grant of their devices that a terminal would still take.

    Who holds one key of a phone holds all of them, so a phone is convicted and not a grant; from now on its device
    gets no grant any more. Answers the serials that were not denied before. Call it under the lock of the devices'
    offline accounts, as posting does: a grant that is being issued meanwhile waits for that lock and is refused.
    """
    convicted = store.grants_by_serial(session, serials)
    devices = {grant.device_id for grant in convicted.values()}
    others = {grant.serial for grant in store.drawable_grants(session, devices, now_ms=now_ms)}
    return deny_serials(session, sorted(others | convicted.keys()), reason=reason, now_ms=now_ms)


def publish_denials(session: Session, *, version: int, now_ms: int) -> list[Serial]:
    """The deny list of trust snapshot ``version``, ascending; notes in which snapshot each denial first appeared."""
    denials = store.denials_in_force(session, now_ms=now_ms)
    store.mark_published(session, [each.serial for each in denials if each.snapshot_version is None], version=version)
    return [denial.serial for denial in denials]


def contradicts_return(session: Session, *, serial: Serial, counter: int, amount_minor: int) -> bool:
    """Whether a code posted for the first time belies the statement its phone signed when it returned the grant."""
    shown = store.returned_codes(session, [serial]).get(serial)
    return shown is not None and contradicts(shown, counter=counter, amount_minor=amount_minor)


def post_or_raise(session: Session, moves: Sequence[JournalEntry], *, now_ms: int) -> None:
    """Post entries whose cover was read under lock in this transaction, so that nothing but success is possible."""
    outcomes = post_entries(session, moves, now_ms=now_ms)
    if any(outcome is not PostOutcome.POSTED for outcome in outcomes):
        raise LedgerInvariantError(f"a covered move of the reserve was answered {outcomes}")


def _earlier_answer(session: Session, case: _Case) -> IssuedGrant | GrantRefusal | None:
    device_key = case.request.device_key
    if isinstance(parse_public_key(device_key), Refusal):
        return GrantRefusal.DEVICE_KEY_INVALID
    if device_key == case.device.binding_key:
        return GrantRefusal.DEVICE_KEY_SEEN
    known = store.find_grant_by_key(session, device_key)
    if known is None:
        return None
    is_first_answer = known.device_id == case.device.device_id and known.status is GrantStatus.LIVE
    return known if is_first_answer and case.now_ms < known.expires_ms else GrantRefusal.DEVICE_KEY_SEEN


def _issue_facts(session: Session, case: _Case, devices: Sequence[Device]) -> IssueFacts:
    grants = store.drawable_grants(session, [each.device_id for each in devices], now_ms=case.now_ms)
    live = [grant for grant in grants if grant.status is GrantStatus.LIVE and case.now_ms < grant.expires_ms]
    own = [grant for grant in live if grant.device_id == case.device.device_id]
    return IssueFacts(
        wallet_status=case.wallet.status,
        kyc_verified=case.wallet.kyc_verified,
        device_status=case.device.status,
        other_device_has_live_grants=len(own) < len(live),
        live_grants_count=len(own),
        pin_usage=customer_store.read_pin_usage(session, case.wallet.wallet_id),
        pin_verified=case.request.pin_verified,
    )


def _issue(session: Session, case: _Case, *, policy: GrantPolicy, sign_grant: SignGrant) -> IssuedGrant | GrantRefusal:
    offline = entries.payer_offline(case.device.device_id, case.wallet.currency)
    available = entries.payer_available(case.wallet.wallet_id, case.wallet.currency)
    balances = lock_accounts(session, [offline, available])
    # Only under the account's lock is it certain that no posting convicts the phone at the same time.
    if store.is_convicted(session, case.device.device_id):
        return GrantRefusal.DEVICE_DENIED
    # Nor that none has made the PIN due: without this, the payment drawn last would be refilled without asking for it.
    if not case.request.pin_verified and is_pin_due(
        customer_store.read_pin_usage(session, case.wallet.wallet_id), policy
    ):
        return GrantRefusal.PIN_REQUIRED
    plan = plan_reserve(reserve_minor=balances[offline], available_minor=balances[available], policy=policy)
    if isinstance(plan, GrantRefusal):
        return plan
    grant = _signed_grant(case, plan, policy=policy, sign_grant=sign_grant)
    if not store.insert_grant(session, grant):
        is_key_seen = store.find_grant_by_key(session, grant.public_key) is not None
        return GrantRefusal.DEVICE_KEY_SEEN if is_key_seen else GrantRefusal.SERIAL_TAKEN
    if plan.move_minor:
        move = entries.reserve_moved(
            f"grant:{grant.serial.hex()}",
            wallet_id=grant.wallet_id,
            device_id=grant.device_id,
            amount=Money(plan.move_minor, grant.currency),
        )
        post_or_raise(session, [move], now_ms=case.now_ms)
    _note_issued(session, case, grant)
    return grant


def _signed_grant(case: _Case, plan: ReservePlan, *, policy: GrantPolicy, sign_grant: SignGrant) -> IssuedGrant:
    terms = GrantTerms(
        serial=case.request.serial,
        device_key=case.request.device_key,
        issued_s=case.now_ms // 1000,
        lifetime_s=policy.lifetime_s,
        limit_minor=min(policy.limit_minor, plan.total_minor),
        total_minor=plan.total_minor,
        currency=case.wallet.currency,
    )
    return IssuedGrant(
        serial=terms.serial,
        wallet_id=case.wallet.wallet_id,
        device_id=case.device.device_id,
        public_key=terms.device_key,
        grant_bytes=sign_grant(terms),
        issued_ms=terms.issued_s * 1000,
        lifetime_s=terms.lifetime_s,
        limit_minor=terms.limit_minor,
        total_minor=terms.total_minor,
        currency=terms.currency,
    )


def _note_issued(session: Session, case: _Case, grant: IssuedGrant) -> None:
    device = case.device
    if not device.has_offline_rights:
        customer_store.move_offline_rights(session, wallet_id=grant.wallet_id, device_id=device.device_id)
    customer_store.set_release_due(
        session,
        device.device_id,
        release_due_ms=max(due_ms(grant.expires_ms), device.release_due_ms or 0),
        releases_count=device.releases_count,
    )
    if case.request.pin_verified:
        customer_store.reset_pin_usage(session, grant.wallet_id)
