"""Recordings through the latents and back by several decoders: what a decoder keeps of a sound and what it loses.

Two passages of every sound's held-out recordings go through tokens and latents; each method makes them audible again
and is measured against the recording. Figures are means over the passages; ratios are geometric means of method over
recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from safa_stream.corpus.recordings import list_recordings, read_recording
from safa_stream.corpus.split import Passage, split
from safa_stream.evaluation import spectra
from safa_stream.evaluation.clips import at_level
from safa_stream.evaluation.embedding import embedder
from safa_stream.models.builtin import features
from safa_stream.models.builtin.decoder import TextureDecoder
from safa_stream.models.builtin.excitation import excitation
from safa_stream.models.builtin.features import SAMPLE_RATE, SAMPLES_PER_TOKEN, Array, LatentMap
from safa_stream.models.builtin.shaping import DEEPEST, HIGHEST, NoiseShaper

SECONDS = 8
PASSAGES = 2
GRIFFIN_LIM_ROUNDS = 32
#: Spectral peaks are looked for in windows of this length, in third octaves between these limits (Hz).
PEAK_WINDOW = 4096
PEAK_BANDS = 200.0 * 2.0 ** (np.arange(18) / 3)
#: Third octaves more than this under a frame's loudest do not count (nats).
PEAK_RANGE = 7.0


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one passage. Levels in dB; `*_ratio` is method over recording; `embedding` a cosine distance."""

    label: str
    method: str
    mel_error: float
    spectral_distance: float
    crest_ratio: float
    onset_ratio: float
    modulation_error: float
    kurtosis_ratio: float
    peak_difference: float
    correlation_difference: float
    embedding: float
    milliseconds: float


Method = Callable[[Array], Array]


def passages(folder: Path) -> Iterator[tuple[str, Array]]:
    """Two passages of 8 s [2, N] of every sound, held out of training, from two recordings where there are two."""
    recordings = list_recordings(folder)
    lengths = []
    for recording in recordings:
        facts = soundfile.info(recording.path)
        lengths.append(int(facts.frames * SAMPLE_RATE / facts.samplerate) // SAMPLES_PER_TOKEN)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    by_label: dict[int, list[Passage]] = {}
    for passage in split(recordings, lengths):
        if passage.held_out:
            by_label.setdefault(passage.label, []).append(passage)
    size = SECONDS * SAMPLE_RATE // SAMPLES_PER_TOKEN
    for held in by_label.values():
        held.sort(key=lambda p: p.start - p.stop)
        spots = [(held[0], 0.0), (held[1], 0.5) if len(held) > 1 else (held[0], 1.0)]
        for passage, share in spots[:PASSAGES]:
            room = max(0, passage.stop - passage.start - size)
            start = (passage.start - int(offsets[passage.recording]) + int(share * room)) * SAMPLES_PER_TOKEN
            samples = read_recording(recordings[passage.recording].path)[:, start : start + size * SAMPLES_PER_TOKEN]
            yield (
                recordings[passage.recording].label,
                samples[:, : samples.shape[1] // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN],
            )


def methods(decoder: TextureDecoder, latent_map: LatentMap) -> dict[str, Method]:
    """What is compared: latent rows [T, K] to samples [2, N]."""

    def own(latents: Array) -> Array:
        window = np.moveaxis(latents.reshape(len(latents), 8, -1), 0, 1)
        return decoder.decode(window, 0, 0, 0, 1, decoder.start(1))[1]

    def filtered_noise(latents: Array) -> Array:
        mel, side = features.split_tokens(latent_map.decode(latents))
        white, shaper = torch.from_numpy(excitation(1, 0, len(latents)).steady), NoiseShaper()
        with torch.inference_mode():
            power = torch.from_numpy(np.stack([mel, side])).clamp(DEEPEST, HIGHEST)
            mid_side = shaper.unite(shaper.spectra(white, white), power).numpy()
        return np.stack([mid_side[0] + mid_side[1], mid_side[0] - mid_side[1]])

    def griffin_lim(latents: Array) -> Array:
        mel, side = features.split_tokens(latent_map.decode(latents))
        generator = np.random.default_rng(1)
        mid_side = [invert(power, generator) for power in (mel, side)]
        return np.stack([mid_side[0] + mid_side[1], mid_side[0] - mid_side[1]])

    return {"noise, pulses, partials": own, "filtered noise": filtered_noise, "Griffin-Lim": griffin_lim}


def invert(mel: Array, generator: np.random.Generator, rounds: int = GRIFFIN_LIM_ROUNDS) -> Array:
    """Griffin and Lim 1984 on the magnitudes that a log-mel [J, B] leaves, window 2048: samples [480 J]."""
    size, hop = 2048, features.HOP
    hz = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    place = np.interp(
        features.hz_to_mel(hz), features.hz_to_mel(features.band_edges()[1:-1]), np.arange(features.BANDS)
    )
    low = np.minimum(place.astype(int), features.BANDS - 2)
    level = mel[:, low] * (1 - place + low) + mel[:, low + 1] * (place - low)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    magnitude = (np.exp(0.5 * level) * np.sqrt((window**2).sum())).astype(np.float32)
    turns = np.exp(2j * np.pi * generator.random(magnitude.shape)).astype(np.complex64)
    length = len(mel) * hop
    before = (size - hop) // 2
    norm = np.zeros(length + size, np.float32)
    for frame in range(len(mel)):
        norm[frame * hop : frame * hop + size] += window**2
    samples = np.zeros(length, np.float32)
    for _ in range(rounds + 1):
        pieces = np.fft.irfft(magnitude * turns, size) * window
        total = np.zeros(length + size, np.float32)
        for frame, piece in enumerate(pieces):
            total[frame * hop : frame * hop + size] += piece
        samples = np.asarray((total / np.maximum(norm, 1e-3))[before : before + length], np.float32)
        spectrum = np.fft.rfft(features.frames(samples, size, len(mel)) * window)
        turns = (spectrum / np.maximum(np.abs(spectrum), 1e-9)).astype(np.complex64)
    return samples


def spectrogram(mono: Array) -> Array:
    """Power [frames, bins] in windows of 4096, hop 1920."""
    window = np.hanning(PEAK_WINDOW + 1)[:-1].astype(np.float32)
    parts = np.lib.stride_tricks.sliding_window_view(mono, PEAK_WINDOW)[::1920]
    return np.asarray(np.abs(np.fft.rfft(parts * window)) ** 2, np.float32)


def peakiness(power: Array) -> float:
    """Log of arithmetic over geometric mean in the loud third octaves of [frames, bins], nats; 0.58 for white noise."""
    hz = np.arange(power.shape[1]) * (SAMPLE_RATE / PEAK_WINDOW)
    levels, peaks = [], []
    for low, high in zip(PEAK_BANDS, PEAK_BANDS[1:], strict=False):
        part = power[:, (hz >= low) & (hz < high)] + 1e-12
        levels.append(np.log(part.mean(1)))
        peaks.append(levels[-1] - np.log(part).mean(1))
    level, peak = np.stack(levels), np.stack(peaks)
    return float(peak[level > level.max(0) - PEAK_RANGE].mean())


def kurtosis(mono: Array) -> float:
    """Kurtosis of the first difference, which is where clicks show; 3 for noise."""
    edge = np.diff(mono.astype(np.float64))
    return float((edge**4).mean() / max((edge**2).mean() ** 2, 1e-30))


def compare(
    label: str, method: str, real: Array, made: Array, embed: Callable[[Array], Array], milliseconds: float
) -> Row:
    """Measure one resynthesis [2, N] against its recording."""
    mel, made_mel = spectra.log_mel(real), spectra.log_mel(made)
    power, made_power = spectrogram(spectra.mono(real)), spectrogram(spectra.mono(made))
    distance = 10 * np.log10((made_power + 1e-7) / (power + 1e-7))
    first, second = embed(at_level(real)).mean(0), embed(at_level(made)).mean(0)
    cosine = float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-9))
    return Row(
        label=label,
        method=method,
        mel_error=float(np.sqrt(np.mean((made_mel - mel) ** 2))) * 10 / np.log(10),
        spectral_distance=float(np.sqrt((distance**2).mean(1)).mean()),
        crest_ratio=spectra.crest_factor(made) / spectra.crest_factor(real),
        onset_ratio=(spectra.onset_rate(made_mel) + 0.1) / (spectra.onset_rate(mel) + 0.1),
        modulation_error=spectra.modulation_error(
            spectra.modulation_spectrum(made_mel), spectra.modulation_spectrum(mel)
        ),
        kurtosis_ratio=kurtosis(spectra.mono(made)) / kurtosis(spectra.mono(real)),
        peak_difference=peakiness(made_power) - peakiness(power),
        correlation_difference=spectra.channel_correlation(made) - spectra.channel_correlation(real),
        embedding=1 - cosine,
        milliseconds=milliseconds,
    )


def measure(
    folder: Path,
    decoder: TextureDecoder,
    latent_map: LatentMap,
    classifier: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    compared: dict[str, Method] | None = None,
) -> list[Row]:
    """All methods on all passages of `folder`; `classifier` as in :func:`embedder`."""
    source, compared = embedder(classifier), compared or methods(decoder, latent_map)
    rows = []
    for label, samples in passages(folder):
        latents = latent_map.encode(features.tokens(samples))
        for name, method in compared.items():
            began = time.process_time()
            made = method(latents)
            cost = (time.process_time() - began) * 1000 * SAMPLE_RATE / samples.shape[1]
            rows.append(compare(label, name, samples, made, source.embed, cost))
        report(f"{label}: {', '.join(f'{r.method} {r.embedding:.3f}' for r in rows[-len(compared) :])}")
    return rows


def summary(rows: list[Row]) -> list[float]:
    """Column values of one line of the table."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(r, name) for r in rows]))

    def ratio(name: str) -> float:
        return float(np.exp(np.mean(np.log([getattr(r, name) for r in rows]))))

    def spread(name: str) -> float:
        return float(np.mean(np.abs([getattr(r, name) for r in rows])))

    return [
        mean("mel_error"),
        mean("spectral_distance"),
        ratio("crest_ratio"),
        ratio("onset_ratio"),
        mean("modulation_error"),
        ratio("kurtosis_ratio"),
        mean("peak_difference"),
        spread("correlation_difference"),
        mean("embedding"),
        mean("milliseconds"),
    ]


HEADINGS = (
    "mel dB",
    "LSD dB",
    "crest ×",
    "onsets ×",
    "modulation dB",
    "kurtosis ×",
    "peaks",
    "stereo",
    "embedding",
    "ms/s",
)


def table(rows: list[Row]) -> str:
    """Markdown: a line for each method over everything, then for each sound and method."""
    names = list(dict.fromkeys(r.method for r in rows))
    lines = ["| sound | method | " + " | ".join(HEADINGS) + " |", "|---" * (len(HEADINGS) + 2) + "|"]
    for label in ["all", *dict.fromkeys(r.label for r in rows)]:
        for name in names:
            values = summary([r for r in rows if r.method == name and label in ("all", r.label)])
            cells = [f"{v:.3f}" if h == "embedding" else f"{v:.2f}" for h, v in zip(HEADINGS, values, strict=True)]
            lines.append(f"| {label} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
