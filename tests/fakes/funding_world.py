"""Customers with wallets, a sandbox provider whose messages the test delivers, over HTTP without a socket."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.ledger.audit import verify_ledger
from cloud.ledger.entries import AccountKind
from cloud.permissions import Role
from cloud.wallets import customer_service, customer_store, service
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.funding import ProviderWord, TopUpMethod
from cloud.wallets.provider import ProviderAnswer, ProviderEvent
from cloud.wallets.reserve import GrantPolicy, GrantRefusal
from cloud.wallets.sandbox import Sandbox
from cloud.wallets.service import GrantRequest
from cloud.wallets.store import IssuedGrant
from cloud.wallets.top_up_service import TopUps, Wish
from cloud.wallets.top_up_store import TopUp
from sync.ids import Serial
from sync.keys import Ed25519SigningKey
from sync.money import Money
from tests.fakes.identity_world import Client, IdentityWorld, integration

WEBHOOK_KEY = bytes(range(32))
WEBHOOK = "/api/v1/providers/sandbox/webhook"


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's login and wallet."""

    email: str
    wallet_id: str


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone bound to a wallet."""

    wallet_id: str
    device_id: str


class FundingWorld:
    """A cloud with the sandbox provider."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.sandbox = Sandbox(WEBHOOK_KEY)
        self.people = IdentityWorld(folder, database_url, provider=self.sandbox)
        self.engine, self.clock, self.clouds = self.people.engine, self.people.clock, self.people.clouds
        self.top_ups = TopUps(self.engine, self.clock, secrets.token_bytes, self.sandbox)
        self._customers = 0

    def close(self) -> None:
        self.people.close()

    def customer(self, *, kyc_verified: bool = True) -> Customer:
        """Open a wallet with a login; nothing is on it."""
        self._customers += 1
        email = f"payer{self._customers}@example.org"
        wallet = Wallet(
            wallet_id=customer_service.make_wallet_id(secrets.token_bytes),
            name=f"Payer {self._customers}",
            email=email,
            phone=f"+4917000{self._customers:05d}",
            currency="EUR",
            daily_limit_minor=10_000_00,
            created_at_ms=self.clock.now_ms(),
            kyc_verified=kyc_verified,
        )
        opened = run_transaction(self.engine, lambda session: customer_service.open_wallet(session, wallet))
        assert opened == wallet
        self.people.person(email, Role.CUSTOMER, scope=wallet.wallet_id)
        return Customer(email, wallet.wallet_id)

    @asynccontextmanager
    async def signed_in(self, email: str) -> AsyncIterator[Client]:
        """Give a client that is signed in as somebody; one address may do that once in ten seconds on the long run."""
        self.clock.pass_s(10)
        async with self.people.http() as http:
            yield await integration(http, email)

    def event(
        self, top_up_id: str, word: ProviderWord, *, amount_minor: int = 50_00, event_id: str | None = None
    ) -> ProviderEvent:
        """What the provider says of a charge."""
        answer = ProviderAnswer(word, f"sb-{top_up_id}")
        named = event_id or f"evt-{secrets.token_hex(8)}"
        return ProviderEvent(named, top_up_id, Money(amount_minor, "EUR"), answer)

    def message(self, event: ProviderEvent) -> tuple[dict[str, str], bytes]:
        """Headers and body of a webhook that the provider signs now."""
        return self.sandbox.write_webhook(event, time_s=self.clock.now_ms() // 1000)

    def operator(self, role: Role) -> str:
        """Make an operator's login; answers its e-mail."""
        email = f"{role.value}-{secrets.token_hex(4)}@example.org"
        self.people.person(email, role)
        return email

    def phone(self, customer: Customer) -> Phone:
        """Bind a phone to a wallet."""
        key = Ed25519SigningKey.generate()
        device = Device(
            customer_service.make_device_id(secrets.token_bytes),
            customer.wallet_id,
            key.public_key.raw,
            self.clock.now_ms(),
        )
        assert run_transaction(self.engine, lambda s: customer_service.bind_device(s, device)) == device
        return Phone(customer.wallet_id, device.device_id)

    def grant(self, phone: Phone) -> IssuedGrant | GrantRefusal:
        """Ask for a grant, under a fresh key."""
        device_key = Ed25519SigningKey.generate().public_key.raw
        request = GrantRequest(phone.wallet_id, phone.device_id, Serial(secrets.token_bytes(8)), device_key, False)
        policy = GrantPolicy(limit_minor=20_00, total_minor=20_00)
        sign_grant, now_ms = self.clouds.cloud.sign_grant, self.clock.now_ms()
        return run_transaction(
            self.engine,
            lambda s: service.issue_grant(s, request, policy=policy, sign_grant=sign_grant, now_ms=now_ms),
        )

    def fund(self, customer: Customer, amount_minor: int) -> None:
        """Put money on a wallet through the provider."""
        wish = Wish(amount_minor, TopUpMethod.CARD, "sandbox-approve")
        top_up = self.top_ups.request(customer.wallet_id, wish, idempotency_key=secrets.token_hex(8))
        assert isinstance(top_up, TopUp), top_up

    async def deliver(self, http: httpx.AsyncClient, event: ProviderEvent) -> httpx.Response:
        """Send a webhook as the provider does."""
        headers, body = self.message(event)
        return await http.post(WEBHOOK, headers=headers, content=body)

    def available(self, customer: Customer) -> int:
        """What the ledger says is on a wallet."""
        return self.clouds.balance(AccountKind.PAYER_AVAILABLE, customer.wallet_id)

    def wallet(self, customer: Customer) -> Wallet:
        """A wallet as stored, with its phone number."""

        def read(session: Session) -> Wallet:
            wallet = customer_store.wallets_by_id(session, [customer.wallet_id])[customer.wallet_id]
            return customer_store.with_phone(session, wallet)

        return run_read(self.engine, read)

    def findings(self) -> list[object]:
        """What is wrong in the books."""
        return list(run_read(self.engine, verify_ledger))
