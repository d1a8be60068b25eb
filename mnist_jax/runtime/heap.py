"""The C library's heap: shared by all threads, and what is free goes back to the system.

A compilation takes much memory and frees it; glibc would keep that for later, once for each thread that took
part.
"""

import contextlib
import ctypes
import os

_M_ARENA_MAX = -8  # <malloc.h>
_ARENAS = 2


def use_few_arenas() -> None:
    """Lets threads share two parts of the heap, unless ``MALLOC_ARENA_MAX`` says how many; glibc's alone."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        # Another C library has no such function.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Returns to the system what the heap holds and nobody uses."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
