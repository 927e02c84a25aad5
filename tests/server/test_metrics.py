"""Metrics: as Prometheus reads them, quantiles, and names that are all documented."""

from __future__ import annotations

import math
import threading

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from safa_server.metrics import FAMILIES, Family, Registry

Labels = tuple[tuple[str, str], ...]


def told(registry: Registry) -> dict[tuple[str, Labels], float]:
    """Every sample of a registry's text as Prometheus reads it, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(registry.text())
        for sample in family.samples
    }


def test_prometheus_reads_every_metric_with_its_kind_and_meaning() -> None:
    read = {family.name: family for family in text_string_to_metric_families(Registry().text())}
    for family in FAMILIES:
        found = read[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.help)
        # Those without labels are there before anything is counted.
        assert bool(found.samples) == (not family.labels)


def test_labels_hold_any_text() -> None:
    registry = Registry()
    reason = 'say "no"\nor \\ é'
    registry.add("safa_sessions_refused_total", reason=reason)
    registry.set("safa_lead_seconds", math.inf, session="abc")
    found = told(registry)
    assert found["safa_sessions_refused_total", (("reason", reason),)] == 1
    assert found["safa_lead_seconds", (("session", "abc"),)] == math.inf


def test_nothing_but_what_is_documented_is_told() -> None:
    registry = Registry()
    registry.add("safa_commands_total", command="prompt")
    registry.observe("safa_step_seconds", 0.03)
    names = {family.name for family in FAMILIES}
    timings = {family.name for family in FAMILIES if family.kind == "histogram"}
    names |= {name + end for name in timings for end in ("_bucket", "_sum", "_count", "_recent")}
    assert {name for name, _ in told(registry)} <= names


def test_registries_share_nothing() -> None:
    one, other = Registry(), Registry()
    one.add("safa_listeners")
    assert (one.value("safa_listeners"), other.value("safa_listeners")) == (1, 0)
    assert not any(metric.name.startswith("safa_") for metric in REGISTRY.collect())


def test_counting() -> None:
    registry = Registry()
    registry.add("safa_listeners")
    registry.add("safa_listeners", 2)
    registry.add("safa_listeners", -1)
    registry.set("safa_real_time_factor", 2.5)
    registry.set("safa_lead_seconds", 8.0, session="abc")
    registry.forget("safa_lead_seconds", session="abc")
    assert registry.value("safa_listeners") == 2 and registry.value("safa_resumed_total") == 0
    found = told(registry)
    assert found["safa_listeners", ()] == 2 and found["safa_real_time_factor", ()] == 2.5
    assert found["safa_resumed_total", ()] == 0
    assert not any(name == "safa_lead_seconds" for name, _ in found)


def test_timings_have_buckets_sums_and_quantiles() -> None:
    registry = Registry([Family("safa_x_seconds", "histogram", "X.", (), (0.1, 1.0))])
    for value in [0.05] * 90 + [0.5] * 8 + [3.0] * 2:
        registry.observe("safa_x_seconds", value)
    found = told(registry)
    below = [found["safa_x_seconds_bucket", (("le", most),)] for most in ("0.1", "1.0", "+Inf")]
    assert below == [90, 98, 100] and found["safa_x_seconds_count", ()] == 100
    assert found["safa_x_seconds_sum", ()] == pytest.approx(14.5)
    recent = [found["safa_x_seconds_recent", (("quantile", share),)] for share in ("0.5", "0.95", "0.99")]
    assert recent == [0.05, 0.5, 3.0]
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
    with pytest.raises(KeyError):
        registry.set("safa_resumed_total", 1.0)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.help.endswith(".") and family.name.startswith("safa_")
        assert family.name.endswith("_total") == (family.kind == "counter")


def test_labels_that_clients_choose_cannot_grow_it() -> None:
    registry = Registry()
    for n in range(1000):
        registry.add("safa_commands_total", command=f"name-{n}")
    assert sum(name == "safa_commands_total" for name, _ in told(registry)) == 257
    assert registry.value("safa_commands_total", command="other") == 744


def test_what_is_forgotten_makes_room() -> None:
    registry = Registry()
    for n in range(1000):
        registry.set("safa_lead_seconds", 8.0, session=f"session-{n}")
        registry.forget("safa_lead_seconds", session=f"session-{n}")
    registry.set("safa_lead_seconds", 5.0, session="abc")
    assert registry.value("safa_lead_seconds", session="abc") == 5.0


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
