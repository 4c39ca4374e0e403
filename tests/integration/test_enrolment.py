"""Enrolment on both databases, up to a box that believes the answer and a broker that lets its certificate in."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from cloud.db import run_transaction
from cloud.fleet import authority, codes, service
from cloud.fleet.broker_access import render_access_list
from cloud.fleet.codes import ALPHABET, TRIES_MAX
from cloud.fleet.enrolment import FAILURES_PER_HOUR_MAX
from cloud.fleet.publishing import VALID_MS
from cloud.fleet.states import EnrolmentRefusal, FleetRefusal, ReEnrolment, TerminalState
from cloud.fleet.store import Terminal
from cloud.key_ceremony import write_new_file
from cloud.keyring import Keyring, to_pem
from demo.processes import LOOPBACK
from demo.servers import Mosquitto, TlsFiles
from edge.enrolment import enrol as enrol_box
from edge.settings import TerminalSettings
from edge.trust import Trust
from sync.certificate import TERMINAL_CERTIFICATE
from sync.clock import SystemClock
from sync.ids import TerminalId
from sync.message import Message
from sync.record import GENESIS_HASH
from sync.topics import RECORDS, topic
from tests.fakes.fleet_keys import DAY_MS, HOUR_MS, NewBox, make_keyring
from tests.fakes.fleet_world import (
    BROKER,
    MERCHANT,
    OTHER_SITE,
    SITE,
    FleetWorld,
    HandClock,
    migrated_engine,
    opened,
    sqlite_url,
)
from tests.servers.fixtures import MakeMosquitto
from tests.servers.mqtt_client import MqttClient

WORKER = "cloud-ingest"
T = TypeVar("T")


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("ceremony") / "keys", now_ms=SystemClock().now_ms())


@pytest.fixture(params=["mariadb", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path, keyring: Keyring) -> Iterator[FleetWorld]:
    url = request.getfixturevalue("mariadb_url") if request.param == "mariadb" else sqlite_url(tmp_path)
    with migrated_engine(url) as engine:
        yield FleetWorld(engine, keyring, HandClock(SystemClock().now_ms()))


@pytest.fixture
def small_world(tmp_path: Path, keyring: Keyring) -> Iterator[FleetWorld]:
    """On SQLite, where the database is not the point."""
    with migrated_engine(sqlite_url(tmp_path)) as engine:
        yield FleetWorld(engine, keyring, HandClock(SystemClock().now_ms()))


def wrong(code: str, *, at: int = -1) -> str:
    """The code with one character changed."""
    letters = list(code)
    letters[at] = ALPHABET[(ALPHABET.index(letters[at]) + 1) % len(ALPHABET)]
    return "".join(letters)


def terminal_id_in(answer_certificate: bytes) -> TerminalId:
    message = TERMINAL_CERTIFICATE.read(answer_certificate)
    assert isinstance(message, Message)
    return message.content.terminal_id


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Run ``work`` in that many threads that start together; answers in their order."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def change(world: FleetWorld, work: Callable[..., Terminal | FleetRefusal], **arguments: object) -> Terminal:
    (terminal,) = world.terminals()
    changed = run_transaction(world.engine, lambda session: work(session, terminal.terminal_id, **arguments))
    assert isinstance(changed, Terminal), changed
    return changed


# The way that holds


def test_the_box_itself_believes_what_the_cloud_answers(world: FleetWorld, tmp_path: Path) -> None:
    box = NewBox()
    settings = TerminalSettings(data_folder=tmp_path / "box", free_bytes_min=0)

    def post(url: str, body: bytes) -> bytes:
        assert url == "https://cloud.example/v1/enrolments"
        answer = world.send(body)
        assert isinstance(answer, bytes), answer
        return answer

    identity = asyncio.run(
        enrol_box(
            settings,
            root=world.keyring.root,
            signing_key=box.signing_key,
            link_key_pem=box.link_key_pem(),
            cloud_url="https://cloud.example",
            code=world.code(name="Kiosk Süd"),
            hardware_serial=box.hardware_serial,
            random_bytes=secrets.token_bytes,
            post=post,
        )
    )
    (terminal,) = world.terminals()
    assert identity.terminal.terminal_id == terminal.terminal_id
    assert (identity.terminal.merchant_id, identity.terminal.site_id) == (MERCHANT, SITE)
    assert identity.terminal.name == terminal.name == "Kiosk Süd"
    assert (identity.answer.broker_host, identity.answer.broker_port) == (BROKER.host, BROKER.port)
    trust = Trust.load(settings.trust_folder, world.keyring.root)
    assert trust.held.expires_ms == world.clock.now_ms() + VALID_MS
    assert trust.policy.version == 1


def test_an_enrolled_terminal_stands_in_the_database_with_its_first_epoch(world: FleetWorld) -> None:
    box = NewBox(hardware_serial="100000008d3f1c2a")
    answer = world.enrol(box.request(world.code()))
    (terminal,) = world.terminals()
    assert terminal == Terminal(
        terminal_id=terminal_id_in(answer.certificate),
        merchant_id=MERCHANT,
        site_id=SITE,
        name="Till 1",
        public_key=box.signing_key.public_key.raw,
        hardware_serial="100000008d3f1c2a",
        epoch=1,
        state=TerminalState.ACTIVE,
        reason="",
        next_action="",
        re_enrolment=ReEnrolment.NONE,
        re_enrolment_ms=None,
        re_enrolment_key_id=None,
        created_ms=world.clock.now_ms(),
    )
    key = (terminal.terminal_id, 1)
    epoch = run_transaction(world.engine, lambda session: service.find_epochs(session, [key, (key[0], 2)]))
    assert list(epoch) == [key]
    assert (answer.epoch, answer.previous_hash) == (1, GENESIS_HASH)
    assert (epoch[key].public_key, epoch[key].previous_hash) == (box.signing_key.public_key.raw, GENESIS_HASH)


def test_the_link_certificate_is_of_the_links_own_key_whatever_name_the_request_gave(small_world: FleetWorld) -> None:
    box = NewBox()
    answer = small_world.enrol(box.request(small_world.code()))
    certificate = x509.load_der_x509_certificate(answer.link_certificate)
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(answer.link_ca))
    assert certificate.public_key() == box.link_key.public_key()
    names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert names == [terminal_id_in(answer.certificate).hex()]


def test_a_terminal_is_published_to_until_it_is_retired(small_world: FleetWorld) -> None:
    answer = small_world.enrol(NewBox().request(small_world.code()))
    terminal_id = terminal_id_in(answer.certificate)

    def publishable() -> tuple[bytes, bytes] | FleetRefusal:
        return run_transaction(small_world.engine, lambda session: service.publishable(session, terminal_id))

    assert publishable() == (answer.snapshot, answer.policy)
    change(small_world, service.quarantine, reason="two heads", next_action="Look at the card.")
    assert publishable() == (answer.snapshot, answer.policy)
    change(small_world, service.retire, reason="sold", now_ms=small_world.clock.now_ms())
    assert publishable() == FleetRefusal.RETIRED


# A lost answer


def test_the_same_request_gets_the_same_answer(world: FleetWorld) -> None:
    request = NewBox().request(world.code())
    first = world.send(request)
    world.clock.unix_ms += VALID_MS
    assert world.send(request) == first
    assert len(world.terminals()) == 1


def test_an_answer_is_not_repeated_once_its_snapshot_has_ended(small_world: FleetWorld) -> None:
    request = NewBox().request(small_world.code())
    assert isinstance(small_world.send(request), bytes)
    small_world.clock.unix_ms += VALID_MS + 1
    assert small_world.send(request) == EnrolmentRefusal.CODE_REFUSED


def test_the_same_request_sent_many_times_at_once_enrols_once(world: FleetWorld) -> None:
    request = NewBox().request(world.code())
    answers = at_once(6, lambda _: world.send(request))
    assert len(set(answers)) == 1
    assert opened(answers[0]).epoch == 1
    assert len(world.terminals()) == 1


def test_the_answer_to_a_commit_that_nobody_saw_is_looked_up(small_world: FleetWorld) -> None:
    request = NewBox().request(small_world.code())
    now_ms = small_world.clock.now_ms()

    def look_up() -> bytes | None:
        return run_transaction(
            small_world.engine, lambda session: small_world.enrolment.find_answer(session, request, now_ms=now_ms)
        )

    assert look_up() is None
    assert small_world.send(request) == look_up()


def test_a_retired_terminals_request_brings_no_answer_back(small_world: FleetWorld) -> None:
    request = NewBox().request(small_world.code())
    assert isinstance(small_world.send(request), bytes)
    change(small_world, service.retire, reason="stolen", now_ms=small_world.clock.now_ms())
    assert small_world.send(request) == EnrolmentRefusal.CODE_REFUSED


# Codes


def test_the_fifth_wrong_try_kills_the_code(world: FleetWorld) -> None:
    code = world.code()
    for _ in range(TRIES_MAX):
        assert world.send(NewBox().request(wrong(code))) == EnrolmentRefusal.CODE_REFUSED
    assert world.send(NewBox().request(code)) == EnrolmentRefusal.CODE_REFUSED
    assert not world.terminals()


def test_the_fourth_wrong_try_does_not(world: FleetWorld) -> None:
    code = world.code()
    for _ in range(TRIES_MAX - 1):
        assert world.send(NewBox().request(wrong(code))) == EnrolmentRefusal.CODE_REFUSED
    assert isinstance(world.send(NewBox().request(code)), bytes)


@pytest.mark.parametrize("at", range(10))
def test_whichever_character_is_wrong_the_refusal_is_the_same(small_world: FleetWorld, at: int) -> None:
    code = small_world.code()
    assert small_world.send(NewBox().request(wrong(code, at=at))) == EnrolmentRefusal.CODE_REFUSED


@pytest.mark.parametrize("typed", ["2", "ÄÖÜÄ", "'; DROP --", "          ", "----------"])
def test_what_is_no_code_is_a_wrong_code(world: FleetWorld, typed: str) -> None:
    world.code()
    assert world.send(NewBox().request(typed)) == EnrolmentRefusal.CODE_REFUSED


def test_a_code_may_be_typed_in_small_letters(small_world: FleetWorld) -> None:
    assert isinstance(small_world.send(NewBox().request(small_world.code().lower())), bytes)


def test_a_code_lives_for_24_hours(world: FleetWorld) -> None:
    first, second = world.code(), world.code()
    world.clock.unix_ms += DAY_MS - 1
    assert isinstance(world.send(NewBox("board-1").request(first)), bytes)
    world.clock.unix_ms += 1
    assert world.send(NewBox("board-2").request(second)) == EnrolmentRefusal.CODE_REFUSED


def test_a_code_enrols_one_box(world: FleetWorld) -> None:
    code = world.code()
    assert isinstance(world.send(NewBox("board-1").request(code)), bytes)
    assert world.send(NewBox("board-2").request(code)) == EnrolmentRefusal.CODE_REFUSED
    assert len(world.terminals()) == 1


def test_two_boxes_with_one_code_at_once_enrol_one(world: FleetWorld) -> None:
    code = world.code()
    answers = at_once(4, lambda number: world.send(NewBox(f"board-{number}").request(code)))
    assert sorted(isinstance(answer, bytes) for answer in answers) == [False, False, False, True]
    assert len(world.terminals()) == 1


def test_one_board_with_two_codes_at_once_is_one_terminal(world: FleetWorld) -> None:
    typed = [world.code(), world.code()]
    answers = at_once(2, lambda number: world.send(NewBox("board-1").request(typed[number])))
    assert {answer for answer in answers if not isinstance(answer, bytes)} == {EnrolmentRefusal.NEEDS_PERSON}
    assert len(world.terminals()) == 1


@pytest.mark.parametrize(("guesses", "is_dead"), [(TRIES_MAX - 1, False), (TRIES_MAX, True), (12, True)])
def test_tries_at_once_are_counted_exactly(world: FleetWorld, guesses: int, is_dead: bool) -> None:
    code = world.code()
    requests = [NewBox().request(wrong(code, at=4 + number % 6)) for number in range(guesses)]
    answers = at_once(guesses, lambda number: world.send(requests[number]))
    assert set(answers) == {EnrolmentRefusal.CODE_REFUSED}
    with world.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT tries FROM enrolment_codes").scalar() == min(guesses, TRIES_MAX)
        assert connection.exec_driver_sql("SELECT SUM(failures) FROM enrolment_failures").scalar() == guesses
    assert (world.send(NewBox().request(code)) == EnrolmentRefusal.CODE_REFUSED) == is_dead


def test_refused_codes_are_limited_for_everybody_and_for_an_hour(world: FleetWorld) -> None:
    world.clock.unix_ms = world.clock.unix_ms // HOUR_MS * HOUR_MS
    code = world.code()
    unknown = NewBox().request("2222222222" if not code.startswith("2222") else "3333333333")
    for _ in range(FAILURES_PER_HOUR_MAX):
        assert world.send(unknown) == EnrolmentRefusal.CODE_REFUSED
    world.clock.unix_ms += HOUR_MS - 1
    assert world.send(NewBox().request(code)) == EnrolmentRefusal.TOO_MANY_ATTEMPTS
    world.clock.unix_ms += 1
    assert isinstance(world.send(NewBox().request(code)), bytes)


def test_a_request_that_proves_nothing_costs_no_try(small_world: FleetWorld) -> None:
    code = small_world.code()
    box = NewBox()
    for _ in range(TRIES_MAX):
        assert small_world.send(box.request(code)[:-1] + b"\0") == EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN
    assert isinstance(small_world.send(box.request(code)), bytes)


def test_the_table_of_codes_gives_no_code_away(small_world: FleetWorld) -> None:
    code = small_world.code()
    with small_world.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM enrolment_codes").mappings().one()
    readable = [value for value in kept.values() if isinstance(value, str)]
    assert code[4:] not in "".join(readable)
    assert kept["code_hash"] == codes.hash_code(code, kept["salt"])


# The same board again


def test_an_enrolled_board_needs_a_person_and_then_opens_the_next_epoch(world: FleetWorld) -> None:
    old = NewBox()
    first = world.enrol(old.request(world.code()))
    terminal_id = terminal_id_in(first.certificate)
    world.heads[terminal_id] = bytes(range(32))

    again = NewBox()
    request = again.request(world.code(name="Till 2"))
    # It may ask as often as it likes: the code is good and costs no try.
    for _ in range(TRIES_MAX + 1):
        assert world.send(request) == EnrolmentRefusal.NEEDS_PERSON
    (waiting,) = world.terminals()
    assert (waiting.re_enrolment, waiting.epoch) == (ReEnrolment.NEEDS_PERSON, 1)
    assert waiting.re_enrolment_key_id == again.signing_key.public_key.key_id
    assert waiting.public_key == old.signing_key.public_key.raw

    change(world, service.allow_re_enrolment, now_ms=world.clock.now_ms())
    second = world.enrol(request)
    assert terminal_id_in(second.certificate) == terminal_id
    assert (second.epoch, second.previous_hash) == (2, bytes(range(32)))
    (terminal,) = world.terminals()
    assert (terminal.epoch, terminal.name, terminal.re_enrolment) == (2, "Till 2", ReEnrolment.NONE)
    assert terminal.public_key == again.signing_key.public_key.raw
    epochs = run_transaction(
        world.engine, lambda session: service.find_epochs(session, [(terminal_id, 1), (terminal_id, 2)])
    )
    assert [epochs[terminal_id, number].public_key for number in (1, 2)] == [
        old.signing_key.public_key.raw,
        again.signing_key.public_key.raw,
    ]


def test_an_epoch_after_one_without_records_begins_at_nothing(small_world: FleetWorld) -> None:
    small_world.enrol(NewBox().request(small_world.code()))
    change(small_world, service.allow_re_enrolment, now_ms=small_world.clock.now_ms())
    second = small_world.enrol(NewBox().request(small_world.code()))
    assert (second.epoch, second.previous_hash) == (2, GENESIS_HASH)


def test_a_persons_yes_counts_once_and_for_24_hours(world: FleetWorld) -> None:
    world.enrol(NewBox().request(world.code()))
    change(world, service.allow_re_enrolment, now_ms=world.clock.now_ms())
    world.clock.unix_ms += DAY_MS
    assert world.send(NewBox().request(world.code())) == EnrolmentRefusal.NEEDS_PERSON
    change(world, service.allow_re_enrolment, now_ms=world.clock.now_ms())
    world.clock.unix_ms += DAY_MS - 1
    assert isinstance(world.send(NewBox().request(world.code())), bytes)
    assert world.send(NewBox().request(world.code())) == EnrolmentRefusal.NEEDS_PERSON


def test_one_yes_lets_one_of_many_in(world: FleetWorld) -> None:
    world.enrol(NewBox().request(world.code()))
    change(world, service.allow_re_enrolment, now_ms=world.clock.now_ms())
    requests = [NewBox().request(world.code()) for _ in range(4)]
    answers = at_once(4, lambda number: world.send(requests[number]))
    assert sorted(isinstance(answer, bytes) for answer in answers) == [False, False, False, True]
    assert world.terminals()[0].epoch == 2


def test_the_request_of_an_older_epoch_brings_no_answer_back(small_world: FleetWorld) -> None:
    request = NewBox().request(small_world.code())
    small_world.enrol(request)
    change(small_world, service.allow_re_enrolment, now_ms=small_world.clock.now_ms())
    small_world.enrol(NewBox().request(small_world.code()))
    assert small_world.send(request) == EnrolmentRefusal.CODE_REFUSED


def test_enrolling_again_ends_a_quarantine(small_world: FleetWorld) -> None:
    small_world.enrol(NewBox().request(small_world.code()))
    change(small_world, service.quarantine, reason="rolled back", next_action="Find out who restored the card.")
    change(small_world, service.allow_re_enrolment, now_ms=small_world.clock.now_ms())
    small_world.enrol(NewBox().request(small_world.code()))
    (terminal,) = small_world.terminals()
    assert (terminal.state, terminal.reason, terminal.next_action) == (TerminalState.ACTIVE, "", "")


def test_a_board_of_another_site_is_retired_there_first(world: FleetWorld) -> None:
    world.enrol(NewBox().request(world.code()))
    request = NewBox().request(world.code(site=OTHER_SITE))
    change(world, service.allow_re_enrolment, now_ms=world.clock.now_ms())
    assert world.send(request) == EnrolmentRefusal.ENROLLED_ELSEWHERE
    change(world, service.retire, reason="moved", now_ms=world.clock.now_ms())
    answer = world.enrol(request)
    assert answer.epoch == 1
    assert {(terminal.site_id, terminal.state) for terminal in world.terminals()} == {
        (SITE, TerminalState.RETIRED),
        (OTHER_SITE, TerminalState.ACTIVE),
    }


# A terminal's life


@pytest.mark.parametrize(
    ("before", "wish", "refusal"),
    [
        ([], "lift", FleetRefusal.NOT_QUARANTINED),
        (["quarantine"], "quarantine", FleetRefusal.ALREADY_QUARANTINED),
        (["retire"], "quarantine", FleetRefusal.RETIRED),
        (["quarantine", "retire"], "lift", FleetRefusal.RETIRED),
        (["retire"], "retire", FleetRefusal.RETIRED),
        (["retire"], "allow", FleetRefusal.RETIRED),
    ],
)
def test_a_state_changes_only_from_the_one_that_is_meant(
    world: FleetWorld, before: list[str], wish: str, refusal: FleetRefusal
) -> None:
    now_ms = world.clock.now_ms()
    wishes: dict[str, Callable[..., Terminal | FleetRefusal]] = {
        "quarantine": lambda session, one: service.quarantine(session, one, reason="why", next_action="Look."),
        "lift": service.lift_quarantine,
        "retire": lambda session, one: service.retire(session, one, reason="sold", now_ms=now_ms),
        "allow": lambda session, one: service.allow_re_enrolment(session, one, now_ms=now_ms),
    }
    world.enrol(NewBox().request(world.code()))
    for name in before:
        change(world, wishes[name])
    (terminal,) = world.terminals()
    refused = run_transaction(world.engine, lambda session: wishes[wish](session, terminal.terminal_id))
    assert refused == refusal
    assert world.terminals() == [terminal]
    unknown = run_transaction(world.engine, lambda session: wishes[wish](session, TerminalId(bytes(8))))
    assert unknown == FleetRefusal.UNKNOWN_TERMINAL


def test_quarantine_says_why_and_what_to_do_until_it_is_lifted(small_world: FleetWorld) -> None:
    small_world.enrol(NewBox().request(small_world.code()))
    held = change(small_world, service.quarantine, reason="two heads", next_action="Look at the card.")
    assert (held.state, held.reason, held.next_action) == (
        TerminalState.QUARANTINED,
        "two heads",
        "Look at the card.",
    )
    lifted = change(small_world, service.lift_quarantine)
    assert lifted == replace(held, state=TerminalState.ACTIVE, reason="", next_action="")


# The broker


def write_broker_files(world: FleetWorld, folder: Path) -> TlsFiles:
    now_ms = world.clock.now_ms()
    ca = world.keyring.fleet_ca(now_ms=now_ms)
    issued = authority.issue_server_certificate(ca, [LOOPBACK, "localhost"], now_ms=now_ms)
    worker = authority.issue_worker_certificate(ca, WORKER, now_ms=now_ms)
    for name, identity in (("broker", issued), (WORKER, worker)):
        write_new_file(folder / f"{name}.key", identity.private_key_pem, is_secret=True)
        write_new_file(folder / f"{name}.crt", to_pem([identity.certificate]))
    write_new_file(folder / "ca.crt", to_pem(world.keyring.ca_certificates(now_ms=now_ms)))
    write_revocations(world, folder / "revoked.pem")
    return TlsFiles(folder / "ca.crt", folder / "broker.crt", folder / "broker.key", folder / "revoked.pem")


def write_revocations(world: FleetWorld, path: Path) -> None:
    now_ms = world.clock.now_ms()
    path.write_bytes(
        run_transaction(world.engine, lambda session: service.export_revocations(session, world.keyring, now_ms=now_ms))
    )


def enrol_to_files(world: FleetWorld, folder: Path, box: NewBox) -> str:
    """Enrol a box and write what its link needs; answers its name."""
    answer = world.enrol(box.request(world.code()))
    name = terminal_id_in(answer.certificate).hex()
    stem = f"{name}-{answer.epoch}"
    (folder / f"{stem}.crt").write_bytes(to_pem([x509.load_der_x509_certificate(answer.link_certificate)]))
    (folder / f"{stem}.key").write_bytes(box.link_key_pem())
    return stem


def client(folder: Path, stem: str, broker: Mosquitto) -> MqttClient:
    plain = MqttClient(stem, port=broker.port)
    return plain.use_tls(ca=folder / "ca.crt", certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key")


@pytest.fixture
def broker(small_world: FleetWorld, tmp_path: Path, make_mosquitto: MakeMosquitto) -> Mosquitto:
    tls = write_broker_files(small_world, tmp_path)
    return make_mosquitto(tls=tls, access_list=render_access_list([WORKER]))


def test_the_broker_binds_an_enrolled_terminal_to_its_topics(
    small_world: FleetWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    stem = enrol_to_files(small_world, tmp_path, NewBox())
    (terminal,) = small_world.terminals()
    with client(tmp_path, WORKER, broker) as worker, client(tmp_path, stem, broker) as box:
        worker.subscribe(topic(RECORDS, terminal.terminal_id))
        box.publish(topic(RECORDS, terminal.terminal_id), b"batch")
        worker.wait_until(lambda: worker.payloads() == [b"batch"])
        box.publish(topic(RECORDS, TerminalId(bytes(8))), b"under another name")
        assert box.refused == 1


@pytest.mark.parametrize("how", ["retired", "enrolled again"])
def test_the_broker_refuses_a_revoked_link_and_no_other(
    small_world: FleetWorld, broker: Mosquitto, tmp_path: Path, how: str
) -> None:
    revoked = enrol_to_files(small_world, tmp_path, NewBox("board-1"))
    (first,) = small_world.terminals()
    other = enrol_to_files(small_world, tmp_path, NewBox("board-2"))
    for stem in (revoked, other):
        with client(tmp_path, stem, broker):
            pass
    now_ms = small_world.clock.now_ms()
    if how == "retired":
        run_transaction(
            small_world.engine, lambda session: service.retire(session, first.terminal_id, reason="lost", now_ms=now_ms)
        )
    else:
        run_transaction(
            small_world.engine, lambda session: service.allow_re_enrolment(session, first.terminal_id, now_ms=now_ms)
        )
        other = enrol_to_files(small_world, tmp_path, NewBox("board-1"))
        assert other.startswith(first.terminal_id.hex())
    write_revocations(small_world, tmp_path / "revoked.pem")
    broker.reload()
    with client(tmp_path, other, broker), pytest.raises(OSError):
        client(tmp_path, revoked, broker).connect()


def test_the_brokers_own_certificate_is_no_clients(small_world: FleetWorld, broker: Mosquitto, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        client(tmp_path, "broker", broker).connect()


def test_a_link_certificate_is_no_server(
    small_world: FleetWorld, tmp_path: Path, make_mosquitto: MakeMosquitto
) -> None:
    """A box that opens a broker of its own cannot catch another box's messages."""
    tls = write_broker_files(small_world, tmp_path)
    stem = enrol_to_files(small_world, tmp_path, NewBox())
    false_tls = replace(tls, certificate=tmp_path / f"{stem}.crt", key=tmp_path / f"{stem}.key")
    false_broker = make_mosquitto(tls=false_tls, access_list=render_access_list([WORKER]))
    with pytest.raises(OSError):
        client(tmp_path, WORKER, false_broker).connect()
