"""An image of a data set becomes the command that mends what is wrong with it."""

import shlex
from pathlib import Path, PurePosixPath

from tl.data.dataset import Dataset, part_of


class Mending:
    """Commands for one data set: of the shell where images lie in class folders, words where a table names them.

    Nothing is run here; a command moves or removes the user's own files, and so it is the user's to run.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._folders = _in_class_folders(dataset)

    def remove(self, *indices: int) -> str:
        """Take images out of the data set."""
        return self._command("rm", "leave out", [self._where(index) for index in indices])

    def look(self, index: int) -> str:
        """Look at an image that is odd, which alone is no reason to take it out."""
        label = int(self._dataset.labels[index])
        shows = f"shows {self._dataset.class_names[label]}" if label >= 0 else "belongs here"
        return f"look at it: keep it if it {shows}, however unusual; take it out if not"

    def relabel(self, index: int, label: str) -> str:
        """Give an image another label."""
        name = PurePosixPath(self._dataset.names[index])
        if not self._folders:
            return f"label {name} as {label}"
        depth = 1 if part_of(name.parts[0]) and self._dataset.parts[index] else 0
        target = self._path(PurePosixPath(*name.parts[:depth], label, name.name).as_posix())
        return shlex.join(["mv", "-n", "--", self._where(index), target])

    def rename(self, index: int, suffix: str) -> str:
        """Give an image's file another ending."""
        where = self._where(index)
        return shlex.join(["mv", "-n", "--", where, str(Path(where).with_suffix(suffix))]) if self._folders else ""

    def _where(self, index: int) -> str:
        picture = self._dataset.images[index]
        return _shown(picture) if isinstance(picture, Path) else self._dataset.names[index]

    def _path(self, name: str) -> str:
        return _shown(self._dataset.root / name) if self._dataset.root else name

    def _command(self, shell: str, words: str, files: list[str]) -> str:
        return shlex.join([shell, "--", *files]) if self._folders else f"{words} {', '.join(files)}"


def _in_class_folders(dataset: Dataset) -> bool:
    """Whether the folder that an image lies in is its label."""
    first = next(((name, label) for name, label in zip(dataset.names, dataset.labels, strict=True) if label >= 0), None)
    if first is None or dataset.root is None or not isinstance(dataset.images[0], Path):
        return False
    return dataset.class_names[first[1]] in PurePosixPath(first[0]).parts[:2]


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
