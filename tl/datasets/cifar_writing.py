"""Samples become files in the layout of CIFAR-100, which `tl`, Keras and torchvision read."""

import pickle
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tl.data.dataset import Sample
from tl.data.images import decode, fit, read
from tl.errors import ImageError

_SIDE = 32


def write_cifar(
    folder: Path, samples: Sequence[Sample], class_names: Sequence[str], advance: Callable[[], None]
) -> dict[str, str]:
    """Write `train`, `test` and `meta` with images of 32 × 32 pixels; returns why each of the others was left out.

    What is for validation becomes the test where there is no other, and else stays among what is learnt from.
    """
    held = "test" if any(sample.part == "test" for sample in samples) else "validation"
    left_out = {sample.name: "without a label" for sample in samples if sample.label is None}
    labelled = [sample for sample in samples if sample.label is not None]
    for file, own in (
        ("train", [sample for sample in labelled if sample.part != held]),
        ("test", [sample for sample in labelled if sample.part == held]),
    ):
        _pickled(folder / file, _batch(file, own, class_names, left_out, advance))
    _pickled(folder / "meta", {"fine_label_names": list(class_names), "coarse_label_names": ["all"]})
    return left_out


def _batch(
    file: str,
    samples: Iterable[Sample],
    class_names: Sequence[str],
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> dict[str, Any]:
    rows, labels, names = [], [], []
    for sample in samples:
        advance()
        try:
            image = fit(decode(read(sample.picture), _SIDE), _SIDE)
        except ImageError as error:
            left_out[sample.name] = str(error)
            continue
        rows.append(image.transpose(2, 0, 1).reshape(-1))
        labels.append(class_names.index(sample.label or ""))
        names.append(sample.name)
    return {
        "filenames": names,
        "batch_label": f"{file}ing batch 1 of 1",
        "fine_labels": labels,
        "coarse_labels": [0] * len(labels),
        "data": np.stack(rows) if rows else np.zeros((0, 3 * _SIDE**2), np.uint8),
    }


class _Python2(pickle._Pickler):
    """Writes text and bytes as the strings of Python 2, as the official files have them.

    Keras asks for them as bytes and torchvision as text; strings of Python 3 would be the one thing alone.
    """

    dispatch: ClassVar[dict[type, Callable[..., None]]] = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str) -> None:
        """Text, as such where it is not ASCII."""
        if text.isascii():
            self.save_string(text.encode())
        else:
            super().save_str(text)  # type: ignore[misc]

    def save_string(self, content: bytes) -> None:
        """A string of Python 2."""
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]
        self.memoize(content)  # type: ignore[attr-defined]

    dispatch[str] = save_text
    dispatch[bytes] = save_string


def _pickled(path: Path, values: dict[str, Any]) -> None:
    with path.open("wb") as file:
        _Python2(file, protocol=2).dump(values)
