"""The cache on real Redis: killed in between, paused, emptied, and everything still answers."""

import logging
import time

import pytest
import redis

from cloud.cache import Cache
from cloud.redis_keys import DAILY_STATS, MERCHANT, PAYMENT_SESSION
from demo.processes import LOOPBACK, free_port
from tests.servers.fixtures import MakeRedis, plain_redis


class HandClock:
    """A clock that the test turns, so that no test waits for a pause to end."""

    def __init__(self) -> None:
        self.hand_ms = 0

    def now_ms(self) -> int:
        return self.hand_ms

    def monotonic_ms(self) -> int:
        return self.hand_ms


def test_values_are_kept_for_the_time_of_their_key_and_can_be_dropped(redis_url: str) -> None:
    cache = Cache(redis_url, clock=HandClock())
    for key in (PAYMENT_SESSION, MERCHANT, DAILY_STATS):
        cache.put(key, "x", key.pattern.encode())
    with plain_redis(redis_url) as plain:
        ttls = {name.decode(): plain.ttl(name) for name in plain.scan_iter()}
    assert {name: round(ttl, -1) for name, ttl in ttls.items()} == {
        "payment:session:x": 300,
        "payment:merchant:cache:x": 3600,
        "payment:stats:daily:x": 604_800,
    }
    assert cache.get(MERCHANT, "x") == b"payment:merchant:cache:{}"
    cache.forget(MERCHANT, "x")
    assert cache.get(MERCHANT, "x") is None
    assert cache.get(PAYMENT_SESSION, "x") is not None
    cache.close()


def test_what_was_made_is_kept_and_after_a_flush_made_again(redis_url: str) -> None:
    cache = Cache(redis_url, clock=HandClock())
    made: list[int] = []

    def make() -> bytes:
        made.append(len(made))
        return b"%d" % made[-1]

    assert [cache.get_or_make(DAILY_STATS, "2026-11-22", make) for _ in range(3)] == [b"0"] * 3
    with plain_redis(redis_url) as plain:
        plain.flushall()
    assert [cache.get_or_make(DAILY_STATS, "2026-11-22", make) for _ in range(3)] == [b"1"] * 3
    cache.close()


def test_a_redis_that_is_killed_makes_misses_and_is_used_again_when_it_is_back(
    make_redis: MakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloud.cache")
    server, clock = make_redis(), HandClock()
    cache = Cache(server.url, clock=clock)
    cache.put(MERCHANT, "m", b"before")
    server.kill()
    for _ in range(50):
        assert cache.get_or_make(MERCHANT, "m", lambda: b"made") == b"made"
        cache.forget(MERCHANT, "m")
        clock.hand_ms += 40
    server.start()
    assert cache.get(MERCHANT, "m") is None
    clock.hand_ms += 10_000
    cache.put(MERCHANT, "m", b"after")
    assert cache.get(MERCHANT, "m") == b"after"
    assert [record.getMessage().split()[0] for record in caplog.records] == ["cache_away", "cache_back"]
    cache.close()


def test_a_redis_that_hangs_costs_one_short_wait_and_no_repeated_command(make_redis: MakeRedis) -> None:
    server, clock = make_redis(), HandClock()
    cache = Cache(server.url, clock=clock)
    cache.put(MERCHANT, "m", b"value")
    server.pause()
    began = time.monotonic()
    for _ in range(100):
        cache.put(MERCHANT, "m", b"during")
    waited_s = time.monotonic() - began
    server.resume()
    # One time-out of a quarter of a second; a hundred of them would take 25, redis-py's own retries alone ten.
    assert 0.2 < waited_s < 8.0
    clock.hand_ms += 10_000
    assert cache.get(MERCHANT, "m") is not None
    with redis.Redis.from_url(server.url) as plain:
        assert plain.info("commandstats")["cmdstat_set"]["calls"] <= 2
    cache.close()


def test_a_cluster_of_which_nobody_answers_makes_misses() -> None:
    cache = Cache(f"redis+cluster://user:hush@{LOOPBACK}:{free_port()},{LOOPBACK}:{free_port()}/0", clock=HandClock())
    assert cache.get_or_make(MERCHANT, "m", lambda: b"made") == b"made"
    cache.close()
