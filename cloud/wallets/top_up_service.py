"""Top-ups from the wish to the credit: asked for under a key, decided by the provider's word, posted once.

The provider is never asked inside a transaction. The first one stores the wish, so that its id exists before the
provider hears of it and a webhook that outruns the answer finds it; the second one takes the answer in. Answer and
webhook go the same way: the top-up's row is locked, the rules say the step, and a step that credits posts its entry in
the same transaction, under a cause made of the top-up's id. So neither two webhooks at once nor a webhook beside the
answer can post twice, and if both guards failed, the ledger's unique cause would still hold.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.errors import LedgerInvariantError
from cloud.identity.login_service import make_id
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.service import post_entries
from cloud.wallets import customer_store, funding, top_up_store
from cloud.wallets.funding import (
    LIFETIME_MS,
    OPEN_TOP_UPS_MAX,
    TOP_UP_MINOR_MAX,
    EventEffect,
    Step,
    TopUpMethod,
    TopUpStatus,
)
from cloud.wallets.provider import Charge, FundingProvider, ProviderAnswer, ProviderEvent
from cloud.wallets.reserve import WalletStatus
from cloud.wallets.tables import IDEMPOTENCY_KEY_LENGTH_MAX
from cloud.wallets.top_up_store import TopUp
from cloud.wallets.webhook import WebhookRefusal
from sync.clock import Clock
from sync.ids import RandomBytes
from sync.money import Money

_log = logging.getLogger(__name__)
_KEY = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_LENGTH_MAX}}}")
_EXPIRED_AT_ONCE_MAX = 200


class TopUpRefusal(StrEnum):
    """Why a top-up or a webhook was not taken; nothing was changed."""

    NO_PROVIDER = "no_top_up_provider"
    KEY_INVALID = "idempotency_key_invalid"
    KEY_REUSED = "idempotency_key_reused"
    AMOUNT_INVALID = "amount_invalid"
    CARD_NUMBER = "card_number_sent"
    WALLET_UNKNOWN = "wallet_unknown"
    WALLET_NOT_ACTIVE = "wallet_not_active"
    TOO_MANY_OPEN = "too_many_open_top_ups"
    PROVIDER_UNKNOWN = "provider_unknown"
    TOP_UP_UNKNOWN = "top_up_unknown"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer asks for, in minor units of the wallet's currency; ``instrument`` is the provider's token."""

    amount_minor: int
    method: TopUpMethod
    instrument: str


@dataclass(frozen=True, slots=True)
class TopUps:
    """Top-ups through one provider; without one nothing is taken."""

    engine: Engine
    clock: Clock
    random_bytes: RandomBytes
    provider: FundingProvider | None

    def request(self, wallet_id: str, wish: Wish, *, idempotency_key: str) -> TopUp | TopUpRefusal:
        """Ask for a top-up; the same key and contents again get the first one, as it stands by then.

        Raises ``ProviderAwayError`` where the provider did not answer: the same request again asks it again.
        """
        provider = self.provider
        refusal = _refusal_of(provider, wish, idempotency_key)
        if refusal is not None or provider is None:
            return refusal or TopUpRefusal.NO_PROVIDER
        top_up = self._store(wallet_id, wish, idempotency_key, provider.name)
        if isinstance(top_up, TopUpRefusal) or top_up.status is not TopUpStatus.REQUESTED:
            return top_up
        answer = provider.begin(Charge(top_up.top_up_id, top_up.method, wish.instrument, top_up.amount))
        return self._take_answer(top_up.top_up_id, answer)

    def receive(
        self, provider_name: str, *, headers: Mapping[str, str], body: bytes
    ) -> EventEffect | WebhookRefusal | TopUpRefusal:
        """Take a webhook; its id counts once, however often and at once it comes."""
        provider = self.provider
        if provider is None or provider.name != provider_name:
            return TopUpRefusal.PROVIDER_UNKNOWN
        now_ms = self.clock.now_ms()
        event = provider.read_webhook(headers=headers, body=body, now_ms=now_ms)
        if isinstance(event, WebhookRefusal):
            return event
        # Looking up nothing lets a commit of unknown outcome run again: the event's id is unique.
        effect = run_transaction(
            self.engine,
            lambda session: take_event(session, event, provider=provider_name, now_ms=now_ms),
            lookup=lambda _session: None,
        )
        needs_person = effect in (EventEffect.CONTRADICTS, EventEffect.MISMATCH)
        level = logging.ERROR if needs_person else logging.INFO
        _log.log(level, "provider_event effect=%s event=%s top_up=%s", effect, event.event_id, event.top_up_id)
        return effect

    def _store(self, wallet_id: str, wish: Wish, key: str, provider_name: str) -> TopUp | TopUpRefusal:
        top_up_id, now_ms = make_id("T", self.random_bytes), self.clock.now_ms()

        def work(session: Session) -> TopUp | TopUpRefusal:
            wallet = customer_store.lock_wallets(session, [wallet_id]).get(wallet_id)
            if wallet is None:
                return TopUpRefusal.WALLET_UNKNOWN
            amount = Money(wish.amount_minor, wallet.currency)
            contents = funding.input_hash(amount, wish.method, wish.instrument)
            known = top_up_store.find_by_key(session, wallet_id, key)
            if known is not None:
                return known if known.input_hash == contents else TopUpRefusal.KEY_REUSED
            if wallet.status is not WalletStatus.ACTIVE:
                return TopUpRefusal.WALLET_NOT_ACTIVE
            if top_up_store.open_top_ups(session, wallet_id)[0] >= OPEN_TOP_UPS_MAX:
                return TopUpRefusal.TOO_MANY_OPEN
            top_up = TopUp(
                top_up_id=top_up_id,
                wallet_id=wallet_id,
                idempotency_key=key,
                input_hash=contents,
                provider=provider_name,
                method=wish.method,
                amount=amount,
                requested_ms=now_ms,
                expires_ms=now_ms + LIFETIME_MS[wish.method],
            )
            if not top_up_store.insert_top_up(session, top_up):
                raise LedgerInvariantError(f"the new top-up {top_up_id} was there already")
            return top_up

        return run_transaction(self.engine, work, lookup=lambda _session: None)

    def _take_answer(self, top_up_id: str, answer: ProviderAnswer) -> TopUp:
        now_ms = self.clock.now_ms()

        def work(session: Session) -> TopUp:
            top_up = top_up_store.lock_top_up(session, top_up_id)
            if top_up is None:
                raise LedgerInvariantError(f"the top-up {top_up_id} is gone")
            step = funding.step(top_up.status, answer.word)
            if step.effect is EventEffect.CONTRADICTS:
                _log.error("provider_answer effect=%s top_up=%s", step.effect, top_up_id)
            _carry_out(session, top_up, step, answer, now_ms=now_ms)
            return top_up_store.find_top_up(session, top_up_id) or top_up

        return run_transaction(self.engine, work, lookup=lambda _session: None)


def take_event(session: Session, event: ProviderEvent, *, provider: str, now_ms: int) -> EventEffect | TopUpRefusal:
    """Take what the provider says once, and keep that it was said."""
    # The top-up first: an event's foreign key locks it for sharing, and two events at once could not both go on.
    top_up = top_up_store.lock_top_up(session, event.top_up_id)
    if top_up is None or top_up.provider != provider:
        return TopUpRefusal.TOP_UP_UNKNOWN
    is_same_amount = event.amount == top_up.amount
    step = funding.step(top_up.status, event.answer.word)
    effect = step.effect if is_same_amount else EventEffect.MISMATCH
    if not top_up_store.insert_event(session, event, provider=provider, effect=effect, now_ms=now_ms):
        return EventEffect.REPEATED
    if is_same_amount:
        _carry_out(session, top_up, step, event.answer, now_ms=now_ms)
    return effect


def expire_due(session: Session, *, now_ms: int) -> int:
    """Give up a number of top-ups that nobody has decided in time; answers how many."""
    return top_up_store.expire_due(session, now_ms=now_ms, top_ups_max=_EXPIRED_AT_ONCE_MAX)


def find_own(session: Session, wallet_id: str, top_up_id: str) -> TopUp | None:
    """A top-up of this wallet; another's is as unknown as none."""
    top_up = top_up_store.find_top_up(session, top_up_id)
    return top_up if top_up is not None and top_up.wallet_id == wallet_id else None


def _refusal_of(provider: FundingProvider | None, wish: Wish, key: str) -> TopUpRefusal | None:
    if provider is None:
        return TopUpRefusal.NO_PROVIDER
    if not _KEY.fullmatch(key):
        return TopUpRefusal.KEY_INVALID
    if not 0 < wish.amount_minor <= TOP_UP_MINOR_MAX:
        return TopUpRefusal.AMOUNT_INVALID
    return TopUpRefusal.CARD_NUMBER if funding.is_card_number(wish.instrument) else None


def _carry_out(session: Session, top_up: TopUp, step: Step, answer: ProviderAnswer, *, now_ms: int) -> None:
    if step.effect is not EventEffect.APPLIED:
        top_up_store.note_reference(session, top_up.top_up_id, answer.reference)
        return
    is_changed = top_up_store.change_status(
        session, top_up, to_status=step.status, reference=answer.reference, reason=answer.reason, now_ms=now_ms
    )
    if not is_changed:
        raise LedgerInvariantError(f"the locked top-up {top_up.top_up_id} was not as it was read")
    if not step.is_credited:
        return
    # Whatever became of the wallet meanwhile: the provider has taken the customer's money, so we owe it.
    cause = f"provider_top_up:{top_up.provider}:{top_up.top_up_id}"
    entry = entries.top_up(cause, wallet_id=top_up.wallet_id, amount=top_up.amount)
    (outcome,) = post_entries(session, [entry], now_ms=now_ms)
    if outcome is not PostOutcome.POSTED:
        raise LedgerInvariantError(f"the top-up {top_up.top_up_id} was credited before: {outcome}")
