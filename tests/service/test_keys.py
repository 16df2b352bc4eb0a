"""Tests of tl/service/keys.py and tl/service/database.py: what is stored, found and refused."""

import sqlite3

import pytest

from tl.errors import ServiceError, UsageError
from tl.service.database import Database
from tl.service.keys import add_key, find_key, list_keys


def test_find_key_needs_the_whole_key(tmp_path):
    database = Database(tmp_path)
    token = add_key(database, "a", "admin")
    assert find_key(database, token) == list_keys(database)[0]
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    for other in (wrong, token[:-1], token + "A", token[:7], "", token.lower(), token[:7] + "%" * 39):
        assert find_key(database, other) is None


@pytest.mark.parametrize(
    ("name", "role"), [("", "predict"), (" a", "predict"), ("x" * 65, "predict"), ("a\nb", "predict"), ("b", "root")]
)
def test_add_key_refuses_bad_names_and_roles(tmp_path, name, role):
    with pytest.raises(UsageError):
        add_key(Database(tmp_path), name, role)


def test_database_applies_scripts_once_and_refuses_newer_and_damaged_files(tmp_path):
    first = Database(tmp_path)
    add_key(first, "a", "admin")
    assert [key.name for key in list_keys(Database(tmp_path))] == ["a"]
    first.execute("INSERT INTO migrations VALUES ('keys', 99, 0)")
    with pytest.raises(ServiceError, match="newer version"):
        Database(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "service.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceError, match="cannot be used"):
        Database(tmp_path / "damaged")


def test_database_rolls_back_what_violates_a_constraint(tmp_path):
    database = Database(tmp_path)
    add_key(database, "a", "admin")
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:  # noqa: PT012
        connection.execute("DELETE FROM keys")
        connection.execute("INSERT INTO keys (id) VALUES (1)")
    assert len(list_keys(database)) == 1
