"""One payment, from the phone's screen to the page with the figures, in the twelve steps of the README's table.

Every part is the real one: simulated counter, both decoders, the box's chain on its SQLite outbox, Mosquitto with TLS
and access list, the worker, MariaDB, HTTP. What each step gives is looked at before the next one takes it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from cloud.db import run_read
from cloud.ingest import chain_store, payment_store
from cloud.ingest.outcomes import Outcome
from cloud.ledger.entries import AccountKind
from cloud.ledger.service import find_entry
from cloud.main import build_app
from cloud.payments.claim_store import cause_of
from demo.servers import Mosquitto
from edge.decision import Approved, Case, Reason, Situation, decide
from edge.limits import Counters
from edge.outbox import AppendOutcome
from edge.signer import Signer, Versions, entry_of
from edge.states import Authorise, Authorising, Idle, Sale, SaleStarted, Scanning, StartReading, TextRead
from edge.steps import step
from edge.surroundings import offline_s
from hardware.camera import open_camera
from hardware.cameras.counter import put_on_screen
from hardware.frame import monotonic_ms
from hardware.qr_reader import QrReader
from sync.acknowledgement import ACKNOWLEDGEMENT, AckStatus
from sync.batch import Batch, decode_batch
from sync.keys import parse_public_key
from sync.message import Message
from sync.money import Money
from sync.payment_code import CodeMode, PaymentCode, read_payment_code, verify_signatures
from sync.record import RECORD, ClockConfidence
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.topics import ACKNOWLEDGEMENT as ACKNOWLEDGEMENT_TOPIC
from sync.topics import RECORDS, Topic
from tests.fakes.cloud_world import OPERATOR_TOKEN, CloudWorld
from tests.stack.boxes import PATIENCE_S, enrolled_box, payment_id, selling_box
from tests.stack.servers import MachineClock, serving, with_broker
from tests.stack.worker import working

AMOUNT = Money(12_50, "EUR")
FUNDS_MINOR = 500_00
RESERVE_MINOR = 200_00
NEVER_DRAWN = 999_999


@pytest.fixture
def world(tmp_path: Path, mariadb_url: str, redis_url: str) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path / "cloud", mariadb_url, clock=MachineClock(), redis_url=redis_url)
    yield made
    made.close()


async def test_one_payment_takes_the_twelve_steps(
    world: CloudWorld, make_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    broker = with_broker(world, make_mosquitto, tmp_path)
    settings = await enrolled_box(world, tmp_path / "box", broker_port=broker.port)
    phone = world.phone(funds_minor=FUNDS_MINOR, total_minor=RESERVE_MINOR)
    shown = phone.code()
    screen = tmp_path / "screen.txt"

    async with working(world.cloud) as tap, selling_box(settings) as box:
        await box.until_contact()
        tap.held = frozenset({RECORDS})
        outbox, trust, clock = box.box.outbox, box.box.trust, box.box.clock
        sale = Sale(payment_id(clock.now_ms()), AMOUNT)

        # 1 frame: the camera sees the phone's screen.
        put_on_screen(screen, shown.to_text())
        before_ms = monotonic_ms()
        with open_camera(f"counter:{screen}") as camera:
            frame = camera.read(PATIENCE_S)
        assert frame is not None
        assert frame.luminance.dtype == np.uint8
        assert frame.luminance.shape == (480, 640)
        assert before_ms <= frame.captured_at_ms <= monotonic_ms()

        # 2 text: the reader finds the one code in it.
        reading = QrReader().read(frame)
        assert reading.texts == (shown.to_text(),)
        assert reading.captured_at_ms == frame.captured_at_ms

        # 3 scan: an amount begins the sale, the text ends the scan.
        started = step(Idle(), SaleStarted(sale), now_ms=clock.monotonic_ms())
        assert isinstance(started.state, Scanning)
        assert started.effects == (StartReading(sale.payment_id),)
        scanned = step(started.state, TextRead(sale.payment_id, reading.texts[0]), now_ms=clock.monotonic_ms())
        assert isinstance(scanned.state, Authorising)
        (authorise,) = (effect for effect in scanned.effects if isinstance(effect, Authorise))
        assert authorise == Authorise(sale, shown.to_text())

        # 4 verified code: one encoding, both signatures hold, the grant's under a key that the pinned root vouches for.
        code = read_payment_code(authorise.text)
        assert isinstance(code, PaymentCode)
        assert code == shown
        assert code.mode is CodeMode.ONE_WAY
        assert verify_signatures(code, trust.find_grant_issuer) is None

        # 5 decision: approved, with the circumstances.
        chain, now = await outbox.state(), clock.read()
        assert now.confidence is ClockConfidence.SYNCED
        counters = Counters(
            payer_minor=0,
            payer_one_way_minor=0,
            unacknowledged_minor=chain.unacknowledged_amount_minor,
            unacknowledged_count=chain.unacknowledged_count,
            floor_clock_sales=chain.floor_clock_sales,
        )
        situation = Situation(
            now_ms=now.now_ms,
            confidence=now.confidence,
            offline_s=offline_s(chain, trust, now_ms=now.now_ms),
            is_link_up=box.uplink.is_up,
            is_quarantined=chain.quarantine_reason is not None,
            is_denied=trust.is_denied(code.serial),
            is_spent=await outbox.is_spent(code.serial, code.counter),
            snapshot_expires_ms=trust.held.expires_ms,
            policy_expires_ms=trust.policy.expires_ms,
            selection_draw=NEVER_DRAWN,
        )
        decision = decide(Case(code, sale.amount, trust.policy, counters, situation))
        assert decision == Approved(Reason.ONE_WAY | Reason.LINK_UP)

        # 6 signed record: numbered, chained to the one before, verified with the key in the terminal's certificate.
        signer = Signer(box.box.signing_key, box.terminal_id)
        versions = Versions(trust.policy.version, trust.held.version, trust.policy.currency)
        record = signer.sign_sale(
            sale, code, chain=chain, counters=counters, versions=versions, reasons=decision.reasons, reading=now
        )
        certified = parse_public_key(trust.identity.terminal.public_key)
        assert not isinstance(certified, Refusal)
        assert RECORD.verify(record, certified) is None
        assert (record.content.number, record.content.previous_hash) == (chain.head_number + 1, chain.head_hash)
        assert record.content.code == code.encode()

        # 7 outbox: record, spent code and counters in one transaction; a second time nothing is written.
        await outbox.check_writable(min_free_bytes=0)
        assert await outbox.append(entry_of(record, code)) is AppendOutcome.APPENDED
        assert await outbox.append(entry_of(record, code)) is AppendOutcome.PAYMENT_SEEN
        stored = await outbox.state()
        assert (stored.head_number, stored.head_hash) == (record.content.number, record.hash)
        assert stored.unacknowledged_amount_minor == AMOUNT.amount_minor
        assert await outbox.is_spent(code.serial, code.counter)

        # 8 MQTT: over TLS and the broker's access list, in a batch with a nonce; nothing of it is in the cloud yet.
        box.uplink.records_appended()
        payload = await tap.first(tap.received, RECORDS)
        batch = decode_batch(payload)
        assert isinstance(batch, Batch)
        assert batch.records[-1] == record.encode()
        assert run_read(world.engine, lambda session: payment_store.encoded_records(session, {record.hash})) == {}

        # 9 ingest: committed, and only then acknowledged.
        held_when_acknowledged: list[bool] = []

        async def look(row: Topic, _payload: bytes) -> None:
            if row == ACKNOWLEDGEMENT_TOPIC:
                held = run_read(world.engine, lambda session: payment_store.encoded_records(session, {record.hash}))
                held_when_acknowledged.append(held == {record.hash: record.encode()})

        tap.before_publish = look
        tap.published.clear()
        tap.release()
        acknowledged = await box.until_all_sent()
        assert held_when_acknowledged == [True]
        acknowledgement = ACKNOWLEDGEMENT.read(await tap.first(tap.published, ACKNOWLEDGEMENT_TOPIC))
        assert isinstance(acknowledgement, Message)
        issuer = trust.held.issuers.find(
            RoleUse.ACKNOWLEDGEMENT, acknowledgement.content.key_id, at_ms=world.clock.now_ms()
        )
        assert not isinstance(issuer, Refusal)
        assert ACKNOWLEDGEMENT.verify(acknowledgement, issuer) is None
        assert acknowledgement.content.nonce == batch.nonce
        assert (acknowledgement.content.status, acknowledgement.content.head_hash) == (AckStatus.OK, record.hash)
        assert acknowledged.acknowledged_hash == record.hash
        assert acknowledged.unacknowledged_amount_minor == 0
        assert run_read(world.engine, lambda session: chain_store.last_head(session, box.terminal_id)) == record.hash

    # 10 posting: one balanced entry draws on the payer's reserve and credits the merchant.
    cause = cause_of(box.terminal_id, sale.payment_id)
    entry = run_read(world.engine, lambda session: find_entry(session, cause))
    assert entry is not None
    lines = {(line.account.kind, line.account.owner): line.amount.amount_minor for line in entry.postings}
    assert sum(lines.values()) == 0
    assert lines[AccountKind.PAYER_OFFLINE, phone.device_id] == -AMOUNT.amount_minor
    merchant_and_fee = lines[AccountKind.MERCHANT_PAYABLE, world.merchant_id.hex()]
    merchant_and_fee += sum(minor for (kind, _), minor in lines.items() if kind is AccountKind.FEE_INCOME)
    assert merchant_and_fee == AMOUNT.amount_minor
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == RESERVE_MINOR - AMOUNT.amount_minor
    assert world.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id) == FUNDS_MINOR - RESERVE_MINOR

    # 11 reconciliation: chain and ledger agree, the payment has its one outcome.
    report = world.report()
    assert report.is_clean
    assert report.exceptions == ()
    (statement,) = report.statement.terminals
    assert statement.outcomes == {Outcome.SETTLED_FROM_RESERVE: 1}
    assert statement.is_complete
    assert statement.approved_minor == statement.posted_minor == AMOUNT.amount_minor

    # 12 screen: the page, and the figures it shows.
    async with serving(build_app(world.cloud)) as url, httpx.AsyncClient(base_url=url) as browser:
        page = await browser.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "reconciliation" in page.text
        assert (await browser.get("/v1/operator/reconciliation")).status_code == 401
        signed_in = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        figures = (await browser.get("/v1/operator/reconciliation", headers=signed_in)).json()
    assert figures["is_clean"] is True
    assert (figures["approved_minor"], figures["unexplained_minor"]) == (AMOUNT.amount_minor, 0)
    (terminal,) = figures["terminals"]
    assert terminal["terminal_id"] == box.terminal_id.hex()
    assert terminal["merchant"] == "Corner shop"
    assert terminal["outcomes"] == {"settled_from_reserve": 1}
    assert terminal["posted_minor"] == AMOUNT.amount_minor
    assert sum(line["balance_minor"] for line in figures["balances"]) == 0
