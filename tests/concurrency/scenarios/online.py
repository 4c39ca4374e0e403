"""Questions of terminals that meet: with the record and the void of the same payment, and with another box's."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.ingest import online
from cloud.payments import authorisation_store, store
from cloud.payments.store import Filter
from sync.ids import PaymentId
from sync.message import Message
from sync.online import OnlineRequest
from tests.concurrency.ground import Customer, Ground
from tests.concurrency.lane import Work
from tests.concurrency.scenarios.sessions import take, transaction
from tests.concurrency.scene import Scene
from tests.fakes.cloud_world import FakeBox

PRICES = (5_00, 50_00)


@dataclass(slots=True)
class Questions:
    """What boxes ask of one customer's codes, each question by its name."""

    ground: Ground
    customer: Customer
    asked: dict[str, Message[OnlineRequest]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def ask(self, name: str, box: FakeBox, question: Message[OnlineRequest]) -> Work:
        """A worker decides a question; answers how it was decided, and why."""
        new_id = f"TXN{self.ground.number():018}"
        self.asked[name], self.names[new_id] = question, name
        terms = self.ground.world.cloud.online_terms()

        def work(session: Session) -> object:
            decided = online.decide(
                session, box.terminal_id, question.encode(), new_id=new_id, terms=terms, now_ms=self.ground.now_ms
            )
            return str(getattr(decided, "outcome", decided)), getattr(decided, "reason", "")

        return transaction(work)

    def payment_id(self) -> PaymentId:
        return PaymentId(self.ground.number().to_bytes(16, "big"))

    def seen(self) -> Mapping[str, object]:
        """How each question stands, and what has become of the payments made of them."""
        keys = {name: (q.content.terminal_id, q.content.payment_id) for name, q in self.asked.items()}
        mine, now_ms = Filter(wallet_id=self.customer.wallet_id), self.ground.now_ms

        def work(session: Session) -> Mapping[str, object]:
            found = authorisation_store.find(session, keys.values())
            payments = store.list_payments(session, mine, before=None, rows_max=100, now_ms=now_ms)
            stands = {name: found[key] for name, key in keys.items() if key in found}
            return {
                "answers": sorted((name, a.outcome, a.reason, a.from_reserve_minor) for name, a in stands.items()),
                "online": sorted((self.names[p.payment_id], p.status) for p in payments),
            }

        return run_read(self.ground.engine, work)


def question_against_record_and_void(ground: Ground, chance: random.Random) -> Scene:
    """A box asks, hears nothing, decides alone and takes it back; all of it arrives at once, the question twice."""
    customer = ground.customer(funds_minor=chance.choice((60_00, 300_00)))
    questions, box = Questions(ground, customer), chance.choice(ground.boxes)
    code, amount_minor = ground.phone(customer).code(), chance.choice(PRICES)
    question = box.question(code, amount_minor, payment_id=questions.payment_id())
    sale = box.sale_of(question)
    void = box.void(question.content.payment_id)
    ask = questions.ask("the question", box, question)
    sessions = {"asked": ask, "recorded": take(ground, (box, [sale]))}
    sessions["voided"] = take(ground, (box, [sale, void])) if chance.random() < 0.5 else ask
    return Scene(sessions, {"payer": customer}, {"sale": sale}, more=questions.seen)


def one_code_asked_by_two_boxes(ground: Ground, chance: random.Random) -> Scene:
    """Two boxes ask about one code while a third has taken it offline: the payer is debited once."""
    customer = ground.customer(funds_minor=chance.choice((60_00, 300_00)))
    questions, code = Questions(ground, customer), ground.phone(customer).code()
    first, second, third = ground.boxes
    sale = ground.sale(third, code, chance.choice(PRICES))
    sessions = {
        name: questions.ask(name, box, box.question(code, chance.choice(PRICES), payment_id=questions.payment_id()))
        for name, box in (("first", first), ("second", second))
    }
    sessions["taken"] = take(ground, (third, [sale]))
    return Scene(sessions, {"payer": customer}, {"sale": sale}, more=questions.seen)
