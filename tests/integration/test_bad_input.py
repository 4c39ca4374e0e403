"""What a whole box and a whole cloud say when something around them is wrong, and that selling or posting goes on.

The commands are in ``tests/e2e/test_bad_input.py``, each single refusal and failure in the unit tests. Whatever a
person reads says what happened, what was not lost, and what to do, and shows nothing of the inside.
"""

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cloud.fleet.broker_access import render_access_list
from cloud.ingest.outcomes import Outcome
from cloud.main import build_app
from demo.servers import Mosquitto, TlsFiles
from edge.errors import OutboxFullError
from edge.health import Finding, Level
from edge.main import open_box
from edge.words import words_of
from sync.batch import encode_batch
from sync.refusals import Refusal
from sync.topics import ACKNOWLEDGEMENT, RECORDS, topic
from tests.fakes.cloud_world import OPERATOR_TOKEN, START_MS, CloudWorld
from tests.fakes.edge_world import TurnedHands
from tests.servers.certificates import make_certificates
from tests.servers.fixtures import MakeMariaDb
from tests.servers.mqtt_client import MqttClient
from tests.stack.boxes import SellingBox, enrolled_box, selling_box
from tests.stack.memory_link import box_at_hand
from tests.stack.servers import WORKER_NAME, MachineClock, broker_files, serving, with_broker
from tests.stack.worker import working

MakeMosquitto = Callable[..., Mosquitto]
NEVER_SHOWN = ("Traceback", "sqlite", "sqlalchemy", "pymysql", "SELECT", "INSERT", "PRAGMA", "/tmp", ".py", "KEY-----")
DAY_S = 24 * 3600
CARD_SIZE = 1024 * 1024


def assert_fit_for_people(said: str) -> None:
    """Nothing of the inside is in it."""
    assert not [part for part in NEVER_SHOWN if part.lower() in said.lower()], said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    """A cloud that lives at ``START_MS``."""
    made = CloudWorld(tmp_path / "cloud")
    yield made
    made.close()


@pytest.fixture
def present_world(tmp_path: Path) -> Iterator[CloudWorld]:
    """A cloud that lives in the present, as TLS demands."""
    made = CloudWorld(tmp_path / "cloud", clock=MachineClock())
    yield made
    made.close()


async def finding(box: SellingBox, check: str) -> Finding:
    found = {each.check: each for each in (await box.health.examine()).findings}
    assert_fit_for_people(f"{found[check].words} {found[check].to_do}")
    return found[check]


# --- The broker ---


@dataclass(frozen=True)
class WrongBroker:
    """Whose CA and whose certificate the broker has, and what the box says of it."""

    has_fleet_ca: bool
    has_fleet_certificate: bool
    words: str


@pytest.mark.parametrize(
    "wrong",
    [
        WrongBroker(has_fleet_ca=True, has_fleet_certificate=False, words="certificate is not the fleet's"),
        WrongBroker(has_fleet_ca=False, has_fleet_certificate=True, words="accept our certificate"),
    ],
    ids=["a broker with a foreign certificate", "a broker that does not know the fleet"],
)
async def test_a_box_at_the_wrong_broker_says_so_and_goes_on_selling(
    wrong: WrongBroker, present_world: CloudWorld, make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    world = present_world
    broker = with_broker(world, make_mosquitto, tmp_path)
    right = broker_files(world, tmp_path / "right")
    strangers = make_certificates(tmp_path / "strangers", ["cloud-worker"]).server
    certificate = right if wrong.has_fleet_certificate else strangers
    ca = right.ca if wrong.has_fleet_ca else strangers.ca
    tls = TlsFiles(ca=ca, certificate=certificate.certificate, key=certificate.key)
    broker.configure_tls(tls, access_list=render_access_list([WORKER_NAME]))
    broker.restart()
    settings = await enrolled_box(world, tmp_path / "box", broker_port=broker.port)
    phone = world.phone()
    async with selling_box(settings) as box:
        await box.until_problem(wrong.words)
        link = await finding(box, "link")
        assert wrong.words in link.words
        assert link.level is Level.WARNING
        assert "Selling goes on" in link.to_do
        assert (await box.sell(phone.code(), 10_00)).is_approved

        broker.configure_tls(right, access_list=render_access_list([WORKER_NAME]))
        broker.restart()
        async with working(world.cloud):
            await box.until_all_sent()
    assert world.report().statement.terminals[0].outcomes == {Outcome.SETTLED_FROM_RESERVE: 1}


async def test_garbage_from_one_terminal_is_named_and_holds_up_no_other(
    present_world: CloudWorld, make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    world = present_world
    broker = with_broker(world, make_mosquitto, tmp_path)
    mad = await enrolled_box(world, tmp_path / "mad", broker_port=broker.port)
    sound = await enrolled_box(world, tmp_path / "sound", broker_port=broker.port)
    phone = world.phone()
    async with open_box(mad) as opened:
        mad_id = opened.trust.identity.terminal.terminal_id
        link_key = opened.link_key_file
    async with working(world.cloud), selling_box(sound) as box:
        await box.until_contact()
        assert (await box.sell(phone.code(), 10_00)).is_approved
        stored = await box.box.outbox.records_from(1, limit_count=10, limit_bytes=2**20)
        whole = stored[-1].signed_record
        client = MqttClient(mad_id.hex(), port=broker.port)
        client.use_tls(ca=mad.link_ca_file, certificate=mad.link_certificate_file, key=link_key)

        def babble() -> None:
            with client.connect():
                client.subscribe(topic(ACKNOWLEDGEMENT, mad_id))
                client.publish(topic(RECORDS, mad_id), b"")
                client.publish(topic(RECORDS, mad_id), secrets.token_bytes(500))
                garbage = encode_batch(nonce=bytes(16), records=[b"junk", whole[:-1], whole + b"0", whole])
                client.publish(topic(RECORDS, mad_id), garbage)
                # It is told where its own chain stands, so that it could go on behind its garbage.
                client.wait_until(lambda: len(client.messages) > 0)

        await asyncio.to_thread(babble)
        assert (await box.sell(phone.code(), 10_00)).is_approved
        await box.until_all_sent()
    report = world.report()
    assert report.is_clean
    assert report.statement.approved_minor == 20_00
    assert {case.terminal_id for case in report.exceptions} == {mad_id}
    kinds = {case.kind for case in report.exceptions}
    assert kinds >= {"set_aside:truncated", "set_aside:trailing_bytes", "set_aside:wrong_terminal"}
    for case in report.exceptions:
        assert "Look at the bytes" in case.next_action
        assert_fit_for_people(case.next_action)


# --- Time ---


async def test_expired_trust_stops_selling_in_words_and_contact_ends_that(world: CloudWorld, tmp_path: Path) -> None:
    settings = await enrolled_box(world, tmp_path / "box")
    hands = TurnedHands(system_ms=START_MS)
    async with box_at_hand(world, settings, hands) as box:
        await box.have_contact()
        box.pass_s(3 * DAY_S)
    phone = world.phone()
    async with box_at_hand(world, settings, hands) as box:
        products = await box.sell(phone.code(), 10_00)
        assert products.refusal is Refusal.SNAPSHOT_EXPIRED
        words = words_of(Refusal.SNAPSHOT_EXPIRED)
        assert words.happened == "The box's trust list has expired."
        assert "Connect the box" in words.to_do
        trust = await finding(box, "trust")
        assert trust.level is Level.FAILING
        assert "expired" in trust.words
        await box.have_contact()
        assert (await finding(box, "trust")).level is Level.GOOD
        assert (await box.sell(phone.code(), 10_00)).is_approved


# --- The card ---


@pytest.fixture
def small_card(tmp_path: Path) -> Iterator[Path]:
    """A card of one megabyte; only root may make one."""
    folder = tmp_path / "card"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={CARD_SIZE}", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("a card of its own needs root; tests/unit/edge/test_outbox_failures.py limits the file instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file until the card is full, and leave room for a few sales."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - 32 * 4096)
    return filler


async def test_a_full_card_refuses_the_sale_in_words_and_keeps_every_one_before(
    world: CloudWorld, small_card: Path, tmp_path: Path
) -> None:
    settings = await enrolled_box(world, small_card / "box")
    hands = TurnedHands(system_ms=START_MS)
    phones = [world.phone() for _ in range(4)]
    approved = 0
    async with box_at_hand(world, settings, hands) as box:
        await box.have_contact()
        filler = fill(small_card)
        while (products := await box.sell(phones[approved % 4].code(), 1)).is_approved:
            approved += 1
        assert products.refusal is Refusal.OUTBOX_NOT_SAFE
        assert OutboxFullError.not_lost in products.failure
        assert OutboxFullError.to_do in products.failure
        assert "full" in products.failure
        assert_fit_for_people(products.failure)
        assert (await box.state()).unacknowledged_count == approved
    # Started again on the full card, it still has them all.
    async with box_at_hand(world, settings, hands) as box:
        assert (await box.state()).unacknowledged_count == approved
        filler.unlink()
        assert (await box.sell(phones[0].code(), 1)).is_approved
        await box.have_contact()
    report = world.report()
    assert report.is_clean
    assert report.exceptions == ()
    assert report.statement.terminals[0].outcomes == {Outcome.SETTLED_FROM_RESERVE: approved + 1}


async def test_too_little_room_is_said_before_anything_is_signed(world: CloudWorld, tmp_path: Path) -> None:
    settings = await enrolled_box(world, tmp_path / "box", free_bytes_min=2**62)
    async with box_at_hand(world, settings, TurnedHands(system_ms=START_MS)) as box:
        products = await box.sell(world.phone().code(), 1)
        assert products.record is None
        assert products.failure.startswith("The card has too little room left for another sale.")
        outbox = await finding(box, "outbox")
        assert outbox.level is Level.FAILING
        assert "too little room" in outbox.words


# --- The cloud's HTTP ---


async def test_the_cloud_shows_nothing_of_its_inside_whatever_it_is_asked(
    make_mariadb: MakeMariaDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb = make_mariadb()
    world = CloudWorld(tmp_path / "cloud", mariadb.create_database("shop"))
    signed_in = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    as_cbor = {"Content-Type": "application/cbor"}
    report = "/v1/operator/reconciliation"
    try:
        async with serving(build_app(world.cloud)) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
            asked = [
                (401, await http.get(report)),
                (403, await http.get(report, headers={"Authorization": "Bearer guessed"})),
                (404, await http.get("/v1/operator/../../etc/passwd")),
                (405, await http.delete(report, headers=signed_in)),
                (400, await http.post("/v1/enrolments", content=b"\xff" * 100, headers=as_cbor)),
                (415, await http.post("/v1/enrolments", json={})),
                (413, await http.post("/v1/enrolments", content=bytes(300 * 1024))),
                (422, await http.post("/v1/operator/wallets", content=b"{'", headers=signed_in)),
                (422, await http.post("/v1/operator/wallets", json={"name": "' OR 1=1 --"}, headers=signed_in)),
            ]
            await asyncio.to_thread(mariadb.kill)
            asked.append((503, await http.get(report, headers=signed_in)))
        for status, answer in asked:
            assert answer.status_code == status, answer.text
            error = answer.json()["error"]
            assert error["code"]
            assert error["message"]
            assert_fit_for_people(answer.text)
            assert OPERATOR_TOKEN not in answer.text
        away = asked[-1][1].json()["error"]
        assert away["code"] == "database_away"
        assert away["message"] == "Nothing was done; send the same request again in a moment."
        assert OPERATOR_TOKEN not in caplog.text
    finally:
        world.close()
