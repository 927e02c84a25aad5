"""Models over waveform latents: the same trajectories as diffusers' own pipelines make, and what each is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from safa_stream.errors import UsageError
from safa_stream.models.interface import mix_encoded, stack, take
from safa_stream.models.pretrained.base import PretrainedModel
from safa_stream.models.pretrained.families import open_pretrained
from safa_stream.models.pretrained.timing import PIECE_SECONDS, Timing, middle_of
from safa_stream.scene import parse_prompts
from safa_stream.schedulers import COSINE, FLOW, deterministic, from_scheduler_config
from safa_stream.solvers import SolverTable, step
from tests.torch.waveform_models import SMALL, Shelf, library

FRAMES, STEPS, PROMPT = 24, 5, "rain on a tent"
#: The noise levels of Stable Audio Open.
LEVELS = {"sigma_min": 0.3, "sigma_max": 500.0, "sigma_data": 1.0, "sigma_schedule": "exponential"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Small pipelines by name."""
    return Shelf(tmp_path_factory.mktemp("checkpoints"))


def cosine(**options: Any) -> Any:
    """diffusers' deterministic solver over Stable Audio's levels, telling them as the stochastic one tells them.

    (The stochastic one needs torchsde, and what it makes is not the same twice.)
    """

    class Told(library("EDMDPMSolverMultistepScheduler")):
        def precondition_noise(self, sigma: Tensor) -> Tensor:
            return sigma.atan() / math.pi * 2

    return Told(**{"prediction_type": "v_prediction", **LEVELS, **options})


def noise(model: PretrainedModel, frames: int, seed: int = 1) -> Tensor:
    """Unit noise [1, C, T, 1]."""
    draw = np.random.default_rng(seed).standard_normal((1, model.facts.latent_channels, frames, 1))
    return model.from_numpy(draw)


def trajectory(model: PretrainedModel, x: Tensor, prompt: str, negative: str, guidance: float) -> Tensor:
    """Latents [1, C, T] of all steps from unit noise x [1, C, T, 1]."""
    told = model.encode(parse_prompts(prompt), parse_prompts(negative) if negative else (), 0)
    table, scale, h = model.solver(STEPS), torch.tensor([guidance]), None
    x = x * table.initial_scale
    for index, time in enumerate(table.timesteps):
        m = model.denoise(x, torch.tensor([time]), told.conditioning, told.negative, scale)
        x, h = step(table.row(index), x, m, h)
    return x[..., 0]


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the largest value that was expected."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


class TestTrajectories:
    """From the same noise to the same latents as the pipeline: prompts, guidance, timing and steps."""

    @pytest.mark.parametrize("negative", ["", "wind"])
    @pytest.mark.parametrize("guidance", [1.0, 4.0])
    def test_stable_audio(self, models: Shelf, monkeypatch: pytest.MonkeyPatch, guidance: float, negative: str) -> None:
        pipeline, model = models("stable-audio").pipeline, models("stable-audio").model
        monkeypatch.setattr(pipeline, "scheduler", cosine())
        # The pipeline takes no view from the middle of a longer piece.
        monkeypatch.setattr(model, "timing", Timing(1.0, 3.0))
        x = noise(model, model.facts.view_frames)
        theirs = pipeline(
            PROMPT,
            negative_prompt=negative or None,
            audio_start_in_s=1.0,
            audio_end_in_s=3.0,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=x[..., 0],
            output_type="latent",
        ).audios
        # The pipeline's states are 500 times as large as its noise, and rounded accordingly.
        assert off(trajectory(model, x, PROMPT, negative, guidance), theirs) < 1e-4

    @pytest.mark.parametrize("negative", ["", "wind"])
    @pytest.mark.parametrize("guidance", [1.0, 3.0])
    def test_stable_audio_3(self, models: Shelf, guidance: float, negative: str) -> None:
        pipeline, model = models("stable-audio-3-base").pipeline, models("stable-audio-3-base").model
        x = noise(model, FRAMES)
        theirs = pipeline(
            PROMPT,
            duration=PIECE_SECONDS,
            negative_prompt=negative or None,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=x[..., 0],
            output_type="latent",
        ).audios
        assert off(trajectory(model, x, PROMPT, negative, guidance), theirs) < 1e-5

    @pytest.mark.parametrize("name, guidance", [("ace-step", 1.0), ("ace-step", 5.0), ("ace-step-turbo", 5.0)])
    def test_ace_step(self, models: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, guidance: float) -> None:
        from diffusers.pipelines.ace_step import pipeline_ace_step

        # Momentum is what is left out.
        monkeypatch.setattr(pipeline_ace_step, "MomentumBuffer", lambda momentum: None)
        pipeline, model = models(name).pipeline, models(name).model
        # The pipeline tells the length that it makes.
        x = noise(model, round(PIECE_SECONDS * model.facts.frames_per_second))
        theirs = pipeline(
            PROMPT,
            lyrics="[instrumental]",
            audio_duration=PIECE_SECONDS,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=x[..., 0].transpose(1, 2),
            output_type="latent",
        ).audios.transpose(1, 2)
        assert off(trajectory(model, x, PROMPT, "", guidance), theirs) < 1e-5

    @pytest.mark.parametrize("negative", ["", "wind"])
    @pytest.mark.parametrize("guidance", [1.0, 4.0])
    def test_longcat(self, models: Shelf, guidance: float, negative: str) -> None:
        pipeline, model = models("longcat").pipeline, models("longcat").model
        x, prompt = noise(model, FRAMES), 'Rain  on a "tent"'
        theirs = pipeline(
            prompt,
            negative_prompt=negative or None,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=x[..., 0].transpose(1, 2),
            output_type="latent",
        ).audios.transpose(1, 2)
        assert off(trajectory(model, x, prompt, negative, guidance), theirs) < 1e-5


class TestWhatIsTold:
    @pytest.mark.parametrize("name", SMALL)
    def test_a_row_does_not_depend_on_those_beside_it(self, models: Shelf, name: str) -> None:
        model = models(name).model
        x, times = torch.cat([noise(model, FRAMES, seed) for seed in (1, 2)]), torch.tensor([0.9, 0.2])
        told = [model.encode(parse_prompts("rain"), (), 0)]
        told += [model.encode(parse_prompts("distant thunder and waves, birds:0.4"), parse_prompts("wind"), 0)]
        both, scales = (
            [stack([getattr(row, part) for row in told]) for part in ("conditioning", "negative")],
            [1.0, 3.0],
        )
        together = model.denoise(x, times, *both, torch.tensor(scales))
        for at in range(2):
            alone = model.denoise(
                x[at : at + 1],
                times[at : at + 1],
                *(take(rows, at, at + 1) for rows in both),
                torch.tensor(scales[at : at + 1]),
            )
            assert off(together[at : at + 1], alone) < 1e-5

    @pytest.mark.parametrize("name", ["stable-audio", "stable-audio-3", "ace-step", "longcat"])
    def test_half_precision_comes_near(self, models: Shelf, name: str) -> None:
        out = []
        for model in (models(name).model, open_pretrained(models(name).folder, "torch:bf16")):
            told = model.encode(parse_prompts("rain, wind:0.5"), (), 0)
            x, time, scale = noise(model, FRAMES), torch.tensor([0.9]), torch.tensor([2.0])
            context = (x * 0.5, torch.ones(1, FRAMES)) if model.facts.takes_context else ()
            out.append(model.denoise(x, time, told.conditioning, told.negative, scale, *context))
        assert out[1].dtype == torch.float32 and 0 < off(out[1], out[0]) < 0.05

    @pytest.mark.parametrize("name", SMALL)
    def test_prompts_are_heard_and_morph(self, models: Shelf, name: str) -> None:
        model = models(name).model
        x, time, scale = noise(model, FRAMES), torch.tensor([0.8]), torch.tensor([1.0])
        rain, birds = (model.encode(parse_prompts(text), (), 0) for text in ("rain", "birds at dawn and waves"))
        shares = [mix_encoded([(rain, 1 - share), (birds, share)]) for share in (0.0, 0.1, 1.0)]
        out = [model.denoise(x, time, told.conditioning, told.negative, scale) for told in shares]
        assert torch.equal(out[0], model.denoise(x, time, rain.conditioning, rain.negative, scale))
        assert 0 < off(out[1], out[0]) < off(out[2], out[0])

    @pytest.mark.parametrize(
        "name, text, missed",
        [
            ("stable-audio", "rain on a tent and thunder and wind", ("wind",)),
            ("stable-audio", "rain ΩΩ", ("ΩΩ",)),
            ("stable-audio-3", "a long text of waves at dawn and at dusk", ("at", "dusk")),
            ("ace-step", "x" * 250 + " waves", ("x" * 250, "waves")),
            ("longcat", "rain " * 42 + "waves", ("rain", "waves")),
        ],
    )
    def test_words_that_are_not_told_are_named(
        self, models: Shelf, name: str, text: str, missed: tuple[str, ...]
    ) -> None:
        assert models(name).model.encode(parse_prompts(text), (), 0).unknown_words == missed

    def test_stable_audio_3_is_told_finished_frames_as_its_inpainting_is(self, models: Shelf) -> None:
        pipeline, model = models("stable-audio-3").pipeline, models("stable-audio-3").model
        told = model.encode(parse_prompts(PROMPT), (), 0)
        x, kept, known = noise(model, FRAMES), noise(model, FRAMES, 2), torch.zeros(1, FRAMES)
        known[:, :5] = 1
        time, scale = torch.tensor([0.7]), torch.tensor([1.0])
        inpaint = library("StableAudio3InpaintPipeline")(**pipeline.components)
        shown = inpaint._build_local_add_cond(kept[..., 0], known[:, None], FRAMES)
        with torch.no_grad():
            theirs = pipeline.transformer(
                x[..., 0],
                time,
                told.conditioning.tensors["text"],
                told.conditioning.tensors["duration"],
                local_add_cond=shown,
            ).sample
        ours = model.denoise(x, time, told.conditioning, told.negative, scale, kept, known)
        assert off(ours[..., 0], theirs) < 1e-5
        plain = model.denoise(x, time, told.conditioning, told.negative, scale)
        assert off(ours, plain) > 1e-3
        nothing = model.denoise(x, time, told.conditioning, told.negative, scale, kept, known * 0)
        assert torch.equal(nothing, plain)

    def test_a_view_lies_in_the_middle_of_a_long_piece(self) -> None:
        assert middle_of(40.0, 0.0, 512.0) == Timing(70.0, 180.0)
        assert middle_of(200.0, 0.0, 512.0) == Timing(0.0, 200.0)
        assert middle_of(40.0, 0.0, 100.0) == Timing(30.0, 100.0)


class TestSolvers:
    @pytest.mark.parametrize("steps", [2, 14, 15, 40])
    @pytest.mark.parametrize(
        "options",
        [{}, {"sigma_schedule": "karras"}, {"solver_type": "heun"}, {"final_sigmas_type": "sigma_min"}],
        ids=lambda options: next(iter(options.values()), "plain"),
    )
    def test_cosine_levels_make_the_steps_of_the_deterministic_scheduler(
        self, steps: int, options: dict[str, str]
    ) -> None:
        scheduler = cosine(**options)
        scheduler.set_timesteps(steps)
        table = from_scheduler_config(deterministic({"_class_name": COSINE, **LEVELS, **options}), steps)
        assert table.timesteps == pytest.approx(scheduler.timesteps.tolist(), abs=1e-6)
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(64, generator=draw, dtype=torch.float64)
        theirs, h = x * scheduler.init_noise_sigma, None
        for index, time in enumerate(scheduler.timesteps):
            # Some network, of what is shown to it.
            shown = scheduler.scale_model_input(theirs, time)
            assert torch.allclose(shown, x, atol=1e-4)
            theirs = scheduler.step(torch.sin(3 * shown), time, theirs).prev_sample
            x, h = step(table.row(index), x, torch.sin(3 * x), h)
        final = 0.3 if "final_sigmas_type" in options else 0.0
        assert torch.allclose(theirs / math.sqrt(final**2 + 1), x, atol=1e-4)

    @pytest.mark.parametrize(
        "options, said",
        [({"sigma_data": 0.5}, "sigma_data"), ({"prediction_type": "epsilon"}, "prediction_type"),
         ({"sigma_schedule": "linear"}, "exponential or karras")],
    )  # fmt: skip
    def test_cosine_options_that_are_not_known_are_refused(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            from_scheduler_config(deterministic({"_class_name": COSINE, **LEVELS, **options}), 10)

    @pytest.mark.parametrize("name", SMALL)
    def test_times_fall_to_zero_from_pure_noise(self, models: Shelf, name: str) -> None:
        for steps in (1, 7):
            table: SolverTable = models(name).model.solver(steps)
            assert table.steps == steps and list(table.times) == sorted(table.times, reverse=True)
            assert table.timesteps[0] == pytest.approx(1.0, abs=2e-3) and table.times[-1] == 0

    @pytest.mark.parametrize("name", SMALL)
    @pytest.mark.parametrize("steps", [0, 1001])
    def test_no_such_number_of_steps(self, models: Shelf, name: str, steps: int) -> None:
        with pytest.raises(UsageError, match="1 to 1000"):
            models(name).model.solver(steps)

    def test_what_is_stochastic_in_the_pipeline_is_euler_here(self, models: Shelf) -> None:
        distilled, base = (models(name).model for name in ("stable-audio-3", "stable-audio-3-base"))
        assert distilled.solver(8) == base.solver(8)
        assert (distilled.facts.default_steps, distilled.facts.default_guidance) == (8, 1.0)

    def test_another_scheduler_is_refused(self) -> None:
        with pytest.raises(UsageError, match="DDIMScheduler cannot be told its noise levels.*use FlowMatchEuler"):
            from_scheduler_config({"_class_name": "DDIMScheduler"}, 1, lambda steps: [1.0])
        with pytest.raises(UsageError, match="use_dynamic_shifting is not supported"):
            from_scheduler_config({"_class_name": FLOW, "use_dynamic_shifting": True}, 1, lambda steps: [1.0])
        with pytest.raises(UsageError, match="stochastic"):
            from_scheduler_config({"_class_name": COSINE, **LEVELS}, 10)

    @pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"shift_terminal": 0.1}, {"use_karras_sigmas": True}])
    def test_named_levels_are_what_diffusers_makes_of_them(self, options: dict[str, Any]) -> None:
        named = [1.0, 0.8, 0.55, 0.2]
        scheduler = library(FLOW)(num_train_timesteps=1, **options)
        scheduler.set_timesteps(sigmas=named)
        table = from_scheduler_config(dict(scheduler.config) | {"_class_name": FLOW}, 4, lambda steps: named)
        assert np.allclose(table.timesteps, scheduler.timesteps, rtol=1e-6)
        assert np.allclose(table.B, np.diff(scheduler.sigmas), rtol=1e-5)
