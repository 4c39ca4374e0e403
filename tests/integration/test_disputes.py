"""Disputes: opened by whom the money was taken from, decided once by an operator, paid back once and never more."""

import secrets
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.disputes import service, store
from cloud.disputes.refusals import DisputeRefusal
from cloud.disputes.service import Claim, Decision
from cloud.disputes.states import WINDOW_MS, DisputeState, Verdict
from cloud.disputes.store import Dispute
from cloud.identity.action_store import ActionSubject, actions_about
from cloud.identity.login_service import make_id
from cloud.ingest import payment_store
from cloud.ingest.notices import reference_of
from cloud.ingest.outcomes import Outcome
from cloud.ingest.posting import void_payment
from cloud.ledger.entries import AccountKind
from cloud.payments.store import OnlinePayment
from cloud.permissions import Role
from cloud.reconciliation.service import make_report
from sync.record import RecordKind, SignedRecord
from tests.fakes.cloud_world import FakeBox, FakePhone
from tests.fakes.identity_world import integration
from tests.fakes.payment_world import Payer, PaymentWorld, at_once


@pytest.fixture(scope="module")
def world(either_database_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    made = PaymentWorld(tmp_path_factory.mktemp("disputes"), either_database_url)
    yield made
    made.close()


def opened(world: PaymentWorld, wallet_id: str, reference: str, *, reason: str = "Not mine") -> object:
    claim = Claim(make_id("DP", secrets.token_bytes), wallet_id, reference, reason)
    now_ms = world.clock.now_ms()
    return world.run(lambda session: service.open_dispute(session, claim, now_ms=now_ms))


def disputed(world: PaymentWorld, wallet_id: str, reference: str) -> Dispute:
    made = opened(world, wallet_id, reference)
    assert isinstance(made, Dispute), made
    return made


def operator(world: PaymentWorld) -> str:
    return world.people.person(f"{secrets.token_hex(4)}@operator.example.org", Role.SUPPORT)


def decided(
    world: PaymentWorld, dispute_id: str, verdict: Verdict, *, reason: str = "Seen both", by: str | None = None
) -> object:
    now_ms = world.clock.now_ms()
    decision = Decision(dispute_id, verdict, by or operator(world), reason, service_id("RF"))
    return world.run(lambda session: service.decide(session, decision, now_ms=now_ms))


def service_id(prefix: str) -> str:
    return make_id(prefix, secrets.token_bytes, length=18)


def sold(world: PaymentWorld, amount_minor: int = 20_00) -> tuple[FakeBox, FakePhone, SignedRecord, str]:
    """Post an offline sale; its reference comes last."""
    box, phone = world.clouds.box(), world.clouds.phone()
    record = box.sale(phone.code(), amount_minor)
    world.clouds.send(box, record)
    return box, phone, record, reference_of(record.content.terminal_id, record.content.payment_id)


def offline_outcome(world: PaymentWorld, phone: FakePhone, record: SignedRecord) -> Outcome:
    content = record.content

    def read(session: Session) -> Outcome:
        found = payment_store.find_taken(session, content.terminal_id, content.payment_id, wallet_id=phone.wallet_id)
        assert found is not None
        return found.outcome

    return run_read(world.engine, read)


def test_each_offline_posting_tells_its_amount_and_how_to_dispute_it(world: PaymentWorld) -> None:
    _, phone, record, reference = sold(world)
    told = world.notices(phone.wallet_id)
    assert [each.kind for each in told] == ["payment_posted"]
    assert "20.00" in told[0].body
    assert dict(told[0].data)["reference"] == reference
    assert dict(told[0].data)["amount_minor"] == record.content.amount_minor


def test_an_accepted_dispute_of_an_online_payment_gives_back_what_is_left(world: PaymentWorld) -> None:
    shop, payer = world.shop(), world.payer(funds_minor=500_00)
    payment = world.paid(shop, payer, 100_00)
    world.refund(shop, payment.payment_id, 30_00)
    dispute = disputed(world, payer.wallet_id, payment.payment_id)
    assert (dispute.amount_minor, dispute.state) == (70_00, DisputeState.OPEN)
    accepted = decided(world, dispute.dispute_id, Verdict.ACCEPT)
    assert isinstance(accepted, Dispute)
    assert (accepted.state, accepted.refunded_minor) == (DisputeState.ACCEPTED, 70_00)
    assert (world.available(payer), world.payable(shop)) == (500_00, 0)
    assert world.stored(payment.payment_id).refunded_minor == 100_00
    assert decided(world, dispute.dispute_id, Verdict.REJECT) is DisputeRefusal.NOT_OPEN
    assert {"dispute_open", "dispute_accepted"} <= set(world.told(payer.wallet_id)) & set(world.told(shop.hex))
    (action,) = run_read(world.engine, lambda s: actions_about(s, ActionSubject.DISPUTE, dispute.dispute_id))
    assert (action.action, action.reason, action.detail) == ("accept", "Seen both", "refunded: 7000")
    assert world.findings() == []


def test_an_accepted_dispute_of_an_offline_payment_gives_it_back_and_a_later_void_finds_nothing(
    world: PaymentWorld,
) -> None:
    box, phone, record, reference = sold(world)
    merchant = world.clouds.merchant_id.hex()
    before = world.clouds.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id)
    payable, fees = world.clouds.balance(AccountKind.MERCHANT_PAYABLE, merchant), world.fees()
    dispute = disputed(world, phone.wallet_id, reference)
    accepted = decided(world, dispute.dispute_id, Verdict.ACCEPT)
    assert isinstance(accepted, Dispute)
    assert accepted.refunded_minor == 20_00
    void = box.append(kind=RecordKind.VOID, payment_id=record.content.payment_id)
    now_ms = world.clock.now_ms()
    world.run(lambda session: void_payment(session, void, now_ms=now_ms))
    assert world.clouds.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id) == before + 20_00
    assert world.clouds.balance(AccountKind.MERCHANT_PAYABLE, merchant) == payable - 19_60
    assert world.fees() == fees - 40
    assert offline_outcome(world, phone, record) is Outcome.DISPUTED
    assert run_read(world.engine, make_report).statement.unexplained_minor == 0
    assert world.findings() == []


def test_a_dispute_of_what_was_voided_meanwhile_gives_nothing_back(world: PaymentWorld) -> None:
    box, phone, record, reference = sold(world)
    dispute = disputed(world, phone.wallet_id, reference)
    void = box.append(kind=RecordKind.VOID, payment_id=record.content.payment_id)
    now_ms = world.clock.now_ms()
    world.run(lambda session: void_payment(session, void, now_ms=now_ms))
    accepted = decided(world, dispute.dispute_id, Verdict.ACCEPT)
    assert isinstance(accepted, Dispute)
    assert accepted.refunded_minor == 0
    assert offline_outcome(world, phone, record) is Outcome.VOID
    assert world.findings() == []


def test_a_rejected_dispute_moves_nothing_and_stays_the_only_one(world: PaymentWorld) -> None:
    shop, payer = world.shop(), world.payer(funds_minor=500_00)
    payment = world.paid(shop, payer, 100_00)
    dispute = disputed(world, payer.wallet_id, payment.payment_id)
    assert decided(world, dispute.dispute_id, Verdict.REJECT, reason="") is DisputeRefusal.REASON_MISSING
    rejected = decided(world, dispute.dispute_id, Verdict.REJECT)
    assert isinstance(rejected, Dispute)
    assert (rejected.state, rejected.refunded_minor) == (DisputeState.REJECTED, 0)
    assert (world.available(payer), world.payable(shop)) == (400_00, 98_00)
    assert opened(world, payer.wallet_id, payment.payment_id) is DisputeRefusal.DISPUTED_ALREADY


def test_what_cannot_be_disputed_says_why(world: PaymentWorld) -> None:
    shop, payer, other = world.shop(), world.payer(), world.payer()
    _, phone, _, reference = sold(world)
    payment = world.paid(shop, payer, 10_00)
    pending = world.asked(shop, other, 10_00)
    reversed_payment = world.paid(shop, payer, 10_00)
    assert isinstance(world.reverse(shop, reversed_payment.payment_id), OnlinePayment)
    cases = [
        (payer, "TXN20270115AAAAAAAAAA", DisputeRefusal.PAYMENT_UNKNOWN),
        (payer, "", DisputeRefusal.PAYMENT_UNKNOWN),
        (other, payment.payment_id, DisputeRefusal.PAYMENT_UNKNOWN),
        (other, pending.payment_id, DisputeRefusal.PAYMENT_UNKNOWN),
        (payer, reference, DisputeRefusal.PAYMENT_UNKNOWN),
        (payer, reversed_payment.payment_id, DisputeRefusal.NOT_DISPUTABLE),
    ]
    for who, wanted, refusal in cases:
        assert opened(world, who.wallet_id, wanted) is refusal, (wanted, refusal)
    assert opened(world, payer.wallet_id, payment.payment_id, reason="") is DisputeRefusal.REASON_MISSING
    world.clock.pass_s(WINDOW_MS / 1000)
    assert opened(world, payer.wallet_id, payment.payment_id) is DisputeRefusal.TOO_LATE
    assert opened(world, phone.wallet_id, reference) is DisputeRefusal.TOO_LATE
    world.clock.pass_s(-0.001)
    assert isinstance(opened(world, payer.wallet_id, payment.payment_id), Dispute)
    assert isinstance(opened(world, phone.wallet_id, reference), Dispute)


def test_a_merchant_who_was_paid_out_covers_no_refund_and_the_dispute_stays_open(world: PaymentWorld) -> None:
    shop, payer = world.shop(), world.payer()
    payment = world.paid(shop, payer, 100_00)
    dispute = disputed(world, payer.wallet_id, payment.payment_id)
    world.pay_out(shop, 50_00)
    assert decided(world, dispute.dispute_id, Verdict.ACCEPT) is DisputeRefusal.NOT_COVERED
    found = run_read(world.engine, lambda session: store.find_dispute(session, dispute.dispute_id))
    assert found == dispute
    world.paid(shop, world.payer(), 100_00)
    assert isinstance(decided(world, dispute.dispute_id, Verdict.ACCEPT), Dispute)
    assert world.findings() == []


def test_many_decisions_at_once_refund_once(world: PaymentWorld) -> None:
    shop, payer = world.shop(), world.payer(funds_minor=500_00)
    payment = world.paid(shop, payer, 100_00)
    dispute = disputed(world, payer.wallet_id, payment.payment_id)
    by = operator(world)
    answers = at_once([lambda: decided(world, dispute.dispute_id, Verdict.ACCEPT, by=by)] * 6)
    assert sorted(isinstance(each, Dispute) for each in answers) == [False] * 5 + [True]
    assert world.available(payer) == 500_00
    assert world.findings() == []


async def test_the_way_of_a_dispute_over_http(world: PaymentWorld) -> None:
    shop, payer, other = world.shop("Much disputed"), world.payer(), world.payer()
    payments = [world.paid(shop, payer, 10_00) for _ in range(4)]
    world.people.person("disputes@example.org", Role.SUPPORT)
    async with world.people.http() as http:
        support = await integration(http, "disputes@example.org")

        async def ask(who: Payer, method: str, path: str, body: object = None) -> httpx.Response:
            return await http.request(method, f"/api/v1{path}", json=body, headers=who.headers)

        body = {"reference": payments[0].payment_id, "reason": "I was not there"}
        assert (await ask(other, "POST", "/me/disputes", body)).status_code == 404
        made = await ask(payer, "POST", "/me/disputes", body)
        assert made.status_code == 201
        dispute_id = made.json()["data"]["dispute_id"]
        assert (await ask(payer, "POST", "/me/disputes", body)).json()["code"] == "disputed_already"
        (listed,) = (await ask(payer, "GET", "/me/disputes")).json()["data"]["items"]
        assert listed == made.json()["data"]
        assert (await ask(other, "GET", "/me/disputes")).json()["data"]["items"] == []
        cases = (await support.ask("GET", "/operator/disputes?state=open")).json()["data"]["items"]
        assert dispute_id in {each["dispute_id"] for each in cases}
        done = await support.ask("POST", f"/operator/disputes/{dispute_id}/accept", {"reason": "Agreed"})
        assert (done.status_code, done.json()["data"]["refunded_minor"]) == (200, 10_00)
        again = await support.ask("POST", f"/operator/disputes/{dispute_id}/accept", {"reason": "Agreed"})
        assert again.json()["code"] == "dispute_not_open"
        (action,) = (await support.ask("GET", f"/operator/disputes/{dispute_id}/actions")).json()["data"]
        assert action["reason"] == "Agreed"
        rates = (await support.ask("GET", "/operator/dispute-rates")).json()["data"]
    mine = [each for each in rates if each["merchant_id"] == shop.hex]
    assert mine == [
        {
            "merchant_id": shop.hex,
            "name": "Much disputed",
            "disputes_count": 1,
            "accepted_count": 1,
            "payments_count": 4,
            "rate_ppm": 250_000,
        }
    ]
    assert [each["rate_ppm"] for each in rates] == sorted((each["rate_ppm"] for each in rates), reverse=True)
