"""Values of options: times, loudness, and numbers that say which option was wrong."""

from __future__ import annotations

import argparse
import math
import re

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


def duration(text: str) -> float:
    """Seconds of "90", "1:30" or "0:01:30"; also "90s", "5m" and "24h"."""
    plain = text.strip().lower()
    factor = {"s": 1, "m": 60, "h": 3600}.get(plain[-1:], 0)
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
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a loudness: write LUFS such as -23, or off")
    return value


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:30, 3:00:00."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
