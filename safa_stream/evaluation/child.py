"""A fresh process of the benchmark: `first MODEL BACKEND PROMPT`, or `memory` and MINUTES after it; JSON lines."""

from __future__ import annotations

import json
import os
import sys

from safa_stream.engine import chunks
from safa_stream.errors import SafaError
from safa_stream.models import load
from safa_stream.scene import Scene, parse_prompts


def resident() -> float:
    """MB of memory that the process holds now; its peak where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return peak()


def peak() -> float:
    """MB of memory at most so far; nan where the system has no such count.

    Linux counts in `ru_maxrss` what the process held that this one was forked from, so its own mark is read there.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            marks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except OSError:
        marks = []
    if marks:
        return int(marks[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def say(**figures: float) -> None:
    """One JSON line, at once."""
    print(json.dumps(figures), flush=True)


def main(arguments: list[str]) -> None:
    """Render, and say what happened."""
    kind, model, backend, prompt = arguments[:4]
    seconds = float(arguments[4]) * 60.0 if kind == "memory" else 1.0
    made, said = 0.0, 0.0
    for chunk in chunks(load(model, backend), Scene(parse_prompts(prompt), model=model), seconds):
        if kind == "first":
            say(seconds=chunk.samples.shape[-1] / chunk.sample_rate)
            return
        made += chunk.samples.shape[-1] / chunk.sample_rate
        if made - said >= min(60.0, seconds / 8):
            said = made
            say(minute=made / 60.0, rss_mb=resident(), peak_mb=peak())
    say(minute=made / 60.0, rss_mb=resident(), peak_mb=peak())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SafaError as error:
        sys.exit(str(error))
