"""What the server frees goes back to the system, so that its memory is what it holds.

glibc keeps freed memory for later, in heaps of which every few threads have one, and raises the size from which an
array is a mapping of its own (to 32 MB) whenever such an array is freed. A server makes and frees arrays of seconds of
sound for hours, on several threads: without these settings a third of its memory was free after a few minutes.
"""

from __future__ import annotations

import ctypes
import os
import platform

#: mallopt's numbers of M_MMAP_THRESHOLD, M_TRIM_THRESHOLD (bytes) and M_ARENA_MAX (malloc.h), and what they become:
#: longer arrays are mappings of their own, so much may be free at a heap's end, and there are so many heaps.
_SETTINGS = ((-3, 1 << 20), (-1, 16 << 20), (-8, 2))


def give_back_what_is_free() -> None:
    """To be called before there are threads. Leaves alone other C libraries, and what the environment sets."""
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    for name, value in _SETTINGS:
        mallopt(name, value)
