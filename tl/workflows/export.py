"""Export a run to another runtime: write it, run it there, prove that it predicts the same, and only then keep it."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tl.engines.openvino import OpenVINOEngine
from tl.errors import DataError, EngineError, RunError, TLError
from tl.exporters.formats import FORMATS, ExportFormat, ExportJob, Pixels, metadata_of
from tl.exporters.proof import INT8_TOLERANCE, TOLERANCE, Proof, failure, lines, prove
from tl.exporters.reader import opened_reader, write_reader
from tl.networks.weights import sha256_of
from tl.options import keywords, option
from tl.progress import Progress
from tl.runs.folder import claim_folder
from tl.runs.photos import RunImages, RunPart
from tl.runs.run import Run, check_run, load_run, trunk_key
from tl.text import count, html_table, percent, size

_RECORD = "export.json"


@dataclass(frozen=True)
class ExportOptions:
    """The options of `tl export`."""

    to: str = option(help="Format to write.", choices=tuple(FORMATS))
    int8: bool = option(False, "Quantize, calibrated on training images: onnx, openvino, litert.")
    out: str | Path | None = option(None, "Folder to make.", default_text="export/<format> in the run")
    overwrite: bool = option(False, "Replace an earlier export there, once the new one is proven.")
    data: str | Path | None = option(None, "Where the run's images are now.", default_text="where it read them")
    tolerance: float | None = option(
        None,
        "Largest difference of a probability, and of log-odds relative to their size; with --int8, accuracy lost.",
        low=0,
        high=1,
        fraction=True,
        default_text=f"{TOLERANCE}, {INT8_TOLERANCE} with --int8",
    )
    photos: int | None = option(None, "Prove it on so many images.", low=1, default_text="all held out")


@dataclass(frozen=True)
class Export:
    """An export in its `folder`: the `model` in it, its size in bytes, the runtime that ran it, metadata and proof.

    `calibrated` counts the training images that int8 was calibrated on.
    """

    folder: Path
    model: Path
    format: str
    int8: bool
    size: int
    runtime: str
    metadata: dict[str, Any] = field(repr=False)
    calibrated: int
    tolerance: float
    proof: Proof = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The JSON output, and the contents of export.json."""
        on = "accuracy lost" if self.int8 else "difference of a probability, and of log-odds relative to their size"
        return {
            "format": self.format,
            "int8": self.int8,
            "model": str(self.model.relative_to(self.folder)),
            "bytes": self.size,
            "runtime": self.runtime,
            "calibrated_on": self.calibrated,
            "tolerance": {"on": on, "value": self.tolerance},
            "proof": self.proof.as_dict(),
            "about": self.metadata,
        }

    def _repr_html_(self) -> str:
        proof = self.proof
        rows = [
            ("model", f"{self.model}, {size(self.size)}"),
            ("verified with", f"{self.runtime} on {count(proof.count, f'{proof.part} image')}"),
            ("largest difference of a probability", f"{proof.largest:.2g}"),
            ("changed labels", f"{len(proof.changes):,}"),
            ("accuracy of the run", percent(proof.our_hits / proof.count)),
            ("accuracy of the export", percent(proof.their_hits / proof.count)),
        ]
        return html_table(rows, caption=f"{self.format}{' int8' if self.int8 else ''}")


@keywords(ExportOptions)
def export(run: str | Path | None = None, *, options: ExportOptions, progress: Progress | None = None) -> Export:
    """Write a run, the newest by default, as a model that takes images of any size, and prove it on held-out images.

    Raises UsageError for a format that cannot be quantized, EngineError for a runtime that is not installed or a proof
    that fails, RunError for a damaged run or an `out` that exists, DataError where the images are gone.
    """
    progress, form = progress or Progress(), FORMATS[options.to]
    form.check(options.int8)
    loaded = load_run(run)
    folder = _folder(loaded, form, options)
    engine = _engine(loaded)
    new = [parent for parent in folder.parents if not os.path.exists(parent)]
    try:
        with claim_folder(folder, latest=False, overwrite=options.overwrite) as scratch:
            images = RunImages(loaded, None if options.data is None else str(options.data), progress)
            held_out = images.held_out(options.photos, or_trained=True)
            calibration = images.training(form.calibrated) if options.int8 else []
            with progress.task(f"writing {form.name}", None, "s"):
                job = _write(loaded, form, scratch / form.model, calibration, progress=progress)
                write_reader(scratch, loaded.backbone.recipe.image_size)
            tolerance = options.tolerance
            if tolerance is None:
                tolerance = INT8_TOLERANCE if options.int8 else TOLERANCE
            files = sorted(file for file in scratch.rglob("*") if file.is_file())
            result = Export(
                folder=folder,
                model=folder / form.model,
                format=form.name,
                int8=options.int8,
                size=sum(file.stat().st_size for file in files),
                runtime=f"{form.runtime} {version(form.runtime)}",
                metadata=job.metadata,
                calibrated=len(calibration),
                tolerance=tolerance,
                proof=_prove(job, engine, form, held_out, scratch=scratch),
            )
            _accept(result, loaded, progress)
            sha256 = {file.relative_to(scratch).as_posix(): sha256_of(file) for file in files}
            text = json.dumps(result.as_dict() | {"sha256": sha256}, indent=1, ensure_ascii=False)
            (scratch / _RECORD).write_text(text, encoding="utf-8", errors="replace")
            return result
    except BaseException:
        for parent in new:  # made for this export alone, the innermost first
            with suppress(OSError):
                parent.rmdir()
        raise


def _folder(run: Run, form: ExportFormat, options: ExportOptions) -> Path:
    """Where to write. Raises RunError for what exists, unless it is an export that may be replaced."""
    default = run.folder / "export" / (f"{form.name}-int8" if options.int8 else form.name)
    folder = Path(options.out) if options.out is not None else default
    if not os.path.lexists(folder):
        return folder
    if not options.overwrite:
        raise RunError(f"{folder} exists already: give another name with --out, or replace it with --overwrite")
    if not (folder / _RECORD).is_file():
        raise RunError(f"{folder} is no export, so it is not replaced: give another --out")
    return folder.resolve()


def _engine(run: Run) -> OpenVINOEngine:
    check_run(run)
    engine = OpenVINOEngine(run.trunk, trunk_key(run), "f32")
    if engine.shape != (run.backbone.recipe.image_size, run.backbone.features):
        raise RunError(f"{run.folder} is damaged (its network is not the one of its manifest): make it again")
    return engine


def _write(run: Run, form: ExportFormat, path: Path, calibration: Sequence[Pixels], *, progress: Progress) -> ExportJob:
    metadata = metadata_of(run, form.name, bool(calibration))
    job = ExportJob(run=run, path=path, metadata=metadata, calibration=tuple(calibration), progress=progress)
    with _engine_errors(f"{run.backbone.name} cannot be written as {form.name}"):
        form.module.write(job)
    return job


@contextmanager
def _engine_errors(failure: str) -> Iterator[None]:
    try:
        yield
    except (TLError, OSError):
        raise
    # Converters and runtimes raise what they like: whatever it is, there is no export.
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # it came while the converter was in code of ours
            raise KeyboardInterrupt from error
        if any(words in str(error) for words in ("No space left", "iostream error")):  # of TensorFlow, OpenVINO
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        kind = type(error).__name__
        reason = (str(error).strip().splitlines() or [kind])[0][:160]
        raise EngineError(f"{failure} ({kind}: {reason}); try another --to") from error


def _prove(job: ExportJob, engine: OpenVINOEngine, form: ExportFormat, held_out: RunPart, *, scratch: Path) -> Proof:
    with _engine_errors(f"{form.runtime} cannot run the export"):
        classify = form.module.load(job.path)
        with opened_reader(scratch) as read_image:
            proof = prove(job.run, engine, held_out, classify, read_image, progress=job.progress)
    if proof is None:
        raise DataError(
            f"none of the {held_out.part} images of {job.run.name} can be decoded: give their folder with --data"
        )
    return proof


def _accept(result: Export, run: Run, progress: Progress) -> None:
    for topic, text in lines(result.proof, result.runtime, result.tolerance, result.calibrated):
        progress.log(topic, text)
    reason = failure(result.proof, result.tolerance, result.int8)
    if reason:
        raise EngineError(
            f"the predictions of the {result.format} export are not those of {run.name}: {reason}; nothing was kept: "
            "raise --tolerance if you accept that"
        )
