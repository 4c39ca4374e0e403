"""A seeded list of purchases, carried out over HTTP by people who ask again, and what the books say of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS
from tests.fakes.identity_world import PIN
from tests.fakes.payment_web import Told, Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop

SECONDS_BETWEEN = 10
"""With fewer than ten attempts a minute nobody meets the rate limit, whether it is counted or not."""
_ATTEMPTS_MAX = 50
_AWAY = 503


@dataclass(frozen=True, slots=True)
class Purchase:
    """Somebody buys something, and may get some of it back; ``number`` makes the till's idempotency keys."""

    number: int
    payer: int
    shop: int
    amount_minor: int
    refund_minor: int


def draw_purchases(seed: int, purchases: int, *, payers: int, shops: int) -> list[Purchase]:
    """Draw a list; every fifth purchase is given back in part."""
    chance = random.Random(seed)
    drawn = []
    for number in range(purchases):
        amount_minor = chance.randint(1, 60_00)
        refund_minor = chance.randint(1, amount_minor) if number % 5 == 0 else 0
        drawn.append(Purchase(number, chance.randrange(payers), chance.randrange(shops), amount_minor, refund_minor))
    return drawn


@dataclass
class Street:
    """Customers and shops of one cloud, known by their place in the list."""

    web: Web
    payers: Sequence[Payer]
    shops: Sequence[Shop]
    repeated: int = field(default=0)

    async def carry_out(self, purchase: Purchase) -> list[tuple[int, str]]:
        """Show a code, ask, confirm by PIN, perhaps give back; answers what each step was told in the end."""
        payer, shop = self.payers[purchase.payer], self.shops[purchase.shop]
        shown = await self._ask(payer, "POST", "/sessions")
        order = {"code": shown.data["code"], "amount_minor": purchase.amount_minor, "currency": "EUR"}
        asked = await self._ask(shop, "POST", f"/merchants/{shop.hex}/payments", order, f"sale-{purchase.number}")
        payment_id = asked.data["payment_id"]
        answered = await self._ask(payer, "POST", f"/payments/{payment_id}/confirm", {"pin": PIN})
        steps = [shown, asked, answered]
        if answered.status != 200:
            steps.append(await self._ask(payer, "POST", f"/payments/{payment_id}/reject"))
        elif purchase.refund_minor:
            path, part = f"/merchants/{shop.hex}/payments/{payment_id}/refund", {"amount_minor": purchase.refund_minor}
            steps.append(await self._ask(shop, "POST", path, part, f"refund-{purchase.number}"))
        return [step.brief for step in steps]

    async def _ask(
        self, who: Payer | Shop, method: str, path: str, json: object = None, key: str | None = None
    ) -> Told:
        """Ask as a till or a phone does: under the same key again where the cloud says that it cannot just now."""
        headers = {} if key is None else {"Idempotency_Key": key}
        for _ in range(_ATTEMPTS_MAX):
            told: Told = await self.web.ask(who, method, path, json, **headers)
            if told.status != _AWAY:
                return told
            self.repeated += 1
        raise AssertionError(f"{path} was not answered in {_ATTEMPTS_MAX} attempts: {told.body}")


def make_street(world: PaymentWorld, web: Web, *, payers: int, shops: int, funds_minor: int) -> Street:
    """Make the people of one cloud."""
    made = [world.payer(funds_minor=funds_minor) for _ in range(payers)]
    return Street(web, made, [world.shop(f"Shop {number}") for number in range(shops)])


def books(world: PaymentWorld, street: Street) -> list[dict[str, Any]]:
    """Every entry in the order of posting, without ids: its kind, its time, and each posting with its balances."""
    names = {payer.wallet_id: f"payer {at}" for at, payer in enumerate(street.payers)}
    names |= {shop.hex: f"shop {at}" for at, shop in enumerate(street.shops)}
    wanted = (
        select(
            JOURNAL_ENTRIES.c.id.label("entry_id"),
            JOURNAL_ENTRIES.c.kind.label("entry_kind"),
            JOURNAL_ENTRIES.c.posted_ms,
            ACCOUNTS.c.kind,
            ACCOUNTS.c.owner,
            POSTINGS.c.account_sequence,
            POSTINGS.c.amount_minor,
            POSTINGS.c.balance_after_minor,
        )
        .join(POSTINGS, POSTINGS.c.entry_id == JOURNAL_ENTRIES.c.id)
        .join(ACCOUNTS, ACCOUNTS.c.id == POSTINGS.c.account_id)
    )

    def read(session: Session) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in session.execute(wanted)]

    lines = run_read(world.engine, read)
    for line in lines:
        line["owner"] = names.get(line["owner"], line["owner"])
    lines.sort(key=lambda line: (line["entry_id"], line["kind"], line["owner"]))
    return [{name: value for name, value in line.items() if name != "entry_id"} for line in lines]
