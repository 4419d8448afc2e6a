"""Memory that stays with the process: on CPU, a train step is a seventh faster for it."""

import ctypes
import sys

# glibc's mallopt: no separate mappings, nothing handed back under 2 GB, 600 MB taken at a time, and
# one arena for all threads. Each step's temporaries are then the same pages again; otherwise the
# system maps and clears them anew at every step.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
OPTIONS = (
    (M_MMAP_MAX, 0),
    (M_TRIM_THRESHOLD, 2_000_000_000),
    (M_TOP_PAD, 600_000_000),
    (M_ARENA_MAX, 1),
)


def keep_memory() -> None:
    """Tells glibc to keep the memory that a command frees; does nothing where there is no glibc.

    For commands that train, before they begin: a library has no business with its host's allocator.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in OPTIONS:
            mallopt(option, value)
