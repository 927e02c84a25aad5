"""A real Ray cluster with the built-in model: what `bench cluster` measures, held to what is promised."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from safa_server.cluster.actors import RayHead
from safa_server.cluster.serve import cluster_of, cluster_settings
from safa_server.measuring.cluster import ClusterPlan, measure
from safa_server.settings import Settings
from safa_stream.errors import ClusterError


def test_engines_and_front_ends_are_killed_and_nobody_hears_it() -> None:
    plan = ClusterPlan(engines=2, sessions=4, moves=2, window=0.0, steps=4)
    found = asyncio.run(measure(plan, lambda line: None))
    assert found["migrations"] == 2 and found["migration_bit_equal"] and found["migration_seconds_compared"] > 5.0
    assert found["migration_samples_lost"] == found["migration_samples_duplicated"] == 0
    assert found["failover_lead_s"] >= 5.0 and found["failover_recovered"] == plan.sessions
    assert found["failover_samples_lost"] == found["failover_samples_duplicated"] == 0
    # A player that holds 5 s bridges what it takes until another engine has all of them.
    assert found["failover_underruns"] == 0 and found["recovery_s"] < 5.0
    assert found["frontend_samples_lost"] == found["frontend_samples_duplicated"] == 0
    assert found["frontend_resumed"] == plan.sessions


def test_a_model_that_is_not_there_is_one_line() -> None:
    command = "import sys; from safa_stream.cli import main; sys.exit(main())"
    words = ("serve", "--cluster", "local", "--more-models", "/nowhere=1", "--port", "0", "--osc-port", "-1")
    done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True, timeout=120)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert last.startswith("safa-stream: no engine of /nowhere could be started: no such model folder: /nowhere;")


def test_a_head_that_cannot_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(cluster="local", state=tmp_path, model="/nowhere")
    with cluster_of(settings):
        head = RayHead.begun(cluster_settings(settings, tmp_path, alone=False))

        async def begin() -> None:
            for _ in range(2):
                with pytest.raises(ClusterError, match="no engine of /nowhere could be started: no such model folder"):
                    await head.start()

        asyncio.run(begin())
        end = time.monotonic() + 30.0
        while ray.util.list_named_actors(all_namespaces=True):
            assert time.monotonic() < end
            time.sleep(0.1)
