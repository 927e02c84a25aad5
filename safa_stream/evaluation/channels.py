"""Groups of channels from one scene: how uncorrelated they are, and how alike they sound.

Every clip is made once with many channels, and beside it, as yardsticks, streams that share less: the same style with
noise and a reference of their own, and another seed altogether. Two sounds are held against each other by

    correlation   of the samples, as they are, in octave bands, and at the best lag within 20 ms: echoes and phasing
    envelopes     of the log-mel over time, each band's mean taken away: whether events fall together
    timbre        mean over bands of |difference of the mean log-mel|, dB; level: of the loudness, LU
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from safa_stream import loudness
from safa_stream.errors import OutputError
from safa_stream.evaluation import spectra
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.generate import clip, prompts_of
from safa_stream.evaluation.paper.pace import spoken
from safa_stream.evaluation.tables import Report, markdown_table, quiet, text_table
from safa_stream.evaluation.wrapping import WrappedModel
from safa_stream.models.grouped import grouped
from safa_stream.models.interface import Encoded, Model
from safa_stream.types import DoubleArray, FloatArray

#: Centres of the octave bands, Hz.
OCTAVES = (125, 250, 500, 1000, 2000, 4000, 8000)
LAG_SECONDS = 0.02
#: dB in a neper of power, which log-mels are in.
DECIBELS = 10 / np.log(10)
#: Between a clip's seed and those of what it is compared with.
OTHER = 1000
#: What is held against what, in the table's order.
PAIRS = ("left and right", "halves", "groups", "same style", "other seed")
#: From this heading on the page is written by people.
BY_HAND = "## Findings"


@dataclass(frozen=True, slots=True)
class Styled(WrappedModel):
    """A model that takes the style of `seed` whatever seed it is given: noise and reference follow the given one."""

    seed: int = 0

    def encode(self, prompts: Any, negative: Any, seed: int) -> Encoded:
        return self.inner.encode(prompts, negative, self.seed)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two sounds are; see the module. bands: |correlation| in OCTAVES."""

    correlation: float
    bands: tuple[float, ...]
    peak: float
    envelopes: float
    timbre: float
    level: float


@dataclass(frozen=True, slots=True)
class Results:
    """What was found. likeness: by sound, then by pair, a value for every two sounds that were compared; cost: by
    sound, the processor time of a clip with all channels over that of one group."""

    model: str
    machine: str
    channels: int
    clip_seconds: float
    seeds: int
    seconds: float
    likeness: Mapping[str, Mapping[str, tuple[Likeness, ...]]]
    cost: Mapping[str, float]


def measure(
    model: Model,
    classes: tuple[str, ...] = (),
    seeds: Sequence[int] = (0, 1),
    seconds: float = 10.0,
    channels: int = 4,
    steps: int | None = None,
    report: Report = quiet,
) -> Results:
    """Make and compare. Raises UsageError for channels that cannot be made."""
    many, own, begun = grouped(model, channels), model.facts.channels, time.perf_counter()
    found: dict[str, dict[str, tuple[Likeness, ...]]] = {}
    costs: dict[str, float] = {}
    for label, prompt in prompts_of(model, classes).items():
        pairs: dict[str, list[Likeness]] = {name: [] for name in PAIRS}
        spent = np.zeros(2)
        for seed in seeds:
            at = time.process_time()
            sound = clip(many, prompt, seconds, seed, steps)
            spent[1] += time.process_time() - at
            at = time.process_time()
            other = clip(model, prompt, seconds, seed + OTHER, steps)
            spent[0] += time.process_time() - at
            same = clip(Styled(model, seed), prompt, seconds, seed + 2 * OTHER, steps)
            compared = comparisons(sound, same, other, own, model.facts.sample_rate)
            for name, values in compared.items():
                pairs[name] += values
        found[label], costs[label] = {name: tuple(values) for name, values in pairs.items()}, float(spent[1] / spent[0])
        report(f"{label}: groups {_mean(pairs['groups'], 'timbre'):.2f} dB apart, {costs[label]:.1f} x the time of one")
    facts = model.facts
    spent_on_all = time.perf_counter() - begun
    return Results(
        f"{facts.name} {facts.version}", machine(), channels, seconds, len(seeds), spent_on_all, found, costs
    )


def comparisons(
    sound: FloatArray, same: FloatArray, other: FloatArray, own: int, rate: int
) -> dict[str, list[Likeness]]:
    """By pair. sound: [channels, N] in groups of `own`; same, other: one group [own, N] each."""
    groups = [sound[at : at + own] for at in range(0, len(sound), own)]
    first, half = groups[0], sound.shape[1] // 2
    return {
        "left and right": [compare(first[:1], first[1:2], rate)] if own > 1 else [],
        "halves": [compare(group[:, :half], group[:, half : 2 * half], rate) for group in groups],
        "groups": [compare(a, b, rate) for a, b in combinations(groups, 2)],
        "same style": [compare(first, same, rate)],
        "other seed": [compare(first, other, rate)],
    }


def compare(a: FloatArray, b: FloatArray, rate: int) -> Likeness:
    """Two sounds [c, N]; correlations are means of the magnitudes over their channels, each with each."""
    crossed = [(one, two) for one in a for two in b]
    whole = np.mean([np.abs(correlations(one, two, rate)) for one, two in crossed], axis=0)
    mels = [spectra.log_mel(sound) for sound in (a, b)]
    return Likeness(
        float(whole[0]),
        tuple(float(value) for value in whole[1:]),
        float(np.mean([lagged(one, two, rate) for one, two in crossed])),
        envelope_correlation(*mels),
        float(DECIBELS * np.abs(mels[0].mean(0, dtype=np.float64) - mels[1].mean(0, dtype=np.float64)).mean()),
        abs(loudness.integrated(a, rate) - loudness.integrated(b, rate)),
    )


def correlations(a: FloatArray, b: FloatArray, rate: int) -> DoubleArray:
    """[1 + bands]: correlation of two signals [N] of one length, whole and in each octave of OCTAVES, -1 to 1."""
    left, right = (np.fft.rfft(signal - signal.mean(dtype=np.float64)) for signal in (a, b))
    hz = np.fft.rfftfreq(len(a), 1 / rate)
    kept = [np.ones(len(hz), bool), *((hz >= centre / 2**0.5) & (hz < centre * 2**0.5) for centre in OCTAVES)]
    out = []
    for band in kept:
        power = np.sqrt((np.abs(left[band]) ** 2).sum() * (np.abs(right[band]) ** 2).sum())
        out.append(float((left[band] * right[band].conj()).real.sum() / power) if power > 0 else 0.0)
    return np.array(out)


def lagged(a: FloatArray, b: FloatArray, rate: int) -> float:
    """The largest |correlation| of two signals [N] at any lag within LAG_SECONDS."""
    size = 2 * len(a)
    left, right = (np.fft.rfft(signal - signal.mean(dtype=np.float64), size) for signal in (a, b))
    line = np.fft.irfft(left * right.conj(), size)
    reach = round(LAG_SECONDS * rate)
    power = float(np.sqrt((a.astype(np.float64) ** 2).sum() * (b.astype(np.float64) ** 2).sum()))
    return float(np.abs(np.concatenate([line[: reach + 1], line[-reach:]])).max() / power) if power else 0.0


def envelope_correlation(a: FloatArray, b: FloatArray) -> float:
    """Correlation of two log-mels [J, B] over time, each band's mean taken away, all bands together."""
    left, right = (mel - mel.mean(0, dtype=np.float64) for mel in (a, b))
    power = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / power) if power else 0.0


def as_dict(results: Results) -> dict[str, Any]:
    """Means as JSON values."""
    return {
        "model": results.model,
        "machine": results.machine,
        "channels": results.channels,
        "clip_seconds": results.clip_seconds,
        "seeds": results.seeds,
        "pairs": {name: _means(_all(results, name)) for name in PAIRS},
        "sounds": {
            label: {"cost": results.cost[label], **{name: _means(values) for name, values in found.items()}}
            for label, found in results.likeness.items()
        },
    }


def tables(results: Results) -> tuple[tuple[tuple[str, ...], list[list[object]]], ...]:
    """Header and rows: what is held against what over all sounds, then sound by sound."""
    over_all = [
        [name, *(_mean(values, field) for field in ("correlation", "peak", "envelopes", "timbre", "level"))]
        for name in PAIRS
        for values in (_all(results, name),)
    ]
    bands = [
        [name, *np.mean([one.bands for one in values], axis=0).tolist()]
        for name in PAIRS
        for values in (_all(results, name),)
        if values
    ]
    sounds = [
        [
            label,
            _mean(found["groups"], "correlation"),
            _mean(found["groups"], "envelopes"),
            *(_mean(found[name], "timbre") for name in PAIRS[1:]),
            results.cost[label],
        ]
        for label, found in results.likeness.items()
    ]
    return (
        (("", "correlation", "at the best lag", "envelopes", "timbre, dB", "level, LU"), over_all),
        (("correlation in octaves, Hz", *map(str, OCTAVES)), bands),
        (("sound", "correlation", "envelopes", *(f"timbre: {name}" for name in PAIRS[1:]), "cost"), sounds),
    )


def table(results: Results) -> str:
    """For the terminal."""
    return "\n\n".join(text_table(header, rows) for header, rows in tables(results))


def write(results: Results, path: Path, command: str) -> None:
    """Write the page; findings that people wrote at its end stay. Raises OutputError."""
    lines = [
        "# More than stereo: groups of channels",
        "",
        f"Model {results.model}, {results.channels} channels, {results.seeds} seed(s) a sound, "
        f"{results.clip_seconds:g} s each. Made by `{command}` in {spoken(results.seconds)} minutes on "
        f"{results.machine}.",
        "",
        "- *left and right*: of the first group. *halves*: a group's first half and its second. *groups*: those of one",
        "  sound with each other: same prompt, style, timeline and reference, noise of their own. *same style*: two",
        "  streams that share prompt and style, each with its own noise and reference. *other seed*: another take.",
        "- *correlation*: mean |correlation| of channels of one with channels of the other; for signals that have",
        "  nothing to do with each other it is what their length and bandwidth allow. *at the best lag*: within 20 ms.",
        "- *envelopes*: correlation of the log-mels over time. *timbre*: mean |difference| of the mean log-mels, dB.",
        "- *cost*: processor time of a clip with all channels over that of one group.",
    ]
    for header, rows in tables(results):
        lines += ["", markdown_table(header, rows)]
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        kept = old[old.index(BY_HAND) :] if BY_HAND in old else f"{BY_HAND}\n"
        path.write_text("\n".join(lines) + "\n\n" + kept, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _all(results: Results, name: str) -> tuple[Likeness, ...]:
    return tuple(one for found in results.likeness.values() for one in found[name])


def _mean(values: Iterable[Likeness], field: str) -> float:
    found = [float(getattr(one, field)) for one in values]
    return float(np.mean(found)) if found else float("nan")


def _means(values: Sequence[Likeness]) -> dict[str, Any]:
    named = {field: _mean(values, field) for field in ("correlation", "peak", "envelopes", "timbre", "level")}
    bands = np.mean([one.bands for one in values], axis=0).tolist() if values else []
    return {**named, "bands": dict(zip(map(str, OCTAVES), bands, strict=False))}
