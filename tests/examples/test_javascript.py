"""The JavaScript package: packed by npm, checked by tsc, run by Node against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import playwright
import pytest

from safa_server.wire import ANSWERS, REQUESTS, slots
from tests.browser.rig import Wire
from tests.clients.programs import program
from tests.clients.proofs import Proof, Proofs
from tests.clients.witness import joined
from tests.examples.conftest import Served
from tests.server.test_serve import ROOT
from tools import javascript_types

FOLDER = ROOT / "examples/javascript"
PAGE_CLIENT = ROOT / "server/safa_server/web/safa.js"
#: The version that the types were checked with.
TYPESCRIPT = "typescript@7.0.2"
SECONDS = 2.4


def nodes() -> list[tuple[str, ...]]:
    """Commands that run Node: the one that came with Playwright, and this machine's if it is new enough."""
    found = [(str(Path(playwright.__file__).parent / "driver/node"),)]
    own = shutil.which("node")
    if own is not None and version(own) >= 20:
        found.append((own, "--experimental-websocket") if version(own) < 22 else (own,))
    return found


def version(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.lstrip("v").split(".")[0])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the packed package is installed."""
    folder = tmp_path_factory.mktemp("package")
    environment = {**os.environ, "npm_config_cache": str(folder / "cache"), "npm_config_update_notifier": "false"}
    packing = [program("npm"), "pack", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(packing, cwd=FOLDER, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (FOLDER / "safa.js").exists(), "the client has one home; the copy was for the archive only"
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (folder / "node_modules").mkdir()
    (folder / "package").rename(folder / "node_modules/safa-stream")
    return folder


def test_the_archive_has_the_pages_client_and_no_more(package: Path) -> None:
    installed = package / "node_modules/safa-stream"
    about = json.loads((installed / "package.json").read_text())
    assert {path.name for path in installed.iterdir()} == {"package.json", "README.md", *about["files"]}
    assert (installed / "safa.js").read_bytes() == PAGE_CLIENT.read_bytes()
    assert not any("ependencies" in key for key in about)
    assert about["version"] == re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]  # type: ignore[index]


@pytest.mark.parametrize("node", nodes(), ids=lambda node: f"node{version(node[0])}")
def test_node_hears_the_session_and_is_heard(
    node: tuple[str, ...], package: Path, tmp_path: Path, served: Served, proofs: Proofs
) -> None:
    out = tmp_path / "out.f32"
    wire = Wire(served.port)
    script = package / "node_modules/safa-stream/record.mjs"
    command = [*node, str(script), str(out), "--url", f"ws://127.0.0.1:{wire.port}/ws", "--seconds", str(SECONDS)]
    process = subprocess.Popen(command, cwd=package, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        session = process.stdout.readline().split()[1]
        with joined(served.url, session) as witness:
            while not out.stat().st_size:
                time.sleep(0.05)
            time.sleep(SECONDS / 4)
            wire.cut(0.4)
            said, complained = process.communicate(timeout=60)
            state = witness.events
    finally:
        process.kill()
        wire.close()
    assert process.returncode == 0, complained
    heard = np.fromfile(out, "<f4").reshape(-1, 2)
    assert f"{SECONDS:.2f} s heard, 0 samples lost" in said and len(heard) == SECONDS * 48_000
    assert "resuming: " in complained
    assert re.search(r"command 1 is heard from \d+ on", said) and any(event["type"] == "applied" for event in state)
    own = witness.frames
    assert witness.first == 960
    count = min(len(heard) - 960, len(own))
    assert count > (SECONDS - 1) * 48_000
    assert np.array_equal(heard[960 : 960 + count], own[:count]), "exact"
    assert np.abs(own).max() > 1e-3
    told = subprocess.run([node[0], "--version"], capture_output=True, text=True).stdout.strip()
    proofs.tell(
        Proof(
            "JavaScript" + (" (experimental WebSocket)" if len(node) > 1 else ""),
            "exact: what Node received, through a cut connection",
            f"Node {told}",
            count,
            0,
        )
    )


def test_what_is_wrong_is_one_line(package: Path) -> None:
    node = nodes()[0]
    script = package / "node_modules/safa-stream/record.mjs"
    done = subprocess.run(
        [*node, str(script), "out", "--url", "ws://127.0.0.1:1/ws"], cwd=package, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("the server cannot be reached") and "at " not in done.stderr
    code = 'delete globalThis.WebSocket; const { Safa } = await import("safa-stream"); new Safa("ws://x");'
    done = subprocess.run([*node, "--input-type=module", "-e", code], cwd=package, capture_output=True, text=True)
    assert "there is no WebSocket here: use Node 22" in done.stderr


def test_types_are_those_of_the_protocol() -> None:
    """Run tools/javascript_types.py where this fails."""
    text = javascript_types.TARGET.read_text()
    assert text == javascript_types.document()
    for kinds in (REQUESTS, ANSWERS):
        for kind, message in kinds.items():
            assert f'  "{kind}": ' in text
            assert all(f"    {slot.name}" in text for slot in slots(message))


USE = """
import { Safa, SafaError, parseFrame, type Frame } from "safa-stream";
const safa = new Safa("ws://127.0.0.1:8600/ws");
safa.addEventListener("audio", ({ detail }) => { const frame: Frame = detail; frame.samples.length; });
safa.addEventListener("scene.saved", ({ detail }) => detail.content);
safa.addEventListener("event", ({ detail }) => { if (detail.type === "view") detail.made_in.toFixed(2); });
async function use(): Promise<number> {
  const opened = await safa.open({ scene: "rain", pacing: "pull" });
  await safa.send("mix", { layer: 0, gain: -6 });
  await safa.send("prompt", { prompts: [{ text: "rain", weight: 0.5 }], morph: 2 });
  const state: Record<string, unknown> = (await safa.send("state")).state;
  const pong = await safa.send("ping", { client_clock: 1 });
  return opened.rate + pong.server_clock_ns + Object.keys(state).length + parseFrame(new ArrayBuffer(48)).start;
}
use().catch((error: SafaError) => error.code);
"""
WRONG = {
    'safa.send("mix", { layer: 0, volume: 3 });': "volume",
    'safa.send("prompt", {});': "prompts",
    'safa.send("dance");': "dance",
    'safa.open({ scene: "rain", pacing: "slow" });': "slow",
}


def test_tsc_accepts_what_is_right_and_nothing_else(package: Path, proofs: Proofs) -> None:
    installing = [program("npm"), "install", "--no-save", "--no-audit", "--no-fund", "--silent", TYPESCRIPT]
    tools = package / "tools"
    tools.mkdir()
    (tools / "package.json").write_text("{}")
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    done = subprocess.run(installing, cwd=tools, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        # Without the registry there is no compiler; the structure was checked above.
        proofs.tell(
            Proof("TypeScript", "types of the JavaScript package", "", not_run="npm could not install typescript")
        )
        return
    tsc = [str(tools / "node_modules/.bin/tsc"), "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    (package / "package.json").write_text('{"type": "module"}')
    (package / "use.ts").write_text(USE)
    done = subprocess.run([*tsc, "use.ts"], cwd=package, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    wrong = USE + "".join(f"{line}\n" for line in WRONG)
    (package / "wrong.ts").write_text(wrong)
    said = subprocess.run([*tsc, "wrong.ts"], cwd=package, capture_output=True, text=True).stdout
    first = USE.count("\n") + 1
    for number, (line, word) in enumerate(WRONG.items(), first):
        found = [one for one in said.splitlines() if one.startswith(f"wrong.ts({number},")]
        assert found and word in "\n".join(found), f"{line} was accepted: {said}"
    told = subprocess.run([tsc[0], "--version"], capture_output=True, text=True).stdout.split()[-1]
    proofs.tell(Proof("TypeScript", "the package's types: a right program compiles, four wrong lines do not", told))
