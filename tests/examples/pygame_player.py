"""Plays one layer of a session through the example's ear: URL SESSION TOKEN LAYER SECONDS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/pygame"))

from ears import Ear, Session, start_mixer

url, name, token, layer, seconds = sys.argv[1:]
start_mixer()
session, ear = Session(url), Ear(0)
session.opened = {"session": name, "token": token}
session.listen(ear, int(layer))
end = time.monotonic() + 60
while ear.given < float(seconds) * 48_000 and time.monotonic() < end:
    ear.pump()
    time.sleep(1 / 60)
# What the mixer still holds has to be heard.
time.sleep(0.6)
session.close()
print(f"gaps {ear.gaps} troubles {list(session.troubles)}")
