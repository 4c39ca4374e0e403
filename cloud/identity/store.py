"""SQL of logins, their roles and secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, insert_all_or_none
from cloud.identity.hashing import Purpose, SecretHash
from cloud.identity.tables import LOGIN_ROLES, LOGIN_SECRETS, LOGINS, LoginStatus
from cloud.permissions import Role, RoleHeld


@dataclass(frozen=True, slots=True)
class Login:
    """A login as stored."""

    login_id: str
    email: str
    created_at_ms: int
    status: LoginStatus = LoginStatus.ACTIVE
    email_verified_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """A password or PIN as stored; ``version`` counts the person's changes of it."""

    hash: SecretHash
    version: int


def insert_login(session: Session, login: Login, roles: Sequence[RoleHeld]) -> bool:
    """Insert a login with its roles; false where id or e-mail is taken."""
    row = {
        "login_id": login.login_id,
        "email": login.email,
        "status": login.status.value,
        "created_at_ms": login.created_at_ms,
        "status_changed_ms": login.created_at_ms,
    }
    if not insert_all_or_none(session, LOGINS, [row]):
        return False
    held = [{"login_id": login.login_id, "role": each.role.value, "scope": each.scope} for each in sorted(set(roles))]
    insert_all(session, LOGIN_ROLES, held)
    return True


def find_login(session: Session, login_id: str) -> Login | None:
    """The login of this id."""
    row = session.execute(select(LOGINS).where(LOGINS.c.login_id == login_id)).one_or_none()
    return None if row is None else _login(row)


def find_login_by_email(session: Session, email: str) -> Login | None:
    """The login with this e-mail, as spelled by ``passwords.spell_email``."""
    row = session.execute(select(LOGINS).where(LOGINS.c.email == email)).one_or_none()
    return None if row is None else _login(row)


def lock_login(session: Session, login_id: str) -> Login | None:
    """Lock a login: whoever changes its status, its secrets or opens a session does this first."""
    row = session.execute(select(LOGINS).where(LOGINS.c.login_id == login_id).with_for_update()).one_or_none()
    return None if row is None else _login(row)


def roles_of(session: Session, login_id: str) -> tuple[RoleHeld, ...]:
    """A login's roles, in a fixed order."""
    rows = session.execute(select(LOGIN_ROLES).where(LOGIN_ROLES.c.login_id == login_id))
    return tuple(sorted(RoleHeld(Role(row.role), row.scope) for row in rows))


def logins_in(session: Session, scope: str, *, logins_max: int) -> list[Login]:
    """Who has a role for this merchant or wallet, by e-mail."""
    members = select(LOGIN_ROLES.c.login_id).where(LOGIN_ROLES.c.scope == scope)
    statement = select(LOGINS).where(LOGINS.c.login_id.in_(members)).order_by(LOGINS.c.email).limit(logins_max)
    return [_login(row) for row in session.execute(statement)]


def change_status(
    session: Session, login_id: str, *, from_status: LoginStatus, to_status: LoginStatus, now_ms: int
) -> bool:
    """Change the status if it still is ``from_status``."""
    is_meant = (LOGINS.c.login_id == login_id) & (LOGINS.c.status == from_status.value)
    statement = LOGINS.update().where(is_meant).values(status=to_status.value, status_changed_ms=now_ms)
    return session.connection().execute(statement).rowcount == 1


def set_email_verified(session: Session, login_id: str, *, now_ms: int) -> None:
    """Note when its owner has shown to read the mailbox, the first time."""
    is_meant = (LOGINS.c.login_id == login_id) & LOGINS.c.email_verified_ms.is_(None)
    session.execute(LOGINS.update().where(is_meant).values(email_verified_ms=now_ms))


def find_secret(session: Session, login_id: str, purpose: Purpose) -> Secret | None:
    """The stored password or PIN."""
    row = session.execute(select(LOGIN_SECRETS).where(_is_secret(login_id, purpose))).one_or_none()
    return None if row is None else Secret(SecretHash(row.secret_hash, row.pepper_id), row.version)


def write_secret(session: Session, login_id: str, purpose: Purpose, chosen: SecretHash, *, now_ms: int) -> None:
    """Write a new password or PIN, over the one before if there is one; the login is locked before."""
    known = find_secret(session, login_id, purpose)
    values = {
        "secret_hash": chosen.text,
        "pepper_id": chosen.pepper_id,
        "version": 1 if known is None else known.version + 1,
        "changed_at_ms": now_ms,
    }
    if known is None:
        insert_all(session, LOGIN_SECRETS, [{"login_id": login_id, "purpose": purpose.value, **values}])
    else:
        session.execute(LOGIN_SECRETS.update().where(_is_secret(login_id, purpose)).values(**values))


def renew_hash(session: Session, login_id: str, purpose: Purpose, newer: SecretHash) -> None:
    """Write the same secret as hashed anew, with the newest pepper or parameters."""
    statement = LOGIN_SECRETS.update().where(_is_secret(login_id, purpose))
    session.execute(statement.values(secret_hash=newer.text, pepper_id=newer.pepper_id))


def has_logins(session: Session) -> bool:
    """Whether anybody has a login, and so a secret that needs its pepper."""
    return session.execute(select(LOGINS.c.login_id).limit(1)).first() is not None


def _is_secret(login_id: str, purpose: Purpose) -> ColumnElement[bool]:
    return (LOGIN_SECRETS.c.login_id == login_id) & (LOGIN_SECRETS.c.purpose == purpose.value)


def _login(row: Row[Any]) -> Login:
    return Login(row.login_id, row.email, row.created_at_ms, LoginStatus(row.status), row.email_verified_ms)
