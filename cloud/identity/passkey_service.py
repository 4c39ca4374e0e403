"""Passkeys: set one up, log in with it, and say yes to one thing with it; every challenge is good for one answer.

The order is that of secrets: a first transaction takes the challenge away and is committed, then the signature is
verified without holding a lock, and a second transaction does what it says yes to, if login, passkey and the facts are
still as they were. So an answer that is sent twice, at once or later, finds no challenge the second time, whatever
became of the first. A challenge that says yes to something ends in a hash of it, so that the phone has signed which
payment, and of how much for whom.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.identity import action_store, passkey_store, store
from cloud.identity.action_store import Action, ActionSubject
from cloud.identity.lockout import Locked
from cloud.identity.login_service import make_id, status_refusal
from cloud.identity.passkey_store import Challenge, Passkey
from cloud.identity.passkeys import (
    CHALLENGE_MS,
    NONCE_SIZE,
    Assertion,
    Attestation,
    RelyingParty,
    challenge_hash,
    challenge_of,
    is_counted_up,
    spell_name,
    verify_assertion,
    verify_attestation,
)
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity, OpenedSession
from cloud.identity.store import Login
from cloud.identity.tables import Ceremony
from cloud.permissions import SignedIn, TokenKind
from sync.clock import Clock
from sync.ids import RandomBytes

T = TypeVar("T")
PASSKEYS_MAX = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A challenge for a login's passkeys."""

    challenge: bytes
    credential_ids: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Signed:
    """A challenge that a passkey has signed."""

    passkey: Passkey
    sign_count: int
    challenge: Challenge


@dataclass(frozen=True, slots=True)
class Passkeys:
    """The passkeys of everybody, for one process; safe between threads."""

    engine: Engine
    clock: Clock
    identity: Identity
    party: RelyingParty
    random_bytes: RandomBytes

    def begin_registration(self, person: SignedIn, *, password: str) -> Asked | IdentityRefusal | Locked:
        """Give out a challenge for a new passkey to who knows the password: an open browser alone adds none.

        The credentials that it answers are those that exist already and are not to be made again.
        """
        answers: list[Asked | IdentityRefusal] = []

        def begin(session: Session) -> None:
            known = passkey_store.passkeys_of(session, person.login_id)
            if len(known) >= PASSKEYS_MAX:
                answers.append(IdentityRefusal.PASSKEYS_TOO_MANY)
                return
            challenge = self._give_out(session, Ceremony.REGISTER, person.login_id)
            answers.append(Asked(challenge, [each.credential_id for each in known]))

        refused = self.identity.verify_password(person, password, then=begin)
        return refused or answers[-1]

    def register(self, person: SignedIn, said: Attestation, *, name: str) -> Passkey | IdentityRefusal:
        """Keep a new passkey."""
        spelled = spell_name(name)
        if spelled is None:
            return IdentityRefusal.PASSKEY_NAME_INVALID
        taken = self._take(said.client_data, Ceremony.REGISTER, person.login_id)
        if isinstance(taken, IdentityRefusal):
            return taken
        challenge, _ = taken
        made = verify_attestation(self.party, said, challenge=challenge)
        if made is None:
            return IdentityRefusal.PASSKEY_INVALID
        passkey = Passkey(
            passkey_id=make_id("K", self.random_bytes),
            login_id=person.login_id,
            credential_id=made.credential_id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            name=spelled,
            created_at_ms=self.clock.now_ms(),
        )

        def work(session: Session) -> Passkey | IdentityRefusal:
            store.lock_login(session, person.login_id)
            if passkey_store.count_passkeys(session, person.login_id) >= PASSKEYS_MAX:
                return IdentityRefusal.PASSKEYS_TOO_MANY
            return passkey if passkey_store.insert_passkey(session, passkey) else IdentityRefusal.PASSKEY_TAKEN

        def lookup(session: Session) -> Passkey | None:
            return passkey_store.lock_passkey(session, passkey.passkey_id)

        return run_transaction(self.engine, work, lookup=lookup)

    def of(self, person: SignedIn) -> list[Passkey]:
        """List one's own passkeys, the oldest first."""
        return run_read(self.engine, lambda session: passkey_store.passkeys_of(session, person.login_id))

    def remove(self, person: SignedIn, passkey_id: str) -> IdentityRefusal | None:
        """Remove one of one's own passkeys; another's is as unknown as none."""
        is_done = self._again(lambda session: passkey_store.delete_passkey(session, person.login_id, passkey_id))
        return None if is_done else IdentityRefusal.PASSKEY_UNKNOWN

    def begin_log_in(self, *, address: str) -> bytes | Locked:
        """Give out a challenge to anybody, counted as a visit; which passkeys there are is not said."""
        locked = self.identity.reserve_visit(address)
        return locked or self._again(lambda session: self._give_out(session, Ceremony.LOG_IN, None))

    def log_in(self, said: Assertion, *, kind: TokenKind) -> OpenedSession | IdentityRefusal:
        """Open a session for the owner of the passkey that has signed."""
        signed = self._verify(said, Ceremony.LOG_IN, None)
        if isinstance(signed, IdentityRefusal):
            over = signed is IdentityRefusal.CHALLENGE_OVER
            return signed if over else IdentityRefusal.PASSKEY_NOT_KNOWN_HERE
        return self.identity.open_session(kind, admit=lambda session: self._count(session, signed))

    def begin_proof(self, person: SignedIn, *, facts_hash: bytes) -> Asked | IdentityRefusal:
        """Give out a challenge with which one's own passkey says yes to the facts, and to nothing else."""

        def work(session: Session) -> Asked | IdentityRefusal:
            known = passkey_store.passkeys_of(session, person.login_id)
            if not known:
                return IdentityRefusal.PASSKEY_NOT_SET
            challenge = self._give_out(session, Ceremony.PROVE, person.login_id, facts_hash=facts_hash)
            return Asked(challenge, [each.credential_id for each in known])

        return self._again(work)

    def prove(
        self,
        person: SignedIn,
        said: Assertion,
        *,
        facts_hash: Callable[[Session], bytes | None],
        then: Callable[[Session], object],
    ) -> IdentityRefusal | None:
        """Evaluate a passkey's yes; where it is one to these facts, ``then`` runs in the transaction that counts it.

        ``facts_hash`` says in that transaction what the facts are by then, None where there are none.
        """
        signed = self._verify(said, Ceremony.PROVE, person.login_id)
        if isinstance(signed, IdentityRefusal):
            return signed

        def finish(session: Session) -> Login | IdentityRefusal:
            if facts_hash(session) != signed.challenge.facts_hash:
                return IdentityRefusal.WRONG_PASSKEY
            counted = self._count(session, signed)
            if not isinstance(counted, IdentityRefusal):
                then(session)
            return counted

        def lookup(session: Session) -> Login | None:
            # Counted already, it would be taken for a copy. One without a counter is asked again, and all done once.
            known = passkey_store.find_passkey(session, signed.passkey.credential_id)
            is_done = known is not None and known.sign_count == signed.sign_count > 0
            return store.find_login(session, person.login_id) if is_done else None

        answer = run_transaction(self.engine, finish, lookup=lookup)
        return answer if isinstance(answer, IdentityRefusal) else None

    def _give_out(
        self, session: Session, ceremony: Ceremony, login_id: str | None, *, facts_hash: bytes | None = None
    ) -> bytes:
        challenge = self.random_bytes(NONCE_SIZE) + (facts_hash or b"")
        expires_ms = self.clock.now_ms() + CHALLENGE_MS
        given = Challenge(challenge_hash(challenge), ceremony, login_id, facts_hash, expires_ms)
        passkey_store.insert_challenge(session, given)
        return challenge

    def _take(
        self, client_data: bytes, ceremony: Ceremony, login_id: str | None
    ) -> tuple[bytes, Challenge] | IdentityRefusal:
        """Take away the challenge that was signed, for good; one for somebody or something else is unknown."""
        challenge = challenge_of(client_data)
        if challenge is None:
            return IdentityRefusal.CHALLENGE_OVER
        hashed = challenge_hash(challenge)
        # Without a lookup: whether a commit of unknown outcome has taken it is not to be found out, so ask for another.
        taken = run_transaction(self.engine, lambda session: passkey_store.take_challenge(session, hashed))
        is_live = taken is not None and self.clock.now_ms() < taken.expires_ms
        if taken is None or not is_live or (taken.ceremony, taken.login_id) != (ceremony, login_id):
            return IdentityRefusal.CHALLENGE_OVER
        return challenge, taken

    def _verify(self, said: Assertion, ceremony: Ceremony, login_id: str | None) -> _Signed | IdentityRefusal:
        taken = self._take(said.client_data, ceremony, login_id)
        if isinstance(taken, IdentityRefusal):
            return taken
        challenge, kept = taken
        passkey = run_read(self.engine, lambda session: passkey_store.find_passkey(session, said.credential_id))
        if passkey is None or login_id not in (None, passkey.login_id):
            return IdentityRefusal.WRONG_PASSKEY
        if said.user_handle is not None and said.user_handle != passkey.login_id.encode():
            return IdentityRefusal.WRONG_PASSKEY
        count = verify_assertion(self.party, said, challenge=challenge, public_key=passkey.public_key)
        return IdentityRefusal.WRONG_PASSKEY if count is None else _Signed(passkey, count, kept)

    def _count(self, session: Session, signed: _Signed) -> Login | IdentityRefusal:
        """Write the counter, or note that it went back; answers the login, locked and free to sign in."""
        login = store.lock_login(session, signed.passkey.login_id)
        passkey = passkey_store.lock_passkey(session, signed.passkey.passkey_id)
        if login is None or passkey is None:
            return IdentityRefusal.WRONG_PASSKEY
        refusal = status_refusal(login.status)
        if refusal is not None:
            return refusal
        now_ms = self.clock.now_ms()
        if not is_counted_up(signed.sign_count, before=passkey.sign_count):
            _note_counted_back(session, passkey, signed.sign_count, now_ms=now_ms)
            return IdentityRefusal.PASSKEY_COUNTED_BACK
        passkey_store.note_use(session, passkey.passkey_id, sign_count=signed.sign_count, now_ms=now_ms)
        return login

    def _again(self, work: Callable[[Session], T]) -> T:
        # Looking up nothing lets a commit of unknown outcome run again: this work done twice is done once.
        return run_transaction(self.engine, work, lookup=lambda _session: None)


def _note_counted_back(session: Session, passkey: Passkey, sign_count: int, *, now_ms: int) -> None:
    detail = f"{passkey.passkey_id} counted {sign_count} after {passkey.sign_count}"
    note = Action(
        login_id=passkey.login_id,
        subject=ActionSubject.LOGIN,
        subject_id=passkey.login_id,
        action="passkey_counted_back",
        reason="",
        done_at_ms=now_ms,
        detail=detail,
    )
    action_store.note_action(session, note)
