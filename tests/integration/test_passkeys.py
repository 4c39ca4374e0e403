"""Passkeys over real HTTP on real MariaDB: set up, logged in with, and a yes to one payment and to no other."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from cloud.db import run_read, run_transaction
from cloud.identity import action_store, login_service
from cloud.identity.action_store import ActionSubject
from cloud.identity.passkeys import CHALLENGE_MS
from cloud.wallets import customer_store
from cloud.wallets.reserve import PinUsage
from tests.fakes.authenticator import USER_PRESENT, Authenticator, base64url
from tests.fakes.identity_world import PASSWORD, PIN, WRONG
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop, at_once
from tests.servers.mariadb import MariaDb
from tests.stack.servers import serving


@pytest.fixture(scope="module")
def world(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    made = PaymentWorld(tmp_path_factory.mktemp("passkeys"), mariadb.create_database("passkeys"))
    yield made
    made.close()
    mariadb.drop_database("passkeys")


@pytest.fixture
async def web(world: PaymentWorld) -> AsyncIterator[Web]:
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        yield Web(http)


async def set_up(web: Web, payer: Payer | Shop, phone: Authenticator | None = None) -> Authenticator:
    """Set up a passkey in a new phone."""
    phone = phone or Authenticator(sign_count=1)
    options = await web.ask(payer, "POST", "/auth/passkeys/options", {"password": PASSWORD})
    assert options.brief == (200, "ok"), options.body
    added = await web.ask(payer, "POST", "/auth/passkeys", phone.create(options.data))
    assert added.brief == (201, "ok"), added.body
    return phone


async def log_in(web: Web, phone: Authenticator, **changes: str) -> httpx.Response:
    options = (await web.http.post("/api/v1/auth/passkeys/log-in/options")).json()["data"]
    assert options["allowCredentials"] == []
    body = {"passkey": phone.sign(options) | changes, "kind": "bearer"}
    return await web.http.post("/api/v1/auth/passkeys/log-in", json=body)


async def options_for(web: Web, payer: Payer, payment_id: str) -> Any:
    told = await web.ask(payer, "POST", f"/payments/{payment_id}/passkey-options")
    assert told.brief == (200, "ok"), told.body
    return told.data


async def confirm(web: Web, payer: Payer, payment_id: str, signed: dict[str, str]) -> Any:
    return await web.ask(payer, "POST", f"/payments/{payment_id}/confirm", {"passkey": signed})


def brief(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_passkey_is_set_up_lets_its_owner_in_and_is_removed(world: PaymentWorld, web: Web) -> None:
    payer = world.payer()
    phone = await set_up(web, payer)
    (mine,) = (await web.ask(payer, "GET", "/auth/passkeys")).data
    assert (mine["name"], mine["last_used_ms"]) == ("My phone", None)

    answer = await log_in(web, phone)
    assert brief(answer) == (200, "ok")
    opened = answer.json()["data"]
    assert opened["person"]["email"] == payer.email
    assert world.people.identity.find_session(opened["access_token"]) is not None

    stranger = world.payer()
    gone = f"/auth/passkeys/{mine['passkey_id']}"
    assert (await web.ask(stranger, "DELETE", gone)).brief == (404, "passkey_unknown")
    assert (await web.ask(payer, "DELETE", gone)).brief == (200, "ok")
    assert (await web.ask(payer, "GET", "/auth/passkeys")).data == []
    assert brief(await log_in(web, phone)) == (401, "passkey_not_known_here")


async def test_a_browser_gets_cookies_for_a_passkey(world: PaymentWorld, web: Web) -> None:
    phone = await set_up(web, world.payer())
    options = (await web.http.post("/api/v1/auth/passkeys/log-in/options")).json()["data"]
    answer = await web.http.post("/api/v1/auth/passkeys/log-in", json={"passkey": phone.sign(options)})
    assert answer.json()["data"]["access_token"] is None
    assert "httponly" in answer.headers["set-cookie"].lower()


async def test_a_passkey_is_added_only_by_the_password_and_once(world: PaymentWorld, web: Web) -> None:
    payer = world.payer()
    asked = await web.ask(payer, "POST", "/auth/passkeys/options", {"password": WRONG})
    assert asked.brief == (403, "wrong_password")
    phone = await set_up(web, payer)
    options = (await web.ask(payer, "POST", "/auth/passkeys/options", {"password": PASSWORD})).data
    assert [each["id"] for each in options["excludeCredentials"]] == [base64url(phone.credential_id)]
    again = phone.create(options)
    assert (await web.ask(payer, "POST", "/auth/passkeys", again)).brief == (409, "passkey_taken")
    assert (await web.ask(payer, "POST", "/auth/passkeys", again)).brief == (409, "passkey_challenge_over")
    # Another's challenge makes no passkey here, and is used up by the attempt.
    options = (await web.ask(payer, "POST", "/auth/passkeys/options", {"password": PASSWORD})).data
    stolen = Authenticator().create(options)
    assert (await web.ask(world.payer(), "POST", "/auth/passkeys", stolen)).brief == (409, "passkey_challenge_over")
    assert (await web.ask(payer, "POST", "/auth/passkeys", stolen)).brief == (409, "passkey_challenge_over")


@pytest.mark.parametrize(
    ("phone", "statement"),
    [
        (Authenticator(origin="https://tillbox.example.org"), {}),
        (Authenticator(flags=USER_PRESENT), {}),
        (Authenticator(flags=0x04), {}),
        (Authenticator(), {"fmt": "android-safetynet", "attStmt": {"ver": "1", "response": b"e30.e30.e30"}}),
        (Authenticator(), {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"no"}}),
        (Authenticator(), {"fmt": 7}),
        (Authenticator(), {"attStmt": 7}),
        (Authenticator(), {"authData": b"short"}),
        (Authenticator(), {"authData": 7}),
    ],
    ids=lambda each: str(each)[:60],
)
async def test_what_was_not_made_as_asked_is_no_passkey(
    world: PaymentWorld, web: Web, phone: Authenticator, statement: dict[str, Any]
) -> None:
    payer = world.payer()
    options = (await web.ask(payer, "POST", "/auth/passkeys/options", {"password": PASSWORD})).data
    told = await web.ask(payer, "POST", "/auth/passkeys", phone.create(options, **statement))
    assert told.brief == (422, "passkey_invalid")
    assert (await web.ask(payer, "GET", "/auth/passkeys")).data == []


async def test_a_log_in_is_refused_for_each_thing_that_was_not_signed_as_asked(world: PaymentWorld, web: Web) -> None:
    phone = await set_up(web, world.payer())
    other = await set_up(web, world.payer())
    refused = (401, "passkey_not_known_here")
    assert brief(await log_in(web, phone, credential_id=base64url(other.credential_id))) == refused
    assert brief(await log_in(web, phone, user_handle=base64url(other.user_handle))) == refused
    assert brief(await log_in(web, phone, signature=base64url(b"nothing"))) == refused
    assert brief(await log_in(web, phone, authenticator_data=base64url(b"nothing"))) == refused
    assert brief(await log_in(web, Authenticator(domain="localhost", user_handle=b"L"))) == refused
    for change in ({"origin": "https://evil.example"}, {"flags": USER_PRESENT}, {"domain": "evil.example"}):
        changed = Authenticator(
            **{"domain": "localhost", "sign_count": 50, **change},  # type: ignore[arg-type]
            key=phone.key,
            credential_id=phone.credential_id,
            user_handle=phone.user_handle,
        )
        assert brief(await log_in(web, changed)) == refused, change
    assert brief(await log_in(web, phone)) == (200, "ok")


@pytest.mark.parametrize(
    "client_data", [b"nothing", b"{}", b"[]", b'{"challenge": 7}', b'{"challenge": "A"}', b"\xff", b"[" * 3000]
)
async def test_client_data_that_nobody_can_read_is_answered(web: Web, client_data: bytes) -> None:
    body = {"passkey": Authenticator(domain="localhost", user_handle=b"L").sign({"challenge": "AA"}), "kind": "bearer"}
    body["passkey"] |= {"client_data": base64url(client_data)}  # type: ignore[operator]
    answer = await web.http.post("/api/v1/auth/passkeys/log-in", json=body)
    assert brief(answer) == (409, "passkey_challenge_over")


async def test_a_challenge_is_good_once_and_for_five_minutes(world: PaymentWorld, web: Web) -> None:
    phone = await set_up(web, world.payer())
    path = "/api/v1/auth/passkeys/log-in"
    options = (await web.http.post(f"{path}/options")).json()["data"]
    body = {"passkey": phone.sign(options), "kind": "bearer"}
    assert brief(await web.http.post(path, json=body)) == (200, "ok")
    assert brief(await web.http.post(path, json=body)) == (409, "passkey_challenge_over")
    body = {"passkey": phone.sign(options), "kind": "bearer"}  # Signed anew, with a higher counter.
    assert brief(await web.http.post(path, json=body)) == (409, "passkey_challenge_over")

    options = (await web.http.post(f"{path}/options")).json()["data"]
    world.clock.pass_s(CHALLENGE_MS / 1000)
    body = {"passkey": phone.sign(options), "kind": "bearer"}
    assert brief(await web.http.post(path, json=body)) == (409, "passkey_challenge_over")

    await web.http.post(f"{path}/options")
    world.clock.pass_s(CHALLENGE_MS / 1000)
    assert world.run(lambda session: login_service.forget_old(session, now_ms=world.clock.now_ms()))
    assert world.run(lambda session: session.execute(text("SELECT COUNT(*) FROM passkey_challenges")).scalar()) == 0


async def test_a_counter_that_goes_back_is_refused_and_noted(world: PaymentWorld, web: Web) -> None:
    payer = world.payer()
    phone = await set_up(web, payer, Authenticator(sign_count=5))
    assert brief(await log_in(web, phone)) == (200, "ok")
    phone.sign_count = 5  # The copy counts to six once more.
    assert brief(await log_in(web, phone)) == (403, "passkey_counted_back")
    login_id = payer.person.login_id
    (note,) = run_read(world.engine, lambda s: action_store.actions_about(s, ActionSubject.LOGIN, login_id))
    assert note.action == "passkey_counted_back"
    assert note.detail.endswith("counted 6 after 6")
    phone.sign_count = 6
    assert brief(await log_in(web, phone)) == (200, "ok")
    # A wrong signature with an old counter is no copy: everybody could send it.
    phone.sign_count = 1
    assert brief(await log_in(web, phone, signature=base64url(b"x"))) == (401, "passkey_not_known_here")
    assert len(run_read(world.engine, lambda s: action_store.actions_about(s, ActionSubject.LOGIN, login_id))) == 1


async def test_a_synchronised_passkey_has_no_counter_and_works_again_and_again(world: PaymentWorld, web: Web) -> None:
    phone = await set_up(web, world.payer(), Authenticator(sign_count=0))
    assert brief(await log_in(web, phone)) == (200, "ok")
    assert brief(await log_in(web, phone)) == (200, "ok")


async def test_a_suspended_login_is_not_let_in_by_a_passkey(world: PaymentWorld, web: Web) -> None:
    payer = world.payer()
    phone = await set_up(web, payer)
    now_ms = world.clock.now_ms()
    run_transaction(world.engine, lambda s: login_service.suspend(s, payer.person.login_id, now_ms=now_ms))
    assert brief(await log_in(web, phone)) == (403, "login_suspended")


async def test_a_payment_is_confirmed_by_passkey_and_counts_as_the_pin(world: PaymentWorld, web: Web) -> None:
    payer, shop = world.payer(), world.shop()
    phone = await set_up(web, payer)
    assert (await web.confirm(payer, await web.asked(shop, payer, 20_00))).brief == (200, "ok")

    def usage() -> PinUsage:
        return run_read(world.engine, lambda session: customer_store.read_pin_usage(session, payer.wallet_id))

    assert usage().payments_count == 1
    payment_id = await web.asked(shop, payer, 100_00)
    assert (await web.confirm(payer, payment_id)).brief == (403, "proof_required")
    options = await options_for(web, payer, payment_id)
    assert [each["id"] for each in options["allowCredentials"]] == [base64url(phone.credential_id)]
    paid = await confirm(web, payer, payment_id, phone.sign(options))
    assert paid.brief == (200, "ok")
    assert (paid.data["status"], world.available(payer), usage()) == ("completed", 380_00, PinUsage(0, 0))
    assert world.findings() == []


async def test_a_yes_to_one_payment_is_no_yes_to_another(world: PaymentWorld, web: Web) -> None:
    payer, shop, dear_shop = world.payer(), world.shop(), world.shop("Dear shop")
    phone = await set_up(web, payer)
    cheap, dear = await web.asked(shop, payer, 51_00), ""
    told = await web.initiate(dear_shop, world.another_code(payer), 400_00)
    dear = told.data["payment_id"]
    signed = phone.sign(await options_for(web, payer, cheap))
    assert (await confirm(web, payer, dear, signed)).brief == (403, "wrong_passkey")
    # The attempt has used it up for its own payment, too.
    assert (await confirm(web, payer, cheap, signed)).brief == (409, "passkey_challenge_over")
    assert world.available(payer) == 500_00

    signed = phone.sign(await options_for(web, payer, cheap))
    assert (await confirm(web, payer, cheap, signed)).brief == (200, "ok")
    assert (await confirm(web, payer, cheap, signed)).brief == (409, "passkey_challenge_over")
    assert world.available(payer) == 449_00


@pytest.mark.parametrize(
    "change",
    ["amount_minor = 6000", "currency = 'USD'", "merchant_id = :other"],
)
async def test_a_yes_holds_only_for_the_amount_currency_and_merchant_that_were_signed(
    world: PaymentWorld, web: Web, change: str
) -> None:
    payer, shop, other = world.payer(), world.shop(), world.shop()
    phone = await set_up(web, payer)
    payment_id = await web.asked(shop, payer, 55_00)
    signed = phone.sign(await options_for(web, payer, payment_id))
    statement = text(f"UPDATE online_payments SET {change} WHERE payment_id = :payment_id")
    known = {"payment_id": payment_id} | ({"other": other.merchant_id} if ":other" in change else {})
    world.run(lambda session: session.execute(statement, known))
    assert (await confirm(web, payer, payment_id, signed)).brief == (403, "wrong_passkey")
    assert world.available(payer) == 500_00


async def test_neither_a_log_in_nor_anothers_passkey_says_yes_to_a_payment(world: PaymentWorld, web: Web) -> None:
    payer, thief, shop = world.payer(), world.payer(), world.shop()
    payment_id = await web.asked(shop, payer, 100_00)
    asked = await web.ask(payer, "POST", f"/payments/{payment_id}/passkey-options")
    assert asked.brief == (409, "passkey_not_set")
    phone, theirs = await set_up(web, payer), await set_up(web, thief)
    for_log_in = (await web.http.post("/api/v1/auth/passkeys/log-in/options")).json()["data"]
    assert (await confirm(web, payer, payment_id, phone.sign(for_log_in))).brief == (409, "passkey_challenge_over")
    signed = theirs.sign(await options_for(web, payer, payment_id))
    assert (await confirm(web, payer, payment_id, signed)).brief == (403, "wrong_passkey")
    foreign = await web.ask(thief, "POST", f"/payments/{payment_id}/passkey-options")
    assert foreign.brief == (404, "payment_unknown")
    both = {"pin": PIN, "passkey": phone.sign(await options_for(web, payer, payment_id))}
    told = await web.ask(payer, "POST", f"/payments/{payment_id}/confirm", both)
    assert told.brief == (422, "invalid_request")
    assert world.available(payer) == 500_00


async def test_the_challenge_of_a_payment_ends_in_a_hash_of_what_is_signed(world: PaymentWorld, web: Web) -> None:
    payer = world.payer()
    phone = await set_up(web, payer)
    first = await web.asked(world.shop(), payer, 100_00)
    challenges = [(await options_for(web, payer, first))["challenge"] for _ in range(2)]
    raw = [base64.urlsafe_b64decode(each + "==") for each in challenges]
    assert [len(each) for each in raw] == [64, 64]
    assert raw[0][:32] != raw[1][:32]
    assert raw[0][32:] == raw[1][32:]
    signed = phone.sign({"challenge": challenges[0]})
    assert json.loads(base64.urlsafe_b64decode(signed["client_data"] + "=="))["challenge"] == challenges[0]


async def test_one_answer_sent_many_times_at_once_counts_once(world: PaymentWorld, web: Web) -> None:
    payer, shop = world.payer(), world.shop()
    phone = await set_up(web, payer)
    payment_id = await web.asked(shop, payer, 100_00)
    body = {"passkey": phone.sign(await options_for(web, payer, payment_id))}
    url = f"{web.http.base_url}/api/v1/payments/{payment_id}/confirm".replace("//api", "/api")

    def send() -> int:
        return httpx.post(url, json=body, headers=payer.headers, timeout=60).status_code

    answers = await asyncio.to_thread(lambda: at_once([send] * 8))
    assert sorted(answers) == [200] + [409] * 7
    assert world.available(payer) == 400_00


async def test_the_settlement_account_changes_by_a_passkeys_yes_to_that_account_alone(
    world: PaymentWorld, web: Web
) -> None:
    shop = world.shop()
    phone, path = await set_up(web, shop), f"/merchants/{shop.hex}/settlement-account"
    account = {"holder": "Grete", "iban": "DE89 3704 0044 0532 0130 00"}
    other = account | {"iban": "GB29 NWBK 6016 1331 9268 19"}
    options = (await web.ask(shop, "POST", f"{path}/passkey-options", account)).data
    signed = phone.sign(options)
    assert (await web.ask(shop, "PUT", path, other | {"passkey": signed})).brief == (403, "wrong_passkey")
    options = (await web.ask(shop, "POST", f"{path}/passkey-options", account)).data
    signed = phone.sign(options)
    changed = await web.ask(shop, "PUT", path, account | {"passkey": signed})
    assert (changed.brief, changed.data["iban_masked"]) == ((200, "ok"), "DE89…3000")
    again = await web.ask(shop, "PUT", path, account | {"passkey": signed})
    assert again.brief == (409, "passkey_challenge_over")
