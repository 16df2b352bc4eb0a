"""Tables of path,label[,split] as spreadsheets and scripts write them."""

import os
from pathlib import Path

import pytest

from support.data_sets import put
from tl.data.dataset import Skipped
from tl.data.inputs import read_inputs
from tl.data.load import load
from tl.data.splits import grouped, groups_by
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


ROWS = "".join(f"{name},{label},{{}}\n" for name, label in (("a.jpg", "cat"), ("b.jpg", "dog"), ("sub/c.jpg", "dog")))


@pytest.mark.parametrize(("column", "values", "parts"), [
    *((name, ("train", "train", "VAL"), ("train", "train", "validation"))
      for name in ("split", "Split", "set", "subset", "fold", "partition", "Phase")),
    ("is_valid", ("False", "False", "True"), (None, None, "validation")),
    ("is_test", ("0", "0", "1"), (None, None, "test")),
    ("is_train", ("yes", "yes", "no"), (None, None, "validation")),
])  # fmt: skip
def test_columns_that_mean_a_split_elsewhere_are_understood(tmp_path, column, values, parts):
    data = load(table(tmp_path, f"path,label,{column}\n" + ROWS.format(*values)))
    assert (data.parts, data.notes) == (parts, ())


@pytest.mark.parametrize(("column", "values"), [
    ("fold", "012"), ("set", "AAB"), ("is_valid", ("maybe", "no", "no")), ("partition", "001"), ("age", "123"),
])  # fmt: skip
def test_columns_that_are_not_used_are_named(tmp_path, column, values):
    file = table(tmp_path, f"path,label,{column}\n" + ROWS.format(*values))
    data = load(file)
    assert (data.parts, data.notes) == ((None,) * 3, (f"columns not used: {column}",))
    assert grouped(data, file, column).notes == ()


def test_a_fold_counts_as_a_split_only_where_no_other_column_does(tmp_path):
    rows = "a.jpg,cat,1,train\nb.jpg,dog,2,train\nsub/c.jpg,dog,3,val\n"
    data = load(table(tmp_path, "path,label,fold,phase\n" + rows))
    assert (data.parts, data.notes) == (("train", "train", "validation"), ("columns not used: fold",))


@pytest.mark.parametrize("split", ["train", ""])
def test_a_split_column_comes_before_flags(tmp_path, split):
    text = f"path,label,split,is_test\na.jpg,cat,{split},0\nb.jpg,dog,{split},0\nsub/c.jpg,dog,{split},1\n"
    data = load(table(tmp_path, text))
    assert data.parts == (("train",) * 3 if split else (None, None, "test"))
    assert data.notes == (("columns not used: is_test",) if split else ())


def test_a_file_is_one_photo_however_its_path_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    paths = ["sub/c.jpg", "./sub/c.jpg", tmp_path / "sub/c.jpg", "sub/../sub/c.jpg", "link/c.jpg", "b.jpg"]
    data = load(table(tmp_path, "path,label\na.jpg,cat\n" + "".join(f"{path},dog\n" for path in paths)))
    assert data.names == ("a.jpg", "sub/c.jpg", "b.jpg")
    assert {skipped.reason for skipped in data.skipped} == {"listed twice"}
    absolute = load(table(tmp_path, f"path,label\na.jpg,cat\n{tmp_path / 'sub/c.jpg'},dog\n"))
    assert absolute.names == ("a.jpg", "sub/c.jpg")


@pytest.mark.parametrize(("on_disk", "written"), [
    ("caf\u00e9/\uac1c.jpg", "cafe\u0301/\u1100\u1162.jpg"), ("cafe\u0301/\u1100\u1162.jpg", "caf\u00e9/\uac1c.jpg"),
    ("x/IMG_1.JPG", "x/IMG_1.jpg"), ("x/img.jpg", "x/img.JPG"), ("x/img.jpg", "x\\img.JPG"),
])  # fmt: skip
def test_files_are_found_under_another_spelling(tmp_path, on_disk, written):
    put(tmp_path, on_disk)
    file = table(tmp_path, f"path,label,patient\na.jpg,cat,1\n{written},dog,2\n")
    data = load(file)
    assert data.images[1] == tmp_path / on_disk
    assert "1 file found under another spelling (Unicode form, or .JPG for .jpg)" in data.notes
    assert groups_by(data, file, "patient") == ["1", "2"]
    assert [Path(one.name) for one in read_inputs(file)] == [tmp_path / "a.jpg", tmp_path / on_disk]
    pairs = load([(tmp_path / "a.jpg", "cat"), (tmp_path / written, "dog")])
    assert pairs.images == data.images


def test_a_spelling_that_two_files_have_is_not_guessed(tmp_path):
    put(tmp_path, "x/i.jpg", "x/i.Jpg")
    data = load(table(tmp_path, "path,label\na.jpg,cat\nb.jpg,dog\nx/i.JPG,dog\n"))
    assert data.skipped == (Skipped("x/i.JPG", "no such file"),)


def test_white_space_around_classes_counts_nowhere(tmp_path):
    put(tmp_path, "in/cat /a.jpg", "in/cat/b.jpg", "in/dog/c.jpg")
    folders = load(tmp_path / "in")
    assert (folders.class_names, folders.notes) == (("cat", "dog"), ("folders 'cat', 'cat ' are one class",))
    assert load(table(tmp_path, "path,label\na.jpg, cat \nb.jpg,dog\n")).class_names == ("cat", "dog")
    assert load([(tmp_path / "a.jpg", "cat "), (tmp_path / "b.jpg", "dog")]).class_names == ("cat", "dog")


def test_a_class_without_a_file_is_named(tmp_path):
    data = load(table(tmp_path, "path,label\na.jpg,cat\nb.jpg,dog\ngone.jpg,owl\n"))
    assert data.notes == ("left out, because none of its files can be used: 'owl'",)


def test_classes_are_in_the_order_of_their_numbers(tmp_path):
    labels = ("10", "2", "1", "class 10", "class 9", "01")
    put(tmp_path, *(f"in/{label}/a.jpg" for label in labels))
    assert load(tmp_path / "in").class_names == ("01", "1", "2", "10", "class 9", "class 10")
