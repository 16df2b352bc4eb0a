"""A data set that `tl` knows by name becomes a path on this machine, fetched on request."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl.data.cifar import is_cifar
from tl.download import download
from tl.errors import DataError, StorageError
from tl.progress import Progress
from tl.settings import settings

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_PHOTO = re.compile(r"PetImages/(Cat|Dog)/\d{1,9}\.jpg")
_MAX_PHOTO, _MAX_PHOTOS, _MAX_TOTAL = 50 << 20, 100_000, 4 << 30


@dataclass(frozen=True)
class Known:
    """A published data set: where it is looked for, where it is fetched from, how large the download is."""

    name: str
    url: str
    checksum: str
    size: str
    by_hand: str
    find: Callable[[Path], list[Path]]
    unpack: Callable[[Path, Path, Progress], Path]


def resolve(
    name: str, *, download_it: bool, offline: bool, cache_dir: Path | None, progress: Progress | None = None
) -> Path:
    """Where the known data set `name` lies on this machine, after fetching it where `download_it`.

    Raises DataError when it is not here and may not be fetched, DownloadError when it cannot be.
    """
    known = KNOWN[name]
    folder = (cache_dir or settings().cache_dir) / "datasets"
    candidates = known.find(folder)
    found = next((path for path in candidates if os.path.exists(path)), None)
    if found is not None:
        return found
    if not download_it or offline:
        looked = ", ".join(str(path) for path in candidates) or str(folder)
        way = "it cannot be fetched offline" if offline else f"add --download to fetch it ({known.size})"
        raise DataError(f"data set {name!r} is not on this machine (looked for {looked}): {way}, or {known.by_hand}")
    progress = progress or Progress()
    archive = folder / known.url.rpartition("/")[2]
    download(known.url, archive, checksum=known.checksum, offline=offline, progress=progress, what=name)
    return known.unpack(archive, folder, progress)


def _find_cifar(folder: Path) -> list[Path]:
    archive = "cifar-100-python.tar.gz"
    keras = settings().keras_dir / "datasets"
    cached = sorted(keras.glob("cifar-100-python*"))
    found = [path for entry in cached for path in (entry / "cifar-100-python", entry) if is_cifar(path)]
    return [folder / "cifar-100-python", folder / archive, *(found or [keras / "cifar-100-python"])]


def _keep_archive(archive: Path, folder: Path, progress: Progress) -> Path:  # noqa: ARG001 - as `unpack` asks for
    return archive


def _find_photos(folder: Path) -> list[Path]:
    return [folder / "dogs-vs-cats"]


def _unpack_photos(archive: Path, folder: Path, progress: Progress) -> Path:
    from filelock import FileLock

    target = folder / "dogs-vs-cats"
    try:
        with FileLock(folder / "dogs-vs-cats.lock"):
            if not target.is_dir():
                extract_photos(archive, target, progress)
            archive.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"dogs-vs-cats cannot be written to {target}: {(error.strerror or '').lower()}") from None
    return target


def extract_photos(archive: Path, target: Path, progress: Progress) -> None:
    """The photos of the cats-and-dogs archive as target/Cat and target/Dog, all of them or none.

    Members that are not such photos are passed over: nothing is written outside of `target`. Raises DataError for a
    damaged archive or one that unpacks to far more than the real one.
    """
    from zipfile import BadZipFile, ZipFile
    from zlib import error as ZlibError

    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with ZipFile(archive) as photos:
            members = _photos(photos, archive)
            with progress.task("unpack dogs-vs-cats", len(members), "photos") as task:
                for member in members:
                    _write_photo(photos, member, part)
                    task.advance()
    except (BadZipFile, ZlibError, EOFError, NotImplementedError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise DataError(f"archive {str(archive)!r} is damaged ({error}): delete it and fetch it again") from None
    os.replace(part, target)


def _photos(photos: "ZipFile", archive: Path) -> list["ZipInfo"]:
    encrypted = 0x1
    members = [m for m in photos.infolist() if _PHOTO.fullmatch(m.filename) and not m.flag_bits & encrypted]
    sizes = [member.file_size for member in members]
    if not members:
        raise DataError(f"archive {str(archive)!r} holds no photos under PetImages/Cat and PetImages/Dog")
    if len(members) > _MAX_PHOTOS or max(sizes) > _MAX_PHOTO or sum(sizes) > _MAX_TOTAL:
        raise DataError(f"archive {str(archive)!r} holds more than the photos of cats and dogs do")
    return members


def _write_photo(photos: "ZipFile", member: "ZipInfo", part: Path) -> None:
    # The names were matched in full, so that they cannot lead anywhere else; a link would arrive as the file it says.
    _, kind, name = member.filename.split("/")
    (part / kind).mkdir(parents=True, exist_ok=True)
    with photos.open(member) as source, open(part / kind / name, "wb") as file:
        shutil.copyfileobj(source, file)


KNOWN = {
    known.name: known
    for known in (
        Known(
            name="cifar100",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            checksum="sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            size="169 MB",
            by_hand="give the path of the folder cifar-100-python or of cifar-100-python.tar.gz",
            find=_find_cifar,
            unpack=_keep_archive,
        ),
        Known(
            name="dogs-vs-cats",
            url="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
            checksum="sha256:b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
            size="825 MB",
            by_hand="give the path of a folder with the photos in Cat/ and Dog/",
            find=_find_photos,
            unpack=_unpack_photos,
        ),
    )
}
"""The data sets known by name. Checksums: Keras (keras.datasets.cifar100) and TensorFlow Datasets (cats_vs_dogs)."""
