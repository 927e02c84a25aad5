"""Batches on a real Ray cluster of two nodes: the files of local processes, whatever is lost on the way.

One cluster serves all tests here. The last one takes a node from it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import soundfile

import safa_stream
from safa_stream.cli import main
from safa_stream.errors import ClusterError, UsageError
from safa_stream.rayclusters import Cluster, NodeFacts, connected, unlike
from safa_stream.rendering.batch import actors
from safa_stream.rendering.batch.actors import Actors
from safa_stream.rendering.batch.jobs import Job, read_job
from safa_stream.rendering.batch.ledger import NAME
from safa_stream.rendering.batch.line import TRIES, Line
from safa_stream.rendering.batch.run import Report, Standing, run_batch
from safa_stream.rendering.batch.shared import Probe
from safa_stream.rendering.batch.workers import Processes
from tests.ray_nodes import STORE, two_nodes

# Ray leaves files and processes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

ONE = "onnx:threads=1"
CLI = "import sys; from safa_stream.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Iterator[Cluster]:
    with connected(nodes.address) as joined:
        yield joined


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What processes of this machine make of JOBS."""
    folder = tmp_path_factory.mktemp("alone")
    assert run_batch(read(*JOBS), folder, Processes(1), backend=ONE).done == len(JOBS)
    return folder


def short(out: str, seed: int = 0, **more: object) -> dict[str, object]:
    return {"out": out, "prompt": "rain, wind:0.4", "duration": 1, "steps": 2, "seed": seed, **more}


def read(*lines: dict[str, object]) -> list[Job]:
    return [read_job(json.dumps(line), {}) for line in lines]


JOBS = (short("a.wav", 1), short("deep/b.flac", 2, spectrogram=True), short("c.wav", 3))


def some(count: int, **more: object) -> list[Job]:
    return read(*(short(f"{seed}.wav", seed, **more) for seed in range(count)))


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the ledger, by name; what is hidden, as unfinished files are, as well."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != NAME
    }


def workers() -> list[int]:
    """Processes of workers of the cluster that this process started, by what Ray calls them."""
    found = []
    for raylet in children(os.getpid()):
        found += [child for child in children(raylet) if b"ray::Renderer" in command(child)]
    return found


def children(parent: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def at_first_file(act: Callable[[], None]) -> Callable[[Standing], None]:
    """A `report` that acts once, when a file is done and every worker has its next job."""
    acted: list[bool] = []

    def report(standing: Standing) -> None:
        if standing.done and not acted:
            acted.append(True)
            act()

    return report


class TestAddresses:
    """First: a process that is connected to one cluster joins no other."""

    @pytest.mark.parametrize(
        ("place", "kind", "said"),
        [
            ("ray://head:10001", UsageError, "ray://head:10001 is for Ray's remote clients"),
            ("nonsense", UsageError, "a cluster is local, auto or HOST:PORT, not 'nonsense'"),
            ("SILENT", ClusterError, r"no Ray head answers at [\d.:]+ within 0.5 s"),
        ],
    )
    def test_what_cannot_be_joined_is_told_in_a_line(self, place: str, kind: type[Exception], said: str) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            place = place.replace("SILENT", f"127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(kind, match=said) as error, connected(place, patience=0.5):
                pass
            assert "\n" not in str(error.value)


class TestFiles:
    def test_they_are_those_of_local_processes(self, cluster: Cluster, alone: Path, tmp_path: Path) -> None:
        said: list[str] = []
        (tmp_path / "taken.wav").mkdir()
        team = Actors(cluster, 2, say=said.append)
        report = run_batch(read(*JOBS, short("taken.wav")), tmp_path, team, backend=ONE)
        assert (report.done, report.failed, report.workers) == (3, 1, 2)
        assert "is a folder" in report.failures[0]["error"] and "(node " in report.failures[0]["error"]
        assert contents(tmp_path) == contents(alone) and len(contents(alone)) == 4
        assert said[-1] == f"workers write into {tmp_path} themselves: it is the same folder there"
        made = {line["out"]: line["made"] for line in map(json.loads, (tmp_path / NAME).read_text().splitlines())}
        assert made["deep/b.flac"]["spectrogram"] == str(tmp_path / "deep" / "b.png")
        # The ledger is the same one: neither kind of workers makes again what the other has made.
        assert run_batch(read(*JOBS), tmp_path, Processes(1), backend=ONE).skipped == 3
        assert run_batch(read(*JOBS), alone, Actors(cluster, 2), backend=ONE).skipped == 3

    def test_they_come_back_where_the_folder_is_not_shared(
        self, cluster: Cluster, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide_probes(monkeypatch)
        said: list[str] = []
        # Larger than the object stores of the cluster.
        long = short("long.wav", 4, duration=56, rate=192_000, bits="32f", steps=1, lufs="off")
        (tmp_path / "taken.wav").mkdir()
        team = Actors(cluster, 2, say=said.append)
        report = run_batch(read(*JOBS, long, short("taken.wav")), tmp_path, team, backend=ONE)
        assert (report.done, report.failed) == (4, 1) and "is a folder" in report.failures[0]["error"]
        assert "files come back in pieces and are written here" in said[-1]
        files = contents(tmp_path)
        whole = files.pop("long.wav")
        assert files == contents(alone)
        assert len(whole) > STORE and soundfile.info(tmp_path / "long.wav").frames == 56 * 192_000


class TestLosses:
    def test_workers_that_are_killed_or_silent_cost_nothing(
        self, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hurt = [(signal.SIGKILL, 1), (signal.SIGSTOP, 3)]

        def report(standing: Standing) -> None:
            if hurt and standing.done >= hurt[0][1] and (there := workers()):
                os.kill(there[-1], hurt.pop(0)[0])

        made = run_batch(some(7), tmp_path, Actors(cluster, 2, silence=3.0), backend=ONE, report=report)
        assert not hurt and (made.done, made.failed) == (7, 0)
        # Ray has much to say of dead workers, on standard output, where results are.
        assert capsys.readouterr() == ("", "")
        assert sorted(contents(tmp_path)) == [f"{n}.wav" for n in range(7)]

    def test_a_job_that_takes_its_workers_with_it_is_given_up(self, cluster: Cluster, tmp_path: Path) -> None:
        over = threading.Event()

        def kill_whoever_begins() -> None:
            while not over.wait(0.02):
                # The name of what is unfinished has the process in it.
                begun = {int(path.name.split(".")[-2]) for path in unfinished(tmp_path)}
                for process in begun & set(workers()):
                    os.kill(process, signal.SIGKILL)

        killer = threading.Thread(target=kill_whoever_begins)
        killer.start()
        try:
            report = run_batch(some(1, duration=600), tmp_path, Actors(cluster, 1), backend=ONE)
        finally:
            over.set()
            killer.join()
        assert report.failed == 1
        assert f"{TRIES} workers were lost while they made it" in report.failures[0]["error"]
        assert not contents(tmp_path)

    def test_it_waits_behind_the_others(self) -> None:
        first, second = some(2)
        line = Line([first, second])
        taken = line.next()
        assert taken is first and line.lost(first, "gone") is None
        assert [line.next(), line.next(), line.next()] == [second, first, None]
        assert line.lost(first, "gone") is None and line.next() is first
        ended = line.lost(first, "killed")
        assert ended is not None and ended.error is not None and "killed" in ended.error and len(line) == 0


class TestCommand:
    @pytest.mark.slow
    def test_interrupts_leave_no_half_file_and_no_cluster(self, tmp_path: Path) -> None:
        """In a process group of its own, all of which hears Ctrl-C, as in a terminal."""
        jobs, out = tmp_path / "jobs", tmp_path / "made"
        lines = [short("a.wav"), *(short(f"{n}.wav", n, duration=600, steps=12) for n in range(2))]
        jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
        words = [sys.executable, "-c", CLI, "render", "--batch", str(jobs), "--out", str(out), "--cluster", "local"]
        printed = tmp_path / "printed"
        with tempfile.TemporaryDirectory(prefix="safa-", dir="/tmp") as folder, printed.open("w") as file:
            process = subprocess.Popen(
                [*words, "--workers", "2", "--backend", ONE, "--json"],
                env={**os.environ, "TMPDIR": folder, "RAY_ADDRESS": "192.0.2.1:1"},
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
            try:
                until(lambda: (out / "a.wav").exists() and len(unfinished(out)) == 2, process, printed)
                os.killpg(process.pid, signal.SIGINT)
                # Two signals that come at once are one.
                until(lambda: "Ctrl-C again to end now" in printed.read_text(), process, printed)
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(120) == 130
            finally:
                process.kill()
            assert printed.read_text().splitlines()[-1] == "safa-stream: interrupted"
            assert "Traceback" not in printed.read_text()
            assert sorted(contents(out)) == ["a.wav"]
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
            assert not list(Path(folder).glob("safa-ray-*"))
        # It goes on with what is not there, on other workers.
        report: Report = run_batch(read(short("a.wav"), short("0.wav")), out, Processes(1), backend=ONE)
        assert (report.skipped, report.done) == (1, 1)


class TestBadWeather:
    def test_no_ray(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        jobs = tmp_path / "jobs"
        jobs.write_text(json.dumps(short("a.wav")))
        assert main(["render", "--batch", str(jobs), "--out", str(tmp_path / "made"), "--cluster", "local"]) == 1
        assert capsys.readouterr().err == "safa-stream: clusters need Ray: pip install 'safa-stream[cluster]'\n"

    def test_cluster_without_batch(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["render", "rain", "--cluster", "local"]) == 2
        assert "--cluster is for --batch" in capsys.readouterr().err

    def test_old_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ray.__version__", "2.9.3")
        with pytest.raises(ClusterError, match=r"Ray 2.9.3 is older than 2.50"), connected("local"):
            pass

    @pytest.mark.parametrize(
        ("node", "said"),
        [
            (NodeFacts("10.0.0.7", "3.11.2", "1.0"), None),
            (NodeFacts("10.0.0.7", "3.11.2", None), "node 10.0.0.7 has no safa-stream"),
            (NodeFacts("10.0.0.7", "3.11.2", "1.1"), "node 10.0.0.7 has safa-stream 1.1, this process 1.0"),
            (NodeFacts("10.0.0.7", "3.12.1", "1.0"), "node 10.0.0.7 runs Python 3.12.1, this process 3.11.7"),
        ],
    )
    def test_nodes_that_do_not_fit(self, node: NodeFacts, said: str | None) -> None:
        hindrance = unlike([NodeFacts("10.0.0.6", "3.11.7", "1.0"), node], "3.11.7", "1.0")
        assert hindrance is None if said is None else hindrance is not None and said in hindrance

    def test_workers_are_asked_for_their_version(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        ours = safa_stream.__version__
        assert [node.safa_stream for node in cluster.nodes] == [ours, ours]
        monkeypatch.setattr(safa_stream, "__version__", "9.9")
        with pytest.raises(ClusterError, match=f"has safa-stream {ours}, this process 9.9"), connected("auto"):
            pass

    def test_a_connection_that_is_there_is_used_and_left_open(self, cluster: Cluster) -> None:
        for address in ("auto", "local", cluster.address):
            with connected(address) as again:
                assert (again.address, again.started) == (cluster.address, False)
        with pytest.raises(UsageError, match=f"connected to the Ray cluster at {cluster.address}"), connected("h:1"):
            pass
        assert cluster.ray.is_initialized()

    def test_without_a_free_slot_it_is_said_what_is_waited_for(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actors, "PATIENCE", 0.0)
        placing = import_module("ray.util.placement_group")
        taken = [placing.placement_group([{"CPU": 1}, {"CPU": 1}])]
        cluster.ray.get(taken[0].ready(), timeout=60)
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            while taken:
                placing.remove_placement_group(taken.pop())

        report = run_batch(some(1), tmp_path, Actors(cluster, 1, say=say), backend=ONE)
        assert said[0] == "waiting for workers, each takes a CPU: the cluster has 2, 0 of them free"
        assert (report.done, report.failed) == (1, 0)


class TestLostNode:
    def test_it_costs_nothing(self, nodes: Any, cluster: Cluster, tmp_path: Path) -> None:
        other = next(node for node in nodes.list_all_nodes() if node is not nodes.head_node)
        lose = at_first_file(lambda: nodes.remove_node(other, allow_graceful=False))
        report = run_batch(some(5), tmp_path, Actors(cluster, 2), backend=ONE, report=lose)
        assert (report.done, report.failed) == (5, 0)
        assert sorted(contents(tmp_path)) == [f"{n}.wav" for n in range(5)]


def until(so: Callable[[], bool], process: subprocess.Popen[bytes], printed: Path) -> None:
    end = time.monotonic() + 180
    while not so():
        assert process.poll() is None and time.monotonic() < end, printed.read_text()
        time.sleep(0.05)


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


def hide_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's folder is not there for workers, as on nodes without shared storage."""
    laid = actors.probing

    @contextmanager
    def hidden(folder: Path) -> Iterator[Probe]:
        with laid(folder) as probe:
            probe.path.unlink()
            yield probe

    monkeypatch.setattr(actors, "probing", hidden)
