"""Counters, gauges and timings of a server as Prometheus text (exposition format 0.0.4).

One Registry is made with the server and handed to whatever counts. It knows the names in FAMILIES and no others, so a
metric that is not documented cannot be counted. Safe from any thread.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.95, 0.99)
#: Timings that the quantiles are of: the latest so many.
RECENT = 1024
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, kind, meaning and label names. buckets: upper bounds of a histogram's."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = BUCKETS


#: All metrics of the server. A histogram also has NAME_recent{quantile="0.5"}, 0.95 and 0.99, over the latest 1024.
FAMILIES = (
    Family("safa_sessions", "gauge", "Sessions that are open."),
    Family("safa_sessions_opened_total", "counter", "Sessions opened."),
    Family("safa_sessions_refused_total", "counter", "Sessions refused, by reason.", ("reason",)),
    Family("safa_real_time_factor", "gauge", "Seconds of one layer's sound made in a second of work, as measured."),
    Family("safa_lead_seconds", "gauge", "Sound that is ready ahead of the session's clock.", ("session",)),
    Family("safa_underruns_total", "counter", "Times that a layer's sound was late and a bed began."),
    Family("safa_bed_samples_total", "counter", "Samples of bed that were played."),
    Family("safa_fewer_steps_total", "counter", "Views that were made with fewer steps for want of time."),
    Family("safa_reanchored_total", "counter", "Times that a layer was held to its reference again."),
    Family("safa_commands_total", "counter", "Commands taken, by name.", ("command",)),
    Family("safa_step_seconds", "histogram", "Time of one batched denoiser step."),
    Family("safa_decode_seconds", "histogram", "Time of one decode."),
    Family("safa_batch_rows", "histogram", "Rows of a batched step.", (), (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)),
    Family("safa_connections", "gauge", "WebSocket connections."),
    Family("safa_connections_refused_total", "counter", "Connections refused, by reason.", ("reason",)),
    Family("safa_listeners", "gauge", "Connections that listen to a session."),
    Family("safa_resumed_total", "counter", "Times that a lost client came back to its session."),
    Family("safa_messages_total", "counter", "Text messages from WebSocket clients."),
    Family("safa_messages_refused_total", "counter", "Messages that were refused, by error code.", ("code",)),
    Family("safa_messages_delayed_total", "counter", "Messages that waited because their client sent too many."),
    Family("safa_frames_sent_total", "counter", "Audio frames sent."),
    Family("safa_frame_bytes_sent_total", "counter", "Bytes of audio frames sent."),
    Family("safa_samples_dropped_total", "counter", "Samples not sent to clients that were too slow."),
    Family("safa_encode_seconds", "histogram", "Time of encoding one block in all its encodings."),
    Family("safa_http_requests_total", "counter", "HTTP requests, by status.", ("status",)),
    Family("safa_osc_messages_total", "counter", "OSC messages read."),
    Family("safa_osc_refused_total", "counter", "OSC messages that were refused."),
    Family("safa_device_underruns_total", "counter", "Times that the sound device found nothing to play."),
)

_Key = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class _Histogram:
    """Observations: how many in each bucket (the last is for all that are greater), their sum, and the latest."""

    counts: list[int]
    total: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))


class Registry:
    """What is counted. Labels are given as keyword arguments; an unknown name or label raises KeyError."""

    #: Label values of one metric; later ones are counted together as "other", so that no client grows the registry.
    most_labels = 256

    def __init__(self, families: Sequence[Family] = FAMILIES) -> None:
        self._families: Mapping[str, Family] = {family.name: family for family in families}
        self._values: dict[_Key, float] = {}
        self._histograms: dict[_Key, _Histogram] = {}
        self._lock = threading.Lock()

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter, or to a gauge."""
        with self._lock:
            key = self._key(name, labels)
            self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[self._key(name, labels)] = float(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Note one timing (seconds) or size."""
        with self._lock:
            key = self._key(name, labels)
            buckets = self._families[name].buckets
            found = self._histograms.setdefault(key, _Histogram([0] * (len(buckets) + 1)))
            found.counts[next((n for n, most in enumerate(buckets) if value <= most), len(buckets))] += 1
            found.total += value
            found.recent.append(value)

    def forget(self, name: str, **labels: str) -> None:
        """Leave out a gauge whose subject is gone."""
        with self._lock:
            self._values.pop(self._key(name, labels), None)

    def value(self, name: str, **labels: str) -> float:
        """A counter's or gauge's value, 0 where nothing was counted."""
        with self._lock:
            return self._values.get(self._key(name, labels), 0.0)

    def quantile(self, name: str, share: float, **labels: str) -> float:
        """The value that `share` of the latest observations do not exceed; NaN where there are none."""
        with self._lock:
            found = self._histograms.get(self._key(name, labels))
            return _quantile(found.recent, share) if found else math.nan

    def text(self) -> str:
        """All metrics in Prometheus' text form, those without labels also where nothing was counted yet."""
        with self._lock:
            lines: list[str] = []
            for family in self._families.values():
                lines += self._histogram_lines(family) if family.kind == "histogram" else self._value_lines(family)
        return "\n".join(lines) + "\n"

    def _key(self, name: str, labels: Mapping[str, str]) -> _Key:
        family = self._families[name]
        if set(labels) != set(family.labels):
            raise KeyError(f"metric {name} has the labels {family.labels}, not {tuple(labels)}")
        key = (name, tuple(str(labels[label]) for label in family.labels))
        if not labels or key in self._values or key in self._histograms:
            return key
        same = sum(1 for known, _ in (*self._values, *self._histograms) if known == name)
        return key if same < self.most_labels else (name, ("other",) * len(family.labels))

    def _value_lines(self, family: Family) -> list[str]:
        lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        found = {labels: value for (name, labels), value in self._values.items() if name == family.name}
        if not family.labels:
            found.setdefault((), 0.0)
        return lines + [f"{family.name}{_labels(family.labels, at)} {_number(found[at])}" for at in sorted(found)]

    def _histogram_lines(self, family: Family) -> list[str]:
        name, lines, recent = family.name, [], []
        found = {labels: item for (known, labels), item in self._histograms.items() if known == name}
        if not family.labels:
            found.setdefault((), _Histogram([0] * (len(family.buckets) + 1)))
        for at in sorted(found):
            item, below = found[at], 0
            for most, count in zip((*family.buckets, math.inf), item.counts, strict=True):
                below += count
                lines.append(f"{name}_bucket{_labels((*family.labels, 'le'), (*at, _number(most)))} {below}")
            lines.append(f"{name}_sum{_labels(family.labels, at)} {_number(item.total)}")
            lines.append(f"{name}_count{_labels(family.labels, at)} {below}")
            for share in QUANTILES:
                labels = _labels((*family.labels, "quantile"), (*at, _number(share)))
                recent.append(f"{name}_recent{labels} {_number(_quantile(item.recent, share))}")
        return [
            f"# HELP {name} {family.help}",
            f"# TYPE {name} histogram",
            *lines,
            f"# HELP {name}_recent {family.help} Quantiles of the latest {RECENT}.",
            f"# TYPE {name}_recent gauge",
            *recent,
        ]


def _quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
