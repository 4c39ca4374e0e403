"""The back-off: doubling, bounded, and spread over the whole range."""

import pytest

from sync.backoff import Backoff


@pytest.mark.parametrize(
    "failures, bound_ms",
    [(-1, 0), (0, 0), (1, 500), (2, 1_000), (3, 2_000), (7, 32_000), (8, 60_000), (9, 60_000), (10**6, 60_000)],
)
def test_bound_doubles_with_each_failure_up_to_the_most(failures: int, bound_ms: int) -> None:
    assert Backoff(first_ms=500, most_ms=60_000).bound_ms(failures) == bound_ms


@pytest.mark.parametrize("jitter, delay_ms", [(0.0, 0), (0.25, 1_000), (0.5, 2_000), (0.999_999, 3_999)])
def test_jitter_draws_from_the_whole_range(jitter: float, delay_ms: int) -> None:
    assert Backoff(first_ms=1_000, most_ms=60_000).delay_ms(3, jitter=jitter) == delay_ms


def test_no_failure_needs_no_delay() -> None:
    assert Backoff().delay_ms(0, jitter=0.9) == 0


@pytest.mark.parametrize("jitter", [-0.1, 1.0, 2.0])
def test_refuses_jitter_outside_its_range(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        Backoff().delay_ms(1, jitter=jitter)


@pytest.mark.parametrize("first_ms, most_ms", [(0, 10), (-1, 10), (11, 10)])
def test_refuses_bounds_that_make_no_sense(first_ms: int, most_ms: int) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(first_ms=first_ms, most_ms=most_ms)
