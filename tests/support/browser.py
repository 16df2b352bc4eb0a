"""Pages in a real browser: what they log and request, and what readers need of them."""

from typing import Any

# the least contrast of a text to what is behind it, and the text: WCAG 2.2, 1.4.3
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const rgb = (colour) => colour.startsWith("color(") ? parts(colour.replace("srgb", "")) :
    parts(colour).map((value, at) => at < 3 ? value / 255 : value);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
  };
  let least = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style, .heard")) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(rgb(colour)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 200)];
  }
  return least;
}"""
# elements that reach beyond the width of a page, except for those within the selector
BEYOND = """([width, within]) => [...document.querySelectorAll("body *")].filter((at) => at.checkVisibility() &&
  !at.closest(within) && at.getBoundingClientRect().right > width + 1).map((at) => at.outerHTML.slice(0, 120))"""
STOP = """() => {
  const at = document.activeElement;
  const name = at.getAttribute("aria-label") || at.getAttribute("aria-labelledby") || at.labels?.length ||
    at.textContent.trim();
  return [at.tagName, Boolean(name), getComputedStyle(at).outlineStyle];
}"""


class Visits:
    """Pages that are open until the end of a block, the errors that they log and the addresses that they request."""

    def __init__(self, browser: Any) -> None:
        self._browser, self.contexts, self.errors, self.requests = browser, [], [], []

    def open(self, address: str, width: int = 1280, scheme: str = "light", **options: Any) -> Any:
        size = {"width": width, "height": 800}
        context = self._browser.new_context(viewport=size, color_scheme=scheme, **options)
        self.contexts.append(context)
        context.on("request", lambda request: self.requests.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def tab_stops(page: Any, most: int) -> list[Any]:
    """Tag, whether it has a name, and outline of what the tab key leads to, until the page ends."""
    stops: list[Any] = []
    while len(stops) < most and (not stops or stops[-1][0] != "BODY"):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(STOP))
    return stops


def is_dark(page: Any) -> bool:
    return bool(page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)")
