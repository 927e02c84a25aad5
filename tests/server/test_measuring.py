"""Measuring a live server: the figures' keys and invariants with real processes, and how samples are accounted for."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from safa_server.header import Header, pack
from safa_server.measuring.account import Account
from safa_server.measuring.meanings import LIVE, SOAK
from safa_server.measuring.processes import busy_seconds, cpu_seconds
from safa_server.measuring.soak import SoakPlan, broken, not_judged
from safa_server.measuring.sockets import BINARY, TEXT, Socket, framed, place
from safa_stream.cli.main import main
from safa_stream.errors import UsageError

#: Few solver steps and a server that admits whatever comes: a slow machine is no reason to fail.
QUICK = ("--steps", "2", "--layers", "3", "--json")
COMMAND = "import sys; from safa_stream.cli import main; sys.exit(main())"


@contextmanager
def bench(folder: Path, *words: str, under: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """`safa-stream bench WORDS` as a process whose temporary files are in `folder`. under: what starts it."""
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [*under, sys.executable, "-c", COMMAND, "bench", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def result(process: subprocess.Popen[str], folder: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the one JSON object that was printed; nothing may be left behind."""
    out, said = process.communicate(timeout=400)
    assert out.count("\n") == 1, said
    assert list(folder.glob("safa-*")) == []
    return process.returncode, json.loads(out)


def test_a_short_soak_and_a_small_live_bench(tmp_path: Path) -> None:
    live = ("live", "--runs", "1", "--changes", "1", "--hold", "2", "--listeners", "5", "--window", "1", *QUICK)
    soak = ("soak", "--seconds", "15", "--sessions", "2", *QUICK)
    with bench(tmp_path / "soak", *soak) as soaking, bench(tmp_path / "live", *live) as living:
        code, found = result(soaking, tmp_path / "soak")
        assert code == (1 if found["broken"] else 0)
        assert {name for name, _ in SOAK} <= set(found)
        assert (found["sessions"], found["sessions_attacked"]) == (2, 1)
        assert found["seconds"] > 12 and found["samples"] > 48_000 * 12
        assert found["samples_missing"] == found["samples_duplicated"] == found["sequence_disagreements"] == 0
        assert found["resumed_missing"] == found["resumed_duplicated"] == found["altered_frames"] == 0
        assert {"commands", "half_open", "nonsense", "stalls"} <= set(found["hostile"])
        assert -0.9 < found["rss_growth"] < 2 and min(found["rss_mb"]) > 50

        code, found = result(living, tmp_path / "live")
        assert code == 0
        assert {name for name, _ in LIVE} <= set(found)
        assert 0 < found["view_generation_s"] and 0 < found["first_audio_s"] < 60
        assert 0 < found["gain_latency_median_ms"] <= found["gain_latency_ms"]
        assert 0 < found["faders_commands"] < found["faders_messages"] and found["faders_answer_p95_ms"] > 0
        assert 0 < found["now_change_median_s"] <= found["now_change_p95_s"]
        assert found["sessions_real_time"] == 3 and found["sessions_bound"] > 0
        assert found["refusal_code"] == "admission" and found["refusal_retry_after_s"] > 0
        assert found["samples_missing"] == found["listener_samples_missing"] == found["alarms_in_log"] == 0
        assert found["listeners"] == 5 and found["cpu_one_listener"] > 0
        assert found["encode_once_cpu_ratio"] > 0


def test_ctrl_c_stops_server_and_all(tmp_path: Path) -> None:
    folder = tmp_path / "soak"
    with bench(folder, "soak", "--seconds", "600", "--sessions", "2", *QUICK, under=("nice", "-n", "1")) as process:
        end = time.monotonic() + 120
        while not (ready := next(folder.glob("*/ready.json"), None)):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        server = json.loads(ready.read_text())["pid"]
        urgency = os.getpriority(os.PRIO_PROCESS, server)
        assert urgency == os.getpriority(os.PRIO_PROCESS, 0) + 1
        groups = Path(f"/proc/{server}/autogroup")
        assert not groups.exists() or int(groups.read_text().split()[-1]) == urgency, "of its whole session"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said.splitlines()[-1] == "safa-stream: interrupted"
    assert list(folder.glob("safa-*")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "soak", "--sessions", "1"]) == 2
    assert main(["bench", "live", "--listeners", "100000"]) == 2
    assert main(["bench", "live", "--prompt", " "]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 3
    with pytest.raises(UsageError, match="half of them attacked"):
        SoakPlan(seconds=1, sessions=1)


def test_every_sample_is_accounted_for() -> None:
    account = Account()
    for sequence in range(5, 10):
        account.take(sequence, sequence * 960, 960)
    assert (account.frames, account.samples, account.last) == (5, 4800, 9)
    assert (account.missing, account.duplicated, account.disagreements) == (0, 0, 0)
    account.take(12, 12 * 960, 960)
    assert (account.missing, account.duplicated, account.disagreements) == (2 * 960, 0, 0)
    account.take(12, 12 * 960, 960)
    account.take(13, 13 * 960 - 10, 960)
    assert (account.missing, account.duplicated, account.disagreements) == (2 * 960, 970, 1)
    account.forget()
    account.take(100, 100 * 960, 960)
    assert (account.missing, account.duplicated, account.last) == (2 * 960, 970, 100)


def test_frames_are_read_however_they_come() -> None:
    async def test() -> None:
        chance = random.Random(0)
        frames = [
            pack(Header("s16", 2, 48_000, 960, number, number * 960, 1, 1, 3840), bytes([number]) * 3840)
            for number in range(20)
        ]
        stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        for number, frame in enumerate(frames):
            text = json.dumps({"type": "done", "id": number, "filling": "x" * (70_000 if number == 7 else number)})
            stream += framed(BINARY, frame, masked=False) + framed(TEXT, text.encode(), masked=False)
        heard: list[bytes] = []
        socket = Socket()
        socket.on_audio = lambda payload: heard.append(bytes(payload))
        at = 0
        while at < len(stream):
            room = socket.get_buffer(-1)
            size = min(len(room), chance.choice((1, 3, 100, 5000, 50_000)), len(stream) - at)
            room[:size] = stream[at : at + size]
            socket.buffer_updated(size)
            at += size
        assert heard == frames
        assert [text["id"] for text in socket.texts] == list(range(20))
        assert place(memoryview(heard[3])) == (3, 2880, 960)

    asyncio.run(test())


def test_what_a_soak_must_not_show() -> None:
    good: dict[str, Any] = {
        "underruns": 0,
        "samples_missing": 0,
        "samples_duplicated": 0,
        "sequence_disagreements": 0,
        "altered_frames": 0,
        "resumed_missing": 0,
        "resumed_duplicated": 0,
        "warm_seconds": 180.0,
        "rss_growth": -0.02,
        "lag_seconds": 0.1,
        "alarms": [],
        "cpu_others": 0.02,
    }
    assert broken(good, []) == []
    for change in (
        {"underruns": 1},
        {"samples_missing": 960},
        {"rss_growth": 0.031},
        {"rss_growth": -0.031},
        {"altered_frames": 1},
        {"lag_seconds": 9.0},
        {"alarms": ["Traceback"]},
    ):
        assert len(broken({**good, **change}, [])) == 1, change
    # A run that was too short to be warm says nothing about memory.
    assert broken({**good, "rss_growth": 0.5, "warm_seconds": 20.0}, []) == []
    assert broken(good, ["a session ended"]) == ["a session ended"]
    # What other programs take from the server is said, not held against it; what is lost is, always.
    crowded = {**good, "underruns": 3, "cpu_others": 0.4}
    assert broken(crowded, []) == []
    assert not_judged(crowded) == ["3 underruns: other programs took 40 % of the cores"]
    assert not_judged(good) == not_judged({**good, "underruns": 3}) == []
    assert len(broken({**crowded, "samples_missing": 960}, [])) == 1


def test_what_other_programs_use_is_counted() -> None:
    before = busy_seconds(), cpu_seconds(os.getpid())
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    mine = cpu_seconds(os.getpid()) - before[1]
    assert mine > 0.25
    assert busy_seconds() - before[0] > mine - 0.05
