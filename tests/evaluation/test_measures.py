"""The measures from end to end on a small exact model at 48 kHz: every figure is there, finite and told in JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.errors import FailureError
from safa_stream.evaluation import bench, drift, model, seams, study
from safa_stream.evaluation.clips import Clip, at_level, measure_clips, read_corpus, real_clips, real_table
from safa_stream.evaluation.embedding import Statistics
from safa_stream.evaluation.generate import WAYS, Settings
from safa_stream.evaluation.tables import to_json
from safa_stream.scene import Scene, parse_prompts
from safa_stream.swap import SwapSchedule
from tests.toy import FACTS, ToyDecoder, ToyModel

RATE = 48_000
SETTINGS = Settings(views=3)


@pytest.fixture(scope="module")
def toy() -> ToyModel:
    facts = replace(FACTS, sample_rate=RATE, samples_per_frame=1920)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=1920))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    draw = np.random.default_rng(0)
    for number in range(4):
        hiss = draw.normal(0, 0.1, (RATE * 6, 2))
        low = np.cumsum(hiss, 0) * 0.02
        for label, samples in (("high", hiss), ("low", low - low.mean(0))):
            (root / label).mkdir(exist_ok=True)
            soundfile.write(root / label / f"{number}.wav", np.clip(samples, -1, 1), RATE)
    (root / "low" / "broken.flac").write_bytes(b"not audio")
    return root


def test_seams_tell_all_figures_of_every_way(toy: ToyModel) -> None:
    found = seams.measure(toy, ["low"], [0, 1], settings=SETTINGS)
    told = json.loads(to_json(seams.as_dict(found)))
    keys = (
        "worst_border_ratio",
        "worst_border_vs_joint",
        "overlap_interior_ratio",
        "overlap_interior_ratio_average_method",
        "boundary_jump_percentile",
    )
    for part in (told, told["classes"]["low"]):
        assert all(isinstance(part[key], float) for key in keys)
    assert set(told["ways"]) == set(WAYS)
    assert told["overlap_frames"] == 8 and told["sounds_per_class"] == 2
    assert len(told["profiles"]["stream"]) == 25
    assert 0.5 < told["overlap_interior_ratio"] < 2.0
    assert "stream" in seams.table(found) and seams.picture(found).startswith("<svg")


def test_the_study_ranks_schedules_and_writes_its_page(toy: ToyModel, tmp_path: Path) -> None:
    chosen = {name: SwapSchedule(name, context=False) for name in ("cached", "alternate")}
    found = study.measure(toy, chosen, ["low"], [0], [4], SETTINGS)
    rows = study.rows(found.by_steps[4])
    assert [r["worst"] for r in rows] == sorted(r["worst"] for r in rows)
    assert {"joint", "cached", "alternate"} <= {r["schedule"] for r in rows}
    study.write(found, tmp_path / "page.md", "a command")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "a command" in page and "| cached |" in page and "page-4.svg" in page
    assert (tmp_path / "page-4.svg").exists()


def test_drift_of_a_steady_stream_is_small_and_a_loop_is_a_repetition(toy: ToyModel, folder: Path) -> None:
    found = drift.measure(toy, Scene(parse_prompts("low")), 2)
    told = drift.as_dict(found)
    assert abs(told["loudness_drift_lu"]) < 3.0 and abs(told["hf_variance_drift"]) < 0.5
    assert len(told["loudness_by_minute"]) == 2 and -1.0 <= told["self_similarity_peak"] <= 1.0
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    once = drift.self_similarity(rows)
    again = drift.self_similarity(np.concatenate([rows, rows]))
    assert once.max() < 0.9 and again.max() == pytest.approx(1.0)
    assert drift.matched_peak(again, 10) < drift.matched_peak(again, 10_000)
    assert "minute" in drift.table(found) and drift.picture(found).startswith("<svg")


def test_the_corpus_is_cut_by_the_training_split_and_kept(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    corpus = read_corpus(folder, tmp_path, said.append)
    assert any("broken.flac" in line for line in said)
    table = real_table(corpus, Statistics(), 3.0, tmp_path)
    assert table.held.any() and not table.held.all()
    groups = {name: set(table.held[table.group == name].tolist()) for name in set(table.group.tolist())}
    assert all(len(sides) == 1 for sides in groups.values())
    again = real_table(read_corpus(folder, tmp_path), Statistics(), 3.0, tmp_path)
    assert (again.rows == table.rows).all() and len(list(tmp_path.iterdir())) == 2


def test_real_clips_measured_as_a_model_do_as_well_as_the_real(folder: Path) -> None:
    corpus = read_corpus(folder)
    real = model.prepare_real(real_table(corpus, Statistics(), 3.0))

    def copies() -> Iterator[Clip]:
        yield from (clip for clip in real_clips(corpus, 3.0) if not clip.held)

    found = model.compare(real, measure_clips(copies(), Statistics()))
    assert found.figures["probe_accuracy"] == found.figures["probe_accuracy_heldout_real"] == 1.0
    # A copy of the training recordings is seen as one.
    assert found.figures["nearest_training_distance"] < 1e-3
    assert found.figures["nearest_training_distance_heldout_real"] > 0.1
    assert found.figures["modulation_error_db"] < 1.0
    assert found.figures["crest_factor_ratio"] == pytest.approx(1.0, abs=0.1)
    assert set(found.classes) == {"high", "low"}


def test_a_model_is_measured_with_every_key(toy: ToyModel, folder: Path) -> None:
    found = model.measure(toy, folder, clips=2, seconds=2.0, pairs=1)
    told = json.loads(to_json(model.as_dict(found)))
    keys = (
        "probe_accuracy",
        "probe_accuracy_heldout_real",
        "frechet",
        "frechet_real_halves",
        "modulation_error_db",
        "nearest_training_distance",
    )
    assert all(isinstance(told[key], float) for key in keys)
    assert set(told["classes"]) == {"high", "low"} and set(keys) <= set(told["classes"]["low"])
    assert told["embedding"] == "log-mel statistics"
    assert "low" in model.table(found)


def test_levels_are_equal_before_embedding() -> None:
    for scale in (1e-4, 1.0):
        samples = at_level(np.full((2, 100), scale, np.float32))
        assert np.sqrt((samples**2).mean()) == pytest.approx(0.05)


def test_speed_and_the_averaging_rival_are_timed(toy: ToyModel) -> None:
    found = bench.speed(toy, "low", 2.0, runs=1)
    assert found["real_time_factor"] > 0 and 0 < found["first_chunk_s"] and 0 <= found["engine_overhead"] <= 1
    against = bench.against_averaging(toy, "low", 8.0, slices=2)
    for way in ("", "canvas_"):
        assert against[f"safa_vs_md_{way}denoiser_calls_ratio"] > 2.5
        assert against[f"safa_vs_md_{way}time_ratio"] > 0
    assert "cores" in bench.machine()


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="fresh process failed.*" + tmp_path.name):
        bench.in_child("first", str(tmp_path / "none"), "auto", "rain")


def test_the_memory_mark_is_the_processs_own() -> None:
    """Not what the process held that it was forked from."""
    held = np.ones(50_000_000)
    command = "from safa_stream.evaluation.child import peak; print(peak())"
    told = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert 20.0 < float(told) < held.nbytes / 1e6
