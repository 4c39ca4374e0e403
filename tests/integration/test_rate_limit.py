"""Rate limits on real Redis: exact in every window, one count for all processes, and no harm where Redis is away."""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cloud.cache import Cache
from cloud.rate_limit import LIMITS, PAYMENTS, RateLimiter
from tests.counts import count
from tests.fakes.cloud_world import HandClock
from tests.servers.fixtures import MakeRedis, plain_redis

WINDOW_MS = 60_000


@contextmanager
def limiter(url: str | None, clock: HandClock) -> Iterator[RateLimiter]:
    """The limiter of one process."""
    cache = Cache(url, clock=clock)
    yield RateLimiter(cache, clock)
    cache.close()


def test_ten_attempts_a_minute_and_the_next_as_soon_as_the_first_is_a_minute_old(redis_url: str) -> None:
    clock = HandClock()
    with limiter(redis_url, clock) as limits:
        for _ in range(10):
            assert limits.wait_ms(PAYMENTS, "L1") == 0
            clock.wall_ms += 1000
        assert limits.wait_ms(PAYMENTS, "L1") == WINDOW_MS - 10_000
        assert limits.wait_ms(PAYMENTS, "L2") == 0
        clock.wall_ms += WINDOW_MS - 10_000 - 1
        assert limits.wait_ms(PAYMENTS, "L1") == 1
        clock.wall_ms += 1
        assert limits.wait_ms(PAYMENTS, "L1") == 0
        assert limits.wait_ms(PAYMENTS, "L1") == 1000


def test_no_window_holds_more_than_the_limit_and_nobody_waits_in_vain(redis_url: str) -> None:
    clock, chance = HandClock(), random.Random(7)
    passed: list[int] = []
    with limiter(redis_url, clock) as limits:
        for _ in range(count(400, 4000)):
            clock.wall_ms += chance.choice((0, 1, 400, 3000, 9000))
            now_ms = clock.wall_ms
            inside = [each for each in passed if each > now_ms - WINDOW_MS]
            wait_ms = limits.wait_ms(PAYMENTS, "L1")
            assert wait_ms == (inside[-10] + WINDOW_MS - now_ms if len(inside) >= 10 else 0), now_ms
            if wait_ms == 0:
                passed.append(now_ms)
    assert len(passed) > 50


def test_requests_at_once_over_several_connections_see_each_other(redis_url: str) -> None:
    clock = HandClock()
    answers: list[int] = []
    start = threading.Barrier(8)

    def ask() -> None:
        with limiter(redis_url, clock) as limits:
            start.wait()
            answers.extend(limits.wait_ms(PAYMENTS, "L1") for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [0] * 10 + [WINDOW_MS] * 150


def test_a_clock_turned_back_lets_nobody_wait_longer_than_the_window(redis_url: str) -> None:
    clock = HandClock()
    with limiter(redis_url, clock) as limits:
        assert [limits.wait_ms(PAYMENTS, "L1") for _ in range(10)] == [0] * 10
        clock.wall_ms -= 3_600_000
        assert limits.wait_ms(PAYMENTS, "L1") == WINDOW_MS


def test_every_count_ends_by_itself_a_window_after_the_last_request(redis_url: str) -> None:
    clock = HandClock()
    with limiter(redis_url, clock) as limits, plain_redis(redis_url) as plain:
        for limit in LIMITS:
            assert limits.wait_ms(limit, "x") == 0
            assert 0 < plain.pttl(limit.key.name("x")) <= limit.key.ttl_s * 1000
        assert len(list(plain.scan_iter())) == len(LIMITS)


def test_without_redis_everybody_passes(caplog: pytest.LogCaptureFixture) -> None:
    with limiter(None, HandClock()) as limits:
        assert [limits.wait_ms(PAYMENTS, "L1") for _ in range(50)] == [0] * 50
    assert not caplog.records


def test_a_redis_that_is_killed_lets_everybody_pass_says_so_once_and_counts_again_when_it_is_back(
    make_redis: MakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloud.cache")
    server, clock = make_redis(), HandClock()
    with limiter(server.url, clock) as limits:
        assert [limits.wait_ms(PAYMENTS, "L1") > 0 for _ in range(12)] == [False] * 10 + [True] * 2
        server.kill()
        for _ in range(30):
            assert limits.wait_ms(PAYMENTS, "L1") == 0
            clock.wall_ms += 40
        server.start()
        clock.wall_ms += 10_000
        assert [limits.wait_ms(PAYMENTS, "L1") > 0 for _ in range(12)] == [False] * 10 + [True] * 2
    assert [record.getMessage().split()[0] for record in caplog.records] == ["cache_away", "cache_back"]
    assert "rate limits let everybody pass" in caplog.records[0].getMessage()


def test_an_emptied_redis_counts_from_nothing(redis_url: str) -> None:
    with limiter(redis_url, HandClock()) as limits, plain_redis(redis_url) as plain:
        assert [limits.wait_ms(PAYMENTS, "L1") > 0 for _ in range(11)] == [False] * 10 + [True]
        plain.flushall()
        plain.script_flush()
        assert limits.wait_ms(PAYMENTS, "L1") == 0
