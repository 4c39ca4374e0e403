"""Grants and reserves that meet: renewals, returns and releases against postings, lost phones."""

import random

from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.payments import claim_store
from cloud.wallets.release_service import LOOK_AGAIN_MS, release_due, report_key_lost, return_grants
from cloud.wallets.reserve import GRANT_LIFETIME_S, RECORDS_ACCEPTED_MS
from sync.keys import Ed25519SigningKey
from tests.concurrency.ground import Ground
from tests.concurrency.lane import Tools, Work
from tests.concurrency.scenarios.sessions import give_back, issue, release, statement, take, transaction
from tests.concurrency.scene import Scene

FUNDS = (60_00, 150_00, 400_00)
PRICES = (5_00, 30_00, 50_00)
ALL_OVER_MS = GRANT_LIFETIME_S * 1000 + RECORDS_ACCEPTED_MS


def renewals_against_posting(ground: Ground, chance: random.Random) -> Scene:
    """Two requests for the one grant that is left, by one key or by two, while the first grant is drawn on."""
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone = ground.phone(customer)
    box = chance.choice(ground.boxes)
    sales = {f"sale {n}": ground.sale(box, phone.code(), chance.choice(PRICES)) for n in range(2)}
    key = Ed25519SigningKey.generate()
    one = ground.grant_request(customer, key)
    two = ground.grant_request(customer, key if chance.random() < 0.5 else Ed25519SigningKey.generate())
    sessions = {
        "one": issue(ground, one),
        "two": issue(ground, two),
        "sales": take(ground, (box, list(sales.values()))),
    }
    names = {bytes(phone.serial): "held", bytes(one.serial): "one", bytes(two.serial): "two"}
    return Scene(sessions, {"payer": customer}, sales, names)


def renewal_when_the_pin_falls_due(ground: Ground, chance: random.Random) -> Scene:
    """The payment after which the PIN is asked for is posted while the phone asks for its next grant."""
    customer = ground.customer(funds_minor=400_00)
    phone = ground.phone(customer)
    box = chance.choice(ground.boxes)
    paid = [ground.sale(box, phone.code(), 5_00) for _ in range(4)]
    ground.world.send(box, *paid)
    last = ground.sale(box, phone.code(), chance.choice(PRICES))
    request = ground.grant_request(customer, Ed25519SigningKey.generate())
    names = {bytes(phone.serial): "held", bytes(request.serial): "asked for"}
    sessions = {"renewal": issue(ground, request), "sale": take(ground, (box, [last]))}
    return Scene(sessions, {"payer": customer}, {"last": last}, names)


def return_against_posting(ground: Ground, chance: random.Random) -> Scene:
    """A phone returns its grant, naming one code of two, or both, while both are posted; the statement comes twice."""
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone = ground.phone(customer)
    codes = [phone.code(), phone.code()]
    boxes = chance.sample(ground.boxes, 2)
    sales = {f"sale {n}": ground.sale(boxes[n], codes[n], chance.choice(PRICES)) for n in range(2)}
    named = codes if chance.random() < 0.5 else codes[:1]
    last_word = statement(phone, *((code.counter, 50_00) for code in named))
    sessions = {
        "return": give_back(ground, customer, last_word),
        "again": give_back(ground, customer, last_word),
        "sales": take(ground, *((box, [sale]) for box, sale in zip(boxes, sales.values(), strict=True))),
    }
    return Scene(sessions, {"payer": customer}, sales, {bytes(phone.serial): "the grant"})


def release_against_posting(ground: Ground, chance: random.Random) -> Scene:
    """A returned grant left one code open; it is posted while two jobs look at the reserve again."""
    _sweep(ground)
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone, box = ground.phone(customer), chance.choice(ground.boxes)
    code = phone.code()
    sale = ground.sale(box, code, chance.choice(PRICES))
    last_word = statement(phone, (code.counter, 50_00))

    def work(session: Session) -> object:
        return return_grants(
            session, customer.device_id, [last_word], posted=claim_store.posted_counters, now_ms=ground.now_ms
        )

    run_transaction(ground.engine, work)
    later_ms = ground.now_ms + LOOK_AGAIN_MS
    sessions = {"job": release(later_ms), "other": release(later_ms), "sale": take(ground, (box, [sale]))}
    return Scene(sessions, {"payer": customer}, {"sale": sale}, {bytes(phone.serial): "the grant"})


def lost_phone(ground: Ground, chance: random.Random) -> Scene:
    """A phone is reported lost while it renews its grant and a sale by it is posted."""
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone, box = ground.phone(customer), chance.choice(ground.boxes)
    sale = ground.sale(box, phone.code(), chance.choice(PRICES))
    request = ground.grant_request(customer, Ed25519SigningKey.generate())

    def work(session: Session) -> object:
        denied = report_key_lost(session, customer.device_id, now_ms=ground.now_ms)
        return None if denied is None else len(denied)

    sessions = {"report": transaction(work), "renewal": issue(ground, request), "sale": take(ground, (box, [sale]))}
    names = {bytes(phone.serial): "held", bytes(request.serial): "asked for"}
    return Scene(sessions, {"payer": customer}, {"sale": sale}, names)


def releases_when_all_is_over(ground: Ground, chance: random.Random) -> Scene:
    """Nothing can be posted any more: three jobs release the reserves of three phones, each once."""
    _sweep(ground)
    customers = {f"payer {n}": ground.customer(funds_minor=chance.choice(FUNDS)) for n in range(3)}
    for customer in customers.values():
        ground.phone(customer)
    sessions: dict[str, Work] = {name: _release_all(ground) for name in ("job", "other", "third")}
    # A job that finds everything taken by the others ends; what they then lose to a cut line, the next one releases.
    return Scene(sessions, customers, afterwards=lambda: _sweep(ground))


def _sweep(ground: Ground) -> None:
    """Release what earlier scenes have left, so that the jobs find this scene's phones alone."""
    now_ms = ground.now_ms + ALL_OVER_MS

    def work(session: Session) -> None:
        release_due(session, posted=claim_store.posted_counters, now_ms=now_ms, devices_max=10_000)

    run_transaction(ground.engine, work)


def _release_all(ground: Ground) -> Work:
    """A job that releases what is due, one phone at a time, and answers nothing: who released it is chance."""

    def one(session: Session) -> int:
        now_ms = ground.now_ms + ALL_OVER_MS
        return len(release_due(session, posted=claim_store.posted_counters, now_ms=now_ms, devices_max=1))

    def work(tools: Tools) -> None:
        while run_transaction(tools.engine, one, lookup=lambda _session: None, retry=tools.retry):
            continue

    return work
