"""The seed's way of a payment over real HTTP on real MariaDB, and every refusal on it, each by its own code."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from cloud.permissions import Role
from cloud.wallets.service import GrantTerms
from sync.envelope import Signed
from sync.grant import GRANT
from sync.ids import Serial
from sync.payment_code import PaymentCode, make_session_code, read_payment_code
from sync.refusals import Refusal
from tests.fakes.identity_world import PASSWORD, PIN, WRONG
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop
from tests.servers.mariadb import MariaDb
from tests.stack.servers import serving


@pytest.fixture(scope="module")
def world(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    """One cloud for the module; each test makes its own people, and the clock goes on from test to test."""
    made = PaymentWorld(tmp_path_factory.mktemp("payments"), mariadb.create_database("payments_http"))
    yield made
    made.close()
    mariadb.drop_database("payments_http")


@pytest.fixture
async def web(world: PaymentWorld) -> AsyncIterator[Web]:
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        yield Web(http)


async def test_a_payment_goes_from_session_to_settled_less_two_per_cent(world: PaymentWorld, web: Web) -> None:
    payer, shop = world.payer(funds_minor=500_00), world.shop()
    fees_before = world.fees()
    opened = await web.ask(payer, "POST", "/sessions", {"latitude": 52.52, "longitude": 13.405})
    assert opened.brief == (201, "ok")
    assert opened.data["session_id"].startswith("PS")
    assert opened.data["expires_ms"] == world.clock.now_ms() + 300_000
    assert opened.data["code_svg"].startswith("<svg")
    assert payer.wallet_id not in str(opened.data)
    code = opened.data["code"]

    seen = await web.ask(shop, "POST", f"/merchants/{shop.hex}/sessions/validate", {"code": code})
    assert seen.brief == (200, "ok")
    assert seen.data["session_id"] == opened.data["session_id"]

    items = [
        {"name": "Tea", "quantity": 2, "price_minor": 25_00, "total_minor": 50_00},
        {"name": "Pot", "quantity": 1, "price_minor": 50_00, "total_minor": 50_00},
    ]
    order: dict[str, Any] = {
        "merchant_reference": "till-7",
        "description": "Tea",
        "metadata": {"table": "4"},
        "items": items,
    }
    asked = await web.initiate(shop, code, 100_00, **order)
    assert asked.brief == (201, "ok")
    assert asked.data["payment_id"].startswith("TXN20270115")
    assert (asked.data["status"], asked.data["items"], asked.data["metadata"]) == ("pending", items, {"table": "4"})
    assert payer.wallet_id not in str(asked.body)

    (waiting,) = (await web.ask(payer, "GET", "/me/payments/pending")).data
    assert waiting["payment_id"] == asked.data["payment_id"]
    assert waiting["merchant"]["name"] == "Corner shop"
    paid = await web.confirm(payer, asked.data["payment_id"], pin=PIN)
    assert paid.brief == (200, "ok")
    assert paid.data["status"] == "completed"

    sale = await web.ask(shop, "GET", f"/payments/{asked.data['payment_id']}")
    assert (sale.data["status"], sale.data["commission_minor"], sale.data["net_minor"]) == ("completed", 2_00, 98_00)
    assert payer.wallet_id not in str(sale.body)
    assert (world.available(payer), world.payable(shop), world.fees() - fees_before) == (400_00, 98_00, 2_00)
    state = await web.ask(payer, "GET", f"/sessions/{opened.data['session_id']}")
    assert state.data["status"] == "used"
    for who, kinds in ((payer, ["Paid", "Confirm a payment"]), (shop, ["Payment received", "Payment started"])):
        told = (await web.ask(who, "GET", "/me/notifications")).data["items"]
        assert sorted(each["title"] for each in told) == sorted(kinds)
        assert all(each["data"]["payment_id"] == asked.data["payment_id"] for each in told)
    assert world.findings() == []


def genuine_code(world: PaymentWorld, *, serial: bytes = b"nobody's") -> PaymentCode:
    """A session code that we have signed and made no session for."""
    terms = GrantTerms(Serial(serial), b"", world.clock.now_ms() // 1000, 300, 0, 0, "EUR")
    grant = GRANT.read(world.clouds.cloud.sign_grant(terms))
    assert not isinstance(grant, Refusal)
    return make_session_code(grant)


def forged(text: str) -> str:
    """The same code with one bit of its signature turned."""
    code = read_payment_code(text)
    assert not isinstance(code, Refusal)
    signature = bytes((code.signed_grant.signature[0] ^ 1, *code.signed_grant.signature[1:]))
    return replace(code, signed_grant=Signed(code.signed_grant.payload, signature)).to_text()


async def test_each_code_that_pays_nothing_says_why(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    used = world.code(payer)
    world.paid(shop, payer, 1_00)
    live = world.code(payer)
    expired_of = world.payer()
    world.clock.pass_s(-300)
    expired = world.code(expired_of)
    world.clock.pass_s(300)
    cases = {
        used: (409, "session_used"),
        expired: (410, "session_expired"),
        genuine_code(world).to_text(): (404, "session_unknown"),
        forged(live): (400, "session_signature_invalid"),
        f"TP2:{live[4:]}": (400, "session_version_unsupported"),
        f"TQ1:{live[4:]}": (400, "session_code_unreadable"),
        live[:-3]: (400, "session_code_unreadable"),
        "https://example.org": (400, "session_code_unreadable"),
        world.clouds.phone().code().to_text(): (400, "not_a_session_code"),
    }
    for code, expected in cases.items():
        told = await web.ask(shop, "POST", f"/merchants/{shop.hex}/sessions/validate", {"code": code})
        assert told.brief == expected
        assert (await web.initiate(shop, code)).brief == expected
    assert (await web.initiate(shop, live)).brief == (201, "ok")
    assert (await web.initiate(world.shop(), live)).brief == (409, "session_taken")


async def test_each_confirmation_that_is_refused_says_why_and_charges_nothing(world: PaymentWorld, web: Web) -> None:
    shop, payer, stranger = world.shop(), world.payer(funds_minor=60_00), world.payer()
    payment_id = await web.asked(shop, payer, 60_01)
    assert (await web.confirm(payer, payment_id)).brief == (403, "proof_required")
    assert (await web.confirm(payer, payment_id, pin="000000")).brief == (403, "wrong_pin")
    assert (await web.confirm(payer, payment_id, password=WRONG)).brief == (403, "wrong_password")
    assert (await web.confirm(stranger, payment_id, pin=PIN)).brief == (404, "payment_unknown")
    refused = await web.confirm(payer, payment_id, pin=PIN)
    assert refused.brief == (400, "insufficient_balance")
    assert "Insufficient balance" in refused.body["message"]
    world.clock.pass_s(120)
    assert (await web.confirm(payer, payment_id, pin=PIN)).brief == (410, "payment_expired")
    seen = await web.ask(payer, "GET", f"/payments/{payment_id}")
    assert (seen.data["status"], seen.data["failure_reason"]) == ("timeout", "not_confirmed_in_time")

    limited = world.payer(daily_limit_minor=10_00)
    over = await web.asked(shop, limited, 10_01)
    assert (await web.confirm(limited, over)).brief == (400, "daily_limit_exceeded")
    assert (await web.confirm(limited, over, password=PASSWORD)).brief == (400, "daily_limit_exceeded")
    assert (await web.ask(limited, "POST", f"/payments/{over}/reject")).data["failure_reason"] == "rejected_by_customer"
    assert (await web.confirm(limited, over)).brief == (409, "payment_not_pending")
    assert (world.available(payer), world.available(limited), world.payable(shop)) == (60_00, 500_00, 0)


async def test_a_payment_nobody_has_ended_yet_is_shown_as_over(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    payment_id = await web.asked(shop, payer, 1_00)
    world.clock.pass_s(120)
    assert (await web.ask(shop, "GET", f"/payments/{payment_id}")).data["status"] == "timeout"
    assert (await web.ask(payer, "GET", "/me/payments/pending")).data == []
    for status, found in (("pending", []), ("timeout", [payment_id])):
        listed = await web.ask(shop, "GET", f"/merchants/{shop.hex}/payments?status={status}")
        assert [each["payment_id"] for each in listed.data["items"]] == found


async def test_the_pin_of_a_payment_is_guessed_five_times_and_no_more(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    payment_id = await web.asked(shop, payer, 1_00)
    for _ in range(5):
        assert (await web.confirm(payer, payment_id, pin="000000")).brief == (403, "wrong_pin")
    evaluated = world.people.hasher.evaluated
    assert (await web.confirm(payer, payment_id, pin=PIN)).status == 429
    assert world.people.hasher.evaluated == evaluated
    assert world.available(payer) == 500_00


async def test_fifty_confirmations_at_once_are_one_debit(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    payment_id = await web.asked(shop, payer, 40_00)
    answers = await asyncio.gather(*(web.confirm(payer, payment_id) for _ in range(50)))
    assert {answer.brief for answer in answers} == {(200, "ok")}
    assert (world.available(payer), world.payable(shop)) == (460_00, 39_20)


async def test_only_the_bound_phone_shows_a_code_and_confirms(world: PaymentWorld, web: Web) -> None:
    shop, payer, other = world.shop(), world.payer(), world.payer()
    payment_id = await web.asked(shop, payer, 1_00)
    for device_id, expected in (("", (400, "device_id_missing")), (other.device_id, (403, "device_not_bound"))):
        wrong = replace(payer, device_id=device_id)
        assert (await web.ask(wrong, "POST", "/sessions")).brief == expected
        assert (await web.confirm(wrong, payment_id)).brief == expected
    assert (await web.confirm(payer, payment_id)).brief == (200, "ok")


async def test_a_sale_is_given_back_in_parts_or_whole(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    first, second = (world.paid(shop, payer, 100_00).payment_id for _ in range(2))
    path = f"/merchants/{shop.hex}/payments"
    part = {"amount_minor": 30_00, "reason": "one was broken"}
    made = await web.ask(shop, "POST", f"{path}/{first}/refund", part, Idempotency_Key="r-1")
    assert made.brief == (201, "ok")
    assert made.data["refund_id"].startswith("RF20270115")
    again = await web.ask(shop, "POST", f"{path}/{first}/refund", part, Idempotency_Key="r-1")
    assert again.data == made.data
    other = await web.ask(shop, "POST", f"{path}/{first}/refund", {"amount_minor": 1}, Idempotency_Key="r-1")
    assert other.brief == (409, "idempotency_key_reused")
    over = await web.ask(shop, "POST", f"{path}/{first}/refund", {"amount_minor": 70_01}, Idempotency_Key="r-2")
    assert over.brief == (409, "refund_too_large")
    whole = await web.ask(shop, "POST", f"{path}/{first}/reverse", Idempotency_Key="r-3")
    assert whole.brief == (409, "refunded_already")
    seen = await web.ask(payer, "GET", f"/payments/{first}")
    assert (seen.data["refunded_minor"], seen.data["refunds"][0]["reason"]) == (30_00, "one was broken")
    # What we earn and what the shop noted is between the shop and us.
    assert not {"commission_minor", "net_minor", "metadata"} & set(seen.data)

    for _ in range(2):
        taken_back = await web.ask(shop, "POST", f"{path}/{second}/reverse", Idempotency_Key="v-1")
        assert (taken_back.brief, taken_back.data["status"]) == ((200, "ok"), "reversed")
    late = await web.ask(shop, "POST", f"{path}/{second}/reverse", Idempotency_Key="v-2")
    assert late.brief == (409, "payment_not_completed")
    missing = await web.ask(shop, "POST", f"{path}/{second}/reverse")
    assert missing.brief == (400, "idempotency_key_missing")
    assert (world.available(payer), world.payable(shop)) == (430_00, 68_60)


async def test_a_cashier_takes_payments_and_gives_nothing_back(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(role=Role.CASHIER), world.payer()
    paid = world.paid(shop, payer, 10_00)
    path = f"/merchants/{shop.hex}/payments/{paid.payment_id}"
    for action in ("refund", "reverse"):
        told = await web.ask(shop, "POST", f"{path}/{action}", {"amount_minor": 1}, Idempotency_Key="k")
        assert told.brief == (403, "not_allowed")
    asked = await web.asked(shop, payer, 1_00)
    cancelled = await web.ask(shop, "POST", f"/merchants/{shop.hex}/payments/{asked}/cancel")
    assert cancelled.data["failure_reason"] == "cancelled_by_merchant"


async def test_a_history_is_read_in_pages_and_filtered(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    since_ms = world.clock.now_ms()
    made = []
    for number in range(5):
        made.append(world.paid(shop, payer, 1_00 + number).payment_id)
        world.clock.pass_s(1 if number % 2 else 0)
    waiting = world.asked(shop, payer, 9_00).payment_id
    for who, path in ((payer, "/me/payments"), (shop, f"/merchants/{shop.hex}/payments")):
        pages: list[list[str]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await web.ask(who, "GET", f"{path}?limit=2{cursor}")).data
            pages.append([each["payment_id"] for each in page["items"]])
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        assert sorted(map(len, pages)) == [2, 2, 2]
        assert {payment_id for page in pages for payment_id in page} == {waiting, *made}
        completed = (await web.ask(who, "GET", f"{path}?status=completed")).data
        assert ({each["payment_id"] for each in completed["items"]}, completed["next_cursor"]) == (set(made), None)
        window = f"?since_ms={since_ms}&until_ms={since_ms + 1000}"
        assert len((await web.ask(who, "GET", path + window)).data["items"]) == 2
    by_reference = await web.ask(shop, "GET", f"/merchants/{shop.hex}/payments?merchant_reference=nothing")
    assert by_reference.data["items"] == []


async def test_what_one_was_told_is_read_in_pages_and_marked(world: PaymentWorld, web: Web) -> None:
    shop, payer, stranger = world.shop(), world.payer(), world.payer()
    for _ in range(2):
        world.paid(shop, payer, 1_00)
        world.clock.pass_s(1)
    first = (await web.ask(payer, "GET", "/me/notifications?limit=3")).data
    second = (await web.ask(payer, "GET", f"/me/notifications?limit=3&cursor={first['next_cursor']}")).data
    told = first["items"] + second["items"]
    assert (len(first["items"]), len(told), second["next_cursor"]) == (3, 4, None)
    assert {each["kind"] for each in told} == {"payment_requested", "payment_completed"}
    path = f"/me/notifications/{told[0]['notification_id']}/read"
    for who in (stranger, shop):
        assert (await web.ask(who, "POST", path)).brief == (404, "notification_unknown")
    read_at_ms = world.clock.now_ms()
    for _ in range(2):
        assert (await web.ask(payer, "POST", path)).brief == (200, "ok")
        world.clock.pass_s(1)
    unread = (await web.ask(payer, "GET", "/me/notifications?unread=true")).data["items"]
    assert told[0]["notification_id"] not in {each["notification_id"] for each in unread}
    assert len(unread) == 3
    newest = (await web.ask(payer, "GET", "/me/notifications")).data["items"][0]
    assert (newest["notification_id"], newest["read_at_ms"]) == (told[0]["notification_id"], read_at_ms)


async def test_what_is_another_ones_is_not_there(world: PaymentWorld, web: Web) -> None:
    shop, payer, other, stranger = world.shop(), world.payer(), world.shop(), world.payer()
    paid, session_id = world.paid(shop, payer, 1_00).payment_id, world.session(payer).session_id
    asks: list[tuple[Payer | Shop, str, str]] = [
        (stranger, "GET", f"/payments/{paid}"),
        (other, "GET", f"/payments/{paid}"),
        (stranger, "POST", f"/payments/{paid}/confirm"),
        (stranger, "POST", f"/payments/{paid}/reject"),
        (stranger, "GET", f"/sessions/{session_id}"),
        (stranger, "GET", "/sessions/PS0"),
        (payer, "GET", "/payments/TXN0"),
        (other, "POST", f"/merchants/{other.hex}/payments/{paid}/reverse"),
        (other, "POST", f"/merchants/{other.hex}/payments/{paid}/refund"),
        (other, "POST", f"/merchants/{other.hex}/payments/{paid}/cancel"),
        (other, "GET", f"/merchants/{shop.hex}/payments"),
        (other, "POST", f"/merchants/{shop.hex}/payments"),
        (other, "POST", f"/merchants/{shop.hex}/payments/{paid}/reverse"),
    ]
    for who, method, path in asks:
        body = {"amount_minor": 1} if path.endswith("refund") else None
        told = await web.ask(who, method, path, body, Idempotency_Key="k")
        assert told.status == 404, (path, told.body)
    assert (await web.ask(other, "GET", f"/merchants/{other.hex}/payments")).data["items"] == []
