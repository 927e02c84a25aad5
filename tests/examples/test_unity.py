"""The Unity example: its client compiled and run against a real server, its component compiled against stand-ins."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from tests.browser.rig import Wire
from tests.clients.programs import program
from tests.clients.proofs import Proof, Proofs
from tests.clients.witness import FIRE, RAIN_AND_FIRE, opened, wait_for
from tests.examples.conftest import Served
from tests.server.test_serve import ROOT

HERE = Path(__file__).parent
FOLDER = ROOT / "examples/unity"
CLIENT = [FOLDER / f"{name}.cs" for name in ("SafaClient", "SampleRing", "Json", "Sparing")]
SECONDS = 3
RATE = 48_000


def compiled(out: Path, *sources: Path) -> Path:
    """What Mono's compiler makes of C# 7, which Unity has understood since 2018. A warning is an error."""
    target = "library" if out.suffix == ".dll" else "exe"
    command = [program("mcs"), "-langversion:7", "-warnaserror", f"-target:{target}", f"-out:{out}", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def version() -> str:
    return subprocess.run([program("mono"), "--version"], capture_output=True, text=True).stdout.split()[4]


def test_the_client_hears_the_session_and_is_heard(tmp_path: Path, served: Served, proofs: Proofs) -> None:
    """Every sample of one layer through a cut connection; a gain that changes all the time is said now and then."""
    run, out = compiled(tmp_path / "program.exe", *CLIENT, HERE / "unity_program.cs"), tmp_path / "out.f32"
    wire = Wire(served.port)
    with opened(served.url, RAIN_AND_FIRE, layer=FIRE) as witness:
        session = witness.opened["session"], witness.opened["token"]
        process = subprocess.Popen(
            [
                program("mono"),
                str(run),
                f"ws://127.0.0.1:{wire.port}/ws",
                *session,
                str(FIRE),
                str(SECONDS * RATE),
                str(out),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            witness.wait_for_listeners(2)
            witness.play()
            wait_for(lambda: len(witness.frames) > 2.3 * RATE)
            wire.cut(0.3)
            said, _ = process.communicate(timeout=60)
            gain, own = witness.state()["layers"][FIRE]["gain"], witness.frames
        finally:
            process.kill()
            wire.close()
    assert process.returncode == 0, said
    summary = said.splitlines()[-1]
    assert "lost 0 dropped 0" in summary, said
    heard = np.fromfile(out, "<f4").reshape(-1, 2)
    count = min(len(heard), len(own))
    assert count >= SECONDS * RATE and np.array_equal(heard[:count], own[:count]), "exact"
    assert gain < 0 and 1 <= int(summary.split("said ")[1]) <= 40, summary
    assert '"type":"applied"' in said
    proofs.tell(
        Proof(
            "Unity (C# client)",
            "exact: what the client without an engine received of one layer, through a cut connection",
            f"Mono {version()}",
            count,
            0,
        )
    )


def test_the_component_compiles(tmp_path: Path, proofs: Proofs) -> None:
    compiled(tmp_path / "unity.dll", *sorted(FOLDER.glob("*.cs")), HERE / "unity_stubs.cs")
    proofs.tell(
        Proof(
            "Unity (component)",
            "compiled against stand-ins for Unity's classes",
            f"Mono {version()}",
            not_run="Unity itself: it needs a licence and a download",
        )
    )
