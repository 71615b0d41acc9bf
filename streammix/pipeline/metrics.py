"""What a run tells Prometheus of itself.

The loop leaves a fresh set of numbers now and then, and whoever asks is answered from the last one: no question reaches
into a model that is learning.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streammix.auto.automixture import AutoMixture
from streammix.mixture import Mixture
from streammix.pipeline.progress import Tally

__all__ = ["Metrics"]

PUBLISH_SECONDS = 0.25
WINDOW_SECONDS = 10.0


@dataclass(frozen=True)
class _Numbers:
    """One set: it is replaced as a whole."""

    records: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    scored: int = 0
    log_density: float = 0.0
    rate: float = 0.0
    mean_log_density: float | None = None
    lag: int | None = None
    labels: list[int] | None = None
    weights: NDArray[np.float64] | None = None
    sample_sizes: NDArray[np.float64] | None = None
    events: dict[str, int] | None = None
    doubts: list[str] | None = None
    background: float | None = None


class Metrics(Collector):
    """The numbers of a run.

    Attributes
    ----------
    is_ready
        Whether the run has taken up its last checkpoint.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.checkpointed(seconds=0.25, size=4096)
    >>> "streammix_checkpoint_size_bytes 4096.0" in metrics.text().decode().splitlines()
    True
    """

    def __init__(self) -> None:
        self.is_ready = False
        self._faults = 0
        self._numbers = _Numbers()
        self._past: deque[tuple[float, int, int, float]] = deque()  # (when, records, scored, log density)
        self._published = -PUBLISH_SECONDS
        self._checkpoint: tuple[float, float, int] | None = None  # (when, seconds, bytes)
        self._checkpoints = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all numbers, as Prometheus reads them."""
        return generate_latest(self._registry)

    def took(self, tally: Tally, model: Mixture) -> None:
        """Publish how the run stands, if it is time."""
        now = time.monotonic()
        if now - self._published < PUBLISH_SECONDS:
            return
        self._published = now
        self._past.append((now, tally.records, tally.scored, tally.log_density))
        while len(self._past) > 2 and self._past[1][0] <= now - WINDOW_SECONDS:
            self._past.popleft()
        begin, records, scored, log_density = self._past[0]
        n_scored = tally.scored - scored
        running, weights = model._learner.running, model.weights
        supervised = model if isinstance(model, AutoMixture) else None
        self._numbers = _Numbers(
            events=None if supervised is None else supervised.event_counts,
            doubts=None if supervised is None else [doubt["sign"] for doubt in supervised.warnings],
            background=None if supervised is None else supervised.background_weight,
            labels=None if supervised is None else supervised.labels,
            records=tally.records,
            reasons=dict(tally.reasons),
            scored=tally.scored,
            log_density=tally.log_density,
            rate=(tally.records - records) / (now - begin) if now > begin else 0.0,
            mean_log_density=(tally.log_density - log_density) / n_scored if n_scored else None,
            lag=tally.lag,
            weights=None if running is None else weights.copy(),
            sample_sizes=None if running is None else running.published_state.counts[0, : len(weights)].copy(),
        )

    def checkpointed(self, seconds: float, size: int) -> None:
        """Note a checkpoint."""
        self._checkpoints += 1
        self._checkpoint = time.monotonic(), seconds, size

    def failed(self) -> None:
        """Note that the run has to begin again at its last checkpoint."""
        self._faults += 1
        self.is_ready = False

    def restored(self, age: float, size: int) -> None:
        """Note the checkpoint that the run goes on from, written so many seconds ago."""
        self._checkpoint = time.monotonic() - max(age, 0.0), 0.0, size

    def collect(self) -> Iterator[Metric]:
        """Return the numbers as metrics."""
        now = self._numbers
        yield _gauge("ready", "Whether the run has taken up its last checkpoint.", float(self.is_ready))
        yield _counter("records", "Records of the whole stream, refused ones among them.", now.records)
        rejected = CounterMetricFamily(
            "streammix_rejected", "Records that this run has refused, by class of reasons.", labels=["reason"]
        )
        for reason, n in now.reasons.items():
            rejected.add_metric([reason], n)
        yield rejected
        yield _gauge("records_per_second", "Records a second in the last ten seconds.", now.rate)
        yield _counter("scored", "Records of the whole stream that have a log density.", now.scored)
        yield _gauge("log_density_sum", "The sum of their log densities.", now.log_density)
        if now.mean_log_density is not None:
            mean = now.mean_log_density
            yield _gauge("mean_log_density", "The mean log density of the records of the last ten seconds.", mean)
        if now.lag is not None:
            yield _gauge("lag_records", "Records that the source holds and the run has not read.", now.lag)
        for name, what, values in (
            ("component_weight", "Mixing weight.", now.weights),
            ("component_effective_sample_size", "How many records stand behind a component.", now.sample_sizes),
        ):
            yield _by_component(name, what, values, now.labels)
        if now.events is not None:
            events = CounterMetricFamily("streammix_events", "What a supervised model did.", labels=["kind"])
            for kind, n in now.events.items():
                events.add_metric([kind], n)
            yield events
        if now.doubts is not None:
            doubts = GaugeMetricFamily("streammix_doubt", "Signs that the model may be wrong.", labels=["sign"])
            for sign in sorted(set(now.doubts)):
                doubts.add_metric([sign], 1)
            yield doubts
        if now.background is not None:
            yield _gauge("background_weight", "The share of records that no component explains.", now.background)
        yield _counter("faults", "Times that the run had to go back to its last checkpoint.", self._faults)
        yield _counter("checkpoints", "Checkpoints that this run has written.", self._checkpoints)
        if self._checkpoint is not None:
            when, seconds, size = self._checkpoint
            yield _gauge("checkpoint_age_seconds", "Since the last checkpoint.", time.monotonic() - when)
            yield _gauge("checkpoint_duration_seconds", "How long the last checkpoint took, sinks and all.", seconds)
            yield _gauge("checkpoint_size_bytes", "The last checkpoint's bytes.", size)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"streammix_{name}", what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"streammix_{name}", what, value=value)


def _by_component(name: str, what: str, values: NDArray[np.float64] | None, labels: list[int] | None) -> Metric:
    """A number of each component: by its place or, where places change, by the label that lasts."""
    family = GaugeMetricFamily(f"streammix_{name}", what, labels=["component" if labels is None else "label"])
    for k, value in enumerate([] if values is None else values.tolist()):
        label = k if labels is None else labels[k]
        if label >= 0:
            family.add_metric([str(label)], value)
    return family
