"""Keep what a cross-validation predicted for each training image, so that the run can be judged on them later."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.predictions import Predictions
from tl.runs.folder import CROSS_VALIDATION, damaged_run
from tl.runs.run import Run, sha256_of_file


@dataclass(frozen=True)
class CrossValidation:
    """Predictions by heads that were fitted without the image: n rows of `log_probabilities` float32 `[n, classes]`.

    `is_unknown` `[n]` marks images unlike all others, `row_of` has the row of each image by its sha256.
    """

    folds: int
    log_probabilities: NDArray[np.float32]
    is_unknown: NDArray[np.bool_]
    row_of: dict[str, int]


def write_cross_validation(folder: Path, predictions: Predictions, sha256: list[bytes]) -> None:
    """Write the validation part of predictions into a run folder, if it is cross-validated; sha256 of all images."""
    rows = predictions.of_part("validation")
    folds = predictions.metrics["validation"].folds if len(rows) else 0
    if not folds:
        return
    logs = np.log(np.maximum(predictions.probabilities[rows], np.float32(1e-30)))
    hashes = b"".join(sha256[at] for at in predictions.indices[rows])
    np.savez(
        folder / CROSS_VALIDATION,
        folds=np.int64(folds),
        log_probabilities=logs.astype(np.float16),
        is_unknown=predictions.is_unknown[rows],
        sha256=np.frombuffer(hashes, np.uint8).reshape(len(rows), 32),
    )


def read_cross_validation(run: Run) -> CrossValidation | None:
    """What the cross-validation of a run predicted; None where images were held out. RunError for a damaged file."""
    path, expected = run.folder / CROSS_VALIDATION, run.manifest["files"].get(CROSS_VALIDATION)
    if expected is None:
        return None
    most = int(run.manifest["data"]["images"]) * (2 * len(run.classes) + 33) + 8192
    try:
        if not path.is_file():
            raise ValueError("it is missing")
        if sha256_of_file(path) != expected:
            raise ValueError("it is not the file that was written")
        with ZipFile(path) as archive:  # its declared size, before anything is unpacked
            if sum(member.file_size for member in archive.infolist()) > most:
                raise ValueError("it is larger than the images of the run require")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            folds, logs, unknown = int(arrays["folds"]), arrays["log_probabilities"], arrays["is_unknown"]
            hashes = arrays["sha256"]
        if logs.shape != (len(hashes), len(run.classes)) or logs.dtype != np.float16 or not (logs <= 0.001).all():
            raise ValueError(f"its log_probabilities are {logs.dtype} {logs.shape}")
        if (
            hashes.shape[1:] != (32,)
            or hashes.dtype != np.uint8
            or unknown.shape != hashes.shape[:1]
            or not 2 <= folds <= len(hashes)
        ):
            raise ValueError("its arrays do not fit together")
    except (KeyError, TypeError, ValueError, OSError, EOFError, MemoryError, BadZipFile) as error:
        raise damaged_run(run.folder, f"{CROSS_VALIDATION}: {error}"[:200]) from error
    row_of = {row.tobytes().hex(): at for at, row in enumerate(hashes)}
    return CrossValidation(folds, logs.astype(np.float32), unknown.astype(np.bool_), row_of)
