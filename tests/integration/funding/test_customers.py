"""What operators decide about customers, over HTTP on real MariaDB and on embedded SQLite, and what follows from it."""

from cloud.db import run_read
from cloud.permissions import Role
from cloud.wallets import store
from cloud.wallets.reserve import DenyReason, GrantRefusal, WalletStatus
from cloud.wallets.store import IssuedGrant
from tests.fakes.funding_world import Customer, FundingWorld
from tests.fakes.identity_world import Client


async def decide(client: Client, wallet_id: str, action: str, reason: str = "papers seen") -> tuple[int, str]:
    answer = await client.ask("POST", f"/operator/wallets/{wallet_id}/{action}", {"reason": reason})
    return answer.status_code, answer.json()["code"]


async def test_who_is_not_verified_gets_no_grant_until_an_operator_has_seen_the_papers(world: FundingWorld) -> None:
    bob = world.customer(kyc_verified=False)
    world.fund(bob, 100_00)
    phone = world.phone(bob)
    assert world.grant(phone) is GrantRefusal.NOT_VERIFIED
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        assert await decide(support, bob.wallet_id, "verify") == (200, "ok")
        assert isinstance(world.grant(phone), IssuedGrant)
        assert await decide(support, bob.wallet_id, "verify") == (409, "wallet_not_in_that_status")
        assert await decide(support, bob.wallet_id, "unverify") == (200, "ok")
    assert world.grant(phone) is GrantRefusal.NOT_VERIFIED


async def test_a_suspended_wallet_gets_no_grant_and_is_reinstated(world: FundingWorld, ada: Customer) -> None:
    world.fund(ada, 100_00)
    phone = world.phone(ada)
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        assert await decide(support, ada.wallet_id, "suspend") == (200, "ok")
        assert world.grant(phone) is GrantRefusal.WALLET_NOT_ACTIVE
        assert await decide(support, ada.wallet_id, "reinstate") == (200, "ok")
    assert isinstance(world.grant(phone), IssuedGrant)


async def test_a_blocked_wallet_is_denied_at_every_box_and_stays_so(world: FundingWorld, ada: Customer) -> None:
    world.fund(ada, 100_00)
    granted = world.grant(world.phone(ada))
    assert isinstance(granted, IssuedGrant)
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        assert await decide(support, ada.wallet_id, "block", "stolen papers") == (200, "ok")
        for action in ("suspend", "reinstate", "block"):
            assert await decide(support, ada.wallet_id, action) == (409, "wallet_not_in_that_status")
        actions = (await support.ask("GET", f"/operator/wallets/{ada.wallet_id}/actions")).json()["data"]
    now_ms = world.clock.now_ms()
    denials = run_read(world.engine, lambda session: store.denials_in_force(session, now_ms=now_ms))
    assert {each.serial: each.reason for each in denials}[granted.serial] is DenyReason.WALLET_BLOCKED
    assert world.wallet(ada).status is WalletStatus.BLOCKED
    assert [(each["action"], each["reason"], each["detail"]) for each in actions] == [
        ("block", "stolen papers", "active to blocked")
    ]


async def test_customers_are_found_by_their_whole_address_only(world: FundingWorld, ada: Customer) -> None:
    phone = world.wallet(ada).phone
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        for params in ({"email": ada.email.upper()}, {"phone": phone}, {"email": ada.email, "phone": phone}):
            answer = await support.http.get("/api/v1/operator/wallets", params=params, headers=support.headers)
            assert [each["wallet_id"] for each in answer.json()["data"]] == [ada.wallet_id]
        for params in ({}, {"email": "payer"}, {"email": "%"}, {"phone": "+49"}):
            answer = await support.http.get("/api/v1/operator/wallets", params=params, headers=support.headers)
            assert answer.json()["data"] == []
        shown = (await support.ask("GET", f"/operator/wallets/{ada.wallet_id}")).json()["data"]
    assert (shown["email"], "balance_minor" in shown, "available_minor" in shown) == (ada.email, False, False)


async def test_what_cannot_be_decided_changes_nothing(world: FundingWorld, ada: Customer) -> None:
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        assert await decide(support, "W000000000000", "suspend") == (404, "wallet_unknown")
        assert await decide(support, ada.wallet_id, "suspend", "") == (422, "invalid_request")
        assert await decide(support, ada.wallet_id, "suspend", "  ") == (422, "reason_missing")
        half = await support.http.post(
            f"/api/v1/operator/wallets/{ada.wallet_id}/suspend",
            content=b'{"reason": "half a pair: \\ud800"}',
            headers=support.headers | {"Content-Type": "application/json"},
        )
        assert (half.status_code, half.json()["code"]) == (422, "invalid_request")
        assert await decide(support, ada.wallet_id, "suspend", "x" * 501) == (422, "invalid_request")
        assert await decide(support, ada.wallet_id, "promote") == (422, "invalid_request")
        assert (await support.ask("GET", "/operator/wallets/W000000000000")).status_code == 404
        assert (await support.ask("GET", f"/operator/wallets/{ada.wallet_id}/actions")).json()["data"] == []
    assert world.wallet(ada).status is WalletStatus.ACTIVE
