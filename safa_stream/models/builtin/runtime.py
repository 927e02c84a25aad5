"""The model that ships: prompts to conditions, noisy latents to clean ones, latents to sound. Offline, on any CPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from safa_stream.errors import ModelError, PromptError
from safa_stream.models.backends.choice import chosen
from safa_stream.models.backends.spec import AUTO, Backend
from safa_stream.models.builtin.conditioning import Component, ConditionEncoder, StyleBank
from safa_stream.models.builtin.decoder import TextureDecoder, open_decoder
from safa_stream.models.builtin.features import SAMPLE_RATE, SAMPLES_PER_TOKEN, Array, LatentMap, split_tokens
from safa_stream.models.builtin.guiding import combined, guided, guiding_rows
from safa_stream.models.builtin.network import Network, open_network
from safa_stream.models.builtin.phases import patch_phases
from safa_stream.models.builtin.text import TextEncoder
from safa_stream.models.builtin.weights import SHIPPED, Weights, load_weights
from safa_stream.models.interface import Conditioning, Encoded, ModelFacts
from safa_stream.scene import MAD, SYNC, WeightedPrompt
from safa_stream.solvers import SolverTable, builtin_table

#: What runs wherever the model is installed.
DEFAULT = Backend()

#: A sound counts as one of a phrase's own when it has at least this share of the phrase's meaning.
LEAST_SHARE = 0.2
#: Mixed into the seed so that styles are not drawn from the numbers that make the noise.
STYLE_STREAM = 0x57A1E


class BuiltinModel:
    """The built-in model, or one that `safa-stream train` made, behind the interface of every model.

    On a torch backend latents are tensors on its device, on all others arrays are numpy's. network, decoder: other ones
    than the backend's own (measurements).
    """

    def __init__(
        self,
        weights: Weights,
        backend: Backend = DEFAULT,
        network: Network | None = None,
        decoder: TextureDecoder | None = None,
    ) -> None:
        config = weights.config
        self.weights, self.backend = weights, backend
        self.torch_device = backend.facts.device if backend.engine.startswith("torch") else None
        self.network = network or open_network(weights, backend)
        self.latent_map = LatentMap(*(weights.tensors[f"latent.{n}"] for n in ("mean", "forward", "backward")))
        self.labels: tuple[str, ...] = tuple(config["sounds"])
        self.text = TextEncoder.from_tensors(weights.under("text."), config["text"])
        self.conditioner = ConditionEncoder(weights)
        self.bank = StyleBank(*(weights.tensors[f"styles.{n}"] for n in ("rows", "sounds", "semantics", "shares")))
        self.patch = int(config["network"]["patch"]) if config["network"]["kind"] == "dit" else 1
        defaults = config["defaults"]
        self.shift: float = defaults["shift"]
        self.guiding = guiding_rows(self.labels, defaults["guidance_levels"], defaults.get("guiding", {}))
        self.unguided = guiding_rows(("",), defaults["guidance_levels"], {})
        self.sampled_decoder = decoder or open_decoder(weights, backend)
        self.facts = ModelFacts(
            name=config["name"],
            version=config["version"],
            sample_rate=SAMPLE_RATE,
            channels=2,
            samples_per_frame=SAMPLES_PER_TOKEN,
            view_frames=defaults["view_frames"],
            frame_alignment=8,
            latent_channels=config["latent_shape"][0],
            latent_bins=config["latent_shape"][1],
            default_steps=defaults["steps"],
            default_guidance=defaults["guidance"],
            default_overlap=defaults["overlap"],
            decoder_halo=self.sampled_decoder.halo,
            takes_context=True,
            sounds=self.labels,
            licence=config["licence"],
        )

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        """Words to one condition row; `seed` picks which recordings' styles the sounds take."""
        wanted, unknown = self._components(prompts, seed)
        opposed, unknown_negative = self._components(negative, seed + 1)
        return Encoded(
            conditioning=self._told(wanted),
            negative=self._told(opposed),
            unknown_words=tuple(dict.fromkeys(unknown + unknown_negative)),
        )

    def _told(self, components: list[Component]) -> Conditioning:
        """One row: the condition [1, D], and how it is guided [1, 9], the components' mean by their weights."""
        row = self.unguided
        if components:
            weights = np.array([component.weight for component in components], np.float32)
            rows = self.guiding[[component.sound for component in components]]
            row = (weights[None] / weights.sum()) @ rows
        condition = self.conditioner(components)[None]
        return Conditioning({"condition": self.from_numpy(condition), "guiding": self.from_numpy(row)})

    def _components(self, prompts: Sequence[WeightedPrompt], seed: int) -> tuple[list[Component], tuple[str, ...]]:
        generator = np.random.Generator(np.random.Philox(key=[seed % 2**64, STYLE_STREAM]))
        components: list[Component] = []
        unknown: list[str] = []
        for prompt in prompts:
            unknown += self.text.encode(prompt.text).unknown_words
            parts = self.text.parts(prompt.text)
            for part in parts:
                if part.confidence == 0.0:
                    continue
                shares = part.sounds * (part.sounds >= min(LEAST_SHARE, float(part.sounds.max())))
                for sound in np.flatnonzero(shares):
                    style = self.bank.draw(int(sound), part.semantic, generator)
                    share = float(shares[sound] / shares.sum()) / len(parts)
                    components.append(Component(int(sound), style, prompt.weight * share))
        if prompts and not components:
            known = ", ".join(self.labels)
            raise PromptError(f"no word of the prompt is known ({', '.join(unknown)}); the sounds are {known}")
        return components, tuple(unknown)

    def denoise(
        self,
        latents: Any,
        timesteps: Any,
        conditioning: Conditioning,
        negative: Conditioning,
        guidance: Any,
        context: Any | None = None,
        known: Any | None = None,
    ) -> Any:
        """Guided clean latents [B, C, T, F]; rows outside the guided noise levels or with guidance 1 cost one pass.

        How much a row is guided, and at which levels, is its sounds' matter as well, see guiding.py.
        """
        batch, channels, length, bins = latents.shape
        noisy = self._rows(latents)
        told = noisy * 0.0 if context is None else self._rows(context)
        given = noisy[..., 0] * 0.0 if known is None else known
        condition, opposed = conditioning.tensors["condition"], negative.tensors["condition"]
        level = floats(timesteps)
        scale = self.guided(conditioning, floats(guidance), level)
        guided = [row for row, g in enumerate(scale) if g != 1.0]
        every = list(range(batch)) + guided
        levels = [level[row] for row in every]
        turn, back = patch_phases(levels, length, self.patch)
        source, rows = np.array(every)[:, None], np.arange(len(every))[:, None]
        turned, shown, known_frames = (part[source, turn] for part in (noisy, told, given))
        estimated = self.network(
            turned,
            self.from_numpy(levels),
            self._join(condition, opposed[guided]),
            shown,
            known_frames,
        )
        clean = estimated[rows, back]
        rules = self.rules(conditioning)
        for place, row in enumerate(guided):
            clean[row] = combined(clean[row], clean[batch + place], scale[row], rules[row])
        shaped = clean[:batch].reshape(batch, length, channels, bins)
        return shaped.transpose(0, 2, 1, 3) if self.torch_device is None else shaped.permute(0, 2, 1, 3)

    def require_open(self, method: str) -> None:
        """Raise ModelError on a graph, whose inside is closed, and UsageError for MAD in a compiled network."""
        if self.torch_device is None:
            raise ModelError(
                f"method {method} reaches into the network, which backend {self.backend} runs as a finished graph: "
                "use --backend torch"
            )
        if method == MAD:
            from safa_stream.models.merging import require_eager

            require_eager(self.backend)

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """While it lasts, all views of a canvas, told in one batch, attend to each other (MAD); see opening.py."""
        self.require_open(MAD)
        from safa_stream.models.builtin import opening

        return opening.merging(starts, view, width, timestep, merge_self, self.patch)

    def likeness(self, network: Path | None) -> Any:
        """How unlike views sound; see opening.py."""
        self.require_open(SYNC)
        import torch

        from safa_stream.models.builtin import opening

        return opening.likeness(self.latent_map, network, torch.device(self.torch_device or "cpu"))

    def memory(self) -> AbstractContextManager[None]:
        """A small model: what it asks for is there."""
        return nullcontext()

    def guided(self, conditioning: Conditioning, guidance: Sequence[float], levels: Sequence[float]) -> list[float]:
        """Each row's guidance as it is carried out: with its sounds' emphasis, and 1 outside their noise levels."""
        return [guided(*each) for each in zip(guidance, levels, self.rules(conditioning), strict=True)]

    def rules(self, conditioning: Conditioning) -> list[list[float]]:
        """How each row is guided, see guiding.py."""
        found: list[list[float]] = np.asarray(self.to_numpy(conditioning.tensors["guiding"])).tolist()
        return found

    def solver(self, steps: int) -> SolverTable:
        """DPM-Solver++ 2M over `steps` network evaluations on the shifted flow schedule."""
        return builtin_table(steps, self.shift)

    def decoder(self) -> TextureDecoder:
        """Latents to 48 kHz stereo."""
        return self.sampled_decoder

    def log_mel(self, latents: Any) -> Array:
        """The mid signal's log-mel [..., 4T, 96] that latents [..., C, T, F] stand for; for measures."""
        rows = np.moveaxis(self.to_numpy(latents), -3, -2)
        return split_tokens(self.latent_map.decode(rows.reshape(*rows.shape[:-2], -1)))[0]

    def from_numpy(self, array: Any) -> Any:
        """A numpy array in this model's array world, single precision."""
        single = np.ascontiguousarray(array, dtype=np.float32)
        if self.torch_device is None:
            return single
        import torch

        return torch.from_numpy(single).to(self.torch_device)

    def to_numpy(self, array: Any) -> Array:
        """An array of this model's world (or numpy's own) as numpy, single precision."""
        return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array, dtype=np.float32)

    def _rows(self, latents: Any) -> Any:
        """[B, C, T, F] to the network's [B, T, C * F]."""
        turned = latents.transpose(0, 2, 1, 3) if self.torch_device is None else latents.permute(0, 2, 1, 3)
        return turned.reshape(turned.shape[0], turned.shape[1], -1)

    def _join(self, first: Any, second: Any) -> Any:
        if self.torch_device is None:
            return np.concatenate([first, second])
        import torch

        return torch.cat([first, second])


def floats(values: Any) -> list[float]:
    """Any small array or sequence as Python numbers."""
    return [float(value) for value in values]


def load_builtin(folder: Path | None = None, backend: str = AUTO) -> BuiltinModel:
    """The shipped model, or the one in `folder`, on a backend by name.

    Raises:
        ModelError: see `load_weights`; or the backend cannot be used here.
        UsageError: there is no such backend.
    """
    weights = load_weights(folder or SHIPPED)
    choice = chosen(backend, weights.digest)
    try:
        return BuiltinModel(weights, choice.backend)
    except ModelError:
        # What was chosen for the user may be gone by now; what the user named must not be replaced in silence.
        if choice.origin == "named" or choice.backend == DEFAULT:
            raise
        return BuiltinModel(weights, DEFAULT)
