"""A merchant asks for money with the code of a payment session; in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.fleet.store import find_terminals
from cloud.merchants.lifecycle import may_take_payments
from cloud.merchants.store import Merchant, merchants_by_id
from cloud.payments import service, store
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Item, PaymentRules, add_up, is_readable
from cloud.payments.service import Keyed
from cloud.payments.states import PaymentStatus, status_at
from cloud.payments.store import OnlinePayment
from cloud.payments.tables import METADATA_LENGTH_MAX
from cloud.sessions import service as session_service
from cloud.sessions.rules import SessionRefusal
from cloud.sessions.service import VerifyCode
from cloud.sessions.store import PaymentSession
from cloud.wallets import customer_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import WalletStatus
from sync.ids import MerchantId, PaymentId, TerminalId
from sync.money import Money

InitiationAnswer = OnlinePayment | PaymentRefusal | SessionRefusal


@dataclass(frozen=True, slots=True)
class Order:
    """What a merchant asks for; the payment id is made by the caller, before the transaction."""

    payment_id: str
    code: str
    amount: Money
    terminal_id: TerminalId | None = None
    terminal_payment_id: PaymentId | None = None
    merchant_reference: str | None = None
    description: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    items: tuple[Item, ...] = ()


def judge_order(order: Order) -> PaymentRefusal | None:
    """Say what is wrong with an order before anybody is asked, if something is."""
    if not add_up(order.items, amount_minor=order.amount.amount_minor):
        return PaymentRefusal.ITEMS_DO_NOT_ADD_UP
    texts = [order.merchant_reference or "", order.description or "", *(item.name for item in order.items)]
    texts += [part for pair in order.metadata for part in pair]
    if not all(is_readable(text) for text in texts):
        return PaymentRefusal.TEXT_UNREADABLE
    is_large = len(store.metadata_json(order.metadata)) > METADATA_LENGTH_MAX
    return PaymentRefusal.METADATA_TOO_LARGE if is_large else None


def initiate(
    session: Session, order: Order, keyed: Keyed, *, verify: VerifyCode, rules: PaymentRules, now_ms: int
) -> InitiationAnswer:
    """Ask the customer behind a session code for an amount; the same request under the same key is answered once.

    One session, offered to any number of merchants at once, carries one payment.
    """
    known = _first_answer(session, keyed)
    if known is not None:
        return known
    refusal = judge_order(order)
    if refusal is not None:
        return refusal
    offered = session_service.find_offered(session, order.code, verify=verify)
    if isinstance(offered, SessionRefusal):
        return offered
    wallet = customer_store.lock_wallets(session, [offered.wallet_id])[offered.wallet_id]
    # Asked again under the lock: a copy of this request may have been first.
    known = _first_answer(session, keyed)
    if known is not None:
        return known
    made = _made(session, order, offered, wallet, merchant_id=keyed.merchant_id, rules=rules, now_ms=now_ms)
    if not isinstance(made, OnlinePayment):
        return made
    if not service.take_key(session, keyed, subject_id=made.payment_id, now_ms=now_ms):
        # Another request of this merchant, with the code of another wallet, was first under this key.
        return _first_answer(session, keyed) or PaymentRefusal.KEY_REUSED
    return _insert(session, replace(made, initiated_by=keyed.login_id), order.items, now_ms=now_ms)


def ask_for_terminal(
    session: Session, order: Order, merchant_id: MerchantId, *, verify: VerifyCode, rules: PaymentRules, now_ms: int
) -> InitiationAnswer:
    """Ask the customer behind a session code for a terminal's sale; it is the terminal's payment id that is unique."""
    offered = session_service.find_offered(session, order.code, verify=verify)
    if isinstance(offered, SessionRefusal):
        return offered
    wallet = customer_store.lock_wallets(session, [offered.wallet_id])[offered.wallet_id]
    made = _made(session, order, offered, wallet, merchant_id=merchant_id, rules=rules, now_ms=now_ms)
    return made if not isinstance(made, OnlinePayment) else _insert(session, made, (), now_ms=now_ms)


def _made(
    session: Session,
    order: Order,
    offered: PaymentSession,
    wallet: Wallet,
    *,
    merchant_id: MerchantId,
    rules: PaymentRules,
    now_ms: int,
) -> InitiationAnswer:
    """Return the pending payment that may be inserted, or why not."""
    merchant = merchants_by_id(session, [merchant_id]).get(merchant_id)
    if merchant is None:
        return PaymentRefusal.MERCHANT_NOT_ACTIVE
    refused = _why_not_these(session, order, merchant, wallet) or _why_not_session(session, offered, now_ms=now_ms)
    if refused is not None:
        return refused
    return OnlinePayment(
        payment_id=order.payment_id,
        session_id=offered.session_id,
        wallet_id=wallet.wallet_id,
        merchant_id=merchant.merchant_id,
        initiated_by=None,
        amount_minor=order.amount.amount_minor,
        currency=order.amount.currency,
        commission_ppm=merchant.commission_ppm,
        initiated_at_ms=now_ms,
        confirm_by_ms=now_ms + rules.confirmation_ttl_s * 1000,
        terminal_id=order.terminal_id,
        terminal_payment_id=order.terminal_payment_id,
        merchant_reference=order.merchant_reference,
        description=order.description,
        metadata=order.metadata,
    )


def _first_answer(session: Session, keyed: Keyed) -> OnlinePayment | PaymentRefusal | None:
    known = service.find_known(session, keyed)
    if known is None or isinstance(known, PaymentRefusal):
        return known
    return store.find_payment(session, known) or PaymentRefusal.KEY_REUSED


def _why_not_these(session: Session, order: Order, merchant: Merchant, wallet: Wallet) -> PaymentRefusal | None:
    if not may_take_payments(merchant.status):
        return PaymentRefusal.MERCHANT_NOT_ACTIVE
    if order.terminal_id is not None:
        terminal = find_terminals(session, [order.terminal_id]).get(order.terminal_id)
        if terminal is None or terminal.merchant_id != merchant.merchant_id:
            return PaymentRefusal.TERMINAL_UNKNOWN
    if not order.amount.currency == merchant.currency == wallet.currency:
        return PaymentRefusal.CURRENCY_MISMATCH
    return None if wallet.status is WalletStatus.ACTIVE else PaymentRefusal.CUSTOMER_NOT_ACTIVE


def _why_not_session(
    session: Session, offered: PaymentSession, *, now_ms: int
) -> PaymentRefusal | SessionRefusal | None:
    """Say why the session takes no payment, as it stands under the wallet's lock."""
    current = session_service.find_own(session, offered.session_id, wallet_id=offered.wallet_id)
    refused = current if isinstance(current, SessionRefusal) else session_service.why_not(current, now_ms=now_ms)
    if refused is not None:
        return refused
    holder = store.find_open_of_session(session, offered.session_id)
    if holder is None:
        return None
    stands = status_at(holder.status, confirm_by_ms=holder.confirm_by_ms, now_ms=now_ms)
    if stands is not PaymentStatus.TIMEOUT:
        return PaymentRefusal.SESSION_TAKEN
    service.time_out(session, holder, now_ms=now_ms)
    return None


def _insert(session: Session, made: OnlinePayment, items: Sequence[Item], *, now_ms: int) -> OnlinePayment:
    if not store.insert_payment(session, made, items):
        raise LedgerInvariantError(f"the session {made.session_id} was free, and its payment could not be inserted")
    service.tell(session, made, now_ms=now_ms)
    return made
