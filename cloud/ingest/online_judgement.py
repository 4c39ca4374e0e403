"""Judges what a terminal asks online, as far as no balance is needed for it. Pure.

The cloud looks at the same things as with a record that comes later, but by its own clock, since it is asked now.
"""

from dataclasses import dataclass

from cloud.fleet.states import TerminalState
from cloud.ingest.judgement import CLOCK_TOLERANCE_MS, IssuedGrant, Rules
from sync.ids import MerchantId
from sync.keys import PublicKey
from sync.online import OnlineReason, OnlineRequest
from sync.payment_code import CodeMode, PaymentCode, check_request, check_times
from sync.payment_request import PAYMENT_REQUEST, decode_payment_request
from sync.refusals import Refusal

ASKED_AGE_MS_MAX = 60_000
"""How old a question may be: a box that has waited longer has decided, or has given the sale up."""

Reason = OnlineReason | Refusal


@dataclass(frozen=True, slots=True)
class Asked:
    """A verified request with whose terminal asks; ``terminal_key`` is the one it was verified with."""

    request: OnlineRequest
    terminal_state: TerminalState
    merchant_id: MerchantId
    terminal_key: PublicKey
    code: PaymentCode | Refusal


def judge_request(asked: Asked, *, now_ms: int) -> PaymentCode | Reason:
    """Return the code where terminal, time and code may be looked at further, else why not."""
    if asked.terminal_state is not TerminalState.ACTIVE:
        return OnlineReason.TERMINAL_NOT_ACTIVE
    age_ms = now_ms - asked.request.asked_at_ms
    if not -CLOCK_TOLERANCE_MS <= age_ms <= ASKED_AGE_MS_MAX:
        return Refusal.MESSAGE_EXPIRED
    return asked.code


def judge_grant_code(
    asked: Asked, code: PaymentCode, issued: IssuedGrant | None, *, rules: Rules, now_ms: int
) -> Reason | None:
    """Say why a one-way or two-way code pays nothing, or None; its signatures hold.

    That the grant was returned, lost or denied counts at once, whatever boxes were sent.
    """
    if issued is None or issued.grant.payload != code.signed_grant.payload:
        return OnlineReason.CODE_UNKNOWN
    if not issued.is_live:
        return Refusal.DENIED_PAYER
    if asked.request.currency != code.grant.currency:
        return Refusal.CURRENCY_MISMATCH
    refusal = check_times(
        code, now_s=now_ms // 1000, age_s_max=rules.code_age_s_max, ahead_s_max=rules.code_ahead_s_max
    )
    return refusal or _judge_shown(asked, code, now_ms=now_ms)


def reserve_limit_minor(code: PaymentCode, amount_minor: int) -> int:
    """Return at what its phone counts a code it has shown: a one-way code at its ceiling, a two-way at its amount."""
    return code.grant.limit_minor if code.mode is CodeMode.ONE_WAY else amount_minor


def _judge_shown(asked: Asked, code: PaymentCode, *, now_ms: int) -> Refusal | None:
    """A two-way code answers one request of this very terminal, which says amount and payment."""
    if code.mode is not CodeMode.TWO_WAY:
        return None
    shown = decode_payment_request(asked.request.request)
    if isinstance(shown, Refusal):
        return shown
    request = shown.request.content
    said = (request.payment_id, request.amount_minor, request.currency)
    if said != (asked.request.payment_id, asked.request.amount_minor, asked.request.currency):
        return Refusal.REQUEST_MISMATCH
    if PAYMENT_REQUEST.verify(shown.request, asked.terminal_key) is not None:
        return Refusal.REQUEST_MISMATCH
    refusal = check_request(code, request_hash=shown.short_hash)
    is_over = now_ms // 1000 >= request.expires_s
    return refusal or (Refusal.REQUEST_EXPIRED if is_over else None)
