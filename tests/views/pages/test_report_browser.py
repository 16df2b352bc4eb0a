"""The report in a real browser."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.browser import BEYOND, CONTRAST, Visits, is_dark, tab_stops
from support.reports import report_folder

NAMES = ("고양이", "<b>dog</b>", "a_class_name_without_any_space_" * 4)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of three classes with awkward names, of forty classes and of two on two parts."""
    folder = tmp_path_factory.mktemp("reports")
    forty = [f"class {at:02}" for at in range(40)]
    return {
        "few": report_folder(folder / "few", NAMES, 30, wrong=0.3).write(),
        "parts": report_folder(folder / "parts", ("cat", "dog"), 1200, wrong=0.3, parts=("validation", "test")).write(),
        "many": report_folder(folder / "many", forty, 410, wrong=0.3).write(),
    }


@pytest.fixture
def visit(browser, pages):
    """Open a report; at the end there must be no error on the console and no request."""
    visits = Visits(browser)
    yield lambda name="few", **options: visits.open(pages[name].as_uri(), **options)
    visits.close()
    assert visits.errors == []
    assert {url.split(":")[0] for url in visits.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in visits.requests) == len(visits.contexts)


def shown(page: Any) -> Any:
    """The data of the images that are visible."""
    script = "tiles => tiles.filter((tile) => tile.checkVisibility()).map((tile) => ({...tile.dataset}))"
    return page.eval_on_selector_all("#tiles > li", script)


def show_all(page: Any) -> None:
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("30 of 30 images").wait_for()


def test_filter_shows_matching_images(visit):
    page = visit()
    assert len(shown(page)) == 30
    page.get_by_label("Result").select_option("wrong")
    assert {tile["v"] for tile in shown(page)} == {"wrong"}
    assert len(shown(page)) == 9
    page.get_by_label("True class").select_option(label="<b>dog</b>")
    assert {(tile["v"], tile["t"]) for tile in shown(page)} == {("wrong", "1")}
    page.get_by_label("Predicted class").select_option("1")
    assert shown(page) == []
    assert page.locator("#shown").inner_text() == "No image on this page matches."
    show_all(page)
    page.get_by_label("Confidence from").fill("70")
    page.get_by_label("Confidence to").fill("80")
    found = shown(page)
    assert found
    assert all(70 <= float(tile["c"]) <= 80 for tile in found)
    page.get_by_label("Confidence from").fill("90")  # beyond the other end: the two are taken as they stand
    assert all(80 <= float(tile["c"]) <= 90 for tile in shown(page))
    show_all(page)
    page.get_by_label("Result").select_option("unknown")
    assert {tile["u"] for tile in shown(page)} == {"1"}


def test_filter_works_with_the_keyboard(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.get_by_label("Result").focus()
    page.keyboard.press("ArrowDown")
    assert {tile["v"] for tile in shown(page)} == {"right"}
    page.keyboard.press("Tab")
    for _ in range(65):
        page.keyboard.press("ArrowRight")
    assert page.locator("#from-value").inner_text() == "65%"
    assert all(float(tile["c"]) >= 65 for tile in shown(page))
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("30 of 30 images").wait_for()


def test_every_tab_stop_is_visible_and_named(visit):
    stops = tab_stops(visit("many"), 80)
    assert {"A", "BUTTON", "SELECT", "INPUT"} <= {tag for tag, _, _ in stops}
    assert [stop for stop in stops if stop[0] != "BODY" and not (stop[1] and stop[2] != "none")] == []


def test_gallery_grows_in_steps(visit):
    page = visit("many")
    assert len(shown(page)) == 60
    page.get_by_role("button", name="Show 60 more").click()
    assert len(shown(page)) == 120
    assert page.evaluate("document.activeElement === document.querySelectorAll('#tiles > li')[60]")
    page.get_by_label("Result").select_option("right")
    assert len(shown(page)) == 60


def test_confusion_map_works_with_pointer_and_keyboard(visit):
    page = visit("many")
    chart = page.locator("#map")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    step = box["width"] / 40
    page.mouse.move(box["x"] + 3.5 * step, box["y"] + 2.5 * step)
    assert re.match(r"✗ true: class 02, predicted: class 03 – 4 of 11 images \(36\.4%\)", page.inner_text("#cell"))
    page.mouse.move(box["x"] + 2.5 * step, box["y"] + 2.5 * step)
    assert page.inner_text("#cell").startswith("✓ true: class 02, predicted: class 02 – 7 of 11")
    chart.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert page.inner_text("#cell").startswith("true: class 03, predicted: class 12 – 0 of 11 images")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert {(tile["t"], tile["p"]) for tile in shown(page)} == {("3", "4")}
    assert page.evaluate("document.activeElement.name") == "truth"


def test_images_and_signs_are_drawn_and_a_confused_pair_leads_to_its_images(visit):
    page = visit()
    sizes = page.eval_on_selector_all("#tiles img", "all => all.map((one) => one.naturalWidth)")
    assert len(sizes) == 30
    assert min(sizes) == 32
    stroke = page.eval_on_selector("#sign-wrong .stroke", "path => getComputedStyle(path).stroke")
    assert stroke == "rgb(255, 255, 255)"
    page.get_by_role("button", name="show below 고양이 predicted as <b>dog</b>").click()
    assert {(tile["t"], tile["p"]) for tile in shown(page)} == {("0", "1")}
    assert page.get_by_label("True class").evaluate("field => field.selectedOptions[0].text") == "고양이"


def test_tables_sort_with_the_keyboard(visit):
    page = visit("many")
    table = page.locator("table.sorts").first

    def recalls() -> list[float]:
        cells = table.locator("tbody td:nth-child(3)")
        return cells.evaluate_all("cells => cells.map((cell) => Number(cell.dataset.value))")

    heading = table.get_by_role("columnheader", name="recall")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert recalls() == sorted(recalls()) != recalls()[::-1]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert recalls() == sorted(recalls(), reverse=True)
    table.get_by_role("columnheader", name="class").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert table.locator("tbody th").first.inner_text() == "class 00"


@pytest.mark.parametrize("name", ["few", "many"])
def test_page_fits_a_phone(visit, name):
    page = visit(name, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(BEYOND, [360, ".scroll, svg, .skip, .heard"]) == []


@pytest.mark.parametrize("name", ["few", "many", "parts"])
def test_no_table_is_cut_on_a_phone(visit, name):
    page = visit(name, width=390)
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    cut = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.ariaLabel)"
    assert page.eval_on_selector_all(".scroll:not(:has(.matrix))", cut) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["few", "many"])
def test_text_has_enough_contrast(visit, name, scheme):
    page = visit(name, scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    assert is_dark(page) == (scheme == "dark")


def test_page_without_script_shows_all_images_and_no_controls(visit):
    page = visit("many", java_script_enabled=False)
    seen = page.locator("#tiles > li")
    assert seen.count() > 60
    assert all(item.is_visible() for item in (seen.first, seen.last))
    for idle in ("#filter", "#more", "#map-help"):
        assert not page.locator(idle).is_visible()
    assert page.locator("button:visible").count() == 0
