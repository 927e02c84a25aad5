"""What Lyria's prompts and settings mean to a session of ours, and the way back for the metadata of chunks; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safa_server.lyria import LyriaPrompt, MusicConfig
from safa_stream.scene import LARGEST_SEED, WeightedPrompt, parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.messages import Command, Configure, Mix, Reseed
from safa_stream.session.strips import Strip

#: Lyria's own default, which stands for the model's own default here.
MIDDLE_GUIDANCE = 4.0
#: Brightness 0 and 1 turn the high shelf (4 kHz) down and up by so many dB; 0.5 leaves it alone.
BRIGHTNESS_REACH = 12.0
#: Added to a seed by a reset: 2^32 over the golden ratio.
SEED_STRIDE = 0x9E3779B1
#: All prompts are played by this layer of the session.
LAYER = 0


def session_prompt(prompt: LyriaPrompt) -> WeightedPrompt:
    """The same for a session, whose texts hold no "," (";" separates clauses too) and no ":". Raises PromptError."""
    return WeightedPrompt(" ".join(prompt.text.replace(",", ";").replace(":", " ").split()), prompt.weight)


def session_guidance(guidance: float | None, default: float) -> float:
    """Lyria's 0..6 as the model's: 0 is unguided (1), 4 the model's default, between and above on the same line."""
    return default if guidance is None else 1.0 + (default - 1.0) * guidance / MIDDLE_GUIDANCE


def session_seed(seed: int) -> int:
    """A seed of 32 signed bits as a session's, one to one."""
    return seed & LARGEST_SEED


def client_seed(seed: int) -> int:
    """The other way."""
    return seed - LARGEST_SEED - 1 if seed > LARGEST_SEED // 2 else seed


def next_seed(seed: int) -> int:
    """The seed after a reset of the context: far from this one, and the same whenever this one is the same."""
    return (seed + SEED_STRIDE + 2**31) % 2**32 - 2**31


def brightness_shelf(brightness: float | None) -> float:
    """Brightness 0..1 as dB of the high shelf."""
    return 0.0 if brightness is None else (2.0 * brightness - 1.0) * BRIGHTNESS_REACH


def scene(prompts: Sequence[LyriaPrompt], config: MusicConfig, seed: int, default_guidance: float) -> dict[str, Any]:
    """The live scene that plays this. Raises PromptError for a text with nothing in it."""
    layer = LayerScene(
        LAYER,
        tuple(session_prompt(prompt) for prompt in prompts),
        seed=session_seed(seed),
        strip=Strip(high=brightness_shelf(config.brightness)),
    )
    return LiveScene((layer,), guidance=session_guidance(config.guidance, default_guidance)).as_dict()


def commands(before: MusicConfig, after: MusicConfig, default_guidance: float) -> list[Command]:
    """What to tell a session so that it follows a changed configuration; a seed set back to None stays as it is."""
    told: list[Command] = []
    if before.guidance != after.guidance:
        told.append(Configure(guidance=session_guidance(after.guidance, default_guidance)))
    if before.brightness != after.brightness:
        told.append(Mix(layer=LAYER, high=brightness_shelf(after.brightness)))
    if before.seed != after.seed and after.seed is not None:
        told.append(Reseed(layer=LAYER, seed=session_seed(after.seed)))
    return told


def source_of(provenance: Mapping[str, Any], texts: Mapping[str, str]) -> tuple[tuple[LyriaPrompt, ...], int]:
    """Prompts and seed that a station's provenance tells of; while one set turns into another, both, by their shares.

    texts: what the client wrote, by what the session was told.
    """
    (layer,) = provenance["layers"]
    weights: dict[str, float] = {}
    for turn in layer["prompts"]:
        prompts = parse_prompts(turn["prompts"])
        # Weights count within their set only; those of two sets are made comparable, those of one are the client's own.
        whole = sum(prompt.weight for prompt in prompts) if len(layer["prompts"]) > 1 else 1.0
        for prompt in prompts:
            text = texts.get(prompt.text, prompt.text)
            weights[text] = weights.get(text, 0.0) + prompt.weight / whole * turn["weight"]
    heard = tuple(LyriaPrompt(text, weight) for text, weight in weights.items() if weight > 0)
    return heard, client_seed(max(layer["prompts"], key=lambda turn: float(turn["weight"]))["seed"])
