"""Judges one sale record again, from its own bytes: nothing the terminal claims is taken on trust. Pure.

A merchant who has the terminal's key can sign any record; but a payment code only a phone can sign, a grant only the
cloud, and the cloud knows which grants it issued (protocol §3).
"""

from collections.abc import Callable
from dataclasses import dataclass

from cloud.ingest.outcomes import Fault, Outcome
from sync.envelope import Signed
from sync.ids import Serial
from sync.keys import PublicKey
from sync.payment_code import CodeMode, PaymentCode, check_times
from sync.payment_request import PAYMENT_REQUEST, decode_payment_request
from sync.policy import Policy
from sync.record import Record
from sync.refusals import Refusal

RECORD_AGE_MS_MAX = 7 * 24 * 3600 * 1000
"""Records are accepted for seven days (protocol §5)."""
CLOCK_TOLERANCE_MS = 60_000
"""How far a synced box may run ahead of the cloud; a code's own life."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The ceilings the cloud judges by: those of the policy the terminal was sent, minor units and seconds."""

    currency: str
    one_way_limit_minor: int
    two_way_limit_minor: int
    code_age_s_max: int
    code_ahead_s_max: int

    @classmethod
    def of(cls, policy: Policy) -> "Rules":
        """Return what of a policy the cloud judges by."""
        return cls(
            policy.currency,
            policy.one_way_limit_minor,
            policy.two_way_limit_minor,
            policy.code_age_s_max,
            policy.code_ahead_s_max,
        )


@dataclass(frozen=True, slots=True)
class IssuedGrant:
    """What the cloud knows of the grant a code stands on; ``grant`` is what it signed.

    ``is_live``: it was neither returned nor lost nor denied, of which a box may know nothing.
    """

    wallet_id: str
    device_id: str
    grant: Signed
    denied_since_snapshot: int | None
    is_live: bool = True


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything beside the record that it is judged by.

    ``not_before_ms``: the time of the previous record of its chain, or where a ``clock_set`` record put the clock.
    ``terminal_key``: the key its signature was verified with. ``verify_code`` checks a code's two signatures.
    """

    received_at_ms: int
    not_before_ms: int
    rules: Rules
    terminal_key: PublicKey
    grant_of: Callable[[Serial], IssuedGrant | None]
    verify_code: Callable[[PaymentCode], Refusal | None]


@dataclass(frozen=True, slots=True)
class Postable:
    """A genuine sale; ``is_late`` when it came after seven days."""

    code: PaymentCode
    grant: IssuedGrant
    is_late: bool


@dataclass(frozen=True, slots=True)
class NotPostable:
    """No posting; ``code`` is there as far as it could be read."""

    outcome: Outcome
    fault: Fault
    code: PaymentCode | None = None


def judge_sale(record: Record, code: PaymentCode | Refusal, circumstances: Circumstances) -> Postable | NotPostable:
    """Judge a sale: its code as it was read, its grant, its amount, its time, and the denial the terminal held."""
    if isinstance(code, Refusal):
        is_promise = record.approval and not record.code
        return NotPostable(Outcome.FORGED, Fault.APPROVAL_NOT_ISSUED if is_promise else Fault.CODE_UNREADABLE)
    issued = circumstances.grant_of(code.serial)
    fault = (
        _check_code(code, issued, circumstances)
        or _check_amount(record, code, circumstances)
        or _check_time(record, code, circumstances)
    )
    if fault is not None or issued is None:
        return NotPostable(Outcome.FORGED, fault or Fault.GRANT_NOT_ISSUED, code)
    # Only a denial that the box held when it decided is the merchant's loss (protocol §11).
    denied_since = issued.denied_since_snapshot
    if denied_since is not None and denied_since <= record.snapshot_version:
        return NotPostable(Outcome.DENIED_PAYER, Fault.DENIED_IN_SNAPSHOT, code)
    is_late = circumstances.received_at_ms - record.authorised_at_ms > RECORD_AGE_MS_MAX
    return Postable(code, issued, is_late)


def _check_code(code: PaymentCode, issued: IssuedGrant | None, circumstances: Circumstances) -> Fault | None:
    if circumstances.verify_code(code) is not None:
        return Fault.CODE_NOT_GENUINE
    if issued is None:
        return Fault.GRANT_NOT_ISSUED
    if issued.grant.payload != code.signed_grant.payload:
        return Fault.GRANT_ALTERED
    return Fault.SESSION_CODE_OFFLINE if code.mode is CodeMode.SESSION else None


def _check_amount(record: Record, code: PaymentCode, circumstances: Circumstances) -> Fault | None:
    rules = circumstances.rules
    if not record.currency == code.grant.currency == rules.currency:
        return Fault.WRONG_CURRENCY
    if code.mode is CodeMode.TWO_WAY:
        ceiling_minor = min(rules.two_way_limit_minor, code.grant.total_minor)
        request_fault = _check_request(record, code, circumstances.terminal_key)
        if request_fault is not None:
            return request_fault
    else:
        ceiling_minor = min(rules.one_way_limit_minor, code.grant.limit_minor)
    return None if 0 < record.amount_minor <= ceiling_minor else Fault.OVER_CEILING


def _check_request(record: Record, code: PaymentCode, terminal_key: PublicKey) -> Fault | None:
    """A two-way code answers one request, and the request says amount and payment.

    The code covers the request but not the certificate shown beside it, so that the certificate proves nothing here:
    this terminal's own signature under the request does.
    """
    if not record.request:
        return Fault.REQUEST_MISSING
    shown = decode_payment_request(record.request)
    if isinstance(shown, Refusal):
        return Fault.REQUEST_MISMATCH
    request = shown.request.content
    is_answer = shown.short_hash == code.challenge and request.payment_id == record.payment_id
    is_ours = PAYMENT_REQUEST.verify(shown.request, terminal_key) is None
    is_same = (request.amount_minor, request.currency) == (record.amount_minor, record.currency)
    return None if is_answer and is_ours and is_same else Fault.REQUEST_MISMATCH


def _check_time(record: Record, code: PaymentCode, circumstances: Circumstances) -> Fault | None:
    if record.authorised_at_ms < circumstances.not_before_ms:
        return Fault.TIME_BEFORE_PREVIOUS
    if record.authorised_at_ms > circumstances.received_at_ms + CLOCK_TOLERANCE_MS:
        return Fault.TIME_AFTER_RECEIPT
    refusal = check_times(
        code,
        now_s=record.authorised_at_ms // 1000,
        age_s_max=circumstances.rules.code_age_s_max,
        ahead_s_max=circumstances.rules.code_ahead_s_max,
    )
    return None if refusal is None else Fault.CODE_NOT_FRESH
