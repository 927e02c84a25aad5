"""The measures behind `eval channels`: known correlations come out, and the study is made from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_stream.errors import OutputError
from safa_stream.evaluation import channels
from tests.server.ws_rig import toy_48k

RATE = 48_000


def noise(seed: int, seconds: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


class TestMeasures:
    def test_a_share_in_common_is_the_correlation(self) -> None:
        common, one, two = noise(1), noise(2), noise(3)
        for share in (0.0, 0.3, 0.8):
            a, b = (np.sqrt(share) * common + np.sqrt(1 - share) * own for own in (one, two))
            found = channels.correlations(a, b, RATE)
            assert found[0] == pytest.approx(share, abs=0.02)
            # 4 s of the octave at 125 Hz hold about 350 numbers, of that at 8 kHz more than 20 000.
            assert found[1:] == pytest.approx([share] * len(channels.OCTAVES), abs=0.12)
            assert found[-1] == pytest.approx(share, abs=0.03)
        assert channels.correlations(common, -common, RATE) == pytest.approx([-1.0] * 8, abs=1e-6)

    def test_a_band_is_looked_at_by_itself(self) -> None:
        time = np.arange(4 * RATE) / RATE
        same = np.sin(2 * np.pi * 500 * time)
        a, b = same + np.sin(2 * np.pi * 4000 * time), same + np.cos(2 * np.pi * 4000 * time)
        found = dict(zip(channels.OCTAVES, channels.correlations(a, b, RATE)[1:], strict=True))
        assert found[500] == pytest.approx(1, abs=1e-3) and found[4000] == pytest.approx(0, abs=1e-3)

    def test_an_echo_is_found_at_its_lag_and_silence_is_nothing(self) -> None:
        a = noise(4)
        b = np.concatenate([np.zeros(480, np.float32), a[:-480]])
        assert abs(channels.correlations(a, b, RATE)[0]) < 0.02 and channels.lagged(a, b, RATE) > 0.98
        far = np.concatenate([np.zeros(4800, np.float32), a[:-4800]])
        assert channels.lagged(a, far, RATE) < 0.02
        assert channels.lagged(a, 0 * a, RATE) == 0 and not channels.correlations(a, 0 * a, RATE).any()

    def test_timbre_and_level_are_in_decibels(self) -> None:
        one, two = noise(5)[None], noise(6)[None]
        alike, louder = channels.compare(one, two, RATE), channels.compare(one, 2 * two, RATE)
        assert alike.timbre < 0.3 and alike.level < 0.1
        assert louder.timbre == pytest.approx(6.02, abs=0.3) and louder.level == pytest.approx(6.02, abs=0.1)

    def test_envelopes_that_move_together_are_seen(self) -> None:
        moving = (1 + 0.9 * np.sin(2 * np.pi * 3 * np.arange(4 * RATE) / RATE)).astype(np.float32)
        together = channels.compare((moving * noise(7))[None], (moving * noise(8))[None], RATE)
        apart = channels.compare((moving * noise(7))[None], noise(8)[None], RATE)
        assert together.envelopes > 0.3 > 0.05 > abs(apart.envelopes) and together.correlation < 0.02


def test_the_study_from_end_to_end(tmp_path: Path) -> None:
    found = channels.measure(toy_48k(), ("low",), (3,), 2.0, 5)
    assert (found.channels, found.seeds, list(found.likeness)) == (5, 1, ["low"])
    counts = {name: len(values) for name, values in found.likeness["low"].items()}
    # Three groups: three pairs of them, and three of halves.
    assert counts == {"left and right": 1, "halves": 3, "groups": 3, "same style": 1, "other seed": 1}
    told = channels.as_dict(found)
    assert set(told["pairs"]) == set(channels.PAIRS) and told["sounds"]["low"]["cost"] > 1
    assert "groups" in channels.table(found)
    page = tmp_path / "channels.md"
    channels.write(found, page, "safa-stream eval channels")
    page.write_text(page.read_text() + "\nPeople wrote this.\n")
    channels.write(found, page, "again")
    assert "`again`" in page.read_text() and page.read_text().endswith("People wrote this.\n")
    with pytest.raises(OutputError):
        channels.write(found, tmp_path / "nowhere" / "x.md", "")
