"""What one mutation is made of: chance, the code to change, and others to take parts from."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fuzz.base_codes import Base, BaseCodes, encoded

MODE, GRANT, GRANT_SIGNATURE, TIME, COUNTER, CHALLENGE, SIGNATURE = range(7)
EDGES = (
    -(2**64),
    -(2**32),
    -1,
    0,
    1,
    2,
    3,
    4,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**64 - 1,
)


@dataclass(frozen=True, slots=True)
class Draw:
    """One mutation's material: chance, the code to mutate, another genuine one, and all of them."""

    rng: random.Random
    base: Base
    other: Base
    codes: BaseCodes

    def near(self, value: int) -> int:
        """An integer close to ``value``, a bit away from it, or at an edge."""
        kind = self.rng.randrange(3)
        if kind == 0:
            return value + self.rng.choice((-2, -1, 1, 2, 60, 61, -31, 3600))
        return value ^ (1 << self.rng.randrange(33)) if kind == 1 else self.rng.choice(EDGES)

    def changed(self, value: bytes) -> bytes:
        """Bytes with one bit, byte, length or everything changed."""
        kind = self.rng.randrange(5)
        if not value or kind == 0:
            return value + self.rng.randbytes(1)
        at = self.rng.randrange(len(value))
        if kind == 1:
            return value[:at] + value[at + 1 :]
        if kind == 2:
            return self.rng.randbytes(len(value))
        flipped = value[at] ^ (1 << self.rng.randrange(8))
        return value[:at] + bytes((flipped,)) + value[at + 1 :]


Mutation = Callable[[Draw], bytes | str]


def with_element(parts: tuple[Any, ...], at: int, value: Any) -> bytes:
    return encoded([value if i == at else part for i, part in enumerate(parts)])
