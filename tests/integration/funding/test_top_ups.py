"""Top-ups over HTTP on real MariaDB and on embedded SQLite: one wish, one charge, one credit, whatever comes twice."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import func, select

from cloud.db import run_read, run_transaction
from cloud.ledger.entries import AccountKind
from cloud.ledger.tables import JOURNAL_ENTRIES
from cloud.permissions import Role
from cloud.upkeep import Upkeep
from cloud.wallets import customer_service, top_up_service, webhook
from cloud.wallets.funding import LIFETIME_MS, OPEN_TOP_UPS_MAX, EventEffect, ProviderWord, TopUpMethod, TopUpStatus
from cloud.wallets.provider import Charge, ProviderAnswer
from cloud.wallets.reserve import WalletStatus
from cloud.wallets.sandbox import Sandbox
from cloud.wallets.top_up_service import TopUps, Wish
from cloud.wallets.top_up_store import TopUp
from sync.ids import TerminalId
from sync.topics import Topic
from tests.fakes.funding_world import WEBHOOK, WEBHOOK_KEY, Customer, FundingWorld
from tests.fakes.identity_world import Client

AMOUNT = 50_00
THREADS = 8


async def ask(
    client: Client, instrument: str, *, key: str = "key-1", **changes: object
) -> tuple[int, dict[str, object]]:
    """Ask for a top-up; answers the status and what the envelope holds."""
    body = {"amount_minor": AMOUNT, "method": "card", "instrument": instrument, **changes}
    answer = await client.ask("POST", "/me/topups", body, headers={"Idempotency-Key": key})
    whole = answer.json()
    return answer.status_code, whole["data"] or whole


def credits_of(world: FundingWorld, top_up_id: object) -> int:
    """How many entries the ledger has of a top-up."""
    is_meant = JOURNAL_ENTRIES.c.cause.like(f"%{top_up_id}")
    counted = select(func.count()).where(is_meant)
    return run_read(world.engine, lambda session: int(session.execute(counted).scalar_one()))


async def test_an_approved_top_up_is_on_the_wallet_at_once(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        status, shown = await ask(client, "sandbox-approve")
        assert (status, shown["status"], shown["amount_minor"]) == (201, "succeeded", AMOUNT)
        wallet = (await client.ask("GET", "/me/wallet")).json()["data"]
        assert (wallet["available_minor"], wallet["pending_minor"]) == (AMOUNT, 0)
        again = (await client.ask("GET", f"/me/topups/{shown['top_up_id']}")).json()["data"]
        assert again == shown
    assert credits_of(world, shown["top_up_id"]) == 1
    assert world.findings() == []


async def test_the_same_wish_again_gets_the_first_answer_and_another_one_is_refused(
    world: FundingWorld, ada: Customer
) -> None:
    async with world.signed_in(ada.email) as client:
        first = await ask(client, "sandbox-approve")
        assert await ask(client, "sandbox-approve") == first
        for other in ({"amount_minor": AMOUNT + 1}, {"method": "bank"}, {"instrument": "sandbox-delay"}):
            status, refused = await ask(client, **{"instrument": "sandbox-approve", **other})  # type: ignore[arg-type]
            assert (status, refused["code"]) == (409, "idempotency_key_reused")
    assert world.available(ada) == AMOUNT


async def test_a_key_is_of_one_wallet(world: FundingWorld, ada: Customer) -> None:
    bob = world.customer()
    for each in (ada, bob):
        async with world.signed_in(each.email) as client:
            assert (await ask(client, "sandbox-approve"))[0] == 201
    assert (world.available(ada), world.available(bob)) == (AMOUNT, AMOUNT)


async def test_a_declined_top_up_says_why_and_credits_nothing(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        assert (await ask(client, "sandbox-decline"))[1]["reason"] == "card_declined"
        status, shown = await ask(client, "sandbox-decline", key="key-2", method="bank")
        assert (status, shown["status"], shown["reason"]) == (201, "declined", "account_refused")
        assert (await ask(client, "tok_1", key="key-3"))[1]["reason"] == "instrument_unknown"
    assert world.available(ada) == 0


async def test_a_delayed_top_up_is_pending_until_its_webhook(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        _, shown = await ask(client, "sandbox-delay")
        assert shown["status"] == "requested"
        wallet = (await client.ask("GET", "/me/wallet")).json()["data"]
        assert (wallet["available_minor"], wallet["pending_minor"]) == (0, AMOUNT)
        event = world.event(str(shown["top_up_id"]), ProviderWord.SUCCEEDED)
        taken = await world.deliver(client.http, event)
        assert (taken.status_code, taken.json()["data"]) == (200, {"effect": "applied"})
        assert (await world.deliver(client.http, event)).json()["data"] == {"effect": "repeated"}
        other = world.event(str(shown["top_up_id"]), ProviderWord.SUCCEEDED)
        assert (await world.deliver(client.http, other)).json()["data"] == {"effect": "repeated"}
        assert (await ask(client, "sandbox-delay"))[1]["status"] == "succeeded"
    assert world.available(ada) == AMOUNT
    assert credits_of(world, shown["top_up_id"]) == 1


def test_one_webhook_from_many_threads_posts_once(world: FundingWorld, ada: Customer) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    headers, body = world.message(world.event(top_up.top_up_id, ProviderWord.SUCCEEDED))
    effects = at_once(lambda _number: world.top_ups.receive("sandbox", headers=headers, body=body))
    assert sorted(map(str, effects)) == ["applied", *["repeated"] * (THREADS - 1)]
    assert (world.available(ada), credits_of(world, top_up.top_up_id)) == (AMOUNT, 1)
    assert world.findings() == []


async def test_one_webhook_over_http_at_once_posts_once(world: FundingWorld, ada: Customer) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    event = world.event(top_up.top_up_id, ProviderWord.SUCCEEDED)
    async with world.people.http() as http:
        answers = await asyncio.gather(*(world.deliver(http, event) for _ in range(THREADS)))
    assert sorted(answer.json()["data"]["effect"] for answer in answers) == ["applied", *["repeated"] * (THREADS - 1)]
    assert (world.available(ada), credits_of(world, top_up.top_up_id)) == (AMOUNT, 1)


def test_many_webhooks_of_one_charge_at_once_post_once(world: FundingWorld, ada: Customer) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    messages = [world.message(world.event(top_up.top_up_id, ProviderWord.SUCCEEDED)) for _ in range(THREADS)]
    effects = at_once(
        lambda number: world.top_ups.receive("sandbox", headers=messages[number][0], body=messages[number][1])
    )
    assert effects.count(EventEffect.APPLIED) == 1
    assert effects.count(EventEffect.REPEATED) == THREADS - 1
    assert (world.available(ada), credits_of(world, top_up.top_up_id)) == (AMOUNT, 1)


def test_one_wish_from_many_threads_is_one_top_up(world: FundingWorld, ada: Customer) -> None:
    approved = Wish(AMOUNT, TopUpMethod.CARD, "sandbox-approve")
    answers = at_once(lambda _number: world.top_ups.request(ada.wallet_id, approved, idempotency_key="key-1"))
    assert {answer.top_up_id for answer in answers if isinstance(answer, TopUp)} == {
        getattr(answers[0], "top_up_id", None)
    }
    assert {getattr(answer, "status", None) for answer in answers} == {TopUpStatus.SUCCEEDED}
    assert world.available(ada) == AMOUNT


def test_a_webhook_that_comes_before_the_answer_is_the_one_that_credits(world: FundingWorld, ada: Customer) -> None:
    effects: list[object] = []

    class Hasty(Sandbox):
        def begin(self, charge: Charge) -> ProviderAnswer:
            headers, body = world.message(world.event(charge.top_up_id, ProviderWord.SUCCEEDED))
            effects.append(hasty.receive("sandbox", headers=headers, body=body))
            return super().begin(charge)

    hasty: TopUps = replace(world.top_ups, provider=Hasty(WEBHOOK_KEY))
    for key, instrument in (("key-1", "sandbox-approve"), ("key-2", "sandbox-delay")):
        top_up = hasty.request(ada.wallet_id, Wish(AMOUNT, TopUpMethod.CARD, instrument), idempotency_key=key)
        assert isinstance(top_up, TopUp)
        assert (top_up.status, credits_of(world, top_up.top_up_id)) == (TopUpStatus.SUCCEEDED, 1)
    assert effects == [EventEffect.APPLIED] * 2
    assert world.available(ada) == 2 * AMOUNT


async def test_a_provider_that_is_away_is_asked_again_under_the_same_key(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(ada.email) as client:
        status, refused = await ask(client, "sandbox-away")
        assert (status, refused["code"]) == (503, "provider_away")
        pending = (await client.ask("GET", "/me/wallet")).json()["data"]["pending_minor"]
        assert pending == AMOUNT

    class Back(Sandbox):
        def begin(self, charge: Charge) -> ProviderAnswer:
            return super().begin(replace(charge, instrument="sandbox-approve"))

    back: TopUps = replace(world.top_ups, provider=Back(WEBHOOK_KEY))
    top_up = back.request(ada.wallet_id, Wish(AMOUNT, TopUpMethod.CARD, "sandbox-away"), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    assert (top_up.status, world.available(ada)) == (TopUpStatus.SUCCEEDED, AMOUNT)


async def test_what_nobody_decides_expires_and_money_that_comes_after_all_is_credited(
    world: FundingWorld, ada: Customer
) -> None:
    async def send(_topic: Topic, _terminal_id: TerminalId, _message: bytes) -> bool:
        return False

    async def status_after_upkeep() -> object:
        await Upkeep(world.clouds.cloud, send).expire()
        async with world.people.http() as http:
            client = Client(http, headers)
            return (await ask(client, "sandbox-delay"))[1]["status"]

    async with world.signed_in(ada.email) as client:
        headers = client.headers
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    world.clock.pass_s(LIFETIME_MS[TopUpMethod.CARD] / 1000 - 0.001)
    assert await status_after_upkeep() == "requested"
    world.clock.pass_s(0.001)
    assert await status_after_upkeep() == "expired"
    async with world.signed_in(ada.email) as client:
        late = world.event(top_up.top_up_id, ProviderWord.SUCCEEDED)
        assert (await world.deliver(client.http, late)).json()["data"] == {"effect": "applied"}
    assert world.available(ada) == AMOUNT


async def test_a_provider_that_contradicts_itself_moves_nothing_and_a_person_is_told(
    world: FundingWorld, ada: Customer
) -> None:
    world.people.person(f"finance-{ada.wallet_id}@example.org", Role.FINANCE)
    declined = world.top_ups.request(ada.wallet_id, delayed("sandbox-decline"), idempotency_key="key-1")
    taken = world.top_ups.request(ada.wallet_id, delayed("sandbox-approve"), idempotency_key="key-2")
    waiting = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-3")
    assert isinstance(declined, TopUp)
    assert isinstance(taken, TopUp)
    assert isinstance(waiting, TopUp)
    events = [
        world.event(declined.top_up_id, ProviderWord.SUCCEEDED),
        world.event(taken.top_up_id, ProviderWord.DECLINED),
        world.event(waiting.top_up_id, ProviderWord.SUCCEEDED, amount_minor=AMOUNT + 1),
    ]
    async with world.signed_in(f"finance-{ada.wallet_id}@example.org") as client:
        effects = [(await world.deliver(client.http, each)).json()["data"]["effect"] for each in events]
        assert effects == ["contradicts", "contradicts", "mismatch"]
        shown = (await client.ask("GET", "/operator/provider-events")).json()["data"]
    own = {each["event_id"]: each["effect"] for each in shown if each["event_id"] in {e.event_id for e in events}}
    assert own == dict(zip([each.event_id for each in events], effects, strict=True))
    assert world.available(ada) == AMOUNT


async def test_money_that_was_taken_is_credited_to_a_wallet_that_was_blocked_meanwhile(
    world: FundingWorld, ada: Customer
) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    run_transaction(
        world.engine,
        lambda session: customer_service.change_wallet_status(
            session, ada.wallet_id, from_status=WalletStatus.ACTIVE, to_status=WalletStatus.BLOCKED
        ),
    )
    async with world.signed_in(ada.email) as client:
        status, refused = await ask(client, "sandbox-approve", key="key-2")
        assert (status, refused["code"]) == (403, "wallet_not_active")
        await world.deliver(client.http, world.event(top_up.top_up_id, ProviderWord.SUCCEEDED))
    assert world.available(ada) == AMOUNT


async def test_a_foreign_top_up_is_as_unknown_as_none(world: FundingWorld, ada: Customer) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    async with world.signed_in(world.customer().email) as client:
        answers = [await client.ask("GET", f"/me/topups/{each}") for each in (top_up.top_up_id, "T000000000000")]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "top_up_unknown")] * 2


BAD_WISHES: list[dict[str, object]] = [
    {"amount_minor": 0},
    {"amount_minor": -1},
    {"amount_minor": 1.5},
    {"amount_minor": "5000"},
    {"amount_minor": True},
    {"amount_minor": 10_000_01},
    {"amount_minor": None},
    {"method": "cash"},
    {"method": 1},
    {"instrument": ""},
    {"instrument": "x" * 65},
    {"instrument": "tok\u202e1"},
    {"instrument": "4111111111111111"},
    {"currency": "EUR"},
]


async def test_a_wish_that_cannot_be_meant_is_refused(world: FundingWorld, ada: Customer) -> None:
    meant = {"amount_minor": AMOUNT, "method": "card", "instrument": "sandbox-approve"}
    async with world.signed_in(ada.email) as client:
        for changes in BAD_WISHES:
            answer = await client.ask("POST", "/me/topups", meant | changes, headers={"Idempotency-Key": "key-1"})
            assert answer.status_code == 422, changes
        for key in (None, "", "x" * 65, "two words"):
            headers = {} if key is None else {"Idempotency-Key": key}
            answer = await client.ask("POST", "/me/topups", meant, headers=headers)
            assert answer.status_code == 422, key
    assert world.available(ada) == 0


def test_open_wishes_are_bounded(world: FundingWorld, ada: Customer) -> None:
    for number in range(OPEN_TOP_UPS_MAX):
        assert isinstance(world.top_ups.request(ada.wallet_id, delayed(), idempotency_key=f"key-{number}"), TopUp)
    refused = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="one-more")
    assert refused is top_up_service.TopUpRefusal.TOO_MANY_OPEN
    assert isinstance(world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-0"), TopUp)


async def test_a_webhook_of_a_stranger_changes_nothing(world: FundingWorld, ada: Customer) -> None:
    top_up = world.top_ups.request(ada.wallet_id, delayed(), idempotency_key="key-1")
    assert isinstance(top_up, TopUp)
    event = world.event(top_up.top_up_id, ProviderWord.SUCCEEDED)
    headers, body = world.message(event)
    forged, _ = Sandbox(bytes(32)).write_webhook(event, time_s=world.clock.now_ms() // 1000)
    stale, _ = world.sandbox.write_webhook(event, time_s=world.clock.now_ms() // 1000 - 301)
    unknown = world.message(replace(event, top_up_id="T000000000000"))
    junk = {**headers, **signed_as(world, b'{"top_up_id": 1}')}
    cases = [
        ({}, body, 403, "webhook_headers_missing"),
        (forged, body, 403, "webhook_signature_invalid"),
        (headers, body + b" ", 403, "webhook_signature_invalid"),
        (stale, body, 403, "webhook_time_out_of_tolerance"),
        (junk, b'{"top_up_id": 1}', 422, "webhook_body_invalid"),
        (headers, bytes(16 * 1024 + 1), 413, "too_large"),
        (*unknown, 404, "top_up_unknown"),
    ]
    async with world.people.http() as http:
        for sent, content, status, code in cases:
            answer = await http.post(WEBHOOK, headers=sent, content=content)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        other = await http.post("/api/v1/providers/other/webhook", headers=headers, content=body)
        assert (other.status_code, other.json()["code"]) == (404, "provider_unknown")
    assert world.available(ada) == 0


async def test_without_a_provider_nothing_is_taken(world: FundingWorld, ada: Customer) -> None:
    nobody: TopUps = replace(world.top_ups, provider=None)
    assert nobody.request(ada.wallet_id, delayed(), idempotency_key="k") is top_up_service.TopUpRefusal.NO_PROVIDER
    refused = nobody.receive("sandbox", headers={}, body=b"")
    assert refused is top_up_service.TopUpRefusal.PROVIDER_UNKNOWN


def test_the_provider_owes_us_what_it_has_taken(world: FundingWorld, ada: Customer) -> None:
    before = world.clouds.balance(AccountKind.FUNDING_CLEARING, "platform")
    world.top_ups.request(ada.wallet_id, delayed("sandbox-approve"), idempotency_key="key-1")
    assert world.clouds.balance(AccountKind.FUNDING_CLEARING, "platform") == before - AMOUNT


def delayed(instrument: str = "sandbox-delay") -> Wish:
    return Wish(AMOUNT, TopUpMethod.CARD, instrument)


def signed_as(world: FundingWorld, body: bytes) -> dict[str, str]:

    assert json.loads(body)
    return webhook.sign(WEBHOOK_KEY, event_id="evt-junk", time_s=world.clock.now_ms() // 1000, body=body)


def at_once(work: Callable[[int], object]) -> list[object]:
    """Run the work in eight threads that begin together; answers what each got."""
    answers: list[object] = [None] * THREADS
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        start.wait()
        answers[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
