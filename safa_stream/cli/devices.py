"""List the sound devices that `safa-stream play` and `safa-stream serve` can play on.

Name one with --device: its number, its name, or words that only its line has.

examples:
  safa-stream devices
  safa-stream play "rain on a tent" --device "usb audio"
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safa_server.devices import OutputDevice

HELP = "sound devices to play on"
_HEAD = ("", "device", "sound system", "channels", "rate", "latency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    from safa_server.devices import outputs

    found = outputs()
    if options.json:
        print(json.dumps({"devices": [device.as_dict() for device in found]}, ensure_ascii=False))
    elif not found:
        print("no sound device: PortAudio finds none (is a sound server running?)")
    else:
        print(_table(found))
    return 0


def _table(found: tuple[OutputDevice, ...]) -> str:
    """One line a device, the default one marked."""
    rows = [_HEAD, *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "* is played on when no device is named"])


def _row(device: OutputDevice) -> tuple[str, ...]:
    latency = "unknown" if device.latency is None else f"{1000 * device.latency:.0f} ms"
    mark = "*" if device.default else " "
    return (
        f"{mark}{device.index}", device.name, device.host_api, str(device.channels), f"{device.rate} Hz", latency
    )  # fmt: skip
