"""Tests of `tl keys` and tl/workflows/keys.py."""

import json
from pathlib import Path

from click.testing import CliRunner

from tl.commands.keys import command
from tl.errors import UsageError
from tl.service.database import Database
from tl.service.keys import find_key
from tl.workflows import keys


def test_a_key_is_shown_once_listed_and_revoked(tmp_path: Path):
    state = tmp_path / "service"

    def run(*arguments: str):
        return CliRunner().invoke(command, [*arguments, "--state", str(state)])

    assert "tl keys add" in run("list").stderr
    added = run("add", "phone", "--role", "train")
    token = added.stdout.strip()
    assert len(token) == 46
    assert "phone may train" in added.stderr
    assert "phone" in run("list").stdout
    assert token not in run("list").stdout
    assert json.loads(run("list", "--json").stdout)[0]["role"] == "train"
    assert state.stat().st_mode & 0o077 == 0
    for path in state.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
        assert token[10:].encode() not in path.read_bytes()
    assert isinstance(run("add", "phone").exception, UsageError)
    assert run("add", "tablet").exit_code == 0
    assert run("revoke", "tablet").stderr == ""
    revoked = run("revoke", "phone")
    assert revoked.exit_code == 0
    assert "401" in revoked.stderr
    assert f"`tl keys add NAME --state {state}`" in revoked.stderr
    assert isinstance(run("revoke", "phone").exception, UsageError)
    assert "revoked" in run("list").stdout
    assert run("add", "phone").exit_code == 0
    assert find_key(Database(state), token) is None


def test_keys_as_functions(tmp_path: Path):
    token = keys.add("phone", state=tmp_path)
    assert token.startswith(keys.list(state=tmp_path)[0].prefix)
    keys.revoke("phone", state=tmp_path)
    assert keys.list(state=tmp_path)[0].revoked
