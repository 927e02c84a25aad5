"""What a session tells of itself: its state and what its sound was made with, as JSON objects."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from safa_stream.scene import format_prompts
from safa_stream.session.layer import Layer
from safa_stream.session.state import State
from safa_stream.session.strips import SILENT
from safa_stream.types import FloatArray


def provenance(state: State) -> dict[str, Any]:
    """What the sound at the present position was made with: prompts and their weights, seeds, settings."""
    per_frame = state.model.facts.samples_per_frame
    return {
        "model": f"{state.model.facts.name} {state.model.facts.version}",
        "layers": [
            {
                "layer": number,
                "prompts": [{"prompts": text, "seed": seed, "weight": weight} for text, seed, weight in made.prompts],
                "steps": made.steps,
                "guidance": made.guidance,
                "bed": layer.bed is not None,
            }
            for number, layer in sorted(state.layers.items())
            for made in (layer.making(state.position, per_frame),)
            if made is not None
        ],
    }


def describe(state: State, ready: int) -> dict[str, Any]:
    """The session as a JSON object."""
    return {
        "position": state.position,
        "rate": state.rate,
        "channels": state.channels,
        "delay": state.limiter.delay,
        "ready": ready,
        "frozen": state.frozen,
        "tempo": {
            "bpm": state.grid.bpm,
            "beat": state.grid.beat(state.position),
            "beats_per_bar": state.grid.beats_per_bar,
        },
        "waiting": [
            {"command": one.number, "type": one.command.name, "at": one.at, "quantise": one.command.quantise}
            for one in state.waiting
        ],
        **asdict(state.settings),
        "model": state.model.facts.name,
        "master": {**asdict(state.strip(None)), "level": _shown(state.levels.get(None))},
        "scenes": sorted(state.scenes),
        "layers": [_layer(state, layer) for _, layer in sorted(state.layers.items())],
    }


def _layer(state: State, layer: Layer) -> dict[str, Any]:
    last = layer.timeline.last
    frame = layer.frame_at(state.position, state.model.facts.samples_per_frame)
    return {
        "layer": layer.number,
        "prompts": format_prompts(last.prompts),
        "negative": format_prompts(last.negative),
        "seed": last.seed,
        "heard": [
            {"prompts": format_prompts(turn.prompts), "seed": turn.seed, "weight": round(weight, 4)}
            for turn, weight in layer.timeline.weights(frame)
        ],
        "lead": round(layer.lead(state.position) / state.rate, 3),
        "bed": layer.bed is not None,
        "ending": layer.ends_at is not None,
        "waiting": layer.waits is not None,
        "level": _shown(state.levels.get(layer.number)),
        **asdict(layer.own.over(state.settings)),
        **asdict(state.strip(layer.number)),
    }


def decibels(block: FloatArray) -> float:
    """Highest sample of a block in dB of full scale."""
    highest = float(np.abs(block).max()) if block.size else 0.0
    return 20 * math.log10(highest) if highest > 0 else -math.inf


def _shown(level: float | None) -> float | None:
    """A level as JSON holds it, silence as SILENT; None before anything was heard."""
    return None if level is None else round(max(level, SILENT), 1)
