"""Reading of inputs: every kind of source, in order, and what is refused at once."""

import glob
import os
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.data_sets import put, write_video
from tl.data.images import read
from tl.data.inputs import Address, is_address, is_single_file, match_pattern, read_inputs, split_paths
from tl.data.listing import walk_images
from tl.errors import DataError, ImageError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return put(
        tmp_path,
        *("photos/b.JPG", "photos/a.png", "photos/notes.txt", "photos/sub/d.webp", "photos/sub/c.tiff"),
        *("photos/.hidden.jpg", "photos/.git/e.jpg", "photos/__MACOSX/f.jpg"),
    )


PHOTOS = ["photos/a.png", "photos/b.JPG", "photos/sub/c.tiff", "photos/sub/d.webp"]


def names(*images: Any, stdin: bytes = b"", **options: Any) -> list[str]:
    return [one.name for one in read_inputs(images, stdin=BufferedReader(BytesIO(stdin)), **options)]  # type: ignore


def test_sources_of_all_kinds_are_read_in_order(here):
    (here / "table.csv").write_text("label,path\ncat,photos/a.png\ndog,https://example.org/x.jpg\ndog,\n", "utf-8")
    (here / "more").mkdir()
    (here / "more" / "table.tsv").write_text("filename\nz.png\n", "utf-8")
    write_video(here / "clip.avi", frames=5)
    pixels = np.zeros((4, 6, 3), np.uint8)
    files = ["photos/b.JPG", Path("photos"), "photos/s*", "table.csv", "more/table.tsv", "clip.avi"]
    others = ["-", "http://a/b", "gone", pixels, b"encoded", BytesIO(b"opened"), Image.new("RGBA", (2, 1))]
    inputs = list(read_inputs([*files, *others], every=2, stdin=BufferedReader(BytesIO(b"piped"))))  # type: ignore
    assert [one.name for one in inputs] == [
        *("photos/b.JPG", *PHOTOS, "photos/sub/c.tiff", "photos/sub/d.webp"),
        *("photos/a.png", "https://example.org/x.jpg", "table.csv"),
        *("more/z.png", "clip.avi#frame=0", "clip.avi#frame=2", "clip.avi#frame=4", "-", "http://a/b", "gone"),
        *("17", "18", "19", "20"),
    ]
    images = dict(inputs)
    assert read(images["-"]) == b"piped"
    assert isinstance(read(images["clip.avi#frame=2"]), np.ndarray)
    assert images["http://a/b"] == Address("http://a/b")
    assert images["17"] is pixels
    assert [read(images["18"]), read(images["19"]), read(images["19"])] == [b"encoded", b"opened", b"opened"]
    assert np.array_equal(images["20"], np.full((1, 2, 3), 255))  # type: ignore[arg-type] - over white
    with pytest.raises(ImageError, match="a row without a path"):
        read(images["table.csv"])


def test_one_source_and_a_batch_of_arrays_need_no_list(here):
    batch = np.zeros((3, 4, 4, 3), np.uint8)
    for source, expected in (("photos", PHOTOS), (Path("gone"), ["gone"]), (batch, ["0", "1", "2"]), (b"x", ["0"])):
        assert [one.name for one in read_inputs(source)] == expected


@pytest.mark.parametrize(
    "source", [np.zeros(4), np.zeros((5, 6, 7)), np.zeros((2, 5, 6, 7)), np.zeros((4, 4, 3), complex), 7, None, [["a"]]]
)
def test_what_is_no_image_is_a_usage_error(source):
    with pytest.raises(UsageError, match="an image cannot be given as .*: give a path, bytes, a Pillow image, or RGB"):
        read_inputs(source)


class Tensor:
    """As PyTorch's are: NumPy gets no array of what has a gradient or is on a GPU."""

    def __init__(self, values: np.ndarray, on_cpu: bool = False) -> None:
        self.values, self.shape, self.dtype, self.on_cpu = values, values.shape, "torch.float32", on_cpu

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return Tensor(self.values, on_cpu=True)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        if not self.on_cpu:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return self.values


RGB = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
RGB[0, 0, 0] = 255
FIRST = np.moveaxis(RGB, -1, 1)  # the channels before height and width


@pytest.mark.parametrize("pixels", [
    RGB, list(RGB), RGB.astype(np.int64), RGB.astype(np.float64), RGB / 255,
    (RGB / 255).astype(np.float16), RGB.astype(np.float32), FIRST, FIRST / 255, Tensor(FIRST / 255), Tensor(RGB / 255),
    [Image.fromarray(one) for one in RGB], [RGB[0] / 255, Image.fromarray(RGB[1])],
    np.concatenate([RGB, np.full((2, 4, 6, 1), 255, np.uint8)], axis=-1),
])  # fmt: skip
def test_pixels_are_read_from_any_array_or_tensor(pixels):
    images = [one.image for one in read_inputs(pixels)]
    assert [one.name for one in read_inputs(pixels)] == ["0", "1"]
    assert np.array_equal(images, RGB)  # type: ignore[arg-type]
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}  # type: ignore[union-attr]


def test_grey_and_boolean_pixels_are_read(here):
    for pixels in (RGB[0, ..., 0], RGB[0, ..., :1], RGB[0, ..., 0][None], RGB[0, ..., 0] / 255):
        [(_, image)] = read_inputs(pixels)
        assert np.array_equal(image, np.repeat(RGB[0, ..., :1], 3, axis=-1))  # type: ignore[arg-type]
    [(_, image)] = read_inputs(np.eye(2, dtype=bool))
    assert np.array_equal(image[..., 0], [[255, 0], [0, 255]])  # type: ignore[index]


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_pixels_of_more_than_8_bits_are_scaled_as_those_of_files(white):
    [(_, image)] = read_inputs(np.resize([0, white // 2, white], (2, 2, 3)).astype(np.uint16))
    assert image[0, 0].tolist() == pytest.approx([0, 127, 255], abs=1)  # type: ignore[index]


def test_the_range_of_a_batch_is_that_of_all_its_images():
    dark = np.zeros((2, 2, 2, 3), np.float32)
    dark[0], dark[1] = 1, 200
    assert [image.max() for _, image in read_inputs(dark)] == [1, 200]  # type: ignore[union-attr]
    assert [image.max() for _, image in read_inputs(dark[:1])] == [255]  # type: ignore[union-attr]
    overshoot = np.array([-0.01, 0.5, 1.01] * 4).reshape(2, 2, 3)
    assert [image[0, 0].tolist() for _, image in read_inputs(overshoot)] == [[0, 128, 255]]  # type: ignore[index]


@pytest.mark.parametrize("values", [(-2.1, 2.6), (-1, 1), (-123.7, 151.1), (0.0, 300.0), (0, np.nan)])
def test_pixels_normalised_for_a_network_are_refused(values):
    with pytest.raises(UsageError, match=r"array \[2, 2, 3\] has values from .* give RGB from 0 to 255"):
        read_inputs(np.resize(values, (2, 2, 3)))


def test_arrays_of_paths_are_lists(here):
    assert names(*np.array(["photos/a.png", "gone"])) == ["photos/a.png", "gone"]
    assert [one.name for one in read_inputs(np.array(["photos/a.png", "gone"]))] == ["photos/a.png", "gone"]


def test_folders_and_patterns_are_sorted_and_match_each_file_once(here):
    assert names("photos") == names("photos/") == names(Path("photos")) == PHOTOS
    assert names(here / "photos") == [f"{here}/{name}" for name in PHOTOS]
    assert names("photos/**") == names("photos") == names("ph*")
    assert names("**/s*/**") == names("photos/s*") == ["photos/sub/c.tiff", "photos/sub/d.webp"]
    assert names("photos/*.t*", Path("photos/?.png")) == ["photos/notes.txt", "photos/a.png"]
    assert names("*.none") == ["*.none"]


def test_names_that_exist_are_no_patterns(here):
    put(here, "a [1].jpg", "a 1.jpg", "x*.jpg", "xy.jpg", "[2]/i.jpg", "2/j.jpg")
    assert names("a [1].jpg", "x*.jpg", "[2]") == ["a [1].jpg", "x*.jpg", "[2]/i.jpg"]
    odd = ["photos/notes.txt", "gone.jpg", "gone/*.jpg", "x" * 5000, "a\0b.jpg", "a\0*", "*" * 5000 + "/x"]
    assert names(*odd) == odd


def test_lists_of_paths_name_files_as_they_are(here):
    lines = b"photos/*.png\r\nhttps://a/b\n\n caf\xe9.jpg \nphotos"
    assert names(lists=["-"], stdin=lines) == ["photos/*.png", "https://a/b", os.fsdecode(b" caf\xe9.jpg "), "photos"]
    (here / "list.txt").write_bytes(b"photos/a.png\n")
    assert names("gone", lists=["list.txt", "-"], stdin=b"x") == ["gone", "photos/a.png", "x"]
    with pytest.raises(DataError, match="is no list of paths"):
        names(lists=["-"], stdin=b"x" * 300_000)


def test_lists_are_split_at_zero_bytes_or_lines():
    for content, expected in (
        (b"a\nb\n\nc", [b"a", b"b", b"c"]),
        (b"\xef\xbb\xbfa\r\nb", [b"a", b"b"]),
        (b"a\nb\0c\r\0", [b"a\nb", b"c\r"]),
        (b"x" * 50_000 + b"\n" + b"x" * 50_000, [b"x" * 50_000] * 2),
        (b"", []),
    ):
        assert list(split_paths(BytesIO(content).read)) == expected


def test_lists_are_read_while_they_are_written(here):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb", buffering=0) as sink:
        sink.write(b"a.jpg\nb.jpg\n")
        inputs = read_inputs([], lists=["-"], stdin=source)
        assert [next(inputs).name, next(inputs).name] == ["a.jpg", "b.jpg"]
        sink.write(b"c.jpg\n")
        assert next(inputs).name == "c.jpg"


def test_inputs_that_can_be_no_image_are_refused_before_the_first(here):
    put(here, "none/deep/notes.txt")
    (here / "bad.csv").write_text("name,label\na,b\n", "utf-8")
    (here / "empty.csv").write_text("path\n", "utf-8")
    for images, lists, kind, message in (
        (["photos", ""], [], UsageError, "is empty: give a file"),
        (["photos", "none"], [], DataError, r"folder 'none' holds no images \(1 file .*: .txt.*give another"),
        (["photos", "bad.csv"], [], DataError, "has no column 'path'"),
        (["photos", "empty.csv"], [], DataError, "has no rows"),
        (["photos"], ["gone.txt"], DataError, "list of paths 'gone.txt' cannot be read: no such file"),
        (["-"], ["-"], UsageError, "standard input can be given once"),
    ):
        with pytest.raises(kind, match=message):
            read_inputs(images, lists=lists, stdin=BytesIO())  # type: ignore[arg-type]


def test_folder_that_cannot_be_listed_is_an_unreadable_image(here, monkeypatch):
    real = os.scandir

    def scandir(folder: str) -> Any:
        if folder == "photos/sub":
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    *photos, (name, image) = read_inputs("photos")
    assert [one.name for one in photos] == PHOTOS[:2]
    assert name == "photos/sub"
    with pytest.raises(ImageError, match="folder cannot be read: permission denied"):
        read(image)
    with pytest.raises(DataError, match="cannot be read: permission denied; make it readable"):
        read_inputs("photos/sub")


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that cannot be read")
def test_standard_input_that_cannot_be_read_is_a_data_error(here):
    with open("/proc/self/mem", "rb") as memory, pytest.raises(DataError, match="standard input cannot be read: "):
        list(read_inputs("-", stdin=memory))  # type: ignore[arg-type]


def test_broken_table_that_a_pattern_matches_does_not_stop_the_others(here):
    put(here, "odd/a.png", "odd/z.png")
    (here / "odd" / "notes.csv").write_text("name,price\nx,1\n")
    inputs = list(read_inputs("odd/*"))
    assert [one.name for one in inputs] == ["odd/a.png", "odd/notes.csv", "odd/z.png"]
    with pytest.raises(ImageError, match="path"):
        read(inputs[1].image)


def test_single_file_is_one_image_file_and_nothing_else(here):
    (here / "folder.jpg").mkdir()
    assert is_single_file("photos/b.JPG")
    assert is_single_file([Path("photos/b.JPG")])
    for others in ("photos/*.png", "gone.jpg", "folder.jpg", "-", "http://a/b.jpg", "a\0.jpg", b"x"):
        assert not is_single_file([others]), others
    assert not is_single_file(["photos/b.JPG", "photos/a.png"])


def test_patterns_match_folders_of_any_depth_but_not_behind_links_back(tmp_path):
    put(tmp_path, "0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a/.hidden/4.jpg")
    for loop in ("l1", "l2"):
        (tmp_path / "a" / loop).symlink_to(tmp_path)
    inputs = {str(Path(name).relative_to(tmp_path)) for name in match_pattern(f"{tmp_path}/**/*.jpg")}
    assert inputs == {"0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"}
    assert [Path(name).name for name in match_pattern(f"{tmp_path}/a/**/c/*.jpg")] == ["3.jpg"]
    assert list(match_pattern(f"{tmp_path}/nothing/**/*.jpg")) == []


@pytest.mark.parametrize("pattern", ["**/*.jpg", "a/**", "**", "./**/b/*", "*/**/*.jpg", "**/b/**/*.jpg", "a*/**/c"])
def test_patterns_match_what_glob_matches(tmp_path, monkeypatch, pattern):
    put(tmp_path, "0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", ".h/4.jpg")
    monkeypatch.chdir(tmp_path)

    def files(matches: Iterator[str]) -> set[str]:
        listed = [walk_images(match) if os.path.isdir(match) else [match] for match in matches]
        return {os.path.normpath(file) for entry in listed for file in entry}

    assert files(match_pattern(pattern)) == files(glob.iglob(pattern, recursive=True)) != set()


def test_address_is_told_from_file():
    assert all(map(is_address, ("http://a", "HTTPS://a/b?c=d", "s3://a", "git+ssh://a")))
    assert not any(map(is_address, ("a.jpg", "c:/a", "c://a", "a/b.jpg", "://", "é://", "a b://", "photos/http://a")))
