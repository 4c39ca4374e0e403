"""What the authorise chain makes of one text: every product, from the parsed code to the record, and how it ended."""

import logging
from dataclasses import dataclass

from edge.decision import Decision
from edge.limits import Counters
from edge.outbox_types import OutboxState
from edge.signer import Versions
from edge.states import Result, ResultKind, Sale
from edge.timekeeping import Reading
from edge.trust import Trust
from sync.approval import Approval
from sync.message import Message
from sync.online import OnlineAnswer, OnlineOutcome, OnlineReason
from sync.payment_code import PaymentCode, read_payment_code, verify_signatures
from sync.record import SignedRecord
from sync.refusals import Refusal

_log = logging.getLogger(__name__)

Why = Refusal | OnlineReason
"""Why a sale is not approved: the box's word, or the cloud's."""


@dataclass(slots=True)
class Authorisation:
    """What the chain made of one text, step by step; what was not reached is None.

    ``refusal`` ends it early; ``ended`` tells that somebody gave up waiting for the cloud. ``answer`` is the cloud's
    final word, ``approval`` its yes that the customer carried.
    """

    sale: Sale
    text: str
    code: PaymentCode | None = None
    reading: Reading | None = None
    chain: OutboxState | None = None
    counters: Counters | None = None
    versions: Versions | None = None
    decision: Decision | None = None
    answer: Message[OnlineAnswer] | None = None
    approval: Message[Approval] | None = None
    record: SignedRecord | None = None
    receipt_text: str = ""
    refusal: Why | None = None
    ended: ResultKind | None = None
    failure: str = ""

    @property
    def is_approved(self) -> bool:
        """Whether the approval is on the card."""
        return bool(self.receipt_text)

    @property
    def is_refused_by_cloud(self) -> bool:
        """Whether the cloud has signed its no, which it keeps for ever."""
        return self.answer is not None and self.answer.content.outcome is OnlineOutcome.DECLINED

    def result(self) -> Result:
        """Return what the display shows."""
        if self.is_approved and self.record is not None:
            return Result(
                ResultKind.APPROVED,
                record_number=self.record.content.number,
                receipt_text=self.receipt_text,
                is_by_cloud=bool(self.record.content.approval),
            )
        kind = self.ended or (ResultKind.FAILED if self.failure else ResultKind.DECLINED)
        return Result(kind, refusal=self.refusal, words=self.failure)


def read_code(products: Authorisation, trust: Trust) -> PaymentCode | Refusal:
    """Parse the text and check both signatures; the parsed code is kept even where a signature fails."""
    code = read_payment_code(products.text)
    if isinstance(code, Refusal):
        return code
    products.code = code
    return verify_signatures(code, trust.find_grant_issuer) or code


def reason_of(answer: OnlineAnswer) -> Why:
    """Return the cloud's reason as one that has words here; one of a newer cloud is a plain no."""
    if answer.reason in OnlineReason.__members__.values():
        return OnlineReason(answer.reason)
    if answer.reason in Refusal.__members__.values():
        return Refusal(answer.reason)
    _log.warning("unknown_reason reason=%s", answer.reason)
    return OnlineReason.NONE
