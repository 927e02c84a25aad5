"""Gains that follow how loud a sound is: a layer's level while it is made, and ducking while it is mixed.

A model's sound has no loudness of its own. A Leveller brings a layer to one, from this layer's sound alone: the first
piece gets the gain that it needs, later ones a gain that follows the last WINDOW_SECONDS too slowly to be noticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.loudness import STEP_SECONDS, KWeighting, gated_loudness, k_weighting, step_energy
from safa_stream.session.shelves import SEGMENT
from safa_stream.session.stereo import first_pair
from safa_stream.trajectory import AnyNumpy, Tensors
from safa_stream.types import DoubleArray, FloatArray

TARGET = -23.0
WINDOW_SECONDS = 30.0
#: dB a second.
SLEW = 0.3
LARGEST_GAIN = 30.0
#: Where sound begins after silence, the gain comes up in this time.
ENTRY_SECONDS = 0.05

#: How fast ducking sets in and lets go (time constants), and the RMS amplitude at which all of it is there: -30 dBFS.
ATTACK_SECONDS = 0.020
RELEASE_SECONDS = 0.400
LOUD = 10 ** (-30 / 20)


@dataclass(frozen=True, slots=True, eq=False)
class Leveller:
    """Brings a layer at `rate` Hz to `target` LUFS, by its first pair: all of its channels get the gain of that."""

    rate: int
    target: float
    weighting: KWeighting


@dataclass(frozen=True, slots=True, eq=False)
class LevelState:
    """What a leveller knows of its layer.

    history [2, H], pending [2, P]: the K filter's past and the begun step; energies [E]: steps of the last
    WINDOW_SECONDS; gain: the amplitude that the last piece ended with; started: some sound has been heard; taken:
    samples so far.
    """

    history: FloatArray
    pending: FloatArray
    energies: DoubleArray
    gain: float = 1.0
    started: bool = False
    taken: int = 0

    def to_tensors(self, prefix: str) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        return {
            f"{prefix}history": self.history,
            f"{prefix}pending": self.pending,
            f"{prefix}energies": self.energies,
            f"{prefix}level": np.array([self.gain, self.started, self.taken], np.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], prefix: str) -> LevelState:
        """What `to_tensors` wrote. Raises SnapshotError where something is missing or cannot be."""
        try:
            history, pending = (np.asarray(tensors[f"{prefix}{name}"], np.float32) for name in ("history", "pending"))
            gain, started, taken = np.asarray(tensors[f"{prefix}level"], np.float64).tolist()
            energies = np.asarray(tensors[f"{prefix}energies"], np.float64)
        except KeyError as error:
            raise SnapshotError(f"a saved level lacks its tensor {error.args[0]}") from None
        except (TypeError, ValueError):
            raise SnapshotError("a saved level is damaged") from None
        return cls(history, pending, energies, gain, bool(started), int(taken))


def leveller(rate: int, target: float = TARGET) -> Leveller:
    """A leveller to `target` LUFS. Raises UsageError where that is not from -70 to 0."""
    if not -70 <= target <= 0:
        raise UsageError(f"a layer's loudness must be from -70 to 0 LUFS, not {target!r}")
    return Leveller(rate, target, k_weighting(rate))


def begin_level(leveller: Leveller) -> LevelState:
    """The state before a layer's first piece."""
    return LevelState(np.zeros((2, leveller.weighting.history), np.float32), np.zeros((2, 0), np.float32), np.zeros(0))


def level(leveller: Leveller, state: LevelState, piece: FloatArray) -> tuple[LevelState, FloatArray]:
    """The layer's next piece [channels, N] with its gain, which moves in a line inside the piece and jumps nowhere.

    The first piece that can be heard (of 100 ms or more) sets the gain; a silent one leaves it as it is.
    """
    weighting, history, fresh = leveller.weighting, state.history, []
    samples = np.concatenate([state.pending, np.nan_to_num(first_pair(piece), nan=0.0, posinf=0.0, neginf=0.0)], axis=1)
    whole = samples.shape[1] // weighting.step * weighting.step
    for start in range(0, whole, weighting.step):
        history, energy = step_energy(weighting, history, samples[:, start : start + weighting.step])
        fresh.append(energy)
    energies = np.concatenate([state.energies, fresh])[-round(WINDOW_SECONDS / STEP_SECONDS) :]
    gain, started, count = state.gain, state.started, piece.shape[1]
    if np.isfinite(gated_loudness(np.array(fresh))):
        wanted = min(leveller.target - gated_loudness(energies), LARGEST_GAIN)
        if started:
            moved = 20 * math.log10(gain)
            most = SLEW * count / leveller.rate
            wanted = moved + min(max(wanted - moved, -most), most)
        gain, started = 10 ** (wanted / 20), True
    if state.started:
        line = np.linspace(state.gain, gain, count, endpoint=False)
    else:
        # Before this piece there was silence or nothing at all.
        entry = min(count, round(ENTRY_SECONDS * leveller.rate)) if state.taken else 0
        line = np.concatenate([np.linspace(state.gain, gain, entry, endpoint=False), np.full(count - entry, gain)])
    after = LevelState(history, samples[:, whole:].copy(), energies, gain, started, state.taken + count)
    return after, piece * line.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class DuckState:
    """Ducking of so many layers: how far it is, share [layers] from 0 to 1; the gains that the present segment begins
    and ends with, nodes [layers, 2]; the power of the sidechain so far in it, window [layers, SEGMENT], then zeros.
    """

    share: DoubleArray
    nodes: DoubleArray
    window: DoubleArray

    def only(self, rows: Sequence[bool] | npt.NDArray[np.bool_]) -> DuckState:
        """The others as they were at the beginning."""
        kept = np.array(rows)[:, None]
        return DuckState(
            np.where(kept[:, 0], self.share, 0.0), np.where(kept, self.nodes, 1.0), np.where(kept, self.window, 0.0)
        )

    def to_tensors(self, prefix: str) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        return {f"{prefix}share": self.share, f"{prefix}nodes": self.nodes, f"{prefix}window": self.window}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], prefix: str, layers: int) -> DuckState:
        """What `to_tensors` wrote. Raises KeyError or ValueError where it is missing or of another shape."""
        names = ("share", "nodes", "window")
        share, nodes, window = (np.array(tensors[f"{prefix}{name}"], np.float64) for name in names)
        return cls(share.reshape(layers), nodes.reshape(layers, 2), window.reshape(layers, SEGMENT))


def begin_duck(layers: int) -> DuckState:
    """The state before the first sample: nothing is ducked."""
    return DuckState(np.zeros(layers), np.ones((layers, 2)), np.zeros((layers, SEGMENT)))


def duck(
    state: DuckState, rate: int, position: int, power: DoubleArray, depth: Callable[[DoubleArray], DoubleArray]
) -> tuple[DuckState, DoubleArray]:
    """Gains [layers, N] from `position` on for sidechains of that power [layers, N] (mean square of their channels).

    Each segment's RMS moves the share once the segment is over, and the gain moves in a line to 10^(-depth share / 20)
    during the next. depth: dB [layers, T] at absolute samples [T].
    """
    (rows, count), offset = power.shape, position % SEGMENT
    whole, rest = divmod(offset + count, SEGMENT)
    line = np.zeros((rows, (whole + 1) * SEGMENT))
    line[:, :offset] = state.window[:, :offset]
    line[:, offset : offset + count] = power
    sums = line[:, : whole * SEGMENT].reshape(rows, whole, SEGMENT)
    while sums.shape[2] > 1:
        # Half by half, because the order in which numpy adds depends on how many segments there are.
        sums = sums[:, :, : sums.shape[2] // 2] + sums[:, :, sums.shape[2] // 2 :]
    wanted = np.minimum(1.0, np.sqrt(sums[:, :, 0] / SEGMENT) / LOUD)
    attack, release = (1 - math.exp(-SEGMENT / (seconds * rate)) for seconds in (ATTACK_SECONDS, RELEASE_SECONDS))
    shares, share = np.empty((rows, whole)), state.share
    for index, aim in enumerate(wanted.T):
        share = share + np.where(aim > share, attack, release) * (aim - share)
        shares[:, index] = share
    ends = position - offset + SEGMENT * np.arange(2, whole + 2, dtype=np.float64)
    nodes = np.concatenate([state.nodes, 10 ** (-depth(ends) * shares / 20)], axis=1)
    steps = np.diff(nodes)[:, :, None]
    gains = nodes[:, :-1, None] + steps * (np.arange(SEGMENT) / SEGMENT)
    window = np.zeros((rows, SEGMENT))
    window[:, :rest] = line[:, whole * SEGMENT : whole * SEGMENT + rest]
    return DuckState(share, nodes[:, -2:], window), gains.reshape(rows, -1)[:, offset : offset + count]
