"""Which secrets are taken, when somebody is locked out, and what each role may do: rules as tables."""

import pytest

from cloud.identity.lockout import (
    ADDRESS_ATTEMPTS_MAX,
    ADDRESS_WINDOW_MS,
    FREE_ATTEMPTS,
    LOCK_MS_MAX,
    Locked,
    Standing,
    count_attempt,
    count_visit,
    lock_ms,
)
from cloud.identity.login_service import OPERATOR_SESSION_MS, SESSION_MS, session_length_ms
from cloud.identity.passwords import SecretRefusal, judge_password, judge_pin, spell_email, spell_password
from cloud.identity.refusals import WORDS, IdentityRefusal
from cloud.permissions import (
    CUSTOMER_ROLES,
    OPERATOR_ROLES,
    PERMISSIONS,
    STAFF_ROLES,
    Permission,
    Role,
    RoleHeld,
    SignedIn,
    TokenKind,
)

EMAIL = "ada.lovelace@example.org"
NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abcdefghi", SecretRefusal.PASSWORD_TOO_SHORT),
        ("abcdefghik", None),
        ("abcd" * 32, None),
        ("abcd" * 32 + "e", SecretRefusal.PASSWORD_TOO_LONG),
        ("\ufdfa" * 8, SecretRefusal.PASSWORD_TOO_LONG),  # One sign that NFKC writes with eighteen: 144.
        ("ｐａｓｓｗｏｒｄ１２３", SecretRefusal.PASSWORD_TOO_COMMON),
        ("PassWord123", SecretRefusal.PASSWORD_TOO_COMMON),
        ("aaaaaaaaaaaa", SecretRefusal.PASSWORD_TOO_COMMON),
        ("abcabcabcabc", SecretRefusal.PASSWORD_TOO_COMMON),
        ("Ada.Lovelace@Example.org", SecretRefusal.PASSWORD_IS_EMAIL),
        ("ada.lovelace", SecretRefusal.PASSWORD_IS_EMAIL),
        ("ada.lovelace2", None),
        ("with a\x00nul inside", SecretRefusal.PASSWORD_UNREADABLE),
        ("with\u200bnothing seen", SecretRefusal.PASSWORD_UNREADABLE),
        ("half a pair \ud800", SecretRefusal.PASSWORD_UNREADABLE),
        ("пароль из слов", None),
    ],
)
def test_a_password_is_judged_by_its_length_and_by_what_everybody_tries(
    text: str, expected: SecretRefusal | None
) -> None:
    assert judge_password(text, email=EMAIL) is expected


def test_one_password_on_two_keyboards_is_one() -> None:
    assert spell_password("Café Müller") == spell_password("Cafe\u0301 Mu\u0308ller")


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        ("730184", None),
        ("73018", SecretRefusal.PIN_MALFORMED),
        ("7301845", SecretRefusal.PIN_MALFORMED),
        ("73018a", SecretRefusal.PIN_MALFORMED),
        ("７３０１８４", SecretRefusal.PIN_MALFORMED),
        ("٧٣٠١٨٤", SecretRefusal.PIN_MALFORMED),
        ("73018²", SecretRefusal.PIN_MALFORMED),
        ("-30184", SecretRefusal.PIN_MALFORMED),
        ("000000", SecretRefusal.PIN_TOO_SIMPLE),
        ("777777", SecretRefusal.PIN_TOO_SIMPLE),
        ("123456", SecretRefusal.PIN_TOO_SIMPLE),
        ("567890", SecretRefusal.PIN_TOO_SIMPLE),
        ("890123", SecretRefusal.PIN_TOO_SIMPLE),
        ("654321", SecretRefusal.PIN_TOO_SIMPLE),
        ("210987", SecretRefusal.PIN_TOO_SIMPLE),
        ("121212", SecretRefusal.PIN_TOO_SIMPLE),
        ("123457", None),
    ],
)
def test_a_pin_has_six_digits_that_nobody_tries_first(pin: str, expected: SecretRefusal | None) -> None:
    assert judge_pin(pin) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Ada@Example.ORG ", "ada@example.org"),
        ("ａｄａ@example.org", "ada@example.org"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
        ("a" * 65 + "@example.org", None),
        ("a@" + "b" * 252, "a@" + "b" * 252),
        ("a@" + "b" * 253, None),
        ("", None),
        ("ada", None),
        ("@example.org", None),
        ("ada@", None),
        ("ada@a@b", None),
        ("a da@example.org", None),
        ("ada\x00@example.org", None),
        ("ada\u200b@example.org", None),
        ("ada\ud800@example.org", None),
    ],
)
def test_an_email_has_one_spelling_or_is_none(text: str, expected: str | None) -> None:
    assert spell_email(text) == expected


@pytest.mark.parametrize(
    ("attempts_count", "expected_s"),
    [
        (0, 0),
        (4, 0),
        (5, 30),
        (6, 60),
        (7, 120),
        (16, 61_440),
        (17, 86_400),
        (18, 86_400),
        (10**9, 86_400),
    ],
)
def test_pauses_double_from_thirty_seconds_to_a_day(attempts_count: int, expected_s: int) -> None:
    assert lock_ms(attempts_count) == expected_s * 1000


def test_five_attempts_are_free_and_the_next_one_waits_for_the_lock_to_end() -> None:
    standing = Standing()
    for count in range(1, FREE_ATTEMPTS + 1):
        counted = count_attempt(standing, NOW_MS)
        assert isinstance(counted, Standing)
        assert counted.attempts_count == count
        standing = counted
    assert standing.locked_until_ms == NOW_MS + 30_000
    assert count_attempt(standing, NOW_MS + 29_999) == Locked(NOW_MS + 30_000)
    sixth = count_attempt(standing, NOW_MS + 30_000)
    assert sixth == Standing(6, NOW_MS, NOW_MS + 90_000)
    assert count_attempt(Standing(40, NOW_MS, NOW_MS), NOW_MS) == Standing(41, NOW_MS, NOW_MS + LOCK_MS_MAX)


@pytest.mark.parametrize(("left_ms", "expected_s"), [(1, 1), (1000, 1), (1001, 2), (30_000, 30), (0, 1), (-5, 1)])
def test_whoever_waits_is_told_whole_seconds(left_ms: int, expected_s: int) -> None:
    assert Locked(NOW_MS + left_ms).retry_after_s(NOW_MS) == expected_s


def test_an_address_has_sixty_visits_in_ten_minutes() -> None:
    standing = Standing()
    for _ in range(ADDRESS_ATTEMPTS_MAX):
        counted = count_visit(standing, NOW_MS)
        assert isinstance(counted, Standing)
        standing = counted
    end_ms = NOW_MS + ADDRESS_WINDOW_MS
    assert count_visit(standing, end_ms - 1) == Locked(end_ms)
    assert count_visit(standing, end_ms) == Standing(1, end_ms, 0)
    assert count_visit(standing, NOW_MS - 1) == Standing(1, NOW_MS - 1, 0)


def person(*roles: RoleHeld) -> SignedIn:
    return SignedIn("L", EMAIL, roles, "S", TokenKind.BEARER, NOW_MS)


def test_every_role_has_its_permissions_and_a_kind() -> None:
    assert set(PERMISSIONS) == set(Role) == CUSTOMER_ROLES | STAFF_ROLES | OPERATOR_ROLES
    assert all(Permission.OWN_ACCOUNT in held for held in PERMISSIONS.values())
    assert frozenset().union(*PERMISSIONS.values()) == set(Permission)


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        (Permission.OWN_WALLET, {Role.CUSTOMER}),
        (Permission.TAKE_PAYMENTS, {Role.CASHIER, Role.MANAGER, Role.OWNER}),
        (Permission.REFUND_SALES, {Role.MANAGER, Role.OWNER}),
        (Permission.MANAGE_STAFF, {Role.OWNER, Role.ADMINISTRATOR}),
        (Permission.SUSPEND_LOGINS, {Role.SUPPORT, Role.ADMINISTRATOR}),
        (Permission.MANAGE_OPERATORS, {Role.ADMINISTRATOR}),
        (Permission.SETTLE, {Role.FINANCE}),
        (Permission.DECIDE_DISPUTES, {Role.SUPPORT, Role.ADMINISTRATOR}),
    ],
)
def test_what_may_cost_money_is_with_the_roles_it_belongs_to(permission: Permission, roles: set[Role]) -> None:
    assert {role for role, held in PERMISSIONS.items() if permission in held} == roles


def test_a_permission_holds_where_its_role_holds() -> None:
    somebody = person(RoleHeld(Role.OWNER, "aa"), RoleHeld(Role.CASHIER, "bb"))
    assert somebody.scopes(Permission.TAKE_PAYMENTS) == {"aa", "bb"}
    assert somebody.scopes(Permission.REFUND_SALES) == {"aa"}
    assert somebody.scopes(Permission.SETTLE) == frozenset()
    assert person(RoleHeld(Role.FINANCE)).scopes(Permission.SETTLE) == {""}
    assert person().permissions == frozenset()


def test_operators_sign_in_for_a_working_day() -> None:
    assert session_length_ms([RoleHeld(Role.SUPPORT)]) == OPERATOR_SESSION_MS == 12 * 3600 * 1000
    assert session_length_ms([RoleHeld(Role.CUSTOMER, "W")]) == SESSION_MS == 30 * 24 * 3600 * 1000


def test_every_refusal_has_its_words_and_a_status_of_a_refusal() -> None:
    assert set(WORDS) == {*SecretRefusal, *IdentityRefusal}
    assert all(400 <= status < 500 and message.endswith(".") for status, message in WORDS.values())
