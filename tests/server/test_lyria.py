"""The Lyria RealTime endpoint: its messages, held to the types of Google's own client."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server import lyria, lyria_session
from safa_server.lyria import ClientContent, ConfigUpdate, LyriaPrompt, MusicConfig, Playback, Setup
from safa_stream.errors import PromptError, SafaError, UsageError
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Configure, Mix, Reseed

RAIN = LyriaPrompt("rain on a tent", 1.0)


def content(*prompts: dict[str, Any]) -> str:
    return json.dumps({"clientContent": {"weightedPrompts": list(prompts)}})


def test_each_message_in_both_spellings() -> None:
    assert lyria.read_message('{"setup": {"model": "models/lyria-realtime-exp"}}') == Setup("models/lyria-realtime-exp")
    camel = '{"clientContent": {"weightedPrompts": [{"text": "rain", "weight": 2}]}}'
    snake = b'{"client_content": {"weighted_prompts": [{"text": "rain", "weight": 2.0}]}}'
    assert lyria.read_message(camel) == lyria.read_message(snake) == ClientContent((LyriaPrompt("rain", 2.0),))
    camel = '{"musicGenerationConfig": {"topK": 40, "onlyBassAndDrums": true}}'
    snake = b'{"music_generation_config": {"top_k": 40.0, "only_bass_and_drums": true}}'
    wanted = ConfigUpdate({"top_k": 40, "only_bass_and_drums": True})
    assert lyria.read_message(camel) == lyria.read_message(snake) == wanted
    assert lyria.read_message('{"playbackControl": "RESET_CONTEXT"}') is Playback.RESET_CONTEXT
    assert lyria.read_message('{"playback_control": "play"}') is Playback.PLAY


def test_names_are_those_of_googles_client() -> None:
    """A field, scale or mode that Google adds shows up here."""
    assert set(MusicConfig.__dataclass_fields__) == set(types.LiveMusicGenerationConfig.model_fields)
    assert {*lyria.SCALES, lyria.UNSET[0]} == {scale.value for scale in types.Scale}
    assert {*lyria.MODES, lyria.UNSET[1]} == {mode.value for mode in types.MusicGenerationMode}
    known = {control.value for control in types.LiveMusicPlaybackControl}
    assert known == {*Playback, "PLAYBACK_CONTROL_UNSPECIFIED"}


def test_what_googles_client_serialises_is_read_back() -> None:
    sent = types.LiveMusicGenerationConfig(
        temperature=1.1,
        top_k=40,
        seed=-957124937,
        guidance=4.0,
        bpm=140,
        density=0.5,
        brightness=0.25,
        scale=types.Scale.A_FLAT_MAJOR_F_MINOR,
        mute_bass=True,
        mute_drums=False,
        only_bass_and_drums=False,
        music_generation_mode=types.MusicGenerationMode.VOCALIZATION,
    )
    idle = "temperature topK bpm density scale muteBass muteDrums onlyBassAndDrums musicGenerationMode"
    for by_alias in (True, False):
        told = sent.model_dump(mode="json", by_alias=by_alias, exclude_none=True)
        update = lyria.read_message(json.dumps({"musicGenerationConfig": told}))
        assert isinstance(update, ConfigUpdate)
        assert update.applied_to(MusicConfig()) == MusicConfig(**sent.model_dump(mode="json"))
        assert sorted(update.without_meaning()) == sorted(idle.split())


def test_googles_client_reads_what_the_server_writes() -> None:
    def read(text: str) -> types.LiveMusicServerMessage:
        return types.LiveMusicServerMessage._from_response(response=json.loads(text), kwargs={})

    assert read(lyria.setup_complete()).setup_complete is not None
    config = MusicConfig(seed=-3, guidance=4.0, scale="C_MAJOR_A_MINOR", mute_bass=False)
    message = read(
        lyria.audio_chunk(b"\x01\x00\xff\x7f", [RAIN, LyriaPrompt('a "b", \u96e8', 0.5)], config, "a warning")
    )
    assert message.server_content is not None and message.server_content.audio_chunks is not None
    (chunk,) = message.server_content.audio_chunks
    assert (chunk.data, chunk.mime_type) == (b"\x01\x00\xff\x7f", "audio/l16;rate=48000;channels=2")
    assert chunk.source_metadata is not None and chunk.source_metadata.client_content is not None
    assert chunk.source_metadata.client_content.weighted_prompts == [
        types.WeightedPrompt(text="rain on a tent", weight=1.0),
        types.WeightedPrompt(text='a "b", \u96e8', weight=0.5),
    ]
    assert chunk.source_metadata.music_generation_config == types.LiveMusicGenerationConfig(
        seed=-3, guidance=4.0, scale=types.Scale.C_MAJOR_A_MINOR, mute_bass=False
    )
    filtered = read(lyria.filtered_prompt("zxqv", "no word of it is known")).filtered_prompt
    assert filtered == types.LiveMusicFilteredPrompt(text="zxqv", filtered_reason="no word of it is known")


def test_a_warning_stands_beside_the_sound() -> None:
    message = json.loads(lyria.audio_chunk(b"", [RAIN], MusicConfig(), "bpm has no meaning here"))
    assert message["warning"] == "bpm has no meaning here"
    assert "warning" not in json.loads(lyria.audio_chunk(b"", [RAIN], MusicConfig()))
    assert base64.b64decode(message["serverContent"]["audioChunks"][0]["data"]) == b""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        (b"\xff\xfe{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"setup": {"model": NaN}}', "NaN"),
        ("[]", "must be a JSON object"),
        ("{}", "exactly one of"),
        ('{"setup": {"model": "m"}, "playbackControl": "PLAY"}', "exactly one of"),
        ('{"realtimeInput": {}}', "unknown field 'realtimeInput'"),
        ('{"setup": {"model": ""}}', "setup.model"),
        ('{"setup": {"modell": "m"}}', "unknown field 'modell' in setup"),
        ('{"clientContent": {}}', "weightedPrompts must be a list"),
        ('{"clientContent": {"weightedPrompts": [7]}}', "weightedPrompts[0] must be an object"),
        (content(), "1 to 32"),
        (content(*[{"text": "rain", "weight": 1}] * 33), "1 to 32"),
        (content({"weight": 1}), "weightedPrompts[0].text"),
        (content({"text": " ", "weight": 1}), "weightedPrompts[0].text"),
        (content({"text": "\ud800", "weight": 1}), "weightedPrompts[0].text"),
        (content({"text": "r" * 501, "weight": 1}), "weightedPrompts[0].text"),
        (content({"text": "rain", "weight": 1}, {"text": "wind", "weight": -1}), "weightedPrompts[1].weight"),
        (content({"text": "rain", "weight": True}), "weightedPrompts[0].weight"),
        (content({"text": "rain", "weight": 10**400}), "weightedPrompts[0].weight"),
        (content({"text": "rain", "weight": 0}), "must not be all 0"),
        (content({"text": "rain"}), "must not be all 0"),
        ('{"musicGenerationConfig": {"bpm": 300}}', "bpm must be a whole number from 60 to 200"),
        ('{"musicGenerationConfig": {"bpm": 90.5}}', "bpm must be a whole number from 60 to 200"),
        ('{"musicGenerationConfig": {"guidance": "4"}}', "guidance must be a number from 0 to 6"),
        ('{"musicGenerationConfig": {"muteBass": 1}}', "muteBass must be true or false"),
        ('{"musicGenerationConfig": {"scale": "H_MAJOR"}}', "scale must be one of C_MAJOR_A_MINOR"),
        ('{"musicGenerationConfig": {"tempo": 90}}', "unknown field 'tempo'"),
        ('{"musicGenerationConfig": {"topK": 1, "top_k": 1}}', "stands twice"),
        ('{"playbackControl": "REWIND"}', "playbackControl must be one of PLAY, PAUSE, STOP, RESET_CONTEXT"),
        ('{"playbackControl": ["PLAY"]}', "playbackControl must be one of"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        lyria.read_message(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "weight", "model"]), inner),
    max_leaves=4,
)
names = st.sampled_from("setup clientContent musicGenerationConfig playbackControl bpm weightedPrompts seed".split())


@settings(max_examples=100)
@given(
    st.binary() | st.text() | st.dictionaries(names, st.dictionaries(names, json_values) | json_values).map(json.dumps)
)
def test_no_message_raises_anything_else(message: str | bytes) -> None:
    try:
        lyria.read_message(message)
    except SafaError as error:
        assert "\n" not in str(error)


def test_weights_of_zero_leave_a_prompt_out() -> None:
    read = lyria.read_message(content({"text": "rain", "weight": 0}, {"text": "wind", "weight": 0.5}))
    assert read == ClientContent((LyriaPrompt("wind", 0.5),))


def test_fields_of_the_clients_own_in_a_prompt_are_named_once() -> None:
    """Prompt DJ sends its whole prompt objects."""
    prompt = {"promptId": "prompt-0", "text": "rain", "weight": 1, "cc": 0, "color": "#9900ff"}
    read = lyria.read_message(content(prompt, prompt))
    assert isinstance(read, ClientContent)
    assert read.strange == ("promptId", "cc", "color")


def test_a_partial_configuration_leaves_the_rest() -> None:
    set_before = MusicConfig(seed=7, guidance=2.0, brightness=0.5, bpm=90)

    def after(text: str) -> MusicConfig:
        update = lyria.read_message(text)
        assert isinstance(update, ConfigUpdate)
        return update.applied_to(set_before)

    assert after('{"musicGenerationConfig": {"brightness": 1}}') == MusicConfig(
        seed=7, guidance=2.0, brightness=1.0, bpm=90
    )
    assert after('{"musicGenerationConfig": {"guidance": null}}').guidance is None
    assert after('{"musicGenerationConfig": {"guidance": null}}').seed == 7
    assert after('{"musicGenerationConfig": {"scale": "SCALE_UNSPECIFIED"}}') == set_before
    assert after('{"musicGenerationConfig": {}}') == MusicConfig()


def test_what_a_configuration_means_to_a_session() -> None:
    before = MusicConfig()
    commands = lyria_session.commands
    assert commands(before, MusicConfig(guidance=4.0), 3.5) == [Configure(guidance=3.5)]
    assert commands(before, MusicConfig(guidance=0.0), 3.5) == [Configure(guidance=1.0)]
    assert commands(before, MusicConfig(guidance=6.0), 3.5) == [Configure(guidance=4.75)]
    assert commands(MusicConfig(guidance=6.0), before, 3.5) == [Configure(guidance=3.5)]
    assert commands(before, MusicConfig(brightness=1.0), 3.5) == [Mix(layer=0, high=12.0)]
    assert commands(before, MusicConfig(brightness=0.25), 3.5) == [Mix(layer=0, high=-6.0)]
    assert commands(before, MusicConfig(seed=-1), 3.5) == [Reseed(layer=0, seed=2**63 - 1)]
    assert commands(MusicConfig(seed=5), before, 3.5) == []
    assert commands(before, MusicConfig(bpm=90, scale="C_MAJOR_A_MINOR", mute_bass=True), 3.5) == []


def test_the_scene_that_plays_it() -> None:
    prompts = (LyriaPrompt("Rain on a tent, distant  thunder: low", 0.5), LyriaPrompt("wind", 2.0))
    scene = LiveScene.from_value(lyria_session.scene(prompts, MusicConfig(guidance=2.0, brightness=0.0), -2, 3.0))
    (layer,) = scene.layers
    assert [(prompt.text, prompt.weight) for prompt in layer.prompts] == [
        ("Rain on a tent; distant thunder low", 0.5),
        ("wind", 2.0),
    ]
    assert (scene.guidance, layer.seed, layer.strip.high) == (2.0, 2**63 - 2, -12.0)
    with pytest.raises(PromptError):
        lyria_session.session_prompt(LyriaPrompt(" : ", 1.0))


def test_seeds_go_there_and_back() -> None:
    seed, seen = -(2**31), set()
    for _ in range(100):
        assert lyria_session.client_seed(lyria_session.session_seed(seed)) == seed
        assert -(2**31) <= seed < 2**31 and seed not in seen
        seen.add(seed)
        seed = lyria_session.next_seed(seed)


def test_the_source_of_a_chunk() -> None:
    def turn(prompts: str, weight: float, seed: int = 7) -> dict[str, Any]:
        return {"prompts": prompts, "weight": weight, "seed": seed}

    def source(*turns: dict[str, Any]) -> tuple[list[tuple[str, float]], int]:
        found, seed = lyria_session.source_of({"layers": [{"prompts": list(turns)}]}, {"rain; low": "Rain, low"})
        return [(prompt.text, prompt.weight) for prompt in found], seed

    assert source(turn("rain; low, wind:3.0", 1.0)) == ([("Rain, low", 1.0), ("wind", 3.0)], 7)
    both = source(turn("rain; low, wind:3.0", 0.25), turn("wind:2.0", 0.75, 2**63 - 1))
    assert both == ([("Rain, low", 0.0625), ("wind", 0.9375)], -1)


@pytest.mark.parametrize("version", ["v1alpha", "v1beta"])
def test_the_address(version: str) -> None:
    path = f"/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateMusic"
    assert lyria.is_lyria(path) and lyria.is_lyria("/" + path) and lyria.is_lyria(path + "?key=a%2Fb")
    assert (
        not lyria.is_lyria(path + "s") and not lyria.is_lyria("/ws") and not lyria.is_lyria(path.replace(version, "v2"))
    )
    assert lyria.key_of(path, "secret") == "secret"
    assert lyria.key_of("/" + path + "?key=a%2Fb", None) == "a/b"
    assert lyria.key_of(path, None) == ""
