"""A host in a process of its own: loads the VST3 form, plays silence or noise through it and says how it went.

    host.py '{"host": "pedalboard", "plugin": "x.vst3", "rate": 48000, "block": 512, "seconds": 2, "out": "y.npy"}'

Prints one line of JSON when the plugin is loaded, and one at the end. Fields beside those above, all optional:
parameters (name: value, before it plays), changes ([second, name, value], carried out at that block), state_in and
state_out (files), noise (its input is seeded noise), paced (a block when its time has come, not as fast as it goes),
bpm (dawdreamer), stop (it ends when this file is there, or after `seconds`), hold (after the sound it says so and waits
for a line on standard input before it saves the state).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(order: dict[str, Any]) -> dict[str, Any]:
    frames = round(order["seconds"] * order["rate"]) // order["block"] * order["block"]
    given = np.zeros((2, frames), np.float32)
    if order.get("noise"):
        given = np.random.default_rng(1).uniform(-0.5, 0.5, (2, frames)).astype(np.float32)
    return {"pedalboard": _pedalboard, "dawdreamer": _dawdreamer}[order["host"]](order, given)


def _pedalboard(order: dict[str, Any], given: Any) -> dict[str, Any]:
    import pedalboard

    began = time.monotonic()
    plugin = pedalboard.load_plugin(order["plugin"])
    _say({"loaded_in": time.monotonic() - began})
    if "state_in" in order:
        plugin.raw_state = Path(order["state_in"]).read_bytes()
    for name, value in order.get("parameters", {}).items():
        setattr(plugin, name, value)
    rate, block, changes = order["rate"], order["block"], list(order.get("changes", []))
    heard, slowest, waits, late = [], 0.0, 0, 0
    # Making ready for the rate and the block size may take its time; the sound itself may not.
    plugin.process(np.zeros((2, 0), np.float32), rate, buffer_size=block, reset=True)
    origin = time.monotonic()
    for number in range(given.shape[1] // block):
        at = number * block / rate
        if "stop" in order and Path(order["stop"]).exists():
            break
        while changes and changes[0][0] <= at:
            _, name, value = changes.pop(0)
            setattr(plugin, name, value)
        if order.get("paced"):
            wait = origin + at - time.monotonic()
            late += wait < -1.0
            time.sleep(max(0.0, wait))
        slept, entered = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, time.monotonic()
        heard.append(plugin.process(given[:, number * block :][:, :block], rate, buffer_size=block, reset=False))
        slowest = max(slowest, time.monotonic() - entered)
        waits += resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - slept
    np.save(order["out"], np.concatenate(heard, axis=1).T)
    if order.get("hold"):
        _say({"done": True})
        sys.stdin.readline()
    if "state_out" in order:
        Path(order["state_out"]).write_bytes(plugin.raw_state)
    return {"slowest": slowest, "waits": waits, "latency": plugin.reported_latency_samples}


def _dawdreamer(order: dict[str, Any], given: Any) -> dict[str, Any]:
    import dawdreamer

    began = time.monotonic()
    engine = dawdreamer.RenderEngine(order["rate"], order["block"])
    plugin = engine.make_plugin_processor("safa", order["plugin"])
    _say({"loaded_in": time.monotonic() - began})
    if "bpm" in order:
        engine.set_bpm(order["bpm"])
    known = {one["name"]: one["index"] for one in plugin.get_parameters_description()}
    for name, value in order.get("parameters", {}).items():
        plugin.set_parameter(known[name], value)
    engine.load_graph([(engine.make_playback_processor("in", given), []), (plugin, ["in"])])
    engine.render(given.shape[1] / order["rate"])
    np.save(order["out"], np.ascontiguousarray(engine.get_audio().T))
    return {"latency": plugin.get_latency_samples()}


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    _say(main(json.loads(sys.argv[1])))
    # Hosts that end in order unload the plugin; these libraries do not always survive that.
    sys.stdout.flush()
    os._exit(0)
