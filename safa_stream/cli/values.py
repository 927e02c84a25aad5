"""Values of options: times, loudness, and numbers that say which option was wrong."""

from __future__ import annotations

import argparse
import math
import re

#: The help of every --backend.
BACKEND = "what runs the networks, as `safa-stream doctor` lists them (default: auto, the fastest measured)"
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


def duration(text: str) -> float:
    """Seconds of "90", "1:30" or "0:01:30"; also "90s", "5m", "24h" and "7d"."""
    plain = text.strip().lower()
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(plain[-1:], 0)
    found = _CLOCK.fullmatch(plain[:-1] if factor and ":" not in plain else plain)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 90, 1:30 or 0:01:30")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    if (found[2] and seconds >= 60) or (found[1] and minutes >= 60):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: minutes and seconds after a ':' go up to 59")
    total = (hours * 3600 + minutes * 60 + seconds) * (factor or 1)
    if not math.isfinite(total):
        raise argparse.ArgumentTypeError(f"{text!r} is too long")
    return total


def loudness(text: str) -> float | None:
    """LUFS, or None for "off"."""
    if text.strip().lower() == "off":
        return None
    value = _number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a loudness: write LUFS such as -23, or off")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:30, 3:00:00."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _number(text: str) -> float:
    """The number that a text is, nan where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
