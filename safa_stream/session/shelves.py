"""Low and high shelves for many channels at once, whose gain can move while sound runs.

A shelf of gain g at w0, with r = sqrt(g) and Q = 1 / sqrt(2), in s / w0 and made digital by the bilinear transform:

    low    (s^2 + r sqrt(2) s + r^2) / (s^2 + sqrt(2) s + 1)  =  1 + (r - 1) band + (r^2 - 1) end,   end a low pass
    high   (r^2 s^2 + r sqrt(2) s + 1) / (s^2 + sqrt(2) s + 1)  =  the same,                         end a high pass

Only the two weights hold the gain; the filters behind them never change, so a gain that moves can neither click nor
make them unstable. A full cut or boost is within 3 dB of done at w0.

Sound is filtered in segments of SEGMENT samples that begin at multiples of SEGMENT of the session's clock. Each matrix
product has one fixed shape, and an unfinished segment is worked out again as a whole when it goes on: what comes out
is the same to the last bit whatever the blocks were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from safa_stream.trajectory import AnyNumpy, Tensors
from safa_stream.types import DoubleArray

SEGMENT = 64
#: Added and taken away again, it turns what is left of a sound long gone into 0: tiny numbers are slow to reckon with.
_DUST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """One shelf's filters, as products with segments x [rows, SEGMENT] and memories z [rows, 2].

    band and end, side by side [rows, 2 * SEGMENT], are (x, z) @ response; the next z is x @ drive + z @ carry.
    """

    response: DoubleArray
    drive: DoubleArray
    carry: DoubleArray


@dataclass(frozen=True, slots=True, eq=False)
class ShelfState:
    """`memory` [rows, 2] where the present segment began, `window` [rows, SEGMENT] what has come of it, then zeros."""

    memory: DoubleArray
    window: DoubleArray

    def only(self, rows: Sequence[bool] | npt.NDArray[np.bool_]) -> ShelfState:
        """The others forgotten, as if only silence had passed through them."""
        if all(rows):
            return self
        kept = np.array(rows)[:, None]
        return ShelfState(np.where(kept, self.memory, 0.0), np.where(kept, self.window, 0.0))

    def to_tensors(self, prefix: str) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        return {f"{prefix}memory": self.memory, f"{prefix}window": self.window}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], prefix: str, rows: int) -> ShelfState:
        """What `to_tensors` wrote. Raises KeyError or ValueError where it is missing or of another shape."""
        memory, window = (np.array(tensors[f"{prefix}{name}"], np.float64) for name in ("memory", "window"))
        return cls(memory.reshape(rows, 2), window.reshape(rows, SEGMENT))


def begin(rows: int) -> ShelfState:
    """The state of so many channels after silence."""
    return ShelfState(np.zeros((rows, 2)), np.zeros((rows, SEGMENT)))


def shelve(
    shelf: Shelf, state: ShelfState, position: int, samples: DoubleArray, roots: DoubleArray
) -> tuple[ShelfState, DoubleArray]:
    """Samples [rows, N] from the clock's `position` on through the shelf.

    roots [rows, N] or [rows, 1]: r of each sample, the square root of the shelf's amplitude gain; 1 leaves it as it is.
    """
    rows, count = samples.shape
    offset = position % SEGMENT
    whole, rest = divmod(offset + count, SEGMENT)
    segments = whole + (rest > 0)
    line = np.zeros((rows, segments * SEGMENT))
    line[:, :offset] = state.window[:, :offset]
    line[:, offset : offset + count] = samples
    told, memories = np.empty((segments, rows, SEGMENT + 2)), np.empty((whole + 1, rows, 2))
    x = told[:, :, :SEGMENT]
    x[...] = _segments(line)
    memories[0] = state.memory
    for before, after, drive in zip(memories[:-1], memories[1:], x[:whole] @ shelf.drive + _DUST, strict=True):
        np.matmul(before, shelf.carry, out=after)
        after += drive
        after -= _DUST
    told[:, :, SEGMENT:] = memories[:segments]
    wet = told @ shelf.response
    if roots.shape[1] > 1:
        moving = np.ones_like(line)
        moving[:, offset : offset + count] = roots
        roots = _segments(moving)
    band, end = wet[:, :, :SEGMENT], wet[:, :, SEGMENT:]
    band *= roots - 1
    end *= roots * roots - 1
    band += end
    band += x
    window = np.zeros((rows, SEGMENT))
    window[:, :rest] = line[:, whole * SEGMENT : whole * SEGMENT + rest]
    return ShelfState(memories[whole], window), band.swapaxes(0, 1).reshape(rows, -1)[:, offset : offset + count]


def _segments(line: DoubleArray) -> DoubleArray:
    """[rows, S * SEGMENT] as [S, rows, SEGMENT]."""
    return line.reshape(len(line), -1, SEGMENT).swapaxes(0, 1)


@lru_cache(maxsize=8)
def low_shelf(rate: int, frequency: float = 250.0) -> Shelf:
    """The shelf below `frequency` in Hz."""
    return _shelf(rate, frequency, low=True)


@lru_cache(maxsize=8)
def high_shelf(rate: int, frequency: float = 4000.0) -> Shelf:
    """The shelf above `frequency` in Hz."""
    return _shelf(rate, frequency, low=False)


def _shelf(rate: int, frequency: float, low: bool) -> Shelf:
    """Trapezoidal integrators (a state variable filter), then their responses written out over one segment."""
    g = np.tan(np.pi * min(frequency / rate, 0.45))
    # v = (band, low) before the band's sqrt(2), of z and x; both integrators step to 2 v - z.
    scale = 1 / (1 + g * (g + np.sqrt(2)))
    v_of_z = np.array([[scale, -g * scale], [g * scale, 1 - g * g * scale]])
    v_of_x = np.array([g * scale, g * g * scale])
    step, push = 2 * v_of_z - np.eye(2), 2 * v_of_x
    takes = np.array([[np.sqrt(2), 0.0], [0.0, 1.0] if low else [-np.sqrt(2), -1.0]])
    powers = [np.eye(2)]
    for _ in range(SEGMENT):
        powers.append(step @ powers[-1])
    ringing = np.stack([takes @ v_of_z @ power for power in powers[:SEGMENT]], axis=-1)
    impulse = np.zeros((2, SEGMENT))
    impulse[:, 0] = takes @ v_of_x + (0.0, 0.0 if low else 1.0)
    impulse[:, 1:] = np.stack([takes @ v_of_z @ power @ push for power in powers[: SEGMENT - 1]], axis=-1)
    later = np.arange(SEGMENT) - np.arange(SEGMENT)[:, None]
    sound = np.where(later >= 0, impulse[:, np.maximum(later, 0)], 0.0)
    response = np.concatenate([np.concatenate([sound[n], ringing[n]]) for n in (0, 1)], axis=1)
    drive = np.stack([power @ push for power in powers[SEGMENT - 1 :: -1]])
    return Shelf(response, drive, powers[-1].T.copy())
