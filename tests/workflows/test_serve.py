"""Tests of `tl serve` and tl/workflows/serve.py: what is refused before anything is served, and TLS."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.live_service import Live
from support.recorder import Recorder
from tl.client import Client
from tl.errors import ServiceError, UsageError
from tl.service.options import ServeOptions
from tl.workflows import keys
from tl.workflows.serve import serve


def test_serve_needs_a_key_for_other_machines_and_a_certificate_with_its_key(tmp_path: Path):
    with pytest.raises(UsageError, match="tl keys add"):
        serve(host="0.0.0.0", port=0, state=tmp_path / "state")  # noqa: S104
    with pytest.raises(UsageError, match="belong together"):
        ServeOptions(tls_certificate=tmp_path / "cert.pem")


@pytest.mark.parametrize(("kept", "notes"), [((), 1), (("tablet",), 0)])
def test_serve_says_that_all_keys_are_revoked(tmp_path: Path, monkeypatch, kept: tuple[str, ...], notes: int):
    for name in ("phone", *kept):
        keys.add(name, state=tmp_path)
    keys.revoke("phone", state=tmp_path)
    for started in ("service.server.create_app", "service.server.run_server", "service.monitoring.configure_logging"):
        monkeypatch.setattr(f"tl.{started}", lambda *_: None)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda **_: None)
    recorder = Recorder()
    serve(state=tmp_path, progress=recorder)
    command = f"`tl keys add NAME --state {tmp_path}`"
    assert len([line for line in recorder.lines if "401" in line and line.endswith(command)]) == notes


@pytest.mark.parametrize(("arguments", "message"), [
    (("nothing",), "nothing"),
    (("--host", "256.1.1.1"), "tl keys add"),
    (("--state", "/dev/null/x"), "--state"),
    (("--port", "99999"), "--port"),
    (("--engine", "abacus"), "abacus"),
])  # fmt: skip
def test_serve_refuses_in_one_line(tl_process: Any, tiny_run: Path, tmp_path: Path, arguments: Any, message: str):
    runs = () if arguments == ("nothing",) else (tiny_run,)
    done = tl_process("serve", *runs, "--port", "0", "--no-jobs", *arguments, cwd=tmp_path, timeout=60)
    assert done.returncode in (1, 2)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_serve_speaks_tls_with_a_certificate(tl_process: Any, tiny_run: Path, shapes: Path, tmp_path: Path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *name], check=True, capture_output=True)
    live = Live(tmp_path, runs=[str(tiny_run)], tls_certificate=str(certificate), tls_key=str(key))
    try:
        assert live.address.startswith("https://127.0.0.1:")
        [row] = Client(live.address, authority=certificate).predict(shapes / "noise" / "00.png")
        assert row["label"] == "noise"
        with pytest.raises(ServiceError, match="cannot be reached"):
            Client(live.address).runs()
    finally:
        assert live.stop() == 0
    key.write_text("no key")
    done = tl_process("serve", "--port", "0", "--tls-certificate", certificate, "--tls-key", key, cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be used for TLS" in done.stderr
