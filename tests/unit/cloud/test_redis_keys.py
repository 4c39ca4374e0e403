"""The key table: the seed's names and times, one kind for each name, and the document that says the same."""

from pathlib import Path

import pytest

from cloud.rate_limit import LIMITS
from cloud.redis_keys import JOBS, KEYS, MERCHANT, MERCHANT_OF_TERMINAL, RedisKey, find_key

OPERATING = Path(__file__).resolve().parents[3] / "docs" / "operating.md"


def test_the_table_names_the_keys_of_the_seed_with_their_times() -> None:
    assert {key.name("x"): key.ttl_s for key in KEYS if key.pattern.startswith("payment:")} == {
        "payment:session:x": 300,
        "payment:merchant:cache:x": 3600,
        "payment:merchant:cache:terminal:x": 3600,
        "payment:stats:daily:x": 604_800,
        "payment:rate_limit:x": 60,
    }


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.pattern)
def test_every_kind_has_one_place_for_an_id_an_end_and_a_meaning(key: RedisKey) -> None:
    assert key.pattern.count("{}") == 1
    assert key.ttl_s > 0 or key is JOBS
    assert key.meaning
    assert find_key(key.name("x")) is key


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("payment:merchant:cache:00aa", MERCHANT),
        ("payment:merchant:cache:terminal:00aa", MERCHANT_OF_TERMINAL),
        ("payment:merchant:cache:", None),
        ("payment:unknown:1", None),
        ("", None),
    ],
)
def test_a_name_is_of_the_kind_that_says_most_or_of_none(name: str, expected: RedisKey | None) -> None:
    assert find_key(name) is expected


def test_every_limit_counts_under_a_key_of_its_own() -> None:
    assert len({limit.key for limit in LIMITS}) == len(LIMITS)
    assert {limit.key for limit in LIMITS} <= set(KEYS)


def test_the_document_says_what_the_table_says() -> None:
    section = OPERATING.read_text(encoding="utf-8").split("### What stands in Redis\n", 1)[1].split("\n### ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    limits = {limit.key: f"{limit.requests_max} " for limit in LIMITS}
    written = [f"| `{key.pattern}` | {key.ttl_s} | {limits.get(key, '– ')}| {key.meaning} |" for key in KEYS]
    assert rows == written
