"""Who may do what over HTTP: keys, roles, rates, and pages of other origins."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.live_service import Live, problem
from tl.client import Client
from tl.errors import ServiceError, UsageError
from tl.service import keys
from tl.service.database import Database
from tl.service.security import Rates

KEYS: dict[str, str] = {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def live(tiny_run: Path, home: Path) -> Iterator[Live]:
    database = Database(home / "state")
    for role in keys.ROLES:
        KEYS[role] = keys.add(database, f"{role}er", role)
    served = Live(home, runs=[str(tiny_run)], hosts=["photos.example"], limits={"rate": 1200, "failures": 40})
    yield served
    served.stop()
    said = "\n".join(served.log)
    assert "request" in said
    for secret in (*KEYS.values(), *(key[10:] for key in KEYS.values()), "tl-test-secret", "Bearer"):
        assert secret not in said


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


def test_without_a_key_only_the_pulse_can_be_felt(live: Live, shapes: Path):
    assert live.request("GET", "/healthz").status == 200
    assert live.request("GET", "/readyz").status == 200
    for method, path in (("POST", "/v1/predict"), ("POST", "/v1/explain"), ("GET", "/v1/runs"), ("GET", "/metrics")):
        answer = live.request(method, path)
        assert problem(answer)["status"] == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_route_but_the_pulse_asks_for_a_key(live: Live):
    told = json.loads(live.request("GET", "/v1/openapi.json", headers=bearer(KEYS["predict"])).data)
    open_to_all = set()
    for path, methods in told["paths"].items():
        for method in methods:
            answer = live.request(method.upper(), path.replace("{", "0" * 15).replace("}", ""))
            if answer.status not in (401, 429):
                open_to_all.add(path)
    assert open_to_all == {"/healthz", "/readyz"}


@pytest.mark.parametrize(
    "given", ["Bearer", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer tl_" + "A" * 43, "tl_" + "A" * 43, "Bearer \xff"]
)
def test_a_wrong_key_is_refused(live: Live, given: str):
    answer = live.request("GET", "/v1/runs", headers={"Authorization": given.encode("latin-1").decode("latin-1")})
    assert problem(answer)["status"] == 401


def test_a_role_may_do_what_those_below_it_may(live: Live, tiny_run: Path, shapes: Path):
    photo = (shapes / "noise" / "00.png").read_bytes()
    activate = f"/v1/runs/{tiny_run.name}/activate"
    may: dict[str, list[int]] = {}
    for role in keys.ROLES:
        asked: list[Any] = [
            live.request("POST", "/v1/predict", body=photo, headers=bearer(KEYS[role])),
            live.request("GET", "/v1/jobs", headers=bearer(KEYS[role])),
            live.request("POST", activate.replace(tiny_run.name, "nothing"), headers=bearer(KEYS[role])),
        ]
        may[role] = [answer.status for answer in asked]
    assert may == {"predict": [200, 403, 403], "train": [200, 200, 403], "admin": [200, 200, 404]}


def test_a_revoked_key_is_refused_within_seconds(live: Live, home: Path):
    database = Database(home / "state")
    token = keys.add(database, "guest", "predict")
    assert live.request("GET", "/v1/runs", headers=bearer(token)).status == 200
    keys.revoke(database, "guest")
    statuses = []
    for _ in range(60):
        statuses.append(live.request("GET", "/v1/runs", headers=bearer(token)).status)
        if statuses[-1] == 401:
            return
        live.process.poll()
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail(str(statuses))


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "10.0.0.1"]
)
def test_another_host_is_refused(live: Live, host: str):
    assert problem(live.request("GET", "/healthz", headers={"Host": host}))["status"] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000", "photos.example"])
def test_its_own_names_are_known(live: Live, host: str):
    assert live.request("GET", "/healthz", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_pages_of_other_origins_are_refused(live: Live, headers: dict[str, str]):
    for path in ("/healthz", "/v1/runs"):
        assert problem(live.request("GET", path, headers=bearer(KEYS["admin"], **headers)))["status"] == 403


def test_its_own_page_and_a_followed_link_are_served(live: Live):
    own = live.address
    assert live.request("GET", "/healthz", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}).status == 200
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert live.request("GET", "/healthz", headers=visit).status == 200
    assert live.request("POST", "/v1/predict", headers=visit).status == 403


def test_answers_carry_what_keeps_browsers_in_bounds(live: Live):
    for path in ("/healthz", "/nothing", "/v1/runs"):
        headers = live.request("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers
        assert not any(name.lower().startswith("access-control") for name in headers)
        assert "Set-Cookie" not in headers


def test_a_key_that_comes_too_often_waits_and_others_do_not(live: Live):
    answers = [live.request("GET", "/v1/runs/none", headers=bearer(KEYS["train"])) for _ in range(200)]
    late = [answer for answer in answers if answer.status == 429]
    assert late
    assert 1 <= int(late[0].headers["Retry-After"]) <= 60
    assert live.request("GET", "/v1/runs", headers=bearer(KEYS["admin"])).status == 200


def test_guessing_keys_is_slowed_down(live: Live):
    said = {live.request("GET", "/v1/runs", headers=bearer(f"tl_{at:043}")).status for at in range(80)}
    assert said == {401, 429}


def test_without_keys_other_machines_are_not_served(tl: Any, tmp_path: Path):
    done = tl("serve", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)  # noqa: S104
    assert done.returncode == 2
    assert "tl keys add" in done.stderr


def test_keys_are_shown_once_listed_and_revoked(tl: Any, tmp_path: Path):
    made = tl("keys", "add", "phone", "--role", "train", cwd=tmp_path)
    token = made.stdout.strip()
    assert made.returncode == 0
    assert len(token) == 46
    listed = tl("keys", "list", cwd=tmp_path)
    assert "phone" in listed.stdout
    assert token not in listed.stdout
    state = tmp_path / "service"
    assert state.stat().st_mode & 0o077 == 0
    for path in state.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
        assert token.encode() not in path.read_bytes()
        assert token[10:].encode() not in path.read_bytes()
    again = tl("keys", "add", "phone", cwd=tmp_path)
    assert again.returncode == 2
    assert "phone" in again.stderr
    assert tl("keys", "revoke", "phone", cwd=tmp_path).returncode == 0
    assert tl("keys", "revoke", "phone", cwd=tmp_path).returncode == 2
    assert "revoked" in tl("keys", "list", cwd=tmp_path).stdout
    assert tl("keys", "add", "phone", cwd=tmp_path).returncode == 0
    assert keys.find(Database(state), token) is None


def test_it_speaks_tls_where_it_is_given_a_certificate(tiny_run: Path, shapes: Path, tmp_path: Path, tl: Any):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    certificate, private_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(private_key), "-out", str(certificate))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *name], check=True, capture_output=True)
    live = Live(tmp_path, runs=[str(tiny_run)], certificate=str(certificate), private_key=str(private_key))
    try:
        address = live.address
        assert address.startswith("https://127.0.0.1:")
        [said] = Client(address, authority=certificate).predict(shapes / "noise" / "00.png")
        assert said["label"] == "noise"
        with pytest.raises(ServiceError, match="cannot be reached"):
            Client(address).runs()
    finally:
        assert live.stop() == 0
    done = tl("serve", "--tls-certificate", certificate, cwd=tmp_path)
    assert done.returncode == 2
    private_key.write_text("no key")
    done = tl(
        "serve", tiny_run, "--port", "0", "--tls-certificate", certificate, "--tls-key", private_key, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "cannot be used for TLS" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "nothing"),
        (("--host", "256.1.1.1"), "tl keys add"),
        (("--state", "/dev/null/x"), "--state"),
        (("--engine", "abacus"), "abacus"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tl: Any, tiny_run: Path, tmp_path: Path, arguments: Any, said: str):
    given = arguments if arguments == ("nothing",) else (tiny_run, *arguments)
    done = tl("serve", *given, "--port", "0", "--no-jobs", cwd=tmp_path, timeout=60)
    assert done.returncode in (1, 2)
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_key_is_found_by_all_of_it_alone(tmp_path: Path):
    database = Database(tmp_path)
    token = keys.add(database, "a", "admin")
    assert keys.find(database, token) == keys.listed(database)[0]
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    for other in (wrong, token[:-1], token + "A", token[:7], "", token.lower(), token[:7] + "%" * 39):
        assert keys.find(database, other) is None
    for name in ("", " a", "x" * 65, "a\nb", "a/b"):
        with pytest.raises(UsageError):
            keys.add(database, name, "predict")
    with pytest.raises(UsageError):
        keys.add(database, "b", "root")


def test_a_rate_lets_a_burst_pass_and_then_one_at_a_time():
    now = [0.0]
    rates = Rates(600, lambda: now[0])
    assert sum(rates.wait("a") == 0 for _ in range(100)) == 60
    assert rates.wait("a") == pytest.approx(0.1)
    assert rates.wait("b") == 0
    now[0] += 0.1
    assert rates.wait("a") == 0
    assert rates.wait("a") > 0
    assert Rates(0).wait("a") == 0


def test_tables_are_made_once_and_newer_files_are_refused(tmp_path: Path):
    first = Database(tmp_path)
    keys.add(first, "a", "admin")
    assert [key.name for key in keys.listed(Database(tmp_path))] == ["a"]
    with first.writing() as connection:
        connection.execute("INSERT INTO migrations VALUES ('keys', 99, 0)")
    with pytest.raises(ServiceError, match="newer version"):
        Database(tmp_path)
    with pytest.raises(sqlite3.IntegrityError):
        emptied_then_refused(first)
    assert len(keys.listed(first)) == 1
    with pytest.raises(sqlite3.IntegrityError), first.writing() as connection:
        connection.execute("INSERT INTO keys (name, role, prefix, hash, created) VALUES ('b', 'root', '', x'01', 0)")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "service.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceError, match="cannot be used"):
        Database(broken)


def emptied_then_refused(database: Database) -> None:
    with database.writing() as connection:
        connection.execute("DELETE FROM keys")
        connection.execute("INSERT INTO keys (id) VALUES (1)")
