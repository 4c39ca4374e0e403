"""A frame refuses arrays past whose end a decoder in C would read."""

from typing import Any

import numpy as np
import pytest

from hardware.frame import Frame, monotonic_ms

WHOLE = np.zeros((48, 64), dtype=np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((48, 64), dtype=np.uint16),
        np.zeros((48, 64), dtype=np.float32),
        np.zeros((48, 64, 3), dtype=np.uint8),
        np.zeros(64, dtype=np.uint8),
        np.zeros((0, 64), dtype=np.uint8),
        WHOLE[:, ::2],
        WHOLE[:, 5:],
        WHOLE.T,
    ],
    ids=["16 bits", "floats", "colour", "one row", "empty", "every other column", "a slice", "turned"],
)
def test_refuses_other_arrays(array: Any) -> None:
    with pytest.raises(ValueError, match="C-contiguous uint8"):
        Frame(array, 0)


def test_takes_a_whole_luminance_picture() -> None:
    assert Frame(WHOLE, 7).captured_at_ms == 7


def test_the_clock_does_not_run_back() -> None:
    assert monotonic_ms() <= monotonic_ms()
