"""The address of a service becomes an object whose methods are what it offers: predictions, data sets, jobs, events."""

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from tl.data.images import encode_png, read
from tl.data.inputs import ImageInputs, Input, read_inputs
from tl.errors import ImageError, ServiceError

_ATTEMPTS = 3  # for what was refused as the service was busy; it says when to come again
_LONGEST = 30.0  # seconds that are waited for that
_CONNECT = 10.0
_MAX_IMAGES, _MAX_BYTES = 64, 48 << 20  # of one request, as the service takes them by default
_MIN_SIDE = 640  # pixels: frames of a video are not shrunk below what any network takes


class _Refused(ServiceError):
    """The service answers with an error; `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A service at `url`, with a `key` of `tl keys add` where it asks for one.

    `timeout` is in seconds; `authority` is a PEM file that its certificate is checked against. Every method raises
    ServiceError with what the service says. May be used by several threads.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 60.0, authority: str | Path | None = None
    ) -> None:
        import urllib3

        if not url.startswith(("http://", "https://")):
            raise ServiceError(f"{url!r} is no address: give one such as http://127.0.0.1:8000")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        waits = urllib3.Timeout(connect=_CONNECT, read=timeout)
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        self._pool = urllib3.PoolManager(timeout=waits, ssl_context=context, retries=False, maxsize=8)

    def predict(
        self, images: ImageInputs, *, run: str | None = None, top: int = 5, deadline: float | None = None
    ) -> list[dict[str, Any]]:
        """Predict the labels of images: `name`, `label`, `confidence`, `unknown`, `top`, `error` of each.

        Images are given as for `tl predict` and read on this machine; `deadline` in seconds is for one request of up to
        64 images. An image that cannot be read has an `error`; where none can be used, ServiceError says why.
        """
        query = {"run": run, "top": top, "deadline_ms": None if deadline is None else round(deadline * 1000)}
        rows: list[dict[str, Any]] = []
        refusal: _Refused | None = None
        for group in _groups(read_inputs(images, min_side=_MIN_SIDE)):
            parts = [("image", (one.name, one.content, _BYTES)) for one in group if not one.error]
            errors = {at: one.error for at, one in enumerate(group) if one.error}
            answers: list[dict[str, Any]] = []
            try:
                answers = self._json("POST", "/v1/predict", query, fields=parts)["predictions"] if parts else []
            except _Refused as error:
                if error.status != 422:
                    raise
                refusal = error
                errors |= {at: str(error) for at in range(len(group)) if at not in errors}
            remaining = iter(answers)
            rows += [
                _NO_ANSWER | {"name": one.name, "error": errors[at]}
                if at in errors
                else dict(next(remaining)) | {"name": one.name}
                for at, one in enumerate(group)
            ]
        if refusal is not None and all(row["error"] for row in rows):
            raise refusal
        return rows

    def explain(self, image: ImageInputs, *, run: str | None = None, label: str | None = None) -> bytes:
        """Draw a Grad-CAM heatmap of one image, for its label or the class called `label`, as a PNG."""
        inputs = list(read_inputs(image, min_side=_MIN_SIDE))
        if len(inputs) != 1:
            raise ServiceError(f"{len(inputs)} images: one is explained at a time")
        [[part]] = _groups(iter(inputs))
        if part.error:
            raise ServiceError(f"{part.name} cannot be sent: {part.error}")
        fields = [("image", (part.name, part.content, _BYTES))]
        return bytes(self._call("POST", "/v1/explain", {"run": run, "label": label}, fields=fields).data)

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first; `default` is true for the one that answers."""
        return list(self._json("GET", "/v1/runs")["runs"])

    def activate(self, run: str) -> dict[str, Any]:
        """Let a run answer from now on, `latest` for the newest one at any time. For admins."""
        return self._json("POST", f"/v1/runs/{quote(run, safe='')}/activate")

    def upload(self, archive: str | Path, *, name: str | None = None, check: bool = True) -> dict[str, Any]:
        """Give a zip or tar of photos as a data set; it is sent as it is read."""
        path = Path(archive)
        try:
            with path.open("rb") as stream:
                asked = {"name": name or path.name, "check": str(check).lower()}
                return self._json("POST", "/v1/datasets", asked, stream=stream, size=path.stat().st_size)
        except OSError as error:
            raise ServiceError(f"{path} cannot be sent: {(error.strerror or str(error)).lower()}") from error

    def datasets(self) -> list[dict[str, Any]]:
        """All data sets, the newest first."""
        return list(self._json("GET", "/v1/datasets")["datasets"])

    def finetune(self, dataset: str, *, run: str | None = None, **options: Any) -> dict[str, Any]:
        """Ask for fine-tuning on a data set (its `id`), with options of `tl finetune`: the job, with its `id`."""
        asked = {"dataset": dataset, "options": options} | ({} if run is None else {"run": run})
        return self._json("POST", "/v1/jobs", content=asked)

    def jobs(self) -> list[dict[str, Any]]:
        """The newest jobs."""
        return list(self._json("GET", "/v1/jobs")["jobs"])

    def job(self, job: str) -> dict[str, Any]:
        """A job: its `state`, how far it is, and what came of it."""
        return self._json("GET", f"/v1/jobs/{quote(job, safe='')}")

    def cancel(self, job: str) -> dict[str, Any]:
        """Ask for a job's end."""
        return self._json("POST", f"/v1/jobs/{quote(job, safe='')}/cancel")

    def events(self, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and content of what a job tells, from its beginning, until it has ended."""
        answer = self._call("GET", f"/v1/jobs/{quote(job, safe='')}/events", streaming=True)
        try:
            name, content = "", ""
            for line in _lines(answer):
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    content += line[5:].strip()
                elif not line and content:
                    yield name, json.loads(content)
                    name, content = "", ""
        finally:
            answer.release_conn()
            answer.close()

    def _json(self, method: str, path: str, asked: Mapping[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        answer = self._call(method, path, asked, **body)
        try:
            return dict(json.loads(answer.data))
        except ValueError as error:
            raise ServiceError(f"{self._url}{path} does not answer as a service of tl: check the address") from error

    def _call(
        self,
        method: str,
        path: str,
        asked: Mapping[str, Any] | None = None,
        *,
        fields: Sequence[tuple[str, Any]] | None = None,
        content: Any = None,
        stream: IO[bytes] | None = None,
        size: int = 0,
        streaming: bool = False,
    ) -> Any:
        query = urlencode({name: value for name, value in (asked or {}).items() if value is not None})
        address = self._url + path + (f"?{query}" if query else "")
        given: dict[str, Any] = {"headers": dict(self._headers), "preload_content": not streaming}
        if fields is not None:
            given["fields"] = fields
        elif content is not None:
            given |= {"body": json.dumps(content)}
            given["headers"]["Content-Type"] = "application/json"
        elif stream is not None:
            given |= {"body": stream}
            given["headers"] |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        attempts = 1 if stream is not None else _ATTEMPTS
        return self._answered(method, address, given, attempts)

    def _answered(self, method: str, address: str, given: dict[str, Any], attempts: int) -> Any:
        import time

        import urllib3

        while True:
            try:
                answer = self._pool.request(method, address, **given)
            except urllib3.exceptions.HTTPError as error:
                raise ServiceError(
                    f"{self._url} cannot be reached ({_reason(error)}): is `tl serve` running?"
                ) from error
            attempts -= 1
            wait = answer.headers.get("Retry-After", "")
            if answer.status == 429 and attempts and wait.isdecimal() and float(wait) <= _LONGEST:
                answer.drain_conn()
                time.sleep(float(wait))
                continue
            if answer.status >= 400:
                raise _Refused(answer.status, f"{self._url} says {answer.status}: {_detail(answer)}")
            return answer


_BYTES = "application/octet-stream"
_NO_ANSWER: dict[str, Any] = {"label": None, "confidence": None, "unknown": None, "top": []}


@dataclass(frozen=True)
class _Part:
    """An image to send, or why it cannot be read."""

    name: str
    content: bytes
    error: str = ""


def _groups(inputs: Iterator[Input]) -> Iterator[list[_Part]]:
    """Read images and group them into requests."""
    group: list[_Part] = []
    size = 0
    for name, image in inputs:
        try:
            content = read(image)
            part = _Part(name, content if isinstance(content, bytes) else encode_png(content))
        except ImageError as error:
            part = _Part(name, b"", str(error))
        if group and (len(group) == _MAX_IMAGES or size + len(part.content) > _MAX_BYTES):
            yield group
            group, size = [], 0
        group.append(part)
        size += len(part.content)
    if group:
        yield group


def _lines(answer: Any) -> Iterator[str]:
    rest = b""
    for piece in answer.stream(1 << 16):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")


def _detail(answer: Any) -> str:
    try:
        return str(json.loads(answer.data)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(answer.reason)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", None) or error)
    return text.rsplit(": ", 1)[-1][:160]
