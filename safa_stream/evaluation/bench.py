"""How fast, how soon, how much memory, and how much of it is the engine's own; each beside the machine it ran on."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from safa_stream import joint
from safa_stream.decode import decode_whole
from safa_stream.engine import chunks
from safa_stream.errors import FailureError
from safa_stream.evaluation.generate import encode
from safa_stream.evaluation.tables import Report, quiet, text_table
from safa_stream.evaluation.wrapping import TimedModel
from safa_stream.layout import ViewLayout
from safa_stream.models.backends.machine import here
from safa_stream.models.interface import Model
from safa_stream.scene import Scene, parse_prompts
from safa_stream.types import Chunk

Result = TypeVar("Result")

#: MultiDiffusion's habit: views that share four fifths.
AVERAGE_OVERLAP, SAFA_OVERLAP = 0.8, 0.2
#: They are compared over so many times the seconds of a speed run: a stream is long, its beginning counts once.
STREAM_LENGTH = 5.0
#: What is shorter than this is rounding (s).
LEAST_LENGTH = 1e-6


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds and result."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def machine() -> str:
    """Processor, cores that this process may use, system, Python."""
    found = here()
    return f"{found.processor}, {found.cores} cores, {platform.system()}, Python {platform.python_version()}"


def speed(model: Model, prompt: str, seconds: float, runs: int = 3) -> dict[str, float]:
    """Warm speed of the stream: first chunk, real-time factor and the engine's own share, medians over runs."""
    scene = Scene(parse_prompts(prompt))
    list(chunks(model, scene, 1.0))
    found = []
    for seed in range(runs):
        watched = TimedModel(model)
        begun = time.perf_counter()
        first = made = 0.0
        for chunk in chunks(watched, Scene(scene.prompts, seed=seed), seconds):
            first = first or time.perf_counter() - begun
            made += chunk.samples.shape[-1] / chunk.sample_rate
        total = time.perf_counter() - begun
        inside = watched.clock.denoise + watched.clock.decode
        found.append((made / total, first, 1.0 - inside / total, watched.clock.denoise / total))
    middle = sorted(found)[len(found) // 2]
    return {
        "real_time_factor": middle[0],
        "first_chunk_s": sorted(f[1] for f in found)[len(found) // 2],
        "engine_overhead": sorted(f[2] for f in found)[len(found) // 2],
        "denoiser_share": middle[3],
    }


def against_averaging(
    model: Model, prompt: str, seconds: float, slices: int = 6, report: Report = quiet
) -> dict[str, float]:
    """Streaming SaFa at overlap 0.2 against averaging at 0.8, the same seconds of sound, taking turns.

    Averaging is measured as a stream as well, view after view, and as a whole canvas whose views are denoised side by
    side in larger batches, which no live source can do. The two streams take turns by slices of the sound. The length
    is the one nearest to `seconds` that whole streamed views fill; the longer, the less the reference and the first
    view count, which both need once. The calls' ratio counts views denoised one step, the denoiser's time leaves out
    the decoder, which all need alike.
    """
    facts = model.facts
    narrow = ViewLayout.from_ratio(facts.view_frames, SAFA_OVERLAP, facts.frame_alignment)
    frames = narrow.linear_width(max(1, round((seconds * facts.frames_per_second - narrow.overlap) / narrow.hop)))
    seconds = frames / facts.frames_per_second
    safa, averaged, canvas = TimedModel(model), TimedModel(model), TimedModel(model)
    wide = ViewLayout.from_ratio(facts.view_frames, AVERAGE_OVERLAP, facts.frame_alignment)
    prompts = parse_prompts(prompt)

    def averaged_canvas() -> None:
        plan = joint.JointPlan(wide, model.solver(facts.default_steps), "average", seed=0)
        told = encode(model, prompt, 0)
        latents = joint.generate(canvas, plan, wide.views_for(frames), told, facts.default_guidance)
        decode_whole(canvas.decoder(), model.to_numpy(latents), 0)

    streams = (
        chunks(safa, Scene(prompts, overlap=SAFA_OVERLAP), seconds),
        chunks(averaged, Scene(prompts, overlap=AVERAGE_OVERLAP, method="average"), seconds),
    )
    spent, made = [0.0, 0.0], [0.0, 0.0]
    for part in range(1, slices + 1):
        for at, stream in enumerate(streams):
            took, length = timed(partial(_play_on, stream, part / slices * seconds - made[at]))
            spent[at] += took
            made[at] += length
        report(f"{min(made):.0f} of {seconds:.0f} s: streaming {spent[0]:.1f} s, averaging a stream {spent[1]:.1f} s")
    canvas_seconds, _ = timed(averaged_canvas)
    report(f"a canvas {canvas_seconds:.1f} s")
    return {
        "safa_vs_md_time_ratio": spent[1] / spent[0],
        "safa_vs_md_denoiser_calls_ratio": averaged.clock.rows / safa.clock.rows,
        "safa_vs_md_denoiser_time_ratio": averaged.clock.denoise / safa.clock.denoise,
        "safa_vs_md_canvas_time_ratio": canvas_seconds / spent[0],
        "safa_vs_md_canvas_denoiser_calls_ratio": canvas.clock.rows / safa.clock.rows,
        "safa_vs_md_seconds": seconds,
    }


def _play_on(stream: Iterator[Chunk], seconds: float) -> float:
    """Take chunks until they are `seconds` long or the stream ends; returns how long they are."""
    made = 0.0
    while made < seconds - LEAST_LENGTH and (chunk := next(stream, None)) is not None:
        made += chunk.samples.shape[-1] / chunk.sample_rate
    return made


def in_child(*arguments: str, report: Report = quiet) -> list[dict[str, Any]]:
    """Run the child module in a fresh process and read its JSON lines; adds `since_start` seconds to each.

    Raises:
        FailureError: the child ended with an error.
    """
    command = [sys.executable, "-m", "safa_stream.evaluation.child", *arguments]
    begun = time.perf_counter()
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        for line in child.stdout:
            lines.append({**json.loads(line), "since_start": time.perf_counter() - begun})
            report(", ".join(f"{name} {value:.1f}" for name, value in lines[-1].items()))
        complaint = child.stderr.read().strip()
    if child.returncode:
        last = complaint.splitlines()[-1] if complaint else "it said nothing"
        raise FailureError(f"a fresh process failed to render: {last}")
    return lines


def cold_start(model: str, backend: str, prompt: str, runs: int = 3) -> float:
    """Seconds from starting a process to its first chunk, the median of several (the first also fills file caches)."""
    return float(sorted(in_child("first", model, backend, prompt)[0]["since_start"] for _ in range(runs))[runs // 2])


def memory(model: str, backend: str, prompt: str, minutes: float, report: Report = quiet) -> dict[str, Any]:
    """Peak memory of a fresh process that streams `minutes` of sound, and its growth from minute 2 to the end.

    Growth: (largest after minute 2) / (at minute 2) - 1, or from the first sample where there is no minute 2.
    """
    samples = in_child("memory", model, backend, prompt, str(minutes), report=report)
    later = [s["rss_mb"] for s in samples if s["minute"] >= min(2.0, samples[-1]["minute"])]
    return {
        "peak_rss_mb": max(s["peak_mb"] for s in samples),
        "rss_growth": max(later) / later[0] - 1.0,
        "rss_by_minute": [s["rss_mb"] for s in samples],
        "rss_minutes": samples[-1]["minute"],
    }


def measure(
    model: Model,
    name: str = "builtin",
    backend: str = "auto",
    prompt: str = "rain",
    seconds: float = 60.0,
    minutes: float = 30.0,
    report: Report = quiet,
) -> dict[str, Any]:
    """All figures as JSON values.

    name, backend: of the model that fresh processes load; seconds: of the speed runs, a fifth of the comparison with
    averaging; minutes: of the memory run.
    """
    report("speed")
    found: dict[str, Any] = dict(speed(model, prompt, seconds))
    report("first chunk of a fresh process")
    found["first_chunk_from_process_start_s"] = cold_start(name, backend, prompt)
    report("streaming against averaging")
    found |= against_averaging(model, prompt, STREAM_LENGTH * seconds, report=report)
    report(f"memory over {minutes:g} minutes of sound")
    found |= memory(name, backend, prompt, minutes, report)
    return {**found, "machine": machine(), "model": f"{model.facts.name} {model.facts.version}", "seconds": seconds}


def table(found: dict[str, Any]) -> str:
    """The figures as text."""
    wanted = (
        ("real_time_factor", "x faster than real time, warm"),
        ("first_chunk_s", "s to the first chunk, model loaded"),
        ("first_chunk_from_process_start_s", "s to the first chunk from the process's start"),
        ("engine_overhead", "of the time outside network and decoder"),
        (
            "safa_vs_md_time_ratio",
            f"x the time for {found['safa_vs_md_seconds']:.0f} s of stream by averaging at overlap 0.8",
        ),
        ("safa_vs_md_denoiser_calls_ratio", "x the network evaluations for it"),
        ("safa_vs_md_canvas_time_ratio", "x the time for a whole canvas by averaging, which cannot be live"),
        ("peak_rss_mb", "MB largest memory"),
        ("rss_growth", f"growth from minute 2 to minute {found.get('rss_minutes', 0):g}"),
    )
    rows = [[name, float(found[name]), meaning] for name, meaning in wanted]
    return f"{found['machine']}; model {found['model']}\n" + text_table(["", "", ""], rows)
