"""SQL of grants, of what phones said when they returned them, and of the deny list."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all_or_none, insert_new, where_keys
from cloud.wallets.reserve import RECORDS_ACCEPTED_MS, DenyReason, GrantStatus, ReturnStatement
from cloud.wallets.tables import DENIED_SERIALS, GRANTS, RETURNED_CODES
from sync.ids import Serial

_SERIAL = ("serial",)


@dataclass(frozen=True, slots=True)
class IssuedGrant:
    """A grant as issued and as it stands; ``grant_bytes`` is what the cloud signed."""

    serial: Serial
    wallet_id: str
    device_id: str
    public_key: bytes
    grant_bytes: bytes
    issued_ms: int
    lifetime_s: int
    limit_minor: int
    total_minor: int
    currency: str
    status: GrantStatus = GrantStatus.LIVE
    last_counter: int | None = None
    return_statement: bytes | None = None
    returned_ms: int | None = None

    @property
    def expires_ms(self) -> int:
        return self.issued_ms + self.lifetime_s * 1000


@dataclass(frozen=True, slots=True)
class DeniedSerial:
    """A denial; ``snapshot_version`` is the first trust snapshot that carries it, None until one does."""

    serial: Serial
    denied_since_ms: int
    expires_ms: int
    reason: DenyReason
    snapshot_version: int | None = None


def insert_grant(session: Session, grant: IssuedGrant) -> bool:
    """Insert a live grant; false where the serial or the public key is taken."""
    row = {
        "serial": grant.serial,
        "wallet_id": grant.wallet_id,
        "device_id": grant.device_id,
        "public_key": grant.public_key,
        "grant_bytes": grant.grant_bytes,
        "issued_ms": grant.issued_ms,
        "lifetime_s": grant.lifetime_s,
        "expires_ms": grant.expires_ms,
        "limit_minor": grant.limit_minor,
        "total_minor": grant.total_minor,
        "currency": grant.currency,
        "status": grant.status.value,
    }
    return insert_all_or_none(session, GRANTS, [row])


def grants_by_serial(session: Session, serials: Collection[Serial]) -> dict[Serial, IssuedGrant]:
    """Those of the grants that the cloud has issued."""
    found: dict[Serial, IssuedGrant] = {}
    for condition in where_keys(GRANTS, key=_SERIAL, keys=[(serial,) for serial in serials]):
        for row in session.execute(select(GRANTS).where(condition)):
            found[Serial(row.serial)] = _grant(row)
    return found


def find_grant_by_key(session: Session, public_key: bytes) -> IssuedGrant | None:
    """The grant that was issued to this key."""
    row = session.execute(select(GRANTS).where(GRANTS.c.public_key == public_key)).one_or_none()
    return None if row is None else _grant(row)


def drawable_grants(session: Session, device_ids: Collection[str], *, now_ms: int) -> list[IssuedGrant]:
    """The devices' grants under which something can still be posted, the oldest first."""
    found: list[IssuedGrant] = []
    for condition in where_keys(GRANTS, key=("device_id",), keys=[(each,) for each in sorted(device_ids)]):
        statement = select(GRANTS).where(condition, GRANTS.c.expires_ms > now_ms - RECORDS_ACCEPTED_MS)
        rows = session.execute(statement.order_by(GRANTS.c.issued_ms, GRANTS.c.serial))
        found.extend(_grant(row) for row in rows)
    return found


def change_status(
    session: Session, serials: Collection[Serial], *, from_status: GrantStatus, to_status: GrantStatus
) -> int:
    """Change the grants that still are ``from_status``; answers how many were."""
    changed = 0
    for condition in where_keys(GRANTS, key=_SERIAL, keys=sorted((serial,) for serial in serials)):
        statement = GRANTS.update().where(condition, GRANTS.c.status == from_status.value)
        changed += session.connection().execute(statement.values(status=to_status.value)).rowcount
    return changed


def overdue_live_grants(session: Session, *, now_ms: int, grants_max: int) -> list[Serial]:
    """Grants that still say live though their time is over."""
    is_overdue = (GRANTS.c.status == GrantStatus.LIVE.value) & (GRANTS.c.expires_ms <= now_ms)
    statement = select(GRANTS.c.serial).where(is_overdue).order_by(GRANTS.c.expires_ms).limit(grants_max)
    return [Serial(serial) for serial in session.scalars(statement)]


def record_return(session: Session, statement: ReturnStatement, *, returned_ms: int) -> bool:
    """Keep the statement as evidence and mark the grant returned; false where it is neither live nor expired."""
    is_open = GRANTS.c.status.in_([GrantStatus.LIVE.value, GrantStatus.EXPIRED.value])
    update = GRANTS.update().where(GRANTS.c.serial == statement.serial, is_open)
    values = {
        "status": GrantStatus.RETURNED.value,
        "last_counter": statement.last_counter,
        "return_statement": statement.signed,
        "returned_ms": returned_ms,
    }
    if session.connection().execute(update.values(**values)).rowcount != 1:
        return False
    rows = [
        {"serial": statement.serial, "counter": counter, "ceiling_minor": ceiling_minor}
        for counter, ceiling_minor in statement.shown
    ]
    return insert_all_or_none(session, RETURNED_CODES, rows)


def returned_codes(session: Session, serials: Collection[Serial]) -> dict[Serial, dict[int, int]]:
    """What the return statements left open: counter → ceiling in minor units, for each serial that was returned."""
    returned = select(GRANTS.c.serial).where(GRANTS.c.returned_ms.is_not(None))
    keys = [(serial,) for serial in serials]
    found: dict[Serial, dict[int, int]] = {}
    for condition in where_keys(GRANTS, key=_SERIAL, keys=keys):
        found.update({Serial(serial): {} for serial in session.scalars(returned.where(condition))})
    for condition in where_keys(RETURNED_CODES, key=_SERIAL, keys=[(serial,) for serial in found]):
        for row in session.execute(select(RETURNED_CODES).where(condition)):
            found[Serial(row.serial)][row.counter] = row.ceiling_minor
    return found


def insert_denials(session: Session, denials: Sequence[DeniedSerial]) -> set[Serial]:
    """Insert those that are not denied yet; answers which were new."""
    rows = [
        {
            "serial": denial.serial,
            "denied_since_ms": denial.denied_since_ms,
            "expires_ms": denial.expires_ms,
            "reason": denial.reason.value,
            "snapshot_version": None,
        }
        for denial in denials
    ]
    are_new = insert_new(session, DENIED_SERIALS, rows, key=_SERIAL)
    return {denial.serial for denial, is_new in zip(denials, are_new, strict=True) if is_new}


def denials_by_serial(session: Session, serials: Collection[Serial]) -> dict[Serial, DeniedSerial]:
    """Those of the serials that are denied."""
    found: dict[Serial, DeniedSerial] = {}
    for condition in where_keys(DENIED_SERIALS, key=_SERIAL, keys=[(serial,) for serial in serials]):
        for row in session.execute(select(DENIED_SERIALS).where(condition)):
            found[Serial(row.serial)] = _denial(row)
    return found


def is_convicted(session: Session, device_id: str) -> bool:
    """Whether a grant of this device was denied because its phone signed what no honest phone signs."""
    reasons = [DenyReason.DOUBLE_SPEND.value, DenyReason.FALSE_RETURN.value]
    statement = (
        select(DENIED_SERIALS.c.serial)
        .join(GRANTS, GRANTS.c.serial == DENIED_SERIALS.c.serial)
        .where(GRANTS.c.device_id == device_id, DENIED_SERIALS.c.reason.in_(reasons))
    )
    return session.execute(statement.limit(1)).first() is not None


def denials_in_force(session: Session, *, now_ms: int) -> list[DeniedSerial]:
    """Denials of grants that a terminal would otherwise still take, by ascending serial."""
    statement = select(DENIED_SERIALS).where(DENIED_SERIALS.c.expires_ms > now_ms)
    return [_denial(row) for row in session.execute(statement.order_by(DENIED_SERIALS.c.serial))]


def mark_published(session: Session, serials: Collection[Serial], *, version: int) -> None:
    """Write the snapshot version to those denials that no snapshot carried before."""
    for condition in where_keys(DENIED_SERIALS, key=_SERIAL, keys=sorted((serial,) for serial in serials)):
        statement = DENIED_SERIALS.update().where(condition, DENIED_SERIALS.c.snapshot_version.is_(None))
        session.execute(statement.values(snapshot_version=version))


def _grant(row: Row[Any]) -> IssuedGrant:
    return IssuedGrant(
        serial=Serial(row.serial),
        wallet_id=row.wallet_id,
        device_id=row.device_id,
        public_key=row.public_key,
        grant_bytes=row.grant_bytes,
        issued_ms=row.issued_ms,
        lifetime_s=row.lifetime_s,
        limit_minor=row.limit_minor,
        total_minor=row.total_minor,
        currency=row.currency,
        status=GrantStatus(row.status),
        last_counter=row.last_counter,
        return_statement=row.return_statement,
        returned_ms=row.returned_ms,
    )


def _denial(row: Row[Any]) -> DeniedSerial:
    return DeniedSerial(
        serial=Serial(row.serial),
        denied_since_ms=row.denied_since_ms,
        expires_ms=row.expires_ms,
        reason=DenyReason(row.reason),
        snapshot_version=row.snapshot_version,
    )
