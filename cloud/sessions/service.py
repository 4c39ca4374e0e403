"""Makes payment sessions and says what an offered code is worth; inside the caller's transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.identity.login_service import make_id
from cloud.sessions import store
from cloud.sessions.rules import Location, SessionRefusal, judge_code, refusal_of, status_at
from cloud.sessions.store import PaymentSession
from cloud.wallets import customer_store
from cloud.wallets.reserve import WalletStatus
from cloud.wallets.service import GrantTerms, SignGrant
from sync.grant import GRANT
from sync.ids import RandomBytes, Serial
from sync.payment_code import PaymentCode, make_session_code, read_payment_code
from sync.refusals import Refusal

_EXPIRED_AT_ONCE_MAX = 500

VerifyCode = Callable[[PaymentCode], Refusal | None]
"""Checks the signatures of a code under the keys that the root vouches for."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A customer on the bound phone wants a code; id and serial are made by the caller, before the transaction."""

    session_id: str
    serial: Serial
    wallet_id: str
    device_id: str
    location: Location | None = None


def make_session_id(random_bytes: RandomBytes, *, now_ms: int) -> str:
    """Make ``PS``, the second (UTC) and 10 characters."""
    moment = datetime.fromtimestamp(now_ms // 1000, tz=UTC)
    return make_id(f"PS{moment:%Y%m%d%H%M%S}", random_bytes, length=10)


def open_session(
    session: Session, request: SessionRequest, *, sign_grant: SignGrant, ttl_s: int, now_ms: int
) -> PaymentSession | SessionRefusal:
    """Answer the wallet's live session, or make one; of any number of requests at once, one makes it.

    Its grant reserves nothing and is worth nothing without the cloud: limit and total are zero.
    """
    wallet = customer_store.lock_wallets(session, [request.wallet_id]).get(request.wallet_id)
    if wallet is None or wallet.status is not WalletStatus.ACTIVE:
        return SessionRefusal.WALLET_NOT_ACTIVE
    live = store.find_live(session, wallet.wallet_id, now_ms=now_ms)
    if live is not None:
        return live
    terms = GrantTerms(
        serial=request.serial,
        device_key=b"",
        issued_s=now_ms // 1000,
        lifetime_s=ttl_s,
        limit_minor=0,
        total_minor=0,
        currency=wallet.currency,
    )
    grant = GRANT.read(sign_grant(terms))
    if isinstance(grant, Refusal):
        raise LedgerInvariantError(f"a grant just signed cannot be read: {grant}")
    made = PaymentSession(
        session_id=request.session_id,
        serial=request.serial,
        wallet_id=wallet.wallet_id,
        device_id=request.device_id,
        currency=wallet.currency,
        code_bytes=make_session_code(grant).encode(),
        created_at_ms=now_ms,
        expires_ms=grant.content.expires_s * 1000,
        location=request.location,
    )
    store.insert_session(session, made)
    return made


def find_own(session: Session, session_id: str, *, wallet_id: str) -> PaymentSession | SessionRefusal:
    """Return a wallet's own session; another's is as unknown as none."""
    found = store.find_session(session, session_id)
    return found if found is not None and found.wallet_id == wallet_id else SessionRefusal.UNKNOWN


def find_offered(session: Session, text: str, *, verify: VerifyCode) -> PaymentSession | SessionRefusal:
    """Return the session behind the text of a code, however it stands: read, genuine and known."""
    code = judge_code(read_payment_code(text))
    if isinstance(code, SessionRefusal):
        return code
    if verify(code) is not None:
        return SessionRefusal.SIGNATURE_INVALID
    return store.find_by_serial(session, code.serial) or SessionRefusal.UNKNOWN


def why_not(found: PaymentSession, *, now_ms: int) -> SessionRefusal | None:
    """Say why a session pays nothing any more, if so."""
    return refusal_of(status_at(found.status, expires_ms=found.expires_ms, now_ms=now_ms))


def spend(session: Session, session_id: str, *, now_ms: int) -> None:
    """Spend the session of a payment that is being posted; it is that payment's alone, so it cannot be spent yet."""
    if not store.mark_used(session, session_id, now_ms=now_ms):
        raise LedgerInvariantError(f"the payment session {session_id} was spent before its payment")


def expire_old(session: Session, *, now_ms: int) -> int:
    """Write down of at most 500 sessions that time has ended them; answers how many there were."""
    return store.expire_old(session, now_ms=now_ms, sessions_max=_EXPIRED_AT_ONCE_MAX)
