"""A provider that charges nobody: it does what the customer's instrument says, for trials and tests.

======================  ==============================================================
instrument              what happens
======================  ==============================================================
``sandbox-approve``     it succeeds at once
``sandbox-decline``     it is declined at once
``sandbox-delay``       it is pending until a webhook decides (``tillbox cloud sandbox-webhook``)
``sandbox-away``        the provider does not answer
anything else           it is declined: ``instrument_unknown``
======================  ==============================================================

It keeps nothing: reference and answer follow from the charge, so the same charge again is answered as the first time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.errors import ProviderAwayError
from cloud.wallets import webhook
from cloud.wallets.funding import ProviderWord, TopUpMethod
from cloud.wallets.provider import REASON_LENGTH_MAX, REFERENCE_LENGTH_MAX, Charge, ProviderAnswer, ProviderEvent
from cloud.wallets.webhook import WebhookRefusal
from sync.money import Money

NAME = "sandbox"
_DECLINED = {TopUpMethod.CARD: "card_declined", TopUpMethod.BANK: "account_refused"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    top_up_id: str = Field(min_length=1, max_length=REFERENCE_LENGTH_MAX)
    reference: str = Field(min_length=1, max_length=REFERENCE_LENGTH_MAX)
    outcome: ProviderWord = Field(strict=False)
    amount_minor: int = Field(gt=0, lt=1 << 53)
    currency: str = Field(pattern="^[A-Z]{3}$")
    reason: str = Field(default="", max_length=REASON_LENGTH_MAX)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The sandbox provider with the key of its webhooks."""

    webhook_key: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Its name in the webhook's address."""
        return NAME

    def begin(self, charge: Charge) -> ProviderAnswer:
        """Answer as the instrument says."""
        reference = f"sb-{charge.top_up_id}"
        match charge.instrument:
            case "sandbox-approve":
                return ProviderAnswer(ProviderWord.SUCCEEDED, reference)
            case "sandbox-delay":
                return ProviderAnswer(ProviderWord.PENDING, reference)
            case "sandbox-decline":
                return ProviderAnswer(ProviderWord.DECLINED, reference, _DECLINED[charge.method])
            case "sandbox-away":
                raise ProviderAwayError("the sandbox provider plays that it does not answer")
            case _:
                return ProviderAnswer(ProviderWord.DECLINED, reference, "instrument_unknown")

    def read_webhook(self, *, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent | WebhookRefusal:
        """Verify and read a message."""
        event_id = webhook.verify(self.webhook_key, headers=headers, body=body, now_ms=now_ms)
        if isinstance(event_id, WebhookRefusal):
            return event_id
        try:
            said = _Body.model_validate_json(body)
        except ValidationError:
            return WebhookRefusal.BODY_INVALID
        answer = ProviderAnswer(said.outcome, said.reference, said.reason)
        return ProviderEvent(event_id, said.top_up_id, Money(said.amount_minor, said.currency), answer)

    def write_webhook(self, event: ProviderEvent, *, time_s: int) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a message from this provider."""
        said = {
            "top_up_id": event.top_up_id,
            "reference": event.answer.reference,
            "outcome": event.answer.word.value,
            "amount_minor": event.amount.amount_minor,
            "currency": event.amount.currency,
            "reason": event.answer.reason,
        }
        body = json.dumps(said).encode()
        signed = webhook.sign(self.webhook_key, event_id=event.event_id, time_s=time_s, body=body)
        return {"content-type": "application/json", **signed}, body
