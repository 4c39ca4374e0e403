"""Takes grants back and lets reserves go (protocol §4): return by statement, lost phones, and what time has freed.

One rule says how much stays (``reserve.held_minor``); everything above it goes back to available money, by a return at
once and by ``release_due`` later. Nothing here decides by a counter of its own: the amount follows from the balance,
the grants and the posted codes found under lock, so that doing it twice releases once.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.entries import AccountRef
from cloud.ledger.service import find_entry, lock_accounts
from cloud.wallets import customer_store, store
from cloud.wallets.customer_store import Device
from cloud.wallets.reserve import (
    DenyReason,
    DeviceStatus,
    GrantStatus,
    Hold,
    ReturnRefusal,
    ReturnStatement,
    check_return,
    due_ms,
    held_minor,
)
from cloud.wallets.service import PostedCounters, post_or_raise
from cloud.wallets.store import DeniedSerial, IssuedGrant
from sync.ids import Serial
from sync.money import Money

LOOK_AGAIN_MS = 10 * 60 * 1000
"""How soon a reserve is looked at again that waits for returned codes to be posted."""
_EXPIRIES_MAX = 1000
_OPEN = (GrantStatus.LIVE, GrantStatus.EXPIRED)


@dataclass(frozen=True, slots=True)
class ReserveRelease:
    """What went back to available money, and what of the reserve stayed."""

    device_id: str
    released: Money
    held: Money


def return_grants(
    session: Session,
    device_id: str,
    statements: Sequence[ReturnStatement],
    *,
    posted: PostedCounters,
    now_ms: int,
) -> ReserveRelease | ReturnRefusal:
    """Take the phone's verified statements, one for each live grant, and release all but what they leave open.

    The same statements again get the first answer. The statements are kept: they convict a phone that lied.
    """
    found = customer_store.devices_by_id(session, [device_id]).get(device_id)
    if found is None:
        return ReturnRefusal.DEVICE_UNKNOWN
    currency = customer_store.lock_wallets(session, [found.wallet_id])[found.wallet_id].currency
    device = customer_store.devices_by_id(session, [device_id])[device_id]
    cause = _return_cause(statements)
    if statements and _is_repeated(session, statements):
        return _first_answer(session, device, cause, currency=currency)
    if device.status is not DeviceStatus.ACTIVE:
        return ReturnRefusal.DEVICE_NOT_ACTIVE
    grants = store.drawable_grants(session, [device_id], now_ms=now_ms)
    refusal = check_return(
        statements,
        open_limits_minor={each.serial: each.limit_minor for each in grants if each.status in _OPEN},
        live=[each.serial for each in grants if each.status in _OPEN and now_ms < each.expires_ms],
    )
    if refusal is not None:
        return refusal
    if not all(store.record_return(session, statement, returned_ms=now_ms) for statement in statements):
        raise LedgerInvariantError("a grant of a locked wallet changed while it was returned")
    return _release(session, {cause: (device, currency)}, posted=posted, now_ms=now_ms)[0]


def report_key_lost(session: Session, device_id: str, *, now_ms: int) -> list[Serial] | None:
    """Take a lost phone's rights and deny its live grants; its reserve stays until nothing can be posted any more.

    Answers the newly denied serials; None where there is no such device. A second report changes nothing.
    """
    device = customer_store.devices_by_id(session, [device_id]).get(device_id)
    if device is None:
        return None
    customer_store.lock_wallets(session, [device.wallet_id])
    if not customer_store.mark_lost(session, device_id):
        return []
    drawable = store.drawable_grants(session, [device_id], now_ms=now_ms)
    live = [each for each in drawable if each.status is GrantStatus.LIVE]
    serials = [each.serial for each in live]
    store.change_status(session, serials, from_status=GrantStatus.LIVE, to_status=GrantStatus.LOST)
    denials = [DeniedSerial(each.serial, now_ms, each.expires_ms, DenyReason.KEY_LOST) for each in live]
    return sorted(store.insert_denials(session, denials))


def release_due(
    session: Session, *, posted: PostedCounters, now_ms: int, devices_max: int = 100
) -> list[ReserveRelease]:
    """Look at the reserves whose time has come, at most ``devices_max``; answers those of which something was released.

    Call it again while it answers, and on a timer. It also marks grants whose time is over as expired.
    """
    overdue = store.overdue_live_grants(session, now_ms=now_ms, grants_max=_EXPIRIES_MAX)
    store.change_status(session, overdue, from_status=GrantStatus.LIVE, to_status=GrantStatus.EXPIRED)
    candidates = customer_store.due_devices(session, now_ms=now_ms, devices_max=devices_max)
    wallets = customer_store.lock_wallets(session, {each.wallet_id for each in candidates})
    devices = customer_store.devices_by_id(session, [each.device_id for each in candidates])
    due = {
        f"release:{each.device_id}:{each.releases_count + 1}": (each, wallets[each.wallet_id].currency)
        for each in devices.values()
        if each.release_due_ms is not None and each.release_due_ms <= now_ms
    }
    releases = _release(session, due, posted=posted, now_ms=now_ms)
    return [release for release in releases if release.released]


def _release(
    session: Session, devices: Mapping[str, tuple[Device, str]], *, posted: PostedCounters, now_ms: int
) -> list[ReserveRelease]:
    """Release what is not held, for each device under its cause; locks all accounts in one go."""
    offline: dict[str, AccountRef] = {}
    accounts: list[AccountRef] = []
    for device, currency in devices.values():
        offline[device.device_id] = entries.payer_offline(device.device_id, currency)
        accounts += [offline[device.device_id], entries.payer_available(device.wallet_id, currency)]
    balances = lock_accounts(session, accounts)
    holds = _holds(session, list(offline), posted=posted, now_ms=now_ms)
    releases: list[ReserveRelease] = []
    moves = []
    for cause, (device, currency) in devices.items():
        reserve_minor = balances[offline[device.device_id]]
        held = held_minor(holds[device.device_id], reserve_minor=reserve_minor, now_ms=now_ms)
        released = Money(reserve_minor - held, currency)
        releases.append(ReserveRelease(device.device_id, released, Money(held, currency)))
        if released:
            moves.append(
                entries.reserve_released(cause, wallet_id=device.wallet_id, device_id=device.device_id, amount=released)
            )
        customer_store.set_release_due(
            session,
            device.device_id,
            release_due_ms=_look_again_ms(holds[device.device_id], now_ms=now_ms) if held else None,
            releases_count=device.releases_count + 1,
        )
    post_or_raise(session, moves, now_ms=now_ms)
    return releases


def _holds(
    session: Session, device_ids: Sequence[str], *, posted: PostedCounters, now_ms: int
) -> dict[str, list[Hold]]:
    grants = store.drawable_grants(session, device_ids, now_ms=now_ms)
    serials = [grant.serial for grant in grants]
    shown, counters = store.returned_codes(session, serials), posted(session, serials)
    holds: dict[str, list[Hold]] = {device_id: [] for device_id in device_ids}
    for grant in grants:
        still_open = None
        if grant.status is GrantStatus.RETURNED:
            done = counters.get(grant.serial, frozenset())
            still_open = sum(ceiling for counter, ceiling in shown[grant.serial].items() if counter not in done)
        holds[grant.device_id].append(Hold(grant.expires_ms, still_open))
    return holds


def _look_again_ms(holds: Sequence[Hold], *, now_ms: int) -> int:
    whole = [due_ms(hold.expires_ms) for hold in holds if hold.open_minor is None]
    return max(whole) if whole else now_ms + LOOK_AGAIN_MS


def _return_cause(statements: Sequence[ReturnStatement]) -> str:
    signed = sorted(statement.signed for statement in statements)
    return f"return:{hashlib.sha256(b''.join(hashlib.sha256(each).digest() for each in signed)).hexdigest()}"


def _is_repeated(session: Session, statements: Sequence[ReturnStatement]) -> bool:
    grants: dict[Serial, IssuedGrant] = store.grants_by_serial(session, [each.serial for each in statements])
    return all(each.serial in grants and grants[each.serial].return_statement == each.signed for each in statements)


def _first_answer(session: Session, device: Device, cause: str, *, currency: str) -> ReserveRelease:
    account = entries.payer_offline(device.device_id, currency)
    entry = find_entry(session, cause)
    released = Money(0, currency)
    if entry is not None:
        released = next(-posting.amount for posting in entry.postings if posting.account == account)
    held = Money(lock_accounts(session, [account])[account], currency)
    return ReserveRelease(device.device_id, released, held)
