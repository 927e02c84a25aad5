"""What this machine has, what is wrong with it, what would be faster: `safa-stream doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safa_exporters.comparing import has_bf16, may_run
from safa_stream.errors import SafaError
from safa_stream.models.backends import choice
from safa_stream.models.backends.machine import RUNTIMES, Machine, cache_folder, here
from safa_stream.models.backends.spec import ENGINES, Backend
from safa_stream.models.builtin.network import open_network
from safa_stream.models.builtin.weights import SHIPPED, Weights, load_weights


@dataclass(frozen=True, slots=True)
class Found:
    """An examination. engines: by name, "works" or why not; wrong: what has to be mended; faster: advice."""

    machine: Machine
    engines: dict[str, str]
    automatic: str
    origin: str
    cache: str
    wrong: tuple[str, ...]
    faster: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def examine(model: str) -> Found:
    """Look at this machine. Raises ModelError where the model cannot be read."""
    weights = load_weights(SHIPPED if model == "builtin" else Path(model))
    machine = here()
    engines = {name: _state(name, machine, weights) for name in ENGINES}
    chosen = choice.automatic(weights.digest, machine)
    wrong = _wrong(machine)
    if "works" not in engines.values():
        wrong.append(f"no backend works: {ENGINES['onnx'].install}")
    faster = _faster(machine, chosen.origin)
    return Found(machine, engines, str(chosen.backend), chosen.origin, str(cache_folder()), tuple(wrong), tuple(faster))


def text(found: Found) -> str:
    """An examination for people."""
    machine = found.machine
    width = max(len(name) for name in found.engines)
    origin = {"calibrated": "measured here", "default": "not measured yet", "stale": "measured on another machine"}
    lines = [
        f"processor  {machine.processor}, {machine.cores} cores ({' '.join(machine.features) or 'no features known'})",
        *(f"GPU        {gpu}" for gpu in machine.gpus or ("none that NVIDIA's driver lists",)),
        *(f"package    {name} {version}" for name, version in machine.packages.items()),
        f"cache      {found.cache}",
        "",
        *(f"{name.ljust(width)}  {state}" for name, state in found.engines.items()),
        "",
        f"--backend auto is {found.automatic} ({origin.get(found.origin, found.origin)})",
        *(f"wrong: {line}" for line in found.wrong),
        *(f"faster: {line}" for line in found.faster),
    ]
    return "\n".join(lines)


def _state(name: str, machine: Machine, weights: Weights) -> str:
    """Whether an engine opens the model, tried; or what brings it."""
    engine = ENGINES[name]
    if not may_run(name, machine):
        return f"not here: {engine.install}"
    try:
        open_network(weights, Backend(name))
    except SafaError as error:
        return str(error).splitlines()[0]
    return "works"


def _wrong(machine: Machine) -> list[str]:
    """Installations that break each other."""
    present = [name for name in RUNTIMES if name in machine.packages]
    if len(present) < 2:
        return []
    keep = next((name for name in present if name != "onnxruntime"), present[0]) if machine.gpus else present[0]
    return [
        f"{' and '.join(present)} are installed over each other, the last one wins: "
        f"pip uninstall -y {' '.join(present)}; pip install {keep}"
    ]


def _faster(machine: Machine, origin: str) -> list[str]:
    """What would make sound faster here, with the command."""
    advice = []
    if machine.gpus and "onnxruntime-gpu" not in machine.packages:
        advice.append(f"there is a GPU and nothing that uses it: {ENGINES['onnx-cuda'].install}")
    if has_bf16(machine) and "openvino" not in machine.packages:
        advice.append("this processor computes in bf16: pip install openvino; safa-stream calibrate --allow bf16")
    if origin != "calibrated":
        advice.append("safa-stream calibrate finds the fastest of what is installed (a minute or two)")
    return advice
