"""Tests of tl/service/security.py over HTTP: keys, roles, limiter, and pages of other origins."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.live_service import Live, problem
from tl.service.database import Database
from tl.service.keys import ROLES, add_key, revoke_key
from tl.service.security import RateLimiter

KEYS: dict[str, str] = {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def live(tiny_run: Path, home: Path) -> Iterator[Live]:
    database = Database(home / "state")
    for role in ROLES:
        KEYS[role] = add_key(database, f"{role}er", role)
    served = Live(home, runs=[str(tiny_run)], allow_host=["Photos.example"], rate=1200, limits={"failures": 40})
    yield served
    served.stop()
    log = "\n".join(served.log)
    assert "request" in log
    for secret in (*KEYS.values(), *(key[10:] for key in KEYS.values()), "tl-test-secret", "Bearer"):
        assert secret not in log


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


def test_a_request_without_a_key_gets_a_401(live: Live, shapes: Path):
    assert live.request("GET", "/healthz").status == 200
    assert live.request("GET", "/readyz").status == 200
    for method, path in (("POST", "/v1/predict"), ("POST", "/v1/explain"), ("GET", "/v1/runs"), ("GET", "/metrics")):
        response = live.request(method, path)
        assert problem(response)["status"] == 401, path
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_route_but_the_health_checks_needs_a_key(live: Live):
    schema = json.loads(live.request("GET", "/v1/openapi.json", headers=bearer(KEYS["predict"])).data)
    open_routes = set()
    for path, methods in schema["paths"].items():
        for method in methods:
            response = live.request(method.upper(), path.replace("{", "0" * 15).replace("}", ""))
            if response.status not in (401, 429):
                open_routes.add(path)
    assert open_routes == {"/healthz", "/readyz"}


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer tl_" + "A" * 43, "tl_" + "A" * 43, "Bearer \xff"]
)
def test_a_wrong_key_is_refused(live: Live, header: str):
    response = live.request("GET", "/v1/runs", headers={"Authorization": header.encode("latin-1").decode("latin-1")})
    assert problem(response)["status"] == 401


def test_a_role_includes_those_below_it(live: Live, tiny_run: Path, shapes: Path):
    photo = (shapes / "noise" / "00.png").read_bytes()
    activate = f"/v1/runs/{tiny_run.name}/activate"
    statuses: dict[str, list[int]] = {}
    for role in ROLES:
        responses: list[Any] = [
            live.request("POST", "/v1/predict", body=photo, headers=bearer(KEYS[role])),
            live.request("GET", "/v1/jobs", headers=bearer(KEYS[role])),
            live.request("POST", activate.replace(tiny_run.name, "nothing"), headers=bearer(KEYS[role])),
        ]
        statuses[role] = [response.status for response in responses]
    assert statuses == {"predict": [200, 403, 403], "train": [200, 200, 403], "admin": [200, 200, 404]}


def test_a_revoked_key_is_refused_within_seconds(live: Live, home: Path):
    database = Database(home / "state")
    token = add_key(database, "guest", "predict")
    assert live.request("GET", "/v1/runs", headers=bearer(token)).status == 200
    revoke_key(database, "guest")
    statuses = []
    for _ in range(60):
        statuses.append(live.request("GET", "/v1/runs", headers=bearer(token)).status)
        if statuses[-1] == 401:
            return
        time.sleep(0.1)
    pytest.fail(str(statuses))


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "10.0.0.1"]
)
def test_unknown_hosts_get_a_421(live: Live, host: str):
    assert problem(live.request("GET", "/healthz", headers={"Host": host}))["status"] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000", "photos.example"])
def test_known_hosts_are_served(live: Live, host: str):
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
def test_pages_of_other_origins_get_a_403(live: Live, headers: dict[str, str]):
    for path in ("/healthz", "/v1/runs"):
        assert problem(live.request("GET", path, headers=bearer(KEYS["admin"], **headers)))["status"] == 403


def test_the_own_page_and_followed_links_are_served(live: Live):
    own = live.address
    assert live.request("GET", "/healthz", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}).status == 200
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert live.request("GET", "/healthz", headers=visit).status == 200
    assert live.request("POST", "/v1/predict", headers=visit).status == 403


def test_responses_have_security_headers(live: Live):
    for path in ("/healthz", "/nothing", "/v1/runs"):
        headers = live.request("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers
        assert not any(name.lower().startswith("access-control") for name in headers)
        assert "Set-Cookie" not in headers


def test_rate_limits_are_per_key(live: Live):
    responses = [live.request("GET", "/v1/runs/none", headers=bearer(KEYS["train"])) for _ in range(200)]
    late = [response for response in responses if response.status == 429]
    assert late
    assert 1 <= int(late[0].headers["Retry-After"]) <= 60
    assert live.request("GET", "/v1/runs", headers=bearer(KEYS["admin"])).status == 200


def test_guessing_keys_is_rate_limited(live: Live):
    statuses = {live.request("GET", "/v1/runs", headers=bearer(f"tl_{at:043}")).status for at in range(80)}
    assert statuses == {401, 429}


def test_rate_limiter_allows_a_burst_then_one_at_a_time():
    now = [0.0]
    limiter = RateLimiter(600, lambda: now[0])
    assert sum(limiter.wait("a") == 0 for _ in range(100)) == 60
    assert limiter.wait("a") == pytest.approx(0.1)
    assert limiter.wait("b") == 0
    now[0] += 0.1
    assert limiter.wait("a") == 0
    assert limiter.wait("a") > 0
    assert RateLimiter(0).wait("a") == 0
