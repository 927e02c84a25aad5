"""jalv, the LV2 host for JACK, with the plugin in it; and its recordings held against the session."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from safa_stream.types import FloatArray
from tests.clients.programs import program

#: The plugin's outputs.
PORTS = ("SafaStream:lv2_audio_out_1", "SafaStream:lv2_audio_out_2")
#: Frames of a fade at 48 kHz.
_FADE = 240
#: Frames that have to be equal for a piece to be found, and that are compared at a time.
_ALIKE, _AT_A_TIME = 16, 1 << 20


class Jalv:
    """The host, while the block runs. controls: values of parameters, such as "buffer=1000"."""

    def __init__(self, plugin: Path, *controls: str) -> None:
        words = [word for control in controls for word in ("-c", control)]
        self._command = [program("jalv"), *words, "urn:safa-stream:plugin"]
        self._environment = {**os.environ, "LV2_PATH": str(plugin)}

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        )

    def __exit__(self, *_: object) -> None:
        # It ends when its standard input does.
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def equal_pieces(heard: FloatArray, session: FloatArray, underruns: int) -> int:
    """Frames of a recording [N, 2] that are the session's [M, 2], in order, with nothing between but fades and silence.

    There may be one more piece than underruns, which the plugin counted itself; where there was none all is one piece.
    """
    equal = at = place = pieces = 0
    sounding = heard.any(axis=1)
    while True:
        # The next frame with sound from which on the recording is like the session.
        rest = np.flatnonzero(sounding[at : at + _AT_A_TIME])
        if not len(rest):
            if at + _AT_A_TIME >= len(heard):
                break
            at += _AT_A_TIME
            continue
        at += int(rest[0])
        alike = heard[at : at + _ALIKE]
        reach = session[place : place + _AT_A_TIME]
        found = np.flatnonzero(reach[:, 0] == alike[0, 0])
        match = next((int(m) for m in found if np.array_equal(reach[m : m + len(alike)], alike)), None)
        if match is None or len(alike) < _ALIKE:
            at += 1
            continue
        # A fade falls on a frame that is held and rises over those that follow, so no more than that is not exact.
        assert not pieces or match <= 2 * _FADE, f"{match} frames of the session are missing in the recording"
        length = _run(heard[at:], session[place + match :])
        equal, at, place, pieces = equal + length, at + length, place + match + length, pieces + 1
    assert 1 <= pieces <= underruns + 1, f"{pieces} pieces, {underruns} underruns"
    return equal


def _run(heard: FloatArray, session: FloatArray) -> int:
    """How many frames are equal from the first on."""
    length = min(len(heard), len(session))
    for begin in range(0, length, _AT_A_TIME):
        end = min(begin + _AT_A_TIME, length)
        differ = np.flatnonzero((heard[begin:end] != session[begin:end]).any(axis=1))
        if len(differ):
            return begin + int(differ[0])
    return length
