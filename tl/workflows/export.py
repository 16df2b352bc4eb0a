"""A run becomes an export: written, run at once in its own runtime, proven, and only then put in its place."""

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tl.engines.openvino import OpenVINOEngine
from tl.errors import DataError, EngineError, RunError, TLError, UsageError
from tl.exporters.formats import Format, Pixels, Writing, about, chosen
from tl.exporters.proof import BOUND, INT8_BOUND, Proof, beyond, lines, prove
from tl.progress import Progress
from tl.runs.folder import claim_folder
from tl.runs.photos import Album, Photos
from tl.runs.run import Run, check_run, load_run, trunk_key

RECORD = "export.json"
_FULL = ("No space left", "iostream error")  # as TensorFlow and OpenVINO say it


@dataclass(frozen=True)
class Export:
    """An export in its `folder`: the `model` in it, of so many bytes, run by `runtime`; what it is `about`; its proof.

    `calibrated` counts the training photos that int8 was calibrated on, `bound` is what the proof was held to.
    """

    folder: Path
    model: Path
    format: str
    int8: bool
    size: int
    runtime: str
    about: dict[str, Any]
    calibrated: int
    bound: float
    proof: Proof

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output, and of export.json."""
        on = "top-1 accuracy lost" if self.int8 else "difference of a probability, and of log-odds by their size"
        return {
            "format": self.format,
            "int8": self.int8,
            "model": self.model.name if self.model.parent == self.folder else str(self.model.relative_to(self.folder)),
            "bytes": self.size,
            "runtime": self.runtime,
            "calibrated_on": self.calibrated,
            "bound": {"on": on, "value": self.bound},
            "proof": self.proof.as_dict(),
            "about": self.about,
        }


def export(
    run: str | Path | None = None,
    *,
    to: str,
    int8: bool = False,
    out: str | Path | None = None,
    data: str | Path | None = None,
    bound: float | None = None,
    photos: int | None = None,
    progress: Progress | None = None,
) -> Export:
    """Write a run as one file or folder that takes photos of any size, and prove it on the photos it was validated on.

    `to` is keras, savedmodel, onnx, openvino or litert. `data` is where the photos are now; `photos` the most that are
    used. `bound`: the largest difference of a probability and the relative one of log-odds, with `int8` the
    accuracy lost, that is let pass.
    Raises UsageError for a format that does not exist, EngineError for a runtime that is not installed or a proof that
    fails, RunError for a damaged run or an `out` that exists, DataError where the photos are not found.
    """
    progress, form = progress or Progress(), chosen(to, int8)
    bound = (INT8_BOUND if int8 else BOUND) if bound is None else bound
    if not 0 <= bound <= 1:
        raise UsageError(f"bound {bound:g}: give a share from 0 to 1")
    if photos is not None and photos < 1:
        raise UsageError(f"photos {photos}: give 1 or more, which prove the export")
    opened = load_run(run)
    engine = _engine(opened)
    folder = Path(out) if out is not None else opened.folder / "export" / (f"{to}-int8" if int8 else to)
    new = [parent for parent in folder.parents if not os.path.exists(parent)]
    try:
        with claim_folder(folder, latest=False) as scratch:
            found = Photos(opened, None if data is None else str(data), progress)
            album = found.held_out(photos)
            calibration = found.training(form.calibrated) if int8 else []
            return _made(opened, engine, form, scratch, folder, album, calibration, bound, progress)
    except BaseException:
        for parent in new:  # made for this export alone, the innermost first
            with suppress(OSError):
                parent.rmdir()
        raise


def _engine(run: Run) -> OpenVINOEngine:
    """What the run answers by, in f32, once its files are known to be those that were written."""
    check_run(run)
    engine = OpenVINOEngine(run.trunk, trunk_key(run), "f32")
    if engine.shape != (run.backbone.recipe.image_size, run.backbone.features):
        raise RunError(f"{run.folder} is damaged (its network is not the one of its manifest): make it again")
    return engine


def _made(
    run: Run,
    engine: OpenVINOEngine,
    form: Format,
    scratch: Path,
    folder: Path,
    album: Album,
    calibration: Sequence[Pixels],
    bound: float,
    progress: Progress,
) -> Export:
    told = about(run, form.name, bool(calibration))
    path = scratch / form.model
    with progress.task(f"writing {form.name}", None, "s"):
        _write(form, Writing(run, path, told, tuple(calibration), progress))
    size = sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file())
    proof = _proved(run, engine, form, path, album, progress)
    runtime = f"{form.runtime} {version(form.runtime)}"
    model, count = folder / form.model, len(calibration)
    made = Export(folder, model, form.name, bool(count), size, runtime, told, count, bound, proof)
    for topic, text in lines(made.proof, made.runtime, bound, made.calibrated):
        progress.log(topic, text)
    failure = beyond(proof, bound, made.int8)
    if failure:
        raise EngineError(
            f"the {form.name} export answers otherwise than {run.name}: {failure}; nothing was kept: raise --bound if "
            "that will do"
        )
    record = made.as_dict() | {"sha256": _hashes(scratch)}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (scratch / RECORD).write_text(text, encoding="utf-8", errors="replace")
    return made


def _write(form: Format, job: Writing) -> None:
    try:
        form.writer.write(job)
    except (TLError, OSError):
        raise
    # Converters raise what they like: whatever it is, there is no export.
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # it came while the converter was in code of ours
            raise KeyboardInterrupt from error
        if any(words in str(error) for words in _FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"{job.run.backbone.name} cannot be written as {form.name} ({type(error).__name__}: {reason[:160]}); try "
            "another --to"
        ) from error


def _proved(run: Run, engine: OpenVINOEngine, form: Format, path: Path, album: Album, progress: Progress) -> Proof:
    try:
        proof = prove(run, engine, album, form.writer.opened(path), progress)
    except (TLError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(f"{form.runtime} cannot run what was written ({reason[:160]}); try another --to") from error
    if proof is None:
        raise DataError(f"none of the {album.part} photos of {run.name} can be decoded: say where they are with --data")
    return proof


def _hashes(folder: Path) -> dict[str, str]:
    made = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                made[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return made
