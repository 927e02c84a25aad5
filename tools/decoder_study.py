"""How fast the decoder is: in two parts, as one graph, as its torch network, the same with torch.fft, and at an earlier
commit.

    python tools/decoder_study.py --before 8c46cfa > table.md

Every contender is a process that decodes one window of latents whenever it is told to. They take turns, so whatever
else the machine does meets all alike; the least time of each counts. Prints a table in Markdown, errors against the one
graph's samples included, unless the earlier commit drew its noise otherwise. Needs the extras cpu and train.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SOUNDS = ("rain", "fire", "crickets", "bells")
#: Tokens of context on each side and decoded in between: what a stream decodes at once.
HALO, COUNT = 8, 128
SEED = 1


def main() -> None:
    """Measure, or be one of the measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="COMMIT", help="a commit whose decoder takes part as well")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), options.threads)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Let all contenders take turns and print what they needed."""
    np.savez(folder / "latents.npz", **latents())
    trees = dict.fromkeys(("one graph", "two parts", "network", "torch.fft"), ROOT)
    if options.before:
        trees["before"] = folder / "before"
        trees["before"].mkdir()
        words = ["git", "archive", options.before, "safa_stream"]
        archive = subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(trees["before"])], input=archive, check=True)
    contenders = {kind: begin(kind, tree, folder / "latents.npz", options) for kind, tree in trees.items()}
    turns: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for sound in SOUNDS:
            for kind, process in contenders.items():
                turns.setdefault((sound, kind), []).append(ask(process, sound))
    for process in contenders.values():
        process.communicate("")
    print("| sound | decoder | ms | of it the graph's part | processor ms | times as fast | relative error |")
    print("|---|---|---|---|---|---|---|")
    for (sound, kind), found in turns.items():
        exact, made = (np.load(folder / f"{name}-{sound}.npy") for name in ("one graph", kind))
        whole, part, used = (min(turn[name] for turn in found) for name in ("whole", "part", "used"))
        ratio = min(turn["whole"] for turn in turns[sound, "one graph"]) / whole
        error = np.linalg.norm(made - exact) / np.linalg.norm(exact)
        said = "" if kind == "one graph" else "other noise" if error > 0.1 else f"{error:.1e}"
        print(
            f"| {sound} | {kind} | {whole:.1f} | {f'{part:.1f}' if part else ''} | {used:.1f} | {ratio:.2f} | {said} |"
        )


def latents() -> dict[str, Any]:
    """One view of each sound, [C, T, F]."""
    from safa_stream.evaluation.generate import WAYS, Settings
    from safa_stream.evaluation.generate import latents as made
    from safa_stream.models import load

    model = load("builtin", "onnx")
    length = COUNT + 2 * HALO
    return {sound: made(model, sound, WAYS["stream"], Settings(views=1), SEED)[:, :length] for sound in SOUNDS}


def begin(kind: str, tree: Path, path: Path, options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start a contender."""
    words = ["--threads", str(options.threads), "--child", kind, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [sys.executable, "-P", __file__, *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str], sound: str) -> dict[str, float]:
    """One turn."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(sound + "\n")
    process.stdin.flush()
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


def child(kind: str, path: Path, threads: int) -> None:
    """Decode what is asked for on standard input, tell the time that it took, keep the samples once."""
    decoder, windows = contender(kind, threads), np.load(path)
    for line in sys.stdin:
        sound = line.strip()
        begun, used = time.perf_counter(), time.process_time()
        _, made = decoder.decode(windows[sound], HALO, HALO, HALO, SEED, decoder.start(SEED))
        whole, used = time.perf_counter() - begun, time.process_time() - used
        part = max((graph.seconds for graph in getattr(decoder, "graphs", ()) if isinstance(graph, Timed)), default=0.0)
        print(json.dumps({"whole": 1e3 * whole, "part": 1e3 * part, "used": 1e3 * used}), flush=True)
        kept = path.parent / f"{kind}-{sound}.npy"
        if not kept.exists():
            np.save(kept, made)


def contender(kind: str, threads: int) -> Any:
    """The decoder of a kind, from the tree that this process imports."""
    from safa_stream.models.backends.spec import Backend
    from safa_stream.models.builtin.decoder import TextureDecoder, open_decoder
    from safa_stream.models.builtin.network import open_part
    from safa_stream.models.builtin.weights import load_weights

    weights, onnx = load_weights(), Backend("onnx", threads=threads)
    if kind == "before":
        return open_decoder(weights, onnx)
    if kind == "one graph":
        return TextureDecoder((Timed(open_part(weights, "decoder", onnx)),))
    if kind == "torch.fft":
        use_torch_fft()
    opened = open_decoder(weights, onnx if kind == "two parts" else Backend("torch", threads=threads))
    if kind != "two parts":
        import torch

        torch.set_num_threads(threads)
    return TextureDecoder(tuple(Timed(graph) for graph in opened.graphs), opened.pool)


class Timed:
    """A graph that knows how long its last run took."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.seconds = graph, 0.0

    def __call__(self, inputs: Any) -> Any:
        begun = time.perf_counter()
        found = self.graph(inputs)
        self.seconds = time.perf_counter() - begun
        return found


def use_torch_fft() -> None:
    """Let the network transform by torch.fft, as one would write it at first."""
    import torch
    from torch.nn import functional

    from safa_stream.models.builtin import shaping
    from safa_stream.models.builtin.short_time import ShortTime, overlap_add, single

    class Fourier(ShortTime):
        window: torch.Tensor
        scale: torch.Tensor

        def __init__(self, window: Any, hop: int, bins: Any, weights: Any, group: int) -> None:
            super().__init__(window, hop, bins[None], weights[None], group)
            self.register_buffer("window", single(window), persistent=False)
            self.register_buffer("scale", single(self.amplitude[0]), persistent=False)
            self.used = slice(int(bins[0]), int(bins[-1]) + 1)
            self.around = (len(window) - hop) // 2

        def forward(self, samples: Any) -> Any:
            padded = functional.pad(samples, (self.around, self.around))
            spectrum = torch.fft.rfft(padded.unfold(1, self.size, self.hop) * self.window)[..., self.used]
            return torch.cat([spectrum.real * self.scale, -spectrum.imag * self.scale], dim=-1)[None]

        def back(self, spectrum: Any) -> Any:
            real, imaginary = (part * (self.scale * self.size / 2) for part in spectrum[0].chunk(2, dim=-1))
            full = functional.pad(torch.complex(real, -imaginary), (self.used.start, self.hop + 1 - self.used.stop))
            rising, falling = (torch.fft.irfft(full, self.size) * self.window).chunk(2, dim=-1)
            return overlap_add(rising, falling, 1).flatten(1)[:, self.around : -self.around]

    used: Any = Fourier
    shaping.LAYERS = tuple(replace(layer, transform=used) for layer in shaping.LAYERS)
    shaping.ANALYSIS = tuple((used, group) for _, group in shaping.ANALYSIS)


if __name__ == "__main__":
    main()
