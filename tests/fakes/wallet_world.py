"""Customers, phones and grants in a real database, with posted codes kept in memory and a signer that only labels."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.ledger import entries
from cloud.ledger.audit import verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import Sale
from cloud.ledger.service import lock_accounts, post_entries, read_balances
from cloud.wallets.customer_service import bind_device, open_wallet, top_up
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.release_service import ReserveRelease, release_due, return_grants
from cloud.wallets.reserve import GrantPolicy, GrantRefusal, ReturnRefusal, ReturnStatement
from cloud.wallets.service import GrantRequest, GrantTerms, ReserveStatus, issue_grant, reserve_status
from cloud.wallets.store import IssuedGrant
from sync.ids import MerchantId, Serial
from sync.keys import Ed25519SigningKey
from sync.money import Money

T = TypeVar("T")
HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
MERCHANT = MerchantId(b"merchant")


def sign_grant(terms: GrantTerms) -> bytes:
    """Label the terms; what a real signature looks like is nobody's business here."""
    return b"grant " + terms.serial


def key(name: str) -> bytes:
    """A phone's public key, the same in every run."""
    return Ed25519SigningKey.from_private_bytes(hashlib.sha256(name.encode()).digest()).public_key.raw


def serial(name: str) -> Serial:
    """A grant's serial, the same in every run."""
    return Serial(hashlib.sha256(name.encode()).digest()[:8])


@dataclass
class WalletWorld:
    """One database; ``now_ms`` is turned by hand, ``posted`` stands for the spent codes that ingest keeps."""

    engine: Engine
    now_ms: int = 1_800_000_000_000
    policy: GrantPolicy = field(default_factory=GrantPolicy)
    posted: dict[Serial, set[int]] = field(default_factory=dict)

    def run(self, work: Callable[[Session], T]) -> T:
        return run_transaction(self.engine, work)

    def customer(self, number: int, *, balance_minor: int = 500_00, kyc_verified: bool = True) -> str:
        """Open a wallet with money on it and bind its first phone ``D<number>-1``; answers the wallet's id."""
        wallet_id = f"W{number:012}"
        wallet = Wallet(
            wallet_id=wallet_id,
            name="Ada",
            email=f"ada{number}@example.org",
            phone=f"+4912345{number:04}",
            currency="EUR",
            daily_limit_minor=10_000_00,
            created_at_ms=self.now_ms,
            kyc_verified=kyc_verified,
        )
        assert self.run(lambda session: open_wallet(session, wallet)) == wallet
        if balance_minor:
            assert self.top_up(wallet_id, balance_minor, f"first-{number}") is PostOutcome.POSTED
        self.bind(wallet_id, self.device_id(number))
        return wallet_id

    @staticmethod
    def device_id(number: int, phone: int = 1) -> str:
        return f"D{number:08}-{phone:03}"

    def bind(self, wallet_id: str, device_id: str) -> None:
        device = Device(device_id, wallet_id, key(f"binding {device_id}"), self.now_ms)
        assert self.run(lambda session: bind_device(session, device)) == device

    def top_up(self, wallet_id: str, amount_minor: int, idempotency_key: str) -> object:
        amount = Money(amount_minor, "EUR")
        return self.run(
            lambda session: top_up(
                session, wallet_id=wallet_id, amount=amount, idempotency_key=idempotency_key, now_ms=self.now_ms
            )
        )

    def issue(
        self, wallet_id: str, device_id: str, name: str, *, pin_verified: bool = False
    ) -> IssuedGrant | GrantRefusal:
        """Ask for the grant ``name``, which gives its serial and its device key."""
        request = GrantRequest(wallet_id, device_id, serial(name), key(name), pin_verified)
        return self.run(
            lambda session: issue_grant(session, request, policy=self.policy, sign_grant=sign_grant, now_ms=self.now_ms)
        )

    def sell(self, wallet_id: str, device_id: str, name: str, *, counter: int, amount_minor: int) -> None:
        """Post an offline payment under grant ``name``, as ingest will: balances read under lock, then split."""
        amount = Money(amount_minor, "EUR")
        offline, available = entries.payer_offline(device_id, "EUR"), entries.payer_available(wallet_id, "EUR")
        sale = Sale(f"code:{serial(name).hex()}:{counter}", amount, MERCHANT, 20_000)

        def work(session: Session) -> list[PostOutcome]:
            balances = lock_accounts(session, [offline, available])
            split = entries.split_offline(
                amount, reserve=Money(balances[offline], "EUR"), available=Money(balances[available], "EUR")
            )
            entry = entries.offline_sale(sale, wallet_id=wallet_id, device_id=device_id, split=split)
            return post_entries(session, [entry], now_ms=self.now_ms)

        assert self.run(work) == [PostOutcome.POSTED]
        self.posted.setdefault(serial(name), set()).add(counter)

    def give_back(self, device_id: str, *statements: ReturnStatement) -> ReserveRelease | ReturnRefusal:
        return self.run(
            lambda session: return_grants(
                session, device_id, statements, posted=self.posted_counters, now_ms=self.now_ms
            )
        )

    def release(self, *, devices_max: int = 100) -> list[ReserveRelease]:
        return self.run(
            lambda session: release_due(
                session, posted=self.posted_counters, now_ms=self.now_ms, devices_max=devices_max
            )
        )

    def status(self, device_id: str) -> ReserveStatus | None:
        return self.run(
            lambda session: reserve_status(session, device_id, posted=self.posted_counters, now_ms=self.now_ms)
        )

    def money(self, wallet_id: str, device_id: str) -> tuple[int, int]:
        """Available and reserved, in minor units; proves the books on the way."""
        offline, available = entries.payer_offline(device_id, "EUR"), entries.payer_available(wallet_id, "EUR")
        assert self.run(verify_ledger) == []
        balances = self.run(lambda session: read_balances(session, [offline, available]))
        return balances[available], balances[offline]

    def posted_counters(self, session: Session, serials: Sequence[Serial]) -> Mapping[Serial, AbstractSet[int]]:
        return {each: self.posted[each] for each in serials if each in self.posted}


def statement(name: str, *shown: tuple[int, int], last_counter: int = 1000) -> ReturnStatement:
    """The phone's last word on grant ``name``."""
    return ReturnStatement(serial(name), last_counter, shown, f"signed {name} {shown}".encode())
