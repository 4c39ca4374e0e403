"""Signing in and what hangs on it: each evaluation of a secret is counted and committed before it is made.

A password or PIN is never evaluated inside a transaction: the first transaction counts the attempt, then Argon2 works
without holding a lock, and a second transaction writes what came of it, if the login is still as it was read.
"""

import base64
import hashlib
import logging
import secrets as system_secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.identity import attempt_store, mail_store, store, token_store
from cloud.identity.hashing import Hasher, Purpose, SecretHash
from cloud.identity.lockout import Locked, count_attempt, count_visit
from cloud.identity.login_service import create_login, make_id, session_length_ms, status_refusal
from cloud.identity.mails import MailPurpose
from cloud.identity.passwords import SecretRefusal, judge_password, judge_pin, spell_email
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.store import Login, Secret
from cloud.identity.tables import AttemptPurpose
from cloud.identity.token_store import AccessToken
from cloud.permissions import RoleHeld, SignedIn, TokenKind
from sync.clock import Clock
from sync.ids import RandomBytes

T = TypeVar("T")
_log = logging.getLogger(__name__)
TOKEN_SIZE = 32
TOKEN_LENGTH = 43
SESSIONS_MAX = 50
_USE_NOTED_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new login session; ``token`` is said this once and stored nowhere."""

    token: str
    person: SignedIn


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody new: the e-mail as it is stored, and the password's hash."""

    email: str
    password: SecretHash


@dataclass(frozen=True, slots=True)
class _Reserved:
    """An attempt that is counted: what is to be evaluated, and whose it is, if anybody's."""

    login: Login | None
    secret: Secret | None


class Identity:
    """Who is who, for one process; safe between threads."""

    def __init__(
        self, engine: Engine, clock: Clock, hasher: Hasher, random_bytes: RandomBytes = system_secrets.token_bytes
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._random_bytes = random_bytes
        self.hasher = hasher

    def log_in(
        self, *, email: str, password: str, address: str, kind: TokenKind
    ) -> OpenedSession | IdentityRefusal | Locked:
        """Open a session for who knows the password; unknown e-mails are counted and cost the same."""
        spelled = spell_email(email) or email
        with self.hasher.turn():
            reserved = self._reserve_log_in(spelled, address)
            if isinstance(reserved, Locked):
                _log_locked_out(AttemptPurpose.PASSWORD, spelled, address)
                return reserved
            is_right = self.hasher.is_right(_hash(reserved), Purpose.PASSWORD, password)
            if not is_right or reserved.login is None:
                return IdentityRefusal.WRONG_CREDENTIALS
            newer = self._newer_hash(_hash(reserved), Purpose.PASSWORD, password)
        return self.open_session(kind, admit=lambda session: self._admit(session, reserved, newer))

    def open_session(
        self, kind: TokenKind, *, admit: Callable[[Session], Login | IdentityRefusal]
    ) -> OpenedSession | IdentityRefusal:
        """Open a session for the login that ``admit`` names in the same transaction, locked and free to sign in."""
        token = base64.urlsafe_b64encode(self._random_bytes(TOKEN_SIZE)).rstrip(b"=").decode()
        session_id = make_id("S", self._random_bytes, length=16)
        now_ms, token_hash = self._clock.now_ms(), hash_token(token)

        def work(session: Session) -> OpenedSession | IdentityRefusal:
            login = admit(session)
            if isinstance(login, IdentityRefusal):
                return login
            roles = store.roles_of(session, login.login_id)
            expires_ms = now_ms + session_length_ms(roles)
            opened = AccessToken(token_hash, session_id, login.login_id, kind, now_ms, now_ms, expires_ms)
            token_store.insert_token(session, opened)
            return OpenedSession(token, _person(login, roles, opened))

        def lookup(session: Session) -> OpenedSession | None:
            found = _find_person(session, token_hash, now_ms=now_ms)
            return None if found is None else OpenedSession(token, found[0])

        return run_transaction(self._engine, work, lookup=lookup)

    def find_session(self, token: str) -> SignedIn | None:
        """Say who holds this token; None where it lets nobody in (any more)."""
        if len(token) != TOKEN_LENGTH or not token.isascii():
            return None
        token_hash, now_ms = hash_token(token), self._clock.now_ms()
        found = run_read(self._engine, lambda session: _find_person(session, token_hash, now_ms=now_ms))
        if found is None:
            return None
        person, last_used_ms = found
        if now_ms - last_used_ms >= _USE_NOTED_EVERY_MS:
            self._again(lambda session: token_store.note_use(session, token_hash, now_ms=now_ms))
        return person

    def log_out(self, person: SignedIn) -> None:
        """Revoke the session that the request came with."""
        self.revoke_session(person, person.session_id)

    def log_out_everywhere(self, person: SignedIn) -> int:
        """Revoke every session of the login; answers how many there were."""
        now_ms = self._clock.now_ms()
        return self._again(lambda session: token_store.revoke_all(session, person.login_id, now_ms=now_ms))

    def sessions(self, person: SignedIn) -> list[AccessToken]:
        """List the login's live sessions, the last used first, at most 50."""
        now_ms = self._clock.now_ms()
        return run_read(
            self._engine,
            lambda session: token_store.live_tokens(session, person.login_id, now_ms=now_ms, tokens_max=SESSIONS_MAX),
        )

    def revoke_session(self, person: SignedIn, session_id: str) -> IdentityRefusal | None:
        """Revoke one of the login's own sessions; another's is as unknown as none."""
        now_ms = self._clock.now_ms()
        is_done = self._again(
            lambda session: token_store.revoke_session(session, person.login_id, session_id, now_ms=now_ms)
        )
        return None if is_done else IdentityRefusal.SESSION_UNKNOWN

    def change_password(
        self, person: SignedIn, *, password: str, new_password: str
    ) -> SecretRefusal | IdentityRefusal | Locked | None:
        """Change the password for who knows the old one, and revoke every other session."""
        unfit = judge_password(new_password, email=person.email)
        if unfit is not None:
            return unfit
        return self._change_secret(person, password=password, purpose=Purpose.PASSWORD, text=new_password)

    def set_pin(self, person: SignedIn, *, password: str, pin: str) -> SecretRefusal | IdentityRefusal | Locked | None:
        """Set or change the PIN for who knows the password: an open browser alone gives nobody a new PIN."""
        unfit = judge_pin(pin)
        if unfit is not None:
            return unfit
        return self._change_secret(person, password=password, purpose=Purpose.PIN, text=pin)

    def verify_pin(
        self, person: SignedIn, pin: str, *, then: Callable[[Session], object]
    ) -> IdentityRefusal | Locked | None:
        """Evaluate a PIN; where it is right, ``then`` runs in the transaction that takes the counted attempt back."""
        return self._verify(person.login_id, Purpose.PIN, pin, subject=person.login_id, then=then)

    def verify_password(
        self, person: SignedIn, password: str, *, then: Callable[[Session], object]
    ) -> IdentityRefusal | Locked | None:
        """Evaluate the password of who is signed in, like ``verify_pin``; counted together with the log-ins."""
        return self._verify(person.login_id, Purpose.PASSWORD, password, subject=person.email, then=then)

    def bind_device(self, person: SignedIn, device_id: str) -> IdentityRefusal | None:
        """Bind this session to a phone that has proven itself, for the session's life."""
        is_bound = self._again(
            lambda session: token_store.bind_device(session, person.login_id, person.session_id, device_id=device_id)
        )
        return None if is_bound else IdentityRefusal.DEVICE_NOT_YOURS

    def make_login(
        self, *, email: str, password: str, roles: Sequence[RoleHeld]
    ) -> Login | IdentityRefusal | SecretRefusal:
        """Make a login for somebody who is told the password; they change it."""
        spelled = spell_email(email)
        if spelled is None:
            return IdentityRefusal.EMAIL_INVALID
        unfit = judge_password(password, email=spelled)
        if unfit is not None:
            return unfit
        with self.hasher.turn():
            chosen = self.hasher.hash(Purpose.PASSWORD, password)
        login = Login(make_id("L", self._random_bytes), spelled, self._clock.now_ms())
        return run_transaction(
            self._engine,
            lambda session: create_login(session, login, roles=roles, password=chosen),
            lookup=lambda session: store.find_login(session, login.login_id),
        )

    def admit(self, email: str, password: str, *, address: str) -> Admitted | SecretRefusal | IdentityRefusal | Locked:
        """Take somebody new in as far as the transaction that opens the account; stores nothing but the visit.

        The visit is counted before the password is hashed, since each one costs an evaluation of Argon2.
        """
        spelled = spell_email(email)
        if spelled is None:
            return IdentityRefusal.EMAIL_INVALID
        unfit = judge_password(password, email=spelled)
        if unfit is not None:
            return unfit
        with self.hasher.turn():
            return self.reserve_visit(address) or Admitted(spelled, self.hasher.hash(Purpose.PASSWORD, password))

    def reserve_visit(self, address: str) -> Locked | None:
        """Count a visit from this address, before anything is done for it."""
        now_ms = self._clock.now_ms()
        locked = run_transaction(self._engine, lambda session: _count_visit(session, address, now_ms=now_ms))
        if locked is not None:
            _log_locked_out(AttemptPurpose.ADDRESS, address, address)
        return locked

    def _reserve_log_in(self, email: str, address: str) -> _Reserved | Locked:
        now_ms = self._clock.now_ms()

        def work(session: Session) -> _Reserved | Locked:
            locked = _count_visit(session, address, now_ms=now_ms)
            if locked is not None:
                return locked
            login = store.find_login_by_email(session, email)
            secret = None if login is None else store.find_secret(session, login.login_id, Purpose.PASSWORD)
            self.hasher.require_pepper(None if secret is None else secret.hash)
            locked = attempt_store.reserve_attempt(
                session, email, AttemptPurpose.PASSWORD, count=count_attempt, now_ms=now_ms
            )
            return locked or _Reserved(login, secret)

        return run_transaction(self._engine, work)

    def _reserve(
        self, login_id: str, purpose: Purpose, counted_as: AttemptPurpose, *, subject: str
    ) -> _Reserved | Locked | IdentityRefusal:
        now_ms = self._clock.now_ms()

        def work(session: Session) -> _Reserved | Locked | IdentityRefusal:
            login, secret = store.find_login(session, login_id), store.find_secret(session, login_id, purpose)
            if secret is None:
                return IdentityRefusal.PIN_NOT_SET
            self.hasher.require_pepper(secret.hash)
            locked = attempt_store.reserve_attempt(session, subject, counted_as, count=count_attempt, now_ms=now_ms)
            return locked or _Reserved(login, secret)

        reserved = run_transaction(self._engine, work)
        if isinstance(reserved, Locked):
            _log_locked_out(counted_as, subject, "")
        return reserved

    def _verify(
        self, login_id: str, purpose: Purpose, text: str, *, subject: str, then: Callable[[Session], object]
    ) -> IdentityRefusal | Locked | None:
        with self.hasher.turn():
            reserved = self._reserve(login_id, purpose, AttemptPurpose(purpose.value), subject=subject)
            if isinstance(reserved, Locked | IdentityRefusal):
                return reserved
            if not self.hasher.is_right(_hash(reserved), purpose, text):
                return IdentityRefusal.WRONG_PIN if purpose is Purpose.PIN else IdentityRefusal.WRONG_PASSWORD
            newer = self._newer_hash(_hash(reserved), purpose, text)

        def finish(session: Session) -> IdentityRefusal | None:
            refusal = self._take_back(session, reserved, newer, purpose, subject=subject)
            if refusal is None:
                then(session)
            return refusal

        return self._again(finish)

    def _admit(self, session: Session, reserved: _Reserved, newer: SecretHash | None) -> Login | IdentityRefusal:
        login = reserved.login
        if login is None:
            return IdentityRefusal.WRONG_CREDENTIALS
        return self._take_back(session, reserved, newer, Purpose.PASSWORD, subject=login.email) or login

    def _change_secret(
        self, person: SignedIn, *, password: str, purpose: Purpose, text: str
    ) -> IdentityRefusal | Locked | None:
        with self.hasher.turn():
            reserved = self._reserve(person.login_id, Purpose.PASSWORD, AttemptPurpose.PASSWORD, subject=person.email)
            if isinstance(reserved, Locked | IdentityRefusal):
                return reserved
            if not self.hasher.is_right(_hash(reserved), Purpose.PASSWORD, password):
                return IdentityRefusal.WRONG_PASSWORD
            chosen = self.hasher.hash(purpose, text)
        now_ms = self._clock.now_ms()

        def finish(session: Session) -> IdentityRefusal | None:
            refusal = self._take_back(session, reserved, None, Purpose.PASSWORD, subject=person.email)
            if refusal is not None:
                return refusal
            store.write_secret(session, person.login_id, purpose, chosen, now_ms=now_ms)
            if purpose is Purpose.PASSWORD:
                mail_store.delete_tokens(session, person.login_id, MailPurpose.RESET_PASSWORD)
                token_store.revoke_all(session, person.login_id, now_ms=now_ms, but_session_id=person.session_id)
            return None

        return run_transaction(self._engine, finish)

    def _take_back(
        self, session: Session, reserved: _Reserved, newer: SecretHash | None, purpose: Purpose, *, subject: str
    ) -> IdentityRefusal | None:
        """Take the counted attempt back, unless somebody changed the secret or the status meanwhile."""
        login = None if reserved.login is None else store.lock_login(session, reserved.login.login_id)
        known = None if login is None else store.find_secret(session, login.login_id, purpose)
        if login is None or known is None or reserved.secret is None or known.version != reserved.secret.version:
            return IdentityRefusal.WRONG_CREDENTIALS
        attempt_store.forget_attempts(session, subject, AttemptPurpose(purpose.value))
        if newer is not None:
            store.renew_hash(session, login.login_id, purpose, newer)
        return status_refusal(login.status)

    def _newer_hash(self, stored: SecretHash | None, purpose: Purpose, text: str) -> SecretHash | None:
        is_outdated = stored is not None and self.hasher.is_outdated(stored)
        return self.hasher.hash(purpose, text) if is_outdated else None

    def _again(self, work: Callable[[Session], T]) -> T:
        # Looking up nothing lets a commit of unknown outcome run again: this work done twice is done once.
        return run_transaction(self._engine, work, lookup=lambda _session: None)


def _log_locked_out(purpose: AttemptPurpose, subject: str, address: str) -> None:
    # The hash tells one subject from another, as in the table of attempts, and nobody who it is.
    hashed = attempt_store.subject_hash(subject)[:8].hex()
    _log.warning("locked_out purpose=%s subject=%s address=%s", purpose.value, hashed, address)


def hash_token(token: str) -> bytes:
    """Return what is stored of a token; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def _hash(reserved: _Reserved) -> SecretHash | None:
    return None if reserved.secret is None else reserved.secret.hash


def _person(login: Login, roles: tuple[RoleHeld, ...], token: AccessToken) -> SignedIn:
    return SignedIn(
        login_id=login.login_id,
        email=login.email,
        roles=roles,
        session_id=token.session_id,
        kind=token.kind,
        expires_ms=token.expires_ms,
        device_id=token.device_id,
        is_email_verified=login.email_verified_ms is not None,
    )


def _count_visit(session: Session, address: str, *, now_ms: int) -> Locked | None:
    return attempt_store.reserve_attempt(session, address, AttemptPurpose.ADDRESS, count=count_visit, now_ms=now_ms)


def _find_person(session: Session, token_hash: bytes, *, now_ms: int) -> tuple[SignedIn, int] | None:
    token = token_store.find_token(session, token_hash)
    if token is None or not token.is_live(now_ms):
        return None
    login = store.find_login(session, token.login_id)
    if login is None or status_refusal(login.status) is not None:
        return None
    return _person(login, store.roles_of(session, login.login_id), token), token.last_used_ms
