"""A cloud in which terminals ask online: boxes that sign questions and records, phones, and customers who answer."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.fleet.tables import TERMINALS
from cloud.ingest import online
from cloud.ingest.outcomes import Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger.audit import verify_ledger
from cloud.ledger.entries import AccountKind
from cloud.payments import confirmation, courier, store
from cloud.payments.authorisation_store import Authorisation
from cloud.payments.confirmation import Confirmation
from cloud.payments.courier import CourierOrder
from cloud.payments.courier_store import CourierHold
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Proof
from cloud.payments.service import make_transaction_id
from cloud.payments.store import OnlinePayment
from cloud.reconciliation.evidence import Issued, Subject, make_pack
from cloud.reconciliation.evidence_check import VerifiedPack, verify_pack
from cloud.reconciliation.evidence_facts import Flaw
from cloud.wallets import spending_store
from sync.ids import PaymentId
from sync.message import Message
from sync.online import OnlineRequest
from sync.payment_request import ShownRequest
from tests.fakes.cloud_world import FakeBox, FakePhone, HandClock
from tests.fakes.payment_world import Payer, PaymentWorld, Shop

Said = tuple[str, str]
"""Outcome and reason of an answer."""


class OnlineWorld:
    """One shop with boxes; ``world.clouds`` takes their records."""

    def __init__(self, payments: PaymentWorld, shop: Shop) -> None:
        self.payments = payments
        self.clouds = payments.clouds
        self.clock = payments.clock
        self.shop = shop
        self._fees_before_minor = payments.fees()

    def another(self) -> "OnlineWorld":
        """Return the same cloud with another shop of the same owner."""
        return OnlineWorld(self.payments, Shop(self.clouds.merchant("Another shop"), self.shop.opened))

    def close(self) -> None:
        self.payments.close()

    def box(self) -> FakeBox:
        return self.clouds.box(merchant_id=self.shop.merchant_id)

    def ask(self, box: FakeBox, question: Message[OnlineRequest]) -> Authorisation:
        """Have a question decided, and see that nothing is ever left unbalanced."""
        terms, now_ms = self.clouds.cloud.online_terms(), self.clock.now_ms()
        new_id = make_transaction_id("TXN", secrets.token_bytes, now_ms=now_ms)

        def work(session: Session) -> Authorisation:
            decided = online.decide(
                session, box.terminal_id, question.encode(), new_id=new_id, terms=terms, now_ms=now_ms
            )
            assert isinstance(decided, Authorisation), decided
            return decided

        return run_transaction(self.clouds.engine, work, lookup=lambda _session: None)

    def said(self, box: FakeBox, question: Message[OnlineRequest]) -> Said:
        answer = self.ask(box, question)
        return answer.outcome.value, answer.reason

    def confirm(
        self, wallet_id: str, payment_id: str | None, *, proof: Proof = Proof.PIN
    ) -> OnlinePayment | PaymentRefusal:
        """Answer yes, as if the proof had been evaluated."""
        assert payment_id is not None
        said, now_ms, rules = Confirmation(payment_id, wallet_id, proof), self.clock.now_ms(), self.payments.rules
        return self.payments.run(
            lambda session: confirmation.confirm(session, said, rules=rules, policy=self.payments.policy, now_ms=now_ms)
        )

    def carry(self, wallet_id: str, shown: ShownRequest, *, proof: Proof = Proof.PIN) -> CourierHold | PaymentRefusal:
        """Ask for an approval to carry."""
        order, now_ms = CourierOrder(wallet_id, shown, proof), self.clock.now_ms()
        return self.payments.run(
            lambda session: courier.approve(
                session,
                order,
                sign=self.clouds.cloud.sign_approval,
                rules=self.payments.rules,
                policy=self.payments.policy,
                now_ms=now_ms,
            )
        )

    def release_overdue(self) -> int:
        now_ms = self.clock.now_ms()
        return self.payments.run(lambda session: courier.release_overdue(session, now_ms=now_ms))

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of the shop's records."""
        of_shop = PAYMENTS.select().where(PAYMENTS.c.merchant_id == self.shop.merchant_id)
        with self.clouds.engine.connect() as connection:
            return [Outcome(row.outcome) for row in connection.execute(of_shop)]

    def exceptions(self) -> list[str]:
        """Return the kinds of what the shop's terminals have left for a person."""
        of_shop = EXCEPTIONS.c.terminal_id == TERMINALS.c.terminal_id, TERMINALS.c.merchant_id == self.shop.merchant_id
        with self.clouds.engine.connect() as connection:
            return list(connection.scalars(select(EXCEPTIONS.c.kind).where(*of_shop)))

    def stored(self, payment_id: str | None) -> OnlinePayment:
        assert payment_id is not None
        found = run_read(self.clouds.engine, lambda session: store.find_payment(session, payment_id))
        assert found is not None
        return found

    def spent(self, wallet_id: str) -> int:
        now_ms = self.clock.now_ms()
        return run_read(
            self.clouds.engine, lambda session: spending_store.spent_minor(session, wallet_id, now_ms=now_ms)
        )

    def money(self, phone: FakePhone | Payer) -> tuple[int, int, int]:
        """Return what is available, in reserve and held of a customer."""
        kinds = (AccountKind.PAYER_AVAILABLE, AccountKind.PAYER_OFFLINE, AccountKind.PAYER_HELD)
        owners = (phone.wallet_id, phone.device_id, phone.wallet_id)
        available, reserve, held = map(self.clouds.balance, kinds, owners)
        return available, reserve, held

    def earned(self) -> int:
        """Return what is payable to the shop, with our fee."""
        return self.payments.payable(self.shop) + self.payments.fees() - self._fees_before_minor

    def evidence(self, box: FakeBox, payment_id: PaymentId) -> VerifiedPack:
        """Return the evidence of a payment, verified from the root down."""
        keyring, subject = self.clouds.cloud.keyring, Subject(box.terminal_id, payment_id)
        issued = Issued(keyring.root, keyring.versions)
        pack = run_read(self.clouds.engine, lambda session: make_pack(session, subject, issued=issued))
        verified = verify_pack(pack, keyring.root)
        assert not isinstance(verified, Flaw), verified
        return verified

    def assert_explained(self) -> None:
        """The books hold, and every record is explained by its postings."""
        assert run_read(self.clouds.engine, verify_ledger) == []
        report = self.clouds.report()
        assert report.is_clean, report.statement


@contextmanager
def online_world(
    folder: Path, database_url: str | None = None, *, clock: HandClock | None = None
) -> Iterator[OnlineWorld]:
    payments = PaymentWorld(folder, database_url, clock=clock)
    made = OnlineWorld(payments, payments.shop())
    try:
        yield made
    finally:
        made.close()
