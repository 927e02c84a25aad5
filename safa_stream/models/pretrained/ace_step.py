"""ACE-Step 1.5 (arXiv 2602.00744): music from words over waveform latents [B, 64, T, 1], 25 a second.

The network attends to one sequence: lyrics, a timbre, the text. Here the lyrics are "[instrumental]" and the timbre is
silence's, as where no reference is given. It has no mask for that sequence: rows whose sequences differ in length are
calls of their own. It counts time before frequency: latents are turned to [B, T, 64] on the way in and out.

Checkpoints with turbo in their configuration have guidance distilled into their weights and take none. The others are
guided by adaptive projection (arXiv 2410.02416) as in the pipeline, without its momentum: that is a memory from step to
step, which rows of a batch and views of a stream could not share. The pipeline scales its result to a peak, which a
stream's loudness does instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safa_stream.models.interface import Conditioning
from safa_stream.models.pretrained.base import MASK, Row, padded
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.texts import not_understood
from safa_stream.models.pretrained.timing import PIECE_SECONDS
from safa_stream.models.pretrained.waveform import WaveformModel, check_latents
from safa_stream.models.pretrained.waveform_decoder import oobleck_halo, without_encoder
from safa_stream.solvers import SolverTable
from safa_stream.types import Array

#: What the network's text encoder was trained with; line breaks included.
TEXT = """\
# Instruction
Fill the audio semantic mask based on the given conditions:

# Caption
{}

# Metas
- bpm: N/A
- timesignature: N/A
- keyscale: N/A
- duration: {} seconds
<|endoftext|>
"""
LYRICS = "# Languages\nen\n\n# Lyric\n[instrumental]<|endoftext|>"
#: Tokens of a formatted text at most.
TOKENS = 256
#: Steps and guidance of turbo checkpoints and of the others, and the schedule's shift of both.
TURBO, PLAIN, SHIFT = (8, 1.0), (50, 7.0), 3.0
#: Of the projected guidance: how long an update may be, and what of it along the prediction stays.
LONGEST_UPDATE, PARALLEL = 2.5, 0.0
#: Seconds of silence that stand for no timbre, and of a view.
TIMBRE_SECONDS, VIEW_SECONDS = 30, 30


def sigmas(steps: int) -> list[float]:
    """Noise levels [S], most of them in noise (shift 3)."""
    even = torch.linspace(1, 0, steps + 1)[:-1]
    levels: list[float] = (SHIFT * even / (1 + (SHIFT - 1) * even)).tolist()
    return levels


class AceStep(WaveformModel):
    """A checkpoint of an AceStepPipeline."""

    KINDS = (
        Kind("transformer", "AceStepTransformer1DModel"),
        Kind("vae", "AutoencoderOobleck"),
        Kind("condition_encoder", "AceStepConditionEncoder"),
    )

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        parts = checkpoint.components
        config = parts["transformer"].config
        channels = int(config["audio_acoustic_hidden_dim"])
        check_latents(checkpoint, channels, int(parts["vae"].config["decoder_input_channels"]))
        self.transformer = computing.denoiser(parts["transformer"].load())
        self.vae = computing.exact(without_encoder(parts["vae"].load()))
        self.condition_encoder = computing.exact(parts["condition_encoder"].load())
        self.read_texts("AutoModel", "AutoTokenizer")
        self.turbo = bool(config.get("is_turbo")) or config.get("model_version") == "turbo"
        self.silence: Tensor = self.condition_encoder.silence_latent
        rate, scale, patch = int(self.vae.config.sampling_rate), int(self.vae.hop_length), int(config["patch_size"])
        steps, guidance = TURBO if self.turbo else PLAIN
        self.describe(
            self.vae.decoder,
            oobleck_halo(self.vae.upsampling_ratios),
            sample_rate=rate,
            channels=int(self.vae.config.audio_channels),
            samples_per_frame=scale,
            latent_channels=channels,
            view=round(VIEW_SECONDS * rate / scale / patch) * patch,
            steps=steps,
            guidance=guidance,
            alignment=patch,
        )
        with computing.running():
            self.lyrics: Tensor = self.text_encoder.get_input_embeddings()(self._tokens(LYRICS))
        self.longest = TOKENS + int(self.lyrics.shape[1]) + 1

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each: "text" [1, L, D]: lyrics, timbre and text, filled up with zeros; "text_mask" says up to where."""
        return [self._row(text) for text in texts]

    def without(self, beside: Sequence[str]) -> Row:
        """The learnt vector for nothing, as often as the longest of the prompts has tokens."""
        mask = torch.stack([row["text" + MASK] for row in self.rows(beside or [""])]).amax(dim=0)
        nothing = self.condition_encoder.null_condition_emb * mask[..., None]
        return {"text": nothing, "text" + MASK: mask}

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words that do not fit into 256 tokens beside the instruction, or that the tokenizer does not know."""
        around = len(self._tokens(formatted(""))[0])
        return not_understood(self.tokenizer, text, TOKENS - around)

    def denoise(
        self,
        latents: Array,
        timesteps: Array,
        conditioning: Conditioning,
        negative: Conditioning,
        guidance: Array,
        context: Array | None = None,
        known: Array | None = None,
    ) -> Array:
        """As every model; turbo checkpoints are not guided, whatever the guidance."""
        told = torch.ones_like(guidance) if self.turbo else guidance
        return super().denoise(latents, timesteps, conditioning, negative, told)

    def combined(self, told: Tensor, without: Tensor, guidance: Tensor) -> Tensor:
        """Adaptive projected guidance: what the text adds, bounded, and only what of it is across the prediction."""
        from diffusers.guiders.adaptive_projected_guidance import normalized_guidance

        moved: Tensor = normalized_guidance(
            told,
            without,
            1.0,
            eta=PARALLEL,
            norm_threshold=LONGEST_UPDATE,
            use_original_formulation=True,
            norm_dim=(2,),
        )
        return told + (guidance - 1) * (moved - told)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """The velocity of latents [N, C, T, 1] at times 1 to 0, one call for each length of text."""
        lengths = told["text" + MASK].sum(dim=1)
        out = torch.empty_like(latents)
        for length in sorted(set(lengths.tolist())):
            rows = lengths == length
            out[rows] = self._velocity(latents[rows], timesteps[rows], told["text"][rows, :length])
        return out

    def solver(self, steps: int) -> SolverTable:
        """Euler steps over the pipeline's noise levels."""
        return self.sampled(steps, sigmas)

    def _velocity(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        frames, times = int(latents.shape[2]), timesteps.to(latents.dtype)
        silence = self.silence.to(latents.dtype)
        silence = silence.repeat(1, -(-frames // silence.shape[1]), 1)[:, :frames].expand(len(latents), -1, -1)
        out: Tensor = self.transformer(
            hidden_states=latents[..., 0].transpose(1, 2),
            timestep=times,
            timestep_r=times,
            encoder_hidden_states=text,
            # Nothing is given, all is to be made.
            context_latents=torch.cat([silence, torch.ones_like(silence)], dim=2),
            return_dict=False,
        )[0]
        return out.transpose(1, 2)[..., None]

    def _tokens(self, text: str) -> Tensor:
        with quiet():
            told = self.tokenizer(text, truncation=True, max_length=TOKENS, return_tensors="pt")
        found: Tensor = told.input_ids.to(self.computing.device)
        return found

    def _row(self, text: str) -> Row:
        found = self.text_encoder(input_ids=self._tokens(formatted(text))).last_hidden_state
        seconds = math.ceil(TIMBRE_SECONDS * self.facts.frames_per_second)
        packed, mask = self.condition_encoder(
            text_hidden_states=found,
            text_attention_mask=_all(found),
            lyric_hidden_states=self.lyrics,
            lyric_attention_mask=_all(self.lyrics),
            refer_audio_acoustic_hidden_states_packed=self.silence[:, :seconds],
            refer_audio_order_mask=torch.zeros(1, dtype=torch.long, device=found.device),
        )
        return padded({"text": packed, "text" + MASK: mask.long()}, "text", self.longest)


def formatted(text: str) -> str:
    """What the text encoder reads: instruction, caption, and what is known beside it; the length as `timing` says."""
    return TEXT.format(text, int(PIECE_SECONDS))


def _all(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
