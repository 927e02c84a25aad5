"""One /metrics of many processes: whose each sample is, nothing lost, added or told twice."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from safa_server.cluster.metrics_text import merged
from safa_server.metrics import FAMILIES, Registry


def told(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value == sample.value
    }


def busy(times: int) -> str:
    registry = Registry()
    for number in range(times):
        registry.add("safa_sessions_opened_total")
        registry.add("safa_commands_total", command="prompt")
        registry.observe("safa_step_seconds", 0.01 * number)
    registry.set("safa_lead_seconds", 8.0, session='say "no"\nor \\ é')
    return registry.text()


def test_every_sample_is_there_once_with_the_name_of_its_process() -> None:
    texts, fronts = {"a": busy(3), "b": busy(5)}, {"f": busy(7)}
    found = told(merged(texts, fronts))
    expected = {
        (name, tuple(sorted([*labels, (label, process)]))): value
        for label, group in (("engine", texts), ("front", fronts))
        for process, text in group.items()
        for (name, labels), value in told(text).items()
    }
    ups = {("safa_engine_up", (("engine", name),)): 1.0 for name in texts}
    assert found == expected | ups | {("safa_front_up", (("front", "f"),)): 1.0}
    assert found["safa_step_seconds_bucket", (("engine", "b"), ("le", "+Inf"))] == 5


def test_families_are_told_once_and_keep_their_kind() -> None:
    text = merged({"a": busy(1), "b": busy(2), "c": None})
    for what in ("HELP", "TYPE"):
        names = re.findall(rf"^# {what} (\S+)", text, re.MULTILINE)
        assert len(names) == len(set(names))
    read = {family.name: family for family in text_string_to_metric_families(text)}
    for family in FAMILIES:
        found = read[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.help)
    # All samples of a family stand together, as the format wants it.
    order = [re.match(r"\w+", line)[0] for line in text.splitlines() if not line.startswith("#")]
    stems = [re.sub(r"_(bucket|sum|count|total)$", "", name) for name in order]
    assert len([1 for before, now in zip(["", *stems], stems, strict=False) if before != now]) == len(set(stems))


def test_who_does_not_answer_is_down_and_nothing_else() -> None:
    for silent in (None, "", "<html>502</html>", "safa_x{ 3", "# nothing\n"):
        found = told(merged({"a": busy(1), "b": silent}))
        assert found["safa_engine_up", (("engine", "a"),)] == 1
        assert found["safa_engine_up", (("engine", "b"),)] == 0
        assert sum(("engine", "b") in labels for _, labels in found) == 1, silent
    assert told(merged({})) == {}


def test_processes_of_two_versions() -> None:
    """The first one's kind and words hold; a label of the same name is kept beside ours."""
    old = "# HELP x Old.\n# TYPE x gauge\nx 1\n# TYPE y counter\ny_total 4\n"
    new = '# HELP x New.\n# TYPE x gauge\nx{engine="own"} 2\n# TYPE y gauge\ny 7\n# TYPE z gauge\nz 1\n'
    text = merged({"old": old, "new": new})
    assert "# HELP x Old." in text and "New." not in text
    assert told(text) == {
        ("safa_engine_up", (("engine", "old"),)): 1,
        ("safa_engine_up", (("engine", "new"),)): 1,
        ("x", (("engine", "old"),)): 1,
        ("x", (("engine", "new"), ("exported_engine", "own"))): 2,
        ("y_total", (("engine", "old"),)): 4,
        ("z", (("engine", "new"),)): 1,
    }


@given(st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=40), max_size=4))
def test_whatever_processes_are_called_and_say_it_can_be_read(texts: dict[str, str | None]) -> None:
    found = told(merged(texts))
    assert {labels[0][1] for name, labels in found if name == "safa_engine_up"} == set(texts)


@pytest.mark.programs
def test_prometheus_itself_takes_it() -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "apt-get install prometheus"
    text = merged({"a": busy(3), "b": None}, {"f": busy(1)})
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # It would have only summaries say "quantile"; everything else that it finds is wrong.
    assert [line for line in done.stderr.splitlines() if 'have "quantile" label' not in line] == []
