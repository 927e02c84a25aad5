"""A live scene: layers with their prompts, seeds and places in the mix; its checks and its JSON form "safa-live-1"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import SceneError
from safa_stream.scene import FORMAT as SCENE_FORMAT
from safa_stream.scene import Scene, WeightedPrompt, json_object, parse_prompts, prompts_from_json
from safa_stream.session import tempo
from safa_stream.session.messages import LARGEST_LAYERS
from safa_stream.session.strips import Strip

FORMAT = "safa-live-1"


@dataclass(frozen=True, slots=True)
class LayerScene:
    """One layer: its number, what it sounds like, and its strip in the mixer."""

    layer: int
    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...] = ()
    seed: int = 0
    strip: Strip = Strip()

    def __post_init__(self) -> None:
        check_layer(self.layer)
        # A scene has the rules for prompts, negatives and seeds.
        Scene(self.prompts, self.negative, self.seed)


@dataclass(frozen=True, slots=True)
class LiveScene:
    """All that recreates a live sound but what is done to it while it runs. None stands for the model's default.

    channels: of the session for as long as it lasts, 2 to 16; bpm, beats_per_bar: the tempo that a session of it begins
    with; a scene that is recalled leaves the tempo alone. hops: as of `Configure`.
    """

    layers: tuple[LayerScene, ...]
    master: Strip = Strip()
    steps: int | None = None
    guidance: float | None = None
    overlap: float | None = None
    reference_ratio: float = 0.3
    lufs: float = -23.0
    model: str = "builtin"
    channels: int = 2
    bpm: float = tempo.DEFAULT_BPM
    beats_per_bar: float = tempo.DEFAULT_BAR
    hops: str = tempo.FREE

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= LARGEST_LAYERS:
            raise SceneError(f"a live scene has 1 to {LARGEST_LAYERS} layers, not {len(self.layers)}")
        if len({layer.layer for layer in self.layers}) < len(self.layers):
            raise SceneError("two layers of the live scene have the same number")
        if not isinstance(self.lufs, int | float) or not -60 <= self.lufs <= -5:
            raise SceneError(f"live scene field 'lufs' must be a number from -60 to -5, not {self.lufs!r}")
        count = self.channels
        if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= LARGEST_CHANNELS:
            raise SceneError(
                f"live scene field 'channels' must be a whole number from 2 to {LARGEST_CHANNELS}, not {count!r}"
            )
        tempo.check(self.bpm, self.beats_per_bar, self.hops)
        self.settings(self.layers[0])

    def settings(self, layer: LayerScene) -> Scene:
        """One layer as a scene of its own. Raises SceneError for a value out of range."""
        return Scene(
            layer.prompts,
            layer.negative,
            layer.seed,
            self.steps,
            self.guidance,
            self.overlap,
            reference_ratio=self.reference_ratio,
            model=self.model,
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that `from_value` turns into an equal scene."""
        values: dict[str, Any] = {"format": FORMAT, **{f.name: getattr(self, f.name) for f in fields(self)}}
        values["master"] = asdict(self.master)
        values["layers"] = [
            {
                "layer": layer.layer,
                "prompts": [asdict(prompt) for prompt in layer.prompts],
                "negative": [asdict(prompt) for prompt in layer.negative],
                "seed": layer.seed,
                **asdict(layer.strip),
            }
            for layer in self.layers
        ]
        return values

    @classmethod
    def from_value(cls, value: Any) -> LiveScene:
        """From a prompt line, a scene file's object ("safa-scene-1") or a live scene's ("safa-live-1").

        Raises SceneError or PromptError naming the field that is wrong.
        """
        if isinstance(value, str):
            return cls((LayerScene(0, parse_prompts(value)),))
        if not isinstance(value, Mapping):
            raise SceneError(f"a live scene is a prompt line or a JSON object, not {value!r}")
        if value.get("format") == SCENE_FORMAT:
            return cls.from_scene(Scene.from_json(json.dumps(dict(value))))
        known = json_object(value, "the live scene", ("format", *(f.name for f in fields(cls))), ("format", "layers"))
        if known.pop("format") != FORMAT:
            raise SceneError(
                f"live scene field 'format' must be {FORMAT!r} or {SCENE_FORMAT!r}, not {value['format']!r}"
            )
        if not isinstance(known["layers"], list):
            raise SceneError(f"live scene field 'layers' must be a list, not {known['layers']!r}")
        known["layers"] = tuple(_layer(item, f"layers[{n}]") for n, item in enumerate(known["layers"]))
        if "master" in known:
            known["master"] = Strip(**json_object(known["master"], "master", _STRIP, ()))
        return cls(**known)

    @classmethod
    def from_scene(cls, scene: Scene) -> LiveScene:
        """One layer that sounds as a scene does. Raises SceneError where a stream cannot be steered that way."""
        if scene.mode != "stream" or scene.method != "safa" or scene.changes:
            raise SceneError("a live scene has mode 'stream', method 'safa' and no planned changes")
        return cls(
            (LayerScene(0, scene.prompts, scene.negative, scene.seed),),
            steps=scene.steps,
            guidance=scene.guidance,
            overlap=scene.overlap,
            reference_ratio=scene.reference_ratio,
            model=scene.model,
        )


def check_layer(number: Any) -> None:
    """Raise SceneError for what is no layer's number."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < LARGEST_LAYERS:
        raise SceneError(f"a layer's number is a whole number from 0 to {LARGEST_LAYERS - 1}, not {number!r}")


_STRIP = tuple(f.name for f in fields(Strip))


def _layer(value: Any, where: str) -> LayerScene:
    item = json_object(value, where, ("layer", "prompts", "negative", "seed", *_STRIP), ("layer", "prompts"))
    strip = Strip(**{name: item.pop(name) for name in _STRIP if name in item})
    for name in ("prompts", "negative"):
        said = item.get(name, [])
        # An empty line is what an empty negative is written as.
        item[name] = () if said == "" else prompts_from_json(said, f"{where}.{name}")
    return replace(LayerScene(**item), strip=strip)
