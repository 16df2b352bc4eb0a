"""Tables of path,label[,split] as spreadsheets and scripts write them."""

import os
from pathlib import Path

import pytest

from support.data_sets import put
from tl.data.dataset import Skipped
from tl.data.load import load
from tl.errors import DataError


def table(root: Path, text: str | bytes, name: str = "data.csv") -> Path:
    file = put(root, "a.jpg", "b.jpg", "sub/c.jpg") / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_table_gives_paths_labels_and_parts(tmp_path):
    data = load(table(tmp_path, "path,label,split\nsub/c.jpg,cat,train\na.jpg, dog ,VAL\nb.jpg,dog,\n"))
    assert (data.name, data.root, data.class_names) == ("data", tmp_path, ("cat", "dog"))
    assert data.names == ("sub/c.jpg", "a.jpg", "b.jpg")
    assert data.images[0] == tmp_path / "sub/c.jpg"
    assert (data.labels.tolist(), data.parts) == ([0, 1, 1], ("train", "validation", None))


@pytest.mark.parametrize("header", ["path,label", "filename,class", "File,Label", "IMAGE , class", "path,label,id"])
def test_column_names_have_aliases(tmp_path, header):
    assert load(table(tmp_path, f"{header}\na.jpg,cat\nb.jpg,dog\n")).class_names == ("cat", "dog")


def test_tables_of_spreadsheets_are_read(tmp_path):
    text = b'\xef\xbb\xbfpath,label\r\n"a.jpg","cat, big"\r\n\r\nb.jpg,"\xea\xb0\x9c"\r\n,,\r\n'
    assert load(table(tmp_path, text)).class_names == ("cat, big", "개")
    assert load(table(tmp_path, "path\tlabel\na.jpg\tcat\nb.jpg\tdog\n", "data.TSV")).class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_separator_does_not_depend_on_the_file_ending(tmp_path, name, separator, start):
    rows = (("id", "label", '"path"', "split"), ("1", '"cat, big; wild"', "a.jpg", "train"), ("2", "dog", "b.jpg", ""))
    text = start + "\r\n".join(separator.join(row) for row in rows).encode()
    data = load(table(tmp_path, text, name))
    assert (data.names, data.parts) == (("a.jpg", "b.jpg"), ("train", None))
    assert data.class_names == ("cat, big; wild", "dog")


def test_header_decides_the_separator(tmp_path):
    for one, other in (",;", ";,"):
        text = f"path{one}label\na.jpg{one}x{other}y{other}z\nb.jpg{one}u{other}v{other}w\n"
        assert load(table(tmp_path, text)).class_names == (f"u{other}v{other}w", f"x{other}y{other}z")
    for text in ("path\na.jpg\n", "path;note\na.jpg;x\n"):
        assert load(table(tmp_path, text), labelled=False).names == ("a.jpg",)


def test_windows_paths_are_read(tmp_path):
    data = load(table(tmp_path, "path,label\nsub\\c.jpg,cat\n.\\b.jpg,dog\nsub/c.jpg,cat\nsub\\gone.jpg,cat\n"))
    assert (data.names, data.images[0]) == (("sub/c.jpg", "b.jpg"), tmp_path / "sub" / "c.jpg")
    assert data.skipped == (Skipped("sub/c.jpg", "listed twice"), Skipped("sub\\gone.jpg", "no such file"))


@pytest.mark.skipif(os.name == "nt", reason="no name holds a backslash on this system")
def test_path_that_exists_is_taken_as_written(tmp_path):
    (tmp_path / "sub\\c.jpg").write_bytes(b"another")
    data = load(table(tmp_path, f"path,label\nsub\\c.jpg,cat\n{tmp_path / 'a.jpg'},dog\n"))
    assert data.images == (tmp_path / "sub\\c.jpg", tmp_path / "a.jpg")


def test_unusable_rows_are_skipped_with_a_reason(tmp_path):
    text = f"path,label\na.jpg,cat\nb.jpg,dog\ngone.jpg,cat\nsub,cat\n,cat\na.jpg,cat\n{'x' * 5000}.jpg,cat\na\0b,cat\n"
    data = load(table(tmp_path, text))
    assert data.names == ("a.jpg", "b.jpg")
    assert data.skipped[:4] == (
        Skipped("gone.jpg", "no such file"),
        Skipped("sub", "not a file"),
        Skipped("line 6", "no path"),
        Skipped("a.jpg", "listed twice"),
    )
    assert [skipped.reason for skipped in data.skipped[4:]] == ["no such file", "no such file"]


@pytest.mark.parametrize(("text", "message"), [
    ("", "has no column 'path': name the columns path,label or path,label,split; found nothing"),
    ("a.jpg,cat\nb.jpg,dog\n", "has no column 'path'.* found 'a.jpg', 'cat'"),
    ("path,name\na.jpg,cat\n", "has no column 'label'"),
    ("path,label\n", "has no rows"),
    ("path,label\nx.jpg,cat\ny.jpg,dog\n", r"none of the 2 rows .* \(first: 'x.jpg', no such file\); paths are"),
    ("path,label\na.jpg,cat\nb.jpg,\n", "line 3: no label for 'b.jpg'"),
    ("path;label\na.jpg;cat\nb.jpg;\n", "line 3: no label for 'b.jpg'"),
    ("path;name\na.jpg;cat\n", "no column 'label'.* found 'path', 'name'"),
    ("path,label\na.jpg,cat\nb.jpg\n", "line 3: no label for 'b.jpg'"),
    ("path,label,split\na.jpg,cat,train\nb.jpg,dog,holdout\n", "line 3: no such split: 'holdout'; there are train,"),
    ("path,label\na.jpg,cat\nb.jpg,cat\n", "one class only, 'cat'"),
    ("path,label,split\na.jpg,cat,train\nb.jpg,dog,val\n", "validation has classes that train has not: 'dog'"),
    (b"path,label\na.jpg,caf\xe9\n", "is not UTF-8 text: save it as UTF-8"),
    ('path,label\n"a.jpg,cat\n', "line 2: unexpected end of data"),
])  # fmt: skip
def test_unusable_tables_are_data_errors(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        load(table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "data.csv" in str(caught.value)


def test_labels_are_optional_where_not_labelled(tmp_path):
    for text, labels in (("path\na.jpg\nb.jpg\n", [-1, -1]), ("path,label\na.jpg,cat\nb.jpg,\n", [0, -1])):
        assert load(table(tmp_path, text), labelled=False).labels.tolist() == labels
