"""Decides what terminals ask online, one question in one transaction; the answer is a row of it (protocol §6).

The row is inserted first: of the same question asked many times at once one goes on, and the others wait for its
answer. Then a code of a payment session asks its customer, a grant's code is posted at once where that needs no proof,
and asks the customer where it does. Nothing is answered here: whoever has the link sends the row's answer.
"""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.fleet import service as fleet_service
from cloud.fleet.store import Terminal
from cloud.ingest import payment_store
from cloud.ingest.judgement import IssuedGrant
from cloud.ingest.online_judgement import Asked, Reason, judge_grant_code, judge_request, reserve_limit_minor
from cloud.ingest.outcomes import Outcome
from cloud.ingest.posting import Judge, issued_grants
from cloud.ledger.service import lock_for_posting
from cloud.merchants.lifecycle import may_take_payments
from cloud.merchants.store import Merchant
from cloud.payments import authorisation_store, claim_store, confirmation, drawing, initiation
from cloud.payments import service as payment_service
from cloud.payments import store as online_store
from cloud.payments.authorisation_store import ANSWER_TTL_MS, Authorisation
from cloud.payments.drawing import Drawee
from cloud.payments.initiation import Order
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof
from cloud.payments.states import AuthorisationOutcome, FailureReason, PaymentStatus
from cloud.payments.store import OnlinePayment
from cloud.sessions.rules import SessionRefusal
from cloud.wallets import customer_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import GrantPolicy, WalletStatus
from sync.ids import TerminalId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.money import Money
from sync.online import ONLINE_REQUEST, OnlineReason, OnlineRequest
from sync.payment_code import CodeMode, PaymentCode, decode_payment_code
from sync.record import RECORD, RecordKind
from sync.refusals import Refusal

ANSWERED_BY_DECIDER_MS = 2_000
"""How long whoever decides has to send the answer itself, before others do."""
_NOT_POSTED = frozenset({Outcome.FORGED, Outcome.CONFLICT, Outcome.DENIED_PAYER})
_REASONS: dict[PaymentRefusal | SessionRefusal | FailureReason, Reason] = {
    PaymentRefusal.CURRENCY_MISMATCH: Refusal.CURRENCY_MISMATCH,
    PaymentRefusal.SESSION_TAKEN: OnlineReason.SESSION_TAKEN,
    PaymentRefusal.INSUFFICIENT_BALANCE: OnlineReason.INSUFFICIENT_BALANCE,
    PaymentRefusal.DAILY_LIMIT_EXCEEDED: OnlineReason.DAILY_LIMIT_EXCEEDED,
    PaymentRefusal.CUSTOMER_NOT_ACTIVE: OnlineReason.CUSTOMER_NOT_ACTIVE,
    PaymentRefusal.MERCHANT_NOT_ACTIVE: OnlineReason.MERCHANT_NOT_ACTIVE,
    SessionRefusal.WALLET_NOT_ACTIVE: OnlineReason.CUSTOMER_NOT_ACTIVE,
    SessionRefusal.USED: OnlineReason.SESSION_USED,
    SessionRefusal.EXPIRED: OnlineReason.SESSION_EXPIRED,
    FailureReason.CODE_USED: OnlineReason.CODE_USED,
}
"""What a terminal is told; of a code that is none of ours, that it is unknown."""


@dataclass(frozen=True, slots=True)
class OnlineTerms:
    """What a question is decided by beside the database."""

    judge: Judge
    rules: PaymentRules
    policy: GrantPolicy


@dataclass(frozen=True, slots=True)
class _Case:
    """One question, alone with its row; ``made`` is that row, ``new_id`` the id of the payment it may become."""

    asked: Asked
    made: Authorisation
    new_id: str
    terms: OnlineTerms
    now_ms: int

    @property
    def amount(self) -> Money:
        return Money(self.made.amount_minor, self.made.currency)

    def declined(self, reason: Reason) -> Authorisation:
        return replace(self.made, outcome=AuthorisationOutcome.DECLINED, reason=reason.value)


def decide(
    session: Session, terminal_id: TerminalId, payload: bytes, *, new_id: str, terms: OnlineTerms, now_ms: int
) -> Authorisation | Refusal:
    """Answer what came on a terminal's own topic; a refusal is of what does not verify, and is not answered.

    A question asked again is answered as the first time. Another one under the same payment id is declined.
    """
    opened = _open(session, terminal_id, payload)
    if isinstance(opened, Refusal):
        return opened
    message, asked = opened
    made = _undecided(message, now_ms=now_ms)
    key = (made.terminal_id, made.payment_id)
    known = authorisation_store.find(session, [key]).get(key)
    if known is None and authorisation_store.insert(session, made):
        case = _Case(asked, made, new_id, terms, now_ms)
        decided = _from_claim(session, case) or _decide(session, case)
        if decided.outcome is not AuthorisationOutcome.ASKED:
            authorisation_store.store(session, decided)
        return decided
    known = known or authorisation_store.find(session, [key])[key]
    if known.claim_hash != made.claim_hash:
        return replace(made, outcome=AuthorisationOutcome.DECLINED, reason=OnlineReason.PAYMENT_SEEN.value)
    is_final = known.outcome is not AuthorisationOutcome.ASKED
    return replace(known, answer_until_ms=made.answer_until_ms) if is_final else known


def _open(session: Session, terminal_id: TerminalId, payload: bytes) -> tuple[Message[OnlineRequest], Asked] | Refusal:
    terminal = fleet_service.find_terminal(session, terminal_id)
    if terminal is None:
        return Refusal.UNKNOWN_ISSUER
    key = parse_public_key(terminal.public_key)
    if isinstance(key, Refusal):
        return key
    message = ONLINE_REQUEST.open(payload, lambda content: _key_for(content, terminal, key))
    if isinstance(message, Refusal):
        return message
    code = decode_payment_code(message.content.code)
    return message, Asked(message.content, terminal.state, terminal.merchant_id, key, code)


def _key_for(content: OnlineRequest, terminal: Terminal, key: PublicKey) -> PublicKey | Refusal:
    return key if content.terminal_id == terminal.terminal_id else Refusal.WRONG_TERMINAL


def _undecided(message: Message[OnlineRequest], *, now_ms: int) -> Authorisation:
    request = message.content
    return Authorisation(
        terminal_id=request.terminal_id,
        payment_id=request.payment_id,
        claim_hash=claim_store.claim_hash(request),
        request_encoded=message.encode(),
        amount_minor=request.amount_minor,
        currency=request.currency,
        outcome=AuthorisationOutcome.ASKED,
        reason=OnlineReason.NONE.value,
        asked_at_ms=now_ms,
        decided_at_ms=now_ms,
        answer_until_ms=now_ms + ANSWER_TTL_MS,
        answer_due_ms=now_ms + ANSWERED_BY_DECIDER_MS,
    )


def _from_claim(session: Session, case: _Case) -> Authorisation | None:
    """Answer from the record, void or promise that was there before the question; None where there is none."""
    key = (case.made.terminal_id, case.made.payment_id)
    record_hash = claim_store.claimed_record(session, *key, is_locking=True)
    if record_hash is None:
        return None
    encoded = payment_store.encoded_records(session, [record_hash]).get(record_hash)
    record = None if encoded is None else RECORD.read(encoded)
    if record is None or isinstance(record, Refusal):
        return case.declined(OnlineReason.PAYMENT_SEEN)
    outcome = payment_store.outcome_of(session, record_hash)
    if record.content.kind is RecordKind.VOID or outcome is Outcome.VOID:
        return case.declined(OnlineReason.PAYMENT_VOIDED)
    is_same = claim_store.claim_hash(record.content) == case.made.claim_hash
    if not is_same or outcome is None or outcome in _NOT_POSTED:
        return case.declined(OnlineReason.PAYMENT_SEEN)
    return replace(case.made, outcome=AuthorisationOutcome.APPROVED, record_hash=record_hash)


def _decide(session: Session, case: _Case) -> Authorisation:
    code = judge_request(case.asked, now_ms=case.now_ms)
    if not isinstance(code, PaymentCode):
        return case.declined(code)
    merchant = payment_service.merchant_of(session, case.asked.merchant_id)
    if not may_take_payments(merchant.status):
        return case.declined(OnlineReason.MERCHANT_NOT_ACTIVE)
    if case.made.currency != merchant.currency:
        return case.declined(Refusal.CURRENCY_MISMATCH)
    refusal = case.terms.judge.verify_code(code)
    if refusal is not None:
        return case.declined(refusal)
    if code.mode is CodeMode.SESSION:
        return _ask_session(session, case, code)
    return _decide_grant_code(session, case, code, merchant)


def _ask_session(session: Session, case: _Case, code: PaymentCode) -> Authorisation:
    order = Order(
        case.new_id,
        code.to_text(),
        case.amount,
        terminal_id=case.made.terminal_id,
        terminal_payment_id=case.made.payment_id,
    )
    asked = initiation.ask_for_terminal(
        session,
        order,
        case.asked.merchant_id,
        verify=case.terms.judge.verify_code,
        rules=case.terms.rules,
        now_ms=case.now_ms,
    )
    if not isinstance(asked, OnlinePayment):
        return case.declined(_REASONS.get(asked, OnlineReason.CODE_UNKNOWN))
    made = replace(case.made, online_payment_id=asked.payment_id, answer_until_ms=asked.confirm_by_ms)
    authorisation_store.store(session, made)
    return made


def _decide_grant_code(session: Session, case: _Case, code: PaymentCode, merchant: Merchant) -> Authorisation:
    issued = issued_grants(session, [code.serial]).get(code.serial)
    reason = judge_grant_code(case.asked, code, issued, rules=case.terms.judge.rules, now_ms=case.now_ms)
    if reason is not None or issued is None:
        return case.declined(reason or OnlineReason.CODE_UNKNOWN)
    wallet = customer_store.wallets_by_id(session, [issued.wallet_id])[issued.wallet_id]
    if wallet.status is not WalletStatus.ACTIVE:
        return case.declined(OnlineReason.CUSTOMER_NOT_ACTIVE)
    if (code.serial, code.counter) in claim_store.spent_codes(session, [(code.serial, code.counter)]):
        # Perhaps by this very sale, whose record came after the first look.
        return _from_claim(session, case) or case.declined(OnlineReason.CODE_USED)
    case = replace(case, made=_of_code(case.made, code))
    payment = _payment(case, issued, merchant)
    if _needs_customer(session, case, wallet):
        return _ask_customer(session, case, payment)
    return _approve(session, case, wallet, payment)


def _of_code(made: Authorisation, code: PaymentCode) -> Authorisation:
    return replace(
        made,
        serial=code.serial,
        counter=code.counter,
        content_hash=claim_store.content_hash(code),
        reserve_limit_minor=reserve_limit_minor(code, made.amount_minor),
    )


def _needs_customer(session: Session, case: _Case, wallet: Wallet) -> bool:
    refusal = drawing.why_not_proven(
        session,
        wallet.wallet_id,
        Proof.ONE_TAP,
        amount_minor=case.made.amount_minor,
        rules=case.terms.rules,
        policy=case.terms.policy,
    )
    return refusal is not None


def _ask_customer(session: Session, case: _Case, payment: OnlinePayment) -> Authorisation:
    """Ask on the customer's phone about a grant's code; what it draws is found when they have answered."""
    if case.made.serial is None or case.made.counter is None:
        raise LedgerInvariantError("a grant's code without serial and counter")
    made = replace(
        case.made,
        open_code=case.made.serial + case.made.counter.to_bytes(4, "big"),
        online_payment_id=payment.payment_id,
        answer_until_ms=payment.confirm_by_ms,
    )
    if not authorisation_store.open_code(session, made):
        return case.declined(OnlineReason.CODE_USED)
    _insert(session, payment, now_ms=case.now_ms)
    return made


def _approve(session: Session, case: _Case, wallet: Wallet, payment: OnlinePayment) -> Authorisation:
    """Post at once what is covered and needs no proof; one round of locks, that of the ledger's accounts."""
    now_ms = case.now_ms
    sale = payment_service.sale_of(payment, cause=payment_service.cause_of(payment.payment_id))
    drawee = Drawee(wallet.wallet_id, payment.device_id, case.made.reserve_limit_minor)
    locked = lock_for_posting(session, drawing.accounts_to_lock(sale, drawee))
    if _needs_customer(session, case, wallet):
        # A payment posted since the look has made the PIN due.
        return _ask_customer(session, case, payment)
    split = drawing.split_of(case.amount, drawee, locked)
    refusal = drawing.why_not_affordable(session, wallet, split, now_ms=now_ms)
    if refusal is not None:
        return case.declined(_REASONS[refusal])
    taken = confirmation.claim(session, case.made)
    if taken is FailureReason.DECIDED_AT_TERMINAL:
        return _from_claim(session, case) or case.declined(OnlineReason.PAYMENT_SEEN)
    if taken is not None:
        return case.declined(_REASONS[taken])
    paid = replace(
        payment,
        status=PaymentStatus.COMPLETED,
        confirm_by_ms=now_ms,
        confirmed_at_ms=now_ms,
        completed_at_ms=now_ms,
    )
    _insert(session, paid, now_ms=now_ms)
    drawing.post(session, sale, drawee, split, locked=locked, now_ms=now_ms)
    drawing.count(session, wallet.wallet_id, Proof.ONE_TAP, amount_minor=sale.amount.amount_minor, now_ms=now_ms)
    return replace(
        case.made,
        outcome=AuthorisationOutcome.APPROVED,
        online_payment_id=payment.payment_id,
        from_reserve_minor=split.from_reserve.amount_minor,
    )


def _payment(case: _Case, issued: IssuedGrant, merchant: Merchant) -> OnlinePayment:
    return OnlinePayment(
        payment_id=case.new_id,
        session_id=None,
        wallet_id=issued.wallet_id,
        merchant_id=merchant.merchant_id,
        initiated_by=None,
        amount_minor=case.made.amount_minor,
        currency=case.made.currency,
        commission_ppm=merchant.commission_ppm,
        initiated_at_ms=case.now_ms,
        confirm_by_ms=case.now_ms + case.terms.rules.confirmation_ttl_s * 1000,
        terminal_id=case.made.terminal_id,
        terminal_payment_id=case.made.payment_id,
        device_id=issued.device_id,
    )


def _insert(session: Session, payment: OnlinePayment, *, now_ms: int) -> None:
    if not online_store.insert_payment(session, payment):
        raise LedgerInvariantError(f"the new payment {payment.payment_id} could not be inserted")
    payment_service.tell(session, payment, now_ms=now_ms)
