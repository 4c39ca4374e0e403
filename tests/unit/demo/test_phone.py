"""The phone's side of the reserve (protocol §4): it never shows more than what the cloud holds for it."""

from pathlib import Path

import pytest

from demo.phone import RECORDS_ACCEPTED_S, Phone, PhoneRefusal, load_phone
from sync.grant_return import GRANT_RETURN
from sync.keys import Ed25519SigningKey
from sync.payment_code import PaymentCode
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, SignedWorld

WORLD = SignedWorld()


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    made = Phone(tmp_path / "phone.json", binding_key=Ed25519SigningKey.generate(), random_bytes=bytes)
    take_grant(made, "first")
    learn(made)
    return made


def take_grant(phone: Phone, name: str) -> None:
    key = phone.new_device_key()
    grant = WORLD.grant(name, device_key=key.public_key.raw, limit_minor=50_00, total_minor=200_00)
    phone.take_grant(grant.encode(), key)


def learn(
    phone: Phone,
    *,
    reserve_minor: int = 200_00,
    posted: tuple[PaymentCode, ...] = (),
    cloud_time_ms: int = NOW_MS,
    now_ms: int = NOW_MS,
) -> None:
    counters = {(bytes(code.serial), code.counter) for code in posted}
    phone.learn(reserve_minor=reserve_minor, posted=counters, cloud_time_ms=cloud_time_ms, now_ms=now_ms)


def show(phone: Phone, *, now_ms: int = NOW_MS) -> PaymentCode:
    code = phone.show_code(now_ms=now_ms)
    assert isinstance(code, PaymentCode), code
    return code


def test_codes_are_counted_at_their_ceiling_until_they_are_posted(phone: Phone) -> None:
    codes = [show(phone) for _ in range(4)]
    assert phone.show_code(now_ms=NOW_MS) is PhoneRefusal.RESERVE_USED_UP
    learn(phone, reserve_minor=190_00, posted=(codes[0],))
    assert phone.spendable_minor == 40_00
    assert phone.show_code(now_ms=NOW_MS) is PhoneRefusal.RESERVE_USED_UP
    learn(phone, reserve_minor=200_00, posted=(codes[0],))
    assert show(phone).counter > codes[-1].counter


def test_one_reserve_covers_the_codes_of_all_grants(phone: Phone) -> None:
    for _ in range(3):
        show(phone)
    take_grant(phone, "second")
    show(phone)
    assert phone.show_code(now_ms=NOW_MS) is PhoneRefusal.RESERVE_USED_UP


def test_a_phone_that_was_switched_off_goes_on_where_it_stood(phone: Phone, tmp_path: Path) -> None:
    learn(phone, cloud_time_ms=NOW_MS + 5_000)
    shown = show(phone)
    again = load_phone(tmp_path / "phone.json", random_bytes=bytes)
    assert (again.outstanding_minor, again.offset_ms) == (50_00, 5_000)
    assert show(again).counter > shown.counter


def test_a_phone_corrects_its_clock_by_the_last_contact(phone: Phone) -> None:
    learn(phone, cloud_time_ms=NOW_MS, now_ms=NOW_MS - 3_600_000)
    assert show(phone, now_ms=NOW_MS - 3_600_000).time_s == NOW_MS // 1000


def test_codes_of_a_grant_under_which_nothing_can_be_posted_any_more_are_forgotten(phone: Phone) -> None:
    show(phone)
    ends_ms = (phone.grants[0].grant.expires_s + RECORDS_ACCEPTED_S) * 1000
    learn(phone, cloud_time_ms=ends_ms - 1_000)
    assert phone.outstanding_minor == 50_00
    learn(phone, cloud_time_ms=ends_ms)
    assert phone.outstanding_minor == 0
    assert phone.show_code(now_ms=NOW_MS) is PhoneRefusal.NO_GRANT


def test_two_copies_shown_at_one_moment_sign_one_counter_with_two_contents(phone: Phone, tmp_path: Path) -> None:
    backup = tmp_path / "backup.json"
    backup.write_bytes((tmp_path / "phone.json").read_bytes())
    copy = load_phone(backup, random_bytes=lambda size: b"\x01" * size)
    real, copied = show(phone), show(copy)
    assert (real.serial, real.counter) == (copied.serial, copied.counter)
    assert real.signed_payload() != copied.signed_payload()
    assert show(copy, now_ms=NOW_MS + 2_000).counter > copied.counter


def test_a_phone_signs_its_last_word_on_each_grant_and_shows_no_code_of_it_any_more(
    phone: Phone, tmp_path: Path
) -> None:
    codes = [show(phone), show(phone)]
    learn(phone, posted=(codes[0],))
    (signed,) = phone.sign_returns(now_ms=NOW_MS)
    statement = GRANT_RETURN.open(signed, lambda _: phone.grants[0].device_key.public_key)
    assert not isinstance(statement, Refusal), statement
    assert statement.content.shown == ((codes[1].counter, 50_00),)
    assert statement.content.last_counter == codes[1].counter
    again = load_phone(tmp_path / "phone.json", random_bytes=bytes)
    assert again.show_code(now_ms=NOW_MS) is PhoneRefusal.NO_GRANT
    assert again.outstanding_minor == 50_00
    assert again.sign_returns(now_ms=NOW_MS) == []
