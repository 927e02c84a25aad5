"""The plugin in jalv for as long as one likes, beside other sessions of the same server that somebody listens to.

    python -m tests.clients.plugin.soak --minutes 20

Builds the plugin, starts a bridge with its server, JACK, jalv and a recorder, holds what JACK was given against what
the session gave, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from safa_server.client import SafaClient
from tests.clients.plugin.jalv import PORTS, Jalv, equal_pieces
from tests.clients.plugin.studio import Listener, Studio, built, studio
from tests.clients.sound_servers import jack_recording, jack_server, recorded

OTHERS = ("forest birds at dawn, a brook over stones", "waves on a pebble beach, howling gusts:0.5")
PERIOD = 1024


class Others:
    """Live sessions beside the plugin's, and what their listeners lost, while the block runs."""

    def __init__(self, url: str) -> None:
        self.frames = self.lost = self.beds = 0
        self._url, self._over = url, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Others:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*map(self._listen, OTHERS))

    async def _listen(self, prompt: str) -> None:
        async with SafaClient.connect(self._url) as client:
            await client.open(prompt)
            async for frame in client:
                self.frames += frame.header.frames
                self.lost += frame.lost
                self.beds += sum(event["type"] == "bed.began" for event in client.events)
                client.events.clear()
                if self._over.is_set():
                    return


def soak(plugin: Path, here: Studio, folder: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run it; SAFA_PLUGIN_FOLDER has to be the studio's."""
    file, rate = folder / "heard.wav", 48_000
    with Others(here.url()) as others, jack_server(monkeypatch, PERIOD), Jalv(plugin, "buffer=2000"):
        segment = here.segment()
        with Listener(here.url, rate, segment) as listener, jack_recording(file, PORTS):
            began = time.monotonic()
            while segment.plugin().read < (seconds + 1) * rate:
                assert time.monotonic() < began + 2 * seconds + 120, "the plugin is not fed as fast as it plays"
                time.sleep(0.1)
    status, (_, session) = segment.plugin(), listener.sound()
    return {
        "seconds": round(time.monotonic() - began, 1),
        "rate": rate,
        "period": PERIOD,
        "underruns": status.underruns,
        "frames_missing": status.missing,
        "commands_late": segment.late,
        "frames_equal": equal_pieces(recorded(file, rate), session, status.underruns),
        "other_sessions": len(OTHERS),
        "others_frames": others.frames,
        "others_lost": others.lost,
        "others_beds": others.beds,
        "load": [round(one, 1) for one in os.getloadavg()],
    }


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    seconds = 60 * parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(name)
        plugin = built(folder / "built")
        with studio(folder) as here:
            monkeypatch.setenv("SAFA_PLUGIN_FOLDER", str(here.folder))
            print(json.dumps(soak(plugin, here, folder, seconds, monkeypatch), indent=1))


if __name__ == "__main__":
    main()
