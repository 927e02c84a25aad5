"""What operators are given: only metrics that a server has, dashboards that hold together, alerts that go off."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from safa_server.cluster.metrics_text import merged
from safa_server.observe import observe
from tests.server.ws_rig import client, run, serving
from tools import dashboard

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "examples/operations"
RULES = yaml.safe_load((OPERATIONS / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
#: Of Prometheus itself.
ITS_OWN = {"up", "ALERTS"}
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
#: What names are not metrics: text, labels in braces and behind by, ranges and durations, and PromQL's own words.
_NO_METRIC = re.compile(r'"[^"]*"|\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)|\[[^\]]*\]|\boffset \w+')
WORDS = {"sum", "min", "max", "rate", "increase", "histogram_quantile", "predict_linear", "and", "or", "label_values"}


def metrics_in(expression: str) -> set[str]:
    return set(_NAME.findall(_NO_METRIC.sub(" ", re.sub(r"\{[^}]*\}", "", expression)))) - WORDS


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of everything that operators are given."""
    board = json.loads((OPERATIONS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"].removeprefix("label_values(").split(",")[0]
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]


def test_every_metric_that_operators_are_given_is_one_of_a_running_server() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as listener:
            watching = asyncio.create_task(observe(rig.metrics, rig.stations.runner, rig.stations, None))
            await listener.ask("open", scene="rain")
            await listener.hear(5)
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            text = (await reader.read(-1)).decode().partition("\r\n\r\n")[2]
            writer.close()
            watching.cancel()
            known = ITS_OWN | told(merged({"a": text}, {"b": text}))
        for where, expression in expressions():
            names = metrics_in(expression)
            assert names and names <= known, (where, names - known)

    run(test())


def told(text: str) -> set[str]:
    """Names that a query may use, those without a sample yet among them."""
    names = set(re.findall(r"^(\w+)(?:\{[^\n]*\})? \S+$", text, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names |= {name} if kind != "histogram" else {f"{name}_{end}" for end in ("bucket", "sum", "count")}
    return names


def test_the_dashboard_is_what_its_tool_makes_and_holds_together() -> None:
    written = (OPERATIONS / "grafana-dashboard.json").read_text(encoding="utf-8")
    assert written == dashboard.document(), "run python tools/dashboard.py"
    board = json.loads(written)
    variables = {one["name"] for one in board["templating"]["list"]}
    assert {"engine", "front"} <= variables
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    used = set(re.findall(r"\$\{?(\w+)", written)) - {"__rate_interval", "__all"}
    assert used <= variables


def test_every_alert_says_what_to_do_and_has_its_section() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert {"summary", "meaning", "listeners", "action"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert f"### {rule['alert']}\n" in page, rule["alert"]
    assert set(re.findall(r"^### (Safa\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in RULES}


#: For each alert, what Prometheus would have seen when it has to go off, every 15 s, and after how long it has to.
SEEN: dict[str, tuple[str, dict[str, str]]] = {
    "SafaDown": ("3m", {'up{job="safa-stream"}': "1x4 0x40"}),
    "SafaEngineDown": ("3m", {'safa_engine_up{engine="b"}': "1x4 0x40"}),
    "SafaFrontDown": ("3m", {'safa_front_up{front="b"}': "1x4 0x40"}),
    "SafaUnderruns": ("3m", {"safa_underruns_total": "0x8 1x40"}),
    "SafaLeadShort": ("4m", {'safa_lead_quantile_seconds{quantile="0"}': "8x4 1x40"}),
    "SafaFewerSteps": ("30m", {"safa_fewer_steps_total": "0+2x120"}),
    "SafaRefusing": ("20m", {'safa_sessions_refused_total{reason="speed"}': "0+1x120"}),
    "SafaNearlyFull": ("20m", {"safa_layers": "15x120", "safa_real_time_factor": "18x120"}),
    "SafaSlow": ("10m", {"safa_real_time_factor": "1.1x120"}),
    "SafaListenersBehind": ("15m", {"safa_samples_dropped_total": "0+960x120"}),
    "SafaLoopLate": (
        "20m",
        {
            'safa_loop_late_seconds_bucket{le="0.1"}': "0x120",
            'safa_loop_late_seconds_bucket{le="0.25"}': "0+15x120",
            'safa_loop_late_seconds_bucket{le="+Inf"}': "0+15x120",
        },
    ),
    "SafaSnapshotsOld": ("5m", {"safa_snapshot_age_seconds": "10x4 70x40"}),
    "SafaJournalLost": ("3m", {"safa_sessions_unkept": "0x4 1x40"}),
    "SafaViewsFail": ("3m", {"safa_views_failed_total": "0x4 1x40"}),
    "SafaMemoryGrows": ("8h", {"safa_memory_bytes": "400000000+200000x2400"}),
    "SafaDeviceAway": ("3m", {"safa_device_away": "0x4 1x40"}),
    "SafaBroadcastAway": ("5m", {'safa_broadcast_connected{broadcast="a"}': "1x4 0x40"}),
    "SafaRestored": ("3m", {"safa_sessions_restored_total": "0x4 3x40"}),
    "SafaTokensTried": ("15m", {'safa_connections_refused_total{reason="token"}': "0+60x120"}),
    "SafaTracesLost": ("25m", {"safa_trace_lost_total": "0+5x120"}),
}
#: A server that is well: none may go off.
WELL = {
    'up{job="safa-stream"}': "1x600",
    'safa_engine_up{engine="a"}': "1x600",
    "safa_underruns_total": "3x600",
    'safa_lead_quantile_seconds{quantile="0"}': "6x600",
    "safa_fewer_steps_total": "7x600",
    'safa_sessions_refused_total{reason="draining"}': "0+1x600",
    "safa_layers": "8x600",
    "safa_real_time_factor": "18x600",
    "safa_samples_dropped_total": "960x600",
    'safa_loop_late_seconds_bucket{le="0.1"}': "0+15x600",
    'safa_loop_late_seconds_bucket{le="+Inf"}': "0+15x600",
    "safa_snapshot_age_seconds": "14x600",
    "safa_sessions_unkept": "0x600",
    "safa_memory_bytes": "430000000+100x600",
    'safa_connections_refused_total{reason="token"}': "0+1x600",
}


@pytest.mark.programs
def test_alerts_go_off_when_they_have_to_and_only_then(tmp_path: Path) -> None:
    """By Prometheus' own evaluation."""
    assert set(SEEN) == {rule["alert"] for rule in RULES}
    tests = [
        {
            "interval": "15s",
            "input_series": [{"series": series, "values": values} for series, values in seen.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": after,
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name else [],
                }
            ],
        }
        for name, (after, seen) in {**SEEN, "": ("2h", WELL)}.items()
    ]
    file = tmp_path / "test.yaml"
    about = {"rule_files": [str(OPERATIONS / "alerts.yaml")], "evaluation_interval": "30s", "tests": tests}
    file.write_text(yaml.safe_dump(about), encoding="utf-8")
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.programs
def test_prometheus_reads_every_expression(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = []
    for number, (_, expression) in enumerate(expressions()):
        asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        asked = asked.replace("$engine", ".*").replace("$front", ".*")
        rules.append({"record": f"one:{number}", "expr": asked})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program is not None, "apt-get install prometheus"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)
