"""Tests of tl/service/security.py over HTTP: keys, roles, limiter, and pages of other origins."""

import pytest

from support.live_service import problem, until
from tl.service.database import Database
from tl.service.keys import add_key, revoke_key
from tl.service.security import RateLimiter


@pytest.fixture(scope="module")
def live(serve, tiny_run):
    served = serve(keys=True, runs=[str(tiny_run)], allow_host=["Photos.example"], rate=1200, limits={"failures": 40})
    yield served
    served.stop()
    log = "\n".join(served.log)
    assert "request" in log
    for secret in (*served.keys.values(), *(key[10:] for key in served.keys.values()), "tl-test-secret", "Bearer"):
        assert secret not in log


def bearer(key, **more):
    return {"Authorization": f"Bearer {key}", **more}


def test_every_route_but_the_health_checks_needs_a_key(live):
    schema = live.client.get("/v1/openapi.json", headers=bearer(live.keys["predict"])).json()
    open_routes = set()
    for path, methods in schema["paths"].items():
        for method in methods:
            response = live.request(method.upper(), path.replace("{", "0" * 15).replace("}", ""))
            if response.status == 200:
                open_routes.add(path)
            else:
                assert problem(response)["status"] == 401, path
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert open_routes == {"/healthz", "/readyz"}


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer tl_" + "A" * 43, "tl_" + "A" * 43, "Bearer \xff"]
)
def test_a_wrong_key_is_refused(live, header):
    assert problem(live.request("GET", "/v1/runs", headers={"Authorization": header}))["status"] == 401


@pytest.mark.parametrize(
    ("role", "expected"), [("predict", [200, 403, 403]), ("train", [200, 200, 403]), ("admin", [200, 200, 404])]
)
def test_a_role_includes_those_below_it(live, shapes, role, expected):
    headers = bearer(live.keys[role])
    responses = [
        live.request("POST", "/v1/predict", body=(shapes / "noise" / "00.png").read_bytes(), headers=headers),
        live.request("GET", "/v1/jobs", headers=headers),
        live.request("POST", "/v1/runs/nothing/activate", headers=headers),
    ]
    assert [response.status for response in responses] == expected


def test_a_revoked_key_is_refused_within_seconds(live):
    database = Database(live.home / "state")
    token = add_key(database, "guest", "predict")
    assert live.request("GET", "/v1/runs", headers=bearer(token)).status == 200
    revoke_key(database, "guest")
    until(lambda: live.request("GET", "/v1/runs", headers=bearer(token)).status == 401, 6)


@pytest.mark.parametrize(("hosts", "status"), [
    (["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "10.0.0.1"], 421),
    (["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000", "photos.example"], 200),
])  # fmt: skip
def test_only_known_hosts_are_served(live, hosts, status):
    for host in hosts:
        assert live.request("GET", "/healthz", headers={"Host": host}).status == status, host


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
])  # fmt: skip
def test_pages_of_other_origins_get_a_403(live, headers):
    for path in ("/healthz", "/v1/runs"):
        assert problem(live.request("GET", path, headers=bearer(live.keys["admin"], **headers)))["status"] == 403


def test_the_own_page_and_followed_links_are_served(live):
    own = {"Origin": live.address, "Sec-Fetch-Site": "same-origin"}
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert live.request("GET", "/healthz", headers=own).status == 200
    assert live.request("GET", "/healthz", headers=visit).status == 200
    assert live.request("POST", "/v1/predict", headers=visit).status == 403


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/runs"])
def test_responses_have_security_headers(live, path):
    headers = live.request("GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert not {"server", "set-cookie"} & {name.lower() for name in headers}
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_rate_limits_are_per_key_and_guessing_keys_is_limited(live):
    responses = [live.request("GET", "/v1/runs/none", headers=bearer(live.keys["train"])) for _ in range(200)]
    late = next(response for response in responses if response.status == 429)
    assert 1 <= int(late.headers["Retry-After"]) <= 60
    assert live.request("GET", "/v1/runs", headers=bearer(live.keys["admin"])).status == 200
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
