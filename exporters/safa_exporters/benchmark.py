"""`safa-stream bench backends`: denoiser, decoder and whole stream on every backend that is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from safa_exporters import fused_speed
from safa_exporters.comparing import EAGER, Row, candidates, compare, decoders, in_turns
from safa_exporters.viewing import view
from safa_stream.models.backends.machine import here
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.features import log_mel
from safa_stream.models.builtin.runtime import BuiltinModel
from safa_stream.models.builtin.weights import SHIPPED, Weights, load_weights
from safa_stream.types import FloatArray

Report = Callable[[str], None]
#: Sounds whose log-mel is compared between backends.
HEARD = 8


def measure(
    model: str, batches: Sequence[int], report: Report, int8: Path | None = None, fused: Path | None = None
) -> dict[str, Any]:
    """All figures. int8: an int8 export of the model; fused: one with a graph of steps. Raises ModelError."""
    weights = load_weights(SHIPPED if model == "builtin" else Path(model))
    machine = here()
    backends = candidates(machine, weights)
    rows, left = compare(weights, backends, batches, report)
    if int8 is not None:
        more, _ = compare(load_weights(int8), [EAGER, Backend("onnx", "int8")], batches, report)
        rows += [row for row in more if row.precision == "int8"]
    working = [b for b in backends if b.precision == "fp32" and any(row.backend == str(b) for row in rows)]
    decoded, more_left = decoders(weights, working, report)
    views, errors = _views(weights, working, int8, report)
    return {
        "model": weights.config["name"],
        "machine": asdict(machine),
        "denoiser": [asdict(row) for row in rows],
        "decoder": [asdict(row) for row in decoded],
        "left_out": [asdict(each) for each in (*left, *more_left)],
        **{f"best_denoiser_ratio_b{batch}": _best(rows, batch) for batch in batches},
        "best_decoder_ratio": _best(decoded, 1),
        "view": views,
        "real_time_factor": max((each["real_time_factor"] for each in views), default=None),
        "log_mel_error": errors,
        "fused_step_ratio": None if fused is None else fused_speed.ratios(weights, fused, batches, report),
    }


def table(found: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{found['machine']['processor']}, {found['machine']['cores']} cores", "", "denoiser"]
    lines += [
        denoiser_table(found["denoiser"]),
        "",
        "decoder, 128 frames",
        denoiser_table(found["decoder"]),
        "",
        "view",
    ]
    for each in found["view"]:
        lines.append(
            f"  {each['backend']:28} {each['seconds'] * 1e3:8.0f} ms  {each['real_time_factor']:6.1f} x real time"
        )
    lines += [f"  {name}: log-mel differs by {error:.2e}" for name, error in found["log_mel_error"].items()]
    for rows, ratio in (found["fused_step_ratio"] or {}).items():
        lines.append(f"  fused step, {rows.replace('_', ' ')}: {ratio:.2f} x its parts")
    lines += [f"left out: {each['backend']}: {each['reason']}" for each in found["left_out"]]
    return "\n".join(lines)


def denoiser_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a backend: milliseconds and ratio at every batch, and the error."""
    batches = sorted({row["batch"] for row in rows})
    lines = ["  " + "backend".ljust(28) + "".join(f"  batch {batch}: ms, ratio" for batch in batches) + "  rel. error"]
    for name in dict.fromkeys(row["backend"] for row in rows):
        cells, worst = [], 0.0
        for batch in batches:
            row = next((r for r in rows if r["backend"] == name and r["batch"] == batch), None)
            if row is None:
                cells.append("".rjust(20))
                continue
            ratio = row["ratio_to_torch_eager"]
            cells.append(f"{row['seconds'] * 1e3:12.1f} {'' if ratio is None else f'{ratio:.2f}x':>7}")
            worst = max(worst, row["relative_error"])
        lines.append("  " + name.ljust(28) + "".join(cells) + f"  {worst:.1e}")
    return "\n".join(lines)


def _best(rows: Sequence[Row], batch: int) -> float | None:
    ratios = [row.ratio_to_torch_eager for row in rows if row.batch == batch and row.ratio_to_torch_eager is not None]
    return max(ratios, default=None)


def _views(
    weights: Weights, backends: Sequence[Backend], int8: Path | None, report: Report
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A whole view (default steps and guidance) and its decode in turns, and what their sounds differ by in log-mel."""
    models = {str(backend): BuiltinModel(weights, backend) for backend in backends}
    if int8 is not None:
        backend = Backend("onnx", "int8")
        models[str(backend)] = BuiltinModel(load_weights(int8), backend)
    report(f"view: {len(models)} backends in turns")
    best = in_turns({name: _viewing(model, 0) for name, model in models.items()}, turns=8)
    facts = next(iter(models.values())).facts
    hop = facts.view_frames * (1 - facts.default_overlap) / facts.frames_per_second
    views = [{"backend": n, "seconds": s, "real_time_factor": hop / s} for n, s in best.items()]
    reference = models.get(str(EAGER)) or next(iter(models.values()))
    report(f"sound: {HEARD} sounds on {len(models)} backends")
    expected = [log_mel(_viewing(reference, sound)()) for sound in range(HEARD)]
    errors = {
        name: float(np.mean([_relative(log_mel(_viewing(model, sound)()), expected[sound]) for sound in range(HEARD)]))
        for name, model in models.items()
        if model is not reference
    }
    return views, errors


def _viewing(model: BuiltinModel, sound: int) -> Callable[[], FloatArray]:
    """Makes one view of a sound, all its frames decoded."""
    facts = model.facts
    return lambda: view(model, sound, facts.default_steps, facts.default_guidance, facts.view_frames)


def _relative(found: FloatArray, expected: FloatArray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
