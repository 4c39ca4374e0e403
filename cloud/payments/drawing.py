"""Who pays an approved sale and whether they can: cover, the limit of the day, proof; in the caller's transaction.

One set of checks for everything the cloud approves while somebody waits: a customer's confirmation, a terminal's
question about a code, a courier's request. All of it is read under the lock of the payer's accounts, which an offline
posting takes, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import AccountKind, AccountRef, JournalEntry, OfflineSplit, Sale
from cloud.ledger.service import post_entries
from cloud.ledger.store import LockedAccount
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof, is_proof_enough
from cloud.wallets import customer_service, customer_store, spending_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import GrantPolicy, PinUsage, is_pin_due
from cloud.wallets.spending import is_within
from sync.money import Money

Locked = Mapping[AccountRef, LockedAccount]


@dataclass(frozen=True, slots=True)
class Drawee:
    """Whose money it is; of the device's reserve at most ``reserve_limit_minor``, where a device is given.

    An honest phone counts its code at a ceiling. Drawing more of the reserve would take the cover of its other codes.
    """

    wallet_id: str
    device_id: str | None = None
    reserve_limit_minor: int = 0


def accounts_to_lock(sale: Sale, drawee: Drawee) -> set[AccountRef]:
    """Return every account that posting the sale may touch."""
    currency = sale.amount.currency
    touched = {
        entries.payer_available(drawee.wallet_id, currency),
        entries.merchant_payable(sale.merchant_id, currency),
        entries.platform(AccountKind.FEE_INCOME, currency),
    }
    return touched if drawee.device_id is None else touched | {entries.payer_offline(drawee.device_id, currency)}


def split_of(amount: Money, drawee: Drawee, locked: Locked) -> OfflineSplit:
    """Say which money pays: the reserve up to its limit, then what is available."""
    currency = amount.currency
    available = locked[entries.payer_available(drawee.wallet_id, currency)].state.balance_minor
    reserve = 0
    if drawee.device_id is not None:
        held = locked[entries.payer_offline(drawee.device_id, currency)].state.balance_minor
        reserve = min(held, drawee.reserve_limit_minor)
    return entries.split_offline(amount, reserve=Money(reserve, currency), available=Money(available, currency))


def post(session: Session, sale: Sale, drawee: Drawee, split: OfflineSplit, *, locked: Locked, now_ms: int) -> None:
    """Post a covered sale; raises ``LedgerInvariantError`` where that cannot be, after all that was checked."""
    if drawee.device_id is None:
        entry = entries.online_sale(sale, wallet_id=drawee.wallet_id)
    else:
        entry = entries.reserved_sale(sale, wallet_id=drawee.wallet_id, device_id=drawee.device_id, split=split)
    post_covered(session, [entry], locked=locked, now_ms=now_ms)


def post_covered(session: Session, covered: list[JournalEntry], *, locked: Locked, now_ms: int) -> None:
    """Post entries whose cover was read under ``locked``, so that nothing but success is possible."""
    outcomes = post_entries(session, covered, now_ms=now_ms, locked=locked)
    if any(outcome is not PostOutcome.POSTED for outcome in outcomes):
        raise LedgerInvariantError(f"a covered payment was answered {outcomes}")


def why_not_affordable(session: Session, wallet: Wallet, split: OfflineSplit, *, now_ms: int) -> PaymentRefusal | None:
    """Say why the wallet cannot pay this, if so: not wholly covered, or more than the rest of the day's limit."""
    if split.uncovered:
        return PaymentRefusal.INSUFFICIENT_BALANCE
    amount = split.from_reserve + split.from_available
    spent = spending_store.spent_minor(session, wallet.wallet_id, now_ms=now_ms)
    is_allowed = is_within(spent_minor=spent, amount_minor=amount.amount_minor, limit_minor=wallet.daily_limit_minor)
    return None if is_allowed else PaymentRefusal.DAILY_LIMIT_EXCEEDED


def why_not_proven(
    session: Session, wallet_id: str, proof: Proof, *, amount_minor: int, rules: PaymentRules, policy: GrantPolicy
) -> PaymentRefusal | None:
    """Say why more proof is needed, if so."""
    is_enough = is_proof_enough(
        proof,
        amount_minor=amount_minor,
        no_pin_limit_minor=rules.no_pin_limit_minor,
        is_pin_due=is_pin_due(customer_store.read_pin_usage(session, wallet_id), policy),
    )
    return None if is_enough else PaymentRefusal.PROOF_REQUIRED


def count(session: Session, wallet_id: str, proof: Proof, *, amount_minor: int, now_ms: int) -> None:
    """Count what was spent today, and what was paid without PIN since the last one."""
    spending_store.add_spends(session, {wallet_id: amount_minor}, now_ms=now_ms)
    if proof is Proof.ONE_TAP:
        usage = PinUsage(1, amount_minor)
        customer_service.count_payments_without_pin(session, {wallet_id: usage})
    else:
        customer_service.note_pin_entered(session, wallet_id)
