"""A MIDI port as a leader: what comes in through python-rtmidi, by ALSA or JACK. Needs `safa-stream[midi]`.

rtmidi calls back on a thread of its own (with JACK once a period, so ticks come bunched); the moment is noted there,
all else happens on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from typing import Any

from safa_server.midi_clock import MidiClock
from safa_server.tempo_follow import Reading
from safa_stream.errors import UsageError

#: What is put before a port's name to say through which system it is reached, and rtmidi's name for that.
SYSTEMS = {"alsa": "API_LINUX_ALSA", "jack": "API_UNIX_JACK"}
#: In place of a port's name: a port of our own, which other programs connect to.
OWN, CLIENT, OWN_PORT = "own", "safa-stream", "clock"


class MidiLeader:
    """A MIDI clock that comes in at a port."""

    def __init__(self, wanted: str) -> None:
        """Open a port, on the event loop. wanted: "alsa:PORT" or "jack:PORT", any part of the port's name, or "own".

        Raises UsageError where the extra, the system or the port is not there; it lists the ports that are.
        """
        system, _, name = wanted.partition(":")
        if system not in SYSTEMS or not name:
            raise UsageError(f"setting 'midi_clock' is alsa:PORT or jack:PORT, or \"{OWN}\" for PORT, not {wanted!r}")
        self._clock = MidiClock()
        self._loop = asyncio.get_running_loop()
        self._port = _opened(system, name)
        self._port.ignore_types(sysex=True, timing=False, active_sense=True)
        self._port.set_callback(self._called)

    def reading(self, at_ns: int, quantum: float) -> Reading | None:
        """As of `Leader`."""
        return self._clock.reading(at_ns)

    def offer(self, bpm: float) -> None:
        """A clock that comes in hears nothing."""

    def close(self) -> None:
        """Close the port."""
        self._port.cancel_callback()
        self._port.close_port()
        self._port.delete()

    def _called(self, event: tuple[list[int], float], data: object) -> None:
        at = time.monotonic_ns()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._received, bytes(event[0]), at)

    def _received(self, message: bytes, at_ns: int) -> None:
        self._clock = self._clock.received(message, at_ns)


def _opened(system: str, name: str) -> Any:
    try:
        rtmidi: Any = importlib.import_module("rtmidi")
    except ImportError:
        raise UsageError("MIDI clock needs an extra: pip install 'safa-stream[midi]'") from None
    try:
        port = rtmidi.MidiIn(getattr(rtmidi, SYSTEMS[system]), name=CLIENT)
        if name == OWN:
            port.open_virtual_port(OWN_PORT)
            return port
        ports = port.get_ports()
        number = next((n for n, one in enumerate(ports) if name.lower() in one.lower()), None)
        if number is None:
            there = ", ".join(ports) or "none"
            raise UsageError(f"setting 'midi_clock': no MIDI output {name!r} at {system}; there are: {there}")
        port.open_port(number, OWN_PORT)
        return port
    except rtmidi.RtMidiError as error:
        raise UsageError(f"setting 'midi_clock': {system} gives no MIDI port: {error}") from None
