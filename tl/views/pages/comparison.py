"""A comparison and its pictures become one HTML page that needs nothing else: no network, no other file."""

import base64
from dataclasses import dataclass

from tl.views.pages.template import HEAD, house_style
from tl.views.terminal.comparison import TESTS, explained, rows, subject, summary
from tl.views.terminal.tables import NONE, one_line, percent, plural
from tl.workflows.compare import Comparison, Entry

_TEMPLATE = (
    HEAD
    + """\
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem }
.picture { background: #fff; padding: .25rem }
.picture img { display: block; height: auto }
.chart img { width: 100%; min-width: 44rem; max-width: 75rem; margin: auto }
thead small { display: block; font-weight: 400 }
th:first-child, th:nth-child(2), td.words { text-align: left }
tbody th { font-weight: 600; white-space: normal; min-width: 9rem; max-width: 20rem; overflow-wrap: break-word;
  background: var(--page) }
tbody th small { display: block; font-weight: 400; color: var(--wrong) }
td.reason { text-align: left; white-space: normal; min-width: 20rem; overflow-wrap: anywhere }
.pretrained { color: var(--own) } .random { color: var(--other) }
pre { margin: 0; padding: .75rem 1rem; background: var(--shade); border-radius: .5rem; white-space: pre-wrap }
@media (max-width: 40rem) {
  .scroll::before { content: "more to the side →"; display: block; position: sticky; left: 0; width: max-content;
    padding: .2rem .6rem; font-size: .85rem; color: var(--quiet) }
  .picture::before { color: #545b65 }
  th:first-child { position: sticky; left: 0; min-width: 7.5rem; max-width: 9rem }
  th, td { padding: .45rem .55rem }
}
@media print { .scroll { overflow: visible; border: 0 } .chart img, .grid img { min-width: 0; width: 100% } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ verdict }}</p>
<p class="quiet">{{ summary }}. {{ tests }}{% if explained %} {{ explained }}{% endif %}</p>

<h2 id="figures">Figures</h2>
<div class="scroll" role="region" aria-labelledby="figures" tabindex="0">
<table>
<caption>{{ title }}, from best to worst: top-1 with its interval, cost and speed of each network</caption>
<thead>
<tr>{% for name, unit in headings %}
<th scope="col">{{ name }}{% if unit %}<small>{{ unit }}</small>{% endif %}</th>{% endfor %}
</tr>
</thead>
<tbody>{% for line in lines %}
<tr>
<th scope="row">{{ line.name }}{% if line.note %}<small>{{ line.note }}</small>{% endif %}</th>
<td class="words"><span class="{{ line.weights }}"><span aria-hidden="true">{{ line.sign }}</span> {{ line.weights -}}
</span></td>
{% if line.reason %}<td class="reason" colspan="{{ headings|length - 2 }}">Left out: {{ line.reason }}</td>
{% else %}{% for cell in line.cells %}<td>{{ cell }}</td>
{% endfor %}{% endif %}</tr>{% endfor %}
</tbody>
</table>
</div>

<h2 id="chart">Top-1 and its interval</h2>
<div class="scroll picture chart" role="region" aria-labelledby="chart" tabindex="0">
<img src="data:image/png;base64,{{ chart }}" alt="{{ chart_alt }}">
</div>

<h2 id="grid">What each network says of the same photos</h2>
<div class="scroll picture grid" role="region" aria-labelledby="grid" tabindex="0">
<img src="data:image/png;base64,{{ grid }}" alt="{{ grid_alt }}">
</div>
{% if command %}
<h2>Made with</h2>
<pre><code>{{ command }}</code></pre>
{% endif %}
</main>
</body>
</html>
"""
)


@dataclass(frozen=True)
class _Line:
    name: str
    weights: str
    sign: str
    cells: tuple[str, ...]
    note: str
    reason: str


def page(comparison: Comparison, chart_png: bytes, grid_png: bytes) -> str:
    """The page, for light and dark, narrow and wide screens, and readers that speak; the pictures are PNG files."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    top5 = any(entry.top5 is not None for entry in comparison.ranked)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(
        house=Markup(house_style()),  # noqa: S704 - the package's own
        title=f"Networks compared on {subject(comparison)}",
        verdict=_verdict(comparison),
        summary=summary(comparison),
        tests=TESTS,
        explained=explained(comparison),
        headings=_headings(top5),
        lines=_lines(comparison, top5),
        chart=base64.b64encode(chart_png).decode("ascii"),
        grid=base64.b64encode(grid_png).decode("ascii"),
        chart_alt=f"{_verdict(comparison)} The chart draws the figures of the table above.",
        grid_alt=_grid_alt(comparison),
        command=one_line(comparison.command),
    )


def _headings(top5: bool) -> list[tuple[str, str]]:
    ranks = [("top-1", "%"), ("95 % interval", "%"), *([("top-5", "%")] if top5 else [])]
    costs = [("parameters", ""), ("to train", "seconds"), ("speed", "images/s"), ("size", "MB")]
    return [("network", ""), ("weights", ""), *ranks, ("p to best", ""), *costs]


def _lines(comparison: Comparison, top5: bool) -> list[_Line]:
    lines = []
    for entry, row in zip(comparison.entries, rows(comparison), strict=True):
        fifth = (NONE if entry.top5 is None else percent(entry.top5.value),) if top5 else ()
        shown = (row.top1, row.interval, *fifth, row.p_value, f"{entry.parameters:,}", row.seconds, row.speed, row.size)
        note = "" if entry.error else row.note
        lines.append(_Line(row.name, row.weights, _sign(entry), shown, note, one_line(entry.error)))
    return lines


def _sign(entry: Entry) -> str:
    return "□" if entry.scratch else "●"  # as in the chart


def _verdict(comparison: Comparison) -> str:
    """The best network, and which are not surely worse."""
    if not comparison.ranked:
        return "No network could be trained."
    best, *others = comparison.ranked
    said = f"Best: {_named(best)} with {percent(best.top1.value)} % of the photos right."
    close = [_named(entry) for entry in others if entry.p_value >= 0.05]
    if close:
        return f"{said} These photos do not tell whether it is better than {_listed(close)} (p of 0.05 or more)."
    return f"{said} It is better than every other one (p below 0.05)." if others else said


def _named(entry: Entry) -> str:
    return one_line(entry.name) + (" from random weights" if entry.scratch else "")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _grid_alt(comparison: Comparison) -> str:
    networks = len(comparison.ranked)
    return (
        f"Validation photos, a row each, with what {networks} {plural(networks, 'network')} said of it: "
        "label and confidence, green with a check where right, red with a cross where wrong."
    )
