"""Render the diagnosis of a data set with its photos as one self-contained HTML page: no network, no other files."""

import base64
from dataclasses import dataclass
from pathlib import Path

from tl.data.images import ImageLike, decode, read
from tl.doctor.findings import Diagnosis, Finding
from tl.errors import ImageError
from tl.files import write_text
from tl.text import count, one_line
from tl.views.pages.template import HEAD, page_style
from tl.views.terminal.data import is_command, printable_fix, summary, title, verdict

_MAX_FINDINGS = 24  # of a kind
_MAX_IMAGES = 4  # of a finding
_SIDE = 192  # pixels of the long side of an image

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
.findings { list-style: none; margin: .75rem 0 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)) }
.findings > li { border: 1px solid var(--rule); border-radius: .5rem; padding: .75rem; min-width: 0 }
.images { display: flex; flex-wrap: wrap; gap: .5rem; margin-bottom: .5rem }
figure { margin: 0; flex: 1 1 7rem; max-width: 12rem; min-width: 0 }
figure img { display: block; width: 100%; height: 9rem; object-fit: contain; background: var(--shade);
  border-radius: .25rem; image-rendering: auto }
figcaption { font-size: .8rem; line-height: 1.35; color: var(--quiet); margin-top: .25rem }
pre { margin: .5rem 0 0; padding: .5rem .65rem; background: var(--shade); border-radius: .35rem; white-space: pre-wrap }
code { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: .82rem }
@media print { .findings > li { break-inside: avoid } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ verdict }}</p>
<p class="quiet">{{ summary }}. Nothing was changed: the fix is below each finding.</p>
{% for note in notes %}<p class="quiet">Not checked: {{ note }}</p>
{% endfor %}<nav aria-label="Kinds of findings"><ul>
{% for section in sections %}<li><a href="#{{ section.anchor }}">{{ section.title }} ({{ section.count }})</a></li>
{% endfor %}</ul></nav>
{% for section in sections %}
<section aria-labelledby="{{ section.anchor }}">
<h2 id="{{ section.anchor }}">{{ section.title }} ({{ section.count }})</h2>
<p><span class="badge {{ section.severity }}">{{ section.severity }}</span> <span class="quiet">{{ section.why }}</span>
</p>
<ul class="findings">
{% for item in section.items %}<li>
{% if item.images %}<div class="images">
{% for image in item.images %}<figure>{% if image.source -%}
<img src="{{ image.source }}" alt="{{ image.name }}">
{%- endif %}<figcaption>{{ image.name }}</figcaption></figure>
{% endfor %}</div>
{% else %}{% for name in item.names %}<p class="quiet">{{ name }}</p>
{% endfor %}{% endif %}<p>{{ item.evidence }}</p>
{% if item.more %}<p class="quiet">and {{ item.more }}</p>
{% endif %}{% if item.is_command %}<pre><code>{{ item.fix }}</code></pre>
{% elif item.fix %}<p class="quiet">→ {{ item.fix }}</p>
{% endif %}</li>
{% endfor %}</ul>
{% if section.rest %}<p class="quiet">and {{ section.rest }} more: <code>tl data check --json</code> lists all</p>
{% endif %}</section>
{% endfor %}{% if command %}
<h2>Command</h2>
<pre><code>{{ command }}</code></pre>
{% endif %}
</main>
</body>
</html>
"""
)


@dataclass(frozen=True)
class _Thumbnail:
    name: str
    source: str


@dataclass(frozen=True)
class _Item:
    images: tuple[_Thumbnail, ...]
    names: tuple[str, ...]
    evidence: str
    fix: str
    is_command: bool
    more: str


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    why: str
    severity: str
    count: str
    items: tuple[_Item, ...]
    rest: int


def render_page(diagnosis: Diagnosis, command: str = "") -> str:
    """The page, for light and dark, narrow and wide screens, and screen readers."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(
        house=Markup(page_style()),  # noqa: S704 - the package's own
        title=f"Check of {one_line(diagnosis.dataset.name)}",
        verdict=verdict(diagnosis),
        summary=one_line(summary(diagnosis)),
        notes=[one_line(note) for note in diagnosis.notes],
        sections=[_section(diagnosis, kind, findings) for kind, findings in diagnosis.kinds.items()],
        command=one_line(command),
    )


def write_page(diagnosis: Diagnosis, path: Path, command: str = "") -> None:
    """Write the page to a file. Raises StorageError."""
    write_text(path, render_page(diagnosis, command))


def _section(diagnosis: Diagnosis, kind: str, findings: tuple[Finding, ...]) -> _Section:
    heading, why = title(kind)
    return _Section(
        anchor=kind.replace(" ", "-"),
        title=heading,
        why=why,
        severity=findings[0].severity,
        count=f"{len(findings):,}",
        items=tuple(_item(diagnosis, finding) for finding in findings[:_MAX_FINDINGS]),
        rest=max(0, len(findings) - _MAX_FINDINGS),
    )


def _item(diagnosis: Diagnosis, finding: Finding) -> _Item:
    dataset, more, fix = diagnosis.dataset, len(finding.files) - _MAX_IMAGES, printable_fix(finding)
    return _Item(
        images=tuple(
            _Thumbnail(one_line(dataset.names[index]), _data_url(dataset.images[index]))
            for index in finding.images[:_MAX_IMAGES]
        ),
        names=tuple(one_line(name) for name in finding.files[:_MAX_IMAGES]),
        evidence=one_line(finding.evidence),
        fix=fix,
        is_command=is_command(fix),
        more=count(more, "more file") if more > 0 else "",
    )


def _data_url(image: ImageLike) -> str:
    """An image as a small JPEG inside the page; "" if it cannot be decoded."""
    from io import BytesIO

    from PIL import Image

    try:
        thumbnail = Image.fromarray(decode(read(image), _SIDE))
    except ImageError:
        return ""
    thumbnail.thumbnail((_SIDE, _SIDE))
    content = BytesIO()
    thumbnail.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
