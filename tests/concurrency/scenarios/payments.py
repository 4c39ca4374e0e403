"""Online payments that meet: on a wallet's session, on its payment, on a day's limit, on what is left of a sale."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.identity.hashing import SecretHash
from cloud.identity.login_service import create_login
from cloud.identity.store import Login
from cloud.notifications import store as notification_store
from cloud.payments import confirmation, initiation, refunding, service, store
from cloud.payments.confirmation import Confirmation
from cloud.payments.initiation import Order
from cloud.payments.refunding import RefundOrder
from cloud.payments.rules import PaymentRules, Proof
from cloud.payments.service import Keyed
from cloud.payments.store import Filter, OnlinePayment, Refund
from cloud.permissions import Role, RoleHeld
from cloud.sessions import service as session_service
from cloud.sessions import store as session_store
from cloud.sessions.service import SessionRequest
from cloud.sessions.store import PaymentSession
from sync.ids import MerchantId, Serial
from sync.money import Money
from sync.qr_text import QrPrefix, to_text
from tests.concurrency.ground import POLICY, Customer, Ground
from tests.concurrency.lane import Work
from tests.concurrency.scenarios.sessions import in_turn, take, transaction
from tests.concurrency.scene import Scene

TTL_S = 300
RULES = PaymentRules()


@dataclass(slots=True)
class Till:
    """Everything that a scene does with the payments of one customer; ids are counted, and shown by what they are."""

    ground: Ground
    customer: Customer
    login_id: str = ""
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.login_id = f"L{self.ground.number():012}"
        login = Login(self.login_id, f"{self.login_id.lower()}@example.org", self.ground.now_ms)
        roles = [RoleHeld(Role.OWNER, self.ground.merchant_id.hex())]
        transaction(lambda s: create_login(s, login, roles=roles, password=SecretHash("none", 1)))(self.ground.tools())

    def open(self, name: str) -> Work:
        """The phone asks for a code; answers whose session it is."""
        number = self.ground.number()
        self.names[f"PS{number:012}"] = name
        wanted = SessionRequest(
            f"PS{number:012}", Serial(number.to_bytes(8, "big")), self.customer.wallet_id, self.customer.device_id
        )

        def work(session: Session) -> object:
            made = session_service.open_session(
                session, wanted, sign_grant=self.ground.world.cloud.sign_grant, ttl_s=TTL_S, now_ms=self.ground.now_ms
            )
            return self.names[made.session_id] if isinstance(made, PaymentSession) else made

        return transaction(work)

    def code(self) -> str:
        """The code of the live session, made if there is none."""
        self.open("the session")(self.ground.tools())
        now_ms = self.ground.now_ms
        live = run_read(
            self.ground.engine, lambda s: session_store.find_live(s, self.customer.wallet_id, now_ms=now_ms)
        )
        assert live is not None
        return to_text(QrPrefix.PAYMENT_CODE, live.code_bytes)

    def ask(
        self,
        name: str,
        code: str,
        amount_minor: int,
        *,
        merchant_id: MerchantId | None = None,
        key: str | None = None,
        rules: PaymentRules = RULES,
    ) -> Work:
        """A merchant asks for money; answers whose payment it is, or why not."""
        number = self.ground.number()
        self.names[f"TXN{number:018}"] = name
        owner = merchant_id or self.ground.merchant_id
        order = Order(f"TXN{number:018}", code, Money(amount_minor, "EUR"))
        keyed = Keyed(owner, self.login_id, key or f"key-{number}", (key or name).encode().ljust(32, b"."))
        verify = self.ground.world.cloud.judge().verify_code

        def work(session: Session) -> object:
            made = initiation.initiate(session, order, keyed, verify=verify, rules=rules, now_ms=self.ground.now_ms)
            return self.names[made.payment_id] if isinstance(made, OnlinePayment) else made

        return transaction(work)

    def asked(self, name: str, amount_minor: int, *, rules: PaymentRules = RULES) -> str:
        """Ask for money before the scene begins; answers the payment's id."""
        self.ask(name, self.code(), amount_minor, rules=rules)(self.ground.tools())
        return next(payment_id for payment_id, known in self.names.items() if known == name)

    def confirm(self, payment_id: str, proof: Proof = Proof.PIN) -> Work:
        """The customer says yes; answers how the payment stands, or why not."""
        said = Confirmation(payment_id, self.customer.wallet_id, proof)

        def work(session: Session) -> object:
            answer = confirmation.confirm(session, said, rules=RULES, policy=POLICY, now_ms=self.ground.now_ms)
            return answer.status if isinstance(answer, OnlinePayment) else answer

        return transaction(work)

    def time_out(self, *, after_s: int) -> Work:
        """The job ends what was not confirmed in time."""

        def work(session: Session) -> object:
            service.time_out_overdue(session, now_ms=self.ground.now_ms + after_s * 1000)
            return "done"

        return transaction(work)

    def refund(self, payment_id: str, amount_minor: int) -> Work:
        """A manager gives a part back; answers whether it was done, or why not."""
        number = self.ground.number()
        order = RefundOrder(f"RF{number:018}", payment_id, amount_minor)
        keyed = Keyed(self.ground.merchant_id, self.login_id, f"key-{number}", bytes(32))

        def work(session: Session) -> object:
            made = refunding.refund(session, order, keyed, now_ms=self.ground.now_ms)
            return made.amount_minor if isinstance(made, Refund) else made

        return transaction(work)

    def reverse(self, payment_id: str) -> Work:
        """A manager takes the payment back; answers how it stands, or why not."""
        keyed = Keyed(self.ground.merchant_id, self.login_id, f"key-{self.ground.number()}", bytes(32))

        def work(session: Session) -> object:
            answer = refunding.reverse(session, payment_id, keyed, now_ms=self.ground.now_ms)
            return answer.status if isinstance(answer, OnlinePayment) else answer

        return transaction(work)

    def seen(self) -> Mapping[str, object]:
        """What has become of the customer's payments and day, and what the customer was told."""
        now_ms, wallet_id = self.ground.now_ms, self.customer.wallet_id

        def work(session: Session) -> Mapping[str, object]:
            payments = store.list_payments(
                session, Filter(wallet_id=wallet_id), before=None, rows_max=100, now_ms=now_ms
            )
            told = notification_store.list_notifications(
                session, [wallet_id], only_unread=False, before=None, rows_max=100
            )
            return {
                "online": sorted((self.names[p.payment_id], p.status, p.refunded_minor) for p in payments),
                "holds": sorted(self.names[p.payment_id] for p in payments if _holds(session, p)),
                "told": sorted(each.notice.kind for each in told),
            }

        return run_read(self.ground.engine, work)

    def clear(self) -> None:
        """End what still waits, so that no other scene's job meets it."""
        self.time_out(after_s=RULES.confirmation_ttl_s)(self.ground.tools())


def one_wallet_two_codes(ground: Ground, _chance: random.Random) -> Scene:
    """Two requests for a code at once, of one wallet: one session."""
    till = Till(ground, ground.customer(funds_minor=80_00))
    return _scene(till, {name: till.open(name) for name in ("first", "second")})


def one_code_two_merchants(ground: Ground, chance: random.Random) -> Scene:
    """Two merchants scan one code, one of them twice under one key, while the payment that had it is over."""
    till = Till(ground, ground.customer(funds_minor=80_00))
    till.asked("overdue", 5_00, rules=PaymentRules(confirmation_ttl_s=0))
    code = till.code()
    once = till.ask("once", code, 10_00, key=f"till-{ground.number()}")
    other = till.ask("other", code, 20_00, merchant_id=ground.other_merchant_id)
    job = till.time_out(after_s=0)
    return _scene(till, {"once": once, "copy": once, "other": in_turn(job, other) if chance.random() < 0.5 else other})


def one_day_for_online_and_offline(ground: Ground, chance: random.Random) -> Scene:
    """Two payments are confirmed while a box's sale is posted: the day has room for some of them."""
    customer = ground.customer(funds_minor=200_00, daily_limit_minor=chance.choice((60_00, 100_00)))
    phone, box = ground.phone(customer), chance.choice(ground.boxes)
    till = Till(ground, customer)
    first = till.asked("first", chance.choice((30_00, 60_00)))
    sale = ground.sale(box, phone.code(), 50_00)
    taps = chance.choice((Proof.PIN, Proof.ONE_TAP))
    sessions = {
        "confirmed": till.confirm(first, taps),
        "again": till.confirm(first),
        "posted": take(ground, (box, [sale])),
    }
    scene = _scene(till, sessions)
    scene.sales["sale"] = sale
    scene.names[bytes(phone.serial)] = "the grant"
    return scene


def given_back_by_three(ground: Ground, chance: random.Random) -> Scene:
    """Two refunds and a reversal of one sale: never more than was paid."""
    till = Till(ground, ground.customer(funds_minor=200_00))
    paid = till.asked("paid", 100_00)
    till.confirm(paid)(ground.tools())
    sessions = {
        "part": till.refund(paid, chance.choice((30_00, 60_00))),
        "more": till.refund(paid, chance.choice((50_00, 100_00))),
        "whole": till.reverse(paid),
    }
    return _scene(till, sessions)


def _scene(till: Till, sessions: dict[str, Work]) -> Scene:
    return Scene(sessions, {"payer": till.customer}, more=till.seen, afterwards=till.clear)


def _holds(session: Session, payment: OnlinePayment) -> bool:
    holder = None if payment.session_id is None else store.find_open_of_session(session, payment.session_id)
    return holder is not None and holder.payment_id == payment.payment_id
