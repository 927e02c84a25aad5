"""Output devices as PortAudio sees them: what there is, which one is meant, and which rate and channels it takes.

sounddevice is imported when the first function needs it: importing it starts PortAudio, which asks every sound system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safa_stream.errors import FailureError, UsageError

#: Rates that are tried when a device is asked what it can.
RATES = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)
#: Names listed in an error at most.
LISTED = 12
#: What PortAudio reports beyond this is no latency: for JACK clients it can be days.
LONGEST_LATENCY = 5.0
#: PortAudio's numbers for a rate and for a channel count that a device does not take.
_WRONG_RATE, _WRONG_CHANNELS = -9997, -9998


@dataclass(frozen=True, slots=True)
class OutputDevice:
    """A device that can play. rate: Hz, its own default; latency: seconds it suggests, None where it does not know.

    default: played on when no device is named.
    """

    index: int
    name: str
    host_api: str
    channels: int
    rate: int
    latency: float | None
    default: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "index": self.index,
            "name": self.name,
            "host_api": self.host_api,
            "channels": self.channels,
            "rate": self.rate,
            "latency": self.latency,
            "default": self.default,
        }

    def __str__(self) -> str:
        return f"{self.name} ({self.host_api})"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a device is opened with: rate in Hz, channels."""

    rate: int
    channels: int


def portaudio() -> Any:
    """The sounddevice module. Raises FailureError where the PortAudio library is missing."""
    try:
        import sounddevice
    except OSError as error:
        raise FailureError(
            f"sound devices need the PortAudio library ({error}): apt-get install libportaudio2, "
            "dnf install portaudio, or brew install portaudio"
        ) from None
    return sounddevice


def look_again() -> None:
    """Let PortAudio search for devices anew; it does so only when it starts. Ends every stream of this process."""
    sounddevice = portaudio()
    sounddevice._terminate()
    sounddevice._initialize()


def outputs() -> tuple[OutputDevice, ...]:
    """Every device with an output, in PortAudio's order."""
    sounddevice = portaudio()
    apis = sounddevice.query_hostapis()
    default = _default(apis, int(sounddevice.default.device[1]))
    return tuple(
        OutputDevice(
            index,
            str(found["name"]),
            str(apis[found["hostapi"]]["name"]),
            int(found["max_output_channels"]),
            round(found["default_samplerate"]),
            plausible(float(found["default_high_output_latency"])),
            index == default,
        )
        for index, found in enumerate(sounddevice.query_devices())
        if found["max_output_channels"] > 0
    )


def choose(found: tuple[OutputDevice, ...], wanted: str | None) -> OutputDevice:
    """The device that is meant by None (the default one), by its index, its name, or words of its name and host API.

    Raises UsageError that lists what there is, FailureError where there is nothing.
    """
    if not found:
        raise FailureError("there is no sound device: PortAudio finds none (is a sound server running?)")
    if wanted is None:
        default = [device for device in found if device.default]
        if not default:
            raise UsageError(f"there is no default sound device; name one of: {_names(found)}")
        return default[0]
    if wanted.strip().isdecimal():
        meant = [device for device in found if device.index == int(wanted)]
    else:
        meant = [device for device in found if wanted in (device.name, str(device))] or _by_words(found, wanted)
    if not meant:
        raise UsageError(f"no sound device is called {wanted!r:.80}; there are: {_names(found)}")
    if len(meant) > 1:
        raise UsageError(f"{wanted!r:.80} could be any of: {_names(tuple(meant))}; say more of its name, or its number")
    return meant[0]


def settle(device: OutputDevice, rate: int, channels: int, wanted: tuple[int | None, int | None]) -> Setting:
    """What to open a device with, for sound of `rate` Hz and `channels`.

    wanted: a rate and a channel count that somebody insists on. Without them the sound's own are taken where the device
    has them, else the device's default rate and all of its channels. Raises UsageError where the device cannot, and
    FailureError where it is not to be had at all.
    """
    wanted_rate, wanted_channels = wanted
    if wanted_channels is not None and not 1 <= wanted_channels <= device.channels:
        raise UsageError(f"{device} has 1 to {device.channels} channels, not {wanted_channels}")
    counts = _distinct(wanted_channels) or _distinct(min(channels, device.channels), device.channels)
    rates = _distinct(wanted_rate) or _distinct(rate, device.rate)
    first = None
    for setting in (Setting(rate, count) for rate in rates for count in counts):
        refusal = _refusal(device, setting)
        if refusal is None:
            return setting
        first = first or refusal
    code, said = first or (0, "")
    if code == _WRONG_RATE:
        possible = [str(rate) for rate in RATES if _refusal(device, Setting(rate, counts[0])) is None]
        raise UsageError(f"{device} cannot play at {rates[0]} Hz; it can at {', '.join(possible) or 'no usual rate'}")
    if code == _WRONG_CHANNELS:
        raise UsageError(f"{device} does not take {' or '.join(map(str, counts))} channel(s)")
    raise FailureError(f"{device} cannot be played on: {said}")


def plausible(latency: float) -> float | None:
    """A latency in seconds, None where PortAudio made it up."""
    return latency if 0 < latency <= LONGEST_LATENCY else None


def _refusal(device: OutputDevice, setting: Setting) -> tuple[int, str] | None:
    """PortAudio's number and words for why not, None where it would."""
    sounddevice = portaudio()
    try:
        sounddevice.check_output_settings(device.index, setting.channels, "float32", samplerate=setting.rate)
    except sounddevice.PortAudioError as error:
        return reason(error)
    return None


def reason(error: Exception) -> tuple[int, str]:
    """The number and the words of a PortAudioError, which holds (text, number, host error) or a text only."""
    code = error.args[1] if len(error.args) > 1 else 0
    return int(code), " ".join(str(error.args[0]).split()) if error.args else "no reason given"


def _default(apis: tuple[dict[str, Any], ...], default: int) -> int:
    """PortAudio's default, else the default of the first sound system that has one; -1: none."""
    return next((index for index in (default, *(int(api["default_output_device"]) for api in apis)) if index >= 0), -1)


def _by_words(found: tuple[OutputDevice, ...], wanted: str) -> list[OutputDevice]:
    words = wanted.lower().split()
    return [device for device in found if words and all(word in str(device).lower() for word in words)]


def _names(found: tuple[OutputDevice, ...]) -> str:
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return ", ".join(f"{device.index} {device}" for device in found[:LISTED]) + more


def _distinct(*values: int | None) -> list[int]:
    return list(dict.fromkeys(value for value in values if value is not None))
