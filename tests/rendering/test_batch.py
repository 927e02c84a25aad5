"""Batches: the same files as one render each, made once, complete or absent, whatever ends the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.cli import main
from safa_stream.errors import UsageError
from safa_stream.rendering.batch.jobs import Job, read_job, read_jobs
from safa_stream.rendering.batch.ledger import NAME, Entry, Ledger
from safa_stream.rendering.batch.run import run_batch
from safa_stream.rendering.batch.workers import Processes, make
from safa_stream.rendering.render import render

ONE = "onnx:threads=1"
CLI = "import sys; from safa_stream.cli import main; sys.exit(main())"


def listed(path: Path, *jobs: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return path


def short(out: str, seed: int = 0, **more: object) -> dict[str, object]:
    return {"out": out, "prompt": "rain, wind:0.4", "duration": 2, "steps": 2, "seed": seed, **more}


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


class Here:
    """Workers without processes, that can be told to stop counting on."""

    count = 1

    def __init__(self) -> None:
        self.begun: list[str] = []

    def perform(self, jobs: Sequence[Job], folder: Path, backend: str) -> Generator[Entry]:
        for job in jobs:
            self.begun.append(job.out)
            yield make(job, folder, ONE)


class TestLists:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{", "not valid JSON"),
            ("[]", "not a JSON object"),
            ('{"out": "a.wav", "prompt": "rain", "duration": 2, "volume": 1}', "no field is called 'volume'"),
            ('{"out": "a.wav", "prompt": "rain", "duration": 2, "duration": 3}', "'duration' stands twice"),
            ('{"prompt": "rain", "duration": 2}', "'out' must be a file's name"),
            ('{"out": "../a.wav", "prompt": "rain", "duration": 2}', "inside the batch's folder"),
            ('{"out": "/tmp/a.wav", "prompt": "rain", "duration": 2}', "inside the batch's folder"),
            ('{"out": "a.wav", "duration": 2}', "either prompt or scene"),
            ('{"out": "a.wav", "prompt": "rain"}', "'duration' must be a number, not None"),
            ('{"out": "a.wav", "prompt": "rain", "duration": NaN}', "NaN is not a number that a job can hold"),
            ('{"out": "a.wav", "prompt": "rain", "duration": -1}', "above 0"),
            ('{"out": "a.wav", "prompt": "rain", "duration": 2, "steps": 0}', "'steps' must be a whole number"),
            ('{"out": "a.wav", "prompt": "rain", "duration": 2, "lufs": 3}', "loudness must be from"),
            ('{"out": "a.wav", "prompt": "rain", "duration": 2, "rate": "high"}', "'rate' must be a whole number"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path: Path, line: str, said: str) -> None:
        path = tmp_path / "jobs.jsonl"
        path.write_text(json.dumps(short("good.wav")) + "\n\n" + line + "\n")
        with pytest.raises(UsageError, match=f"line 3: .*{said}") as error:
            read_jobs(path, {})
        assert "\n" not in str(error.value)

    def test_two_jobs_cannot_share_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"line 2: a.wav is the file of line 1"):
            read_jobs(listed(tmp_path / "jobs", short("a.wav"), short("./a.wav")), {})

    def test_options_hold_where_a_line_says_nothing(self) -> None:
        job = read_job('{"out": "a.wav", "prompt": "rain", "seed": 5}', {"duration": 3, "seed": 1, "lufs": "off"})
        assert (job.seconds, job.scene.seed, job.lufs) == (3, 5, None)
        assert job.key != read_job('{"out": "a.wav", "prompt": "rain"}', {"duration": 3, "lufs": "off"}).key


class TestMaking:
    def test_files_are_those_of_single_renders(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        jobs = listed(
            tmp_path / "jobs", short("a.wav", 1), short("deep/b.flac", 2, spectrogram=True), short("c.wav", 3)
        )
        out = tmp_path / "made"
        words = ["render", "--batch", str(jobs), "--out", str(out), "--backend", ONE, "--workers", "2", "--json"]
        assert main(words) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["jobs"], told["done"], told["skipped"], told["failed"], told["workers"]) == (3, 3, 0, 0, 2)
        for name, seed in (("a.wav", 1), ("deep/b.flac", 2), ("c.wav", 3)):
            alone = tmp_path / Path(name).name
            render(read_job(json.dumps(short(name, seed)), {}).scene, 2, alone, backend=ONE)
            assert np.array_equal(soundfile.read(out / name)[0], soundfile.read(alone)[0])
        assert (out / "deep" / "b.png").exists() and not parts(out)
        written = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != NAME}
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["skipped"] == 3
        assert {path: path.stat().st_mtime_ns for path in written} == written

    def test_a_job_that_fails_hinders_no_other(self, tmp_path: Path) -> None:
        out = tmp_path / "made"
        (out / "a.wav").mkdir(parents=True)
        jobs = read_jobs(listed(tmp_path / "jobs", short("a.wav"), short("b.wav")), {})
        report = run_batch(jobs, out, Here())
        assert (report.done, report.failed, report.interrupted) == (1, 1, False)
        assert report.failures[0]["out"] == "a.wav" and "is a folder" in report.failures[0]["error"]
        # It is tried again, the other not.
        (out / "a.wav").rmdir()
        workers = Here()
        assert run_batch(jobs, out, workers).done == 1 and workers.begun == ["a.wav"]


class TestGoingOn:
    def test_a_stopped_batch_goes_on_with_what_is_left(self, tmp_path: Path) -> None:
        jobs = read_jobs(listed(tmp_path / "jobs", *(short(f"{n}.wav", n) for n in range(3))), {})
        first, second = Here(), Here()
        assert run_batch(jobs, tmp_path / "made", first, stop=lambda: True).interrupted
        assert first.begun == ["0.wav"]
        assert not run_batch(jobs, tmp_path / "made", second).interrupted
        assert second.begun == ["1.wav", "2.wav"]

    def test_what_was_changed_or_lost_is_made_again(self, tmp_path: Path) -> None:
        out = tmp_path / "made"
        jobs = read_jobs(listed(tmp_path / "jobs", short("0.wav"), short("1.wav"), short("2.wav")), {})
        run_batch(jobs, out, Here())
        (out / "0.wav").write_bytes(b"cut off")
        changed = read_jobs(listed(tmp_path / "jobs", short("0.wav"), short("1.wav", 9), short("2.wav")), {})
        workers = Here()
        run_batch(changed, out, workers)
        assert workers.begun == ["0.wav", "1.wav"]

    def test_a_cut_off_line_of_the_ledger_costs_its_job_only(self, tmp_path: Path) -> None:
        out = tmp_path / "made"
        jobs = read_jobs(listed(tmp_path / "jobs", short("0.wav"), short("1.wav")), {})
        run_batch(jobs, out, Here())
        kept = (out / NAME).read_bytes()
        (out / NAME).write_bytes(kept[:-20])
        workers = Here()
        run_batch(jobs, out, workers)
        assert workers.begun == ["1.wav"]
        with Ledger(out) as ledger:
            assert {entry.out for entry in ledger.done().values()} == {"0.wav", "1.wav"}


class TestEnds:
    def test_a_killed_worker_costs_nothing(self, tmp_path: Path) -> None:
        jobs = read_jobs(listed(tmp_path / "jobs", *(short(f"{n}.wav", n, duration=4) for n in range(3))), {})
        killed: list[int] = []

        def kill(standing: object) -> None:
            children = children_of(os.getpid())
            if not killed and children:
                killed.append(children[0])
                os.kill(children[0], signal.SIGKILL)

        report = run_batch(jobs, tmp_path / "made", Processes(1), backend=ONE, report=kill)
        assert killed and (report.done, report.failed) == (3, 0)
        assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["0.wav", "1.wav", "2.wav", NAME]

    def test_two_interrupts_leave_no_half_file(self, tmp_path: Path) -> None:
        jobs = listed(tmp_path / "jobs", *(short(f"{n}.wav", n, duration=600, steps=12) for n in range(2)))
        out = tmp_path / "made"
        command = [sys.executable, "-c", CLI, "render", "--batch", str(jobs), "--out", str(out), "--workers", "2"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while len(parts(out)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        said = process.communicate(timeout=90)[1]
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not parts(out) and not list(out.glob("*.wav"))


def children_of(parent: int) -> list[int]:
    """Processes that are workers, not the tracker of multiprocessing's resources."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
