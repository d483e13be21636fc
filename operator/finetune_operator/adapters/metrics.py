"""Every metric of the operator: names, labels and meanings in one place.

No label ever holds a name of an object, a text, a secret or data: all label sets are bounded.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asked for


class Metrics:
    """The operator's own metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reconciles = self._counter(
            "reconciles", "Looks at a FineTuneJob, by how they ended.", "result"
        )
        self.reconcile_seconds = self._histogram("reconcile_seconds", "Time one look took.")
        self.queue_depth = self._gauge("queue_depth", "FineTuneJobs waiting for a worker.")
        self.api_requests = self._counter(
            "api_requests", "Requests to the API server.", "verb", "resource", "code"
        )
        self.api_seconds = self._histogram(
            "api_request_seconds", "Time of a request to the API server.", "verb"
        )
        self.hosted_requests = self._counter(
            "hosted_requests", "Requests to hosted services.", "operation", "code"
        )
        self.progress_reports = self._counter(
            "progress_reports", "Reports of pods to the progress endpoint.", "code"
        )
        self.leader = self._gauge("leader", "1 if this replica is the leader.")
        self.watch_age = self._gauge(
            "watch_age_seconds", "Time since the last event or bookmark of a watch.", "watch"
        )
        self.orphaned_remote_objects = self._counter(
            "orphaned_remote_objects", "Objects left behind at a hosted service."
        )
        self.events_dropped = self._counter("events_dropped", "Kubernetes Events not written.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"finetune_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"finetune_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"finetune_{name}", text, labels, registry=self.registry, buckets=_SECONDS)

    def count_jobs(self, jobs: Callable[[], Iterable[dict[str, Any]]]) -> None:
        """Report FineTuneJobs by phase and backend, counted when somebody asks."""
        self.registry.register(_JobCounts(jobs))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _JobCounts(Collector):
    """FineTuneJobs by phase and backend, and stalled ones: a count at scrape time cannot drift."""

    def __init__(self, jobs: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._jobs = jobs

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without samples, so that registering counts nothing."""
        return _families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One sample per phase and backend, and per reason and backend, that occur."""
        phases: Counts[tuple[str, str]] = Counts()
        stalled: Counts[tuple[str, str]] = Counts()
        for job in self._jobs():
            status = job.get("status", {})
            phase, backend = status.get("phase", "New"), status.get("backend", "Unknown")
            phases[phase, backend] += 1
            reason = _stalled_for(status)
            if reason is not None and phase not in _OVER:
                stalled[reason, backend] += 1
        families = _families()
        for family, tally in zip(families, (phases, stalled), strict=True):
            for labels, count in sorted(tally.items()):
                family.add_metric(labels, count)
        return families


_OVER = ("Failed", "Cancelled")
"""Phases of jobs that are stalled for good: nobody waits for them."""


def _stalled_for(status: dict[str, Any]) -> str | None:
    conditions = status.get("conditions", [])
    found = (c for c in conditions if (c["type"], c["status"]) == ("Stalled", "True"))
    return next((str(c["reason"]) for c in found), None)


def _families() -> list[GaugeMetricFamily]:
    return [
        GaugeMetricFamily(
            "finetune_jobs", "FineTuneJobs by phase and backend.", labels=["phase", "backend"]
        ),
        GaugeMetricFamily(
            "finetune_jobs_stalled",
            "FineTuneJobs that wait for somebody, by the reason and backend.",
            labels=["reason", "backend"],
        ),
    ]
