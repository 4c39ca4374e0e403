"""The cache without Redis: every question is a miss, asked again only after a growing pause, said once."""

import logging
from pathlib import Path

import pytest

from cloud.cache import Cache
from cloud.redis_keys import DAILY_STATS, MERCHANT, PAYMENT_SESSION


class HandClock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.hand_ms = 1_000_000

    def now_ms(self) -> int:
        return self.hand_ms

    def monotonic_ms(self) -> int:
        return self.hand_ms


def test_without_a_redis_every_question_is_a_miss() -> None:
    cache = Cache(None, clock=HandClock())
    cache.put(MERCHANT, "m", b"value")
    cache.forget(MERCHANT, "m")
    assert cache.get(MERCHANT, "m") is None
    assert cache.get_or_make(DAILY_STATS, "2026-11-22", lambda: b"made") == b"made"
    cache.close()


def test_an_absent_redis_is_asked_again_after_a_doubling_pause_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    cache = Cache(f"unix://{tmp_path / 'nobody-listens'}", clock=clock, random_share=lambda: 1.0)
    caplog.set_level(logging.INFO, logger="cloud.cache")
    tries_ms = []
    for _ in range(20_000):
        before = cache._failures
        assert cache.get(PAYMENT_SESSION, "s") is None
        if cache._failures > before:
            tries_ms.append(clock.hand_ms - 1_000_000)
        clock.hand_ms += 1
    assert tries_ms == [0, 100, 300, 700, 1500, 3100, 6300, 11_300, 16_300]
    assert [record.getMessage().split()[0] for record in caplog.records] == ["cache_away"]
    cache.close()
