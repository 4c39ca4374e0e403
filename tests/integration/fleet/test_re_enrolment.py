"""A board that enrols again needs a person; a terminal changes its state only from the one that is meant."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cloud.db import run_transaction
from cloud.fleet import service
from cloud.fleet.codes import TRIES_MAX
from cloud.fleet.states import EnrolmentRefusal, FleetRefusal, ReEnrolment, TerminalState
from cloud.fleet.store import Terminal
from sync.ids import TerminalId
from sync.record import GENESIS_HASH
from tests.fakes.fleet_keys import DAY_MS, NewBox
from tests.fakes.fleet_world import (
    OTHER_SITE,
    SITE,
    FleetWorld,
    at_once,
    change,
    terminal_id_in,
)

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
