"""Logins: made with roles of one kind, suspended and let in again."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from cloud.identity import attempt_store, mail_store, passkey_store, store, token_store
from cloud.identity.hashing import Purpose, SecretHash
from cloud.identity.passwords import spell_email
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.store import Login
from cloud.identity.tables import SCOPE_LENGTH_MAX, LoginStatus
from cloud.permissions import CUSTOMER_ROLES, OPERATOR_ROLES, STAFF_ROLES, RoleHeld
from sync.ids import RandomBytes

# Crockford's base 32 without vowels that spell, so that an id can be read out; 12 characters are 60 bits.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HOUR_MS = 3600 * 1000
OPERATOR_SESSION_MS = 12 * _HOUR_MS
SESSION_MS = 30 * 24 * _HOUR_MS
KEPT_MS = 30 * 24 * _HOUR_MS
_DELETED_AT_ONCE_MAX = 1000
_MEMBERS_MAX = 200


def make_id(letter: str, random_bytes: RandomBytes, *, length: int = 12) -> str:
    """Make an id: a letter and characters that can be read out; ``L`` for logins, ``S`` for login sessions."""
    return letter + "".join(_ALPHABET[byte & 31] for byte in random_bytes(length))


def create_login(
    session: Session, login: Login, *, roles: Sequence[RoleHeld], password: SecretHash
) -> Login | IdentityRefusal:
    """Make a login with roles of one kind (customer, one merchant's staff, operator); answers it as stored."""
    email = spell_email(login.email)
    if email is None:
        return IdentityRefusal.EMAIL_INVALID
    if not _are_of_one_kind(roles):
        return IdentityRefusal.ROLE_SCOPE_INVALID
    spelled = Login(login.login_id, email, login.created_at_ms, login.status)
    if not store.insert_login(session, spelled, roles):
        return IdentityRefusal.EMAIL_TAKEN
    store.write_secret(session, login.login_id, Purpose.PASSWORD, password, now_ms=login.created_at_ms)
    return spelled


def members(session: Session, scope: str) -> list[tuple[Login, tuple[RoleHeld, ...]]]:
    """List who has a role for a merchant, by e-mail, at most 200."""
    found = store.logins_in(session, scope, logins_max=_MEMBERS_MAX)
    return [(login, store.roles_of(session, login.login_id)) for login in found]


def suspend(session: Session, login_id: str, *, now_ms: int, scope: str | None = None) -> IdentityRefusal | None:
    """Suspend a login and end every session of it; a right password lets nobody in until it is lifted.

    With a ``scope``, a login without a role there is as unknown as none.
    """
    if scope is not None and not _is_member(session, login_id, scope):
        return IdentityRefusal.LOGIN_UNKNOWN
    refusal = _change(session, login_id, LoginStatus.ACTIVE, LoginStatus.SUSPENDED, now_ms=now_ms)
    if refusal is None:
        token_store.revoke_all(session, login_id, now_ms=now_ms)
    return refusal


def unsuspend(session: Session, login_id: str, *, now_ms: int, scope: str | None = None) -> IdentityRefusal | None:
    """Lift a suspension; the sessions that it ended stay ended. ``scope`` as with ``suspend``."""
    if scope is not None and not _is_member(session, login_id, scope):
        return IdentityRefusal.LOGIN_UNKNOWN
    return _change(session, login_id, LoginStatus.SUSPENDED, LoginStatus.ACTIVE, now_ms=now_ms)


def end_sessions_of_device(session: Session, device_id: str, *, now_ms: int) -> int:
    """End the sessions that are bound to a phone, because it is lost; answers how many there were."""
    return token_store.revoke_of_device(session, device_id, now_ms=now_ms)


def forget_old(session: Session, *, now_ms: int) -> int:
    """Delete a thousand each of what ended 30 days ago and of challenges and links that are over; answers how many.

    What ends are sessions, counts of attempts, and letters that were given up.
    """
    before_ms = now_ms - KEPT_MS
    sessions = token_store.delete_ended(session, before_ms=before_ms, tokens_max=_DELETED_AT_ONCE_MAX)
    counts = attempt_store.delete_old(session, before_ms=before_ms, rows_max=_DELETED_AT_ONCE_MAX)
    challenges = passkey_store.delete_expired(session, now_ms=now_ms, rows_max=_DELETED_AT_ONCE_MAX)
    links = mail_store.delete_expired(session, now_ms=now_ms, rows_max=_DELETED_AT_ONCE_MAX)
    letters = mail_store.delete_failed(session, before_ms=before_ms, rows_max=_DELETED_AT_ONCE_MAX)
    return sessions + counts + challenges + links + letters


def status_refusal(status: LoginStatus) -> IdentityRefusal | None:
    """Say why a login of this status may not sign in, if so."""
    match status:
        case LoginStatus.ACTIVE:
            return None
        case LoginStatus.SUSPENDED:
            return IdentityRefusal.LOGIN_SUSPENDED
        case LoginStatus.BLOCKED:
            return IdentityRefusal.LOGIN_BLOCKED


def session_length_ms(roles: Sequence[RoleHeld]) -> int:
    """Return how long a session lasts at most: a working day for operators, 30 days for everybody else."""
    return OPERATOR_SESSION_MS if any(held.role in OPERATOR_ROLES for held in roles) else SESSION_MS


def _is_member(session: Session, login_id: str, scope: str) -> bool:
    return any(held.scope == scope for held in store.roles_of(session, login_id))


def _are_of_one_kind(roles: Sequence[RoleHeld]) -> bool:
    scopes = {held.scope for held in roles}
    kinds = {held.role for held in roles}
    if not roles or any(len(scope) > SCOPE_LENGTH_MAX for scope in scopes):
        return False
    if kinds <= OPERATOR_ROLES:
        return scopes == {""}
    return (kinds <= STAFF_ROLES or kinds <= CUSTOMER_ROLES) and len(scopes) == 1 and "" not in scopes


def _change(
    session: Session, login_id: str, from_status: LoginStatus, to_status: LoginStatus, *, now_ms: int
) -> IdentityRefusal | None:
    if store.lock_login(session, login_id) is None:
        return IdentityRefusal.LOGIN_UNKNOWN
    if not store.change_status(session, login_id, from_status=from_status, to_status=to_status, now_ms=now_ms):
        return IdentityRefusal.LOGIN_NOT_IN_THAT_STATUS
    return None
