"""Metrics: Prometheus' text form, quantiles, and names that are all documented."""

from __future__ import annotations

import math
import re
import threading

import pytest

from safa_server.metrics import FAMILIES, Family, Registry

LINE = re.compile(
    r'^[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? (NaN|[+-]Inf|-?[0-9.e+-]+)$'
)


def lines(registry: Registry) -> list[str]:
    return registry.text().splitlines()


def test_every_line_can_be_read() -> None:
    registry = Registry()
    registry.add("safa_sessions_refused_total", reason='say "no"\nor \\')
    registry.observe("safa_step_seconds", 0.03)
    registry.set("safa_lead_seconds", math.inf, session="abc")
    for line in lines(registry):
        assert line.startswith(("# HELP safa_", "# TYPE safa_")) or LINE.match(line), line
    assert registry.text().endswith("\n")
    assert 'safa_sessions_refused_total{reason="say \\"no\\"\\nor \\\\"} 1' in lines(registry)
    assert 'safa_lead_seconds{session="abc"} +Inf' in lines(registry)


def test_counting() -> None:
    registry = Registry()
    registry.add("safa_listeners")
    registry.add("safa_listeners", 2)
    registry.add("safa_listeners", -1)
    registry.set("safa_real_time_factor", 2.5)
    registry.set("safa_lead_seconds", 8.0, session="abc")
    registry.forget("safa_lead_seconds", session="abc")
    assert registry.value("safa_listeners") == 2 and registry.value("safa_resumed_total") == 0
    assert "safa_listeners 2" in lines(registry) and "safa_real_time_factor 2.5" in lines(registry)
    assert "safa_resumed_total 0" in lines(registry)
    assert not any(line.startswith("safa_lead_seconds") for line in lines(registry))


def test_timings_have_buckets_sums_and_quantiles() -> None:
    registry = Registry([Family("safa_x_seconds", "histogram", "X.", (), (0.1, 1.0))])
    for value in [0.05] * 90 + [0.5] * 8 + [3.0] * 2:
        registry.observe("safa_x_seconds", value)
    found = dict(line.rsplit(" ", 1) for line in lines(registry) if not line.startswith("#"))
    assert found['safa_x_seconds_bucket{le="0.1"}'] == "90"
    assert found['safa_x_seconds_bucket{le="1"}'] == "98"
    assert found['safa_x_seconds_bucket{le="+Inf"}'] == found["safa_x_seconds_count"] == "100"
    assert float(found["safa_x_seconds_sum"]) == pytest.approx(14.5)
    quantiles = [float(found[f'safa_x_seconds_recent{{quantile="{share}"}}']) for share in ("0.5", "0.95", "0.99")]
    assert quantiles == [0.05, 0.5, 3.0]
    assert registry.quantile("safa_x_seconds", 0.5) == 0.05


def test_quantiles_are_of_the_latest() -> None:
    registry = Registry()
    for _ in range(5000):
        registry.observe("safa_step_seconds", 9.0)
    for _ in range(1024):
        registry.observe("safa_step_seconds", 0.1)
    assert registry.quantile("safa_step_seconds", 0.99) == 0.1
    assert math.isnan(registry.quantile("safa_decode_seconds", 0.5))


def test_only_what_is_documented_can_be_counted() -> None:
    registry = Registry()
    for wrong in (lambda: registry.add("safa_other"), lambda: registry.add("safa_listeners", session="x")):
        with pytest.raises(KeyError):
            wrong()
    with pytest.raises(KeyError):
        registry.add("safa_sessions_refused_total")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.help.endswith(".") and family.name.startswith("safa_")
        assert family.name.endswith("_total") == (family.kind == "counter")


def test_labels_that_clients_choose_cannot_grow_it() -> None:
    registry = Registry()
    for n in range(1000):
        registry.add("safa_commands_total", command=f"name-{n}")
    assert sum(line.startswith("safa_commands_total{") for line in lines(registry)) <= 257
    assert registry.value("safa_commands_total", command="other") == 744


def test_threads_lose_nothing() -> None:
    registry = Registry()

    def work() -> None:
        for _ in range(5000):
            registry.add("safa_resumed_total")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.value("safa_resumed_total") == 20_000
