"""The log and the metrics: a line of JSON per request on standard error, and figures for Prometheus.

The log contains no key, no header and no content. A request's id is its own `X-Request-ID` where that is well-formed;
the response repeats it.
"""

import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl.errors import RunError
from tl.prediction.predictor import Prediction
from tl.runs.run import Run, read_table
from tl.service.problems import CLIENT_GONE

Floats = NDArray[np.float64]

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_TOKEN = re.compile(r"tl_[A-Za-z0-9_-]{20,}")
_RECORD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_POLLED = ("/healthz", "/readyz", "/metrics")  # requested by machines every few seconds, so not logged

_LOG = logging.getLogger("tl.service")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; anything that looks like a key is masked."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        if record.exc_info and record.exc_info[0] is not None:
            entry["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return _TOKEN.sub("tl_***", json.dumps(entry, ensure_ascii=False, default=str))


def configure_logging() -> None:
    """Send the log of the service and of uvicorn to standard error as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("tl.service", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel("INFO" if name == "tl.service" else "CRITICAL")  # the rest of uvicorn's would repeat ours


class RequestLog:
    """The outermost ASGI middleware: gives each request an id, and logs and counts it."""

    def __init__(self, app: ASGIApp, *, metrics: "ServiceMetrics") -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        sent_id = Headers(scope=scope).get("x-request-id", "")
        request_id = sent_id if _ID.fullmatch(sent_id) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status, answered = 500, False

        async def receive_until_gone() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect" and not answered:
                status = CLIENT_GONE
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"] if status != CLIENT_GONE else status, True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive_until_gone, send_with_id)
        finally:
            self._record(scope, status, time.monotonic() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in _POLLED and status < 400:
            return
        state, client = scope["state"], scope.get("client")
        entry = {
            "request_id": state["request_id"],
            "method": method,
            "path": scope["path"][:200],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "client": client[0] if client else None,
            "key": state.get("key_name"),
        }
        _LOG.info("request", extra=entry)


_BINS = 10  # of the confidence histograms
_MEMORY = 1000  # predictions after which an older one counts for 1/e
_MIN_PREDICTIONS = 50  # before drift is reported
_LATENCY = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_MIN_FRACTION = 1e-4


class ServiceMetrics:
    """Counters, gauges and histograms; `page()` is the response of `/metrics`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # creation times would double the page
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry}
        self.requests = Counter("tl_requests", "Requests", ["method", "route", "status"], **own)
        self.seconds = Histogram("tl_request_seconds", "Time to answer a request", ["route"], buckets=_LATENCY, **own)
        self.pending = Gauge("tl_queue_photos", "Images in work, from decoding to answer", **own)
        self.full = Counter("tl_queue_full", "Requests refused with 429 because the queue was full", **own)
        self.photos = Counter("tl_photos", "Images by outcome", ["run", "outcome"], **own)
        self.sizes = Histogram("tl_batch_photos", "Images per batch", ["run"], buckets=(1, 2, 4, 8, 16, 32, 64), **own)
        self.engine = Histogram("tl_batch_seconds", "Engine time of a batch", ["run"], buckets=_LATENCY, **own)
        self.losses = Gauge("tl_decoders_replaced", "Decoder processes that crashed or hung", **own)
        self.unknown = Gauge("tl_unknown_share", "Fraction of unknown images among about the last 1000", ["run"], **own)
        self.drift = Gauge("tl_confidence_drift", "Population stability index of confidence", ["run"], **own)
        self.confidence = Gauge("tl_confidence_mean", "Mean confidence", ["run", "of"], **own)
        self._recent: dict[str, _RecentPredictions] = {}

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        for name, recent in list(self._recent.items()):
            recent.export(self, name)
        return generate_latest(self.registry)

    def add_run(self, run: Run) -> None:
        """Start to watch the confidences of a run."""
        self._recent.setdefault(run.name, _RecentPredictions(_validation_confidences(run)))

    def record_batch(self, run: str, size: int, seconds: float) -> None:
        """Record that the engine computed a batch."""
        self.sizes.labels(run).observe(size)
        self.engine.labels(run).observe(seconds)

    def record(self, run: str, prediction: Prediction) -> None:
        """Record the prediction of one image."""
        outcome = "error" if prediction.error else "unknown" if prediction.unknown else "known"
        self.photos.labels(run, outcome).inc()
        if not prediction.error and (recent := self._recent.get(run)):
            recent.add(prediction)


class _RecentPredictions:
    """Moving averages over a run's latest predictions, and the confidences of its validation images."""

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = _histogram(reference) / max(1, len(reference))
        self.reference_mean = sum(reference) / len(reference) if reference else None
        self.recent = np.zeros(_BINS)
        self.count = 0
        self.mean = self.unknown = 0.0

    def add(self, prediction: Prediction) -> None:
        self.count += 1
        step = max(1 / self.count, 1 / _MEMORY)
        self.recent += step * (_histogram([prediction.confidence]) - self.recent)
        self.mean += step * (prediction.confidence - self.mean)
        self.unknown += step * (prediction.unknown - self.unknown)

    def export(self, metrics: ServiceMetrics, run: str) -> None:
        if self.reference_mean is not None:
            metrics.confidence.labels(run, "validation").set(self.reference_mean)
        if self.count:
            metrics.confidence.labels(run, "late").set(self.mean)
            metrics.unknown.labels(run).set(self.unknown)
        if self.reference_mean is not None and self.count >= _MIN_PREDICTIONS:
            metrics.drift.labels(run).set(_population_stability_index(self.reference, self.recent))


def _validation_confidences(run: Run) -> list[float]:
    """The confidences of a run's validation images; empty where its predictions.csv cannot be read."""
    try:
        rows = read_table(run, "predictions.csv", ("split", "confidence"))
        confidences = [float(confidence) for part, confidence in rows if part != "test"]
    except (RunError, ValueError):
        return []
    return [value for value in confidences if 0 <= value <= 1]


def _population_stability_index(before: Floats, now: Floats) -> float:
    """How far two histograms differ: below 0.1 they are alike, above 0.25 they are not."""
    old, new = np.maximum(before, _MIN_FRACTION), np.maximum(now, _MIN_FRACTION)
    return float(((new - old) * np.log(new / old)).sum())


def _histogram(confidences: Sequence[float]) -> Floats:
    """The number of confidences in each tenth of 0 to 1."""
    return np.histogram(np.clip(confidences, 0, 1), _BINS, (0, 1))[0].astype(np.float64)
