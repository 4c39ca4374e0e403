"""Peppers in their file, and hashes behind them: rotated without anybody noticing, never guessed without the file."""

import stat
import threading
from pathlib import Path

import pytest

from cloud.errors import SignInBusyError
from cloud.identity.hashing import Cost, Hasher, Purpose, SecretHash
from cloud.identity.peppers import PepperError, Peppers, add_pepper, load_peppers
from tests.fakes.identity_world import CHEAP, PASSWORD, PEPPERS, PIN, WRONG

OTHER = Peppers({1: bytes(32)})
BOTH = Peppers({1: PEPPERS.keys[1], 2: b"\x02" * 32})


def random(size: int) -> bytes:
    return b"\xab" * size


def test_the_file_of_peppers_is_readable_by_its_owner_only_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "new" / "peppers"
    assert load_peppers(path) is None
    assert add_pepper(path, random) == Peppers({1: b"\xab" * 32}) == load_peppers(path)
    second = add_pepper(path, lambda size: b"\xcd" * size)
    assert second.newest == 2
    assert load_peppers(path) == second == Peppers({1: b"\xab" * 32, 2: b"\xcd" * 32})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["peppers"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_peppers_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "peppers"
    add_pepper(path, random)
    path.chmod(mode)
    with pytest.raises(PepperError) as refused:
        load_peppers(path)
    assert refused.value.code == "pepper_readable_by_others"
    assert "ab" * 32 not in str(refused.value)


@pytest.mark.parametrize(
    "content", ["", "\n", "1 zz\n", "0 " + "ab" * 32, "1 " + "ab" * 31, ("1 " + "ab" * 32 + "\n") * 2, "\u00e9"]
)
def test_damaged_peppers_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "peppers"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(PepperError) as refused:
        load_peppers(path)
    assert refused.value.code == "pepper_damaged"


def test_a_secret_is_right_only_as_what_it_is_and_in_any_spelling() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP)
    stored = hasher.hash(Purpose.PASSWORD, "Café Müller")
    assert hasher.is_right(stored, Purpose.PASSWORD, "Cafe\u0301 Mu\u0308ller")
    assert not hasher.is_right(stored, Purpose.PASSWORD, "Cafe Muller")
    assert not hasher.is_right(stored, Purpose.PIN, "Café Müller")
    assert not hasher.is_right(stored, Purpose.PASSWORD, "Café Müller\x00")
    assert not hasher.is_right(stored, Purpose.PASSWORD, "\ud800")


def test_two_hashes_of_one_secret_have_nothing_in_common() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP)
    first, second = (hasher.hash(Purpose.PIN, PIN).text.split("$")[-2:] for _ in range(2))
    assert not set(first) & set(second)


def test_the_hash_is_argon2id_with_what_owasp_asks_for() -> None:
    assert Hasher(PEPPERS).hash(Purpose.PIN, PIN).text.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_without_its_pepper_a_hash_tells_nothing() -> None:
    stored = Hasher(PEPPERS, cost=CHEAP).hash(Purpose.PASSWORD, PASSWORD)
    assert not Hasher(OTHER, cost=CHEAP).is_right(stored, Purpose.PASSWORD, PASSWORD)


def test_nobodys_secret_is_always_wrong() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP)
    assert not hasher.is_right(None, Purpose.PASSWORD, PASSWORD)


def test_a_rotated_pepper_and_new_parameters_make_a_hash_outdated_and_leave_it_right() -> None:
    stored = Hasher(PEPPERS, cost=CHEAP).hash(Purpose.PASSWORD, PASSWORD)
    rotated = Hasher(BOTH, cost=CHEAP)
    assert rotated.is_right(stored, Purpose.PASSWORD, PASSWORD)
    assert rotated.is_outdated(stored)
    assert not rotated.is_outdated(rotated.hash(Purpose.PASSWORD, PASSWORD))
    assert Hasher(PEPPERS, cost=Cost(memory_kib=16, passes=1)).is_outdated(stored)


def test_a_host_without_the_pepper_says_so_and_calls_nobody_wrong() -> None:
    stored = Hasher(BOTH, cost=CHEAP).hash(Purpose.PASSWORD, PASSWORD)
    behind, without = Hasher(PEPPERS, cost=CHEAP), Hasher(None, cost=CHEAP)
    for hasher, code in ((behind, "pepper_unknown"), (without, "pepper_missing")):
        with pytest.raises(PepperError) as refused:
            hasher.require_pepper(stored)
        assert refused.value.code == code
    with pytest.raises(PepperError):
        without.require_pepper(None)


def test_a_row_that_is_no_hash_is_no_wrong_password() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP)
    with pytest.raises(PepperError) as refused:
        hasher.is_right(SecretHash("$argon2id$nonsense", 1), Purpose.PASSWORD, WRONG)
    assert refused.value.code == "secret_damaged"


def test_turns_are_bounded_and_given_back() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP, turns_max=2)
    with hasher.turn(), hasher.turn(), pytest.raises(SignInBusyError), hasher.turn():
        pass
    with hasher.turn(), hasher.turn():
        pass


def test_many_threads_hash_at_once_and_all_are_right() -> None:
    hasher = Hasher(PEPPERS, cost=CHEAP, at_once_max=1)
    right: list[bool] = []

    def work(number: int) -> None:
        stored = hasher.hash(Purpose.PIN, f"{number:06}")
        right.append(hasher.is_right(stored, Purpose.PIN, f"{number:06}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 8
