"""One `/metrics` of many processes: their Prometheus texts, each sample with its process, each family once. Pure.

Nothing is added up. Counters, and buckets of histograms, stay what their process counted, so that one which is started
anew is seen to begin at 0 and `sum by (le) (rate(...))` is right; sums over processes are the query's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics_core import METRIC_TYPES
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

#: What a label is called that a process gave itself and that is in the way; Prometheus does the same.
MOVED = "exported_"


def merged(engines: Mapping[str, str | None], fronts: Mapping[str, str | None] | None = None) -> str:
    """The text of all processes, by their names: `engine="NAME"` or `front="NAME"` on every sample.

    A process that was not reached has None, or a text that is none; it is there as `safa_engine_up` (`safa_front_up`)
    0, and the others as 1. Of a family that two processes know as different kinds the first one's is kept.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged((("engine", engines), ("front", fronts or {}))))
    return generate_latest(registry).decode()


class _Merged(Collector):
    def __init__(self, groups: Iterable[tuple[str, Mapping[str, str | None]]]) -> None:
        self._groups = tuple(groups)

    def collect(self) -> Iterator[Metric]:
        """Families in the order in which they are first told."""
        found: dict[str, Metric] = {}
        for label, texts in self._groups:
            up = GaugeMetricFamily(
                f"safa_{label}_up", f"1 while this {label} tells its metrics, else 0.", labels=(label,)
            )
            for name, text in texts.items():
                families = _read(text)
                up.add_metric((name,), families is not None)
                for family in families or ():
                    kept = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                    if kept.type == family.type:
                        kept.samples += [_labelled(sample, label, name) for sample in family.samples]
            if texts:
                yield up
        yield from found.values()


def _read(text: str | None) -> list[Metric] | None:
    """The families of one process, None where it did not answer or what it said is no such text."""
    if text is None:
        return None
    try:
        families = [family for family in text_string_to_metric_families(text) if family.type in METRIC_TYPES]
    except (ValueError, KeyError, IndexError):  # what the library's parser raises for what is none
        return None
    return families or None


def _labelled(sample: Sample, label: str, name: str) -> Sample:
    own = {MOVED + known if known == label else known: value for known, value in sample.labels.items()}
    return sample._replace(labels={**own, label: name})
