"""Checkpoints in diffusers layout: their graphs, exported, equal the modules, and so do whole trajectories."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from safa_exporters.graph import Sampling
from safa_exporters.sources.architectures import TINY
from safa_exporters.sources.audioldm import unit_rows
from safa_exporters.sources.checkpoint import open_checkpoint
from safa_exporters.sources.sampling import normal, table
from safa_exporters.sources.stable_audio import RotaryDenoiser
from safa_exporters.sources.stable_audio3 import TimeFeatures
from safa_stream.errors import UsageError
from safa_stream.models.pretrained.checkpoint import Component
from tests.exporters.tiny_checkpoints import Traced, inputs_like, relative_error, tiny, torch_part, traced

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers

pipelines: Any = diffusers
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

#: MusicLDM's graphs are AudioLDM's.
SOURCES = ("audioldm", "audioldm2", "stable-audio", "stable-audio-3")
SHORT = Sampling(steps=3, guidance=3.5, seed=7, frames=24, rows=2)


@pytest.fixture(scope="module", params=SOURCES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """Every source, traced once."""
    return traced(tiny(tmp_path_factory.mktemp("checkpoint"), request.param))


@pytest.mark.parametrize("batch, time, tokens", [(1, 16, 5), (3, 72, 20), (5, 40, 12)])
def test_graphs_equal_their_modules_at_other_sizes(model: Traced, batch: int, time: int, tokens: int) -> None:
    for graph in model.source.graphs():
        inputs = inputs_like(graph, {"batch": batch, "time": time, "tokens": tokens})
        expected = model.torch[graph.name](inputs)
        assert len(expected) == batch and np.isfinite(expected).all() and expected.std() > 1e-3
        assert relative_error(model.onnx[graph.name](inputs), expected) <= 1e-5, graph.name


def test_every_input_is_heard(model: Traced) -> None:
    for graph in model.source.graphs():
        inputs = inputs_like(graph, {})
        plain = model.onnx[graph.name](inputs)
        for name, value in inputs.items():
            other = inputs | {name: 1 - value if value.dtype == np.int64 else value + 0.5}
            assert relative_error(model.onnx[graph.name](other), plain) > 1e-4, (graph.name, name)


def test_rows_of_a_batch_do_not_hear_each_other(model: Traced) -> None:
    for graph in model.source.graphs():
        inputs = inputs_like(graph, {"batch": 3})
        last = model.onnx[graph.name]({name: value[2:] for name, value in inputs.items()})
        assert relative_error(model.onnx[graph.name](inputs)[2:], last) <= 1e-5, graph.name


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_trajectories_are_deterministic_and_the_same_exported(model: Traced, guidance: float) -> None:
    sampling = replace(SHORT, guidance=guidance)
    sound = model.source.sample(model.torch, sampling)
    assert sound.dtype == np.float32 and sound.ndim == 3 and len(sound) == 2 and np.isfinite(sound).all()
    assert np.array_equal(sound, model.source.sample(model.torch, sampling))
    assert relative_error(model.source.sample(model.onnx, sampling), sound) <= 1e-4


def test_trajectories_hear_seed_guidance_and_steps(model: Traced) -> None:
    sound = model.source.sample(model.onnx, SHORT)
    for other in (replace(SHORT, seed=8), replace(SHORT, guidance=1.0), replace(SHORT, steps=4)):
        assert relative_error(model.source.sample(model.onnx, other), sound) > 1e-4


def test_lengths_that_the_network_cannot_do_are_refused(model: Traced) -> None:
    with pytest.raises(UsageError, match="frames"):
        model.source.sample(model.torch, replace(SHORT, frames=1))


def test_no_weights_are_read_for_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Component, "load", lambda self: pytest.fail("loaded"))
    for name in TINY:
        assert tiny(tmp_path / name, name).graphs()[0].name == "denoiser"


def test_a_source_tells_what_it_is_made_of(tmp_path: Path) -> None:
    folder = tmp_path / "rainy"
    about = tiny(folder, "musicldm").about
    assert (about.kind, about.name, about.licence, about.sample_rate) == ("musicldm", "rainy", "unknown", 16000)
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: 'a-licence'\n---\n# Rain\n")
    again = open_checkpoint(folder).about
    assert (again.licence, again.digest) == ("a-licence", about.digest)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.0195", "0.02"))
    assert open_checkpoint(folder).about.digest != about.digest


@pytest.mark.parametrize("form", ["shards", "half precision", "old names"])
def test_other_forms_of_the_same_weights(tmp_path: Path, form: str) -> None:
    plain = tiny(tmp_path / "plain", "audioldm").graphs()[1]
    shutil.copytree(tmp_path / "plain", tmp_path / "other")
    folder = tmp_path / "other" / "vae"
    vae = pipelines.AutoencoderKL.from_pretrained(folder, low_cpu_mem_usage=False)
    whole, tolerance = folder / "diffusion_pytorch_model.safetensors", 0.0
    whole.unlink()
    if form == "shards":
        vae.save_pretrained(folder, max_shard_size="10KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    elif form == "half precision":
        vae.half().save_pretrained(folder, variant="fp16")
        tolerance = 1e-2
    else:
        from safetensors.torch import save_file

        renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        state = vae.state_dict()
        for new, old in renamed.items():
            state = {name.replace(f"attentions.0.{new}", f"attentions.0.{old}"): v for name, v in state.items()}
        save_file(state, whole)
    other = open_checkpoint(tmp_path / "other").graphs()[1]
    inputs = inputs_like(plain, {})
    assert relative_error(torch_part(other)(inputs), torch_part(plain)(inputs)) <= tolerance


class Told(torch.nn.Module):
    """Stands where a pipeline wants a text encoder or a duration embedder."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Any) -> torch.Tensor:
        """The answer that is set."""
        return self.answer


def test_audioldm_samples_as_its_pipeline_in_diffusers(tmp_path: Path) -> None:
    source: Any = tiny(tmp_path, "audioldm")
    parts = {graph.name: torch_part(graph) for graph in source.graphs()}
    modules = {name: component.load() for name, component in source.checkpoint.components.items()}
    scheduler = pipelines.DDIMScheduler.from_pretrained(tmp_path / "scheduler")
    pipeline = pipelines.AudioLDMPipeline(
        text_encoder=Told(torch.zeros(1)), tokenizer=None, scheduler=scheduler, **modules
    )
    pipeline.set_progress_bar_config(disable=True)
    draw = np.random.default_rng((SHORT.seed, 1))
    told, without = (torch.from_numpy(unit_rows(draw, 2, 12)) for _ in range(2))
    sound = pipeline(
        audio_length_in_s=24 * 2 * 20 / 16000,
        num_inference_steps=SHORT.steps,
        guidance_scale=SHORT.guidance,
        prompt_embeds=told,
        negative_prompt_embeds=without,
        latents=torch.from_numpy(normal(np.random.default_rng(SHORT.seed), 2, 4, 24, 4)),
    ).audios
    ours = source.sample(parts, SHORT)[:, 0, : sound.shape[1]]
    assert relative_error(ours, sound) <= 1e-6


def test_stable_audio_3_samples_as_its_pipeline_in_diffusers(tmp_path: Path) -> None:
    source: Any = tiny(tmp_path, "stable-audio-3")
    parts = {graph.name: torch_part(graph) for graph in source.graphs()}
    modules = {name: component.load() for name, component in source.checkpoint.components.items()}
    draw = np.random.default_rng((SHORT.seed, 1))
    duration = source.duration(draw, 2)
    told, without = (source.conditioning(draw, duration) for _ in range(2))
    texts = {
        f"{prefix}{name}": torch.from_numpy(values[given][:, :-1])
        for prefix, values in (("", told), ("negative_", without))
        for name, given in (
            ("prompt_embeds", "encoder_hidden_states"),
            ("encoder_attention_mask", "encoder_attention_mask"),
        )
    }
    pipeline = pipelines.StableAudio3Pipeline(
        text_encoder=None,
        tokenizer=None,
        duration_embedder=Told(torch.from_numpy(duration)),
        scheduler=pipelines.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1),
        **modules,
    )
    pipeline.set_progress_bar_config(disable=True)
    sound = pipeline(
        duration=24 * 32 / 44100,
        num_inference_steps=SHORT.steps,
        guidance_scale=SHORT.guidance,
        latents=torch.from_numpy(normal(np.random.default_rng(SHORT.seed), 2, 6, 24)),
        output_type="np",
        **texts,
    ).audios
    assert relative_error(source.sample(parts, SHORT), sound) <= 1e-6


def test_what_graphs_compute_by_themselves_is_what_diffusers_does() -> None:
    from diffusers.models.embeddings import get_1d_rotary_pos_embed
    from diffusers.models.transformers.transformer_stable_audio3 import StableAudio3ExpoFourierFeatures

    transformer: Any = torch.nn.Module()
    transformer.config = SimpleNamespace(attention_head_dim=64)
    positions: Any = torch.arange(1025)
    expected = get_1d_rotary_pos_embed(32, positions, use_real=True, repeat_interleave_real=False)
    assert all(map(torch.equal, RotaryDenoiser(transformer).rotary(1025), expected))
    features, times = StableAudio3ExpoFourierFeatures(256), torch.linspace(0, 1, 99)[:, None]
    assert torch.equal(TimeFeatures(features)(times), features(times))


def test_stochastic_solvers_are_replaced() -> None:
    cosine, levels = table(TINY["stable-audio"].scheduler, 5), np.geomspace(500, 0.3, 5)
    assert np.allclose(cosine.timesteps, np.arctan(levels) * 2 / np.pi)
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    assert table(flow | {"stochastic_sampling": True}, 3) == table(flow, 3)
    noise = {"beta_end": 0.03}
    ancestral = table({"_class_name": "EulerAncestralDiscreteScheduler"} | noise, 3)
    assert ancestral == table({"_class_name": "DDIMScheduler", "clip_sample": False} | noise, 3)
    multistep = {"_class_name": "DPMSolverMultistepScheduler"}
    assert table(multistep | {"algorithm_type": "sde-dpmsolver++"}, 3) == table(multistep, 3)
