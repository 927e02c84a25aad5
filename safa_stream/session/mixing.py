"""The mixer of a session: layers of sound in, one sound out, every change a ramp on the session's clock.

    layer ─► low shelf ─► high shelf ─► gain, mute, solo, fade, pan ─┬─► its duck ─┐
                                                                     │             ├─► sum ─► master: shelves, gain, pan
    layers that it ducks  ◄── how loud it is, smoothed ◄─────────────┘   others ───┘

All times are absolute samples, and what cannot be worked out sample by sample goes in segments that begin at multiples
of SEGMENT. The same commands at the same samples give the same sound, to the last bit, however it is cut into blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import SceneError, SnapshotError, UsageError
from safa_stream.session import shelves
from safa_stream.session.levels import DuckState, begin_duck, duck
from safa_stream.session.messages import LARGEST_LAYERS
from safa_stream.session.shelves import SEGMENT, ShelfState, high_shelf, low_shelf, shelve
from safa_stream.session.strips import (
    Channel,
    Ramp,
    Strip,
    aimed,
    channel_of,
    channel_of_row,
    checked,
    is_heard,
    row_of,
)
from safa_stream.trajectory import AnyNumpy, Tensors
from safa_stream.types import DoubleArray, FloatArray

SHORTEST_RAMP_SECONDS = 0.005

#: A state's filters for one pair of channels and how many rows they have.
_FILTERS = {"low": 2 * LARGEST_LAYERS, "high": 2 * LARGEST_LAYERS, "master_low": 2, "master_high": 2}


def _filters(channels: int) -> dict[str, int]:
    """All filters by name: each pair of channels has its own, so that a pair comes out alike whatever is beside it."""
    return {_of_pair(name, pair): rows for pair in range(-(-channels // 2)) for name, rows in _FILTERS.items()}


def _of_pair(name: str, pair: int) -> str:
    return name if not pair else f"{name}/{pair}"


@dataclass(frozen=True, slots=True, eq=False)
class MixState:
    """The whole mixer before sample `position`. filters: as named in _FILTERS, two rows a layer that can be."""

    rate: int
    position: int
    layers: Mapping[int, Channel]
    master: Channel
    filters: Mapping[str, ShelfState]
    ducking: DuckState
    channels: int = 2

    def channel(self, layer: int) -> Channel:
        """Raises UsageError where there is no such layer."""
        if layer not in self.layers:
            there = ", ".join(str(number) for number in self.layers) or "none"
            raise UsageError(f"there is no layer {layer!r} in the mix; there are: {there}")
        return self.layers[layer]

    def faded_out(self, layer: int) -> bool:
        """Whether a layer's fade has come to silence. Raises UsageError where there is no such layer."""
        return self.channel(layer).fade.rests(self.position, 0.0)

    def to_tensors(self, prefix: str = "mix/") -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        tensors: Tensors = {
            f"{prefix}clock": np.array([self.rate, self.position, self.channels]),
            f"{prefix}layers": np.array(list(self.layers), np.int64),
            f"{prefix}channels": np.array([row_of(channel) for channel in (*self.layers.values(), self.master)]),
        }
        for name, state in self.filters.items():
            tensors |= state.to_tensors(f"{prefix}{name}/")
        return tensors | self.ducking.to_tensors(f"{prefix}ducking/")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], prefix: str = "mix/") -> MixState:
        """What `to_tensors` wrote. Raises SnapshotError where something is missing or cannot be."""
        try:
            rate, position, channels = (int(value) for value in tensors[f"{prefix}clock"])
            if not 1 <= channels <= LARGEST_CHANNELS:
                raise ValueError(f"{channels} channels")
            *strips, master = (channel_of_row(np.asarray(row, np.float64)) for row in tensors[f"{prefix}channels"])
            layers = dict(zip((int(layer) for layer in tensors[f"{prefix}layers"]), strips, strict=True))
            filters = {
                n: ShelfState.from_tensors(tensors, f"{prefix}{n}/", rows) for n, rows in _filters(channels).items()
            }
            ducking = DuckState.from_tensors(tensors, f"{prefix}ducking/", LARGEST_LAYERS)
            return cls(rate, position, layers, master, filters, ducking, channels)
        except KeyError as error:
            raise SnapshotError(f"a saved mix lacks its tensor {error.args[0]}") from None
        except (IndexError, SceneError, TypeError, ValueError):
            raise SnapshotError("a saved mix is damaged: its tensors do not fit each other") from None


def begin(
    rate: int, strips: Mapping[int, Strip] | None = None, master: Strip | None = None, channels: int = 2
) -> MixState:
    """A mixer at sample 0, for a rate in Hz; the layers of `strips` sound from there on. Raises UsageError."""
    strips, master = dict(sorted((strips or {}).items())), checked(None, master or Strip())
    layers = {
        layer: channel_of(checked(layer, strip), is_heard(strip, strips.values())) for layer, strip in strips.items()
    }
    filters = {name: shelves.begin(rows) for name, rows in _filters(channels).items()}
    return MixState(rate, 0, layers, channel_of(master, not master.mute), filters, begin_duck(LARGEST_LAYERS), channels)


def add(state: MixState, layer: int, strip: Strip) -> MixState:
    """A new layer, silent until `fade_in`. Raises UsageError where that number is taken or cannot be."""
    if layer in state.layers:
        raise UsageError(f"there is a layer {layer} in the mix already")
    strips = [channel.strip for channel in state.layers.values()]
    channel = replace(channel_of(checked(layer, strip), is_heard(strip, strips)), fade=Ramp(0.0, 0.0))
    layers = dict(sorted([*state.layers.items(), (layer, channel)]))
    return _all_aimed(replace(state, layers=layers), shortest_ramp(state.rate))


def remove(state: MixState, layer: int) -> MixState:
    """End a layer at once; fade it out before. Raises UsageError where there is no such layer."""
    state.channel(layer)
    layers = {number: channel for number, channel in state.layers.items() if number != layer}
    kept = [number != layer for number in range(LARGEST_LAYERS)]
    of_layers = [name for name in state.filters if not name.startswith("master")]
    filters = {name: state.filters[name].only(np.repeat(kept, 2)) for name in of_layers}
    state = replace(state, layers=layers, filters={**state.filters, **filters}, ducking=state.ducking.only(kept))
    return _all_aimed(state, shortest_ramp(state.rate))


def set_strip(state: MixState, layer: int | None, strip: Strip, ramp_samples: int) -> MixState:
    """Move a layer's values, or the master's with layer None, to those of `strip` over `ramp_samples`.

    A ramp is shortest_ramp(rate) long at least. Each value moves in a line, as an amplitude (ducking's depth in dB);
    one whose goal stays the same keeps the ramp that it is in. Raises UsageError for a layer that there is not.
    """
    length = max(ramp_samples, shortest_ramp(state.rate))
    if layer is None:
        master = checked(None, strip)
        return replace(state, master=aimed(state.master, master, not master.mute, state.position, length))
    channel, strip = state.channel(layer), checked(layer, strip)
    if (strip.mute, strip.solo) == (channel.strip.mute, channel.strip.solo):
        # Who is heard stays the same: nothing moves in other layers.
        moved = aimed(channel, strip, channel.audible.ends > 0, state.position, length)
        return replace(state, layers={**state.layers, layer: moved})
    return _all_aimed(replace(state, layers={**state.layers, layer: replace(channel, strip=strip)}), length)


def fade_in(state: MixState, layer: int, samples: int) -> MixState:
    """Let a layer come up from where its fade is, over so many samples. Raises UsageError for an unknown layer."""
    return _faded(state, layer, 1.0, samples)


def fade_out(state: MixState, layer: int, samples: int) -> MixState:
    """Let a layer sink into silence; `faded_out` tells when it is there. Raises UsageError for an unknown layer."""
    return _faded(state, layer, 0.0, samples)


def shortest_ramp(rate: int) -> int:
    """Samples that any change takes at least."""
    return max(math.ceil(SHORTEST_RAMP_SECONDS * rate), 2 * SEGMENT)


def mix(state: MixState, sounds: Mapping[int, FloatArray], count: int | None = None) -> tuple[MixState, FloatArray]:
    """The next N samples of all layers, [channels, N] each, as one sound [channels, N].

    A layer without sound is silent, and so is a sample that is not a finite number. count: N, needed where no layer has
    sound. Raises UsageError for the sound of a layer that there is not, and for sounds of other shapes.
    """
    state, out, _ = mix_apart(state, sounds, count, ())
    return state, out


def mix_apart(
    state: MixState, sounds: Mapping[int, FloatArray], count: int | None, apart: Iterable[int]
) -> tuple[MixState, FloatArray, dict[int, FloatArray]]:
    """`mix`, and some layers as they go into the master, [channels, N] each: their sum is what the master gets."""
    count = _count(state, sounds, count)
    if count == 0:
        empty = np.zeros((state.channels, 0), np.float32)
        return state, empty, dict.fromkeys(apart, empty)
    times = np.arange(state.position, state.position + count, dtype=np.float64)
    stack = np.zeros((LARGEST_LAYERS, state.channels, count))
    for layer, sound in sounds.items():
        stack[layer] = sound
    if not np.isfinite(stack).all():
        stack[~np.isfinite(stack)] = 0.0
    filters, stack = _shelved(state, "", state.layers, stack, times)
    for layer, channel in state.layers.items():
        _scale(stack[layer], channel, times)
    ducking = _ducked(state, stack)
    stems = {layer: stack[layer].astype(np.float32) for layer in apart}
    out = np.zeros((1, state.channels, count))
    for layer in state.layers:
        out[0] += stack[layer]
    master_filters, out = _shelved(state, "master_", {0: state.master}, out, times)
    _scale(out[0], state.master, times)
    filters, after = {**state.filters, **filters, **master_filters}, state.position + count
    return replace(state, position=after, filters=filters, ducking=ducking), out[0].astype(np.float32), stems


def _shelved(
    state: MixState, prefix: str, channels: Mapping[int, Channel], stack: DoubleArray, times: DoubleArray
) -> tuple[dict[str, ShelfState], DoubleArray]:
    """A stack [strips, channels, N] through both shelves; a shelf that is flat in all of them is left out."""
    filters, position, end, width = {}, state.position, state.position + len(times), stack.shape[1]
    for name, shelf in (("low", low_shelf(state.rate)), ("high", high_shelf(state.rate))):
        ramps: dict[int, Ramp] = {layer: getattr(channel, name) for layer, channel in channels.items()}
        if all(ramp.rests(position, 1.0) for ramp in ramps.values()):
            continue
        still = all(position >= ramp.stop for ramp in ramps.values())
        rows = 2 * len(stack)
        roots = np.ones((len(stack), 2, 1 if still else len(times)))
        for layer, ramp in ramps.items():
            roots[layer] = ramp.along(times)
        # What is flat is forgotten at once: else it would depend on the blocks when it is.
        heard = np.repeat([n in ramps and not ramps[n].rests(end, 1.0) for n in range(len(stack))], 2)
        parts = []
        for pair, first in enumerate(range(0, width, 2)):
            two = stack[:, first : first + 2]
            if first + 1 == width:
                # One that is alone is filtered beside silence.
                two = np.concatenate([two, np.zeros_like(two)], axis=1)
            key = _of_pair(prefix + name, pair)
            memory, made = shelve(shelf, state.filters[key], position, two.reshape(rows, -1), roots.reshape(rows, -1))
            filters[key] = memory.only(heard)
            parts.append(made.reshape(two.shape)[:, : width - first])
        stack = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return filters, stack


def _ducked(state: MixState, stack: DoubleArray) -> DuckState:
    """Duck a stack [layers, channels, N] in place, by how loud the first pair of another layer is."""
    count = stack.shape[2]
    ducked = {layer: channel for layer, channel in state.layers.items() if channel.ducks(state.position)}
    if not ducked:
        return state.ducking
    power = np.zeros((LARGEST_LAYERS, count))
    for layer, channel in ducked.items():
        if channel.strip.duck_by is not None:
            left, right = stack[channel.strip.duck_by][:2]
            power[layer] = 0.5 * (left * left + right * right)

    def depth(times: DoubleArray) -> DoubleArray:
        depths = np.zeros((LARGEST_LAYERS, len(times)))
        for layer, channel in ducked.items():
            depths[layer] = channel.depth.along(times)
        return depths

    ducking, gains = duck(state.ducking, state.rate, state.position, power, depth)
    for layer in ducked:
        stack[layer] *= gains[layer]
    return ducking.only([n in ducked and ducked[n].ducks(state.position + count) for n in range(LARGEST_LAYERS)])


def _scale(sound: DoubleArray, channel: Channel, times: DoubleArray) -> None:
    for side, gain in zip(sound, channel.gains(times, len(sound)), strict=True):
        if not isinstance(gain, float) or gain != 1.0:
            side *= gain


def _all_aimed(state: MixState, length: int) -> MixState:
    """All layers on their way to their strips, with who is heard worked out anew."""
    strips, position = [channel.strip for channel in state.layers.values()], state.position
    moved = {
        layer: aimed(channel, channel.strip, is_heard(channel.strip, strips), position, length)
        for layer, channel in state.layers.items()
    }
    return replace(state, layers=moved)


def _faded(state: MixState, layer: int, goal: float, samples: int) -> MixState:
    channel = state.channel(layer)
    fade = channel.fade.aimed(goal, state.position, max(samples, shortest_ramp(state.rate)))
    return replace(state, layers={**state.layers, layer: replace(channel, fade=fade)})


def _count(state: MixState, sounds: Mapping[int, FloatArray], count: int | None) -> int:
    for layer in sounds:
        state.channel(layer)
    width = state.channels
    shapes = {sound.shape for sound in sounds.values()} | (set() if count is None else {(width, count)})
    if len(shapes) != 1 or any(len(shape) != 2 or shape[0] != width for shape in shapes):
        said = ", ".join(map(str, shapes)) or "nothing"
        raise UsageError(f"sounds of layers must be [{width}, N] with one N, not {said}")
    return int(shapes.pop()[1])
