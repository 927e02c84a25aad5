"""What the server frees goes back to the system, so that its memory is what it holds.

glibc keeps freed memory for later, in heaps of which every few threads have one, and raises the size from which an
array is a mapping of its own (to 32 MB) whenever such an array is freed. A server makes and frees arrays of seconds of
sound for hours, on several threads: without these settings a third of its memory was free after a few minutes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
from pathlib import Path

#: mallopt's numbers of M_MMAP_THRESHOLD, M_TRIM_THRESHOLD (bytes) and M_ARENA_MAX (malloc.h), and what they become:
#: longer arrays are mappings of their own, so much may be free at a heap's end, and there are so many heaps.
_SETTINGS = ((-3, 1 << 20), (-1, 16 << 20), (-8, 2))
#: What is free inside the heaps goes back so often; it takes a few milliseconds of another thread.
TRIM_SECONDS = 10.0


def give_back_what_is_free() -> None:
    """To be called before there are threads."""
    if _is_ours():
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in _SETTINGS:
            mallopt(name, value)


async def keep_giving_back() -> None:
    """Run until cancelled."""
    if _is_ours():
        trim = ctypes.CDLL(None).malloc_trim
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            await asyncio.to_thread(trim, 0)


def resident_bytes() -> int:
    """What this process has in RAM; 0 where the system does not say as Linux does."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _is_ours() -> bool:
    """Other C libraries are left alone, and so is an allocator that the environment sets."""
    return platform.libc_ver()[0] == "glibc" and not any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ)
