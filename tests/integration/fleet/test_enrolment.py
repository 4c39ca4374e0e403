"""Enrolment on both databases, up to a box that believes the answer: codes, tries, lost answers."""

import asyncio
import secrets
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from cloud.db import run_transaction
from cloud.fleet import codes, service
from cloud.fleet.codes import ALPHABET, TRIES_MAX
from cloud.fleet.enrolment import FAILURES_PER_HOUR_MAX
from cloud.fleet.publishing import VALID_MS
from cloud.fleet.states import EnrolmentRefusal, FleetRefusal, ReEnrolment, TerminalState
from cloud.fleet.store import Terminal
from edge.enrolment import enrol as enrol_box
from edge.settings import TerminalSettings
from edge.trust import Trust
from sync.record import GENESIS_HASH
from tests.fakes.fleet_keys import DAY_MS, HOUR_MS, NewBox
from tests.fakes.fleet_world import (
    BROKER,
    MERCHANT,
    SITE,
    FleetWorld,
    at_once,
    change,
    opened,
    terminal_id_in,
)
from tests.vectors.parts import flip_last_bit


def wrong(code: str, *, at: int = -1) -> str:
    """The code with one character changed."""
    letters = list(code)
    letters[at] = ALPHABET[(ALPHABET.index(letters[at]) + 1) % len(ALPHABET)]
    return "".join(letters)


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
    world.refuse_codes(FAILURES_PER_HOUR_MAX - 1)
    assert world.send(unknown) == EnrolmentRefusal.CODE_REFUSED
    world.clock.unix_ms += HOUR_MS - 1
    assert world.send(NewBox().request(code)) == EnrolmentRefusal.TOO_MANY_ATTEMPTS
    world.clock.unix_ms += 1
    assert isinstance(world.send(NewBox().request(code)), bytes)


def test_a_request_that_proves_nothing_costs_no_try(small_world: FleetWorld) -> None:
    code = small_world.code()
    box = NewBox()
    for _ in range(TRIES_MAX):
        assert small_world.send(flip_last_bit(box.request(code))) == EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN
    assert isinstance(small_world.send(box.request(code)), bytes)


def test_the_table_of_codes_gives_no_code_away(small_world: FleetWorld) -> None:
    code = small_world.code()
    with small_world.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM enrolment_codes").mappings().one()
    readable = [value for value in kept.values() if isinstance(value, str)]
    assert code[4:] not in "".join(readable)
    assert kept["code_hash"] == codes.hash_code(code, kept["salt"])
