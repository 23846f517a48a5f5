"""The operator's figures for Prometheus.

Counters and histograms are counted as things happen. What can be read off when somebody asks is: controllers show
themselves while they run, so that a process that has lost the lead shows nothing of when it had it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric

from slipway.api.kinds import Kind
from slipway.api.stack import REFUSED
from slipway.errors import Conflict, NotFound

REGISTRY = CollectorRegistry()
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

RECONCILES = Counter("slipway_reconcile", "Reconciles that have ended", ["kind", "result"], registry=REGISTRY)
RECONCILE_SECONDS = Histogram(
    "slipway_reconcile_seconds", "Of one reconcile", ["kind"], buckets=SECONDS, registry=REGISTRY
)
WAIT_SECONDS = Histogram(
    "slipway_queue_wait_seconds", "From added to taken up", ["kind"], buckets=SECONDS, registry=REGISTRY
)
REFUSALS = Counter("slipway_admission_refusals", "Stacks that may not run", ["reason"], registry=REGISTRY)
MISSED = Counter(
    "slipway_watch_missed", "Changes that a sweep found before the watch brought them", ["kind"], registry=REGISTRY
)
EVENTS_DROPPED = Counter("slipway_events_dropped", "Kubernetes Events that were never written", registry=REGISTRY)
MIRROR_BEHIND = Gauge("slipway_mirror_behind", "Items of the DynamoDB table that differ", registry=REGISTRY)
MIRROR_SUCCESS = Gauge(
    "slipway_mirror_last_success_timestamp_seconds", "When the table was last as it should be", registry=REGISTRY
)
LEADER = Gauge("slipway_leader", "Whether this process reconciles", registry=REGISTRY)

ProcessCollector(registry=REGISTRY)
for _reason in sorted(REFUSED):
    REFUSALS.labels(_reason)  # a rate needs the zero before the first one


class Meter:
    """Measures one kind's queue."""

    def __init__(self, kind: str) -> None:
        self._wait, self._seconds = WAIT_SECONDS.labels(kind), RECONCILE_SECONDS.labels(kind)
        self._results = {result: RECONCILES.labels(kind, result) for result in ("success", "error", "conflict")}

    def taken(self, added: float) -> float:
        """A key is taken up. added: by `perf_counter`. Returns now."""
        now = perf_counter()
        self._wait.observe(now - added)
        return now

    def ended(self, started: float, error: Exception | None) -> None:
        self._seconds.observe(perf_counter() - started)
        match error:
            case None:
                result = "success"
            case Conflict() | NotFound():  # somebody was faster: nothing is wrong
                result = "conflict"
            case _:
                result = "error"
        self._results[result].inc()


class Queue(Protocol):
    """What is read of a queue, from another thread."""

    def __len__(self) -> int: ...

    @property
    def active(self) -> int: ...


@dataclass(frozen=True)
class Source:
    """One controller. measured: what its kind alone has; called from another thread."""

    queue: Queue
    measured: Callable[[], Iterable[Metric]]


class Controllers:
    """What the running controllers show, read at each scrape."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    @contextmanager
    def shown(self, kind: Kind, queue: Queue, measured: Callable[[], Iterable[Metric]]) -> Iterator[None]:
        """Show a controller for as long as it runs; of two of one kind, the one that came last."""
        source = self._sources[kind.kind] = Source(queue, measured)
        try:
            yield
        finally:
            if self._sources.get(kind.kind) is source:
                del self._sources[kind.kind]

    @property
    def running(self) -> bool:
        return bool(self._sources)

    def collect(self) -> Iterator[Metric]:
        sources = self._sources.copy()
        depth = GaugeMetricFamily("slipway_queue_depth", "Resources that wait to be reconciled", labels=["kind"])
        active = GaugeMetricFamily("slipway_queue_active", "Resources being reconciled", labels=["kind"])
        for kind, source in sources.items():
            depth.add_metric([kind], len(source.queue))
            active.add_metric([kind], source.queue.active)
        yield from (depth, active)
        for source in sources.values():
            yield from source.measured()


CONTROLLERS = Controllers()
REGISTRY.register(CONTROLLERS)
LEADER.set_function(lambda: float(CONTROLLERS.running))
