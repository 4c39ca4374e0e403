"""Where scenarios are staged: a whole cloud on MariaDB, its boxes, and phones with fresh rows for every run.

Names are counted, not drawn: two runs of one seed have different ids that compare alike, so whatever is locked or
inserted in the order of ids is so in both. Keys and signatures are fresh; nothing is locked in their order.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from sqlalchemy.orm import Session

from cloud.db import Retry, run_read, run_transaction
from cloud.ledger.entries import PLATFORM, AccountKind, AccountRef
from cloud.ledger.service import read_balances
from cloud.wallets import customer_service, service
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import GrantPolicy, GrantRefusal
from cloud.wallets.service import GrantRequest
from cloud.wallets.store import IssuedGrant
from sync.grant import GRANT
from sync.ids import MerchantId, PaymentId, Serial
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.payment_code import PaymentCode
from sync.record import SignedRecord
from sync.refusals import Refusal
from tests.concurrency.lane import Tools
from tests.fakes.cloud_world import CloudWorld, FakeBox, FakePhone

BOXES = 3
POLICY = GrantPolicy(limit_minor=50_00, total_minor=100_00)


@dataclass(frozen=True, slots=True)
class Customer:
    """A wallet with one phone bound to it and no grant yet."""

    wallet_id: str
    device_id: str
    binding_key: Ed25519SigningKey


class Ground:
    """One world that many runs share: the boxes stay and their chains grow, everything else is each run's own.

    Two boxes belong to one merchant, the third to another.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._numbers = count(1)
        self._chance = random.Random(0)
        self.world = CloudWorld(folder, url)
        self.engine = self.world.engine
        self.world.enrolment = replace(self.world.enrolment, random_bytes=self._bytes)
        self.other_merchant_id = self.world.merchant("Other shop")
        owners = (self.merchant_id, self.merchant_id, self.other_merchant_id)
        self.boxes: list[FakeBox] = [self.world.box(merchant_id=owner) for owner in owners]

    @property
    def merchant_id(self) -> MerchantId:
        return self.world.merchant_id

    @property
    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    def close(self) -> None:
        self.world.close()

    def tools(self) -> Tools:
        """What a work needs to run unstepped."""
        return Tools(self.engine, Retry())

    def number(self) -> int:
        """The next number; nothing else in this world is called by it."""
        return next(self._numbers)

    def customer(self, *, funds_minor: int, daily_limit_minor: int = 10_000_00) -> Customer:
        """Open a verified wallet with money on it and bind a phone."""
        number, now_ms = self.number(), self.now_ms
        wallet = Wallet(
            wallet_id=f"W{number:012}",
            name=f"Customer {number}",
            email=f"customer.{number}@example.org",
            phone=f"+4917{number:09}",
            currency="EUR",
            daily_limit_minor=daily_limit_minor,
            created_at_ms=now_ms,
            kyc_verified=True,
        )
        key = Ed25519SigningKey.generate()
        device = Device(f"D{number:012}", wallet.wallet_id, key.public_key.raw, now_ms)

        def work(session: Session) -> None:
            customer_service.open_wallet(session, wallet)
            customer_service.bind_device(session, device)
            if funds_minor:
                customer_service.top_up(
                    session,
                    wallet_id=wallet.wallet_id,
                    amount=Money(funds_minor, "EUR"),
                    idempotency_key=f"funds-{number}",
                    now_ms=now_ms,
                )

        run_transaction(self.engine, work)
        return Customer(wallet.wallet_id, device.device_id, key)

    def grant_request(self, customer: Customer, key: Ed25519SigningKey) -> GrantRequest:
        """A request for a grant under a fresh serial."""
        serial = Serial(self.number().to_bytes(8, "big"))
        return GrantRequest(customer.wallet_id, customer.device_id, serial, key.public_key.raw, False)

    def issue(self, session: Session, request: GrantRequest) -> IssuedGrant | GrantRefusal:
        """Issue a grant as the wallet's API does."""
        sign = self.world.cloud.sign_grant
        return service.issue_grant(session, request, policy=POLICY, sign_grant=sign, now_ms=self.now_ms)

    def phone(self, customer: Customer) -> FakePhone:
        """The customer's phone with one grant more."""
        key = Ed25519SigningKey.generate()
        request = self.grant_request(customer, key)
        granted = run_transaction(self.engine, lambda session: self.issue(session, request))
        assert isinstance(granted, IssuedGrant), granted
        grant = GRANT.read(granted.grant_bytes)
        assert not isinstance(grant, Refusal)
        return FakePhone(
            customer.wallet_id, customer.device_id, grant, key, customer.binding_key, self.world.clock, last_counter=0
        )

    def sale(self, box: FakeBox, code: PaymentCode, amount_minor: int) -> SignedRecord:
        """A sale at the head of the box's chain, under the next payment id."""
        return box.sale(code, amount_minor, payment_id=PaymentId(self.number().to_bytes(16, "big")))

    def balances(self, accounts: Mapping[str, AccountRef]) -> dict[str, int]:
        """The accounts' balances by the names given, minor units."""
        found = run_read(self.engine, lambda session: read_balances(session, list(accounts.values())))
        return {name: found[ref] for name, ref in accounts.items()}

    def shop_accounts(self) -> dict[str, AccountRef]:
        """The accounts of both merchants and ours, which all runs share."""
        shops = {"shop": self.merchant_id, "other_shop": self.other_merchant_id}
        accounts = {
            f"{name}.{kind.value}": AccountRef(kind, shop.hex(), "EUR")
            for name, shop in shops.items()
            for kind in (AccountKind.MERCHANT_PAYABLE, AccountKind.SUSPENSE)
        }
        ours = (AccountKind.FEE_INCOME, AccountKind.OFFLINE_LOSS, AccountKind.FUNDING_CLEARING)
        return accounts | {kind.value: AccountRef(kind, PLATFORM, "EUR") for kind in ours}

    def _bytes(self, size: int) -> bytes:
        # Eight bytes are a terminal's id; longer ones, a code or its salt, must not repeat.
        return self.number().to_bytes(8, "big") if size == 8 else self._chance.randbytes(size)


def payer_accounts(customer: Customer, name: str) -> dict[str, AccountRef]:
    """A customer's two accounts."""
    return {
        f"{name}.available": AccountRef(AccountKind.PAYER_AVAILABLE, customer.wallet_id, "EUR"),
        f"{name}.reserve": AccountRef(AccountKind.PAYER_OFFLINE, customer.device_id, "EUR"),
    }
