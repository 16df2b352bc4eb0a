"""Tests of the web page with a real server and a real browser: photos, training, runs, languages, accessibility."""

import base64
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from support.browser import BEYOND, CONTRAST, Visits, is_dark, tab_stops
from support.session import TINY

DROP = """([place, files]) => {
  const dropped = new DataTransfer();
  for (const [name, content] of files) {
    dropped.items.add(new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true });
    document.querySelector(place).dispatchEvent(event);
  }
}"""
# Answers with an error bound of 50% hand the photo back that is wrong.
DOUBT = """() => {
  const asks = window.fetch;
  window.fetch = async (url, options) => {
    const answer = await asks(url, options);
    if (!String(url).includes("max_error=50%25")) return answer;
    const body = await answer.json();
    for (const one of body.predictions ?? []) one.review = one.error ? null : one.name === "lies-wrong.png";
    return new Response(JSON.stringify(body), { status: answer.status, headers: answer.headers });
  };
}"""
PASSED = re.compile(r"Failed to load resource: the server responded with a status of (400|401|404|422|429|503)")
INSIDE = "svg, .skip, .heard, pre"


@pytest.fixture(scope="module")
def live(serve, tiny_run, tmp_path_factory):
    home = tmp_path_factory.mktemp("browsed")
    shutil.copytree(tiny_run, home / "runs" / tiny_run.name)
    return serve(home, jobs=True, deadline=60)


@pytest.fixture
def visit(browser, live):
    """Open the page; at the end no error may have been logged or requested from elsewhere."""
    visits, here = Visits(browser), {"blob:", "about:"}

    def go(view="", address=live.address, locale="en-US", **options):
        here.add(f"{address}/")
        return visits.open(f"{address}/{view}", locale=locale, **options)

    yield go
    visits.close()
    assert [text for text in visits.errors if not PASSED.match(text)] == []
    assert [url for url in visits.requests if not url.startswith(tuple(here))] == []


@pytest.fixture(scope="module")
def sorted_photos(shapes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders, in which one photo lies wrong, one is broken, and one has no class."""
    folder = tmp_path_factory.mktemp("sorted") / "mine"
    for name in ("stripes", "noise"):
        (folder / name).mkdir(parents=True)
        for at in range(4):
            shutil.copy(shapes / name / f"{at:02}.png", folder / name / f"{name}-{at}.png")
    shutil.copy(shapes / "noise" / "05.png", folder / "stripes" / "lies-wrong.png")
    (folder / "noise" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "noise" / "notes.txt").write_text("no photo", encoding="utf-8")
    (folder / "somewhere").mkdir()
    shutil.copy(shapes / "noise" / "06.png", folder / "somewhere" / "=unsorted.png")
    return folder


def until(page, condition, timeout: float = 30_000) -> None:
    """Wait until a script returns true; the policy of the page forbids Playwright's own way to wait."""
    deadline = time.monotonic() + timeout / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def tiles(page) -> dict[str, str]:
    """The verdict of each tile by the name of its photo."""
    script = "all => all.map((one) => [one.querySelector('.path').textContent, one.className.replace('tile ', '')])"
    return dict(page.eval_on_selector_all(".tile", script))


def show(page, view):
    page.evaluate(f"location.hash = '#{view}'")
    page.locator(f"#view-{view}").wait_for()
    page.wait_for_timeout(400)


@pytest.fixture
def classified(visit, sorted_photos):
    """Open the page and classify the sorted photos."""

    def classify(**options):
        page = visit(**options)
        page.set_input_files("#folder", str(sorted_photos))
        until(page, "document.querySelectorAll('.tile:not(.waiting)').length === 11")
        page.locator("#predicting").wait_for(state="hidden")
        return page

    return classify


def fill_in_training(page, epochs):
    page.get_by_label("Network", exact=True).select_option("simple-cnn")
    page.get_by_label("Layers to train").select_option("all")
    page.get_by_text("More options").click()
    page.get_by_label("Initial weights").select_option("none")
    page.get_by_role("spinbutton", name="Epochs").fill(str(epochs))
    page.get_by_label("Image size in pixels").fill("32")


def test_dropped_photos_get_labels_without_verdict(visit, shapes):
    page = visit()
    page.get_by_role("heading", name="What is in these photos?").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    names = {"a.png": shapes / "stripes" / "01.png", "b.png": shapes / "noise" / "01.png"}
    files = [[name, base64.b64encode(path.read_bytes()).decode()] for name, path in names.items()]
    page.evaluate(DROP, ["#drop", files])
    until(page, "document.querySelectorAll('.tile.open').length === 2")
    assert tiles(page) == {"a.png": "open", "b.png": "open"}
    labels = page.locator(".tile .line strong").all_inner_texts()
    assert labels == ["stripes", "noise"]
    assert "true label not known" in page.locator(".tile").first.inner_text()
    assert "No true labels yet" in page.inner_text("#score")


def test_folders_mark_right_and_wrong_and_are_saved_as_csv(classified, tiny_run):
    page = classified()
    verdicts = tiles(page)
    assert verdicts.pop("lies-wrong.png") == "wrong"
    assert verdicts.pop("broken.png") == "error"
    assert verdicts.pop("=unsorted.png") == "open"
    assert set(verdicts.values()) == {"right"}
    assert "88.9" in page.inner_text("#score")
    assert page.locator("#score .parts > span").all_inner_texts()[:4] == [
        *(" 8 right", " 1 wrong", " 1 unlabelled", " 1 unreadable")
    ]
    colours = {
        name: page.eval_on_selector(f".tile.{name}", "one => getComputedStyle(one).borderTopColor")
        for name in ("right", "wrong", "open")
    }
    assert colours == {"right": "rgb(0, 110, 86)", "wrong": "rgb(188, 36, 28)", "open": "rgb(122, 130, 141)"}
    wrong = page.locator(".tile.wrong").inner_text()
    assert "wrong" in wrong
    assert "true label: stripes" in wrong
    assert "cannot be read" in page.locator(".tile.error").inner_text()
    assert "PNG" in page.locator(".tile.error .reason").inner_text()
    page.get_by_text("1 file is not a photo").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == "path,label,confidence,unknown,review,truth,verdict,run,error"
    assert len(lines) == 12
    [wrong] = [line.split(",") for line in lines if "lies-wrong" in line]
    assert (wrong[1], wrong[5:8]) == ("noise", ["stripes", "wrong", tiny_run.name])
    assert any(line.startswith("mine/somewhere/=unsorted.png") for line in lines)
    page.get_by_role("group", name="Filter photos").get_by_role("button", name="Wrong").click()
    until(page, "document.querySelectorAll('.tile').length === 1")
    assert tiles(page) == {"lies-wrong.png": "wrong"}


def test_error_bound_marks_photos_for_review_and_one_that_cannot_be_kept_is_said(classified):
    page = classified()
    page.evaluate(DOUBT)
    page.get_by_label("Wrong answers at most").fill("50%")
    page.get_by_label("Wrong answers at most").press("Tab")
    page.get_by_role("button", name="Classify all photos again").click()
    until(page, "document.querySelectorAll('.tile.review').length === 1 && !document.querySelector('.tile.waiting')")
    assert "review: not sure enough" in page.locator(".tile.review").inner_text()
    assert page.locator("#score .parts > span").all_inner_texts()[:3] == [" 8 right", " 0 wrong", " 1 to review"]
    assert "100.0" in page.inner_text("#score")
    page.get_by_role("group", name="Filter photos").get_by_role("button", name="Review").click()
    assert tiles(page) == {"lies-wrong.png": "review"}
    page.get_by_role("group", name="Filter photos").get_by_role("button", name="All").click()
    page.get_by_label("Wrong answers at most").fill("1%")
    page.get_by_label("Wrong answers at most").press("Tab")
    page.get_by_role("button", name="Classify all photos again").click()
    page.get_by_text("takes 230 held-out images").wait_for()
    until(page, "document.querySelectorAll('.tile.right').length === 8 && !document.querySelector('.tile.waiting')")
    assert page.get_by_label("Wrong answers at most").input_value() == ""
    assert page.locator(".tile.wrong").count() == 1


def test_a_photo_opens_with_its_heat_map_and_takes_a_true_label(classified):
    page = classified()
    page.locator(".tile.wrong").click()
    dialog = page.get_by_role("dialog", name="lies-wrong.png")
    assert [text.split("\n")[0] for text in dialog.locator(".share").all_inner_texts()] == ["noise", "stripes"]
    until(page, "document.querySelector('#heat img')?.naturalWidth > 0", timeout=60_000)
    assert "noise" in dialog.locator("#heat figcaption").inner_text()
    dialog.get_by_role("button", name="stripes").click()
    until(
        page,
        "document.querySelector('#heat figcaption').textContent.includes('stripes') &&"
        " document.querySelector('#heat img')?.naturalWidth > 0",
        timeout=60_000,
    )
    dialog.get_by_label("True label").fill("NOISE")
    dialog.get_by_label("True label").press("Enter")
    until(page, "document.querySelector('#details-verdict').textContent.startsWith('right')")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#score').textContent.includes('100.0')")
    assert page.locator(".tile.wrong").count() == 0
    page.locator(".tile.error").click()
    dialog = page.get_by_role("dialog", name="broken.png")
    assert "damaged PNG" in dialog.inner_text()
    assert "null" not in dialog.inner_text()


def test_arrow_keys_move_between_photos_and_selected_ones_get_one_label(classified):
    page = classified()
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentElement === document.querySelector('#tiles').children[0]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    name = page.locator(".tile .path").nth(1).inner_text()
    page.get_by_role("dialog", name=name).wait_for()
    page.keyboard.press("ArrowRight")
    other = page.locator(".tile .path").nth(2).inner_text()
    page.get_by_role("dialog", name=other).wait_for()
    page.keyboard.press("Escape")
    until(page, "document.activeElement.parentElement === document.querySelector('#tiles').children[2]")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.parentElement === document.querySelector('#tiles').lastChild")
    page.get_by_role("button", name="Select", exact=True).click()
    page.locator(".tile.open").click()
    page.locator(".tile.wrong").click()
    page.get_by_text("2 photos selected").wait_for()
    page.get_by_label("True label of selected photos").fill("noise")
    page.get_by_role("button", name="Set").click()
    until(page, "document.querySelectorAll('.tile.right').length === 10")
    page.get_by_role("button", name="Select all or none").click()
    page.get_by_text("11 photos selected").wait_for()


def test_the_page_waits_for_a_busy_service(visit, sorted_photos):
    page = visit()
    refusals = []

    def busy(route) -> None:
        if len(refusals) < 2:
            refusals.append(route.request.url)
            body = {"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "full"}
            headers = {"Retry-After": "2", "Content-Type": "application/problem+json"}
            route.fulfill(status=429, headers=headers, body=json.dumps(body))
        else:
            route.continue_()

    page.route("**/v1/predict*", busy)
    page.set_input_files("#folder", str(sorted_photos))
    page.get_by_text("The service is busy. Continuing in").wait_for()
    until(page, "document.querySelectorAll('.tile:not(.waiting)').length === 11")
    assert len(refusals) == 2
    assert page.locator(".tile.right").count() == 8


def test_waiting_photos_can_be_cancelled(visit, sorted_photos):
    page = visit()
    page.route("**/v1/predict*", lambda route: None)  # never answered
    page.set_input_files("#folder", str(sorted_photos))
    page.get_by_text("0 of 11 photos classified.").wait_for()
    page.get_by_role("button", name="Cancel").click()
    until(page, "document.querySelectorAll('.tile').length === 0")
    page.locator("#predicting").wait_for(state="hidden")


@pytest.mark.slow
def test_a_thousand_photos_are_sent_in_small_batches(visit, shapes):
    page = visit()
    sizes = []

    def answer(route) -> None:
        count = route.request.post_data_buffer.count(b'name="image"')
        sizes.append(count)
        one = {"label": "noise", "confidence": 0.9, "unknown": False, "top": [], "error": None}
        route.fulfill(json={"run": "r", "milliseconds": 1, "predictions": [{"name": "", **one}] * count})

    page.route("**/v1/predict*", answer)
    content = base64.b64encode((shapes / "noise" / "01.png").read_bytes()).decode()
    page.evaluate(DROP, ["#drop", [[f"{at:04}.png", content] for at in range(1000)]])
    until(page, "document.querySelector('#score').textContent.includes('1,000 unlabelled')", timeout=120_000)
    assert sum(sizes) == 1000
    assert max(sizes) <= 8
    assert page.locator(".tile").count() == 300
    page.get_by_role("button", name="Show 300 more").click()
    assert page.locator(".tile").count() == 600
    assert page.evaluate("document.activeElement === document.querySelectorAll('.tile')[300]")


@pytest.mark.slow
def test_train_from_an_archive_to_an_active_run(visit, live, shapes, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "my shapes"), "zip", shapes)
    page = visit("#train")
    page.set_input_files("#archive", archive)
    page.get_by_text("my shapes uploaded: 24 photos.").wait_for()
    assert page.locator("#dataset-about .shares .name").all_inner_texts() == ["noise", "stripes"]
    page.locator(".finding").first.wait_for(timeout=120_000)
    assert page.locator(".finding", has_text="warning").count() > 0
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open with pictures").click()
    opened.value.get_by_role("heading").first.wait_for()

    assert page.get_by_label("Time limit").is_disabled()
    fill_in_training(page, epochs=3)
    assert page.get_by_label("Time limit").is_enabled()
    page.get_by_label("Name of the run").fill("from-the-page")
    page.get_by_role("button", name="Fine-tune").click()
    page.locator(".plot path.train").first.wait_for(timeout=120_000)
    page.get_by_text("from-the-page is trained.").wait_for(timeout=120_000)
    assert page.locator(".job .headline strong").inner_text().endswith("%")
    points = page.locator(".plot path.train").first.get_attribute("d")
    assert points.count("L") == 2
    assert "NaN" not in points
    page.get_by_role("button", name="Show the log").click()
    until(page, "document.querySelector('.log')?.textContent.includes('simple-cnn')")

    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open the report").click()
    report = opened.value
    report.get_by_role("heading", name="Metrics", exact=True).wait_for()
    assert report.evaluate("window.origin") == "null"

    page.get_by_role("link", name="Runs").click()
    run = page.locator(".run", has_text="from-the-page")
    if run.locator(".badge").count() == 0:  # the service follows the newest by itself
        run.get_by_role("button", name="Use this run").click()
    run.locator(".badge").wait_for()
    tiny = page.locator(".run").last
    tiny.get_by_role("button", name="Use this run").click()
    tiny.locator(".badge").wait_for()
    page.get_by_role("button", name="Follow the newest run").click()
    run.locator(".badge").wait_for()
    tiny.get_by_role("button", name="Use this run").click()  # for the tests after this one
    tiny.locator(".badge").wait_for()


@pytest.mark.parametrize(("locale", "press", "ready"), [
    ("en-US", "Make a cleaned copy", "The cleaned copy of doubled is ready."),
    ("ko-KR", "정리된 사본 만들기", "‘doubled’ 데이터셋의 정리된 사본을 만들었습니다."),
])  # fmt: skip
def test_a_cleaned_copy_is_made_from_the_findings(visit, live, shapes, tmp_path, locale, press, ready):
    folder = shutil.copytree(shapes, tmp_path / "doubled")
    shutil.copy(folder / "noise" / "00.png", folder / "noise" / "copy.png")
    content = Path(shutil.make_archive(str(tmp_path / "doubled"), "zip", folder)).read_bytes()
    stored = live.client.post("/v1/datasets", params={"name": "doubled", "check": False}, content=content).json()
    check = f"/v1/datasets/{stored['id']}/check"
    live.client.post(check, json={"backbone": TINY, "weights": "none"})
    live.until(check, {"succeeded"})
    page = visit("#train", locale=locale)
    page.locator(".finding").first.wait_for()
    assert page.locator("#dataset-about code").count() == 0  # its reader has no shell there
    page.get_by_role("button", name=press).click()
    page.get_by_text(ready).wait_for(timeout=60_000)
    until(page, "document.querySelector('#dataset').selectedOptions[0].textContent.includes('24')")
    for dataset in live.get("/v1/datasets")["datasets"]:
        live.client.delete(f"/v1/datasets/{dataset['id']}")


def test_a_folder_is_zipped_and_a_job_can_be_cancelled(visit, shapes, tmp_path):
    folder = shutil.copytree(shapes, tmp_path / "두 모양")
    page = visit("#train")
    page.set_input_files("#data-folder", str(folder))
    page.get_by_text("두 모양 uploaded: 24 photos.").wait_for()
    assert page.locator("#dataset-about .shares .figure").all_inner_texts() == ["12", "12"]
    fill_in_training(page, epochs=1000)
    page.get_by_role("button", name="Fine-tune").click()
    job = page.locator(".job").first
    job.get_by_role("button", name="Cancel this training").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel this training").click()
    job.get_by_text("cancelled", exact=True).wait_for(timeout=60_000)
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    until(page, "!document.querySelector('#dataset-about').textContent.includes('두 모양')")


def test_invalid_archives_are_refused_in_one_sentence(visit, tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK no")
    page = visit("#train")
    page.get_by_role("heading", name="1. Data set").wait_for()
    page.set_input_files("#archive", str(tmp_path / "bad.zip"))
    complaint = page.get_by_role("alert").filter(has_text=re.compile("."))
    complaint.wait_for()
    assert "\n" not in complaint.locator("p").inner_text()
    complaint.get_by_role("button", name="Dismiss this message").click()
    assert page.locator(".notice").count() == 0
    content = base64.b64encode(b"text").decode()
    page.evaluate(DROP, ["#drop-archive", [["letter.txt", content]]])
    page.get_by_text("This is neither a zip or tar archive nor a folder of photos.").wait_for()


def test_the_language_follows_the_browser_and_is_remembered(visit):
    page = visit(locale="ko-KR")
    page.get_by_role("heading", name="이 사진에 무엇이 있나요?").wait_for()
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).wordBreak") == "keep-all"
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="What is in these photos?").wait_for()
    page.reload()
    page.get_by_role("heading", name="What is in these photos?").wait_for()
    page.get_by_role("button", name="한국어").click()
    page.get_by_role("link", name="모델").click()
    page.get_by_role("heading", name="어떤 모델로 분류할까요?").wait_for()
    assert page.title() == "모델 · tl"


def test_a_key_is_asked_for_and_limits_the_page(visit, serve, tiny_run, shapes):
    served = serve(keys=True, runs=[str(tiny_run)])
    tokens = served.keys
    page = visit(address=served.address)
    dialog = page.get_by_role("dialog", name="This service needs a key")
    dialog.get_by_label("Key").fill("tl_wrong")
    dialog.get_by_role("button", name="Use this key").click()
    dialog.get_by_text("This key is not valid.", exact=True).wait_for()
    dialog.get_by_label("Key").fill(tokens["predict"])
    dialog.get_by_label("Key").press("Enter")
    page.get_by_role("button", name="Key: predict key").wait_for()
    assert page.evaluate("Object.values(sessionStorage)") == [tokens["predict"]]
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie").find(tokens["predict"]) == -1
    page.set_input_files("#files", str(shapes / "noise" / "01.png"))
    page.locator(".tile.open").wait_for()
    page.get_by_role("link", name="Train").click()
    page.get_by_text("This service only classifies photos").wait_for()
    page.get_by_role("link", name="Runs").click()
    page.get_by_text("needs a key with the role admin").wait_for()
    assert page.get_by_role("button", name="Use this run").count() == 0
    page.get_by_role("button", name="Key: predict key").click()
    page.get_by_role("dialog", name="This service needs a key").wait_for()
    assert page.evaluate("Object.values(sessionStorage)") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_every_text(classified, scheme):
    page = classified(scheme=scheme)
    page.get_by_role("button", name="Select", exact=True).click()
    for view in ("photos", "train", "runs"):
        show(page, view)
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (view, text)
    page.evaluate("location.hash = '#photos'")
    page.get_by_role("button", name="Select", exact=True).click()
    page.locator(".tile.wrong").click()
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    assert is_dark(page) == (scheme == "dark")


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_no_overflow_on_a_phone(classified, locale):
    page = classified(width=320, locale=locale)
    page.locator("#select").click()
    for view in ("photos", "train", "runs"):
        show(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.evaluate(BEYOND, [320, INSIDE]) == [], view
    page.evaluate("location.hash = '#photos'")
    page.locator("#select").click()
    page.locator(".tile.wrong").click()
    assert page.evaluate(BEYOND, [320, INSIDE]) == []


def test_focus_is_visible_and_every_control_has_a_name(classified):
    page = classified()
    for view in ("photos", "train", "runs"):
        show(page, view)
        page.locator("#skip").focus()
        stops = tab_stops(page, 60)
        assert stops[-1][0] == "BODY"
        assert [stop for stop in stops[:-1] if not stop[1] or stop[2] == "none"] == []


def test_without_javascript(visit):
    page = visit(java_script_enabled=False)
    assert "curl -F image=@photo.jpg" in page.locator("noscript").inner_text()


def test_an_unavailable_service_is_reported(visit, sorted_photos):
    page = visit()
    page.get_by_role("heading", name="What is in these photos?").wait_for()
    page.route("**/v1/runs", lambda route: route.fulfill(status=503, json={"detail": "starting or stopping"}))
    page.evaluate("location.hash = '#runs'")
    page.get_by_role("alert").filter(has_text="Starting or stopping").wait_for()
