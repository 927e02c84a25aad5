"""The Grafana dashboard, made from the table of panels below: examples/operations/grafana-dashboard.json.

python tools/dashboard.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "examples/operations/grafana-dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Who is looked at: a label that a metric does not have is empty, which "all" takes as well.
ENGINES = 'instance=~"$instance",engine=~"$engine"'
ALL = 'instance=~"$instance",engine=~"$engine",front=~"$front"'
EACH, EVERY = "instance, engine", "instance, engine, front"
WIDTH, HEIGHT, COLUMNS = 8, 7, 3


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its title, unit, what it is for, and its lines as (expression, legend)."""

    title: str
    unit: str
    about: str
    lines: tuple[tuple[str, str], ...]


def rate(name: str, by: str, who: str = ENGINES, over: str = "$__rate_interval") -> str:
    """What is counted a second."""
    return f"sum by ({by}) (rate({name}{{{who}}}[{over}]))"


def quantile(share: float, name: str, who: str = ENGINES, by: str = EACH) -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({name}_bucket{{{who}}}[$__rate_interval])))"


ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "What listeners notice",
        (
            Panel(
                "Underruns",
                "short",
                "Times in a minute that sound was late and a bed began. Should be 0.",
                (
                    (
                        f"sum by (instance, engine) (increase(safa_underruns_total{{{ENGINES}}}[1m]))",
                        "{{instance}} {{engine}}",
                    ),
                ),
            ),
            Panel(
                "Lead",
                "s",
                "Sound that is ready ahead: the shortest, and what a twentieth and half of the sessions do not exceed.",
                (
                    (
                        f"min by (instance, engine, quantile) (safa_lead_quantile_seconds{{{ENGINES}}})",
                        "{{instance}} {{engine}} q{{quantile}}",
                    ),
                ),
            ),
            Panel(
                "Samples not sent",
                "short",
                "Samples a second that were dropped for listeners that are too slow.",
                (
                    (
                        rate("safa_samples_dropped_total", EVERY, ALL),
                        "{{instance}} {{engine}}{{front}}",
                    ),
                ),
            ),
            Panel(
                "Fewer steps, failures",
                "short",
                "Views a second that were made with fewer steps, or not at all.",
                (
                    (rate("safa_fewer_steps_total", EACH), "{{instance}} {{engine}} fewer steps"),
                    (rate("safa_views_failed_total", EACH), "{{instance}} {{engine}} failed"),
                ),
            ),
            Panel(
                "Refused",
                "short",
                "Sessions and connections refused a minute, by reason.",
                (
                    (
                        f"sum by (reason) (increase(safa_sessions_refused_total{{{ENGINES}}}[1m]))",
                        "session: {{reason}}",
                    ),
                    (f"sum by (reason) (increase(safa_connections_refused_total{{{ALL}}}[1m]))", "{{reason}}"),
                ),
            ),
            Panel(
                "Up",
                "short",
                "Engines and front ends that answer.",
                (
                    ('sum(safa_engine_up{engine=~"$engine"})', "engines"),
                    ('sum(safa_front_up{front=~"$front"})', "front ends"),
                ),
            ),
        ),
    ),
    (
        "How much there is",
        (
            Panel(
                "Sessions",
                "short",
                "Sessions that are open.",
                ((f"sum by (instance, engine) (safa_sessions{{{ENGINES}}})", "{{instance}} {{engine}}"),),
            ),
            Panel(
                "Layers and room",
                "short",
                "Layers that are kept fed, and how many in real time the measured speed allows.",
                (
                    (f"sum by (instance, engine) (safa_layers{{{ENGINES}}})", "{{instance}} {{engine}} layers"),
                    (
                        f"sum by (instance, engine) (safa_real_time_factor{{{ENGINES}}})",
                        "{{instance}} {{engine}} real-time factor",
                    ),
                ),
            ),
            Panel(
                "Listeners",
                "short",
                "Connections that listen, and those that have not been sent all there is.",
                (
                    (f"sum by (instance, engine, front) (safa_listeners{{{ALL}}})", "{{instance}} {{engine}}{{front}}"),
                    (
                        f"sum by (instance, engine, front) (safa_listeners_behind{{{ALL}}})",
                        "{{instance}} {{engine}}{{front}} behind",
                    ),
                ),
            ),
            Panel(
                "Sound sent",
                "Bps",
                "Bytes of audio frames a second.",
                (
                    (
                        rate("safa_frame_bytes_sent_total", EVERY, ALL),
                        "{{instance}} {{engine}}{{front}}",
                    ),
                ),
            ),
            Panel(
                "Commands",
                "short",
                "Commands a second, by name.",
                ((rate("safa_commands_total", "command", ALL), "{{command}}"),),
            ),
            Panel(
                "Frames that wait",
                "short",
                "For listeners without room.",
                (
                    (
                        f"sum by (instance, engine, front) (safa_frames_waiting{{{ALL}}})",
                        "{{instance}} {{engine}}{{front}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "The engine and its process",
        (
            Panel(
                "Engine's thread",
                "percentunit",
                "Share of its time that it makes steps and decodes.",
                (
                    (
                        f"{rate('safa_step_seconds_sum', EACH)} + {rate('safa_decode_seconds_sum', EACH)}",
                        "{{instance}} {{engine}}",
                    ),
                ),
            ),
            Panel(
                "One step",
                "s",
                "Of a batch, P50 and P99.",
                (
                    (quantile(0.5, "safa_step_seconds"), "{{instance}} {{engine}} P50"),
                    (quantile(0.99, "safa_step_seconds"), "{{instance}} {{engine}} P99"),
                ),
            ),
            Panel(
                "Rows of a batch",
                "short",
                "Mean.",
                (
                    (
                        f"{rate('safa_batch_rows_sum', EACH)} / {rate('safa_batch_rows_count', EACH)}",
                        "{{instance}} {{engine}}",
                    ),
                ),
            ),
            Panel(
                "Event loop late, encoding",
                "s",
                "P99 of how late what is due comes, and of encoding a block in all its encodings.",
                (
                    (
                        quantile(0.99, "safa_loop_late_seconds", ALL, EVERY),
                        "{{instance}} {{engine}}{{front}} late",
                    ),
                    (
                        quantile(0.99, "safa_encode_seconds", ALL, EVERY),
                        "{{instance}} {{engine}}{{front}} encoding",
                    ),
                ),
            ),
            Panel(
                "CPU",
                "short",
                "Cores in use.",
                ((rate("safa_cpu_seconds_total", EVERY, ALL), "{{instance}} {{engine}}{{front}}"),),
            ),
            Panel(
                "Memory",
                "bytes",
                "In RAM.",
                (
                    (
                        f"sum by (instance, engine, front) (safa_memory_bytes{{{ALL}}})",
                        "{{instance}} {{engine}}{{front}}",
                    ),
                ),
            ),
            Panel(
                "Age of snapshots",
                "s",
                "The oldest of the playing sessions' newest snapshots; should stay below 20 s.",
                ((f"max by (instance, engine) (safa_snapshot_age_seconds{{{ENGINES}}})", "{{instance}} {{engine}}"),),
            ),
            Panel(
                "Sessions restored",
                "short",
                "In a minute; and how long that took.",
                (
                    (
                        f"sum by (instance, engine) (increase(safa_sessions_restored_total{{{ENGINES}}}[1m]))",
                        "{{instance}} {{engine}}",
                    ),
                    (quantile(0.99, "safa_restore_seconds"), "{{instance}} {{engine}} P99 s"),
                ),
            ),
            Panel(
                "Device and broadcasts",
                "short",
                "1 while they are there.",
                (
                    (f"max by (instance, engine) (safa_device_open{{{ENGINES}}})", "{{instance}} {{engine}} device"),
                    (f"min by (broadcast) (safa_broadcast_connected{{{ENGINES}}})", "{{broadcast}}"),
                ),
            ),
        ),
    ),
)


def document() -> str:
    """The whole file."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": WIDTH * COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        for number, panel in enumerate(row):
            across, down = number % COLUMNS, number // COLUMNS
            place = {"x": across * WIDTH, "y": top + 1 + down * HEIGHT, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
        top += 1 + -(-len(row) // COLUMNS) * HEIGHT
    dashboard = {
        "uid": "safa-stream",
        "title": "safa-stream",
        "tags": ["safa-stream"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                _variable("instance", "safa_sessions", "Server"),
                _variable("engine", "safa_engine_up", "Engine"),
                _variable("front", "safa_front_up", "Front end"),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "enable": True,
                    "iconColor": "red",
                    "datasource": SOURCE,
                    "expr": 'ALERTS{alertname=~"Safa.*",alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                }
            ]
        },
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variable(name: str, metric: str, label: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"showPoints": "never"}}, "overrides": []},
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + line), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for line, (expression, legend) in enumerate(panel.lines)
        ],
    }


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
