"""A live session without a server: commands at their samples, as fast as the machine can, into a file.

    python examples/session_offline.py evening.wav

Needs `pip install "safa-stream[cpu]"`.
"""

from __future__ import annotations

import argparse

import numpy as np
import soundfile

import safa_stream
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.stream import step_views


def main(out: str, seconds: float) -> None:
    """Rain; birds come in and duck it; in the end a fire."""
    model = safa_stream.load_model()
    session = Session.begin(model, LiveScene.from_value("light rain"))
    session.receive(m.AddLayer(prompts=parse_prompts("birds"), gain=-4.0, pan=0.4, seed=3, ramp=4.0))
    session.receive(m.Mix(layer=0, duck=6.0, duck_by=1, at=round(0.3 * seconds * session.rate)))
    session.receive(m.Prompt(prompts=parse_prompts("campfire"), morph=2.0, at=round(0.6 * seconds * session.rate)))
    parts = []
    while session.position < seconds * session.rate:
        for layer in session.wanting(lead=8.0):
            work = session.start(layer)
            while not work.view.done:
                step_views(model, [work.view])
            session.complete(work.finish())
        parts.append(session.read(960).samples)
        for event in session.events():
            print(f"{event.position / session.rate:7.2f} s  {event.name}")
    soundfile.write(out, np.concatenate(parts, axis=1).T, session.rate, subtype="FLOAT")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", default="evening.wav")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    main(options.out, options.seconds)
