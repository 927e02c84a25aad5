"""Scenes: prompts with weights, checks that name what is wrong, a JSON form that loses nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream.errors import PromptError, SceneError, UsageError
from safa_stream.scene import PromptChange, Scene, WeightedPrompt, format_prompts, parse_prompts

RAIN = parse_prompts("rain on a tent, distant thunder:0.4")
words = st.text(st.characters(exclude_characters=",:", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
prompt_lists = st.lists(
    st.builds(WeightedPrompt, words, st.floats(1e-6, 1e6)),
    min_size=1,
    max_size=5,
    unique_by=lambda p: p.text.casefold(),
).map(tuple)
changes = st.lists(
    st.builds(PromptChange, st.floats(0, 1e6), prompt_lists, st.floats(0, 100)), max_size=3, unique_by=lambda c: c.at
).map(lambda found: tuple(sorted(found, key=lambda c: c.at)))
scenes = st.builds(
    Scene,
    prompts=prompt_lists,
    negative=st.just(()) | prompt_lists,
    seed=st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 1000),
    guidance=st.none() | st.floats(0, 100),
    overlap=st.none() | st.floats(0, 0.99),
    swap_interval=st.integers(1, 100),
    reference_ratio=st.floats(0, 1),
    method=st.sampled_from(["safa", "safa-self", "average", "triangular", "independent"]),
    changes=changes,
    model=words,
)


class TestPrompts:
    def test_weights_follow_a_colon_and_default_to_one(self) -> None:
        assert RAIN == (WeightedPrompt("rain on a tent", 1.0), WeightedPrompt("distant thunder", 0.4))

    def test_the_same_words_merge_and_their_weights_add(self) -> None:
        assert parse_prompts("rain,  Rain :2, wind") == (WeightedPrompt("rain", 3.0), WeightedPrompt("wind"))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "   ",
            ",",
            "rain,",
            "rain,,wind",
            ":0.5",
            "rain:nan",
            "rain:-1",
            "rain:0",
            "rain:inf",
            "rain:loud",
            "rain:",
        ],
    )
    def test_what_makes_no_prompt_is_refused(self, text: str) -> None:
        with pytest.raises(PromptError):
            parse_prompts(text)

    def test_the_message_names_the_prompt_and_the_weight(self) -> None:
        with pytest.raises(PromptError, match=r"'wind'.*above 0.*nan"):
            parse_prompts("rain, wind:nan")

    @given(prompt_lists)
    def test_formatting_reads_back(self, prompts: tuple[WeightedPrompt, ...]) -> None:
        assert parse_prompts(format_prompts(prompts)) == prompts


class TestScene:
    @given(scenes)
    def test_json_reads_back(self, scene: Scene) -> None:
        assert Scene.from_json(scene.to_json()) == scene
        assert Scene.from_json(scene.to_json(None)) == scene

    def test_a_prompt_line_is_enough(self) -> None:
        text = '{"format": "safa-scene-1", "prompts": "rain on a tent, distant thunder:0.4", "seed": 3}'
        assert (
            Scene.from_json(text)
            == Scene(RAIN, seed=3)
            == Scene.from_prompt("rain on a tent, distant thunder:0.4", seed=3)
        )

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("seed", -1), ("seed", 2**63), ("seed", 1.5), ("seed", True), ("steps", 0), ("steps", "8"),
            ("steps", 100000), ("guidance", -1), ("guidance", "much"), ("overlap", 1), ("overlap", -0.1),
            ("overlap", True), ("swap_interval", 0), ("reference_ratio", 1.5), ("reference_ratio", None),
            ("method", "magic"), ("method", ["safa"]), ("mode", "live"), ("loop", 1), ("model", ""), ("model", 3),
            ("changes", {}), ("prompts", 5), ("negative", 5), ("loop", True), ("method", "mad"), ("attend_ratio", 1.1),
            ("sync_weight", -1), ("sync_steps", 1.5),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named(self, field: str, value: Any) -> None:
        data = json.loads(Scene(RAIN).to_json()) | {field: value}
        with pytest.raises(UsageError, match=field):
            Scene.from_json(json.dumps(data))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("field", ["guidance", "overlap", "reference_ratio"])
    def test_numbers_are_finite(self, field: str, value: float) -> None:
        settings: dict[str, Any] = {field: value}
        with pytest.raises(SceneError, match=field):
            Scene(RAIN, **settings)

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("", "JSON"),
            ("[]", "object"),
            ("{", "JSON"),
            ("[" * 100_000, "JSON"),
            ('{"format": "safa-scene-1"}', "prompts"),
            ('{"prompts": "rain"}', "format"),
            ('{"format": "safa-scene-9", "prompts": "rain"}', "format"),
            ('{"format": "safa-scene-1", "prompts": "rain", "promts": 1}', "promts"),
            ('{"format": "safa-scene-1", "prompts": "rain", "seed": 1, "seed": 2}', "seed"),
            ('{"format": "safa-scene-1", "prompts": "rain", "guidance": NaN}', "NaN"),
            ('{"format": "safa-scene-1", "prompts": []}', "prompts"),
            ('{"format": "safa-scene-1", "prompts": [{"txt": "rain"}]}', "txt"),
            ('{"format": "safa-scene-1", "prompts": [{"text": "rain", "weight": "1"}]}', "weight"),
            ('{"format": "safa-scene-1", "prompts": "rain", "changes": [{"at": 1}]}', "prompts"),
            ('{"format": "safa-scene-1", "prompts": "rain", "changes": [{"at": -1, "prompts": "a"}]}', "at"),
            (
                '{"format": "safa-scene-1", "prompts": "rain", "changes": [{"at": 1, "prompts": "a", "morf": 1}]}',
                "morf",
            ),
        ],
    )
    def test_a_broken_file_gets_one_clear_line(self, text: str, named: str) -> None:
        with pytest.raises(UsageError, match=named) as caught:
            Scene.from_json(text)
        assert "\n" not in str(caught.value)

    def test_a_loop_is_joint_and_changes_are_a_stream(self) -> None:
        with pytest.raises(SceneError, match="loop"):
            Scene(RAIN, loop=True)
        with pytest.raises(SceneError, match="changes"):
            Scene(RAIN, mode="joint", changes=(PromptChange(1.0, RAIN),))

    def test_changes_come_in_order(self) -> None:
        with pytest.raises(SceneError, match="changes"):
            Scene(RAIN, changes=(PromptChange(2.0, RAIN), PromptChange(1.0, RAIN)))
