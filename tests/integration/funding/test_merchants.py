"""Merchants over HTTP on real MariaDB and on embedded SQLite: applied, decided about, described by their owners."""

import secrets
import struct
import zlib
from typing import Any

from cloud.db import run_read, run_transaction
from cloud.identity.lockout import ADDRESS_ATTEMPTS_MAX, Locked
from cloud.identity.store import find_login_by_email
from cloud.ledger.entries import AccountKind
from cloud.merchants import store
from cloud.merchants.application import Applicant, Applications, Applied
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.profile import Profile
from cloud.permissions import Role
from sync.ids import MerchantId
from tests.fakes.funding_world import FundingWorld
from tests.fakes.identity_world import PASSWORD, WRONG, Client

BUSINESS: dict[str, Any] = {
    "name": "Café Grün",
    "category": "food",
    "contact_name": "Grete Grün",
    "contact_email": "Grete@Example.org",
    "contact_phone": "+49 (30) 901-820",
    "street": "Main street 1",
    "postal_code": "10115",
    "city": "Berlin",
    "country": "DE",
    "location": {"latitude": 52.52, "longitude": 13.405},
}
IBAN = "DE89 3704 0044 0532 0130 00"
_emails = iter(f"owner{number}@example.org" for number in range(10_000))


def png(*, width: int = 8, height: int = 8) -> bytes:
    """A small grey picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def apply(world: FundingWorld, **changes: object) -> tuple[str, str]:
    """Apply as a merchant; answers its id and the owner's e-mail."""
    email = next(_emails)
    world.clock.pass_s(10)
    async with world.people.http() as http:
        body = {"business": BUSINESS | changes, "email": email, "password": PASSWORD}
        answer = await http.post("/api/v1/merchant-applications", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"]["status"] == "applied"
    return answer.json()["data"]["merchant_id"], email


async def decide(client: Client, merchant_id: str, action: str, reason: str = "looked at") -> tuple[int, str]:
    """Decide as an operator; answers the status and the merchant's, or the refusal's code."""
    answer = await client.ask("POST", f"/operator/merchants/{merchant_id}/{action}", {"reason": reason})
    whole = answer.json()
    return answer.status_code, whole["data"]["status"] if whole["success"] else whole["code"]


async def test_an_applicant_logs_in_and_is_verified_by_an_operator(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    async with world.signed_in(email) as owner, world.signed_in(world.operator(Role.SUPPORT)) as support:
        shown = (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]
        assert (shown["status"], shown["is_verified"], shown["commission_ppm"]) == ("applied", False, 20_000)
        assert (shown["contact_email"], shown["contact_phone"]) == ("grete@example.org", "+4930901820")
        assert shown["location"] == BUSINESS["location"]
        assert await decide(support, merchant_id, "verify") == (200, "active")
        shown = (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]
    assert (shown["status"], shown["is_verified"], shown["sites"]) == ("active", True, [])


async def test_every_decision_starts_from_its_status_and_is_kept(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    async with world.signed_in(world.operator(Role.ADMINISTRATOR)) as admin, world.signed_in(email) as owner:
        assert await decide(admin, merchant_id, "suspend") == (409, "merchant_not_in_that_status")
        assert await decide(admin, merchant_id, "refuse", " ") == (422, "reason_missing")
        assert await decide(admin, merchant_id, "refuse", "no such shop") == (200, "refused")
        shown = (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]
        assert shown["reason"] == "no such shop"
        assert (await owner.ask("POST", f"/merchants/{merchant_id}/reapply")).json()["data"]["status"] == "applied"
        assert await decide(admin, merchant_id, "reapply") == (422, "invalid_request")
        steps = [("verify", "active"), ("suspend", "suspended"), ("reinstate", "active"), ("block", "blocked")]
        for action, status in steps:
            assert await decide(admin, merchant_id, action) == (200, status)
        for action in ("verify", "suspend", "reinstate", "block"):
            assert await decide(admin, merchant_id, action) == (409, "merchant_not_in_that_status")
        assert await decide(admin, "00" * 8, "verify") == (404, "merchant_unknown")
        actions = (await admin.ask("GET", f"/operator/merchants/{merchant_id}/actions")).json()["data"]
        me = (await admin.ask("GET", "/auth/me")).json()["data"]["login_id"]
    assert [each["action"] for each in reversed(actions)] == ["refuse", "reapply", *[action for action, _ in steps]]
    assert (actions[0]["login_id"], actions[0]["detail"]) == (me, "active to blocked")
    assert actions[-1]["reason"] == "no such shop"


async def test_the_commission_is_set_in_whole_basis_points_by_an_administrator(world: FundingWorld) -> None:
    merchant_id, _ = await apply(world)
    path = f"/operator/merchants/{merchant_id}/commission"
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        refused = await support.ask("PUT", path, {"commission_ppm": 15_000, "reason": "a friend"})
        assert refused.status_code == 403
    async with world.signed_in(world.operator(Role.ADMINISTRATOR)) as admin:
        changed = await admin.ask("PUT", path, {"commission_ppm": 15_000, "reason": "agreed"})
        assert changed.json()["data"]["commission_ppm"] == 15_000
        again = await admin.ask("PUT", path, {"commission_ppm": 15_000, "reason": "agreed"})
        assert (again.status_code, again.json()["code"]) == (409, "nothing_to_change")
        for bad in (-100, 1_000_100, 15_001, 1.5, "15000", None, True):
            answer = await admin.ask("PUT", path, {"commission_ppm": bad, "reason": "agreed"})
            assert answer.status_code == 422, bad
        actions = (await admin.ask("GET", f"/operator/merchants/{merchant_id}/actions")).json()["data"]
    assert [each["detail"] for each in actions] == ["20000 to 15000 ppm"]


async def test_another_name_ends_the_badge_until_it_is_verified_anew(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    async with world.signed_in(email) as owner, world.signed_in(world.operator(Role.SUPPORT)) as support:
        await decide(support, merchant_id, "verify")
        path = f"/merchants/{merchant_id}/profile"
        moved = (await owner.ask("PUT", path, BUSINESS | {"city": "Potsdam", "location": None})).json()["data"]
        assert (moved["city"], moved["location"], moved["is_verified"]) == ("Potsdam", None, True)
        renamed = (await owner.ask("PUT", path, BUSINESS | {"name": " Bank of Berlin "})).json()["data"]
        assert (renamed["name"], renamed["is_verified"], renamed["status"]) == ("Bank of Berlin", False, "active")
        assert await decide(support, merchant_id, "verify") == (200, "active")
        assert (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]["is_verified"]


async def test_the_settlement_account_is_checked_masked_and_its_change_is_kept(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    path = f"/merchants/{merchant_id}/settlement-account"
    async with world.signed_in(email) as owner:
        for bad in (IBAN[:-1] + "1", "XX89370400440532013000", "DE89", "DE89\u200b370400440532013000", "x" * 51, 5):
            refused = await owner.ask("PUT", path, {"holder": "Grete Grün", "iban": bad, "password": PASSWORD})
            assert refused.status_code == 422, bad
        account = {"holder": "Grete Grün", "iban": IBAN.lower()}
        assert (await owner.ask("PUT", path, account)).status_code == 422
        wrong = await owner.ask("PUT", path, account | {"password": WRONG})
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
        assert (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]["settlement_account"] is None
        changed = await owner.ask("PUT", path, account | {"password": PASSWORD})
        assert changed.json()["data"] == {"holder": "Grete Grün", "iban_masked": "DE89…3000"}
        shown = (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]
        assert shown["settlement_account"] == changed.json()["data"]
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        actions = (await support.ask("GET", f"/operator/merchants/{merchant_id}/actions")).json()["data"]
    assert [(each["action"], each["detail"]) for each in actions] == [
        ("change_settlement_account", "none to DE89…3000")
    ]


async def test_a_logo_is_stored_shown_as_nothing_but_a_picture_and_removed(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    path, shown_at = f"/api/v1/merchants/{merchant_id}/logo", f"/api/v1/logos/{merchant_id}"
    async with world.signed_in(email) as owner, world.signed_in(world.customer().email) as payer:
        assert (await payer.http.get(shown_at, headers=payer.headers)).status_code == 404
        for content, status, code in (
            (b"", 422, "logo_not_an_image"),
            (b"<svg onload='alert(1)'/>", 422, "logo_not_an_image"),
            (png() + b"<script>", 422, "logo_not_an_image"),
            (png(width=1025, height=1), 422, "logo_too_wide"),
            (png() + bytes(32 * 1024), 413, "logo_too_large"),
        ):
            refused = await owner.http.put(path, headers=owner.headers, content=content)
            assert (refused.status_code, refused.json()["code"]) == (status, code)
        for width in (8, 9):
            picture = png(width=width)
            assert (await owner.http.put(path, headers=owner.headers, content=picture)).status_code == 200
            shown = await payer.http.get(shown_at, headers=payer.headers)
            assert (shown.content, shown.headers["content-type"]) == (picture, "image/png")
            assert shown.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in shown.headers["content-security-policy"]
        assert (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]["has_logo"]
        assert (await payer.http.put(path, headers=payer.headers, content=picture)).status_code == 403
        assert (await owner.http.delete(path, headers=owner.headers)).status_code == 200
        assert (await owner.http.delete(path, headers=owner.headers)).status_code == 404


async def test_sites_and_boxes_are_listed_where_they_stand(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    meant = MerchantId(bytes.fromhex(merchant_id))
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        await decide(support, merchant_id, "verify")
    boxes = [world.clouds.box(merchant_id=meant) for _ in range(2)]
    world.clouds.box()
    async with world.signed_in(email) as owner:
        sites = (await owner.ask("GET", f"/merchants/{merchant_id}")).json()["data"]["sites"]
    assert [len(site["terminals"]) for site in sites] == [1, 1]
    listed = {each["terminal_id"] for site in sites for each in site["terminals"]}
    assert listed == {box.terminal_id.hex() for box in boxes}


async def test_a_foreign_merchant_is_as_unknown_as_none(world: FundingWorld) -> None:
    merchant_id, email = await apply(world)
    other_id, _ = await apply(world)
    doors: list[tuple[str, str, object]] = [
        ("GET", "", None),
        ("PUT", "/profile", BUSINESS),
        ("PUT", "/settlement-account", {"holder": "x", "iban": IBAN, "password": PASSWORD}),
        ("POST", "/settlement-account/passkey-options", {"holder": "x", "iban": IBAN}),
        ("POST", "/reapply", None),
        ("PUT", "/logo", None),
        ("DELETE", "/logo", None),
    ]
    async with world.signed_in(email) as owner:
        for foreign in (other_id, "00" * 8):
            for method, path, body in doors:
                answer = await owner.ask(method, f"/merchants/{foreign}{path}", body)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert (await owner.ask("GET", f"/merchants/{merchant_id}")).status_code == 200


async def test_operators_page_through_merchants_of_a_status(world: FundingWorld) -> None:
    made = {(await apply(world))[0] for _ in range(3)}
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        found: list[str] = []
        cursor = ""
        while True:
            answer = await support.ask("GET", f"/operator/merchants?status=applied&limit=2{cursor}")
            page = answer.json()["data"]
            assert len(page["merchants"]) <= 2
            found.extend(each["merchant_id"] for each in page["merchants"])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        for bad in ("status=gone", "limit=0", "limit=101", "cursor=x", "limit=1.5"):
            assert (await support.ask("GET", f"/operator/merchants?{bad}")).status_code == 422, bad
    assert found == sorted(set(found))
    assert made <= set(found)


BAD_BUSINESSES: list[dict[str, object]] = [
    {"name": ""},
    {"name": " "},
    {"name": "x" * 201},
    {"name": "Caf\u202ee"},
    {"name": "Ca\u200bfe"},
    {"name": "two\nlines"},
    {"name": "\u0958" * 200},
    {"postal_code": "\u0958" * 9},
    {"name": 7},
    {"name": None},
    {"contact_phone": "030 901820"},
    {"contact_email": "nobody"},
    {"country": "de"},
    {"country": "DEU"},
    {"location": {"latitude": 90.1, "longitude": 0}},
    {"location": {"latitude": 0, "longitude": -180.1}},
    {"location": {"latitude": "52", "longitude": 13}},
    {"location": {"latitude": 52}},
    {"commission_ppm": 0},
    {"status": "active"},
]


async def test_a_business_that_cannot_be_so_is_refused_whole(world: FundingWorld) -> None:
    email = next(_emails)
    async with world.people.http() as http:
        for changes in BAD_BUSINESSES:
            body = {"business": BUSINESS | changes, "email": email, "password": PASSWORD}
            answer = await http.post("/api/v1/merchant-applications", json=body)
            assert answer.status_code == 422, changes
    assert run_read(world.engine, lambda session: find_login_by_email(session, email)) is None


async def test_an_application_needs_a_login_of_its_own(world: FundingWorld) -> None:
    _, email = await apply(world)
    for changes, status, code in (
        ({"email": email}, 409, "email_taken"),
        ({"email": "nobody"}, 422, "email_invalid"),
        ({"email": next(_emails), "password": "short"}, 422, "password_too_short"),
        ({"email": next(_emails), "role": "owner"}, 422, "invalid_request"),
    ):
        world.clock.pass_s(10)
        body = {"business": BUSINESS, "email": email, "password": PASSWORD} | changes
        async with world.people.http() as http:
            answer = await http.post("/api/v1/merchant-applications", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_application_counts_as_a_visit_of_its_address(world: FundingWorld) -> None:
    world.clock.pass_s(600)
    applications = Applications(world.engine, world.clock, world.people.identity, secrets.token_bytes, "EUR")
    address = "198.51.100.1"
    for _ in range(ADDRESS_ATTEMPTS_MAX - 1):
        assert world.people.identity.reserve_visit(address) is None
    first, second = (Applicant("Café", "food", Profile(), next(_emails), PASSWORD) for _ in range(2))
    assert isinstance(applications.apply(first, address=address), Applied)
    assert isinstance(applications.apply(second, address=address), Locked)
    assert run_read(world.engine, lambda session: find_login_by_email(session, second.email)) is None


async def test_a_suspended_merchant_enrols_no_box_and_what_its_boxes_took_is_posted(world: FundingWorld) -> None:
    merchant_id, _ = await apply(world)
    meant = MerchantId(bytes.fromhex(merchant_id))
    async with world.signed_in(world.operator(Role.SUPPORT)) as support:
        await decide(support, merchant_id, "verify")
        box = world.clouds.box(merchant_id=meant)
        phone = world.clouds.phone()
        sale = box.sale(phone.code(), 10_00)
        assert await decide(support, merchant_id, "suspend", "looked at") == (200, "suspended")
    world.clouds.send(box, sale)
    assert world.clouds.balance(AccountKind.MERCHANT_PAYABLE, merchant_id) == 9_80
    assert world.findings() == []


def test_two_operators_who_decide_at_once_decide_once(world: FundingWorld) -> None:
    merchant_id = world.clouds.merchant("Corner shop")
    merchant = run_read(world.engine, lambda s: store.merchants_by_id(s, [merchant_id]))[merchant_id]
    changes = [
        run_transaction(
            world.engine,
            lambda s: store.change_standing(s, merchant, to_status=MerchantStatus.SUSPENDED, is_verified=True),
        )
        for _ in range(2)
    ]
    assert changes == [True, False]
