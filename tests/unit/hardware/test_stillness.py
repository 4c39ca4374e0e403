"""What counts as a change: things that come and go, not noise, and slow light only once it has added up."""

import numpy as np
import pytest

from hardware.frame import Luminance
from hardware.stillness import CHANGE_MIN, Stillness

COUNTER = np.full((480, 640), 110, dtype=np.uint8)


def with_noise(seed: int, sigma: float) -> Luminance:
    noise = np.random.default_rng(seed).normal(0, sigma, COUNTER.shape)
    return np.clip(COUNTER + noise, 0, 255).astype(np.uint8)


def test_the_first_picture_is_a_change_and_the_same_again_is_none() -> None:
    stillness = Stillness()
    assert [stillness.is_changed(COUNTER) for _ in range(3)] == [True, False, False]


def test_the_promised_noise_is_no_change() -> None:
    stillness = Stillness()
    assert [stillness.is_changed(with_noise(seed, 8.0)) for seed in range(20)] == [True] + [False] * 19


def test_something_as_small_as_two_blocks_is_a_change_when_it_comes_and_when_it_goes() -> None:
    stillness = Stillness()
    stillness.is_changed(COUNTER)
    with_thing = COUNTER.copy()
    with_thing[200:264, 300:364] = 235
    assert [stillness.is_changed(picture) for picture in (with_thing, with_thing, COUNTER)] == [True, False, True]


def test_light_that_changes_slowly_is_a_change_once_it_has_added_up() -> None:
    stillness = Stillness()
    stillness.is_changed(COUNTER)
    steps = [stillness.is_changed((COUNTER + brighter).astype(np.uint8)) for brighter in range(1, 11)]
    assert steps == [False] * 9 + [True]
    assert CHANGE_MIN == 10


@pytest.mark.parametrize("shape", [(1, 1), (3, 640), (100, 100), (480, 1), (721, 1283)])
def test_a_picture_of_another_size_is_a_change_and_any_size_will_do(shape: tuple[int, int]) -> None:
    stillness = Stillness()
    stillness.is_changed(COUNTER)
    picture = np.full(shape, 110, dtype=np.uint8)
    assert [stillness.is_changed(picture) for _ in range(2)] == [True, False]
