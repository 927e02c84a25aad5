"""The OSC address space: all of the vocabulary can be said, and what is wrong is said back."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc import slip

from safa_server.bucket import Bucket
from safa_server.osc_clock import SampleClock
from safa_server.osc_documents import table_as_html, table_as_list, table_as_markdown
from safa_server.osc_map import ROOT, SPELLINGS, address_table
from safa_server.osc_packet import Framing, PacketError, read_packet, write_message
from safa_server.osc_peers import Gate, Rates, plain_address, same_host
from safa_server.osc_read import Present, Request, Service, at_time, read_request
from safa_stream.errors import SafaError, UsageError
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from tests.server.osc_rig import packet

RAIN = parse_prompts("rain, birds:0.4")
PRESENT = Present(480_000, 48_000, lambda: (0, 1, 3), lambda layer: RAIN)


def read(address: str, *arguments: Any) -> Request:
    return read_request(address, arguments, lambda session: PRESENT)


def command(address: str, *arguments: Any) -> m.Command:
    what = read(address, *arguments).what
    assert not isinstance(what, Service) and len(what) == 1
    return what[0]


def reason(address: str, *arguments: Any) -> str:
    with pytest.raises(SafaError) as caught:
        read(address, *arguments)
    return str(caught.value)


def test_every_field_of_every_command_can_be_said() -> None:
    reached: dict[type[m.Command], set[str]] = {kind: {"at", "quantise"} for kind in m.COMMANDS}
    for spelling in SPELLINGS:
        reached[spelling.command] |= {*spelling.fields, *dict(spelling.fixed)}
        if any("/N/" in address for address in spelling.addresses):
            reached[spelling.command].add("layer")
    for kind in m.COMMANDS:
        assert reached[kind] == {field.name for field in dataclasses.fields(kind)}, kind


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (("prompt", "rain, birds:0.4"), m.Prompt(prompts=RAIN)),
        (("prompt", "rain, birds:0.4", 8), m.Prompt(prompts=RAIN, morph=8.0)),
        (("layer/1/prompt", "rain, birds:0.4", None, True), m.Prompt(prompts=RAIN, layer=1, now=True)),
        (
            ("prompt", "rain, birds:0.4", 1.0, 0, "wind"),
            m.Prompt(prompts=RAIN, morph=1, negative=parse_prompts("wind")),
        ),
        (("prompt", "rain, birds:0.4", 1.0, 0, ""), m.Prompt(prompts=RAIN, morph=1, negative=())),
        (("now",), m.Prompt(prompts=RAIN, now=True)),
        (("layer/2/now", "hum", 0), m.Prompt(prompts=parse_prompts("hum"), layer=2, morph=0, now=True)),
        (
            ("layer/add", "hum", -6, 0.5, 1, 7.0, ""),
            m.AddLayer(prompts=parse_prompts("hum"), gain=-6, pan=0.5, ramp=1, seed=7),
        ),
        (("layer/5/add", "hum"), m.AddLayer(prompts=parse_prompts("hum"), layer=5)),
        (("layer/1/remove", 0.5), m.RemoveLayer(layer=1, ramp=0.5)),
        (("layer/1/gain", -6), m.Mix(layer=1, gain=-6.0)),
        (("layer/1/gain", -6.0, 2), m.Mix(layer=1, gain=-6.0, ramp=2)),
        (("layer/1/pan", 1), m.Mix(layer=1, pan=1)),
        (("layer/1/mute", True), m.Mix(layer=1, mute=True)),
        (("layer/1/mute", 1.0), m.Mix(layer=1, mute=True)),
        (("layer/1/solo", 0), m.Mix(layer=1, solo=False)),
        (("layer/1/low", 3), m.Mix(layer=1, low=3)),
        (("layer/1/high", -3), m.Mix(layer=1, high=-3)),
        (("layer/1/duck", 12, 0.0), m.Mix(layer=1, duck=12, duck_by=0)),
        (("master/gain", -3, 1), m.Mix(gain=-3, ramp=1)),
        (("master/mute", False), m.Mix(mute=False)),
        (("steps", 8.0), m.Configure(steps=8)),
        (("guidance", 3), m.Configure(guidance=3.0)),
        (("reference_ratio", 0.5), m.Configure(reference_ratio=0.5)),
        (("seed", 2**40, 1), m.Reseed(seed=2**40, now=True)),
        (("layer/3/seed", 4), m.Reseed(layer=3, seed=4)),
        (("reanchor",), m.Reanchor()),
        (("freeze",), m.Freeze()),
        (("freeze", False), m.Freeze(on=False)),
        (("rewind", 2.5), m.Rewind(to=360_000)),
        (("rewind", 60), m.Rewind(to=0)),
        (("rewind/to", 100_000), m.Rewind(to=100_000)),
        (("rewind/to", 2, 480), m.Rewind(to=96_480)),
        (("loop/capture", 8), m.CaptureLoop(seconds=8.0)),
        (("scene/save", "dusk"), m.SaveScene(scene="dusk")),
        (("scene/recall", "dusk", 2), m.RecallScene(scene="dusk", morph=2.0)),
        (("scene/recall", '{"layers": []}'), m.RecallScene(scene={"layers": []})),
        (("at", 2, 480, "/safa/freeze"), m.Freeze(at=96_480)),
        (("at", 96_480, "/safa/layer/1/gain", -6), m.Mix(layer=1, gain=-6, at=96_480)),
        (("tempo", 98), m.Tempo(bpm=98.0)),
        (("tempo", 98.5, 4, 3), m.Tempo(bpm=98.5, beat=4.0, beats_per_bar=3.0)),
        (("tempo", 98, None, 3), m.Tempo(bpm=98.0, beats_per_bar=3.0)),
        (("hops", "bar"), m.Configure(hops="bar")),
        (("layer/1/hops", "free"), m.Configure(layer=1, hops="free")),
        (("quantise", "bar", "/safa/freeze"), m.Freeze(quantise="bar")),
        (("quantise", "4 bars", "/safa/layer/1/gain", -6), m.Mix(layer=1, gain=-6, quantise="4 bars")),
    ],
)
def test_what_is_said_is_what_is_meant(said: tuple[Any, ...], meant: m.Command) -> None:
    assert command(f"{ROOT}/{said[0]}", *said[1:]) == meant
    request = read(f"{ROOT}/session/x-1_Z/{said[0]}", *said[1:])
    assert (request.session, request.what) == ("x-1_Z", (meant,))


def test_types_are_those_of_the_fields() -> None:
    for spelling in SPELLINGS:
        for parameter in spelling.parameters:
            assert parameter.tag in "sifT"
    turned = command("/safa/layer/1/gain", -6)
    assert turned == m.Mix(layer=1, gain=-6)
    assert isinstance(turned, m.Mix) and isinstance(turned.gain, float)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (("/else",), "no such address"),
        (("/safa",), "no such address"),
        (("/safa/layer/9/gain", 0.0), "0 to 7"),
        (("/safa/layer/x/gain", 0.0), "no such address"),
        (("/safa/layer/1",), "no such address"),
        (("/safa/session/x",), "/safa/session/ID/"),
        (("/safa/prompt",), "argument 1 (prompts) is missing"),
        (("/safa/prompt", 3), "argument 1 (prompts)"),
        (("/safa/prompt", ""), "argument 1 (prompts)"),
        (("/safa/prompt", "rain:x"), "argument 1 (prompts)"),
        (("/safa/prompt", b"rain"), "argument 1 (prompts) cannot be a blob of 4 bytes"),
        (("/safa/prompt", "rain", "soon"), "argument 2 (morph)"),
        (("/safa/prompt", "rain", 4.0, 2), "argument 3 (now)"),
        (("/safa/prompt", "rain", 4.0, 1, "", 5), "at most 4"),
        (("/safa/layer/1/gain", float("nan")), "argument 1 (gain)"),
        (("/safa/layer/1/gain", float("inf")), "argument 1 (gain)"),
        (("/safa/layer/1/gain", 400), "argument 1 (gain)"),
        (("/safa/layer/1/gain", [1.0]), "argument 1 (gain)"),
        (("/safa/layer/1/gain", 0.0, -1), "argument 2 (ramp)"),
        (("/safa/layer/1/mute", "yes"), "argument 1 (mute)"),
        (("/safa/layer/1/mute", 2), "argument 1 (mute)"),
        (("/safa/steps", 1.5), "argument 1 (steps)"),
        (("/safa/steps", True), "argument 1 (steps)"),
        (("/safa/seed", -1), "argument 1 (seed)"),
        (("/safa/reanchor", 1), "it takes none"),
        (("/safa/tempo", 5), "argument 1 (bpm) must be a number from 20 to 999"),
        (("/safa/quantise", "soon", "/safa/freeze"), "must be"),
        (("/safa/quantise", "bar"), "argument 2 (address)"),
        (("/safa/quantise", "bar", "/safa/play"), "is not the address of a command that can wait"),
        (("/safa/quantise", "bar", "/safa/layer/1/gain", 400), "argument 1 (gain)"),
        (("/safa/rewind", -1), "argument 1 (seconds)"),
        (("/safa/rewind",), "argument 1 (seconds)"),
        (("/safa/rewind/to",), "sample time"),
        (("/safa/rewind/to", 1.5), "argument 1 must be a whole number"),
        (("/safa/scene/recall", "{"), "argument 1 (scene) is not valid JSON"),
        (("/safa/scene/recall", "[" * 9000), "argument 1 (scene)"),
        (("/safa/scene/recall", '{"a":' * 9000), "argument 1 (scene) is not valid JSON"),
        (("/safa/at", 1), "give a time"),
        (("/safa/at", "/safa/freeze"), "give a time"),
        (("/safa/at", 1, "/safa/play"), "argument 2 (address)"),
        (("/safa/at", 1, "/safa/at", 1, "/safa/freeze"), "argument 2 (address)"),
        (("/safa/session/a/at", 1, "/safa/session/b/freeze"), "argument 2 (address)"),
    ],
)
def test_errors_name_the_argument(said: tuple[Any, ...], wanted: str) -> None:
    told = reason(*said)
    assert wanted in told and "\n" not in told and len(told) < 300


@pytest.mark.parametrize(
    ("pattern", "layers"), [("*", (0, 1, 3)), ("[0-1]", (0, 1)), ("[!0]", (1, 3)), ("{0,3}", (0, 3)), ("?", (0, 1, 3))]
)
def test_patterns_stand_for_layers(pattern: str, layers: tuple[int, ...]) -> None:
    assert read(f"/safa/layer/{pattern}/mute", 1).what == tuple(m.Mix(layer=n, mute=True) for n in layers)


def test_a_pattern_without_a_layer() -> None:
    assert "no layer matches '[5-7]'" in reason("/safa/layer/[5-7]/mute", 1)
    for strange in ("{", "}", "{{0}}", "[", "[z-a]", "*" * 60, "{0,1}{0,1}"):
        with pytest.raises(UsageError):
            read(f"/safa/layer/{strange}/mute/", 1)


def test_services_are_handed_on() -> None:
    assert read("/safa/subscribe", "", 9000).what == Service("subscribe", ("", 9000))
    assert at_time(read("/safa/play"), 5).what == Service("play", ())


def test_the_table_is_the_address_space() -> None:
    rows = address_table()
    assert len({row.address for row in rows if row.direction == "in"}) == sum(row.direction == "in" for row in rows)
    assert {row["address"] for row in table_as_list()} == {row.address for row in rows}
    gain = next(row for row in rows if row.address == "/safa/layer/N/gain")
    assert (gain.types, gain.arguments) == ("f[f]", "gain [ramp]") and "dB" in gain.range
    events = {row.address for row in rows if row.address.startswith("/safa/event/")}
    assert len(events) == len(m.EVENTS)
    for text in (table_as_html(), table_as_markdown("in") + table_as_markdown("out")):
        assert all(row.address in text for row in rows)
    assert all(row.meaning.endswith(".") and row.types.isprintable() for row in rows)


# Packets ---------------------------------------------------------------------------------------------------------


def bundle(time: int, *elements: bytes) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", time) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def test_bundles_keep_order_and_time() -> None:
    one, two, three = (packet(f"/{n}") for n in "abc")
    ntp = (2_208_988_800 + 1000) << 32 | 1 << 31
    read_back = read_packet(bundle(1, one, bundle(ntp, two), three))
    assert [(message.address, message.due) for message in read_back] == [("/a", None), ("/b", 1000.5), ("/c", None)]


def test_types_that_programs_send() -> None:
    sent = packet("/x", 1, 2.5, "s", b"blob", True, False, None, 2**40, 0.1, tags="ifsbTFNhd")
    assert read_packet(sent)[0].arguments == (1, 2.5, "s", b"blob", True, False, None, 2**40, 0.1)
    symbol = b"/x\0\0,S\0\0hum\0"
    assert read_packet(symbol)[0].arguments == ("hum",)
    assert read_packet(b"/x\0\0")[0].arguments == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"/",
        b"/x",
        b"/x\0\0,i\0\0",
        b"/x\0\0i\0\0\0",
        b"/x\0\0,c\0\0\0\0\0a",
        b"/x\0\0,q\0\0",
        b"/x\0\0,[\0\0",
        b"/x\0\0,s\0\0\xff\xfe\xfd\0",
        b"/\xff\0\0,\0\0\0",
        b"/x\0\0,b\0\0\0\0\0\x09ab",
        b"#bundle\0",
        b"#bundle\0" + bytes(8) + b"\0\0",
        bundle(1, b"zzzz"),
        b"#bundle\0" + bytes(8) + struct.pack(">i", -4) + b"/x\0\0",
        b"#bundle\0" + bytes(8) + struct.pack(">i", 2**31 - 1) + b"/x\0\0",
        bundle(1, *[packet("/x")] * 257),
        bytes(9000),
        b"/" + b"a" * 300 + bytes(4),
    ],
)
def test_packets_that_are_none(data: bytes) -> None:
    with pytest.raises(PacketError) as caught:
        read_packet(data)
    assert "\n" not in str(caught.value)


def test_bundles_within_bundles_end() -> None:
    nested = packet("/x")
    for _ in range(200):
        nested = bundle(1, nested)
    with pytest.raises(PacketError):
        read_packet(nested)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"/a\0\0", b"/a\0\0,if\0", b"#bundle\0", b"#bundle\0" + bytes(8)])
)
def test_any_bytes_are_messages_or_an_error(data: bytes, before: bytes) -> None:
    try:
        read_packet(before + data)
    except PacketError:
        pass


def test_what_is_sent_every_program_reads() -> None:
    written = write_message("/x", 3, True, 2**40, 0.5, "s", b"b")
    assert written[4:12] == b",iiifsb\0"
    assert read_packet(written)[0].arguments == (3, 1, 2**31 - 1, 0.5, "s", b"b")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), st.sampled_from(["slip", "length"]), st.data()
)
def test_framing_does_not_care_how_bytes_arrive(packets: list[bytes], style: str, data: st.DataObject) -> None:
    sender = Framing(style)
    # What begins with neither byte of a packet nor SLIP's END is refused by `auto`; SLIP's encoder begins with END.
    stream = b"".join(sender.wrapped(one) for one in packets)
    receiver, found = Framing(), list[bytes]()
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += receiver.received(stream[:cut])
        stream = stream[cut:]
    assert found == packets and receiver.style == style


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\x7f\xff\xff",
        b"\xc0" + b"a" * 20_000,
        b"\xc0/a\xdb\0\xc0",
        b"\x16\x03\x01",
    ],
)
def test_framing_that_is_none(data: bytes) -> None:
    with pytest.raises(PacketError):
        list(Framing().received(data))


def test_slip_is_that_of_python_osc() -> None:
    message = packet("/x", b"\xc0\xdb\xdc\xdd")
    assert list(Framing("slip").received(slip.encode(message))) == [message]


# Clock, rates, gate ----------------------------------------------------------------------------------------------


def test_time_tags_are_as_far_apart_in_samples_as_on_the_wall_clock() -> None:
    clock = SampleClock(48_000)
    for number in range(60):
        late = (number * 7919 % 13) * 1_000_000  # an event loop's lateness, up to 12 ms
        clock.left(number * 960, 5_000_000_000 + number * 20_000_000 + late)
    now = 5_000_000_000 + 60 * 20_000_000
    first, second = (clock.sample(now + ahead, 57_600, now, True) for ahead in (100_000_000, 350_000_000))
    assert abs(first - (57_600 + 4800)) <= 48
    assert second - first == 12_000


def test_the_clock_forgets_what_was_before_a_pause() -> None:
    clock = SampleClock(48_000)
    for number in range(10):
        clock.left(number * 960, number * 20_000_000)
    clock.left(9600, 60_000_000_000)
    assert clock.sample(60_020_000_000, 10_560, 60_000_000_000, True) == 10_560
    assert clock.sample(61_000_000_000, 10_560, 60_000_000_000, False) == 10_560 + 48_000
    assert SampleClock(48_000).sample(2_000_000_000, 7, 1_000_000_000, True) == 48_007


def test_a_time_tag_keeps_its_sample() -> None:
    clock = SampleClock(48_000)
    readings = iter(range(1_000, 2_000))
    assert [clock.tagged(tag, lambda: next(readings)) for tag in (5.0, 5.0, 6.0, 5.0)] == [1_000, 1_000, 1_001, 1_000]
    for tag in range(100, 200):
        clock.tagged(float(tag), lambda: next(readings))
    assert clock.tagged(199.0, lambda: 0) == 1_101
    assert clock.tagged(5.0, lambda: 7) == 7, "tags of long ago are forgotten"


def test_rates_are_by_host_and_all_together() -> None:
    bucket = Bucket(10, 5, 5, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.take(0.1) and not bucket.take(0.1)
    rates = Rates(1, 2, 0.0)
    assert [rates.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert sum(rates.take(f"h{n}", 0.0) for n in range(1000)) == 14


def test_the_gate() -> None:
    gate = Gate("secret-token")
    assert not gate.open_to(("h", 1), 0.0) and not gate.admit(("h", 1), "secret-tokem", 0.0, False)
    assert not gate.open_to(("h", 1), 0.0)
    assert gate.admit(("h", 1), "secret-token", 0.0, False) and gate.open_to(("h", 1), 500.0)
    assert gate.open_to(("h", 1), 1000.0) and not gate.open_to(("h", 1), 1700.0)
    assert not gate.open_to(("h", 2), 0.0)
    assert gate.admit("connection", "secret-token", 0.0, True) and gate.open_to("connection", 1e9)
    gate.forget("connection")
    assert not gate.open_to("connection", 1e9)
    for number in range(1000):
        gate.trust(number)
    assert sum(gate.open_to(number, 0.0) for number in range(1000)) == 256
    assert Gate(None).open_to(("h", 2), 0.0)


def test_addresses() -> None:
    assert plain_address("::ffff:10.0.0.1") == "10.0.0.1" and plain_address("fe80::1%eth0") == "fe80::1"
    assert same_host("127.0.0.1", "::1") and not same_host("10.0.0.1", "10.0.0.2")


def test_the_table_is_json() -> None:
    assert json.loads(json.dumps(table_as_list())) == table_as_list()
