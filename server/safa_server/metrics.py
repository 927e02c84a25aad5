"""Counters, gauges and timings of a server, by the Prometheus client library.

One Registry is made with the server and handed to whatever counts. It knows the names in FAMILIES and no others, so a
metric that is not documented cannot be counted. Safe from any thread.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
QUANTILES = (0.5, 0.95, 0.99)
#: Timings that the quantiles are of: the latest so many.
RECENT = 1024
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Kind = Literal["counter", "gauge", "histogram"]
_Kept = TypeVar("_Kept", Counter, Gauge, Histogram)


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
    Family(
        "safa_lead_quantile_seconds",
        "gauge",
        "Lead that this share of the sessions in real time does not exceed; 0 is the shortest.",
        ("quantile",),
    ),
    Family("safa_layers", "gauge", "Layers in real time that are kept fed; one of many channels counts for each pair."),
    Family("safa_views_failed_total", "counter", "Views that the model failed to make."),
    Family("safa_snapshot_age_seconds", "gauge", "Age of the oldest of the playing sessions' newest snapshots."),
    Family("safa_sessions_unkept", "gauge", "Sessions without a journal though there is a state folder."),
    Family("safa_restore_seconds", "histogram", "Time in which kept sessions went on again."),
    Family("safa_sessions_restored_total", "counter", "Sessions that went on from what was kept of them."),
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
    Family("safa_connections_cut_total", "counter", "Connections cut as their token had expired or was revoked."),
    Family(
        "safa_tenant_sessions", "gauge", "Sessions that are open, by tenant; those of none are not told.", ("tenant",)
    ),
    Family("safa_tenant_refused_total", "counter", "Messages refused by a tenant's quota.", ("tenant", "quota")),
    Family("safa_front_clients", "gauge", "Clients of a cluster's front end."),
    Family(
        "safa_front_rejoin_seconds",
        "histogram",
        "From losing an engine, or its letting go of a session, to having the session again.",
    ),
    Family("safa_listeners", "gauge", "Connections that listen to a session."),
    Family("safa_resumed_total", "counter", "Times that a lost client came back to its session."),
    Family("safa_messages_total", "counter", "Text messages from WebSocket clients."),
    Family("safa_messages_refused_total", "counter", "Messages that were refused, by error code.", ("code",)),
    Family("safa_messages_delayed_total", "counter", "Messages that waited because their client sent too many."),
    Family("safa_frames_sent_total", "counter", "Audio frames sent."),
    Family("safa_frame_bytes_sent_total", "counter", "Bytes of audio frames sent."),
    Family("safa_samples_dropped_total", "counter", "Samples not sent to clients that were too slow."),
    Family("safa_encode_seconds", "histogram", "Time of encoding one block in all its encodings."),
    Family("safa_frames_waiting", "gauge", "Frames that wait for listeners without room."),
    Family("safa_listeners_behind", "gauge", "Listeners that have not been sent all there is."),
    Family("safa_loop_late_seconds", "histogram", "How late the event loop was for something due."),
    Family("safa_cpu_seconds_total", "counter", "CPU time of the server's process."),
    Family("safa_memory_bytes", "gauge", "Memory of the server's process that is in RAM; 0 where it cannot be told."),
    Family("safa_trace_lost_total", "counter", "Facts and spans that did not get to the collector of traces."),
    Family("safa_http_requests_total", "counter", "HTTP requests, by status.", ("status",)),
    Family("safa_osc_messages_total", "counter", "OSC messages read."),
    Family("safa_osc_refused_total", "counter", "OSC messages that were refused."),
    Family("safa_device_open", "gauge", "1 while the server's sound device is there, else 0."),
    Family("safa_device_away", "gauge", "1 while the server's sound device is gone and looked for, else 0."),
    Family("safa_device_lost_total", "counter", "Times that the sound device went away."),
    Family("safa_broadcast_connected", "gauge", "1 while this broadcast is sent, else 0.", ("broadcast",)),
    Family(
        "safa_broadcast_lost_total", "counter", "Times that the other end of a broadcast went away.", ("broadcast",)
    ),
    Family("safa_broadcast_samples_sent_total", "counter", "Samples sent, silence among them.", ("broadcast",)),
    Family(
        "safa_broadcast_samples_dropped_total",
        "counter",
        "Samples that the other end was too slow for.",
        ("broadcast",),
    ),
    Family(
        "safa_broadcast_samples_missing_total", "counter", "Samples of silence as sound came too late.", ("broadcast",)
    ),
    Family(
        "safa_broadcast_samples_unheard_total", "counter", "Samples made while there was no other end.", ("broadcast",)
    ),
    Family("safa_device_underruns_total", "counter", "Times that the sound device found nothing to play."),
)


class Registry:
    """What is counted. Labels are given as keyword arguments; a name or label that is not known raises KeyError."""

    #: Label values of one metric; later ones are counted together as "other", so that no client grows the registry.
    most_labels = 256

    def __init__(self, families: Sequence[Family] = FAMILIES) -> None:
        self._families: Mapping[str, Family] = {family.name: family for family in families}
        self._collectors = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._recent: dict[str, _Recent] = {}
        self._label_values: dict[str, set[tuple[str, ...]]] = {family.name: set() for family in families}
        self._lock = threading.Lock()
        for family in families:
            self._register(family)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter, or to a gauge."""
        if name in self._gauges:
            self._at(self._gauges, name, labels).inc(amount)
        else:
            self._at(self._counters, name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._at(self._gauges, name, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Note one timing (seconds) or size."""
        metric, values = self._histograms[name], self._place(name, labels)
        (metric.labels(*values) if values else metric).observe(value)
        self._recent[name].append(values, value)

    def forget(self, name: str, **labels: str) -> None:
        """Leave out a gauge with labels whose subject is gone."""
        values = self._values(name, labels)
        self._gauges[name].remove(*values)
        with self._lock:
            self._label_values[name].discard(values)

    def value(self, name: str, **labels: str) -> float:
        """A counter's or gauge's value, 0 where nothing was counted."""
        self._values(name, labels)
        return self._collectors.get_sample_value(name, labels) or 0.0

    def quantile(self, name: str, share: float, **labels: str) -> float:
        """The value that `share` of the latest observations do not exceed; NaN where there are none."""
        return self._recent[name].quantile(self._values(name, labels), share)

    def text(self) -> str:
        """All metrics in Prometheus' text form, those without labels also where nothing was counted yet."""
        return generate_latest(_WithoutCreated(self._collectors)).decode()

    def _register(self, family: Family) -> None:
        name, kept = family.name, self._collectors
        match family.kind:
            case "counter":
                self._counters[name] = Counter(name, family.help, family.labels, registry=kept)
            case "gauge":
                self._gauges[name] = Gauge(name, family.help, family.labels, registry=kept)
            case "histogram":
                self._histograms[name] = Histogram(
                    name, family.help, family.labels, registry=kept, buckets=family.buckets
                )
                self._recent[name] = _Recent(family)
                kept.register(self._recent[name])

    def _at(self, metrics: Mapping[str, _Kept], name: str, labels: Mapping[str, str]) -> _Kept:
        metric, values = metrics[name], self._place(name, labels)
        return metric.labels(*values) if values else metric

    def _place(self, name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The label values that are counted at: these, or "other" where a metric has too many."""
        values = self._values(name, labels)
        with self._lock:
            known = self._label_values[name]
            if values not in known and len(known) >= self.most_labels:
                return ("other",) * len(values)
            known.add(values)
            return values

    def _values(self, name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        family = self._families[name]
        if set(labels) != set(family.labels):
            raise KeyError(f"metric {name} has the labels {family.labels}, not {tuple(labels)}")
        return tuple(str(labels[label]) for label in family.labels)


class _Recent(Collector):
    """A histogram's latest observations, told as a gauge of their quantiles."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._latest: dict[tuple[str, ...], deque[float]] = {} if family.labels else {(): deque(maxlen=RECENT)}
        self._lock = threading.Lock()

    def append(self, values: tuple[str, ...], value: float) -> None:
        with self._lock:
            self._latest.setdefault(values, deque(maxlen=RECENT)).append(value)

    def quantile(self, values: tuple[str, ...], share: float) -> float:
        with self._lock:
            return _quantile(self._latest.get(values, ()), share)

    def collect(self) -> Iterator[Metric]:
        name, help, labels = self._family.name, self._family.help, self._family.labels
        told = GaugeMetricFamily(
            f"{name}_recent", f"{help} Quantiles of the latest {RECENT}.", labels=(*labels, "quantile")
        )
        for values in list(self._latest):
            for share in QUANTILES:
                told.add_metric((*values, f"{share:g}"), self.quantile(values, share))
        yield told


class _WithoutCreated(Collector):
    """Metrics without the times at which they began to be counted; the library can only leave those out everywhere."""

    def __init__(self, metrics: Collector) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
