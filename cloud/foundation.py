"""What every process of the cloud stands on: settings, keys, database and clock, put together once.

``tillbox cloud serve`` builds the application on it, ``tillbox cloud worker`` the worker.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.cache import Cache
from cloud.db import DEFAULT_RETRY, Retry, load_vault, make_engine, run_read, run_transaction
from cloud.errors import DatabaseError, ProviderSetupError
from cloud.fleet.publishing import Limits, Publisher
from cloud.identity.hashing import Hasher
from cloud.identity.mailer import FolderMailer, Mailer, SmtpMailer
from cloud.identity.peppers import load_peppers
from cloud.identity.service import Identity
from cloud.ingest.judgement import Rules
from cloud.ingest.online import OnlineTerms
from cloud.ingest.posting import Judge
from cloud.ingest.verified_grants import VerifiedGrants
from cloud.keyring import Keyring
from cloud.notifications.store import ANNOUNCE
from cloud.payments.authorisation_store import Authorisation
from cloud.payments.rules import PaymentRules
from cloud.payments.states import AuthorisationOutcome
from cloud.redis_keys import LIVE_CHANNEL
from cloud.settings import CloudSettings, TopUpProvider
from cloud.wallets import store as wallet_store
from cloud.wallets import webhook
from cloud.wallets.provider import FundingProvider
from cloud.wallets.reserve import GrantPolicy
from cloud.wallets.sandbox import Sandbox
from cloud.wallets.service import GrantTerms
from sync.approval import APPROVAL, Approval
from sync.clock import Clock, SystemClock
from sync.grant import GRANT, Grant
from sync.ids import KeyId, Serial
from sync.keys import PublicKey
from sync.online import ONLINE_ANSWER, OnlineAnswer, OnlineOutcome
from sync.payment_code import verify_signatures
from sync.payment_request import ShownRequest, verify_payment_request
from sync.refusals import Refusal
from sync.roles import RoleUse

_log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_S = 0.2
APPROVAL_TTL_S = 600
"""How long a terminal takes a carried approval; the customer has to walk back to it."""
_OUTCOMES = {
    AuthorisationOutcome.ASKED: OnlineOutcome.CUSTOMER_ASKED,
    AuthorisationOutcome.APPROVED: OnlineOutcome.APPROVED,
    AuthorisationOutcome.DECLINED: OnlineOutcome.DECLINED,
}
PAUSE_S_MAX = 10.0


class _DenyList:
    """The wallets' deny list, as the fleet's publisher asks for it."""

    def denied(self, session: Session, *, now_ms: int) -> Collection[Serial]:
        return [denial.serial for denial in wallet_store.denials_in_force(session, now_ms=now_ms)]

    def mark_published(self, session: Session, serials: Collection[Serial], *, version: int) -> None:
        wallet_store.mark_published(session, serials, version=version)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Everything a process of the cloud works with."""

    settings: CloudSettings
    engine: Engine
    keyring: Keyring
    clock: Clock
    publisher: Publisher
    cache: Cache
    identity: Identity
    mailer: Mailer
    provider: FundingProvider | None = None
    """Who takes customers' money for top-ups; without one nobody can."""
    retry: Retry = DEFAULT_RETRY
    verified_grants: VerifiedGrants = field(default_factory=VerifiedGrants)

    def close(self) -> None:
        """Give every connection back."""
        self.cache.close()
        self.engine.dispose()

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run a transaction off the event loop, waiting as long as the database is away or contended.

        ``work`` may run several times and does nothing twice; raises what it raises, and what the database refuses.
        """
        return await outlast_database(lambda: asyncio.to_thread(self.run_once, work))

    async def read(self, work: Callable[[Session], T]) -> T:
        """Read one moment off the event loop, waiting as long as the database is away."""
        return await outlast_database(lambda: asyncio.to_thread(run_read, self.engine, work, retry=self.retry))

    def run_once(self, work: Callable[[Session], T]) -> T:
        """Run a transaction here and now, with bounded retries; raises ``DatabaseError``, too.

        ``work`` does nothing twice: looking up nothing lets a commit of unknown outcome run again.
        """
        return run_transaction(self.engine, work, lookup=lambda _session: None, retry=self.retry)

    def judge(self) -> Judge:
        """Return what sales are judged by: the policy's ceilings, and the grant keys with which codes are verified."""
        issuers = self.keyring.issuers()

        def find_issuer(key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
            return issuers.find(RoleUse.GRANT, key_id, at_ms=at_ms)

        rules = Rules.of(self.publisher.limits.content)
        return Judge(rules, lambda code: verify_signatures(code, find_issuer, check=self.verified_grants.check))

    def payment_rules(self) -> PaymentRules:
        """Return the numbers of online payments, as the settings have them."""
        return PaymentRules(self.settings.payment_confirmation_ttl_s, self.settings.payment_no_pin_limit_minor)

    def grant_policy(self) -> GrantPolicy:
        """Return the numbers of grants and of payments without PIN, as the settings have them."""
        return GrantPolicy(limit_minor=self.settings.payment_offline_limit_minor)

    def online_terms(self) -> OnlineTerms:
        """Return what terminals' questions are decided by."""
        return OnlineTerms(self.judge(), self.payment_rules(), self.grant_policy())

    def verify_request(self, shown: ShownRequest, now_ms: int) -> Refusal | None:
        """Check a payment request under the fleet CA's keys that the root vouches for, at this time."""
        issuers = self.keyring.issuers()

        def find_fleet_ca(key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
            return issuers.find(RoleUse.FLEET_CA, key_id, at_ms=at_ms)

        return verify_payment_request(shown, now_s=now_ms // 1000, find_fleet_ca=find_fleet_ca)

    def sign_approval(self, shown: ShownRequest, now_ms: int) -> bytes:
        """Sign our yes to a payment request, for a customer to carry to the terminal."""
        key = self.keyring.signing_key(RoleUse.APPROVAL, now_ms=now_ms)
        request = shown.request.content
        approval = Approval(
            key_id=key.public_key.key_id,
            request_hash=shown.short_hash,
            payment_id=request.payment_id,
            amount_minor=request.amount_minor,
            currency=request.currency,
            expires_s=now_ms // 1000 + APPROVAL_TTL_S,
        )
        return APPROVAL.sign(key, approval).encode()

    def sign_answer(self, decided: Authorisation) -> bytes:
        """Sign the answer to a terminal's question, as it stands in its row."""
        key = self.keyring.signing_key(RoleUse.APPROVAL, now_ms=self.clock.now_ms())
        answer = OnlineAnswer(
            key_id=key.public_key.key_id,
            terminal_id=decided.terminal_id,
            payment_id=decided.payment_id,
            outcome=_OUTCOMES[decided.outcome],
            reason=decided.reason,
            amount_minor=decided.amount_minor,
            currency=decided.currency,
            expires_ms=decided.answer_until_ms,
        )
        return ONLINE_ANSWER.sign(key, answer).encode()

    def sign_grant(self, terms: GrantTerms) -> bytes:
        """Sign a grant with the grant key of now; it never outlives that key, or boxes would refuse it."""
        role = self.keyring.current(RoleUse.GRANT, now_ms=self.clock.now_ms()).role
        key = self.keyring.signing_key(RoleUse.GRANT, now_ms=self.clock.now_ms())
        grant = Grant(
            key_id=key.public_key.key_id,
            serial=terms.serial,
            device_key=terms.device_key,
            issued_s=terms.issued_s,
            lifetime_s=min(terms.lifetime_s, role.not_after_ms // 1000 - terms.issued_s),
            limit_minor=terms.limit_minor,
            total_minor=terms.total_minor,
            currency=terms.currency,
        )
        return GRANT.sign(key, grant).encode()


async def outlast_database(attempt: Callable[[], Awaitable[T]]) -> T:
    """Attempt a transaction as long as the database is away or contended; raises whatever else it raises."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await attempt()
        except DatabaseError as error:
            _log.warning("database_waited_for code=%s pause_s=%.1f", error.code, pause_s)
            await asyncio.sleep(pause_s * (1 + random.random()) / 2)  # noqa: S311 - jitter, no secret.
            pause_s = min(PAUSE_S_MAX, pause_s * 2)


def build_cloud(settings: CloudSettings, clock: Clock | None = None) -> Cloud:
    """Load the keys and connect; raises the ``CloudError`` that says what to do."""
    clock = clock or SystemClock()
    provider = make_provider(settings)
    keyring = Keyring.load(settings.key_folder, now_ms=clock.now_ms())
    limits = Limits.of(settings.currency, one_way_limit_minor=settings.payment_offline_limit_minor)
    engine = make_engine(settings.effective_database_url, vault=load_vault(settings.column_key_file))
    cache = Cache(settings.redis_url, clock=clock)
    engine.update_execution_options(**{ANNOUNCE: lambda recipients: _announce(cache, recipients)})
    identity = Identity(engine, clock, Hasher(load_peppers(settings.pepper_file)))
    publisher = Publisher(keyring, _DenyList(), limits)
    return Cloud(settings, engine, keyring, clock, publisher, cache, identity, make_mailer(settings), provider)


def make_mailer(settings: CloudSettings) -> Mailer:
    """Make the way in which letters go; without a mail server they are written to a folder, and nobody gets them."""
    if settings.mail_smtp_url is None:
        return FolderMailer(settings.mail_folder, settings.mail_from)
    return SmtpMailer(settings.mail_smtp_url.get_secret_value(), settings.mail_from)


def _announce(cache: Cache, recipients: Sequence[str]) -> None:
    """Say to every process whose screens are to look for news; where Redis is away, they look by themselves."""
    cache.ask(lambda connection: connection.publish(LIVE_CHANNEL, json.dumps(recipients)))


def make_provider(settings: CloudSettings) -> FundingProvider | None:
    """Make the top-up provider that the settings name; raises ``ProviderSetupError`` where its secret is not there."""
    match settings.top_up_provider:
        case TopUpProvider.NONE:
            return None
        case TopUpProvider.SANDBOX:
            _log.warning("sandbox_provider_in_use: top-ups are credited and nobody is charged")
            return Sandbox(_read_webhook_key(settings.top_up_webhook_secret_file))


def _read_webhook_key(file: Path | None) -> bytes:
    if file is None:
        raise ProviderSetupError("TILLBOX_TOP_UP_WEBHOOK_SECRET_FILE names no file with the provider's secret")
    try:
        key = webhook.parse_secret(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderSetupError(f"the provider's secret in {file} cannot be read") from error
    if key is None:
        raise ProviderSetupError(
            f"{file} holds no secret: whsec_ and base64 of at least {webhook.SECRET_SIZE_MIN} bytes are needed"
        )
    return key
