"""Balance and statement over HTTP on real MariaDB and on embedded SQLite: whole, in order, by page or as a file."""

import csv
import io
from typing import Any

from cloud.db import run_transaction
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import JournalEntry, Sale
from cloud.ledger.service import post_entries
from cloud.wallets import customer_service, spending_store
from cloud.wallets.statement import DAY_MS
from cloud.wallets.store import IssuedGrant
from sync.ids import MerchantId
from sync.money import Money
from tests.fakes.funding_world import Customer, FundingWorld
from tests.fakes.identity_world import Client

SHOP = MerchantId(b"merchant")


def post(world: FundingWorld, *batch: JournalEntry) -> None:
    now_ms = world.clock.now_ms()
    outcomes = run_transaction(world.engine, lambda session: post_entries(session, batch, now_ms=now_ms))
    assert set(outcomes) == {PostOutcome.POSTED}


def sale(customer: Customer, number: int, amount_minor: int) -> JournalEntry:
    cause = f"online:{customer.wallet_id}:{number}"
    return entries.online_sale(Sale(cause, Money(amount_minor, "EUR"), SHOP, 20_000), wallet_id=customer.wallet_id)


async def read(client: Client, query: str = "") -> dict[str, Any]:
    answer = await client.ask("GET", f"/me/statement{query}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()["data"]
    return shown


async def test_pages_join_to_the_whole_statement_and_each_line_follows_from_the_one_before(
    world: FundingWorld, ada: Customer
) -> None:
    world.fund(ada, 100_00)
    for number in range(6):
        post(world, sale(ada, number, 1_00 + number))
    async with world.signed_in(ada.email) as client:
        whole = (await read(client))["lines"]
        joined: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await read(client, f"?limit=2{cursor}")
            joined.extend(page["lines"])
            if len(joined) == 2:
                world.fund(ada, 5_00)  # What comes meanwhile moves no page.
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
    assert joined == whole
    assert [each["sequence"] for each in whole] == [7, 6, 5, 4, 3, 2, 1]
    balance = 0
    for line in reversed(whole):
        balance += line["amount_minor"]
        assert line["balance_after_minor"] == balance
    assert balance + 5_00 == world.available(ada)


async def test_lines_are_filtered_by_time_and_kind(world: FundingWorld, ada: Customer) -> None:
    world.fund(ada, 100_00)
    began_ms = world.clock.now_ms()
    world.clock.pass_s(60)
    post(world, sale(ada, 1, 1_00))
    sold_ms = world.clock.now_ms()
    async with world.signed_in(ada.email) as client:
        for query, expected in (
            ("", ["online_sale", "top_up"]),
            (f"?from_ms={sold_ms}", ["online_sale"]),
            (f"?to_ms={sold_ms}", ["top_up"]),
            (f"?from_ms={began_ms}&to_ms={began_ms}", []),
            ("?kind=top_up", ["top_up"]),
            ("?kind=top_up&kind=online_sale", ["online_sale", "top_up"]),
            ("?kind=reversal", []),
        ):
            assert [each["kind"] for each in (await read(client, query))["lines"]] == expected, query


async def test_the_reserve_has_a_statement_of_its_own(world: FundingWorld, ada: Customer) -> None:
    world.fund(ada, 100_00)
    phone = world.phone(ada)
    granted = world.grant(phone)
    assert isinstance(granted, IssuedGrant)
    async with world.signed_in(ada.email) as client:
        wallet = (await client.ask("GET", "/me/wallet")).json()["data"]
        shown = await read(client, f"?account=offline&device_id={phone.device_id}")
        assert [each["balance_after_minor"] for each in shown["lines"]] == [20_00]
        for query in ("?account=offline", f"?account=offline&device_id={world.phone(world.customer()).device_id}"):
            refused = await client.ask("GET", f"/me/statement{query}")
            assert (refused.status_code, refused.json()["code"]) == (404, "device_unknown")
    assert (wallet["available_minor"], wallet["offline_minor"]) == (80_00, 20_00)
    assert wallet["reserves"] == [{"device_id": phone.device_id, "reserve_minor": 20_00}]


async def test_the_wallet_shows_what_the_daily_limit_counts_and_when_its_day_ends(
    world: FundingWorld, ada: Customer
) -> None:
    world.clock.pass_s((DAY_MS - world.clock.now_ms() % DAY_MS) / 1000 - 1)
    count_spent(world, ada, 50_00)  # A second before midnight.
    world.clock.pass_s(1)
    midnight_ms = world.clock.now_ms()
    count_spent(world, ada, 10_00)
    async with world.signed_in(ada.email) as client:
        wallet = (await client.ask("GET", "/me/wallet")).json()["data"]
    assert (wallet["spent_today_minor"], wallet["daily_left_minor"]) == (10_00, 10_000_00 - 10_00)
    assert (wallet["day_zone"], wallet["day_starts_ms"], wallet["day_ends_ms"]) == (
        "UTC",
        midnight_ms,
        midnight_ms + DAY_MS,
    )


def count_spent(world: FundingWorld, customer: Customer, amount_minor: int) -> None:
    now_ms = world.clock.now_ms()
    run_transaction(
        world.engine,
        lambda session: spending_store.add_spends(session, {customer.wallet_id: amount_minor}, now_ms=now_ms),
        lookup=lambda _session: None,
    )


async def test_the_export_is_the_whole_statement_and_nothing_in_it_is_a_formula(
    world: FundingWorld, ada: Customer
) -> None:
    count = 503  # More than one page of the export.
    post(
        world,
        *(
            entries.top_up(f"t:{ada.wallet_id}:{n}", wallet_id=ada.wallet_id, amount=Money(1, "EUR"))
            for n in range(count)
        ),
    )
    formula = "=HYPERLINK(1)"
    run_transaction(
        world.engine,
        lambda session: customer_service.top_up(
            session,
            wallet_id=ada.wallet_id,
            amount=Money(7, "EUR"),
            idempotency_key=f"{formula}{ada.wallet_id}",
            now_ms=world.clock.now_ms(),
        ),
    )
    post(world, sale(ada, 1, 2))
    async with world.signed_in(ada.email) as client:
        answer = await client.ask("GET", "/me/statement.csv")
        few = await client.ask("GET", "/me/statement.csv?kind=online_sale")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="statement.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == count + 2
    assert rows[-2]["reference"] == f"'{formula}{ada.wallet_id}"
    assert (rows[-1]["debit_minor"], rows[-1]["balance_after_minor"]) == ("2", str(world.available(ada)))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert len(list(csv.DictReader(io.StringIO(few.text)))) == 1


BAD_QUERIES = [
    "limit=0",
    "limit=101",
    "limit=x",
    "cursor=0",
    "cursor=-1",
    "cursor=99999999999999999999",
    "from_ms=-1",
    "from_ms=1.5",
    "to_ms=99999999999999999999",
    "from_ms=2&to_ms=1",
    "kind=gift",
    "account=gold",
    "account=offline&device_id=DAAAAAAAAAAAAA",
]


async def test_a_question_that_cannot_be_meant_is_refused(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        for query in BAD_QUERIES:
            answer = await client.ask("GET", f"/me/statement?{query}")
            assert answer.status_code == 422, query


async def test_an_empty_wallet_has_an_empty_statement(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        assert (await read(client))["lines"] == []
        exported = await client.ask("GET", "/me/statement.csv")
    assert exported.text.splitlines() == [
        "time_utc,kind,reference,credit_minor,debit_minor,balance_after_minor,currency"
    ]
