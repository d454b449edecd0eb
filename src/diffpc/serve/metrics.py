"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from diffpc.serve.studio import Studio

BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class StudioCollector(Collector):
    """Reads a studio's counts when it is asked."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        jobs = CounterMetricFamily(
            "diffpc_jobs", "Jobs since the start, by what became of them", labels=["outcome"]
        )
        for outcome, number in self._studio.jobs.counts.items():
            jobs.add_metric([outcome], number)
        yield jobs
        yield GaugeMetricFamily("diffpc_jobs_waiting", "Jobs in the queue", self._studio.jobs.waiting)
        yield GaugeMetricFamily("diffpc_identities", "Identities that are held", len(self._studio.identities))


def registry_of(studio: Studio) -> tuple[CollectorRegistry, Histogram]:
    """A registry of this studio, and the histogram of the answers' times in it."""
    registry = CollectorRegistry()
    registry.register(StudioCollector(studio))
    seconds = Histogram(
        "diffpc_http_seconds", "Time to answer", ["route", "status"], registry=registry, buckets=BUCKETS
    )
    return registry, seconds
