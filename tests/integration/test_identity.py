"""Signing in on real MariaDB and on embedded SQLite: every attempt is counted before it is evaluated."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from cloud.db import run_read, run_transaction
from cloud.identity import login_service, store
from cloud.identity.hashing import Purpose
from cloud.identity.lockout import ADDRESS_ATTEMPTS_MAX, ADDRESS_WINDOW_MS, FREE_ATTEMPTS, Locked
from cloud.identity.login_service import KEPT_MS, OPERATOR_SESSION_MS
from cloud.identity.passwords import SecretRefusal
from cloud.identity.peppers import PepperError, Peppers
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity, OpenedSession
from cloud.identity.store import Login
from cloud.identity.tables import ACCESS_TOKENS, ATTEMPTS, LOGIN_ROLES, LOGIN_SECRETS, LOGINS, LoginStatus
from cloud.permissions import Permission, Role, RoleHeld, SignedIn, TokenKind
from tests.counts import count
from tests.fakes.identity_world import PASSWORD, PEPPERS, PIN, WRONG, CountingHasher, IdentityWorld

ADA, OP = "ada@example.org", "op@example.org"
WALLET = "W000000000001"
NEW_PASSWORD = "nine other rows"


@pytest.fixture(scope="module")
def cloud(either_database_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    """One cloud on each database; its clock goes on from test to test."""
    made = IdentityWorld(tmp_path_factory.mktemp("identity"), either_database_url)
    yield made
    made.close()


@pytest.fixture
def world(cloud: IdentityWorld) -> IdentityWorld:
    """The cloud with one person and nothing counted."""
    with cloud.engine.begin() as connection:
        for table in (ATTEMPTS, ACCESS_TOKENS, LOGIN_SECRETS, LOGIN_ROLES, LOGINS):
            connection.execute(table.delete())
    cloud.hasher.evaluated = 0
    cloud.person(ADA, Role.CUSTOMER, scope=WALLET)
    return cloud


def at_once(work: Callable[[int], object], *, threads_count: int, each: int) -> list[object]:
    """Run the work in threads that begin together; answers everything that they got."""
    answers: list[object] = []
    start = threading.Barrier(threads_count)

    def run(number: int) -> None:
        start.wait()
        answers.extend(work(number * each + turn) for turn in range(each))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == threads_count * each
    return answers


def ada(world: IdentityWorld) -> SignedIn:
    return world.signed_in(ADA).person


def show_pin(world: IdentityWorld, person: SignedIn, pin: str = PIN) -> object:
    return world.identity.verify_pin(person, pin, then=lambda _session: None)


def test_who_knows_the_password_is_known_by_the_token(world: IdentityWorld) -> None:
    opened = world.signed_in(" Ada@Example.ORG ")
    assert world.identity.find_session(opened.token) == opened.person
    assert opened.person.roles == (RoleHeld(Role.CUSTOMER, WALLET),)
    assert opened.person.permissions == {Permission.OWN_ACCOUNT, Permission.OWN_WALLET}
    world.clock.pass_s(30 * 24 * 3600 - 0.001)
    assert world.identity.find_session(opened.token) is not None
    world.clock.pass_s(0.001)
    assert world.identity.find_session(opened.token) is None


def test_operators_are_asked_again_after_a_working_day(world: IdentityWorld) -> None:
    world.person(OP, Role.SUPPORT, Role.FLEET)
    opened = world.signed_in(OP)
    world.clock.pass_s(OPERATOR_SESSION_MS / 1000)
    assert world.identity.find_session(opened.token) is None


def test_a_token_that_nobody_was_given_lets_nobody_in(world: IdentityWorld) -> None:
    right = world.signed_in(ADA).token
    for token in ("", "x", "A" * 43, "é" * 43, right[:-1], right + "A", right.swapcase(), "A" * 10_000):
        assert world.identity.find_session(token) is None
    assert world.identity.find_session(right) is not None


def test_wrong_password_and_unknown_email_get_one_answer_at_one_cost(world: IdentityWorld) -> None:
    assert world.log_in(ADA, password=WRONG) is IdentityRefusal.WRONG_CREDENTIALS
    assert world.hasher.evaluated == 1
    assert world.log_in("nobody@example.org") is IdentityRefusal.WRONG_CREDENTIALS
    assert world.log_in("no address at all") is IdentityRefusal.WRONG_CREDENTIALS
    assert world.hasher.evaluated == 3


@pytest.mark.parametrize("email", [ADA, "nobody@example.org"])
def test_the_sixth_attempt_waits_known_or_not(world: IdentityWorld, email: str) -> None:
    for _ in range(FREE_ATTEMPTS):
        assert world.log_in(email, password=WRONG) is IdentityRefusal.WRONG_CREDENTIALS
    lock = Locked(world.clock.now_ms() + 30_000)
    evaluated = world.hasher.evaluated
    assert world.log_in(email) == lock  # The right one, and it is not even looked at.
    assert world.hasher.evaluated == evaluated
    world.clock.pass_s(30)
    assert world.log_in(email, password=WRONG) is IdentityRefusal.WRONG_CREDENTIALS
    assert world.log_in(email) == Locked(world.clock.now_ms() + 60_000)


def test_the_right_password_behind_the_lock_counts_from_nothing_again(world: IdentityWorld) -> None:
    for _ in range(FREE_ATTEMPTS):
        world.log_in(ADA, password=WRONG)
    world.clock.pass_s(30)
    world.signed_in(ADA)
    for _ in range(FREE_ATTEMPTS):
        assert world.log_in(ADA, password=WRONG) is IdentityRefusal.WRONG_CREDENTIALS


def test_guesses_from_many_threads_are_evaluated_five_times(world: IdentityWorld) -> None:
    each = count(reduced=25, full=1250)
    answers = at_once(
        lambda number: world.log_in(ADA, password=f"{WRONG} {number}", address=f"198.51.100.{number % 200}"),
        threads_count=8,
        each=each,
    )
    assert world.hasher.evaluated == FREE_ATTEMPTS
    assert answers.count(IdentityRefusal.WRONG_CREDENTIALS) == FREE_ATTEMPTS
    assert sum(isinstance(answer, Locked) for answer in answers) == 8 * each - FREE_ATTEMPTS


def test_guesses_of_a_pin_from_many_threads_are_evaluated_five_times(world: IdentityWorld) -> None:
    person = ada(world)
    assert world.identity.set_pin(person, password=PASSWORD, pin=PIN) is None
    world.hasher.evaluated = 0
    each = count(reduced=25, full=1250)
    answers = at_once(lambda number: show_pin(world, person, f"{number:06}"), threads_count=8, each=each)
    assert world.hasher.evaluated == FREE_ATTEMPTS
    assert answers.count(IdentityRefusal.WRONG_PIN) == FREE_ATTEMPTS
    assert isinstance(show_pin(world, person), Locked)
    world.signed_in(ADA)  # The password has a count of its own.


def test_right_passwords_at_once_all_open_a_session_of_their_own(world: IdentityWorld) -> None:
    answers = at_once(lambda _number: world.log_in(ADA), threads_count=4, each=1)
    tokens = {answer.token for answer in answers if isinstance(answer, OpenedSession)}
    assert len(tokens) == 4


def test_one_address_is_bounded_whatever_it_tries(world: IdentityWorld) -> None:
    for number in range(ADDRESS_ATTEMPTS_MAX):
        world.log_in(f"nobody{number}@example.org", address="203.0.113.7")
    evaluated = world.hasher.evaluated
    assert world.log_in(ADA, address="203.0.113.7") == Locked(world.clock.now_ms() + ADDRESS_WINDOW_MS)
    assert isinstance(world.identity.reserve_visit("203.0.113.7"), Locked)
    assert world.hasher.evaluated == evaluated
    world.signed_in(ADA)
    world.clock.pass_s(ADDRESS_WINDOW_MS / 1000)
    assert isinstance(world.log_in(ADA, address="203.0.113.7"), OpenedSession)


def test_log_out_ends_one_session_and_everywhere_all(world: IdentityWorld) -> None:
    first, second, third = (world.signed_in(ADA) for _ in range(3))
    world.identity.log_out(first.person)
    assert world.identity.find_session(first.token) is None
    assert world.identity.find_session(second.token) == second.person
    assert world.identity.log_out_everywhere(second.person) == 2
    assert world.identity.find_session(third.token) is None


def test_sessions_are_listed_and_ended_by_their_owner_only(world: IdentityWorld) -> None:
    world.person(OP, Role.SUPPORT)
    mine, other, foreign = world.signed_in(ADA), world.signed_in(ADA), world.signed_in(OP)
    listed = {each.session_id for each in world.identity.sessions(mine.person)}
    assert listed == {mine.person.session_id, other.person.session_id}
    revoke = world.identity.revoke_session
    assert revoke(mine.person, foreign.person.session_id) is IdentityRefusal.SESSION_UNKNOWN
    assert revoke(mine.person, other.person.session_id) is None
    assert revoke(mine.person, other.person.session_id) is IdentityRefusal.SESSION_UNKNOWN
    assert world.identity.find_session(foreign.token) == foreign.person
    assert [each.session_id for each in world.identity.sessions(mine.person)] == [mine.person.session_id]


def test_use_is_noted_once_a_minute(world: IdentityWorld) -> None:
    opened = world.signed_in(ADA)

    def last_used_ms() -> int:
        return run_read(world.engine, lambda s: int(s.execute(select(ACCESS_TOKENS.c.last_used_ms)).scalar_one()))

    began_ms = world.clock.now_ms()
    world.clock.pass_s(59)
    world.identity.find_session(opened.token)
    assert last_used_ms() == began_ms
    world.clock.pass_s(1)
    world.identity.find_session(opened.token)
    assert last_used_ms() == began_ms + 60_000


def test_a_changed_password_ends_every_other_session(world: IdentityWorld) -> None:
    mine, other = world.signed_in(ADA), world.signed_in(ADA)
    change = world.identity.change_password
    assert change(mine.person, password=WRONG, new_password=NEW_PASSWORD) is IdentityRefusal.WRONG_PASSWORD
    assert change(mine.person, password=PASSWORD, new_password="short") is SecretRefusal.PASSWORD_TOO_SHORT
    assert world.identity.find_session(other.token) is not None
    assert change(mine.person, password=PASSWORD, new_password=NEW_PASSWORD) is None
    assert world.identity.find_session(mine.token) is not None
    assert world.identity.find_session(other.token) is None
    assert world.log_in(ADA) is IdentityRefusal.WRONG_CREDENTIALS
    assert isinstance(world.log_in(ADA, password=NEW_PASSWORD), OpenedSession)


def test_guesses_at_a_password_change_count_with_those_at_the_door(world: IdentityWorld) -> None:
    person = ada(world)
    for _ in range(FREE_ATTEMPTS):
        world.identity.change_password(person, password=WRONG, new_password=NEW_PASSWORD)
    assert isinstance(world.log_in(ADA), Locked)
    assert isinstance(world.identity.set_pin(person, password=PASSWORD, pin=PIN), Locked)


def test_a_pin_is_set_with_the_password_and_shown_without(world: IdentityWorld) -> None:
    person = ada(world)
    assert show_pin(world, person) is IdentityRefusal.PIN_NOT_SET
    assert world.identity.set_pin(person, password=WRONG, pin=PIN) is IdentityRefusal.WRONG_PASSWORD
    assert world.identity.set_pin(person, password=PASSWORD, pin="123456") is SecretRefusal.PIN_TOO_SIMPLE
    assert world.identity.set_pin(person, password=PASSWORD, pin=PIN) is None
    assert show_pin(world, person) is None
    assert show_pin(world, person, "730185") is IdentityRefusal.WRONG_PIN
    assert world.identity.set_pin(person, password=PASSWORD, pin="920571") is None
    assert show_pin(world, person) is IdentityRefusal.WRONG_PIN
    assert show_pin(world, person, "920571") is None


def test_what_hangs_on_a_pin_is_done_only_where_it_is_right(world: IdentityWorld) -> None:
    person, done = ada(world), []
    world.identity.set_pin(person, password=PASSWORD, pin=PIN)
    world.identity.verify_pin(person, "730185", then=lambda _session: done.append("wrong"))
    world.identity.verify_pin(person, PIN, then=lambda _session: done.append("right"))
    assert done == ["right"]


def test_a_suspended_login_is_out_at_once_and_gets_in_again_when_it_is_lifted(world: IdentityWorld) -> None:
    opened, now_ms = world.signed_in(ADA), world.clock.now_ms()
    login_id = opened.person.login_id

    def change(work: Callable[..., IdentityRefusal | None], of: str = login_id) -> IdentityRefusal | None:
        return run_transaction(world.engine, lambda session: work(session, of, now_ms=now_ms))

    world.identity.set_pin(opened.person, password=PASSWORD, pin=PIN)
    assert change(login_service.suspend) is None
    assert world.identity.find_session(opened.token) is None
    assert world.log_in(ADA) is IdentityRefusal.LOGIN_SUSPENDED
    assert world.log_in(ADA, password=WRONG) is IdentityRefusal.WRONG_CREDENTIALS
    assert show_pin(world, opened.person) is IdentityRefusal.LOGIN_SUSPENDED
    assert change(login_service.suspend) is IdentityRefusal.LOGIN_NOT_IN_THAT_STATUS
    assert change(login_service.suspend, "L?") is IdentityRefusal.LOGIN_UNKNOWN
    assert change(login_service.unsuspend) is None
    assert world.identity.find_session(opened.token) is None
    world.signed_in(ADA)


def test_a_blocked_login_is_out_although_its_session_was_not_ended(world: IdentityWorld) -> None:
    opened, now_ms = world.signed_in(ADA), world.clock.now_ms()
    change = {"from_status": LoginStatus.ACTIVE, "to_status": LoginStatus.BLOCKED}
    assert run_transaction(
        world.engine, lambda session: store.change_status(session, opened.person.login_id, now_ms=now_ms, **change)
    )
    assert world.identity.find_session(opened.token) is None
    assert world.log_in(ADA) is IdentityRefusal.LOGIN_BLOCKED


def test_an_email_has_one_login_and_roles_of_one_kind(world: IdentityWorld) -> None:
    password, now_ms = world.hasher.hash(Purpose.PASSWORD, PASSWORD), world.clock.now_ms()

    def make(email: str, *roles: RoleHeld) -> Login | IdentityRefusal:
        login = Login("L-new", email, now_ms)
        return run_transaction(
            world.engine, lambda session: login_service.create_login(session, login, roles=roles, password=password)
        )

    support, owner, customer = RoleHeld(Role.SUPPORT), RoleHeld(Role.OWNER, "aa"), RoleHeld(Role.CUSTOMER, "W")
    assert make("ADA@example.org", support) is IdentityRefusal.EMAIL_TAKEN
    assert make("nobody", support) is IdentityRefusal.EMAIL_INVALID
    for wrong in (
        (),
        (support, customer),
        (owner, customer),
        (owner, RoleHeld(Role.CASHIER, "bb")),
        (RoleHeld(Role.SUPPORT, "aa"),),
        (RoleHeld(Role.OWNER),),
        (RoleHeld(Role.OWNER, "a" * 17),),
    ):
        assert make("new@example.org", *wrong) is IdentityRefusal.ROLE_SCOPE_INVALID
    staff = (owner, RoleHeld(Role.CASHIER, "aa"))
    assert make("new@example.org", *staff, owner) == Login("L-new", "new@example.org", now_ms)
    assert run_read(world.engine, lambda session: store.roles_of(session, "L-new")) == tuple(sorted(staff))


def pepper_in_use(world: IdentityWorld) -> int:
    return run_read(world.engine, lambda s: int(s.execute(select(LOGIN_SECRETS.c.pepper_id)).scalar_one()))


def test_a_rotated_pepper_is_taken_up_at_the_next_right_log_in(world: IdentityWorld) -> None:
    both = Peppers({**PEPPERS.keys, 2: b"\x02" * 32})
    after = Identity(world.engine, world.clock, CountingHasher(both))

    def log_in(identity: Identity, password: str = PASSWORD) -> object:
        return identity.log_in(email=ADA, password=password, address="192.0.2.9", kind=TokenKind.BEARER)

    assert log_in(after, WRONG) is IdentityRefusal.WRONG_CREDENTIALS
    assert pepper_in_use(world) == 1
    answers = at_once(lambda _number: log_in(after), threads_count=3, each=1)
    assert all(isinstance(answer, OpenedSession) for answer in answers)
    assert pepper_in_use(world) == 2
    alone = Identity(world.engine, world.clock, CountingHasher(Peppers({2: b"\x02" * 32})))
    assert isinstance(log_in(alone), OpenedSession)
    with pytest.raises(PepperError):
        log_in(world.identity)


def test_a_host_without_the_pepper_counts_nothing(world: IdentityWorld) -> None:
    without = Identity(world.engine, world.clock, CountingHasher(None))
    for _ in range(FREE_ATTEMPTS + 1):
        with pytest.raises(PepperError):
            without.log_in(email=ADA, password=PASSWORD, address="192.0.2.9", kind=TokenKind.BEARER)
    world.signed_in(ADA)


def test_a_session_is_bound_to_one_phone_for_its_life(world: IdentityWorld) -> None:
    opened = world.signed_in(ADA)
    bind = world.identity.bind_device
    assert bind(opened.person, "D-first") is None
    assert bind(opened.person, "D-first") is None
    assert bind(opened.person, "D-other") is IdentityRefusal.DEVICE_NOT_YOURS
    found = world.identity.find_session(opened.token)
    assert found is not None
    assert found.device_id == "D-first"
    now_ms = world.clock.now_ms()
    ended = run_transaction(
        world.engine, lambda session: login_service.end_sessions_of_device(session, "D-first", now_ms=now_ms)
    )
    assert ended == 1
    assert world.identity.find_session(opened.token) is None
    assert bind(opened.person, "D-first") is IdentityRefusal.DEVICE_NOT_YOURS


def test_what_ended_a_month_ago_is_forgotten_and_nothing_else(world: IdentityWorld) -> None:
    world.signed_in(ADA)
    for _ in range(FREE_ATTEMPTS):
        world.log_in("nobody@example.org", password=WRONG)

    def forget() -> int:
        now_ms = world.clock.now_ms()
        return run_transaction(world.engine, lambda session: login_service.forget_old(session, now_ms=now_ms))

    assert forget() == 1  # The own count, which is zero again.
    world.clock.pass_s(KEPT_MS / 1000)
    assert forget() == 0
    world.clock.pass_s(0.001)
    assert forget() == 1  # The address; the strange e-mail was locked for half a minute more.
    world.clock.pass_s(30)
    assert forget() == 1
    world.clock.pass_s(KEPT_MS / 1000)
    assert forget() == 1  # The session, which ended by itself.
    assert forget() == 0


def test_the_database_holds_no_secret_in_the_clear(world: IdentityWorld) -> None:
    opened = world.signed_in(ADA)
    world.identity.set_pin(opened.person, password=PASSWORD, pin=PIN)
    world.log_in("stranger@example.org")
    with world.engine.connect() as connection:
        rows = [
            tuple(row)
            for table in (LOGIN_SECRETS, ACCESS_TOKENS, ATTEMPTS)
            for row in connection.execute(table.select())
        ]
    held = repr(rows)
    assert len(rows) >= 5
    for secret in (PASSWORD, PIN, opened.token[:16], "stranger@example.org", ADA):
        assert secret not in held
