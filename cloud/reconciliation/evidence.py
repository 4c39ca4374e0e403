"""Puts the evidence of one payment together: what was signed, by whom, and what the books made of it.

Everything is read anew from the rows, not from what an exception keeps beside it, so that a pack shows the whole case:
all that was taken under the counter in question, and under the whole grant where a sum is in question.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import CloudError, LedgerInvariantError
from cloud.ingest import payment_store
from cloud.ingest.outcomes import CONVICTING, Fault, Outcome
from cloud.ingest.payment_store import Payment
from cloud.keyring import RoleVersion
from cloud.ledger.entries import PLATFORM, AccountKind, EntryKind
from cloud.payments import authorisation_store
from cloud.payments.authorisation_store import Authorisation
from cloud.payments.claim_store import cause_of
from cloud.payments.service import cause_of as online_cause
from cloud.reconciliation import evidence_store as store
from cloud.reconciliation.evidence_claims import (
    FORMAT,
    NOTHING_POSTED,
    PAYER,
    ClaimedCase,
    ClaimedDenial,
    ClaimedEntry,
    ClaimedExposure,
    ClaimedPayment,
    ClaimedPosting,
    Claims,
)
from cloud.reconciliation.evidence_facts import Facts, Flaw, SignedParts, examine
from cloud.reconciliation.evidence_pack import build_files, to_zip
from cloud.reconciliation.exposure import Exposure, TakenPayment, exposure_of
from cloud.wallets import store as wallet_store
from sync.certificate import TERMINAL_CERTIFICATE
from sync.enrolment import ENROLMENT_ANSWER
from sync.grant import GRANT
from sync.ids import KeyId, PaymentId, Serial, TerminalId
from sync.keys import PublicKey
from sync.payment_code import decode_payment_code
from sync.record import RECORD, Record
from sync.refusals import Refusal
from sync.roles import RoleUse

RECORDS_MAX = 400
"""Records in one pack; of a grant that has more, the newest are taken."""
CONVICTED_MAX = 200
_PAYERS = (AccountKind.PAYER_OFFLINE, AccountKind.PAYER_AVAILABLE)


class EvidenceError(CloudError):
    """There is no evidence to be had under this name; ``code`` is stable, the text says what to do."""

    code = "evidence_error"

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Issued:
    """The public half of the keyring: the root, and the role keys it has signed."""

    root: PublicKey
    versions: tuple[RoleVersion, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """The payment that the evidence is about."""

    terminal_id: TerminalId
    payment_id: PaymentId


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The payments of a case in the order in which they came, their records, and every grant they stand on."""

    payments: tuple[Payment, ...]
    encoded: Mapping[bytes, bytes]
    records: Mapping[bytes, Record]
    serials: frozenset[Serial]


def make_pack(session: Session, subject: Subject, *, issued: Issued) -> bytes:
    """Return the evidence pack of one payment; the same rows give the same bytes.

    Raises ``EvidenceError``: ``payment_unknown``; ``evidence_broken`` where something signed does not verify any more,
    which means that rows or keys were changed.
    """
    gathered = _gather(session, subject)
    parts = _parts(session, gathered, issued)
    facts = examine(parts, issued.root)
    if isinstance(facts, Flaw):
        raise EvidenceError("evidence_broken", f"what is stored does not verify: {facts.refusal} ({facts.subject})")
    claims = _claims(session, subject, gathered, facts)
    return to_zip(build_files(parts, facts, claims))


def find_subject(session: Session, payment_id: PaymentId) -> Subject:
    """Return the payment of this id; raises ``EvidenceError``: ``payment_unknown``, ``payment_ambiguous``."""
    terminals = store.terminals_of(session, payment_id)
    if not terminals:
        raise EvidenceError("payment_unknown", f"no terminal has sent a payment {payment_id.hex()}")
    if len(terminals) > 1:
        names = ", ".join(each.hex() for each in terminals)
        raise EvidenceError("payment_ambiguous", f"several terminals have a payment of this id; name one: {names}")
    return Subject(terminals[0], payment_id)


def named_subject(session: Session, name: str) -> Subject:
    """Return the payment named ``PAYMENT`` or ``TERMINAL:PAYMENT``, hexadecimal; raises ``EvidenceError``."""
    try:
        terminal_id, payment_id = (bytes.fromhex(part) for part in name.rpartition(":")[::2])
    except ValueError as error:
        raise EvidenceError("payment_malformed", "a payment is named by its id, 32 hexadecimal digits") from error
    if terminal_id:
        return Subject(TerminalId(terminal_id), PaymentId(payment_id))
    return find_subject(session, PaymentId(payment_id))


def list_cases(session: Session) -> list[store.Case]:
    """Return the newest cases that are about a payment."""
    return store.payment_cases(session)


def case_subject(session: Session, case_id: int) -> Subject:
    """Return the payment that a case is about; raises ``EvidenceError``: ``case_unknown``."""
    case = store.find_case(session, case_id)
    if case is None:
        raise EvidenceError("case_unknown", f"there is no case {case_id} about a payment; see --list")
    return Subject(case.terminal_id, case.payment_id)


def exposures(session: Session) -> tuple[Exposure, ...]:
    """What each grant that was spent twice could cost and did, the newest ``CONVICTED_MAX`` cases of them."""
    kinds = [Fault.OTHER_CONTENT_SAME_COUNTER, Fault.EXCEEDS_COVER]
    convicting = store.convicting_records(session, kinds, limit=CONVICTED_MAX)
    serials = {each.serial for each in store.payments_by_record(session, convicting) if each.serial is not None}
    return _exposures(session, serials)


def _gather(session: Session, subject: Subject) -> _Gathered:
    own = store.payments_of(session, subject.terminal_id, subject.payment_id)
    if not own:
        raise EvidenceError("payment_unknown", "this terminal has sent no such payment")
    found = {payment.record_hash: payment for payment in own}
    keys = {(p.serial, p.counter) for p in own if p.serial is not None and p.counter is not None}
    found |= {payment.record_hash: payment for payment in store.payments_by_code(session, keys)}
    if any(payment.outcome in CONVICTING or payment.uncovered_minor for payment in own):
        serials = {payment.serial for payment in own if payment.serial is not None}
        of_grant = store.payments_by_serial(session, serials, payments_max=RECORDS_MAX)
        found |= {payment.record_hash: payment for payment in of_grant if payment.outcome not in NOTHING_POSTED}
    encoded = payment_store.encoded_records(session, found)
    records = {record_hash: _read_record(each) for record_hash, each in encoded.items()}

    def place(payment: Payment) -> tuple[int, int, TerminalId, int, int, bytes]:
        record = records[payment.record_hash]
        chain = (record.terminal_id, record.epoch, record.number)
        return (payment.received_at_ms, payment.authorised_at_ms, *chain, payment.record_hash)

    return _Gathered(
        tuple(sorted(found.values(), key=place)),
        encoded,
        records,
        frozenset(payment.serial for payment in found.values() if payment.serial is not None),
    )


def _parts(session: Session, gathered: _Gathered, issued: Issued) -> SignedParts:
    certificates = _certificates(session, gathered.records.values())
    grants = wallet_store.grants_by_serial(session, sorted(gathered.serials))
    returns = [each.return_statement for _, each in sorted(grants.items()) if each.return_statement is not None]
    signers = {_key_id_of_certificate(each) for each in certificates}
    signers |= {_key_id_of_grant(each.grant_bytes) for each in grants.values()}
    signers |= {key_id for each in gathered.records.values() if (key_id := _code_signer(each)) is not None}
    uses = (RoleUse.GRANT, RoleUse.FLEET_CA)
    roles = [v.statement for v in issued.versions if v.role.use in uses and v.issuer.key.key_id in signers]
    return SignedParts(
        records=tuple(gathered.encoded[payment.record_hash] for payment in gathered.payments),
        certificates=tuple(certificates),
        roles=tuple(roles),
        grants=tuple(each.grant_bytes for _, each in sorted(grants.items())),
        returns=tuple(returns),
    )


def _certificates(session: Session, records: Iterable[Record]) -> list[bytes]:
    """Return the certificate of each chain the records stand in, as the terminal got it when it enrolled."""
    wanted = {(record.terminal_id, record.epoch) for record in records}
    found: dict[tuple[TerminalId, int], bytes] = {}
    for terminal_id, epoch, encoded in store.enrolment_answers(session, {terminal_id for terminal_id, _ in wanted}):
        answer = ENROLMENT_ANSWER.read(encoded)
        if isinstance(answer, Refusal):
            raise LedgerInvariantError(f"the stored answer to an enrolment cannot be read: {answer}")
        if (terminal_id, epoch) in wanted:
            found[terminal_id, epoch] = answer.content.certificate
    return [found[key] for key in sorted(found)]


def _claims(session: Session, subject: Subject, gathered: _Gathered, facts: Facts) -> Claims:
    serials = sorted(gathered.serials)
    denials = wallet_store.denials_by_serial(session, serials)
    convicted = {p.serial for p in gathered.payments if p.outcome in CONVICTING and p.serial is not None}
    return Claims(
        format=FORMAT,
        terminal_id=subject.terminal_id.hex(),
        payment_id=subject.payment_id.hex(),
        cases=tuple(
            ClaimedCase(kind=case.kind, next_action=case.next_action, opened_at_ms=case.opened_at_ms)
            for case in store.cases_of(session, subject.terminal_id, subject.payment_id)
        ),
        payments=tuple(_claimed_payment(payment) for payment in gathered.payments),
        entries=_claimed_entries(session, gathered.payments),
        denials=tuple(
            ClaimedDenial(
                serial=each.serial.hex(),
                reason=each.reason,
                since_ms=each.denied_since_ms,
                snapshot_version=each.snapshot_version,
            )
            for _, each in sorted(denials.items())
        ),
        exposures=tuple(_claimed_exposure(each) for each in _exposures(session, convicted)),
    )


def _claimed_payment(payment: Payment) -> ClaimedPayment:
    return ClaimedPayment(
        record_hash=payment.record_hash.hex(),
        outcome=payment.outcome,
        fault=payment.fault,
        borne_by=payment.borne_by,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        from_reserve_minor=payment.from_reserve_minor,
        from_available_minor=payment.from_available_minor,
        uncovered_minor=payment.uncovered_minor,
        received_at_ms=payment.received_at_ms,
    )


def _claimed_entries(session: Session, payments: Sequence[Payment]) -> tuple[ClaimedEntry, ...]:
    """Return the entries of the payments that were posted; of two records under one payment id only one was."""
    record_of: dict[str, bytes] = {}
    asked = authorisation_store.find(session, {(each.terminal_id, each.payment_id) for each in payments})
    for payment in payments:
        if payment.outcome not in NOTHING_POSTED:
            cause = _cause_of(payment, asked.get((payment.terminal_id, payment.payment_id)))
            record_of |= {cause: payment.record_hash, f"void:{cause}": payment.record_hash}
    lines: dict[tuple[str, EntryKind], list[ClaimedPosting]] = {}
    for line in store.entry_lines(session, sorted(record_of)):
        owner = PAYER if line.account in _PAYERS else line.owner
        posting = ClaimedPosting(account=line.account, owner=owner or PLATFORM, amount_minor=line.amount_minor)
        lines.setdefault((line.cause, line.kind), []).append(posting)
    return tuple(
        ClaimedEntry(cause=cause, kind=kind, record_hash=record_of[cause].hex(), postings=tuple(postings))
        for (cause, kind), postings in sorted(lines.items())
    )


def _cause_of(payment: Payment, asked: Authorisation | None) -> str:
    """Return under which cause a payment was posted: by its record, or before that by the approval it joined."""
    if asked is None or asked.online_payment_id is None or asked.record_hash != payment.record_hash:
        return cause_of(payment.terminal_id, payment.payment_id)
    return online_cause(asked.online_payment_id)


def _claimed_exposure(exposure: Exposure) -> ClaimedExposure:
    return ClaimedExposure(
        serial=exposure.serial.hex(),
        groups=exposure.groups,
        ceiling_minor=exposure.ceiling_minor,
        reserve_minor=exposure.reserve_minor,
        bound_minor=exposure.bound_minor,
        loss_minor=exposure.loss_minor,
    )


def _exposures(session: Session, serials: Collection[Serial]) -> tuple[Exposure, ...]:
    posted = [
        payment
        for payment in store.payments_by_serial(session, serials, payments_max=RECORDS_MAX)
        if payment.outcome not in NOTHING_POSTED and payment.outcome is not Outcome.VOID
    ]
    encoded = payment_store.encoded_records(session, {payment.record_hash for payment in posted})
    records = {record_hash: _read_record(each) for record_hash, each in encoded.items()}
    versions = {record.policy_version for record in records.values()}
    policies = payment_store.published_policies(session, versions)
    ceilings = {version: policy.payer_sum_minor for version, policy in policies.items()}
    ceiling_of = _ceiling_of(ceilings)
    doubled = {(p.serial, p.counter) for p in posted if p.outcome is Outcome.DOUBLE_SPEND}
    taken: dict[Serial, list[TakenPayment]] = {serial: [] for serial in sorted(serials)}
    for payment in posted:
        if payment.serial is not None:
            record = records[payment.record_hash]
            is_first = payment.outcome is not Outcome.DOUBLE_SPEND and (payment.serial, payment.counter) in doubled
            taken[payment.serial].append(_taken(payment, record, ceiling_of(record), is_first_spend=is_first))
    return tuple(exposure_of(serial, payments) for serial, payments in taken.items())


def _ceiling_of(ceilings: Mapping[int, int]) -> Callable[[Record], int]:
    """Say what a box might take of one payer; one that names a policy nobody sent gets the lowest there is."""
    lowest = min(ceilings.values(), default=0)
    return lambda record: ceilings.get(record.policy_version, lowest)


def _taken(payment: Payment, record: Record, ceiling_minor: int, *, is_first_spend: bool) -> TakenPayment:
    return TakenPayment(
        chain=(record.terminal_id, record.epoch),
        number=record.number,
        amount_minor=payment.amount_minor,
        sum_before_minor=record.sums_before[0],
        ceiling_minor=ceiling_minor,
        from_reserve_minor=payment.from_reserve_minor,
        uncovered_minor=payment.uncovered_minor,
        is_double_spend=payment.outcome is Outcome.DOUBLE_SPEND,
        is_first_spend=is_first_spend,
    )


def _read_record(encoded: bytes) -> Record:
    message = RECORD.read(encoded)
    if isinstance(message, Refusal):
        raise LedgerInvariantError(f"a stored record cannot be read: {message}")
    return message.content


def _key_id_of_certificate(encoded: bytes) -> KeyId:
    message = TERMINAL_CERTIFICATE.read(encoded)
    if isinstance(message, Refusal):
        raise LedgerInvariantError(f"the stored certificate of a terminal cannot be read: {message}")
    return message.content.key_id


def _key_id_of_grant(encoded: bytes) -> KeyId:
    message = GRANT.read(encoded)
    if isinstance(message, Refusal):
        raise LedgerInvariantError(f"a stored grant cannot be read: {message}")
    return message.content.key_id


def _code_signer(record: Record) -> KeyId | None:
    code = decode_payment_code(record.code)
    return None if isinstance(code, Refusal) else code.grant.key_id
