"""Sales that meet: one code at two boxes, one batch at two workers, voids across boxes, greetings and forks."""

import random

from sync.record import RecordKind, SignedRecord
from tests.concurrency.ground import Ground
from tests.concurrency.scenarios.sessions import take
from tests.concurrency.scene import Scene
from tests.fakes.cloud_world import FakeBox

FUNDS = (60_00, 90_00, 300_00)
PRICES = (5_00, 20_00, 50_00)


def two_boxes_one_code(ground: Ground, chance: random.Random) -> Scene:
    """Two boxes out of contact took one code, replayed or spent twice; each also sold to somebody else."""
    customer, other = (ground.customer(funds_minor=chance.choice(FUNDS)) for _ in range(2))
    cloned, honest = ground.phone(customer), ground.phone(other)
    code = cloned.code()
    again = code if chance.random() < 0.5 else cloned.code(counter=code.counter)
    first_box, second_box = chance.sample(ground.boxes, 2)
    first = ground.sale(first_box, code, chance.choice(PRICES))
    between = ground.sale(second_box, honest.code(), chance.choice(PRICES))
    second = ground.sale(second_box, again, chance.choice(PRICES))
    sales = {"first": first, "between": between, "second": second}
    sessions = {"one": take(ground, (first_box, [first])), "two": take(ground, (second_box, [between, second]))}
    return Scene(sessions, {"payer": customer, "honest": other}, sales)


def two_workers_one_batch(ground: Ground, chance: random.Random) -> Scene:
    """The same records come to three workers: whole, whole once more, and the end of them alone."""
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone, box = ground.phone(customer), chance.choice(ground.boxes)
    records = [ground.sale(box, phone.code(), chance.choice(PRICES)) for _ in range(3)]
    sessions = {
        "whole": take(ground, (box, records)),
        "again": take(ground, (box, records)),
        "end": take(ground, (box, records[chance.choice((1, 2)) :])),
    }
    return Scene(sessions, {"payer": customer}, {f"sale {n}": record for n, record in enumerate(records)})


def void_against_sale(ground: Ground, chance: random.Random) -> Scene:
    """A sale and its void travel apart, and the sale comes a second time."""
    customer = ground.customer(funds_minor=chance.choice(FUNDS))
    phone, box = ground.phone(customer), chance.choice(ground.boxes)
    sale = ground.sale(box, phone.code(), chance.choice(PRICES))
    void = _void(box, sale)
    kept = ground.sale(box, phone.code(), chance.choice(PRICES))
    sessions = {
        "sale": take(ground, (box, [sale])),
        "void": take(ground, (box, [void, kept])),
        "all": take(ground, (box, [sale, void, kept])),
    }
    return Scene(sessions, {"payer": customer}, {"voided": sale, "kept": kept})


def voids_across_shops(ground: Ground, chance: random.Random) -> Scene:
    """Two shops each sell to the other's earlier customer and void an earlier sale: accounts lock crosswise."""
    customers = [ground.customer(funds_minor=chance.choice(FUNDS)) for _ in range(2)]
    phones = [ground.phone(each) for each in customers]
    boxes = [ground.boxes[0], ground.boxes[2]]
    earlier = [ground.sale(box, phone.code(), 5_00) for box, phone in zip(boxes, phones, strict=True)]
    for box, sale in zip(boxes, earlier, strict=True):
        ground.world.send(box, sale)
    batches = []
    sales = {"earlier 0": earlier[0], "earlier 1": earlier[1]}
    for number, box in enumerate(boxes):
        sale = ground.sale(box, phones[1 - number].code(), chance.choice(PRICES))
        sales[f"sale {number}"] = sale
        batches.append((box, [sale, _void(box, earlier[number])]))
    sessions = {"one": take(ground, batches[0]), "two": take(ground, batches[1])}
    if chance.random() < 0.5:
        sessions["both"] = take(ground, *batches)
    return Scene(sessions, {"left": customers[0], "right": customers[1]}, sales)


def three_boxes_one_payer(ground: Ground, chance: random.Random) -> Scene:
    """A cloned phone pays at three boxes at once, more than its reserve and its balance cover."""
    customer = ground.customer(funds_minor=chance.choice((60_00, 100_00)))
    phone = ground.phone(customer)
    sales = {}
    sessions = {}
    counter = 0
    for number, box in enumerate(ground.boxes):
        # Now and then a counter comes twice with other content, which convicts the phone.
        counter += chance.choice((0, 1)) if counter else 1
        sale = ground.sale(box, phone.code(counter=counter), chance.choice((20_00, 50_00)))
        sales[f"sale {number}"] = sale
        sessions[f"box {number}"] = take(ground, (box, [sale]))
    return Scene(sessions, {"payer": customer}, sales, names={phone.serial: "the grant"})


def _void(box: FakeBox, sale: SignedRecord) -> SignedRecord:
    return box.append(kind=RecordKind.VOID, payment_id=sale.content.payment_id)
