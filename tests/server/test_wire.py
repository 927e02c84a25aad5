"""Text messages: the table covers every message, what fits is read, what does not is refused by name."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server import control
from safa_server.fields import RANGES, WireError
from safa_server.wire import ANSWERS, REQUESTS, parse, read, slots, to_json, write
from safa_stream.scene import WeightedPrompt
from safa_stream.session import messages as m
from safa_stream.session.strips import Strip


def refused(text: str | bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        read(parse(text))
    assert "\n" not in str(caught.value)
    return caught.value


def request(**fields: Any) -> Any:
    return read(parse(json.dumps(fields))).body


def test_every_command_and_event_is_on_the_wire() -> None:
    assert {kind.name for kind in m.COMMANDS} <= set(REQUESTS)
    assert {kind.name for kind in m.EVENTS} <= set(ANSWERS)
    assert len(REQUESTS) == len(m.COMMANDS) + len(control.CONTROLS)
    assert len(ANSWERS) == len(m.EVENTS) + len(control.REPLIES)


def test_prompts_are_a_line_or_a_list() -> None:
    wanted = m.Prompt(prompts=(WeightedPrompt("rain"), WeightedPrompt("birds", 0.4)), morph=2.0)
    assert request(type="prompt", prompts="rain, birds:0.4", morph=2) == wanted
    listed = [{"text": "rain"}, {"text": "birds", "weight": 0.4}]
    assert request(type="prompt", prompts=listed, morph=2.0) == wanted
    assert isinstance(request(type="prompt", prompts="rain", morph=2).morph, float)


def test_a_partial_update_leaves_the_rest_alone() -> None:
    assert request(type="mix", gain=-6) == m.Mix(gain=-6.0)
    assert request(type="mix", layer=2, mute=True, pan=None) == m.Mix(layer=2, mute=True)


def test_names_that_python_reserves_are_plain_on_the_wire() -> None:
    assert request(type="join", session="a", **{"from": 7}) == control.Join(session="a", from_=7)
    told = json.loads(write(control.Dropped(samples=3, from_=4, to=7)))
    assert told == {"type": "dropped", "samples": 3, "from": 4, "to": 7}


def test_the_id_is_kept() -> None:
    assert read(parse('{"type":"play","id":5}')).id == 5
    assert read(parse('{"type":"play"}')).id is None
    for wrong in (-1, 1.5, True, "1", [1]):
        assert refused(json.dumps({"type": "play", "id": wrong})).field == "id"


def test_a_place_in_the_clients_trace_goes_along() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for message in (m.Mix(layer=0), control.Ping(client_clock=1), control.Open(scene="rain")):
        assert str(read(parse(write(message, 3, trace))).trace) == trace
        assert read(parse(write(message, 3))).trace is None
    assert read({"type": "play", "traceparent": None}).trace is None
    for wrong in (7, "", trace[:-1], {}, True):
        with pytest.raises(WireError, match="traceparent") as error:
            read({"type": "play", "traceparent": wrong})
        assert (error.value.code, error.value.field) == ("bad_value", "traceparent")


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("", "bad_json", None),
        ("{", "bad_json", None),
        (b"\xff\xfe", "bad_json", None),
        ("[]", "bad_message", None),
        ('"play"', "bad_message", None),
        ("{}", "bad_message", "type"),
        ('{"type": 1}', "bad_message", "type"),
        ('{"type": "Play"}', "unknown_type", "type"),
        ('{"type": "play", "speed": 1}', "unknown_field", "speed"),
        ('{"type": "mix", "Gain": 1}', "unknown_field", "Gain"),
        ('{"type": "prompt"}', "missing_field", "prompts"),
        ('{"type": "mix", "gain": 1, "gain": 2}', "bad_json", "gain"),
        ('{"type": "mix", "gain": NaN}', "bad_json", None),
        ('{"type": "mix", "gain": -Infinity}', "bad_json", None),
        ('{"type": "mix", "gain": 1e999}', "bad_json", None),
        ('{"type": "mix", "gain": "1"}', "bad_value", "gain"),
        ('{"type": "mix", "gain": true}', "bad_value", "gain"),
        ('{"type": "mix", "gain": 100}', "bad_value", "gain"),
        ('{"type": "mix", "layer": 1.0}', "bad_value", "layer"),
        ('{"type": "mix", "layer": 8}', "bad_value", "layer"),
        ('{"type": "mix", "mute": 1}', "bad_value", "mute"),
        ('{"type": "mix", "ramp": null}', "bad_value", "ramp"),
        ('{"type": "mix", "at": ' + "9" * 400 + "}", "bad_json", None),
        ('{"type": "mix", "at": 9223372036854775808}', "bad_value", "at"),
        ('{"type": "prompt", "prompts": ""}', "bad_value", "prompts"),
        ('{"type": "prompt", "prompts": "a:b"}', "bad_value", "prompts"),
        ('{"type": "prompt", "prompts": ["rain"]}', "bad_value", "prompts[0]"),
        ('{"type": "prompt", "prompts": [{"text": "a", "weigth": 2}]}', "unknown_field", "prompts[0].weigth"),
        ('{"type": "prompt", "prompts": [{"weight": 2}]}', "bad_value", "prompts[0].text"),
        ('{"type": "prompt", "prompts": [{"text": "a", "weight": 0}]}', "bad_value", "prompts"),
        ('{"type": "prompt", "prompts": "' + "x" * 5000 + '"}', "bad_value", "prompts"),
        ('{"type": "open", "scene": 3}', "bad_value", "scene"),
        ('{"type": "open", "scene": "rain", "format": "mp3"}', "bad_value", "format"),
        ('{"type": "open", "scene": "rain", "rate": 1000}', "bad_value", "rate"),
        ('{"type": "open", "scene": "rain", "channels": 17}', "bad_value", "channels"),
        ('{"type": "scene.save", "scene": ""}', "bad_value", "scene"),
        ('{"type": "scene.save", "scene": "\\ud800"}', "bad_json", None),
        ('{"type": "scene.recall", "scene": {"a":' * 1 + "[" * 40 + "]" * 40 + "}}", "bad_json", None),
        ("[" * 100_000, "bad_json", None),
    ],
)
def test_what_is_wrong_is_named(text: str | bytes, code: str, field: str | None) -> None:
    error = refused(text)
    assert (error.code, error.field) == (code, field)
    assert len(str(error)) < 500


def test_ranges_are_those_of_the_session() -> None:
    """What the wire lets through the mixer takes, and what lies beyond it does not."""
    for name in ("gain", "pan", "low", "high", "duck"):
        limits = RANGES[name]
        for inside in (limits.least, limits.most):
            Strip(**{name: inside})
        for outside in (limits.least - 0.01, limits.most + 0.01):
            with pytest.raises(Exception, match=name):
                Strip(**{name: outside})


def test_ranges_belong_to_fields_that_exist() -> None:
    names = {f"{kind}.{slot.name}" for kind, type_ in REQUESTS.items() for slot in slots(type_)}
    for key in RANGES:
        assert key in names or any(name.endswith(f".{key}") for name in names), key


def test_numbers_that_json_cannot_hold_are_null() -> None:
    event = m.Reanchored(position=1, layer=0, measure="loudness", value=float("nan"), low=float("-inf"), high=1.0)
    told = json.loads(write(event), parse_constant=lambda name: pytest.fail(name))
    assert (told["value"], told["low"], told["high"]) == (None, None, 1.0)


def value_of(hint: Any, name: str, field: str) -> st.SearchStrategy[Any]:
    """Values that a field takes."""
    limits = RANGES.get(f"{name}.{field}", RANGES.get(field))
    low, high = (limits.least, limits.most) if limits else (-1000, 1000)
    text = st.text(st.characters(codec="utf-8", exclude_characters=",:"), min_size=1, max_size=20).filter(
        lambda words: words.strip() != ""
    )
    prompts = st.lists(st.builds(WeightedPrompt, text, st.floats(0.1, 9)), min_size=1, max_size=3).map(tuple)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(int(low), int(high)),
        "float": st.floats(low, high),
        "bool": st.booleans(),
        "str": text,
        "tuple[WeightedPrompt, ...]": prompts,
        "dict[str, Any]": st.dictionaries(text, st.integers(-(2**63), 2**63), max_size=2),
        "Pacing": st.sampled_from(["live", "pull"]),
        "Format": st.sampled_from(["f32", "s16", "s24", "opus"]),
        "None": st.none(),
    }
    return st.one_of(*(kinds[part.strip()] for part in hint.split("|")))


@settings(max_examples=150)
@given(st.data())
def test_every_message_survives_the_wire(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(REQUESTS)))
    type_ = REQUESTS[kind]
    message = type_(
        **{one.name: data.draw(value_of(str(one.type), kind, one.name.rstrip("_")), one.name) for one in fields(type_)}
    )
    number = data.draw(st.none() | st.integers(0, 2**63 - 1))
    found = read(parse(write(message, number)))
    assert (found.kind, found.id, found.body) == (kind, number, message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.sampled_from(sorted(REQUESTS)), st.dictionaries(st.text(max_size=6), json_values, max_size=3), st.data())
def test_whatever_comes_is_read_or_refused(kind: str, extra: dict[str, Any], data: st.DataObject) -> None:
    known = {slot.name: data.draw(json_values) for slot in slots(REQUESTS[kind]) if data.draw(st.booleans())}
    try:
        found = read(parse(json.dumps({**extra, **known, "type": kind})))
    except WireError as error:
        assert str(error) and "\n" not in str(error) and error.code in control.CODES
    else:
        json.dumps(to_json(found.body), allow_nan=False)


@settings(max_examples=150)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_noise_is_refused(noise: bytes | str) -> None:
    refused(noise)
