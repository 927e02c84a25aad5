"""Stands in for REAPER's module of that name: two tracks, two markers, and a playhead that moves on with every look.

    python reaper_python.py SCRIPT LOOKS

runs a ReaScript and calls back what it defers so often.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

#: Name, volume as a factor, pan, mute.
TRACKS = (("voice", 1.0, 0.0, False), ("safa 0", 0.5, -0.5, False))
#: Position in seconds, name; regions are no markers.
MARKERS = ((False, 0.7, "verse"), (True, 0.8, "safa: snow"), (False, 1.0, "safa: distant thunder"))
LOOK = 0.1

_moment = {"looks": 0}
_deferred: list[str] = []


def RPR_CountTracks(project: int) -> int:
    return len(TRACKS)


def RPR_GetTrack(project: int, index: int) -> int:
    return index


def RPR_GetTrackName(track: int, name: str, size: int) -> tuple[bool, int, str, int]:
    return True, track, TRACKS[track][0], size


def RPR_GetTrackUIVolPan(track: int, volume: float, pan: float) -> tuple[bool, int, float, float]:
    return True, track, TRACKS[track][1], TRACKS[track][2]


def RPR_GetTrackUIMute(track: int, mute: bool) -> tuple[bool, int, bool]:
    return True, track, TRACKS[track][3]


def RPR_GetPlayState() -> int:
    return 1


def RPR_GetPlayPosition() -> float:
    return _moment["looks"] * LOOK


def RPR_EnumProjectMarkers(
    index: int, is_region: int, position: float, end: float, name: str, number: int
) -> tuple[int, int, bool, float, float, str, int]:
    if index >= len(MARKERS):
        return 0, index, False, 0.0, 0.0, "", 0
    region, at, text = MARKERS[index]
    return index + 1, index, region, at, at + 1 if region else 0.0, text, index + 1


def RPR_defer(code: str) -> None:
    _deferred.append(code)


def main() -> None:
    script, looks = Path(sys.argv[1]), int(sys.argv[2])
    # The script imports this very module, under REAPER's name for it.
    sys.modules["reaper_python"] = sys.modules["__main__"]
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), names)
    for _ in range(looks):
        _moment["looks"] += 1
        time.sleep(LOOK / 10)
        exec(_deferred.pop(0), names)


if __name__ == "__main__":
    main()
