"""A Ray cluster of two nodes on this machine, for tests that lose one."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

STORE = 80 << 20


@contextmanager
def two_nodes() -> Iterator[Any]:
    """One CPU each. Ray's files lie in a folder of their own, where no other cluster's are."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="safa-", dir="/tmp") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster

            own = {"num_cpus": 1, "object_store_memory": STORE}
            made = Cluster(initialize_head=True, head_node_args={**own, "include_dashboard": False})
            try:
                made.add_node(**own)
                yield made
            finally:
                made.shutdown()
                # Here, where warnings are ignored, and not in whatever test comes next.
                del made
                gc.collect()
