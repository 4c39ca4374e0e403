"""Enrolment codes: what they look like, how evenly they are drawn, and how they are compared."""

import itertools
import random
from collections import Counter

import pytest

from cloud.fleet import codes
from cloud.fleet.codes import ALPHABET, SALT_SIZE
from sync.enrolment import ENROLMENT_CODE_SIZE

SALT = bytes(range(SALT_SIZE))


def test_a_code_has_ten_characters_that_nobody_confuses() -> None:
    drawn = {codes.make_code(random.Random(seed).randbytes) for seed in range(200)}
    assert len(drawn) == 200
    assert {len(code) for code in drawn} == {ENROLMENT_CODE_SIZE}
    assert set("".join(drawn)) == set(ALPHABET)
    assert not set("01ILOU") & set(ALPHABET)
    assert len(set(ALPHABET)) == 30


def test_no_character_is_likelier_than_another() -> None:
    """Each of the 256 bytes comes equally often: 240 of them make a character, the other 16 are drawn again."""
    feed = itertools.cycle(range(256))
    drawn = "".join(codes.make_code(lambda _: bytes([next(feed)])) for _ in range(24))
    assert set(Counter(drawn).values()) == {8}


@pytest.mark.parametrize("typed", ["abcde-fgh23", "ABCDE FGH23", "abcdefgh23", " ABCDE-FGH-23 "])
def test_what_people_type_between_does_not_matter(typed: str) -> None:
    assert codes.normalise(typed) == "ABCDEFGH23"


@pytest.mark.parametrize("typed", ["ABCDEFGH24", "BBCDEFGH23", "ABCDEFGH2", "ABCDEFGH233", "", "ÄBCDEFGH23"])
def test_only_the_whole_code_is_the_code(typed: str) -> None:
    kept = codes.hash_code("ABCDEFGH23", SALT)
    assert codes.is_code("ABCDEFGH23", salt=SALT, expected=kept)
    assert not codes.is_code(typed, salt=SALT, expected=kept)


def test_the_same_code_is_kept_differently_each_time() -> None:
    assert codes.hash_code("ABCDEFGH23", SALT) != codes.hash_code("ABCDEFGH23", bytes(SALT_SIZE))
