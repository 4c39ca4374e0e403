"""Posts what was judged genuine, many sales of many terminals in one transaction, and gives each its one outcome.

Order inside the transaction: payment ids are claimed, codes are spent, accounts are locked, entries are built on the
locked balances one after the other, and posted in one batch. So two boxes that took one code, in whatever order and
on whatever worker they arrive, draw on the payer once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ingest import joining, payment_store
from cloud.ingest.joining import Capture, Joined, SaleRecord, Voided
from cloud.ingest.judgement import (
    CLOCK_TOLERANCE_MS,
    Circumstances,
    IssuedGrant,
    NotPostable,
    Postable,
    Rules,
    judge_sale,
)
from cloud.ingest.outcomes import CONVICTING, NEXT_ACTION, BorneBy, Fault, Outcome
from cloud.ingest.payment_store import OpenException, Payment, exception_of
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import AccountKind, AccountRef, JournalEntry, OfflineSplit, Sale
from cloud.ledger.service import find_entry, lock_for_posting, post_entries
from cloud.payments import claim_store, courier_store
from cloud.payments.authorisation_store import Asking
from cloud.payments.claim_store import SpentCode, cause_of, content_hash
from cloud.wallets import customer_service, spending_store, store
from cloud.wallets.reserve import DenyReason, GrantStatus, PinUsage, contradicts
from cloud.wallets.service import convict_devices
from sync import cbor
from sync.envelope import decode_signed
from sync.ids import Serial
from sync.message import Message
from sync.money import Money
from sync.payment_code import CodeMode, PaymentCode, decode_payment_code
from sync.policy import Policy
from sync.record import Record
from sync.refusals import Refusal

_GRANT_SIZE_MAX = 512


@dataclass(frozen=True, slots=True)
class Judge:
    """What judging needs beside the database: the newest ceilings, and who checks a code's two signatures.

    ``verify_code`` names what is wrong: the grant under the keys that the root vouches for, then the device's.
    """

    rules: Rules
    verify_code: Callable[[PaymentCode], Refusal | None]


@dataclass(frozen=True, slots=True)
class _Genuine:
    """A sale that is to be posted, with who spent its code before, if anybody."""

    sale: SaleRecord
    verdict: Postable
    first: SpentCode | None


def post_sales(session: Session, sales: Sequence[SaleRecord], *, judge: Judge, now_ms: int) -> list[Payment]:
    """Decide and post the sales in order; answers one payment with its outcome for each."""
    joined = joining.join(session, sales, now_ms=now_ms)
    others = [sale for sale in sales if sale.record.hash not in joined]
    verdicts = _judge(session, others, judge=judge, now_ms=now_ms)
    genuine = _claim_and_spend(session, others, verdicts)
    # What the cloud approved between the look and the claim.
    missed = [each for each, verdict in zip(others, verdicts, strict=True) if _is_claimed(verdict)]
    joined.add(joining.join(session, missed, now_ms=now_ms) if missed else Joined())
    posted = _post(session, genuine, list(joined.captures.values()), now_ms=now_ms)
    decided = {
        sale.record.hash: posted.get(sale.record.hash) or _not_posted(sale, verdict, now_ms=now_ms)
        for sale, verdict in zip(others, verdicts, strict=True)
    }
    decided |= joined.payments | {each.payment.record_hash: each.payment for each in joined.captures.values()}
    payments = [decided[sale.record.hash] for sale in sales]
    payment_store.insert_payments(session, payments)
    _follow_up(session, sales, payments, genuine, now_ms=now_ms)
    _count_day(session, posted.values(), now_ms=now_ms)
    return payments


def void_payment(session: Session, void: Message[Record], *, now_ms: int) -> None:
    """Take back whatever is posted or held for the payment, or take its id, so that nothing is posted for it any more.

    What has been paid out of suspense meanwhile is not there to be taken back: that is named for a person.
    """
    key = (void.content.terminal_id, void.content.payment_id)
    (is_first,) = claim_store.claim_payments(session, [(*key, void.hash)])
    record_hash = claim_store.claimed_record(session, *key)
    voided = joining.void_approved(session, key, now_ms=now_ms)
    if not is_first and voided is Voided.NOTHING:
        voided = _void_posted(session, key, record_hash, now_ms=now_ms)
    if voided is Voided.REVERSED and record_hash is not None:
        payment_store.mark_void(session, record_hash)
    elif voided is Voided.NOT_COVERED:
        fault = Fault.VOID_NOT_COVERED
        case = OpenException(void.hash, fault.value, *key, NEXT_ACTION[fault], void.encode())
        payment_store.open_exceptions(session, [case], now_ms=now_ms)


def _void_posted(session: Session, key: Asking, record_hash: bytes | None, *, now_ms: int) -> Voided:
    cause = cause_of(*key)
    entry = find_entry(session, cause)
    if entry is None:
        return Voided.NOTHING
    (outcome,) = post_entries(session, [entries.reversal(entry, cause=f"void:{cause}")], now_ms=now_ms)
    if outcome is PostOutcome.POSTED and record_hash is not None:
        _give_day_back(session, key, record_hash)
        return Voided.REVERSED
    return Voided.NOT_COVERED if outcome is PostOutcome.INSUFFICIENT_FUNDS else Voided.NOTHING


def _judge(session: Session, sales: Sequence[SaleRecord], *, judge: Judge, now_ms: int) -> list[Postable | NotPostable]:
    """Judge each sale by its code, the grant the cloud issued, and the policy its terminal decided under."""
    policies = payment_store.published_policies(session, {sale.record.content.policy_version for sale in sales})
    codes = [decode_payment_code(sale.record.content.code) for sale in sales]
    issued = issued_grants(session, {code.serial for code in codes if not isinstance(code, Refusal)})

    def circumstances(sale: SaleRecord) -> Circumstances:
        rules = _rules_of(sale.record.content, policies, newest=judge.rules)
        return Circumstances(now_ms, sale.not_before_ms, rules, sale.terminal_key, issued.get, judge.verify_code)

    return [judge_sale(sale.record.content, code, circumstances(sale)) for sale, code in zip(sales, codes, strict=True)]


def _rules_of(record: Record, policies: Mapping[int, Policy], *, newest: Rules) -> Rules:
    """Return the ceilings of the policy the terminal decided under, if it was in force then; else the newest ones."""
    policy = policies.get(record.policy_version)
    if policy is None or not policy.issued_ms - CLOCK_TOLERANCE_MS <= record.authorised_at_ms < policy.expires_ms:
        return newest
    return Rules.of(policy)


def issued_grants(session: Session, serials: Iterable[Serial]) -> dict[Serial, IssuedGrant]:
    """Return what the cloud knows of the grants that it has issued."""
    wanted = sorted(set(serials))
    denials = store.denials_by_serial(session, wanted)
    found: dict[Serial, IssuedGrant] = {}
    for serial, grant in store.grants_by_serial(session, wanted).items():
        signed = decode_signed(grant.grant_bytes, size_max=_GRANT_SIZE_MAX)
        if isinstance(signed, Refusal):
            raise LedgerInvariantError(f"the stored grant {serial.hex()} cannot be read: {signed}")
        denial = denials.get(serial)
        since = None if denial is None else denial.snapshot_version
        found[serial] = IssuedGrant(
            grant.wallet_id, grant.device_id, signed, since, is_live=grant.status is GrantStatus.LIVE
        )
    return found


def _claim_and_spend(
    session: Session, sales: Sequence[SaleRecord], verdicts: list[Postable | NotPostable]
) -> list[_Genuine]:
    """Claim payment ids and spend codes; a taken payment id turns its verdict into a conflict, in place."""
    postable = [index for index, verdict in enumerate(verdicts) if isinstance(verdict, Postable)]
    claims = [
        (sales[i].record.content.terminal_id, sales[i].record.content.payment_id, sales[i].record.hash)
        for i in postable
    ]
    candidates: list[tuple[SaleRecord, Postable]] = []
    for index, is_claimed in zip(postable, claim_store.claim_payments(session, claims), strict=True):
        verdict = verdicts[index]
        if isinstance(verdict, Postable) and is_claimed:
            candidates.append((sales[index], verdict))
        elif isinstance(verdict, Postable):
            verdicts[index] = NotPostable(Outcome.CONFLICT, Fault.PAYMENT_ID_TAKEN, verdict.code)
    codes = [
        SpentCode(verdict.code.serial, verdict.code.counter, content_hash(verdict.code), sale.record.hash)
        for sale, verdict in candidates
    ]
    firsts = claim_store.spend_codes(session, codes)
    return [_Genuine(sale, verdict, first) for (sale, verdict), first in zip(candidates, firsts, strict=True)]


def _post(
    session: Session, genuine: Sequence[_Genuine], captures: Sequence[Capture], *, now_ms: int
) -> dict[bytes, Payment]:
    """Post what is genuine and what is captured; answers the payments of the genuine ones."""
    if not genuine and not captures:
        return {}
    touched = {account for each in genuine for account in _accounts(each)}
    locked = lock_for_posting(session, touched.union(*(capture.accounts for capture in captures)))
    balances = {ref: account.state.balance_minor for ref, account in locked.items()}
    built: list[JournalEntry] = []
    posted: dict[bytes, Payment] = {}
    for each in genuine:
        entry, payment = _build(each, balances, now_ms=now_ms)
        for posting in entry.postings:
            balances[posting.account] += posting.amount.amount_minor
        built.append(entry)
        posted[payment.record_hash] = payment
    built += [entry for capture in captures for entry in capture.entries]
    outcomes = post_entries(session, built, now_ms=now_ms, locked=locked)
    refused = [entry.cause for entry, outcome in zip(built, outcomes, strict=True) if outcome is not PostOutcome.POSTED]
    if refused:
        raise LedgerInvariantError(f"covered postings were not taken: {refused}")
    return posted


def _is_claimed(verdict: Postable | NotPostable) -> bool:
    return isinstance(verdict, NotPostable) and verdict.fault is Fault.PAYMENT_ID_TAKEN


def _accounts(each: _Genuine) -> tuple[AccountRef, ...]:
    currency, merchant_id = each.sale.record.content.currency, each.sale.merchant.merchant_id
    grant = each.verdict.grant
    return (
        entries.payer_offline(grant.device_id, currency),
        entries.payer_available(grant.wallet_id, currency),
        entries.merchant_payable(merchant_id, currency),
        entries.suspense(merchant_id, currency),
        entries.platform(AccountKind.FEE_INCOME, currency),
        entries.platform(AccountKind.OFFLINE_LOSS, currency),
    )


def _build(each: _Genuine, balances: dict[AccountRef, int], *, now_ms: int) -> tuple[JournalEntry, Payment]:
    record, grant = each.sale.record.content, each.verdict.grant
    amount = Money(record.amount_minor, record.currency)
    merchant = each.sale.merchant
    cause = cause_of(record.terminal_id, record.payment_id)
    sale = Sale(cause, amount, merchant.merchant_id, merchant.commission_ppm)
    if each.first is not None and each.first.content_hash == content_hash(each.verdict.code):
        nothing = Money(0, record.currency)
        split = OfflineSplit(nothing, nothing, amount)
        payment = _payment(each, split, Outcome.REPLAYED_CODE, Fault.SAME_CODE_AGAIN, now_ms=now_ms)
        return entries.replayed_sale(sale), payment
    reserve = Money(balances[entries.payer_offline(grant.device_id, record.currency)], record.currency)
    available = Money(balances[entries.payer_available(grant.wallet_id, record.currency)], record.currency)
    split = entries.split_offline(amount, reserve=reserve, available=available)
    entry = entries.offline_sale(sale, wallet_id=grant.wallet_id, device_id=grant.device_id, split=split)
    return entry, _payment(each, split, *_outcome_of(each, split), now_ms=now_ms)


def _outcome_of(each: _Genuine, split: OfflineSplit) -> tuple[Outcome, Fault]:
    if each.first is not None:
        return Outcome.DOUBLE_SPEND, Fault.OTHER_CONTENT_SAME_COUNTER
    if each.verdict.is_late:
        return Outcome.LATE_RECORD, Fault.RECORD_TOO_LATE
    if split.uncovered:
        return Outcome.OVER_GRANT, Fault.EXCEEDS_COVER
    return (Outcome.SETTLED_FROM_BALANCE if split.from_available else Outcome.SETTLED_FROM_RESERVE), Fault.NONE


def _payment(each: _Genuine, split: OfflineSplit, outcome: Outcome, fault: Fault, *, now_ms: int) -> Payment:
    record, code = each.sale.record.content, each.verdict.code
    return Payment(
        terminal_id=record.terminal_id,
        payment_id=record.payment_id,
        record_hash=each.sale.record.hash,
        merchant_id=each.sale.merchant.merchant_id,
        wallet_id=each.verdict.grant.wallet_id,
        serial=code.serial,
        counter=code.counter,
        amount_minor=record.amount_minor,
        currency=record.currency,
        outcome=outcome,
        fault=fault,
        borne_by=BorneBy.UNDECIDED if split.uncovered else BorneBy.PAYER,
        from_reserve_minor=split.from_reserve.amount_minor,
        from_available_minor=split.from_available.amount_minor,
        uncovered_minor=split.uncovered.amount_minor,
        authorised_at_ms=record.authorised_at_ms,
        received_at_ms=now_ms,
    )


def _not_posted(sale: SaleRecord, verdict: Postable | NotPostable, *, now_ms: int) -> Payment:
    if isinstance(verdict, Postable):
        raise LedgerInvariantError("a genuine sale was left without posting")
    record, code = sale.record.content, verdict.code
    is_conflict = verdict.outcome is Outcome.CONFLICT
    return Payment(
        terminal_id=record.terminal_id,
        payment_id=record.payment_id,
        record_hash=sale.record.hash,
        merchant_id=sale.merchant.merchant_id,
        wallet_id=None,
        serial=code.serial if code else None,
        counter=code.counter if code else None,
        amount_minor=record.amount_minor,
        currency=record.currency,
        outcome=verdict.outcome,
        fault=verdict.fault,
        borne_by=BorneBy.UNDECIDED if is_conflict else BorneBy.MERCHANT,
        from_reserve_minor=0,
        from_available_minor=0,
        uncovered_minor=0,
        authorised_at_ms=record.authorised_at_ms,
        received_at_ms=now_ms,
    )


def _follow_up(
    session: Session,
    sales: Sequence[SaleRecord],
    payments: Sequence[Payment],
    genuine: Sequence[_Genuine],
    *,
    now_ms: int,
) -> None:
    """Open exceptions with their evidence, deny convicted keys, count payments without PIN."""
    first_of = {each.sale.record.hash: each.first for each in genuine if each.first is not None}
    firsts = payment_store.encoded_records(session, {first.record_hash for first in first_of.values()})
    opened: list[OpenException] = []
    for sale, payment in zip(sales, payments, strict=True):
        if payment.fault is Fault.NONE:
            continue
        first = first_of.get(payment.record_hash)
        evidence = _evidence(sale, firsts.get(first.record_hash) if first else None)
        opened.extend(each for each in (exception_of(payment, evidence=evidence),) if each is not None)
    opened.extend(_false_returns(session, genuine, now_ms=now_ms))
    payment_store.open_exceptions(session, opened, now_ms=now_ms)
    convicted = {p.serial for p in payments if p.outcome in CONVICTING and p.serial is not None}
    if convicted:
        convict_devices(session, convicted, reason=DenyReason.DOUBLE_SPEND, now_ms=now_ms)
    _count_without_pin(session, genuine)


def _count_day(session: Session, payments: Iterable[Payment], *, now_ms: int) -> None:
    """Count what payers were debited to the limit of the day on which it is posted; nothing is refused for it (§4)."""
    spends: defaultdict[str, int] = defaultdict(int)
    for payment in payments:
        if payment.wallet_id is not None:
            spends[payment.wallet_id] += payment.drawn_minor
    spending_store.add_spends(session, spends, now_ms=now_ms)


def _give_day_back(session: Session, key: Asking, record_hash: bytes) -> None:
    """Give the day its money back on which it was counted: when it was posted, or promised to a courier."""
    voided = payment_store.find_drawn(session, record_hash)
    hold = courier_store.find(session, [key]).get(key)
    if voided is not None:
        spent_at_ms = voided.posted_ms if hold is None else hold.held_at_ms
        spending_store.give_back(session, voided.wallet_id, spent_at_ms=spent_at_ms, amount_minor=voided.amount_minor)


def _evidence(sale: SaleRecord, first: bytes | None) -> bytes:
    """Return ``[this record, the first record]`` as CBOR, each as it was signed; both carry their codes."""
    return cbor.encode((sale.record.encode(), first or b""))


def _false_returns(session: Session, genuine: Sequence[_Genuine], *, now_ms: int) -> list[OpenException]:
    """A code that its phone's return statement does not know convicts the phone by its own signatures (§4)."""
    # Asked under the accounts' locks, which a return takes too: a statement that comes later knows of this posting.
    returned = store.returned_codes(session, sorted({each.verdict.code.serial for each in genuine}))
    opened = []
    for each in genuine:
        code, record = each.verdict.code, each.sale.record
        shown = returned.get(code.serial) if each.first is None else None
        if shown is not None and contradicts(shown, counter=code.counter, amount_minor=record.content.amount_minor):
            convict_devices(session, {code.serial}, reason=DenyReason.FALSE_RETURN, now_ms=now_ms)
            fault = Fault.CONTRADICTS_RETURN
            content = record.content
            opened.append(
                OpenException(
                    record.hash,
                    fault.value,
                    content.terminal_id,
                    content.payment_id,
                    NEXT_ACTION[fault],
                    _evidence(each.sale, None),
                )
            )
    return opened


def _count_without_pin(session: Session, genuine: Sequence[_Genuine]) -> None:
    sums: defaultdict[str, list[int]] = defaultdict(list)
    for each in genuine:
        if each.first is None and each.verdict.code.mode is CodeMode.ONE_WAY:
            sums[each.verdict.grant.wallet_id].append(each.sale.record.content.amount_minor)
    usages = {wallet_id: PinUsage(len(amounts), sum(amounts)) for wallet_id, amounts in sums.items()}
    if usages:
        customer_service.count_payments_without_pin(session, usages)
