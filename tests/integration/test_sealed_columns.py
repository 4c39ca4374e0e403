"""Sensitive columns on real MariaDB and embedded SQLite: nobody reads or moves them who has the database alone."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from cloud.cli import cloud
from cloud.db import (
    ColumnKeyError,
    add_column_key,
    load_vault,
    make_engine,
    run_read,
    run_transaction,
    seal_anew,
    sealed_tables,
    upgrade,
)
from cloud.merchants import profile_store, store
from cloud.merchants.profile import Profile, SettlementAccount
from cloud.merchants.store import Merchant
from cloud.migrations import load_tables
from cloud.wallets import customer_service, customer_store
from cloud.wallets.customer_service import CustomerRefusal
from cloud.wallets.customer_store import Wallet
from sync.ids import MerchantId
from tests.servers.mariadb import MariaDb

IBAN, OTHER_IBAN = "DE89370400440532013000", "GB29NWBK60161331926819"
PHONE, HOLDER = "+4930901820", "Grete Müller"
BEFORE = "0007"


@dataclass
class Host:
    """One host of the cloud: a database, and a folder with its keys."""

    folder: Path
    url: str

    def run(self, *arguments: str) -> Result:
        environment = {"TILLBOX_DATA_FOLDER": str(self.folder), "TILLBOX_DATABASE_URL": self.url}
        return CliRunner(env=environment).invoke(cloud, list(arguments))

    @property
    def key_file(self) -> Path:
        return self.folder / "column-keys"


@pytest.fixture(params=["sqlite", "mariadb"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "sqlite":
        yield Host(tmp_path, f"sqlite:///{tmp_path / 'cloud.sqlite3'}")
        return
    server: MariaDb = request.getfixturevalue("mariadb")
    yield Host(tmp_path, server.create_database("sealed"))
    server.drop_database("sealed")


def add_merchant(host: Host, name: str, iban: str) -> MerchantId:
    merchant = Merchant(MerchantId(secrets.token_bytes(8)), name, "food", "EUR", 1)
    engine = make_engine(host.url, vault=load_vault(host.key_file))

    def work(session):  # type: ignore[no-untyped-def]
        store.insert_merchant(session, merchant)
        profile_store.write_profile(session, merchant.merchant_id, Profile(contact_phone=PHONE), now_ms=1)
        profile_store.write_account(session, merchant.merchant_id, SettlementAccount(HOLDER, iban), now_ms=1)

    run_transaction(engine, work)
    engine.dispose()
    return merchant.merchant_id


def add_wallet(host: Host, number: int, phone: str) -> Wallet | CustomerRefusal:
    wallet = Wallet(f"W{number:012}", "Ada", f"ada{number}@example.org", phone, "EUR", 1, 1)
    engine = make_engine(host.url, vault=load_vault(host.key_file))
    try:
        return run_transaction(engine, lambda session: customer_service.open_wallet(session, wallet))
    finally:
        engine.dispose()


def account(host: Host, merchant_id: MerchantId) -> SettlementAccount:
    engine = make_engine(host.url, vault=load_vault(host.key_file))
    try:
        return run_read(engine, lambda session: profile_store.read_profile(session, merchant_id)).account
    finally:
        engine.dispose()


def raw(host: Host) -> list[str]:
    """Everything that stands in the sensitive columns."""
    return [
        str(value)
        for query in (
            "SELECT phone FROM wallets",
            "SELECT contact_phone, settlement_holder, settlement_iban FROM merchant_profiles",
        )
        for row in execute(host, query)
        for value in row
    ]


def execute(host: Host, statement: str, **values: object) -> list[tuple[object, ...]]:
    engine = make_engine(host.url)
    try:
        with engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return [tuple(row) for row in done] if done.returns_rows else []
    finally:
        engine.dispose()


def test_the_raw_tables_hold_no_plain_text_and_the_owner_reads_all_of_it(host: Host) -> None:
    assert host.run("migrate").exit_code == 0
    merchant_id = add_merchant(host, "Café", IBAN)
    assert isinstance(add_wallet(host, 1, PHONE), Wallet)
    stored = raw(host)
    assert len(stored) == 4
    assert all(each.startswith("enc:1:") for each in stored)
    assert account(host, merchant_id) == SettlementAccount(HOLDER, IBAN)
    assert add_wallet(host, 2, PHONE) is CustomerRefusal.PHONE_TAKEN
    engine = make_engine(host.url, vault=load_vault(host.key_file))
    found = run_read(engine, lambda s: customer_store.find_wallet_by_contact(s, email="", phone=PHONE))
    assert found is not None
    assert (found.wallet_id, found.phone) == ("W000000000001", PHONE)
    engine.dispose()


def test_a_value_moved_to_another_row_or_column_changed_or_written_plain_is_refused(host: Host) -> None:
    assert host.run("migrate").exit_code == 0
    mine, theirs = add_merchant(host, "Mine", IBAN), add_merchant(host, "Theirs", OTHER_IBAN)
    ((sealed,),) = execute(host, "SELECT settlement_iban FROM merchant_profiles WHERE merchant_id = :id", id=mine)
    set_iban = "UPDATE merchant_profiles SET settlement_iban = :iban WHERE merchant_id = :id"
    forged = str(sealed)[:-1] + ("A" if str(sealed)[-1] != "A" else "B")
    for value, code in (
        (sealed, "column_forged"),
        (forged, "column_forged"),
        ("enc:1:AAAA", "column_forged"),
        ("enc:9:AAAA", "column_key_unknown"),
        (IBAN, "column_not_sealed"),
    ):
        execute(host, set_iban, iban=value, id=theirs)
        with pytest.raises(ColumnKeyError) as refused:
            account(host, theirs)
        assert refused.value.code == code
        assert IBAN not in str(refused.value)
    execute(host, set_iban, iban=sealed, id=mine)
    assert account(host, mine).iban == IBAN
    execute(host, "UPDATE merchant_profiles SET settlement_holder = settlement_iban")
    with pytest.raises(ColumnKeyError):
        account(host, mine)


def test_rotation_seals_everything_anew_and_goes_on_where_it_was_stopped(host: Host) -> None:
    assert host.run("migrate").exit_code == 0
    merchant_ids = [add_merchant(host, f"Shop {number}", IBAN) for number in range(5)]
    assert isinstance(add_wallet(host, 1, PHONE), Wallet)
    made = host.run("make-column-key")
    assert (made.exit_code, "Made column key 2." in made.output) == (0, True), made.output
    assert {each[:6] for each in raw(host)} == {"enc:1:"}

    vault, engine = load_vault(host.key_file), make_engine(host.url)
    assert vault is not None
    (profiles,) = (each for each in sealed_tables(load_tables().metadata) if each.table.name == "merchant_profiles")
    assert seal_anew(engine, profiles, vault, rows_max=2) == 2  # Stopped here.
    engine.dispose()
    assert {each[:6] for each in raw(host)} == {"enc:1:", "enc:2:"}
    assert [account(host, each).iban for each in merchant_ids] == [IBAN] * 5

    rotated = host.run("rotate-keys")
    assert (rotated.exit_code, "Sealed 4 rows" in rotated.output) == (0, True), rotated.output
    assert {each[:6] for each in raw(host)} == {"enc:2:"}
    assert "Sealed 0 rows" in host.run("rotate-keys").output
    assert [account(host, each).iban for each in merchant_ids] == [IBAN] * 5
    assert add_wallet(host, 2, PHONE) is CustomerRefusal.PHONE_TAKEN


def test_what_stood_there_in_plain_text_is_sealed_by_the_next_migration(host: Host) -> None:
    upgrade(host.url, revision=BEFORE)
    execute(
        host,
        "INSERT INTO wallets (wallet_id, name, email, phone, kyc_verified, status, daily_limit_minor, currency,"
        " created_at_ms) VALUES ('W000000000001', 'Ada', 'ada@example.org', :phone, 0, 'active', 1, 'EUR', 1)",
        phone=PHONE,
    )
    execute(
        host,
        "INSERT INTO merchants (merchant_id, name, category, commission_ppm, status, currency, is_verified,"
        " created_at_ms) VALUES (:id, 'Café', 'food', 20000, 'active', 'EUR', 1, 1)",
        id=b"merchant",
    )
    execute(
        host,
        "INSERT INTO merchant_profiles (merchant_id, contact_name, contact_email, contact_phone, street, postal_code,"
        " city, country, settlement_holder, settlement_iban, reason, changed_ms)"
        " VALUES (:id, '', '', '', '', '', '', '', :holder, :iban, '', 1)",
        id=b"merchant",
        holder=HOLDER,
        iban=IBAN,
    )
    done = host.run("migrate")
    assert (done.exit_code, "Sealed the sensitive columns of 2 rows" in done.output) == (0, True), done.output
    assert sorted(each[:6] for each in raw(host)) == ["", "enc:1:", "enc:1:", "enc:1:"]
    assert account(host, MerchantId(b"merchant")) == SettlementAccount(HOLDER, IBAN)
    assert add_wallet(host, 2, PHONE) is CustomerRefusal.PHONE_TAKEN


def test_a_lost_file_is_never_replaced_in_silence(host: Host) -> None:
    assert host.run("migrate").exit_code == 0
    merchant_id = add_merchant(host, "Café", IBAN)
    host.key_file.unlink()
    assert "THIS HOST HAS NO COLUMN KEYS" in host.run("migrate").output
    for command in ("make-column-key", "rotate-keys"):
        refused = host.run(command)
        assert (refused.exit_code, "[column_key_missing]" in refused.output) == (1, True), refused.output
    assert not host.key_file.exists()
    with pytest.raises(ColumnKeyError) as unread:
        account(host, merchant_id)
    assert unread.value.code == "column_key_missing"
    add_column_key(host.key_file)  # Not the one that it was sealed with.
    with pytest.raises(ColumnKeyError) as wrong:
        account(host, merchant_id)
    assert wrong.value.code == "column_forged"
