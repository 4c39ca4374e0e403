"""One frame of a camera and the clock it is stamped with.

A frame is luminance only: no decoder looks at colour, and a sensor's Y plane comes without a conversion.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Luminance = npt.NDArray[np.uint8]
"""height × width, uint8, 0 is black."""

MonotonicMs = Callable[[], int]


def monotonic_ms() -> int:
    """Milliseconds of the machine's monotonic clock."""
    return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a camera saw, and when on the monotonic clock. Readers MUST NOT write into the array.

    Raises ``ValueError`` for an array that is not uint8, two-dimensional, C-contiguous and non-empty,
    since a decoder in C would read past such an array.
    """

    luminance: Luminance
    captured_at_ms: int

    def __post_init__(self) -> None:
        array = self.luminance
        if array.dtype != np.uint8 or array.ndim != 2 or array.size == 0 or not array.flags.c_contiguous:
            raise ValueError(
                f"a frame is a C-contiguous uint8 array of height × width, not {array.dtype} {array.shape}"
            )
