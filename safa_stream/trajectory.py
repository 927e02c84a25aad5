"""Trajectories: a view's latents after every solver step, kept so that later views can be joined to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import array_api_compat
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from safa_stream.errors import OutputError, SnapshotError
from safa_stream.types import Array

ToNumpy = Callable[[Array], npt.NDArray[np.float32]]
FromNumpy = Callable[[npt.NDArray[np.float32]], Array]
AnyNumpy = npt.NDArray[np.generic]
Tensors = dict[str, AnyNumpy]


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """`states` [N + 1, C, T, F]: 0 is the noise, i the state after step i; `history` the solver's h alike, or None.

    times: the solver's time of every state, falling; known where the trajectory may meet a view of other steps.
    """

    states: Array
    history: Array | None = None
    times: tuple[float, ...] = ()

    @property
    def steps(self) -> int:
        """N, the number of steps that are kept."""
        return int(self.states.shape[0]) - 1

    def kept(self, which: str, index: int) -> Array:
        """`states` or `history` at an index; without history, what the solver came to is its clean estimate."""
        values = getattr(self, which)
        return self.states[-1] if values is None else values[index]

    def frames(self, start: int, stop: int) -> Trajectory:
        """The same steps of frames start .. stop - 1."""
        history = None if self.history is None else self.history[:, :, start:stop]
        return Trajectory(self.states[:, :, start:stop], history, self.times)

    def rolled(self, shift: int) -> Trajectory:
        """Frames turned in a circle: frame m becomes the former frame m + shift."""
        return self.each(lambda values: array_api_compat.array_namespace(values).roll(values, -shift, axis=2))

    def each(self, change: Callable[[Array], Array]) -> Trajectory:
        """`change` done to the states and to the history."""
        history = None if self.history is None else change(self.history)
        return Trajectory(change(self.states), history, self.times)

    def at(self, times: tuple[float, ...]) -> Trajectory:
        """The states at other times, between two of its own on the straight line; only as far as its own times reach.

        A view made with fewer or more steps than the one before it meets its past at its own noise levels.
        """
        if times == self.times or not self.times:
            return self
        own = np.array(self.times)
        reached = [time for time in times if time >= own[-1] - 1e-9]
        # Times fall; np.interp wants them to rise.
        places = np.interp(-np.array(reached), -own, np.arange(len(own)))
        low = np.minimum(places.astype(int), len(own) - 2)
        share = places - low

        def between(values: Array) -> Array:
            xp = array_api_compat.array_namespace(values)
            return xp.stack(
                [values[k] * (1 - w) + values[k + 1] * w for k, w in zip(low.tolist(), share.tolist(), strict=True)]
            )

        return Trajectory(between(self.states), None if self.history is None else between(self.history), tuple(reached))

    def joined(self, after: Trajectory) -> Trajectory:
        """The same steps of these frames and of those `after` them, at this one's times."""
        fitted, xp = after.at(self.times), array_api_compat.array_namespace(self.states)
        history = None
        if self.history is not None and fitted.history is not None:
            history = xp.concat([self.history, fitted.history], axis=2)
        return Trajectory(xp.concat([self.states, fitted.states], axis=2), history, self.times)

    def to_tensors(self, prefix: str, to_numpy: ToNumpy) -> Tensors:
        """Named numpy arrays for a safetensors file."""
        tensors: Tensors = {f"{prefix}states": np.ascontiguousarray(to_numpy(self.states))}
        if self.history is not None:
            tensors[f"{prefix}history"] = np.ascontiguousarray(to_numpy(self.history))
        if self.times:
            tensors[f"{prefix}times"] = np.array(self.times, np.float64)
        return tensors

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, npt.NDArray[np.generic]], prefix: str, from_numpy: FromNumpy
    ) -> Trajectory:
        """What `to_tensors` wrote. Raises SnapshotError where it is missing."""
        if f"{prefix}states" not in tensors:
            raise SnapshotError(f"a saved trajectory lacks its tensor {prefix}states")
        states, history = (
            None if values is None else from_numpy(np.asarray(values, np.float32))
            for values in (tensors.get(f"{prefix}states"), tensors.get(f"{prefix}history"))
        )
        times = tensors.get(f"{prefix}times")
        return cls(states, history, () if times is None else tuple(np.asarray(times, np.float64).tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceTrajectory:
    """The first guided_steps(ratio, S) steps of a view of its own; every view borrows Mid frames from it (Eq. 11)."""

    trajectory: Trajectory
    ratio: float

    def middle(self, overlap: int, shift: int = 0) -> Trajectory:
        """The frames between the overlaps, turned by `shift`."""
        middle = self.trajectory.frames(overlap, int(self.trajectory.states.shape[2]) - overlap)
        return middle.rolled(shift) if shift else middle


def copied(values: Array) -> Array:
    """The same numbers in memory of their own, so that a few frames do not keep a whole view's."""
    return array_api_compat.array_namespace(values).asarray(values, copy=True)


def guided_steps(ratio: float, steps: int) -> int:
    """How many of the first steps the reference guides: ratio * S, rounded up."""
    return min(steps, math.ceil(ratio * steps - 1e-9))


def save_trajectory(path: Path, trajectory: Trajectory, to_numpy: ToNumpy) -> None:
    """Write a safetensors file. Raises OutputError where that is not possible."""
    try:
        save_file(trajectory.to_tensors("", to_numpy), path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write the trajectory to {path}: {error}") from error


def load_trajectory(path: Path, from_numpy: FromNumpy) -> Trajectory:
    """Read what `save_trajectory` wrote. Raises SnapshotError where it is not one."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SnapshotError(f"cannot read a trajectory from {path}: {error}") from error
    return Trajectory.from_tensors(tensors, "", from_numpy)
