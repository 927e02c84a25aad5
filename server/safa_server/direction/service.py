"""What systemd wants to hear of a service: that it is ready, that it is alive, how it stands. sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


def notify(environment: Mapping[str, str] = os.environ, **states: object) -> None:
    """Send states such as READY=1, WATCHDOG=1, STATUS=text to who started us; to nobody where that was not systemd."""
    place = environment.get("NOTIFY_SOCKET", "")
    if not place or not states:
        return
    # A name that begins with @ is an abstract one.
    address = "\0" + place[1:] if place.startswith("@") else place
    text = "\n".join(f"{name}={value}" for name, value in states.items())
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        # Whoever is to be told must not keep us waiting.
        sending.setblocking(False)
        sending.sendto(text.encode(), address)
