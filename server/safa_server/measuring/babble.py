"""What hostile clients say: commands by the thousand, and what is no command, no message or no frame."""

from __future__ import annotations

import json
import os
import random
from typing import Any

from safa_server.measuring.sockets import BINARY, PING, TEXT, framed


def command(chance: random.Random, position: int) -> tuple[str, dict[str, Any]]:
    """Something to say to a session that would be carried out, or just not. position: the sample it has come to."""
    words = chance.choice(("rain", "wind, birds:0.3", "campfire", "waves", "zzz", ""))
    now, layer = chance.random() < 0.3, chance.choice((0, 0, 0, 1, 7, 9))
    choices: tuple[tuple[str, dict[str, Any]], ...] = (
        ("prompt", {"prompts": words, "layer": layer, "now": now, "morph": chance.choice((0, 4, 1e9))}),
        ("prompt", {"prompts": words, "now": now}),
        ("mix", {"layer": layer, "gain": chance.uniform(-120, 30), "ramp": chance.choice((0, 0.03, 9))}),
        ("mix", {"layer": 0, "pan": chance.uniform(-1, 1), "low": chance.uniform(-20, 20)}),
        ("mix", {"gain": chance.uniform(-20, 0), "mute": False}),
        ("configure", {"steps": chance.choice((2, 4, 12, 1000, -1)), "guidance": chance.uniform(0, 10)}),
        ("configure", {"steps": None, "reference_ratio": chance.uniform(-0.5, 1.5)}),
        ("reseed", {"seed": chance.randrange(2**40), "now": now}),
        ("reanchor", {"layer": layer}),
        ("freeze", {"on": chance.random() < 0.3}),
        ("rewind", {"to": chance.randrange(max(0, position - 2**23), position + 2**22)}),
        ("loop.capture", {"seconds": chance.choice((0, 8, 20, 100))}),
        ("scene.save", {"scene": f"scene {chance.randrange(100)}"}),
        ("scene.recall", {"scene": f"scene {chance.randrange(100)}", "morph": chance.uniform(0, 5)}),
        ("layer.add", {"prompts": words}),
        ("layer.remove", {"layer": chance.randrange(1, 8), "ramp": 0}),
        ("prompt", {"prompts": "wind", "at": chance.choice((position + chance.randrange(2**20), 2**40))}),
        ("ping", {"client_clock": chance.random()}),
        ("state", {}),
        ("provenance", {"number": chance.randrange(100)}),
        ("playhead", {"position": chance.randrange(2**30)}),
        ("ack", {"sequence": chance.randrange(2**30)}),
        ("grant", {"samples": 960}),
    )
    return chance.choice(choices)


def nonsense(chance: random.Random) -> bytes:
    """Bytes for a connection that are no message, no frame, or no request; some are nearly one."""
    deep = b"[" * 5000
    texts = (
        b"",
        b"{",
        b"null",
        b'"open"',
        b'{"type": "open", "scene": NaN}',
        b'{"type": "open", "scene": 1e999, "lead": -1}',
        b'{"type": "open"}',
        b'{"type": 7}',
        b'{"type": "prompt", "prompts": "rain"}',
        b'{"type": "open", "type": "join", "scene": "rain"}',
        b"\xff\xfe{}",
        deep,
        json.dumps({"type": "open", "scene": "x" * 100_000}).encode(),
        json.dumps({"type": "open", "scene": "rain", "format": ["f32"] * 1000}).encode(),
        json.dumps({"type": "join", "session": "../../etc", "from": 2**70}).encode(),
    )
    return chance.choice(
        (
            framed(TEXT, chance.choice(texts)),
            framed(TEXT, chance.choice(texts)),
            framed(TEXT, chance.choice(texts), masked=False),
            framed(TEXT, b'{"type": "open"', final=False),
            framed(BINARY, os.urandom(chance.randrange(1000))),
            framed(chance.choice((3, 7, 11, 15)), b"reserved"),
            framed(TEXT, b"x" * 300_000),
            framed(PING, b"x" * 200),
            framed(TEXT, b"{}")[:3],
            bytes([0x81, 0xFF]) + b"\x7f" + b"\xff" * 7,
            b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
            os.urandom(chance.randrange(1, 400)),
        )
    )
