"""What happens in the service becomes figures for Prometheus, each service with a registry of its own."""

import csv
import math
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from tl.prediction.predictor import Prediction
from tl.runs.run import Run

BINS = 10  # of confidence, for its drift
_MEMORY = 1000  # answers after which an older one counts for 1/e
_FEW = 50  # answers before which drift says nothing
_LATENCY = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_RARE = 1e-4


class Metrics:
    """Counters, gauges and histograms; `page()` is what `/metrics` answers."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the time of each series' making doubles the page and tells nothing
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry}
        self.requests = Counter("tl_requests", "Requests answered", ["method", "route", "status"], **own)
        self.seconds = Histogram("tl_request_seconds", "Request to answer", ["route"], buckets=_LATENCY, **own)
        self.pending = Gauge("tl_queue_photos", "Photos under way, from decoding to answer", **own)
        self.full = Counter("tl_queue_full", "Requests refused with 429 as the queue was full", **own)
        self.photos = Counter("tl_photos", "Photos by outcome", ["run", "outcome"], **own)
        self.sizes = Histogram("tl_batch_photos", "Photos in a batch", ["run"], buckets=(1, 2, 4, 8, 16, 32, 64), **own)
        self.engine = Histogram("tl_batch_seconds", "Engine time of a batch", ["run"], buckets=_LATENCY, **own)
        self.losses = Gauge("tl_decoders_replaced", "Decoding processes that crashed or hung", **own)
        self.unknown = Gauge("tl_unknown_share", "Share of unknown photos, of the last thousand or so", ["run"], **own)
        self.drift = Gauge("tl_confidence_drift", "Confidence now against validation: stability index", ["run"], **own)
        self.confidence = Gauge("tl_confidence_mean", "Mean confidence", ["run", "of"], **own)
        self._watched: dict[str, _Watched] = {}

    def page(self) -> bytes:
        """The figures in Prometheus' text form."""
        for name, watched in list(self._watched.items()):
            watched.tell(self, name)
        return generate_latest(self.registry)

    def opened(self, run: Run) -> None:
        """A run is served from now on."""
        self._watched.setdefault(run.name, _Watched(validated(run)))

    def batch(self, run: str, size: int, seconds: float) -> None:
        """A batch has passed through the engine."""
        self.sizes.labels(run).observe(size)
        self.engine.labels(run).observe(seconds)

    def answered(self, run: str, prediction: Prediction) -> None:
        """A photo has its answer."""
        outcome = "error" if prediction.error else "unknown" if prediction.unknown else "known"
        self.photos.labels(run, outcome).inc()
        if not prediction.error and (watched := self._watched.get(run)):
            watched.see(prediction)


class _Watched:
    """Confidences of one run: those of its validation photos, and those of late."""

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = shares(reference)
        self.mean = sum(reference) / len(reference) if reference else None
        self.late = [0.0] * BINS
        self.seen = 0
        self.late_mean = self.late_unknown = 0.0

    def see(self, prediction: Prediction) -> None:
        self.seen += 1
        step = max(1 / self.seen, 1 / _MEMORY)
        self.late = [share * (1 - step) for share in self.late]
        self.late[_bin(prediction.confidence)] += step
        self.late_mean += step * (prediction.confidence - self.late_mean)
        self.late_unknown += step * (prediction.unknown - self.late_unknown)

    def tell(self, metrics: Metrics, run: str) -> None:
        if self.mean is not None:
            metrics.confidence.labels(run, "validation").set(self.mean)
        if not self.seen:
            return
        metrics.confidence.labels(run, "late").set(self.late_mean)
        metrics.unknown.labels(run).set(self.late_unknown)
        if self.reference and self.seen >= _FEW:
            metrics.drift.labels(run).set(stability(self.reference, self.late))


def validated(run: Run) -> list[float]:
    """The confidences of a run's validation photos; none where its table cannot be read."""
    try:
        with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            found = [float(row["confidence"]) for row in csv.DictReader(stream) if row["split"] != "test"]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return [value for value in found if 0 <= value <= 1]


def shares(confidences: Sequence[float]) -> list[float]:
    """The share of confidences in each tenth of 0 to 1; empty for none."""
    counts = [0] * BINS
    for value in confidences:
        counts[_bin(value)] += 1
    return [count / len(confidences) for count in counts] if confidences else []


def stability(before: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of two histograms: below 0.1 they are alike, above 0.25 they are not."""
    pairs = [(max(old, _RARE), max(new, _RARE)) for old, new in zip(before, now, strict=True)]
    return sum((new - old) * math.log(new / old) for old, new in pairs)


def _bin(confidence: float) -> int:
    return min(BINS - 1, max(0, int(confidence * BINS)))
