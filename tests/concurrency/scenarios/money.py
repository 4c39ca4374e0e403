"""Money that meets on shared accounts: entries posted straight to the ledger, reversals, and top-ups sent twice."""

import random
from collections.abc import Sequence

from sqlalchemy.orm import Session

from cloud.ledger import entries
from cloud.ledger.entries import JournalEntry, Sale
from cloud.ledger.service import find_entry, post_entries
from cloud.wallets import customer_service
from sync.keys import Ed25519SigningKey
from sync.money import Money
from tests.concurrency.ground import Customer, Ground
from tests.concurrency.lane import Work
from tests.concurrency.scenarios.sessions import in_turn, issue, take, transaction
from tests.concurrency.scene import Scene

AMOUNTS = (1, 30_00, 70_00)


def entries_on_shared_accounts(ground: Ground, chance: random.Random) -> Scene:
    """Three sessions post batches that overdraw each other's accounts, with one cause in common."""
    customers = {name: ground.customer(funds_minor=80_00) for name in ("a", "b")}
    common = entries.top_up(f"common:{ground.number()}", wallet_id=customers["a"].wallet_id, amount=eur(5_00))
    sessions = {}
    for name in ("one", "two", "three"):
        batch = [_online_sale(ground, customers[chance.choice("ab")], chance.choice(AMOUNTS)) for _ in range(3)]
        batch.insert(chance.randrange(3), common)
        sessions[name] = _post(ground, batch)
    return Scene(sessions, customers)


def entries_in_opposite_orders(ground: Ground, chance: random.Random) -> Scene:
    """Each session fills two customers' reserves in one transaction, one after the other: locks cross."""
    return reserves_filled(ground, chance, ("ab", "ba", chance.choice(("ab", "ba"))))


def reserves_filled(ground: Ground, chance: random.Random, orders: Sequence[str]) -> Scene:
    """A session for each of the orders, which names customers by letters: it posts to one account after the other.

    Only the customers' own accounts are touched, not those of ours on which all postings meet.
    """
    customers = {name: ground.customer(funds_minor=80_00) for name in sorted(set("".join(orders)))}
    sessions = {}
    for number, order in enumerate(orders):
        moves = [
            entries.reserve_moved(
                f"filled:{ground.number()}",
                wallet_id=customers[name].wallet_id,
                device_id=customers[name].device_id,
                amount=eur(chance.choice(AMOUNTS)),
            )
            for name in order
        ]
        sessions[f"session {number}"] = _post(ground, *([move] for move in moves))
    return Scene(sessions, customers)


def reversed_by_two(ground: Ground, chance: random.Random) -> Scene:
    """Two sessions take back one entry under causes of their own, while a third spends what comes back."""
    customer = ground.customer(funds_minor=80_00)
    sale = _online_sale(ground, customer, 70_00)
    transaction(lambda session: post_entries(session, [sale], now_ms=ground.now_ms))(ground.tools())

    def take_back(cause: str) -> Work:
        def work(session: Session) -> object:
            entry = find_entry(session, sale.cause)
            assert entry is not None
            return post_entries(session, [entries.reversal(entry, cause=cause)], now_ms=ground.now_ms)

        return transaction(work)

    number = ground.number()
    sessions = {
        "first": take_back(f"back:{number}"),
        "second": take_back(f"back:{number}" if chance.random() < 0.5 else f"again:{number}"),
        "spender": _post(ground, [_online_sale(ground, customer, chance.choice(AMOUNTS))]),
    }
    return Scene(sessions, {"payer": customer})


def top_up_against_spending(ground: Ground, chance: random.Random) -> Scene:
    """One top-up is reported twice, while the wallet pays an offline sale and asks for another grant."""
    customer = ground.customer(funds_minor=chance.choice((40_00, 120_00)))
    phone = ground.phone(customer)
    box = chance.choice(ground.boxes)
    sale = ground.sale(box, phone.code(), 50_00)
    reference, amount_minor = f"provider-{ground.number()}", chance.choice(AMOUNTS)
    other_minor = amount_minor if chance.random() < 0.5 else amount_minor + 1
    request = ground.grant_request(customer, Ed25519SigningKey.generate())
    sessions = {
        "top-up": _top_up(ground, customer, reference, amount_minor),
        "again": in_turn(_top_up(ground, customer, reference, other_minor), issue(ground, request)),
        "sale": take(ground, (box, [sale])),
    }
    names = {bytes(phone.serial): "the first", bytes(request.serial): "the second"}
    return Scene(sessions, {"payer": customer}, {"sale": sale}, names)


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


def _online_sale(ground: Ground, customer: Customer, amount_minor: int) -> JournalEntry:
    sale = Sale(f"online:{ground.number()}", eur(amount_minor), ground.merchant_id, 20_000)
    return entries.online_sale(sale, wallet_id=customer.wallet_id)


def _post(ground: Ground, *batches: list[JournalEntry]) -> Work:
    return transaction(
        lambda session: [
            str(outcome) for batch in batches for outcome in post_entries(session, batch, now_ms=ground.now_ms)
        ]
    )


def _top_up(ground: Ground, customer: Customer, reference: str, amount_minor: int) -> Work:
    return transaction(
        lambda session: customer_service.top_up(
            session,
            wallet_id=customer.wallet_id,
            amount=eur(amount_minor),
            idempotency_key=reference,
            now_ms=ground.now_ms,
        )
    )
