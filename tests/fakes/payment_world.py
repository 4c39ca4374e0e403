"""Shops with staff and customers with bound phones in a real database, and the whole way of an online payment."""

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.identity.service import OpenedSession
from cloud.ledger import entries
from cloud.ledger.audit import Finding, verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import PLATFORM, AccountKind, EntryKind, JournalEntry, Posting
from cloud.ledger.service import post_entries
from cloud.merchants import service as merchant_service
from cloud.merchants.tables import MerchantStatus
from cloud.notifications import store as notification_store
from cloud.payments import confirmation, initiation, refunding, service, store
from cloud.payments.confirmation import Confirmation
from cloud.payments.initiation import InitiationAnswer, Order
from cloud.payments.refunding import RefundOrder
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof, input_hash
from cloud.payments.service import Keyed
from cloud.payments.store import OnlinePayment, Refund
from cloud.permissions import Role, SignedIn
from cloud.sessions import service as session_service
from cloud.sessions import store as session_store
from cloud.sessions.service import SessionRequest
from cloud.sessions.store import PaymentSession
from cloud.wallets import customer_service, spending_store
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import GrantPolicy, WalletStatus
from cloud.wallets.service import GrantTerms
from sync.grant import GRANT
from sync.ids import MerchantId, Serial
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.payment_code import make_session_code
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from tests.fakes.cloud_world import HandClock
from tests.fakes.identity_world import PASSWORD, PIN, CountingHasher, IdentityWorld

T = TypeVar("T")
TTL_S = 300


@dataclass(slots=True)
class Payer:
    """A customer with a funded wallet, signed in on the bound phone; the PIN is ``PIN``."""

    wallet_id: str
    device_id: str
    email: str
    opened: OpenedSession

    @property
    def person(self) -> SignedIn:
        return self.opened.person

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.opened.token}", "X-Device-ID": self.device_id}


@dataclass(slots=True)
class Shop:
    """A merchant with its owner signed in."""

    merchant_id: MerchantId
    opened: OpenedSession
    keys: int = field(default=0)

    @property
    def hex(self) -> str:
        return self.merchant_id.hex()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.opened.token}"}

    def next_key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    def keyed(self, action: str = "", key: str | None = None) -> Keyed:
        login_id = self.opened.person.login_id
        return Keyed(self.merchant_id, login_id, key or self.next_key(), input_hash(action, {}))


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run the works in threads that begin together; answers what each gave, in order, or raises what one raised."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


class PaymentWorld:
    """A cloud whose shops and customers the test makes."""

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        *,
        hasher: CountingHasher | None = None,
        clock: HandClock | None = None,
    ) -> None:
        self.people = IdentityWorld(folder, database_url, hasher=hasher, clock=clock)
        self.clouds = self.people.clouds
        self.engine = self.people.engine
        self.clock: HandClock = self.people.clock
        self.app = self.people.app
        self.rules = PaymentRules()
        self.policy = GrantPolicy()
        self.verify = self.clouds.cloud.judge().verify_code
        self._made = 0

    def close(self) -> None:
        self.people.close()

    def run(self, work: Callable[[Session], T]) -> T:
        return run_transaction(self.engine, work, lookup=lambda _session: None)

    def shop(self, name: str = "Corner shop", *, role: Role = Role.OWNER) -> Shop:
        """Make a merchant and somebody who works there."""
        self._made += 1
        merchant_id = self.clouds.merchant(name)
        email = f"{role}{self._made}@shop.example.org"
        self.people.person(email, role, scope=merchant_id.hex())
        return Shop(merchant_id, self.people.signed_in(email))

    def payer(self, *, funds_minor: int = 500_00, daily_limit_minor: int = 10_000_00) -> Payer:
        """Make a customer with a funded wallet and a bound phone."""
        self._made += 1
        number, now_ms = self._made, self.clock.now_ms()
        email = f"payer{number}@example.org"
        wallet = Wallet(
            wallet_id=customer_service.make_wallet_id(secrets.token_bytes),
            name=f"Payer {number}",
            email=email,
            phone=f"+4915200{number:05d}",
            currency="EUR",
            daily_limit_minor=daily_limit_minor,
            created_at_ms=now_ms,
            kyc_verified=True,
        )
        key = Ed25519SigningKey.generate().public_key.raw
        device = Device(customer_service.make_device_id(secrets.token_bytes), wallet.wallet_id, key, now_ms)

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

        self.run(work)
        self.people.person(email, Role.CUSTOMER, scope=wallet.wallet_id)
        opened = self.people.signed_in(email)
        assert self.people.identity.set_pin(opened.person, password=PASSWORD, pin=PIN) is None
        assert self.people.identity.bind_device(opened.person, device.device_id) is None
        return Payer(wallet.wallet_id, device.device_id, email, opened)

    def session(self, payer: Payer) -> PaymentSession:
        """Open the payer's payment session, or get the live one."""
        now_ms = self.clock.now_ms()
        wanted = SessionRequest(
            session_service.make_session_id(secrets.token_bytes, now_ms=now_ms),
            Serial(secrets.token_bytes(8)),
            payer.wallet_id,
            payer.device_id,
        )
        made = self.run(
            lambda session: session_service.open_session(
                session, wanted, sign_grant=self.clouds.cloud.sign_grant, ttl_s=TTL_S, now_ms=now_ms
            )
        )
        assert isinstance(made, PaymentSession), made
        return made

    def code(self, payer: Payer) -> str:
        """Return the text that the payer's phone shows."""
        return to_text(QrPrefix.PAYMENT_CODE, self.session(payer).code_bytes)

    def another_code(self, payer: Payer) -> str:
        """Return a genuine code of one more live session, of which a wallet never gets several at once by itself."""
        now_ms = self.clock.now_ms()
        serial = Serial(secrets.token_bytes(8))
        grant = GRANT.read(self.clouds.cloud.sign_grant(GrantTerms(serial, b"", now_ms // 1000, TTL_S, 0, 0, "EUR")))
        assert not isinstance(grant, Refusal)
        code = make_session_code(grant)
        made = PaymentSession(
            session_id=session_service.make_session_id(secrets.token_bytes, now_ms=now_ms),
            serial=serial,
            wallet_id=payer.wallet_id,
            device_id=payer.device_id,
            currency="EUR",
            code_bytes=code.encode(),
            created_at_ms=now_ms,
            expires_ms=grant.content.expires_s * 1000,
        )
        self.run(lambda session: session_store.insert_session(session, made))
        return code.to_text()

    def initiate(self, shop: Shop, code: str, amount_minor: int, **changes: Any) -> InitiationAnswer:
        """Ask for money; ``changes`` are fields of the order, or ``keyed``."""
        now_ms = self.clock.now_ms()
        keyed = changes.pop("keyed", None) or shop.keyed()
        order = Order(
            payment_id=service.make_transaction_id("TXN", secrets.token_bytes, now_ms=now_ms),
            code=code,
            amount=Money(amount_minor, changes.pop("currency", "EUR")),
            **changes,
        )
        return self.run(
            lambda session: initiation.initiate(
                session, order, keyed, verify=self.verify, rules=self.rules, now_ms=now_ms
            )
        )

    def asked(self, shop: Shop, payer: Payer, amount_minor: int) -> OnlinePayment:
        """Ask the payer for money; answers the pending payment."""
        answer = self.initiate(shop, self.code(payer), amount_minor)
        assert isinstance(answer, OnlinePayment), answer
        return answer

    def confirm(self, payer: Payer, payment_id: str, *, proof: Proof = Proof.PIN) -> OnlinePayment | PaymentRefusal:
        """Confirm, as if the proof had been evaluated."""
        said, now_ms = Confirmation(payment_id, payer.wallet_id, proof), self.clock.now_ms()
        return self.run(
            lambda session: confirmation.confirm(session, said, rules=self.rules, policy=self.policy, now_ms=now_ms)
        )

    def paid(self, shop: Shop, payer: Payer, amount_minor: int) -> OnlinePayment:
        """Go the whole way; answers the completed payment."""
        answer = self.confirm(payer, self.asked(shop, payer, amount_minor).payment_id)
        assert isinstance(answer, OnlinePayment), answer
        return answer

    def refund(
        self, shop: Shop, payment_id: str, amount_minor: int, *, key: str | None = None
    ) -> Refund | PaymentRefusal:
        """Give money back; the same key means the same request only with the same amount."""
        now_ms = self.clock.now_ms()
        order = RefundOrder(
            service.make_transaction_id("RF", secrets.token_bytes, now_ms=now_ms), payment_id, amount_minor
        )
        keyed = shop.keyed(f"refund {payment_id} {amount_minor}", key)
        return self.run(lambda session: refunding.refund(session, order, keyed, now_ms=now_ms))

    def reverse(self, shop: Shop, payment_id: str, *, key: str | None = None) -> OnlinePayment | PaymentRefusal:
        """Take a payment back."""
        keyed, now_ms = shop.keyed(f"reverse {payment_id}", key), self.clock.now_ms()
        return self.run(lambda session: refunding.reverse(session, payment_id, keyed, now_ms=now_ms))

    def reject(self, payer: Payer, payment_id: str) -> OnlinePayment | PaymentRefusal:
        """Say no."""
        now_ms = self.clock.now_ms()
        return self.run(
            lambda session: confirmation.reject(session, payment_id, wallet_id=payer.wallet_id, now_ms=now_ms)
        )

    def cancel(self, shop: Shop, payment_id: str) -> OnlinePayment | PaymentRefusal:
        """Take back what was asked for."""
        now_ms = self.clock.now_ms()
        return self.run(
            lambda session: confirmation.cancel(session, payment_id, merchant_id=shop.merchant_id, now_ms=now_ms)
        )

    def time_out_overdue(self) -> int:
        now_ms = self.clock.now_ms()
        return self.run(lambda session: service.time_out_overdue(session, now_ms=now_ms))

    def stored(self, payment_id: str) -> OnlinePayment:
        found = run_read(self.engine, lambda session: store.find_payment(session, payment_id))
        assert found is not None
        return found

    def told(self, recipient: str) -> list[str]:
        """Return the kinds of what this side was told."""
        found = run_read(
            self.engine,
            lambda session: notification_store.list_notifications(
                session, [recipient], only_unread=False, before=None, rows_max=1000
            ),
        )
        return sorted(each.notice.kind for each in found)

    def spent(self, payer: Payer) -> int:
        """Return what the payer has spent today."""
        now_ms = self.clock.now_ms()
        return run_read(
            self.engine, lambda session: spending_store.spent_minor(session, payer.wallet_id, now_ms=now_ms)
        )

    def available(self, payer: Payer) -> int:
        return self.clouds.balance(AccountKind.PAYER_AVAILABLE, payer.wallet_id)

    def payable(self, shop: Shop) -> int:
        return self.clouds.balance(AccountKind.MERCHANT_PAYABLE, shop.hex)

    def fees(self) -> int:
        return self.clouds.balance(AccountKind.FEE_INCOME, PLATFORM)

    def findings(self) -> list[Finding]:
        """What is wrong in the books."""
        return run_read(self.engine, verify_ledger)

    def top_up(self, payer: Payer, amount_minor: int) -> None:
        now_ms = self.clock.now_ms()
        outcome = self.run(
            lambda session: customer_service.top_up(
                session,
                wallet_id=payer.wallet_id,
                amount=Money(amount_minor, "EUR"),
                idempotency_key=secrets.token_hex(8),
                now_ms=now_ms,
            )
        )
        assert outcome is PostOutcome.POSTED

    def pay_out(self, shop: Shop, amount_minor: int) -> None:
        """Take from what is payable to a shop, as a settlement will."""
        amount = Money(amount_minor, "EUR")
        payable = entries.merchant_payable(shop.merchant_id, "EUR")
        clearing = entries.platform(AccountKind.PAYOUT_CLEARING, "EUR")
        cause, postings = f"payout:{secrets.token_hex(8)}", (Posting(payable, -amount), Posting(clearing, amount))
        entry = JournalEntry(cause, EntryKind.RESERVE_MOVED, postings)
        now_ms = self.clock.now_ms()
        assert self.run(lambda session: post_entries(session, [entry], now_ms=now_ms)) == [PostOutcome.POSTED]

    def set_wallet(self, payer: Payer, before: WalletStatus, after: WalletStatus) -> None:
        def work(session: Session) -> bool:
            return customer_service.change_wallet_status(session, payer.wallet_id, from_status=before, to_status=after)

        assert self.run(work)

    def set_merchant(self, shop: Shop, before: MerchantStatus, after: MerchantStatus) -> None:
        def work(session: Session) -> bool:
            return merchant_service.change_status(session, shop.merchant_id, from_status=before, to_status=after)

        assert self.run(work)
