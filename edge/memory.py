"""Keeps the terminal's memory small and its pauses short, once everything that stays has been loaded.

Two habits of a Python process cost a small box more than they give. glibc keeps a pool of memory for each thread and
holds on to what was freed: one pool and an early return take 8 of 120 MiB away, and the threads here wait far more than
they allocate. And the garbage collector walks through every module's objects again and again, a pause of some ten
milliseconds in the middle of a sale; frozen, what was loaded at the start is never walked again.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# The numbers are mallopt's own, from malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_TRIM_BYTES = 64 * 1024


def keep_one_pool() -> bool:
    """Let all threads share one pool of memory; to be called before the first of them starts.

    False without glibc: other C libraries have no such pools.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, 1) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))


@contextmanager
def loaded_objects_frozen() -> Iterator[None]:
    """Take all objects there are now out of the garbage collector's walks, until the block ends.

    They are given back then, because a library that is never collected complains at the end of the process.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
