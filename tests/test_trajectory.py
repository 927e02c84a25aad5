from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_stream.errors import OutputError, SnapshotError
from safa_stream.trajectory import (
    ReferenceTrajectory,
    Trajectory,
    guided_steps,
    load_trajectory,
    save_trajectory,
)
from tests.toy import World

STATES = np.random.default_rng(0).standard_normal((5, 2, 12, 3)).astype(np.float32)


@pytest.mark.parametrize("history", [None, STATES * 2])
def test_a_saved_trajectory_is_loaded_bit_for_bit(world: World, history: np.ndarray | None, tmp_path: Path) -> None:
    kept = Trajectory(world.from_numpy(STATES), None if history is None else world.from_numpy(history))
    save_trajectory(tmp_path / "t.safetensors", kept, world.to_numpy)
    loaded = load_trajectory(tmp_path / "t.safetensors", world.from_numpy)
    assert loaded.steps == 4
    assert np.array_equal(world.to_numpy(loaded.states), STATES)
    assert (loaded.history is None) == (history is None)
    if history is not None:
        assert np.array_equal(world.to_numpy(loaded.history), history)


def test_frames_and_the_references_middle(world: World) -> None:
    kept = Trajectory(world.from_numpy(STATES), world.from_numpy(-STATES))
    assert np.array_equal(world.to_numpy(kept.frames(3, 7).states), STATES[:, :, 3:7])
    middle = ReferenceTrajectory(kept, 0.3).middle(4, shift=1)
    expected = np.roll(STATES[:, :, 4:8], -1, axis=2)
    assert np.array_equal(world.to_numpy(middle.states), expected)
    assert np.array_equal(world.to_numpy(middle.history), -expected)


@pytest.mark.parametrize("ratio, steps, expected", [(0.3, 10, 3), (0.3, 12, 4), (0, 8, 0), (1, 8, 8), (0.1, 30, 3)])
def test_guided_steps_round_up_but_not_for_rounding_errors(ratio: float, steps: int, expected: int) -> None:
    assert guided_steps(ratio, steps) == expected


def test_files_that_cannot_be_read_or_written_are_said_so(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x00" * 40)
    for name in ("broken", "missing"):
        with pytest.raises(SnapshotError, match=name):
            load_trajectory(tmp_path / name, np.asarray)
    with pytest.raises(OutputError, match="cannot write"):
        save_trajectory(tmp_path / "no" / "folder", Trajectory(STATES), np.asarray)
