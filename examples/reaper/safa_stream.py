"""ReaScript: faders, panners and mute buttons of tracks named "safa N" steer layer N of `safa-stream serve`, over OSC.

Markers "safa: rain, birds:0.4" change the words when the playhead passes them, markers "safa scene: evening" recall a
scene. Load it in REAPER's action list (Python has to be switched on in Preferences, Plug-ins, ReaScript) and run it;
it goes on, 30 times a second or so, until the action is ended. HOST and PORT say where the server hears OSC.
"""

import math
import re
import socket
import struct

from reaper_python import (
    RPR_CountTracks,
    RPR_defer,
    RPR_EnumProjectMarkers,
    RPR_GetPlayPosition,
    RPR_GetPlayState,
    RPR_GetTrack,
    RPR_GetTrackName,
    RPR_GetTrackUIMute,
    RPR_GetTrackUIVolPan,
)

HOST, PORT = "127.0.0.1", 9600
#: Seconds: a fader's change, words that go over into others, and a jump of the playhead that is no playing.
RAMP, MORPH, JUMP = 0.05, 4.0, 1.0
PLAYING = 1


def packed(text):
    """A text as OSC has it: an end, and as many zeros as make it a multiple of four bytes."""
    data = text.encode()
    return data + bytes(4 - len(data) % 4)


def message(address, *values):
    """An OSC message of texts, whole numbers and others."""
    tags, data = ",", b""
    for value in values:
        if isinstance(value, str):
            tags, data = tags + "s", data + packed(value)
        elif isinstance(value, int):
            tags, data = tags + "i", data + struct.pack(">i", value)
        else:
            tags, data = tags + "f", data + struct.pack(">f", value)
    return packed(address) + packed(tags) + data


def decibels(factor):
    """A fader's factor in dB, within what the server takes."""
    return -90.0 if factor <= 0 else max(-90.0, min(24.0, 20 * math.log10(factor)))


class Steering:
    """What was said last, so that only changes are."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.said, self.before = {}, None

    def say(self, address, *values):
        if self.said.get(address) != values:
            self.said[address] = values
            self.tell(address, *values)

    def tell(self, address, *values):
        self.socket.sendto(message(address, *values), (HOST, PORT))

    def strips(self):
        for index in range(RPR_CountTracks(0)):
            track = RPR_GetTrack(0, index)
            name = re.fullmatch(r"safa (\d)", RPR_GetTrackName(track, "", 64)[2])
            if name:
                _, _, volume, pan = RPR_GetTrackUIVolPan(track, 0, 0)
                layer = f"/safa/layer/{name[1]}"
                self.say(f"{layer}/gain", decibels(volume), RAMP)
                self.say(f"{layer}/pan", float(pan), RAMP)
                self.say(f"{layer}/mute", int(bool(RPR_GetTrackUIMute(track, False)[2])), RAMP)

    def markers(self, since, until):
        index = 0
        while True:
            more, _, is_region, position, _, name, _ = RPR_EnumProjectMarkers(index, 0, 0, 0, "", 0)
            if not more:
                return
            index += 1
            meant = re.fullmatch(r"safa( scene)?: *(.+)", name)
            if meant and not is_region and since < position <= until:
                self.tell("/safa/scene/recall" if meant[1] else "/safa/prompt", meant[2], MORPH)

    def look(self):
        self.strips()
        now = RPR_GetPlayPosition()
        if RPR_GetPlayState() & PLAYING and self.before is not None and 0 < now - self.before < JUMP:
            self.markers(self.before, now)
        self.before = now


steering = Steering()


def go_on():
    steering.look()
    RPR_defer("go_on()")


go_on()
