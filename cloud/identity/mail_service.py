"""Letters with links: an e-mail address confirmed, a password chosen anew by who reads the mailbox.

Asking for one writes a row and nothing else: whether the address is anybody's is looked up by the worker, later, so the
answer, its work and its time tell nothing. The token is made as the letter is sent, and only its hash is kept, so the
database never holds what opens an account.
"""

import base64
import hashlib
import logging
import secrets as system_secrets
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.identity import action_store, attempt_store, mail_store, store, token_store
from cloud.identity.action_store import Action, ActionSubject
from cloud.identity.hashing import Purpose
from cloud.identity.lockout import Locked, count_reset
from cloud.identity.login_service import make_id, status_refusal
from cloud.identity.mail_store import Mail
from cloud.identity.mails import (
    ATTEMPTS_MAX,
    LINK_MS,
    Letter,
    MailPurpose,
    next_try_ms,
    write_letter,
)
from cloud.identity.passwords import SecretRefusal, judge_password, spell_email
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity
from cloud.identity.store import Login
from cloud.identity.tables import AttemptPurpose
from cloud.permissions import SignedIn
from sync.clock import Clock
from sync.ids import RandomBytes

_log = logging.getLogger(__name__)
TOKEN_SIZE = 32


@dataclass(frozen=True, slots=True)
class Sending:
    """A letter whose attempt is counted."""

    mail: Mail
    letter: Letter


def ask_for_mail(session: Session, purpose: MailPurpose, email: str, *, now_ms: int, random_bytes: RandomBytes) -> None:
    """Ask for a letter, in the transaction of what it is about; ``email`` as ``passwords.spell_email`` spells it."""
    mail = Mail(make_id("M", random_bytes), purpose, email, created_at_ms=now_ms, due_ms=now_ms)
    mail_store.insert_mail(session, mail)


@dataclass(frozen=True, slots=True)
class Mails:
    """What people do by letter, for one process; safe between threads."""

    engine: Engine
    clock: Clock
    identity: Identity
    random_bytes: RandomBytes = field(default=system_secrets.token_bytes)

    def ask_for_reset(self, email: str, *, address: str) -> IdentityRefusal | Locked | None:
        """Ask for a letter with which a password is chosen anew, at most five an hour for one e-mail, known or not."""
        spelled = spell_email(email)
        if spelled is None:
            return IdentityRefusal.EMAIL_INVALID
        locked = self.identity.reserve_visit(address)
        if locked is not None:
            return locked
        now_ms = self.clock.now_ms()

        def work(session: Session) -> Locked | None:
            locked = attempt_store.reserve_attempt(
                session, f"reset {spelled}", AttemptPurpose.ADDRESS, count=count_reset, now_ms=now_ms
            )
            if locked is None:
                ask_for_mail(
                    session, MailPurpose.RESET_PASSWORD, spelled, now_ms=now_ms, random_bytes=self.random_bytes
                )
            return locked

        return run_transaction(self.engine, work)

    def ask_for_verification(self, person: SignedIn) -> None:
        """Ask for a letter with which one's own address is confirmed."""
        now_ms = self.clock.now_ms()
        run_transaction(
            self.engine,
            lambda session: ask_for_mail(
                session, MailPurpose.VERIFY_EMAIL, person.email, now_ms=now_ms, random_bytes=self.random_bytes
            ),
        )

    def verify_email(self, token: str) -> IdentityRefusal | None:
        """Note that the owner of this token reads the mailbox."""
        now_ms, hashed = self.clock.now_ms(), _hash(token)

        def work(session: Session) -> IdentityRefusal | None:
            login_id = mail_store.take_token(session, hashed, MailPurpose.VERIFY_EMAIL, now_ms=now_ms)
            if login_id is None:
                return IdentityRefusal.LINK_OVER
            store.set_email_verified(session, login_id, now_ms=now_ms)
            return None

        return run_transaction(self.engine, work)

    def reset_password(
        self, token: str, new_password: str, *, address: str
    ) -> SecretRefusal | IdentityRefusal | Locked | None:
        """Choose a password anew: every session ends, guesses at the old one are forgotten, and a note is left."""
        hashed = _hash(token)
        with self.identity.hasher.turn():
            locked = self.identity.reserve_visit(address)
            if locked is not None:
                return locked
            owner = self._owner(hashed)
            if owner is None:
                return IdentityRefusal.LINK_OVER
            unfit = judge_password(new_password, email=owner.email)
            if unfit is not None:
                return unfit
            chosen = self.identity.hasher.hash(Purpose.PASSWORD, new_password)
        now_ms = self.clock.now_ms()

        def work(session: Session) -> IdentityRefusal | None:
            login = store.lock_login(session, owner.login_id)
            taken = mail_store.take_token(session, hashed, MailPurpose.RESET_PASSWORD, now_ms=now_ms)
            if login is None or taken != login.login_id:
                return IdentityRefusal.LINK_OVER
            refusal = status_refusal(login.status)
            if refusal is not None:
                return refusal
            store.write_secret(session, login.login_id, Purpose.PASSWORD, chosen, now_ms=now_ms)
            store.set_email_verified(session, login.login_id, now_ms=now_ms)
            ended = token_store.revoke_all(session, login.login_id, now_ms=now_ms)
            attempt_store.forget_attempts(session, login.email, AttemptPurpose.PASSWORD)
            _note_reset(session, login, ended, now_ms=now_ms)
            return None

        return run_transaction(self.engine, work)

    def begin_sending(self, *, pages_url: str) -> Sending | None:
        """Count an attempt at the next letter that is due and write it; None where none is.

        A letter to an address that is nobody's, or to somebody who may not sign in, is forgotten.
        """
        now_ms = self.clock.now_ms()
        # Mostly nothing is due, and to look is no reason to wait for whoever writes.
        if run_read(self.engine, lambda session: mail_store.find_due(session, now_ms=now_ms)) is None:
            return None
        token = base64.urlsafe_b64encode(self.random_bytes(TOKEN_SIZE)).rstrip(b"=").decode()

        def work(session: Session) -> Sending | None:
            while (mail := mail_store.find_due(session, now_ms=now_ms)) is not None:
                login = store.find_login_by_email(session, mail.email)
                if login is None or status_refusal(login.status) is not None:
                    mail_store.delete_mail(session, mail.mail_id)
                    continue
                attempts = mail.attempts_count + 1
                due_ms = next_try_ms(attempts, now_ms=now_ms) if attempts < ATTEMPTS_MAX else None
                if not mail_store.claim(session, mail, next_try_ms=due_ms):
                    continue
                expires_ms = now_ms + LINK_MS[mail.purpose]
                mail_store.insert_token(
                    session, _hash(token), purpose=mail.purpose, login_id=login.login_id, expires_ms=expires_ms
                )
                letter = write_letter(mail.purpose, to=login.email, token=token, pages_url=pages_url)
                return Sending(replace(mail, attempts_count=attempts), letter)
            return None

        return run_transaction(self.engine, work)

    def note_sent(self, sending: Sending) -> None:
        """Forget a letter that was taken."""
        run_transaction(
            self.engine,
            lambda session: mail_store.delete_mail(session, sending.mail.mail_id),
            lookup=lambda _session: None,
        )
        _log.info("mail_sent mail=%s purpose=%s", sending.mail.mail_id, sending.mail.purpose)

    def note_not_sent(self, sending: Sending) -> None:
        """Say that a letter was not taken; its row knows already when it is tried again, if it is."""
        mail = sending.mail
        event = "mail_given_up" if mail.attempts_count >= ATTEMPTS_MAX else "mail_not_sent"
        level = logging.ERROR if mail.attempts_count >= ATTEMPTS_MAX else logging.WARNING
        _log.log(level, "%s mail=%s attempts=%d", event, mail.mail_id, mail.attempts_count)

    def _owner(self, token_hash: bytes) -> Login | None:
        now_ms = self.clock.now_ms()

        def read(session: Session) -> Login | None:
            login_id = mail_store.find_owner(session, token_hash, MailPurpose.RESET_PASSWORD, now_ms=now_ms)
            return None if login_id is None else store.find_login(session, login_id)

        return run_read(self.engine, read)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", errors="surrogatepass")).digest()


def _note_reset(session: Session, login: Login, sessions_count: int, *, now_ms: int) -> None:
    note = Action(
        login_id=login.login_id,
        subject=ActionSubject.LOGIN,
        subject_id=login.login_id,
        action="reset_password",
        reason="",
        done_at_ms=now_ms,
        detail=f"{sessions_count} sessions ended",
    )
    action_store.note_action(session, note)
