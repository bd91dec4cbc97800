"""Settings of the garbage collector, and of the C library's allocator where it is glibc.

A model is hundreds of small and large blocks. glibc keeps what is freed, in an arena for each thread, up to eight a
core; so every version that comes and goes, and every worker that saw large pictures, would leave memory behind.
"""

import ctypes
import gc
import sys

M_ARENA_MAX = -8  # of malloc.h
ARENAS = 2


def bound() -> None:
    """Limit the number of arenas; call it before threads are started."""
    if glibc := _glibc():
        glibc.mallopt(M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what is free, and what is only held in cycles, as a model's export leaves them."""
    gc.collect()
    if glibc := _glibc():
        glibc.malloc_trim(0)


def settle() -> None:
    """Let the garbage collector skip all present objects, which stay for the life of the process.

    A full collection stops all threads: over the quarter of a million objects of the modules, for a tenth of a second.
    """
    gc.freeze()


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
