"""Loudness and true peak against what the standard says a meter has to show, and against the plain recursion."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream import loudness
from safa_stream.loudness import gated_loudness, k_weighting, step_energy
from safa_stream.peaks import TAPS, true_peaks
from safa_stream.rendering.meter import begin_meter, measure, measure_loop, meter_step
from safa_stream.types import FloatArray

#: Long signals are tested at a low rate: faster, and the standard's figures hold at any.
RATE = 16_000


def sine(frequency: float, seconds: float, rate: int = 48_000, decibels: float = 0.0, phase: float = 0.0) -> FloatArray:
    time = np.arange(round(seconds * rate)) / rate
    return (10 ** (decibels / 20) * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)


def stereo(channel: FloatArray) -> FloatArray:
    return np.stack([channel, channel])


class TestStandard:
    def test_a_full_scale_sine_in_one_channel_is_3_below(self) -> None:
        tone = sine(997, 5)
        assert measure(np.stack([tone, np.zeros_like(tone)]), 48_000).loudness == pytest.approx(-3.01, abs=0.02)

    @pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 96_000, 192_000])
    def test_other_rates_agree(self, rate: int) -> None:
        assert measure(stereo(sine(997, 3, rate, -20)), rate).loudness == pytest.approx(-20, abs=0.05)

    def test_relative_gate_tech_3341_case_3(self) -> None:
        parts = [sine(1000, 10, RATE, -36), sine(1000, 60, RATE, -23), sine(1000, 10, RATE, -36)]
        assert measure(stereo(np.concatenate(parts)), RATE).loudness == pytest.approx(-23, abs=0.1)

    def test_absolute_gate_tech_3341_case_4(self) -> None:
        levels = [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)]
        parts = [sine(1000, seconds, RATE, level) for level, seconds in levels]
        assert measure(stereo(np.concatenate(parts)), RATE).loudness == pytest.approx(-23, abs=0.1)

    def test_gates_tech_3341_case_5(self) -> None:
        parts = [sine(1000, 20, RATE, -26), sine(1000, 20.1, RATE, -20), sine(1000, 20, RATE, -26)]
        assert measure(stereo(np.concatenate(parts)), RATE).loudness == pytest.approx(-23, abs=0.1)

    def test_silence_has_no_loudness(self) -> None:
        meter = measure(np.zeros((2, 48_000), np.float32), 48_000)
        assert meter.loudness == -np.inf
        assert meter.true_peak == -np.inf

    @pytest.mark.parametrize("seconds", [0.01, 0.1, 0.25, 0.39])
    def test_what_is_shorter_than_a_block_is_measured_all_the_same(self, seconds: float) -> None:
        assert -40 < measure(stereo(sine(997, seconds, decibels=-20)), 48_000).loudness < -15


class TestKWeighting:
    def test_it_equals_the_recursion_of_the_standard(self) -> None:
        # The coefficients that BS.1770 prints for 48 kHz.
        stages = [
            ((1.53512485958697, -2.69169618940638, 1.19839281085285), (-1.69065929318241, 0.73248077421585)),
            ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)),
        ]
        noise = np.random.default_rng(0).standard_normal((1, 9600)).astype(np.float32)
        wanted = noise[0].astype(np.float64)
        for (b0, b1, b2), (a1, a2) in stages:
            out = np.zeros_like(wanted)
            for n in range(len(out)):
                past = [wanted[n - k] if n >= k else 0.0 for k in range(3)]
                before = [out[n - k] if n >= k else 0.0 for k in range(1, 3)]
                out[n] = b0 * past[0] + b1 * past[1] + b2 * past[2] - a1 * before[0] - a2 * before[1]
            wanted = out
        weighting = k_weighting(48_000)
        history = np.zeros((1, weighting.history), np.float32)
        for step in (0, 1):
            history, energy = step_energy(weighting, history, noise[:, step * 4800 : (step + 1) * 4800])
            assert energy == pytest.approx(float((wanted[step * 4800 : (step + 1) * 4800] ** 2).mean()), rel=1e-4)


class TestRecording:
    def test_the_standard_says_how_loud_a_sine_is(self) -> None:
        tone = sine(997, 5)
        assert loudness.integrated(tone, 48_000) == pytest.approx(-3.01, abs=0.02)
        assert loudness.integrated(stereo(tone) * np.float32(0.1), 48_000) == pytest.approx(-20.0, abs=0.02)
        assert loudness.integrated(stereo(tone), 48_000) == pytest.approx(
            measure(stereo(tone), 48_000).loudness, abs=0.05
        )

    def test_silence_between_does_not_count(self) -> None:
        tone = sine(997, 40, RATE, -20)
        gaps = tone.copy()
        gaps[10 * RATE : 30 * RATE] = 0.0
        assert loudness.integrated(gaps, RATE) == pytest.approx(loudness.integrated(tone, RATE), abs=0.1)
        assert loudness.spread(tone, RATE) == pytest.approx(0.0, abs=0.05)
        assert loudness.momentary(gaps, RATE).min() < -100

    @pytest.mark.parametrize("samples", [0, 100, RATE])
    def test_silence_is_at_the_gate(self, samples: int) -> None:
        silence = np.zeros((2, samples), np.float32)
        assert loudness.integrated(silence, RATE) == loudness.ABSOLUTE_GATE
        assert loudness.spread(silence, RATE) == 0.0


class TestHistogram:
    def test_it_gates_like_the_list_of_all_blocks(self) -> None:
        rng = np.random.default_rng(1)
        level = np.repeat(10 ** (rng.uniform(-60, 0, 60) / 20), 9600).astype(np.float32)
        samples = (rng.standard_normal((2, len(level))) * 0.2 * level).astype(np.float32)
        weighting = k_weighting(48_000)
        meter, history, energies = begin_meter(weighting, 2), np.zeros((2, weighting.history), np.float32), []
        for start in range(0, samples.shape[1], 4800):
            step = samples[:, start : start + 4800]
            meter = meter_step(weighting, meter, step)
            history, energy = step_energy(weighting, history, step)
            energies.append(energy)
        assert meter.loudness == pytest.approx(gated_loudness(np.array(energies)), abs=0.05)


class TestTruePeak:
    def test_a_peak_between_samples_is_found(self) -> None:
        tone = sine(12_000, 1, phase=np.pi / 4)
        assert np.abs(tone).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
        assert measure(stereo(tone), 48_000).true_peak == pytest.approx(0.0, abs=0.2)

    @pytest.mark.parametrize("frequency", [100, 997, 5000, 9000, 15_000, 19_000])
    def test_sines_are_as_high_as_they_are(self, frequency: float) -> None:
        # Faded in and out: a tone that begins at once really is higher between samples.
        tone = sine(frequency, 1, decibels=-6, phase=0.3) * np.hanning(48_000).astype(np.float32)
        assert measure(stereo(tone), 48_000).true_peak == pytest.approx(-6, abs=0.2)

    def test_leaving_out_places_far_below_changes_nothing(self) -> None:
        noise = np.random.default_rng(2).standard_normal((2, 48_000)).astype(np.float32)
        every, few = true_peaks(noise, 0.0), true_peaks(noise, 3.0)
        assert every.shape == (48_000 - 2 * TAPS,)
        assert np.allclose(every[every > 3.0], few[every > 3.0], rtol=1e-5)
        assert few.max() == every.max() > 3.0

    def test_a_loop_is_measured_across_its_seam(self) -> None:
        noise = (0.1 * np.random.default_rng(3).standard_normal((2, 48_000))).astype(np.float32)
        turned = np.roll(noise, 4800, axis=1)
        weighting = k_weighting(48_000)
        assert measure_loop(weighting, turned).true_peak == measure_loop(weighting, noise).true_peak
        assert measure_loop(weighting, turned).loudness == pytest.approx(
            measure_loop(weighting, noise).loudness, abs=0.05
        )
