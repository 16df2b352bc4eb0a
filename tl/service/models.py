"""Run folders become models that answer side by side, by name; a newer one takes an older one's place unnoticed."""

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.errors import EngineError, RunError, TLError
from tl.prediction.predictor import Predictor
from tl.runs.catalogue import newest_of
from tl.runs.run import Run, load_run
from tl.service.batching import Batcher, Judged, Session, sessions, warm
from tl.service.database import Database, register
from tl.service.metrics import Metrics
from tl.service.options import Options
from tl.service.problems import Problem

if TYPE_CHECKING:
    from tl.evaluation.gradcam import Explainer

NEWEST = "latest"
"""The name that stands for the newest run, whichever that is."""

_LOG = logging.getLogger("tl.service")

register("serving", "CREATE TABLE serving (place INTEGER PRIMARY KEY CHECK (place = 1), run TEXT NOT NULL);")


class Model:
    """A run that answers: `predictor` for what features mean, `batcher` for features."""

    def __init__(self, name: str, run: Run, predictor: Predictor, mark: tuple[str, float]) -> None:
        self.name, self.run, self.predictor, self.mark = name, run, predictor, mark
        self.batcher: Batcher | None = None
        self.decoding = 0
        self.users = 0
        self.drained = asyncio.Event()
        self._explainer: Explainer | None = None
        self.turn = asyncio.Lock()
        self._explaining = threading.Lock()

    async def judged(self, photo: NDArray[np.uint8], deadline: float) -> Judged:
        """What a photo that fits the network comes to. Raises TimeoutError, EngineError."""
        if self.batcher is None:
            raise EngineError(f"{self.run.name} is not served yet")
        return await self.batcher.submit(photo, deadline)

    @contextmanager
    def explainer(self) -> "Iterator[Explainer]":
        """What says why, made when it is first asked for; for one caller at a time."""
        from tl.evaluation.gradcam import Explainer

        with self._explaining:
            if self._explainer is None:
                self._explainer = Explainer(self.run.trunk, self.run.backbone.recipe, self.run.head)
            yield self._explainer


class Models:
    """The runs that are served. `default` is the name of the one that answers where none is named."""

    def __init__(self, options: Options, database: Database, metrics: Metrics) -> None:
        self._options, self._database, self._metrics = options, database, metrics
        self._models: dict[str, Model] = {}
        self._changing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._tried: dict[str, tuple[str, float]] = {}
        self.fixed = options.runs
        self.default = options.runs[0] if options.runs else NEWEST

    async def start(self) -> None:
        """Open the runs that were asked for, and the one that was activated last.

        Raises RunError when one of those that were asked for cannot be opened; without any, the service waits for one.
        """
        for name in self.fixed:
            await self.open(name)
        chosen = await asyncio.to_thread(self._remembered)
        try:
            self.default = chosen or self.default
            if self.default not in self._models:
                await self.open(self.default)
        except TLError as error:
            self.default = self.fixed[0] if self.fixed else NEWEST
            _LOG.warning(str(error))

    @property
    def served(self) -> list[Model]:
        """All models, in the order in which they were opened."""
        return list(self._models.values())

    @contextmanager
    def using(self, name: str | None = None) -> Iterator[Model]:
        """The model of that name, which stays until the block ends; None: the default one.

        Raises Problem 404 for one that is not served, 503 while there is none at all.
        """
        model = self._named(name or self.default)
        model.users += 1
        try:
            yield model
        finally:
            model.users -= 1
            if not model.users:
                model.drained.set()

    async def open(self, name: str) -> Model:
        """Open a run and let it answer to its name from now on, in place of what did before, which ends its work first.

        Raises RunError and EngineError, and then nothing has changed.
        """
        async with self._changing:
            folder = await asyncio.to_thread(self.folder, name)
            made, opened = await asyncio.to_thread(self._opened, name, folder)
            made.batcher = Batcher(
                opened,
                made.predictor.judge,
                self._options.batch,
                self._options.window,
                lambda: made.decoding,
                lambda size, seconds: self._metrics.batch(made.run.name, size, seconds),
            )
            self._metrics.opened(made.run)
            old = self._models.get(name)
            self._models[name] = made
            if old is not None:
                self._retire(old)
            _LOG.info("run opened", extra={"run": made.run.name, "as": name})
            return made

    async def activate(self, name: str) -> Model:
        """Let a run answer where none is named, also after a restart. Raises as `open` does."""
        model = self._models.get(name) or await self.open(name)
        before, self.default = self.default, name
        await asyncio.to_thread(self._remember, name)
        if before != name and before not in self.fixed and before in self._models:
            self._retire(self._models.pop(before))
        return model

    async def renew(self) -> None:
        """Open again what has a newer run on disk; one that cannot be opened is said once and changes nothing."""
        for name in {*self._models, self.default}:
            try:
                mark = await asyncio.to_thread(self._mark, name)
                model = self._models.get(name)
                if (model is None or model.mark != mark) and self._tried.get(name) != mark:
                    self._tried[name] = mark
                    await self.open(name)
            except (TLError, OSError) as error:
                if model := self._models.get(name):
                    _LOG.error("a newer run cannot be opened: %s", error, extra={"run": model.run.name})

    async def close(self) -> None:
        """Let all work finish, then stop."""
        for name in list(self._models):
            self._retire(self._models.pop(name))
        await asyncio.gather(*self._retiring)

    def folder(self, name: str) -> Path:
        """Where the run of that name is. Raises RunError when it is nowhere."""
        if name == NEWEST:
            newest = newest_of(self._options.root)
            if newest is None:
                raise RunError(f"no run in {self._options.root}: make one with `tl finetune DATA`, or by a job")
            return newest
        inside = self._options.root / name
        if name not in self.fixed and (Path(name).name != name or name.startswith(".")):
            raise RunError(f"no run is called {name!r}")  # a path is for the operator to give, not for a client
        return inside if (inside / "manifest.json").is_file() or name not in self.fixed else Path(name)

    def _named(self, name: str) -> Model:
        model = self._models.get(name) or next((one for one in self.served if one.run.name == name), None)
        if model is not None:
            return model
        if not self._models:
            raise Problem(503, "no run is served yet: make one, then ask again", {"Retry-After": "5"})
        raise Problem(404, f"no run {name!r} is served: GET /v1/runs names them, an admin can activate another")

    def _opened(self, name: str, folder: Path) -> tuple[Model, list[Session]]:
        mark = self._mark(name)
        run = load_run(folder)
        predictor = Predictor(run, engine=self._options.engine, precision=self._options.precision)
        opened = sessions(predictor.engine)
        for session in opened:
            warm(session, run.backbone.recipe.image_size, self._options.batch)
        return Model(name, run, predictor, mark), opened

    def _mark(self, name: str) -> tuple[str, float]:
        """What changes when there is a newer run."""
        folder = self.folder(name)
        try:
            return str(folder.resolve()), (folder / "manifest.json").stat().st_mtime
        except OSError as error:
            raise RunError(f"{folder} is not a run: it has no manifest.json") from error

    def _retire(self, model: Model) -> None:
        task = asyncio.create_task(self._end(model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end(self, model: Model) -> None:
        while model.users:
            model.drained.clear()
            await model.drained.wait()
        if model.batcher is not None:
            await asyncio.to_thread(model.batcher.close)
        await asyncio.to_thread(gc.collect)  # its parts know each other, and are hundreds of megabytes
        _LOG.info("run closed", extra={"run": model.run.name})

    def _remembered(self) -> str | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT run FROM serving").fetchone()
        return None if row is None else str(row["run"])

    def _remember(self, name: str) -> None:
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO serving VALUES (1, ?)", (name,))
