"""Channel maps: which channel of a sound goes to which output. Loudspeaker layouts, lists, and first-order ambisonics.

A sound of many channels comes in pairs (0 1, 2 3, ...) and, where their number is odd, one more. A layout gives the
pairs to its pairs of loudspeakers, the front first, and the odd one to the centre. The low-frequency channel stays
silent: it is for effects, and what a sound has of bass is in all other channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

LARGEST_CHANNELS = 16
AMBIX = "ambix"
#: Virtual sources of ambisonics where nobody says how many.
AMBIX_SOURCES = 4
#: Loudspeakers by the names and bits of WAVE_FORMAT_EXTENSIBLE's channel mask, in a file's order.
SPEAKERS = {
    "FL": 0x1, "FR": 0x2, "FC": 0x4, "LFE": 0x8, "BL": 0x10, "BR": 0x20, "BC": 0x100, "SL": 0x200, "SR": 0x400,
    "TFL": 0x1000, "TFR": 0x4000, "TBL": 0x8000, "TBR": 0x20000,
}  # fmt: skip
#: In this order loudspeakers are given channels.
_PAIRS = (("FL", "FR"), ("BL", "BR"), ("SL", "SR"), ("TFL", "TFR"), ("TBL", "TBR"))
_SINGLE = ("FC", "BC")
_SILENT = "LFE"
LAYOUTS = {
    "quad": ("FL", "FR", "BL", "BR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
    "7.1.4": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR", "TFL", "TFR", "TBL", "TBR"),
}
#: BS.1770-4: what comes from 60 to 120 degrees weighs 1.5 dB more; elsewhere a loudspeaker weighs 1, LFE nothing.
_AT_THE_SIDE = 10**0.15


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """Where a sound's channels go.

    spec: as `channel_map` reads it; sources: for every output the channel that it plays, None for silence, empty for
    ambisonics; speakers: the outputs' names, empty where they have none; channels: how many a sound has to have.
    """

    spec: str
    channels: int
    sources: tuple[int | None, ...] = ()
    speakers: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many channels there are behind it."""
        return len(self.sources) or 4

    @property
    def is_ambisonic(self) -> bool:
        """Whether the outputs are W, Y, Z, X rather than loudspeakers."""
        return not self.sources

    @property
    def mask(self) -> int:
        """WAVE_FORMAT_EXTENSIBLE's channel mask; 0 where it cannot say what the outputs are."""
        bits = [SPEAKERS[name] for name in self.speakers]
        return sum(bits) if bits == sorted(set(bits)) else 0

    @property
    def weights(self) -> tuple[float, ...]:
        """What every output counts in BS.1770-4's loudness: of ambisonics W alone, which all sources are in at once."""
        if self.is_ambisonic:
            return (1.0, 0.0, 0.0, 0.0)
        # In 5.1 the back pair stands at 110 degrees; where there is a side pair, or no centre, it stands farther back.
        side = {"SL", "SR"} if "SL" in self.speakers or "FC" not in self.speakers else {"BL", "BR"}
        named = self.speakers or ("",) * self.outputs
        return tuple(0.0 if name == _SILENT else _AT_THE_SIDE if name in side else 1.0 for name in named)

    def apply(self, sound: FloatArray) -> FloatArray:
        """A sound [channels, N], or one with more channels, as [outputs, N]."""
        if self.is_ambisonic:
            return encoding(self.channels) @ sound[: self.channels]
        out = np.zeros((self.outputs, sound.shape[1]), np.float32)
        for output, source in enumerate(self.sources):
            if source is not None:
                out[output] = sound[source]
        return out


def channel_map(spec: str, sources: int | None = None) -> ChannelMap:
    """A map by the name of a layout, by "ambix", or by a list such as "FL,FR,BL,BR" or "3,4,-,1".

    A list has an entry for every output: a loudspeaker, a channel of the sound counted from 1, or "-" for silence.
    sources: of ambisonics, how many there are around the listener. Raises UsageError.
    """
    name = spec.strip()
    if name.lower() == AMBIX:
        count = AMBIX_SOURCES if sources is None else sources
        if not 2 <= count <= LARGEST_CHANNELS:
            raise UsageError(f"ambisonics are made of 2 to {LARGEST_CHANNELS} sources, not {count}")
        return ChannelMap(AMBIX, count)
    entries = LAYOUTS.get(name.lower()) or tuple(entry.strip().upper() for entry in name.split(","))
    if len(entries) > LARGEST_CHANNELS:
        raise UsageError(f"a channel map has at most {LARGEST_CHANNELS} outputs, not {len(entries)}")
    if all(entry in SPEAKERS for entry in entries):
        if len(set(entries)) < len(entries):
            raise UsageError(f"channel map {name!r} names a loudspeaker twice")
        places = _assigned(entries)
        found = tuple(places.get(entry) for entry in entries)
        known = ChannelMap(name.lower() if name.lower() in LAYOUTS else name, len(places), found, entries)
    else:
        found = tuple(_source(entry, name) for entry in entries)
        known = ChannelMap(name, max((source + 1 for source in found if source is not None), default=0), found)
    if not known.channels:
        raise UsageError(f"channel map {name!r} has no output that sounds")
    if sources is not None and sources != known.channels:
        raise UsageError(f"channel map {name!r} takes {known.channels} channels, not {sources}: leave the number out")
    return known


def encoding(sources: int) -> FloatArray:
    """[4, sources]: first-order ambisonics (ACN order W Y Z X, SN3D) of sources in a ring around the listener.

        W = s    Y = s sin a cos e    Z = s sin e    X = s cos a cos e        a: to the left, e: upwards; here e = 0

    Pairs stand to the left and right of the line ahead, evenly around; an odd source stands ahead.
    """
    angles = np.array(azimuths(sources))
    return np.stack([np.ones(sources), np.sin(angles), np.zeros(sources), np.cos(angles)]).astype(np.float32)


def azimuths(sources: int) -> tuple[float, ...]:
    """Where each source stands, in radians to the left of ahead: neighbours in the ring are equally far apart."""
    odd, apart = sources % 2, 2 * math.pi / sources
    left = [(pair + (1 if odd else 0.5)) * apart for pair in range(sources // 2)]
    return tuple(angle for one in left for angle in (one, -one)) + (0.0,) * odd


def _assigned(speakers: Sequence[str]) -> dict[str, int]:
    """Channel by loudspeaker: pairs of which both are there first, then what is left."""
    whole = [name for pair in _PAIRS if set(pair) <= set(speakers) for name in pair]
    rest = [name for name in speakers if name not in whole and name != _SILENT]
    order = [*whole, *sorted(rest, key=lambda name: name not in _SINGLE)]
    return {name: channel for channel, name in enumerate(order)}


def _source(entry: str, spec: str) -> int | None:
    if entry == "-":
        return None
    if not entry.isdecimal() or not 1 <= int(entry) <= LARGEST_CHANNELS:
        layouts = ", ".join((*LAYOUTS, AMBIX))
        raise UsageError(
            f"channel map {spec!r:.80} is none of {layouts}, nor a list of loudspeakers ({', '.join(SPEAKERS)}) or of "
            f"channels 1 to {LARGEST_CHANNELS} and '-'"
        )
    return int(entry) - 1
