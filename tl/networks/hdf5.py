"""An HDF5 file from anywhere becomes arrays, without following anything that leads out of the file.

HDF5 can point into other files (external links, external storage, virtual datasets) and can declare arrays far larger
than itself. Weights need neither, so both are refused before a byte is read.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError

_MOST_NAMES = 100_000
_MOST_DIMENSIONS = 8


class HDF5Reader:
    """An open file; `source` is what messages call it, `size` its length in bytes."""

    def __init__(self, root: Any, source: str, size: int) -> None:
        self.root = root
        self._source = source
        self._unread = size

    def has(self, group: Any, name: str) -> bool:
        """Whether a group has a member of that name; `name in group` would already follow a link."""
        return group.get(name, getlink=True) is not None

    def member(self, group: Any, path: str) -> Any:
        """The group or dataset at a path inside the file; raises WeightsError for links and what is not there."""
        import h5py

        for part in path.split("/"):
            if not isinstance(group, h5py.Group) or part in ("", ".") or not self.has(group, part):
                raise WeightsError(f"{self._source} is damaged: it has no {path!r}; fetch or save it again")
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise WeightsError(
                    f"{self._source} is refused: {path!r} is a link; weights must lie in the file itself"
                )
            group = group[part]
        return group

    def names(self, group: Any, attribute: str) -> list[str]:
        """The strings in an attribute, which Keras cuts into numbered pieces when it is long."""
        pieces = [attribute]
        if attribute not in group.attrs:
            pieces = []
            while f"{attribute}{len(pieces)}" in group.attrs:
                pieces.append(f"{attribute}{len(pieces)}")
        return [name for piece in pieces for name in self._strings(group, piece)]

    def _strings(self, group: Any, attribute: str) -> list[str]:
        shape = group.attrs.get_id(attribute).shape
        if shape is None or 0 in shape:
            return []
        if math.prod(shape) > _MOST_NAMES:
            raise WeightsError(f"{self._source} is damaged: {attribute} has {math.prod(shape)} names")
        names = [name.decode() if isinstance(name, bytes) else name for name in np.ravel(group.attrs[attribute])]
        if not all(isinstance(name, str) and name.isprintable() for name in names):
            raise WeightsError(f"{self._source} is damaged: {attribute} is not a list of names")
        return [str(name) for name in names]

    def array(self, group: Any, path: str) -> NDArray[np.float32]:
        """The numbers of a dataset as float32; raises WeightsError for anything but numbers stored in this file."""
        import h5py

        found = self.member(group, path)
        if not isinstance(found, h5py.Dataset):
            raise WeightsError(f"{self._source} is damaged: {path!r} is not an array")
        if found.is_virtual or found.external:
            raise WeightsError(f"{self._source} is refused: {path!r} is stored in another file")
        if found.dtype.kind not in "fiu" or found.shape is None or len(found.shape) > _MOST_DIMENSIONS:
            raise WeightsError(f"{self._source} is refused: {path!r} holds {found.dtype} {found.shape}, not weights")
        # A file cannot hold more numbers than bytes; without this, one kilobyte could ask for all memory.
        self._unread -= math.prod(found.shape) * found.dtype.itemsize
        if self._unread < 0:
            raise WeightsError(
                f"{self._source} is refused: {path!r} {found.shape} makes it larger than the file; save it uncompressed"
            )
        with np.errstate(over="ignore"):
            return np.asarray(found[()], dtype=np.float32)


@contextmanager
def open_hdf5(file: Path | BinaryIO, source: str) -> Iterator[HDF5Reader]:
    """Open a file, or a seekable stream, for reading; every failure of HDF5 inside the block is a WeightsError."""
    import h5py

    try:
        with h5py.File(file, "r") as root:
            yield HDF5Reader(root, source, _length(file))
    except FileNotFoundError as error:
        raise WeightsError(f"{source} does not exist: give the path of an .h5 weights file") from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{source} cannot be read as HDF5 weights ({reason}); fetch or save it again") from error


def _length(file: Path | BinaryIO) -> int:
    if isinstance(file, Path):
        return file.stat().st_size
    return file.seek(0, 2)
