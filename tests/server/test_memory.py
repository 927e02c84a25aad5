"""What a server frees goes back to the system: measured in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

#: Long arrays between short ones that stay, as a server has them; prints MB in RAM above what there was before.
CHURN = """
import os, sys
import numpy as np
from safa_server.memory import give_back_what_is_free
if sys.argv[1] == "yes":
    give_back_what_is_free()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
np.ones(3_000_000)
before, stays = resident(), []
for _ in range(5):
    long = []
    for _ in range(20):
        long.append(np.ones(750_000, np.float32))
        stays.append(np.ones(30_000, np.float32))
    del long, stays[::2]
print(resident() - before - sum(one.nbytes for one in stays) / 1e6)
"""


def left(settings: str, **variables: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([sys.executable, "-c", CHURN, settings], env=environment, capture_output=True, text=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what it sets is glibc's")
def test_memory_is_what_is_held() -> None:
    without, given_back = left("no"), left("yes")
    assert given_back < 10 < without - 20, (given_back, without)
    assert left("yes", MALLOC_ARENA_MAX="8") > given_back + 20, "who sets the allocator's variables decides"
