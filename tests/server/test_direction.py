"""The director of installations, without a server: what is told when, by the clock, chance and sensors."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server.direction import programme_file
from safa_server.direction.course import Course
from safa_server.direction.director import RETRY_SECONDS, TICK, begin, refused, step
from safa_server.direction.link import link_in, read_link
from safa_server.direction.programme import Programme, Sensor, Time, Visit, Volume
from safa_server.direction.programme_file import programme_from, read_programme
from safa_server.direction.rehearsal import Heard, read_log, rehearse, shown
from safa_server.direction.senses import Reading
from safa_server.sparing import Sparing
from safa_stream.cli.main import main
from safa_stream.errors import FailureError, UsageError
from safa_stream.session.messages import AddLayer, Command, Mix, Prompt, RemoveLayer
from tests.direction import Session

EXAMPLE = Path(__file__).parents[2] / "examples/installation/programme.toml"
HOUR = 3600
#: A Monday.
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC).timestamp()

DAY: dict[str, Any] = {
    "zone": "UTC",
    "time": [
        {"at": "06:00", "prompts": "birds", "morph": 600},
        {"at": "22:00", "prompts": "crickets", "gain": -6, "morph": 60},
    ],
}
STORM: dict[str, Any] = {
    "name": "storm",
    "layer": 1,
    "prompts": "thunder",
    "lasts": [100, 200],
    "rise": 10,
    "ebb": 40,
    "rest": 300,
}


def made(**more: Any) -> Programme:
    return programme_from({**DAY, **more})


def after(programme: Programme, course: Course, seconds: float, **readings: float) -> tuple[Course, list[Command]]:
    """So much later, the same sensors saying the same all the time."""
    said: list[Command] = []
    heard = [Reading(f"/{name}", value) for name, value in readings.items()]
    for _ in range(round(seconds / TICK)):
        course, commands = step(programme, course, heard)
        said += commands
    return course, said


class TestTimesOfDay:
    def test_a_session_is_brought_to_what_is_due(self) -> None:
        _, said = begin(made(), MIDNIGHT + 5 * HOUR, {0: "wind", 3: "rain"})
        assert [(type(one), one.layer) for one in said if not isinstance(one, Mix)] == [(Prompt, 0), (RemoveLayer, 3)]
        assert shown(said[0]) == 'prompt  prompts "crickets"  layer 0  morph 10'
        assert Mix(layer=0, gain=-6.0, ramp=10.0) in said

    def test_what_it_plays_already_is_left_alone(self) -> None:
        _, said = begin(made(), MIDNIGHT + 7 * HOUR, {0: "birds"})
        assert not any(isinstance(one, Prompt | AddLayer) for one in said)

    def test_every_time_is_told_once_and_when_it_is_due(self) -> None:
        told = [(now - MIDNIGHT, one) for now, one in rehearse(made(), MIDNIGHT + 5.9 * HOUR, 16.2 * HOUR)]
        told = [(at, one) for at, one in told if at > 5.9 * HOUR]
        assert [(at / HOUR, type(one)) for at, one in told] == [(6, Prompt), (6, Mix), (22, Prompt), (22, Mix)]
        assert told[3][1] == Mix(layer=0, gain=-6.0, ramp=60.0)

    def test_days_of_the_week_and_volumes(self) -> None:
        programme = made(
            volume=[{"at": "07:00", "gain": 0, "days": ["mon"]}, {"at": "22:00", "gain": -12, "ramp": 900}]
        )
        told = [
            (now - MIDNIGHT, one.gain)
            for now, one in rehearse(programme, MIDNIGHT - HOUR, 24 * HOUR)
            if isinstance(one, Mix) and one.layer is None
        ]
        assert told == [(-HOUR, -12.0), (7 * HOUR, 0.0), (22 * HOUR, -12.0)]
        # On Tuesday nothing ends the night.
        assert begin(programme, MIDNIGHT + 36 * HOUR, {})[0].volume == programme.volumes[1]

    def test_the_hour_that_clocks_skip_is_no_harm(self) -> None:
        programme = programme_from(
            {"zone": "Europe/Berlin", "time": [{"at": "02:30", "prompts": "wind"}, *DAY["time"]]}
        )
        before = datetime(2026, 3, 29, 0, 55, tzinfo=UTC).timestamp()
        told = [(now, one) for now, one in rehearse(programme, before, HOUR) if isinstance(one, Prompt)]
        assert [(now - before, shown(one)) for now, one in told] == [
            (300, 'prompt  prompts "wind"  layer 0  morph 300')
        ]


class TestVisits:
    def test_a_visit_rises_ebbs_and_rests(self) -> None:
        programme = made(visit=[STORM], sensor=[{"address": "/wind", "smooth": 0, "starts": "storm"}])
        course, _ = begin(programme, MIDNIGHT, {})
        course, said = after(programme, course, 1, wind=1)
        (added,) = said
        assert isinstance(added, AddLayer) and (added.layer, added.ramp) == (1, 10.0)
        length = course.running[0].ends - course.now
        assert 100 <= length <= 200
        course, said = after(programme, course, length - 41, wind=0)
        assert said == []
        course, said = after(programme, course, 1, wind=1)
        assert said == [RemoveLayer(layer=1, ramp=40.0)], "and what calls it meanwhile is not heard"
        course, said = after(programme, course, 20, wind=0)
        course, said = after(programme, course, 320, wind=1)
        assert said == [], "it rests"
        course, _ = after(programme, course, 1, wind=0)
        course, said = after(programme, course, 2, wind=1)
        assert len(said) == 1 and isinstance(said[0], AddLayer)

    def test_chance_keeps_to_its_hours_and_its_rate(self) -> None:
        programme = made(visit=[{**STORM, "rest": 0, "per_hour": 3, "between": ["22:00", "04:00"]}])
        told = rehearse(programme, MIDNIGHT - 4 * HOUR, 12 * HOUR)
        began = [now - MIDNIGHT for now, one in told if isinstance(one, AddLayer) and one.layer == 1]
        assert all(-2 * HOUR <= at < 4 * HOUR for at in began)
        # 18 expected in six hours, less what falls into another one.
        assert 6 <= len(began) <= 24

    def test_it_swells_between_its_bounds(self) -> None:
        storm = {**STORM, "lasts": [3000, 3600], "gain": -2, "swell": 9, "swell_every": 20}
        programme = made(visit=[storm], sensor=[{"address": "/wind", "smooth": 0, "starts": "storm"}])
        course, _ = begin(programme, MIDNIGHT, {})
        course, said = after(programme, course, 1000, wind=1)
        gains = [one.gain for one in said if isinstance(one, Mix)]
        assert len(gains) == 49 and all(one.ramp == 20 for one in said if isinstance(one, Mix))
        assert all(-11 <= gain <= -2 for gain in gains if gain is not None)
        assert len(set(gains)) > 40

    def test_no_room_in_the_session_is_tried_again(self) -> None:
        course, said = begin(made(), MIDNIGHT, {})
        assert isinstance(said[0], AddLayer)
        course, said2 = after(made(), refused(course, 0), RETRY_SECONDS + 1)
        assert said2 == [said[0]]


class TestSensors:
    PEOPLE: dict[str, Any] = {"address": "/near", "input": [0, 10], "layer": 0, "offset": [0, -12], "smooth": 0}

    def test_an_offset_is_added_and_said_sparingly(self) -> None:
        programme = made(sensor=[{**self.PEOPLE, "every": 2, "least": 1}])
        course, _ = begin(programme, MIDNIGHT + 7 * HOUR, {0: "birds"})
        said: list[Command] = []
        for n in range(20):
            course, commands = step(programme, course, [Reading("/near", n / 2)])
            said += commands
        gains = [one.gain for one in said if isinstance(one, Mix) and one.gain is not None]
        assert 5 <= len(gains) <= 10 and gains == sorted(gains, reverse=True)
        assert all(one.ramp == 2 for one in said if isinstance(one, Mix))

    def test_a_sensor_that_falls_silent_is_forgotten(self) -> None:
        programme = made(sensor=[{**self.PEOPLE, "silent_after": 10}])
        course, _ = begin(programme, MIDNIGHT + 7 * HOUR, {0: "birds"})
        course, said = after(programme, course, 1, near=10)
        assert said == [Mix(layer=0, gain=-12.0, ramp=1.0)]
        course, said = after(programme, course, 20)
        assert said == [Mix(layer=0, gain=0.0, ramp=1.0)]

    def test_a_ramp_goes_on_under_it(self) -> None:
        programme = made(sensor=[self.PEOPLE], volume=[{"at": "00:00", "gain": 0}])
        course, _ = begin(programme, MIDNIGHT + 22 * HOUR - 1, {0: "birds"})
        course, said = after(programme, course, 1)
        assert Mix(layer=0, gain=-6.0, ramp=60.0) in said
        course, said = after(programme, course, 29)
        assert said == []
        course, said = after(programme, course, 1, near=5)
        # Half of the way down, and a second on; then the rest of it.
        assert said == [Mix(layer=0, gain=round(-6 * 31 / 60 - 6, 3), ramp=1.0)]
        course, said = after(programme, course, 1, near=5)
        assert said == [Mix(layer=0, gain=-12.0, ramp=29.0)]

    def test_nonsense_is_left_alone(self) -> None:
        programme = made(sensor=[self.PEOPLE])
        course, _ = begin(programme, MIDNIGHT + 7 * HOUR, {0: "birds"})
        course, said = after(programme, course, 2, near=float("nan"))
        assert said == []
        course, said = after(programme, course, 2, near=1e300)
        assert said == [Mix(layer=0, gain=-12.0, ramp=1.0)]


def readings(seed: int, seconds: int) -> list[Heard]:
    """Sensors of the example that say something now and then."""
    from safa_server.direction.chance import draw

    found = []
    for second in range(0, seconds, 7):
        for address, most in (("/sensor/near", 1.3), ("/sensor/wind", 16.0), ("/sensor/voices", 1.0)):
            if draw(seed, address, second // 600) < 0.5:
                found.append(Heard(MIDNIGHT + second, Reading(address, most * draw(seed, address, "value", second))))
    return found


class TestLaws:
    @settings(max_examples=3)
    @given(seed=st.integers(0, 2**40), start=st.integers(0, 7 * 24 * HOUR))
    def test_nothing_overlaps_that_may_not(self, seed: int, start: int) -> None:
        """Every command is one that a session in its place would take; and the same again says the same."""
        table = {**programme_file.table_of(EXAMPLE), "seed": seed}
        programme, begun = programme_from(table), MIDNIGHT + start
        heard = [Heard(one.at + start, one.reading) for one in readings(seed, 4 * HOUR)]
        said = list(rehearse(programme, begun, 4 * HOUR, heard))
        session = Session(programme.together + len(programme.layers))
        for now, command in said:
            session.take(now, command)
        assert said == list(rehearse(programme, begun, 4 * HOUR, heard))

    def test_sensors_make_a_difference_and_logs_are_read_back(self, tmp_path: Path) -> None:
        programme, heard = read_programme(EXAMPLE), readings(3, HOUR)
        log = tmp_path / "sensors.jsonl"
        log.write_text("".join(one.line() + "\n" for one in heard))
        with_them = list(rehearse(programme, MIDNIGHT, HOUR, heard))
        assert with_them == list(rehearse(programme, MIDNIGHT, HOUR, read_log(log)))
        assert with_them != list(rehearse(programme, MIDNIGHT, HOUR))

    def test_another_seed_is_another_week(self) -> None:
        def storms(seed: int) -> list[float]:
            programme = made(seed=seed, visit=[{**STORM, "per_hour": 1}])
            return [now for now, one in rehearse(programme, MIDNIGHT, 8 * HOUR) if isinstance(one, AddLayer)]

        assert storms(1) != storms(2)


class TestFiles:
    def test_every_field_has_a_reader(self) -> None:
        for kind in (Time, Volume, Visit, Sensor):
            assert {field.name for field in fields(kind)} <= set(programme_file._FIELDS)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"times": []}, "unknown field 'times'; known: seed, sensor, time"),
            ({"time": []}, r"needs at least one \[\[time\]\]"),
            ({"time": {"at": "06:00"}}, r"time must be tables, \[\[time\]\]"),
            ({"time": [{"prompts": "birds"}]}, "time 1: field 'at' is missing"),
            ({"time": [{"at": "25:00", "prompts": "birds"}]}, 'time 1: at must be a time of day such as "22:00"'),
            ({"time": [{"at": "06:00", "prompts": "birds:-1"}]}, "time 1: prompts: "),
            ({"zone": "Mars/Olympus"}, 'zone must be a time zone such as "Europe/Berlin"'),
            ({"seed": 1.5}, "seed must be a whole number"),
            ({"visit": [{**STORM, "layer": 8}]}, "visit 1: layer must be a whole number from 0 to 7, not 8"),
            ({"visit": [{**STORM, "layer": 0}]}, "layer 0 has a"),
            ({"visit": [STORM, STORM]}, "two visits have the same name"),
            ({"visit": [{**STORM, "lasts": [30, 200]}]}, "visit 'storm': 'lasts' must"),
            ({"visit": [{**STORM, "colour": "grey"}]}, "visit 1: unknown field 'colour'; known: name, layer"),
            ({"sensor": [{"address": "near"}]}, "sensor 1: address must be an OSC address"),
            ({"sensor": [{"address": "/a", "starts": "flood"}]}, "there is no visit 'flood'"),
            ({"sensor": [{"address": "/a", "input": [1, 1]}]}, "two different numbers"),
            ({"sensor": [{"address": "/a", "layer": 5, "offset": [0, 1]}]}, "nothing is ever heard on layer 5"),
            ({"volume": [{"at": "06:00", "gain": 0, "days": ["someday"]}]}, "volume 1: days must be a list of days"),
        ],
    )
    def test_what_is_wrong_is_named(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            made(**change)

    def test_files_that_are_not_there_or_no_programme(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the programme"):
            read_programme(tmp_path / "none.toml")
        broken = tmp_path / "broken.toml"
        broken.write_text("time = [")
        with pytest.raises(UsageError, match="is not TOML"):
            read_programme(broken)
        broken.write_text('{"at": 1}\n')
        with pytest.raises(UsageError, match="line 1: no reading"):
            read_log(broken)

    def test_links(self, tmp_path: Path) -> None:
        link = read_link("https://example.net:8600/#session=abc&token=x%2By&control=1")
        assert (link.url, link.session, link.token) == ("wss://example.net:8600/ws", "abc", "x+y")
        with pytest.raises(UsageError, match="a link to steer looks like"):
            read_link("http://127.0.0.1:8600/")
        with pytest.raises(FailureError, match="is the server up"):
            link_in(tmp_path / "ready.json")
        (tmp_path / "ready.json").write_text('{"url": "http://127.0.0.1:1/", "session": null}')
        with pytest.raises(FailureError, match="keeps no session of its own"):
            link_in(tmp_path / "ready.json")


@given(values=st.lists(st.floats(-60, 6), min_size=1, max_size=200))
def test_sparing_says_no_more_than_it_may_and_comes_close(values: list[float]) -> None:
    sparing, told = Sparing(every=0.1, least=0.5), []
    for n, value in enumerate([*values, *([values[-1]] * 12)]):
        if sparing.due("fire", value, n * 0.01):
            told.append((n * 0.01, value))
    assert told[0] == (0.0, values[0])
    assert all(later - sooner >= 0.1 - 1e-9 for (sooner, _), (later, _) in zip(told, told[1:], strict=False))
    assert abs(told[-1][1] - values[-1]) < 0.5


class TestCommand:
    def test_a_rehearsal_is_printed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        log = tmp_path / "sensors.jsonl"
        near = datetime.fromisoformat("2026-12-24T18:10+01:00").timestamp()
        log.write_text("".join(Heard(near + n, Reading("/sensor/near", 1.0)).line() + "\n" for n in range(9)))
        words = ["direct", str(EXAMPLE), "--rehearse", "15:00", "--from", "2026-12-24T18:00", "--sensors", str(log)]
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == 'Thu 24 18:00:00  layer.add  prompts "songbirds, wind in the trees:0.6"  layer 0  ramp 10'
        (fire,) = [line for line in lines if "campfire" in line]
        assert fire.startswith("Thu 24 18:10:0") and "layer 3  gain -3  ramp 10" in fire
        assert any("layer.remove  layer 3  ramp 40" in line for line in lines)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "which session? give --ready-file FILE or --link URL"),
            (["--link", "nowhere"], "a link to steer looks like"),
            (["--ready-file", "r", "--from", "2026-12-24"], "--from and --sensors belong to --rehearse"),
            (["--rehearse", "1h", "--sensors", "none.jsonl"], "cannot read the sensor log none.jsonl"),
        ],
    )
    def test_mistakes_are_one_line(self, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["direct", str(EXAMPLE), *words]) == 2
        complained = capsys.readouterr().err
        assert complained.startswith("safa-stream: ") and said in complained and complained.count("\n") == 1
