"""The process that owns a sound device: `python -m safa_server.device_process` between two pipes, one stream a process.

PortAudio lives in a process of its own because it cannot be restarted where it matters: it looks for devices only when
it starts, ending it ends every stream, and closing a stream of a JACK server that has gone blocks for minutes. A
process can always be replaced. It also has an interpreter of its own, so the callback never waits for the engine.

In: one JSON line (Order), then messages of a header (kind, bytes) and a payload. Out: JSON lines. Each POLL is answered
by one line of figures. The end of the input ends the process.

    main thread   input ─► resampler, channels ─► ring
    PortAudio's                                   ring ─► device
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

from safa_server.devices import choose, outputs, plausible, portaudio, reason, settle
from safa_server.ring import Ring
from safa_stream.channels import ChannelMap, channel_map
from safa_stream.errors import FailureError, SafaError, UsageError
from safa_stream.rendering.conversion import Resampler
from safa_stream.types import FloatArray

#: Messages: kind as one byte, then the payload's length; AUDIO holds float32 samples [channels, N].
HEADER = struct.Struct("<BI")
AUDIO, REST, POLL, FINISH = 1, 2, 3, 4
LARGEST_PAYLOAD = 1 << 20
#: Seconds beyond its own latency in which a device plays its last samples.
TAIL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Order:
    """What to open. rate, channels: of the sound that comes in; wanted_*: insisted on.

    room: seconds of sound that the ring holds at most; refill: seconds that must be there for sound to begin; latency:
    seconds that the device is asked for; fade_first: begin with a fade, because something was heard before;
    channel_map: see `DeviceRequest`.
    """

    device: str | None
    rate: int
    channels: int
    wanted_rate: int | None
    wanted_channels: int | None
    room: float
    refill: float
    latency: float
    fade_first: bool
    channel_map: str | None = None

    @property
    def mapping(self) -> ChannelMap | None:
        """The channel map, None where there is none. Raises UsageError where the sound has too few channels for it."""
        if self.channel_map is None:
            return None
        found = channel_map(self.channel_map)
        if found.is_ambisonic:
            found = channel_map(self.channel_map, self.channels)
        if found.channels > self.channels:
            raise UsageError(
                f"channel map {found.spec!r} takes {found.channels} channels, the session has {self.channels}"
            )
        return found


@dataclass(frozen=True, slots=True)
class Figures:
    """The answer to a POLL. Frames are the device's; `asked` grows while the device lives; active: it still plays."""

    active: bool
    filled: int
    asked: int
    taken: int
    underruns: int
    missing: int
    refused: int


class Output:
    """An open stream, the ring it plays from, and the conversion before the ring."""

    def __init__(self, order: Order) -> None:
        sounddevice = portaudio()
        device = choose(outputs(), order.device)
        self._map = order.mapping
        outputs_wanted = order.channels if self._map is None else self._map.outputs
        setting = settle(device, order.rate, outputs_wanted, (order.wanted_rate, order.wanted_channels))
        if self._map is not None and setting.channels < self._map.outputs:
            raise UsageError(
                f"{device} has {setting.channels} channels, channel map {self._map.spec!r} needs {self._map.outputs}"
            )
        room, refill = (round(seconds * setting.rate) for seconds in (order.room, order.refill))
        ring = Ring(room, setting.channels, refill, order.fade_first)

        def callback(out: FloatArray, frames: int, moment: object, status: object) -> None:
            ring.read_into(out)

        try:
            self._stream = sounddevice.OutputStream(
                samplerate=setting.rate,
                device=device.index,
                channels=setting.channels,
                dtype="float32",
                latency=order.latency,
                callback=callback,
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise FailureError(f"{device} cannot be played on: {reason(error)[1]}") from None
        self.opened: dict[str, Any] = {
            "device": device.name,
            "host_api": device.host_api,
            "rate": setting.rate,
            "channels": setting.channels,
            "latency": plausible(float(self._stream.latency)),
        }
        self._ring, self._refused = ring, 0
        self._channels_in, self._channels = order.channels, setting.channels
        self._resampler = Resampler(order.rate, setting.rate, order.channels)

    def take(self, payload: bytes) -> None:
        """Sound [channels, N] that comes in."""
        if len(payload) % (4 * self._channels_in):
            raise UsageError(f"{len(payload)} bytes are no whole frames of {self._channels_in} channels")
        samples = np.frombuffer(payload, "<f4").reshape(self._channels_in, -1)
        heard = self._resampler.push(samples)
        if self._map is None:
            frames = spread(heard, self._channels)
        else:
            frames = np.zeros((heard.shape[1], self._channels), np.float32)
            frames[:, : self._map.outputs] = self._map.apply(heard).T
        self._refused += len(frames) - self._ring.write(frames)

    def rest(self) -> None:
        """Silence from now on is wanted."""
        self._ring.rest()

    def figures(self) -> Figures:
        """How it stands."""
        ring = self._ring
        return Figures(
            bool(self._stream.active),
            ring.filled,
            ring.asked,
            ring.taken,
            ring.underruns,
            ring.missing,
            self._refused,
        )

    def finish(self) -> None:
        """Play what is left and close; a device that has gone cannot be closed."""
        self.rest()
        while self._ring.filled and self._stream.active:
            time.sleep(0.005)
        # Not every sound system plays what it still holds when it is told to stop.
        time.sleep((self.opened["latency"] or 0.0) + TAIL_SECONDS)
        if self._stream.active:
            self._stream.stop()
            self._stream.close()


def spread(samples: FloatArray, channels: int) -> FloatArray:
    """Samples [c, N] as frames [N, channels]: one channel gets the mean of a pair; one is doubled; more stay silent."""
    heard = samples
    if channels == 1:
        heard = samples[:2].mean(axis=0, keepdims=True, dtype=np.float32)
    elif len(samples) == 1:
        heard = np.repeat(samples, 2, axis=0)
    heard = heard[:channels]
    frames = np.zeros((heard.shape[1], channels), np.float32)
    frames[:, : len(heard)] = heard.T
    return frames


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Carry out one order until its input ends. Raises SafaError where the device cannot be had."""

    def say(event: str, fields: dict[str, Any]) -> None:
        outgoing.write(json.dumps({"event": event, **fields}).encode() + b"\n")
        outgoing.flush()

    output = Output(Order(**json.loads(incoming.readline())))
    say("opened", output.opened)
    while header := incoming.read(HEADER.size):
        kind, length = HEADER.unpack(header)
        if length > LARGEST_PAYLOAD:
            raise UsageError(f"a message of {length} bytes is too long")
        payload = incoming.read(length)
        if kind == AUDIO:
            output.take(payload)
        elif kind == REST:
            output.rest()
        elif kind == POLL:
            say("figures", asdict(output.figures()))
        elif kind == FINISH:
            output.finish()
            say("finished", {})
            return


def main() -> None:
    """Serve, say what failed as a line, and end at once: nothing of PortAudio's own ending may hold the process up."""
    # The parent decides when this ends: by closing the input, which also happens when it dies.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Sound libraries write to standard output and error as they please; the pipe to the parent is kept apart from them.
    outgoing = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    # A callback that comes late is heard; where it is allowed, it comes before work that can wait.
    with contextlib.suppress(OSError, AttributeError):
        os.nice(-10)
    try:
        serve(sys.stdin.buffer, outgoing)
    except SafaError as error:
        _fail(outgoing, isinstance(error, UsageError), str(error))
    except BrokenPipeError:
        pass
    except Exception as error:  # whatever else goes wrong has to reach the parent as one line
        _fail(outgoing, False, f"the sound device's process failed: {type(error).__name__}: {error}")
    os._exit(0)


def _fail(outgoing: BinaryIO, usage: bool, text: str) -> None:
    outgoing.write(json.dumps({"event": "failed", "usage": usage, "text": " ".join(text.split())}).encode() + b"\n")
    outgoing.flush()


if __name__ == "__main__":
    main()
