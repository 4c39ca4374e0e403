"""``tillbox cloud sandbox-webhook`` against a served cloud, and what a cloud without the provider's secret says."""

import asyncio
import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cloud.cli import cloud as command
from cloud.db import add_column_key, run_read, run_transaction, upgrade
from cloud.errors import ProviderSetupError
from cloud.foundation import Cloud, build_cloud, make_provider
from cloud.ledger.entries import payer_available
from cloud.ledger.service import read_balances
from cloud.main import build_app
from cloud.settings import CloudSettings, TopUpProvider
from cloud.wallets import customer_service
from cloud.wallets.customer_store import Wallet
from cloud.wallets.funding import TopUpMethod
from cloud.wallets.sandbox import Sandbox
from cloud.wallets.top_up_service import TopUps, Wish
from cloud.wallets.top_up_store import TopUp
from sync.clock import SystemClock
from tests.fakes.fleet_keys import make_keyring
from tests.stack.servers import serving

WALLET = "W000000000001"
AMOUNT = 50_00


def settings_with(folder: Path, secret: str | None, **changes: object) -> CloudSettings:
    """Settings of an embedded cloud with the sandbox provider, its secret in a file."""
    file = folder / "webhook_secret"
    if secret is not None:
        file.write_text(secret, encoding="utf-8")
    known = {
        "data_folder": folder,
        "top_up_provider": TopUpProvider.SANDBOX,
        "top_up_webhook_secret_file": file,
    }
    return CloudSettings.model_validate(known | changes)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud on the machine's clock, with one wallet."""
    clock = SystemClock()
    make_keyring(tmp_path / "keys", now_ms=clock.now_ms())
    settings = settings_with(tmp_path, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    upgrade(settings.effective_database_url)
    add_column_key(settings.column_key_file)
    made = build_cloud(settings, clock)
    wallet = Wallet(WALLET, "Ada", "ada@example.org", "+4912345678", "EUR", 10_000_00, clock.now_ms())
    run_transaction(made.engine, lambda session: customer_service.open_wallet(session, wallet))
    yield made
    made.close()


async def play(folder: Path, *words: str) -> Result:
    """Run the command beside the server, which needs this loop."""
    environment = {
        "TILLBOX_DATA_FOLDER": str(folder),
        "TILLBOX_DATABASE_URL": None,
        "TILLBOX_TOP_UP_PROVIDER": "sandbox",
        "TILLBOX_TOP_UP_WEBHOOK_SECRET_FILE": str(folder / "webhook_secret"),
    }
    return await asyncio.to_thread(CliRunner(env=environment).invoke, command, ["sandbox-webhook", *words])


async def test_the_command_decides_a_pending_top_up_once_however_often_it_says_so(cloud: Cloud, tmp_path: Path) -> None:
    top_ups = TopUps(cloud.engine, cloud.clock, secrets.token_bytes, cloud.provider)
    wish = Wish(AMOUNT, TopUpMethod.BANK, "sandbox-delay")
    pending = top_ups.request(WALLET, wish, idempotency_key="key-1")
    assert isinstance(pending, TopUp)
    async with serving(build_app(cloud)) as address:
        done = await play(tmp_path, pending.top_up_id, "succeeded", "--times", "3", "--url", address)
        late = await play(tmp_path, pending.top_up_id, "declined", "--url", address)
        unknown = await play(tmp_path, "T000000000000", "succeeded", "--url", address)
    assert done.exit_code == 0, done.output
    assert [done.output.count(f'"effect":"{effect}"') for effect in ("applied", "repeated")] == [1, 2]
    assert '"effect":"contradicts"' in late.output
    assert (unknown.exit_code, "There is no such top-up." in unknown.output) == (1, True)
    account = payer_available(WALLET, "EUR")
    assert run_read(cloud.engine, lambda session: read_balances(session, [account])) == {account: AMOUNT}
    gone = await play(tmp_path, pending.top_up_id, "succeeded", "--url", address)
    assert (gone.exit_code, "does not answer" in gone.output) == (1, True)


@pytest.mark.parametrize("secret", [None, "", "whsec_c2hvcnQ=", "no secret at all", "whsec_" + "ä" * 32])
def test_no_provider_starts_without_a_secret_that_protects(tmp_path: Path, secret: str | None) -> None:
    with pytest.raises(ProviderSetupError) as caught:
        make_provider(settings_with(tmp_path, secret))
    assert str(tmp_path / "webhook_secret") in str(caught.value)


def test_a_provider_without_a_file_for_its_secret_says_which_setting_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ProviderSetupError, match="TILLBOX_TOP_UP_WEBHOOK_SECRET_FILE"):
        make_provider(settings_with(tmp_path, None, top_up_webhook_secret_file=None))


def test_unless_it_is_asked_for_there_is_no_provider(tmp_path: Path) -> None:
    assert make_provider(CloudSettings(data_folder=tmp_path)) is None
    made = make_provider(settings_with(tmp_path, "whsec_" + base64.b64encode(bytes(24)).decode()))
    assert made == Sandbox(bytes(24))
