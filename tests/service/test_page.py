"""Tests of tl/service/page.py and its static files: headers, policy, both languages, links to reports."""

import re
from unittest.mock import AsyncMock

import pytest

from support.html import Reader
from support.live_service import problem
from support.session import ROOT
from tl.service.page import Links

FILES = ROOT / "tl" / "service" / "static"
SCRIPTS = sorted(FILES.glob("*.js"))
STYLE = ROOT / "tl" / "views" / "pages" / "page.css"


def words(name) -> dict[str, set[str]]:
    """Each key of a language's words, and the values that its sentences take."""
    text = (FILES / name).read_text(encoding="utf-8")
    sentence = r'"(?:[^"\\]|\\.)*"'
    forms = rf"(?:^  |, )(?:\"([\w. ]+)\"|(\w+)): ({sentence}|\{{ one: {sentence}, other: {sentence} \}})"
    found = {match[1] or match[2]: match[3] for match in re.finditer(forms, text, re.MULTILINE)}
    return {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in found.items()}


def page() -> Reader:
    return Reader((FILES / "index.html").read_text(encoding="utf-8"))


def test_static_files_have_type_tag_and_policy(live):
    response = live.request("GET", "/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = response.headers["Content-Security-Policy"]
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))
    types = {"page.css": "css", "shared.css": "css", "main.js": "javascript"}
    for name, kind in [("icon.svg", "image/svg+xml"), *((name, f"text/{kind}") for name, kind in types.items())]:
        sent = live.request("GET", f"/static/{name}")
        assert (sent.status, sent.headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert sent.data == (STYLE if name == "shared.css" else FILES / name).read_bytes()
        assert sent.headers["Cache-Control"] == "no-cache"


def test_a_cached_file_gets_a_304(live):
    first = live.request("GET", "/static/main.js")
    for known in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}'):
        again = live.request("GET", "/static/main.js", headers={"If-None-Match": known})
        assert (again.status, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    assert live.request("GET", "/static/main.js", headers={"If-None-Match": '"other"'}).status == 200
    head = live.request("HEAD", "/")
    assert (head.status, head.data) == (200, b"")


@pytest.mark.parametrize("name", ["none.js", "..%2fpage.py", "%2e%2e%2fkeys.py", "__init__.py", "index.html%00"])
def test_unknown_static_files_get_a_404(live, name):
    assert problem(live.request("GET", f"/static/{name}"))["status"] == 404


def test_no_inline_code_and_no_external_resources():
    elements = page()
    assert "".join(elements.raw.values()).strip() == ""
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert not re.match(r"(?:\w+:)?//", attributes.get(name) or ""), tag
    for path in [*SCRIPTS, *FILES.glob("*.css")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|\beval\(|new Function", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|console\.", text), path
        assert 'setAttribute("style"' not in text, path


def test_all_files_are_packaged_all_referenced_ones_exist_and_all_scripts_are_imported():
    packaged = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for path in FILES.iterdir():
        assert f'"service/static/*{path.suffix}"' in packaged
    names = {path.name for path in FILES.iterdir()} | {"shared.css"}
    paths = {(attributes.get("src") or attributes.get("href") or "") for _, attributes in page().tags}
    assert {path.removeprefix("/static/") for path in paths if path.startswith("/")} <= names
    imported = {"main.js"}
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        imported |= set(re.findall(r'from "\./([\w.]+)"', text))
        assert len(text.splitlines()) <= 300
        assert text.startswith("// "), path
    assert {path.name for path in SCRIPTS} <= imported <= names


def test_all_referenced_ids_and_texts_exist_and_every_control_has_a_label():
    elements = page()
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["for"] for attributes in elements.all("label")}
    english = words("english.js")
    for tag, attributes in elements.tags:
        if tag in ("select", "textarea") or (tag == "input" and "hidden" not in attributes):
            assert attributes.get("id") in labelled, attributes
        for name in ("data-say", "data-label"):
            assert attributes.get(name) is None or attributes[name] in english
        assert attributes.get("for") is None or attributes["for"] in ids
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r'\bsay\("([\w.]+)"', text)) <= set(english), path
        link = set(re.findall(r'\bid: "([\w-]+)"', text))
        assert {name for name in re.findall(r'\bbyId\("([\w-]+)"', text) if name not in ids} <= link, path


def test_both_languages_have_the_same_texts():
    english = words("english.js")
    assert len(english) > 150
    assert english == words("korean.js")
    assert len(re.findall("[가-힣]", (FILES / "korean.js").read_text(encoding="utf-8"))) > 1000


def test_every_task_of_a_job_has_a_text():
    paths = [path for part in ("data", "features", "learning") for path in (ROOT / "tl" / part).rglob("*.py")]
    names = {name for path in paths for name in re.findall(r'\.task\("([^"]+)"', path.read_text(encoding="utf-8"))}
    of_other_commands = {"unpack", "unpack dogs-vs-cats", "writing"}
    assert {f"task.{name}" for name in names - of_other_commands} == {
        name for name in words("english.js") if name.startswith("task.")
    }


def test_a_report_link_works_once(live, tiny_run):
    url = live.request("POST", f"/v1/runs/{tiny_run.name}/report/link").json()["url"]
    first = live.request("GET", url)
    assert (first.status, first.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert first.headers["Content-Security-Policy"].startswith("sandbox")
    assert first.headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    assert "worked once" in problem(live.request("GET", url))["detail"]
    assert problem(live.request("POST", "/v1/runs/none/report/link"))["status"] == 404
    assert problem(live.request("GET", "/opened/none"))["status"] == 404


def test_links_expire():
    now = [0.0]
    links = Links(lambda: now[0])
    report = AsyncMock()
    name, late = links.add(report), links.add(report)
    assert links.take(name) is report
    assert links.take(name) is None
    now[0] = 61.0
    assert links.take(late) is None
    oldest = links.add(report)
    for _ in range(1000):
        links.add(report)
    assert links.take(oldest) is None


def test_the_page_needs_no_key_but_its_data_does(live, serve, tiny_run):
    me = live.get("/v1/me")
    assert (me["role"], me["keys"], me["images"]) == ("admin", False, 64)
    assert "resnet50" in me["backbones"]
    served = serve(keys=True)
    assert served.request("GET", "/").status == 200
    assert problem(served.request("GET", "/v1/me"))["status"] == 401
    me = served.request("GET", "/v1/me", headers={"Authorization": f"Bearer {served.keys['predict']}"}).json()
    assert (me["name"], me["role"], me["keys"]) == ("predict key", "predict", True)
    assert problem(served.request("POST", f"/v1/runs/{tiny_run.name}/report/link"))["status"] == 401
