"""Customers and merchants: opened once, spelled in one way, topped up once."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from cloud.ledger.batch import PostOutcome
from cloud.merchants import store as merchant_store
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.service import MerchantRefusal, add_site, register_merchant
from cloud.merchants.service import change_status as change_merchant_status
from cloud.merchants.store import Merchant, Site
from cloud.wallets import customer_store
from cloud.wallets.customer_service import (
    CustomerRefusal,
    bind_device,
    change_wallet_status,
    make_device_id,
    make_wallet_id,
    open_wallet,
    set_kyc_verified,
    top_up,
)
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import WalletStatus
from sync.ids import MerchantId, SiteId
from sync.money import Money
from tests.fakes.wallet_world import WalletWorld, key

ADA = Wallet("WAAAAAAAAAAAA", " Ada ", "Ada@Example.ORG ", "+49 (123) 456-789", "EUR", 10_000_00, 1)
STORED = replace(ADA, name="Ada", email="ada@example.org", phone="+49123456789")
CAFE = Merchant(MerchantId(b"merchant"), "Café", "food", "EUR", 1)


@pytest.fixture
def world(engine: Engine) -> WalletWorld:
    return WalletWorld(engine)


def open_(world: WalletWorld, wallet: Wallet) -> Wallet | CustomerRefusal:
    return world.run(lambda session: open_wallet(session, wallet))


def test_ids_are_a_letter_and_twelve_characters() -> None:
    assert make_wallet_id(lambda size: bytes(range(size))) == "W0123456789AB"
    assert make_device_id(lambda size: bytes([255] * size)) == "DZZZZZZZZZZZZ"


def test_a_wallet_is_stored_in_one_spelling(world: WalletWorld) -> None:
    assert open_(world, ADA) == STORED
    found = world.run(lambda s: customer_store.wallets_by_id(s, [ADA.wallet_id, "W?"]))
    assert found == {ADA.wallet_id: replace(STORED, phone="")}
    assert world.run(lambda s: customer_store.with_phone(s, found[ADA.wallet_id])) == STORED


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({"name": "  "}, CustomerRefusal.NAME_INVALID),
        ({"name": "x" * 201}, CustomerRefusal.NAME_INVALID),
        ({"email": "ada"}, CustomerRefusal.EMAIL_INVALID),
        ({"email": "a@b@c"}, CustomerRefusal.EMAIL_INVALID),
        ({"email": "a b@c"}, CustomerRefusal.EMAIL_INVALID),
        ({"phone": "0123456789"}, CustomerRefusal.PHONE_INVALID),
        ({"phone": "+0123456789"}, CustomerRefusal.PHONE_INVALID),
        ({"phone": "+1234567890123456"}, CustomerRefusal.PHONE_INVALID),
    ],
)
def test_a_customer_nobody_could_reach_is_refused(
    world: WalletWorld, changes: dict[str, str], refusal: CustomerRefusal
) -> None:
    assert open_(world, replace(ADA, **changes)) is refusal  # type: ignore[arg-type]


def test_email_and_phone_are_unique_whatever_their_spelling(world: WalletWorld) -> None:
    open_(world, ADA)
    other = replace(ADA, wallet_id="WBBBBBBBBBBBB")
    assert open_(world, replace(other, phone="+4999999999")) is CustomerRefusal.EMAIL_TAKEN
    assert open_(world, replace(other, email="b@example.org")) is CustomerRefusal.PHONE_TAKEN
    assert open_(world, replace(ADA, email="b@example.org", phone="+4999999999")) is CustomerRefusal.WALLET_ID_TAKEN


def test_a_phone_is_bound_once_and_to_one_wallet(world: WalletWorld) -> None:
    wallet, other = world.customer(1), world.customer(2)
    device = Device("D-new", wallet, key("new phone"), 1)

    def bind(asked: Device) -> Device | CustomerRefusal:
        return world.run(lambda session: bind_device(session, asked))

    assert bind(device) == device
    assert bind(replace(device, device_id="D-other")) == device
    assert bind(replace(device, wallet_id=other)) is CustomerRefusal.BINDING_KEY_TAKEN
    assert bind(replace(device, binding_key=key("another"))) is CustomerRefusal.DEVICE_ID_TAKEN
    assert bind(replace(device, binding_key=bytes(32))) is CustomerRefusal.BINDING_KEY_INVALID
    assert bind(replace(device, wallet_id="W?")) is CustomerRefusal.WALLET_UNKNOWN


def test_a_top_up_is_credited_once_under_its_key(world: WalletWorld) -> None:
    wallet, other = world.customer(1, balance_minor=0), world.customer(2, balance_minor=0)
    assert world.top_up(wallet, 500, "ref-1") is PostOutcome.POSTED
    assert world.top_up(wallet, 500, "ref-1") is PostOutcome.EXISTS
    assert world.top_up(wallet, 501, "ref-1") is PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT
    assert world.top_up(other, 500, "ref-1") is PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT
    assert world.money(wallet, world.device_id(1)) == (500, 0)
    assert world.money(other, world.device_id(2)) == (0, 0)


def test_a_top_up_that_cannot_be_is_named(world: WalletWorld) -> None:
    wallet = world.customer(1)
    assert world.top_up(wallet, 0, "ref") is CustomerRefusal.AMOUNT_INVALID
    assert world.top_up(wallet, 1, "") is CustomerRefusal.IDEMPOTENCY_KEY_INVALID
    assert world.top_up(wallet, 1, "x" * 65) is CustomerRefusal.IDEMPOTENCY_KEY_INVALID
    assert world.top_up("W?", 1, "ref") is CustomerRefusal.WALLET_UNKNOWN
    dollars = Money(1, "USD")
    refused = world.run(lambda s: top_up(s, wallet_id=wallet, amount=dollars, idempotency_key="ref", now_ms=1))
    assert refused is CustomerRefusal.CURRENCY_MISMATCH
    block = {"from_status": WalletStatus.ACTIVE, "to_status": WalletStatus.BLOCKED}
    assert world.run(lambda session: change_wallet_status(session, wallet, **block))
    assert world.top_up(wallet, 1, "ref") is CustomerRefusal.WALLET_BLOCKED
    assert not world.run(lambda session: set_kyc_verified(session, "W?", kyc_verified=True))


def test_a_merchant_is_taken_once_with_its_sites(world: WalletWorld) -> None:
    site = Site(SiteId(b"site0001"), CAFE.merchant_id, "Corner", 1)

    def register(merchant: Merchant) -> Merchant | MerchantRefusal:
        return world.run(lambda session: register_merchant(session, merchant))

    def add(asked: Site) -> Site | MerchantRefusal:
        return world.run(lambda session: add_site(session, asked))

    assert add(site) is MerchantRefusal.MERCHANT_UNKNOWN
    assert register(CAFE) == CAFE
    assert register(CAFE) == CAFE
    assert register(replace(CAFE, name="Other")) is MerchantRefusal.ID_TAKEN
    assert register(replace(CAFE, name="")) is MerchantRefusal.NAME_INVALID
    assert register(replace(CAFE, commission_ppm=1_000_001)) is MerchantRefusal.COMMISSION_INVALID
    assert add(site) == site
    assert add(site) == site
    assert add(replace(site, name="Other")) is MerchantRefusal.ID_TAKEN
    assert add(replace(site, name="")) is MerchantRefusal.NAME_INVALID
    assert world.run(lambda s: merchant_store.sites_of(s, CAFE.merchant_id)) == [site]
    found = world.run(lambda s: merchant_store.merchants_by_id(s, [CAFE.merchant_id, MerchantId(bytes(8))]))
    assert found == {CAFE.merchant_id: CAFE}
    assert CAFE.commission_ppm == 20_000


def test_a_merchants_status_changes_from_the_one_that_is_meant(world: WalletWorld) -> None:
    world.run(lambda session: register_merchant(session, CAFE))
    change = {"from_status": MerchantStatus.ACTIVE, "to_status": MerchantStatus.SUSPENDED}
    assert world.run(lambda s: change_merchant_status(s, CAFE.merchant_id, **change))
    assert not world.run(lambda s: change_merchant_status(s, CAFE.merchant_id, **change))
