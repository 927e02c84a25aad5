"""What this machine has for computing, without loading any library: processor, GPUs, installed packages."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

#: Packages that evaluate graphs, by the names they are installed under. The first four hold one and the same module.
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
PACKAGES = (*RUNTIMES, "openvino", "torch", "tensorrt-cu13", "tensorrt-cu12", "tensorrt")
#: What of a processor decides how fast low precisions are, as Linux names it.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What calibration depends on. gpus: "name, driver version" of each NVIDIA GPU; packages: installed versions."""

    processor: str
    cores: int
    features: tuple[str, ...]
    gpus: tuple[str, ...]
    packages: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any of it."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:16]


def here() -> Machine:
    """This machine, as this process may use it."""
    processor, features = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(processor, cores, features, _gpus(), installed())


def installed() -> dict[str, str]:
    """Versions of the packages in PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cache_folder() -> Path:
    """Where choices and compiled engines are kept: SAFA_STREAM_CACHE, or the user's cache folder. May not exist."""
    if given := os.environ.get("SAFA_STREAM_CACHE"):
        return Path(given)
    home = Path.home()
    match platform.system():
        case "Windows":
            base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        case "Darwin":
            base = home / "Library" / "Caches"
        case _:
            base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "safa-stream"


def compiled_folder(model: str) -> Path:
    """Where what was compiled of a model (by digest) for this machine is kept: other GPUs, drivers and versions of the
    libraries have other folders."""
    return cache_folder() / "compiled" / f"{model[:16]}-{here().digest}"


def _processor() -> tuple[str, tuple[str, ...]]:
    """Its name and those of FEATURES that it has, where the system says."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), ()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    words = set(flags[1].split()) if flags else set()
    return name[1] if name else platform.machine(), tuple(word for word in FEATURES if word in words)


def _gpus() -> tuple[str, ...]:
    """NVIDIA's GPUs as the Linux driver lists them."""
    root = Path("/proc/driver/nvidia")
    try:
        version = re.search(r"Module\s+([\d.]+)", (root / "version").read_text(encoding="utf-8"))
        names = [
            re.search(r"Model:\s*(.+)", (card / "information").read_text(encoding="utf-8"))
            for card in sorted((root / "gpus").iterdir())
        ]
    except OSError:
        return ()
    driver = version[1] if version else "unknown"
    return tuple(f"{name[1].strip()}, driver {driver}" for name in names if name)
