"""A client of `tl serve`: predictions, explanations, data sets, jobs and their events."""

import io
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tl.data.images import SHRUNK, read_encoded
from tl.data.inputs import ImageInputs, Input, read_inputs
from tl.errors import ImageError, ServiceError

_MAX_IMAGES, _MAX_BYTES = 64, 48 << 20  # of one request; the service's default limits are no lower
_MIN_SIDE = SHRUNK * 224  # pixels, below which frames of a video are not shrunk
_BYTES = "application/octet-stream"
_Upload = tuple[str, bytes, str]  # name, content, and why it cannot be read
_NO_PREDICTION: dict[str, Any] = {"label": None, "confidence": None, "unknown": None, "review": None, "top": []}


class _Refused(ServiceError):
    """The service answered with an error; `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A service at `url`, with a `key` of `tl keys add` if it requires one.

    `timeout` is in seconds; `authority` is a PEM file to check its certificate against. Every method raises
    ServiceError with the service's message. Thread-safe.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 60.0, authority: str | Path | None = None
    ) -> None:
        import urllib3

        if not url.startswith(("http://", "https://")):
            raise ServiceError(f"{url!r} is not an address: give one such as http://127.0.0.1:8000")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10.0, read=timeout),
            ssl_context=ssl.create_default_context(cafile=None if authority is None else str(authority)),
            retries=False,
            maxsize=8,
        )

    def predict(
        self,
        images: ImageInputs,
        *,
        run: str | None = None,
        top: int = 5,
        max_error: str | float | None = None,
        deadline: float | None = None,
    ) -> list[dict[str, Any]]:
        """Predict the labels of images: `name`, `label`, `confidence`, `unknown`, `review`, `top`, `error` of each.

        With `max_error`, such as 0.01 or "1%", at most that fraction of the labels without `review` is wrong.
        Images are given as for `tl predict` and read on this machine; `deadline` in seconds is for one request of up to
        64 images. An image that cannot be read has an `error`; if no image can be used, ServiceError says why.
        """
        milliseconds = None if deadline is None else round(deadline * 1000)
        query = {"run": run, "top": top, "max_error": max_error, "deadline_ms": milliseconds}
        rows: list[dict[str, Any]] = []
        refusal: _Refused | None = None
        for group in _groups(read_inputs(images, min_side=_MIN_SIDE)):
            usable = [("image", (name, content, _BYTES)) for name, content, reason in group if not reason]
            error, predictions = "", iter(())
            try:
                if usable:
                    predictions = iter(self._json("POST", "/v1/predict", query, fields=usable)["predictions"])
            except _Refused as caught:
                if caught.status != 422:
                    raise
                refusal, error = caught, str(caught)
            for name, _, reason in group:
                reason = reason or error
                row = _NO_PREDICTION | {"error": reason} if reason else dict(next(predictions))
                rows.append(row | {"name": name})
        if refusal is not None and all(row["error"] for row in rows):
            raise refusal
        return rows

    def explain(self, image: ImageInputs, *, run: str | None = None, label: str | None = None) -> bytes:
        """Draw a Grad-CAM heatmap of one image, for its predicted label or for the class `label`, as a PNG."""
        images = [one for group in _groups(read_inputs(image, min_side=_MIN_SIDE)) for one in group]
        if len(images) != 1:
            raise ServiceError(f"{len(images)} images: give one at a time")
        [(name, content, reason)] = images
        if reason:
            raise ServiceError(f"{name} cannot be sent: {reason}")
        fields = [("image", (name, content, _BYTES))]
        return bytes(self._call("POST", "/v1/explain", {"run": run, "label": label}, fields=fields).data)

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first; `default` is true for the one that answers."""
        return list(self._json("GET", "/v1/runs")["runs"])

    def activate(self, run: str) -> dict[str, Any]:
        """Make a run the default; `latest` follows the newest one. Needs an admin key."""
        return self._json("POST", f"/v1/runs/{quote(run, safe='')}/activate")

    def upload(self, archive: str | Path, *, name: str | None = None, check: bool = True) -> dict[str, Any]:
        """Upload a zip or tar of images as a data set; it is streamed."""
        path = Path(archive)
        query = {"name": name or path.name, "check": str(check).lower()}
        try:
            with path.open("rb") as stream:
                headers = {"Content-Type": _BYTES, "Content-Length": str(path.stat().st_size)}
                return self._json("POST", "/v1/datasets", query, body=stream, headers=headers)
        except OSError as error:
            raise ServiceError(f"{path} cannot be sent: {(error.strerror or str(error)).lower()}") from error

    def datasets(self) -> list[dict[str, Any]]:
        """All data sets, newest first."""
        return list(self._json("GET", "/v1/datasets")["datasets"])

    def finetune(self, dataset: str, *, run: str | None = None, **options: Any) -> dict[str, Any]:
        """Start fine-tuning on a data set (its `id`) with options of `tl finetune`; returns the job, with its `id`."""
        content = {"dataset": dataset, "options": options} | ({} if run is None else {"run": run})
        headers = {"Content-Type": "application/json"}
        return self._json("POST", "/v1/jobs", body=json.dumps(content), headers=headers)

    def jobs(self) -> list[dict[str, Any]]:
        """The newest jobs."""
        return list(self._json("GET", "/v1/jobs")["jobs"])

    def job(self, job: str) -> dict[str, Any]:
        """A job: its `state`, progress and result."""
        return self._json("GET", f"/v1/jobs/{quote(job, safe='')}")

    def cancel(self, job: str) -> dict[str, Any]:
        """Cancel a job."""
        return self._json("POST", f"/v1/jobs/{quote(job, safe='')}/cancel")

    def events(self, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and content of each event of a job, from its start until it has ended."""
        response = self._call("GET", f"/v1/jobs/{quote(job, safe='')}/events", preload_content=False)
        try:
            name = ""
            for line in io.TextIOWrapper(response, encoding="utf-8", errors="replace"):
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):  # the service sends one line of JSON for each event
                    yield name, json.loads(line[5:])
        finally:
            response.release_conn()
            response.close()

    def _json(self, method: str, path: str, query: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        response = self._call(method, path, query, **options)
        try:
            return dict(json.loads(response.data))
        except ValueError as error:
            raise ServiceError(f"{self._url}{path} is not a service of tl: check the address") from error

    def _call(self, method: str, path: str, query: dict[str, Any] | None = None, **options: Any) -> Any:
        """The response of the service; `options` are those of urllib3. A 429 is tried again, but not a stream."""
        import urllib3

        parameters = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        address = f"{self._url}{path}?{parameters}" if parameters else self._url + path
        options["headers"] = self._headers | options.get("headers", {})
        attempts = 1 if hasattr(options.get("body"), "read") else 3
        while True:
            try:
                response = self._pool.request(method, address, **options)
            except urllib3.exceptions.HTTPError as error:
                reason = str(getattr(error, "reason", None) or error).rsplit(": ", 1)[-1][:160]
                raise ServiceError(f"{self._url} cannot be reached ({reason}): is `tl serve` running?") from error
            attempts -= 1
            wait = response.headers.get("Retry-After", "")
            if response.status == 429 and attempts and wait.isdecimal() and float(wait) <= 30:
                response.drain_conn()
                time.sleep(float(wait))
                continue
            if response.status >= 400:
                raise _Refused(response.status, f"{self._url} answers {response.status}: {_detail(response)}")
            return response


def _groups(inputs: Iterator[Input]) -> Iterator[list[_Upload]]:
    """Read images and group them into requests."""
    group: list[_Upload] = []
    size = 0
    for name, image in inputs:
        try:
            content, reason = read_encoded(image), ""
        except ImageError as error:
            content, reason = b"", str(error)
        if group and (len(group) == _MAX_IMAGES or size + len(content) > _MAX_BYTES):
            yield group
            group, size = [], 0
        group.append((name, content, reason))
        size += len(content)
    if group:
        yield group


def _detail(response: Any) -> str:
    try:
        return str(json.loads(response.data)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(response.reason)
