"""The runs that are served: open them, replace them by newer ones without losing a request, close them."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tl.errors import RunError, TLError
from tl.prediction.predictor import Predictor
from tl.runs.folder import newest_run
from tl.runs.run import Run, load_run
from tl.service.batching import Batcher, Session, sessions, warm_up
from tl.service.database import Database, register
from tl.service.monitoring import ServiceMetrics
from tl.service.options import ServeOptions
from tl.service.problems import Problem

if TYPE_CHECKING:
    from tl.evaluation.gradcam import Explainer

NEWEST = "latest"
"""The name of whichever run is the newest."""

_LOG = logging.getLogger("tl.service")

register("serving", "CREATE TABLE serving (place INTEGER PRIMARY KEY CHECK (place = 1), run TEXT NOT NULL);")


class Model:
    """A run that is served. `version` changes when there is a newer run on disk; `decoding` images are on their way."""

    def __init__(self, name: str, run: Run, predictor: Predictor, version: tuple[str, float]) -> None:
        self.name, self.run, self.predictor, self.version = name, run, predictor, version
        self.batcher: Batcher  # set by `Models.open`
        self.decoding = 0
        self.users = 0
        self.idle = asyncio.Event()
        self.explain_lock = asyncio.Lock()
        self._explainer: Explainer | None = None

    def explainer(self) -> "Explainer":
        """The run's Grad-CAM explainer, created at first use; only for the holder of `explain_lock`."""
        from tl.evaluation.gradcam import Explainer

        self._explainer = self._explainer or Explainer(self.run.trunk, self.run.backbone.recipe, self.run.head)
        return self._explainer


class Models:
    """The served runs. `default` names the one that answers requests that name none."""

    def __init__(self, options: ServeOptions, database: Database, metrics: ServiceMetrics) -> None:
        self._options, self._database, self._metrics = options, database, metrics
        self._models: dict[str, Model] = {}
        self._opening = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._tried: dict[str, tuple[str, float]] = {}
        self.fixed = options.runs
        self.default = options.runs[0] if options.runs else NEWEST

    async def start(self) -> None:
        """Open the runs named in the options, and the one activated last.

        Raises RunError when a named one cannot be opened; where none is named, the service waits for one.
        """
        for name in self.fixed:
            await self.open(name)
        activated = await asyncio.to_thread(self._database.select, "SELECT run FROM serving")
        try:
            self.default = str(activated[0]["run"]) if activated else self.default
            if self.default not in self._models:
                await self.open(self.default)
        except TLError as error:
            self.default = self.fixed[0] if self.fixed else NEWEST
            _LOG.warning(str(error))

    @property
    def served(self) -> list[Model]:
        """All models, in the order they were opened."""
        return list(self._models.values())

    @contextmanager
    def using(self, name: str | None = None) -> Iterator[Model]:
        """The model of that name (None: the default), kept open. Raises Problem 404, or 503 while none is served."""
        model = self._find(name or self.default)
        model.users += 1
        try:
            yield model
        finally:
            model.users -= 1
            if not model.users:
                model.idle.set()

    async def open(self, name: str) -> Model:
        """Open a run and serve it under its name; a model it replaces finishes its requests first.

        Raises RunError and EngineError, and then nothing has changed.
        """
        async with self._opening:
            folder = await asyncio.to_thread(self.folder, name)
            model, engine_sessions = await asyncio.to_thread(self._load, name, folder)
            model.batcher = Batcher(
                engine_sessions,
                model.predictor.judge,
                most=self._options.batch,
                window=self._options.window / 1000,
                expected=lambda: model.decoding,
                on_batch=lambda size, seconds: self._metrics.record_batch(model.run.name, size, seconds),
            )
            self._metrics.add_run(model.run)
            replaced = self._models.get(name)
            self._models[name] = model
            if replaced is not None:
                self._retire(replaced)
            _LOG.info("run opened", extra={"run": model.run.name, "as": name})
            return model

    async def activate(self, name: str) -> Model:
        """Make a run the default, also after a restart. Raises as `open` does."""
        model = self._models.get(name) or await self.open(name)
        previous, self.default = self.default, name
        await asyncio.to_thread(self._database.execute, "INSERT OR REPLACE INTO serving VALUES (1, ?)", name)
        if previous != name and previous not in self.fixed and previous in self._models:
            self._retire(self._models.pop(previous))
        return model

    async def refresh(self) -> None:
        """Reopen models whose run is newer on disk; one that cannot be opened is logged once and changes nothing."""
        for name in {*self._models, self.default}:
            try:
                version = await asyncio.to_thread(self._version, name)
                model = self._models.get(name)
                if (model is None or model.version != version) and self._tried.get(name) != version:
                    self._tried[name] = version
                    await self.open(name)
            except (TLError, OSError) as error:
                if model := self._models.get(name):
                    _LOG.error("a newer run cannot be opened: %s", error, extra={"run": model.run.name})

    async def close(self) -> None:
        """Finish all requests, then close all models."""
        for name in list(self._models):
            self._retire(self._models.pop(name))
        await asyncio.gather(*self._retiring)

    def folder(self, name: str) -> Path:
        """The folder of the run of that name. Raises RunError when there is none."""
        if name == NEWEST:
            newest = newest_run(self._options.root)
            if newest is None:
                raise RunError(f"no run in {self._options.root}: make one with `tl finetune DATA`, or with a job")
            return newest
        inside = self._options.root / name
        if name not in self.fixed and (Path(name).name != name or name.startswith(".")):
            raise RunError(f"there is no run {name!r}")  # only the operator may give a path, not a client
        return inside if (inside / "manifest.json").is_file() or name not in self.fixed else Path(name)

    def _find(self, name: str) -> Model:
        model = self._models.get(name) or next((one for one in self.served if one.run.name == name), None)
        if model is not None:
            return model
        if not self._models:
            raise Problem(503, "no run is served yet: train one, then try again", {"Retry-After": "5"})
        raise Problem(404, f"run {name!r} is not served: GET /v1/runs lists all runs; an admin can activate another")

    def _load(self, name: str, folder: Path) -> tuple[Model, list[Session]]:
        version = self._version(name)
        run = load_run(folder)
        predictor = Predictor(run, engine=self._options.engine, precision=self._options.precision)
        engine_sessions = sessions(predictor.engine)
        for session in engine_sessions:
            warm_up(session, run.backbone.recipe.image_size, self._options.batch)
        return Model(name, run, predictor, version), engine_sessions

    def _version(self, name: str) -> tuple[str, float]:
        folder = self.folder(name)
        try:
            return str(folder.resolve()), (folder / "manifest.json").stat().st_mtime
        except OSError as error:
            raise RunError(f"{folder} is not a run: it has no manifest.json") from error

    def _retire(self, model: Model) -> None:
        task = asyncio.create_task(self._close(model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _close(self, model: Model) -> None:
        while model.users:
            model.idle.clear()
            await model.idle.wait()
        await asyncio.to_thread(model.batcher.close)
        await asyncio.to_thread(gc.collect)  # its parts refer to each other, and take hundreds of megabytes
        _LOG.info("run closed", extra={"run": model.run.name})
