"""The ring between the event loop and a device's callback: every frame once, in order, and soft silences."""

from __future__ import annotations

import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server.ring import FADE, Ring
from safa_stream.errors import UsageError
from safa_stream.types import FloatArray


def frames(start: int, count: int, channels: int = 2) -> FloatArray:
    """Frames whose value is their number, exact in float32 up to 2**24."""
    return np.repeat(np.arange(start, start + count, dtype=np.float32)[:, None], channels, axis=1)


def read(ring: Ring, count: int) -> tuple[int, FloatArray]:
    """What one callback gets, in a buffer that was full of something else."""
    out = np.full((count, ring.channels), 7.0, np.float32)
    return ring.read_into(out), out


class TestWhole:
    def test_frames_come_out_as_they_went_in(self) -> None:
        ring = Ring(100, 2)
        assert ring.write(frames(0, 60)) == 60
        delivered, out = read(ring, 60)
        assert delivered == 60
        np.testing.assert_array_equal(out, frames(0, 60))

    def test_a_full_ring_takes_what_fits(self) -> None:
        ring = Ring(100, 2)
        assert [ring.write(frames(0, 60)), ring.write(frames(60, 60)), ring.write(frames(0, 1))] == [60, 40, 0]
        np.testing.assert_array_equal(read(ring, 100)[1], frames(0, 100))

    @settings(max_examples=60)
    @given(
        capacity=st.integers(1, 50),
        channels=st.integers(1, 5),
        sizes=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 70)), max_size=60),
    )
    def test_whatever_the_sizes_no_frame_is_lost_or_doubled(
        self, capacity: int, channels: int, sizes: list[tuple[int, int]]
    ) -> None:
        ring = Ring(capacity, channels)
        written, got = 0, [np.zeros((0, channels), np.float32)]
        for write, wanted in sizes:
            written += ring.write(frames(written, write, channels))
            # Never more than there is: what happens around silence is another test.
            delivered, out = read(ring, min(wanted, ring.filled) or 1) if ring.filled else (0, got[0])
            got.append(out[:delivered])
        taken = np.concatenate(got)
        np.testing.assert_array_equal(taken, frames(0, len(taken), channels))
        assert len(taken) + ring.filled == written == ring.written
        assert (ring.underruns, ring.missing) == (0, 0)

    @pytest.mark.parametrize(("capacity", "channels", "refill"), [(0, 2, 0), (10, 0, 0), (10, 2, 11), (10, 2, -1)])
    def test_what_is_no_ring(self, capacity: int, channels: int, refill: int) -> None:
        with pytest.raises(UsageError):
            Ring(capacity, channels, refill)


class TestSilence:
    def test_before_the_first_frame_is_no_underrun(self) -> None:
        ring = Ring(1000, 2)
        delivered, out = read(ring, 64)
        assert delivered == 0
        assert not out.any()
        assert (ring.underruns, ring.missing, ring.asked) == (0, 0, 64)

    def test_running_out_is_counted_and_fades_to_zero(self) -> None:
        ring = Ring(1000, 2)
        ring.write(np.full((100, 2), 0.5, np.float32))
        delivered, out = read(ring, 100 + FADE + 50)
        assert delivered == 100
        assert (out[:100] == 0.5).all()
        falling = out[100 : 100 + FADE, 0]
        assert (np.diff(falling) <= 0).all()
        assert falling[0] > 0.499 and falling[-1] < 1e-6
        assert not out[100 + FADE :].any()
        assert (ring.underruns, ring.missing) == (1, FADE + 50)

    def test_one_gap_over_many_callbacks_is_one_underrun(self) -> None:
        ring = Ring(1000, 1)
        ring.write(np.ones((10, 1), np.float32))
        out = np.concatenate([read(ring, 64)[1] for _ in range(10)])
        assert (ring.underruns, ring.missing) == (1, 630)
        assert np.abs(np.diff(out[:, 0])).max() < 0.01

    @pytest.mark.parametrize("gap", [1, 10, 100, FADE - 1, FADE, 5 * FADE])
    def test_after_a_gap_of_any_length_nothing_jumps(self, gap: int) -> None:
        ring = Ring(4000, 2)
        ring.write(np.full((100, 2), 0.5, np.float32))
        before = read(ring, 100 + gap)[1]
        ring.write(np.full((1000, 2), -0.5, np.float32))
        after = np.concatenate([read(ring, 50)[1] for _ in range(20)])
        out = np.concatenate([before, after])
        assert np.abs(np.diff(out[:, 0])).max() < 0.01
        assert (after[FADE:] == -0.5).all()
        assert ring.underruns == 1

    def test_a_second_gap_during_the_fade_in_does_not_jump_either(self) -> None:
        ring = Ring(4000, 1)
        out = []
        for _ in range(8):
            ring.write(np.full((40, 1), 0.5, np.float32))
            out.append(read(ring, 60)[1])
        assert np.abs(np.diff(np.concatenate(out)[:, 0])).max() < 0.01
        assert (ring.underruns, ring.missing) == (8, 160)

    def test_rest_is_silence_that_is_not_counted(self) -> None:
        ring = Ring(1000, 2)
        ring.write(np.full((100, 2), 0.5, np.float32))
        ring.rest()
        assert read(ring, 400)[0] == 100
        assert read(ring, 400)[0] == 0
        ring.write(np.full((100, 2), 0.5, np.float32))
        assert read(ring, 400)[0] == 100
        assert (ring.underruns, ring.missing) == (1, 300)

    def test_sound_waits_until_enough_is_there(self) -> None:
        ring = Ring(1000, 2, refill=200)
        ring.write(frames(0, 199))
        assert read(ring, 50)[0] == 0
        ring.write(frames(199, 1))
        np.testing.assert_array_equal(read(ring, 200)[1], frames(0, 200))
        assert read(ring, 50)[0] == 0
        ring.write(frames(200, 100))
        assert read(ring, 50)[0] == 0
        assert (ring.underruns, ring.missing) == (1, 100)
        ring.write(frames(300, 100))
        assert read(ring, 50)[0] == 50

    def test_what_is_left_at_a_rest_is_played_however_little(self) -> None:
        ring = Ring(1000, 2, refill=200)
        ring.write(frames(0, 20))
        ring.rest()
        assert read(ring, 50)[0] == 20
        assert (ring.underruns, ring.missing) == (0, 0)

    @pytest.mark.parametrize("fade", [False, True])
    def test_the_first_frames_fade_in_only_where_that_is_wanted(self, fade: bool) -> None:
        ring = Ring(1000, 2, fade_first=fade)
        read(ring, 100)
        ring.write(np.ones((500, 2), np.float32))
        out = read(ring, 500)[1]
        assert (out[0, 0] < 0.01) == fade
        assert (out[FADE:] == 1).all()


class TestTwoThreads:
    def test_every_frame_arrives_once_and_in_order(self) -> None:
        ring, total, got = Ring(700, 2, refill=300), 100_000, list[FloatArray]()
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def take() -> None:
            while ring.taken < total:
                # Only when enough is there, so that there is no silence and every frame has to be right.
                if ring.filled >= min(300, total - ring.taken):
                    out = np.empty((min(64, total - ring.taken), 2), np.float32)
                    got.append(out[: ring.read_into(out)])

        reader = threading.Thread(target=take, daemon=True)
        reader.start()
        try:
            written = 0
            while written < total and reader.is_alive():
                written += ring.write(frames(written, min(97, total - written)))
            ring.rest()
            reader.join(timeout=20)
        finally:
            sys.setswitchinterval(before)
        assert not reader.is_alive()
        np.testing.assert_array_equal(np.concatenate(got), frames(0, total))
        assert (ring.taken, ring.underruns, ring.missing) == (total, 0, 0)

    @pytest.mark.parametrize("size", [64, 512, 4096])
    def test_reading_makes_no_arrays(self, size: int) -> None:
        ring, out = Ring(48_000, 2), np.empty((size, 2), np.float32)
        peaks = []
        tracemalloc.start()
        try:
            for _ in range(6):
                ring.write(frames(0, 3 * size))
                for _ in range(6):
                    tracemalloc.reset_peak()
                    before, _ = tracemalloc.get_traced_memory()
                    ring.read_into(out)
                    peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
        assert ring.underruns == 6
        # A fade's frames alone would be 1920 bytes; views and numbers of a moment are less, whatever the size.
        assert max(peaks) < 600, peaks
