"""A diagnosis and its photos become one HTML page that needs nothing else: no network, no other file."""

import base64
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tl.data.images import ImageLike, decode, read
from tl.doctor.findings import Diagnosis, Finding
from tl.errors import ImageError, StorageError
from tl.views.pages.template import HEAD, page_style
from tl.views.terminal.data import COMMANDS, about, gravest, heading, mend, verdict
from tl.views.terminal.tables import one_line

_SHOWN = 24  # findings of a kind
_PICTURES = 4  # of a finding
_SIDE = 192  # pixels of a picture's long side

_TEMPLATE = (
    HEAD
    + """\
:root { --warning: #8a5000; --error: #bc241c }
@media (prefers-color-scheme: dark) { :root { --warning: #eda84a; --error: #ff8f85 } }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .25rem }
nav ul { list-style: none; margin: 1rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .5rem }
nav a { display: block; padding: .3rem .7rem; border: 1px solid var(--rule); border-radius: 1rem; color: var(--ink);
  text-decoration: none }
nav a:hover { border-color: var(--own) }
.error { color: var(--error) } .warning { color: var(--warning) } .note { color: var(--quiet) }
.badge { font-size: .8rem; font-weight: 600; text-transform: uppercase; letter-spacing: .04em }
.found { list-style: none; margin: .75rem 0 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)) }
.found > li { border: 1px solid var(--rule); border-radius: .5rem; padding: .75rem; min-width: 0 }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem; margin-bottom: .5rem }
figure { margin: 0; flex: 1 1 7rem; max-width: 12rem; min-width: 0 }
figure img { display: block; width: 100%; height: 9rem; object-fit: contain; background: var(--shade);
  border-radius: .25rem; image-rendering: auto }
figcaption { font-size: .8rem; line-height: 1.35; color: var(--quiet); margin-top: .25rem }
pre { margin: .5rem 0 0; padding: .5rem .65rem; background: var(--shade); border-radius: .35rem; white-space: pre-wrap }
code { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: .82rem }
@media print { .found > li { break-inside: avoid } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ verdict }}</p>
<p class="quiet">{{ about }}. Nothing was changed; what mends a finding stands below it.</p>
{% for note in notes %}<p class="quiet">Not looked into: {{ note }}</p>
{% endfor %}<nav aria-label="Kinds of finding"><ul>
{% for section in sections %}<li><a href="#{{ section.anchor }}">{{ section.title }} ({{ section.count }})</a></li>
{% endfor %}</ul></nav>
{% for section in sections %}
<section aria-labelledby="{{ section.anchor }}">
<h2 id="{{ section.anchor }}">{{ section.title }} ({{ section.count }})</h2>
<p><span class="badge {{ section.severity }}">{{ section.severity }}</span> <span class="quiet">{{ section.why }}</span>
</p>
<ul class="found">
{% for item in section.items %}<li>
{% if item.pictures %}<div class="pictures">
{% for picture in item.pictures %}<figure>{% if picture.source -%}
<img src="{{ picture.source }}" alt="{{ picture.name }}">
{%- endif %}<figcaption>{{ picture.name }}</figcaption></figure>
{% endfor %}</div>
{% else %}{% for name in item.names %}<p class="quiet">{{ name }}</p>
{% endfor %}{% endif %}<p>{{ item.evidence }}</p>
{% if item.more %}<p class="quiet">and {{ item.more }} more files</p>
{% endif %}{% if item.typed %}<pre><code>{{ item.mend }}</code></pre>
{% elif item.mend %}<p class="quiet">→ {{ item.mend }}</p>
{% endif %}</li>
{% endfor %}</ul>
{% if section.rest %}<p class="quiet">and {{ section.rest }} more, which tl data check --json lists</p>
{% endif %}</section>
{% endfor %}{% if command %}
<h2>Made with</h2>
<pre><code>{{ command }}</code></pre>
{% endif %}
</main>
</body>
</html>
"""
)


@dataclass(frozen=True)
class _Shown:
    name: str
    source: str


@dataclass(frozen=True)
class _Item:
    pictures: tuple[_Shown, ...]
    names: tuple[str, ...]
    evidence: str
    mend: str
    typed: bool
    more: int


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    why: str
    severity: str
    count: str
    items: tuple[_Item, ...]
    rest: int


def page(diagnosis: Diagnosis, command: str = "") -> str:
    """The page, for light and dark, narrow and wide screens, and readers that speak."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(
        house=Markup(page_style()),  # noqa: S704 - the package's own
        title=f"What was found in {one_line(diagnosis.dataset.name)}",
        verdict=verdict(diagnosis),
        about=one_line(about(diagnosis)),
        notes=[one_line(note) for note in diagnosis.notes],
        sections=[_section(diagnosis, kind, found) for kind, found in diagnosis.kinds.items()],
        command=one_line(command),
    )


def save(diagnosis: Diagnosis, path: Path, command: str = "") -> None:
    """Write the page to a file. Raises StorageError."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page(diagnosis, command), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StorageError(
            f"the page {str(path)!r} cannot be written: {(error.strerror or '').lower()}; give another --out"
        ) from error


def _section(diagnosis: Diagnosis, kind: str, found: tuple[Finding, ...]) -> _Section:
    title, why = heading(kind)
    items = tuple(_item(diagnosis, finding) for finding in found[:_SHOWN])
    anchor = kind.replace(" ", "-")
    return _Section(anchor, title, why, gravest(found), f"{len(found):,}", items, max(0, len(found) - _SHOWN))


def _item(diagnosis: Diagnosis, finding: Finding) -> _Item:
    names = diagnosis.dataset.names
    pictures = tuple(
        _Shown(one_line(names[index]), _source(diagnosis.dataset.images[index]))
        for index in finding.pictures[:_PICTURES]
    )
    listed = tuple(one_line(name) for name in finding.files[:_PICTURES])
    more = max(0, len(finding.files) - _PICTURES)
    words = mend(finding)
    return _Item(pictures, listed, one_line(finding.evidence), words, words.startswith(COMMANDS), more)


def _source(picture: ImageLike) -> str:
    """A picture as the address of a small JPEG that is part of the page; "" where it cannot be decoded."""
    from io import BytesIO

    from PIL import Image

    try:
        image = Image.fromarray(decode(read(picture), _SIDE))
    except ImageError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    content = BytesIO()
    image.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
