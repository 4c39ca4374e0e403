"""The courier's way: the phone has a link where the terminal has none, and carries our promise back (protocol §6).

The promise is a hold: money that is neither the customer's to spend nor the merchant's yet. The terminal's record
captures it; a void lets it go, and so do seven days, after which no record is accepted any more.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.fleet.states import TerminalState
from cloud.fleet.store import find_terminals
from cloud.ledger import entries
from cloud.ledger.entries import JournalEntry
from cloud.ledger.service import lock_for_posting
from cloud.merchants.lifecycle import may_take_payments
from cloud.payments import claim_store, courier_store, drawing, service
from cloud.payments.courier_store import CourierHold
from cloud.payments.drawing import Drawee
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof
from cloud.payments.states import HoldStatus
from cloud.wallets import customer_store, spending_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import GrantPolicy, WalletStatus
from sync.ids import MerchantId
from sync.money import Money
from sync.payment_request import ShownRequest

HELD_MS = 7 * 24 * 3600 * 1000
"""How long a hold waits for its record; records are accepted for as long (protocol §5)."""
_RELEASED_AT_ONCE_MAX = 200

SignApproval = Callable[[ShownRequest, int], bytes]
"""Signs our yes to a request, which holds from this time (Unix milliseconds), and answers its bytes."""


@dataclass(frozen=True, slots=True)
class CourierOrder:
    """A customer wants to carry a promise for a verified request, and has shown to be who they are."""

    wallet_id: str
    shown: ShownRequest
    proof: Proof


def approve(
    session: Session,
    order: CourierOrder,
    *,
    sign: SignApproval,
    rules: PaymentRules,
    policy: GrantPolicy,
    now_ms: int,
) -> CourierHold | PaymentRefusal:
    """Hold the money and sign the promise; the same request asked again by the same customer gets the same one."""
    request, certificate = order.shown.request.content, order.shown.certificate.content
    key = (certificate.terminal_id, request.payment_id)
    wallet = customer_store.lock_wallets(session, [order.wallet_id])[order.wallet_id]
    known = courier_store.find(session, [key]).get(key)
    if known is not None:
        is_same = (known.wallet_id, known.request) == (wallet.wallet_id, order.shown.encode())
        return known if is_same and known.status is HoldStatus.HELD else PaymentRefusal.REQUEST_USED
    merchant_id = _merchant_of(session, order.shown)
    if isinstance(merchant_id, PaymentRefusal):
        return merchant_id
    if wallet.status is not WalletStatus.ACTIVE:
        return PaymentRefusal.CUSTOMER_NOT_ACTIVE
    if not request.currency == wallet.currency == service.merchant_of(session, merchant_id).currency:
        return PaymentRefusal.CURRENCY_MISMATCH
    made = CourierHold(
        *key,
        wallet_id=wallet.wallet_id,
        merchant_id=merchant_id,
        amount_minor=request.amount_minor,
        currency=request.currency,
        request=order.shown.encode(),
        approval=sign(order.shown, now_ms),
        status=HoldStatus.HELD,
        held_at_ms=now_ms,
        release_at_ms=now_ms + HELD_MS,
    )
    return _hold(session, made, wallet, order.proof, rules=rules, policy=policy, now_ms=now_ms)


def ended_entry(hold: CourierHold) -> JournalEntry:
    """Return the one entry that ends this hold, kept or not."""
    cause = f"courier_end:{hold.terminal_id.hex()}:{hold.payment_id.hex()}"
    return entries.hold_ended(cause, wallet_id=hold.wallet_id, amount=Money(hold.amount_minor, hold.currency))


def release(session: Session, hold: CourierHold, to_status: HoldStatus, *, now_ms: int) -> bool:
    """Let the money go, and give the day back on which it was promised; false where the hold has ended already."""
    if not courier_store.change(session, hold, to_status, now_ms=now_ms):
        return False
    entry = ended_entry(hold)
    locked = lock_for_posting(session, [posting.account for posting in entry.postings])
    drawing.post_covered(session, [entry], locked=locked, now_ms=now_ms)
    spending_store.give_back(session, hold.wallet_id, spent_at_ms=hold.held_at_ms, amount_minor=hold.amount_minor)
    return True


def release_overdue(session: Session, *, now_ms: int) -> int:
    """Release at most 200 holds whose record has not come in seven days; answers how many were met."""
    overdue = courier_store.overdue(session, now_ms=now_ms, holds_max=_RELEASED_AT_ONCE_MAX)
    for hold in overdue:
        release(session, hold, HoldStatus.RELEASED, now_ms=now_ms)
    return len(overdue)


def _merchant_of(session: Session, shown: ShownRequest) -> MerchantId | PaymentRefusal:
    """Return whose terminal asks, if it may: the one that is in service under the certified key."""
    certificate = shown.certificate.content
    terminal = find_terminals(session, [certificate.terminal_id]).get(certificate.terminal_id)
    if terminal is None or terminal.state is not TerminalState.ACTIVE:
        return PaymentRefusal.TERMINAL_NOT_ACTIVE
    if (terminal.public_key, terminal.merchant_id) != (certificate.public_key, certificate.merchant_id):
        return PaymentRefusal.TERMINAL_NOT_ACTIVE
    is_active = may_take_payments(service.merchant_of(session, terminal.merchant_id).status)
    return terminal.merchant_id if is_active else PaymentRefusal.MERCHANT_NOT_ACTIVE


def _hold(
    session: Session,
    made: CourierHold,
    wallet: Wallet,
    proof: Proof,
    *,
    rules: PaymentRules,
    policy: GrantPolicy,
    now_ms: int,
) -> CourierHold | PaymentRefusal:
    cause = f"courier:{made.terminal_id.hex()}:{made.payment_id.hex()}"
    amount = Money(made.amount_minor, made.currency)
    entry = entries.held(cause, wallet_id=wallet.wallet_id, amount=amount)
    locked = lock_for_posting(session, [posting.account for posting in entry.postings])
    split = drawing.split_of(amount, Drawee(wallet.wallet_id), locked)
    refusal = drawing.why_not_proven(
        session, wallet.wallet_id, proof, amount_minor=made.amount_minor, rules=rules, policy=policy
    )
    refusal = refusal or drawing.why_not_affordable(session, wallet, split, now_ms=now_ms)
    if refusal is not None:
        return refusal
    # The payment id is the promise's from now on: a void finds it, and so does the record.
    claim_hash = hashlib.sha256(made.approval).digest()
    if claim_store.claim_payments(session, [(made.terminal_id, made.payment_id, claim_hash)]) != [True]:
        return PaymentRefusal.REQUEST_USED
    courier_store.insert(session, made)
    drawing.post_covered(session, [entry], locked=locked, now_ms=now_ms)
    drawing.count(session, wallet.wallet_id, proof, amount_minor=made.amount_minor, now_ms=now_ms)
    return made
