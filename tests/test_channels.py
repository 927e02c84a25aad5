"""Channel maps: who gets what, what it weighs, and the equations of ambisonics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from safa_stream.channels import AMBIX, LAYOUTS, ChannelMap, azimuths, channel_map, encoding
from safa_stream.errors import UsageError


def sound(channels: int) -> np.ndarray:
    """Every channel its own number, from 1."""
    return np.repeat(np.arange(1, channels + 1, dtype=np.float32)[:, None], 3, axis=1)


@pytest.mark.parametrize(
    ("spec", "channels", "outputs", "mask"),
    [
        ("quad", 4, [1, 2, 3, 4], 0x33),
        ("5.1", 5, [1, 2, 5, 0, 3, 4], 0x3F),
        ("7.1", 7, [1, 2, 7, 0, 3, 4, 5, 6], 0x63F),
        ("7.1.4", 11, [1, 2, 11, 0, 3, 4, 5, 6, 7, 8, 9, 10], 0x2D63F),
        ("FL,FR", 2, [1, 2], 0x3),
        ("fc, fl, fr", 3, [3, 1, 2], 0),
        ("BR,BL", 2, [2, 1], 0),
        ("3,4,-,1", 4, [3, 4, 0, 1], 0),
        ("2", 2, [2], 0),
    ],
)
def test_every_output_gets_its_channel(spec: str, channels: int, outputs: list[int], mask: int) -> None:
    found = channel_map(spec)
    assert (found.channels, found.outputs, found.mask) == (channels, len(outputs), mask)
    assert found.apply(sound(channels))[:, 0].tolist() == outputs
    # Channels that the map does not know of change nothing.
    assert np.array_equal(found.apply(sound(16)), found.apply(sound(channels)))


@pytest.mark.parametrize(
    ("spec", "sources", "said"),
    [
        ("6.2", None, "is none of quad, 5.1"),
        ("", None, "is none of"),
        ("FL,FL", None, "twice"),
        ("FL,3", None, "is none of"),
        ("17", None, "is none of"),
        ("0,1", None, "is none of"),
        ("-,-", None, "no output that sounds"),
        (",".join(["1"] * 17), None, "at most 16"),
        ("5.1", 6, "takes 5 channels, not 6"),
        (AMBIX, 1, "2 to 16 sources"),
        (AMBIX, 17, "2 to 16 sources"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(spec: str, sources: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        channel_map(spec, sources)
    assert "\n" not in str(caught.value)


def test_loudness_weighs_as_bs_1770_says() -> None:
    side = pytest.approx(1.4125, abs=1e-3)
    assert channel_map("5.1").weights == (1, 1, 1, 0, side, side)
    # Loudspeakers behind 120 degrees weigh as those in front.
    assert channel_map("7.1").weights == (1, 1, 1, 0, 1, 1, side, side)
    assert channel_map("quad").weights == (1, 1, 1, 1)
    assert channel_map("1,2,-").weights == (1, 1, 1)
    assert channel_map(AMBIX).weights == (1, 0, 0, 0)


class TestAmbisonics:
    @pytest.mark.parametrize("sources", [2, 3, 4, 8, 15, 16])
    def test_sources_stand_evenly_in_a_ring_left_and_right_alike(self, sources: int) -> None:
        angles = np.sort(np.array(azimuths(sources)))
        apart = np.diff([*angles, angles[0] + 2 * math.pi])
        assert apart == pytest.approx([2 * math.pi / sources] * sources)
        assert np.sort(-angles) == pytest.approx(angles, abs=1e-12)
        assert all(angle > 0 for angle in azimuths(sources)[: sources - 1 : 2])

    def test_gains_are_those_of_acn_and_sn3d(self) -> None:
        # One source after the other: W is the source itself, and X^2 + Y^2 + Z^2 = W^2.
        for column, angle in zip(encoding(4).T, azimuths(4), strict=True):
            assert column == pytest.approx([1, math.sin(angle), 0, math.cos(angle)], abs=1e-7)
            assert (column[1:] ** 2).sum() == pytest.approx(column[0] ** 2)
        assert np.rad2deg(azimuths(4)) == pytest.approx([45, -45, 135, -135])

    def test_a_source_is_found_where_it_was_put(self) -> None:
        found = channel_map(AMBIX, 8)
        for source, angle in enumerate(azimuths(8)):
            one = np.zeros((8, 5), np.float32)
            one[source] = 1
            w, y, z, x = found.apply(one)[:, 0]
            assert (w, z) == (1, 0)
            assert math.atan2(y, x) == pytest.approx(angle, abs=1e-6)


def test_layouts_are_in_the_order_of_a_file() -> None:
    for name in LAYOUTS:
        assert isinstance(channel_map(name), ChannelMap) and channel_map(name).mask
