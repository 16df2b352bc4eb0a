"""Read an HTML page in a test."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """The tags of a page with their attributes, its words, and the text of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.raw = "", {"style": "", "script": ""}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw and dict(attrs).get("type") != "application/json" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] += data
        else:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def plain_cells(html: str) -> str:
    """A table without the styles of its cells."""
    return html.replace(" style='text-align:left'", "")
