"""Show a comparison of networks as one HTML page without any other file or network access."""

import base64
from dataclasses import dataclass

from tl.runs.comparison import ComparedNetwork, Comparison
from tl.text import NONE, count, one_line, percent
from tl.views.pages.template import HEAD, page_style
from tl.views.terminal.comparison import TESTS, not_learned_note, rows, subject, summary

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
  .scroll::before { content: "scroll →"; display: block; position: sticky; left: 0; width: max-content;
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
<p class="quiet">{{ summary }}. {{ tests }}{% if note %} {{ note }}{% endif %}</p>

<h2 id="metrics">Metrics</h2>
<div class="scroll" role="region" aria-labelledby="metrics" tabindex="0">
<table>
<caption>{{ title }}, from best to worst: accuracy with its 95% CI, cost and speed of each network</caption>
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

<h2 id="chart">Accuracy with its 95% CI</h2>
<div class="scroll picture chart" role="region" aria-labelledby="chart" tabindex="0">
<img src="data:image/png;base64,{{ chart }}" alt="{{ chart_alt }}">
</div>

<h2 id="grid">Predictions for the same images</h2>
<div class="scroll picture grid" role="region" aria-labelledby="grid" tabindex="0">
<img src="data:image/png;base64,{{ grid }}" alt="{{ grid_alt }}">
</div>
{% if command %}
<h2>Command</h2>
<pre><code>{{ command }}</code></pre>
{% endif %}
</main>
</body>
</html>
"""
)


@dataclass(frozen=True)
class _TableRow:
    name: str
    weights: str
    sign: str
    cells: tuple[str, ...]
    note: str
    reason: str


def page(comparison: Comparison, chart_png: bytes, grid_png: bytes) -> str:
    """The page, for light and dark, narrow and wide screens, and screen readers; the pictures are PNG files."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    top5 = any(entry.top5 is not None for entry in comparison.ranked)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(
        house=Markup(page_style()),  # noqa: S704 - the package's own
        title=f"Networks compared on {subject(comparison)}",
        verdict=_verdict(comparison),
        summary=summary(comparison),
        tests=TESTS,
        note=not_learned_note(comparison),
        headings=_headings(top5),
        lines=_table_rows(comparison, top5),
        chart=base64.b64encode(chart_png).decode("ascii"),
        grid=base64.b64encode(grid_png).decode("ascii"),
        chart_alt=f"{_verdict(comparison)} The chart shows the accuracies of the table above.",
        grid_alt=_grid_alt(comparison),
        command=one_line(comparison.command),
    )


def _headings(top5: bool) -> list[tuple[str, str]]:
    accuracy = [("accuracy", "%"), ("95% CI", "%"), *([("top-5", "%")] if top5 else [])]
    costs = [("parameters", ""), ("training", "seconds"), ("speed", "images/s"), ("size", "MB")]
    return [("network", ""), ("weights", ""), *accuracy, ("p vs best", ""), *costs]


def _table_rows(comparison: Comparison, top5: bool) -> list[_TableRow]:
    lines = []
    for entry, row in zip(comparison.entries, rows(comparison), strict=True):
        accuracy, interval, p_value, _, *costs = row.figures
        fifth = (NONE if entry.top5 is None else percent(entry.top5.value).rstrip("%"),) if top5 else ()
        cells = (accuracy, interval, *fifth, p_value, f"{entry.parameters:,}", *costs)
        note = "" if entry.error else row.note
        sign = "□" if entry.scratch else "●"  # as in the chart
        lines.append(_TableRow(row.name, row.weights, sign, cells, note, one_line(entry.error)))
    return lines


def _verdict(comparison: Comparison) -> str:
    """The best network, and which others may be as good."""
    if not comparison.ranked:
        return "No network could be trained."
    best, *others = comparison.ranked
    verdict = f"Best: {_named(best)} with {percent(best.top1.value)} accuracy."
    close = [_named(entry) for entry in others if entry.p_value >= 0.05]
    if close:
        names = close[0] if len(close) == 1 else f"{', '.join(close[:-1])} or {close[-1]}"
        return f"{verdict} There are too few images to tell whether it is better than {names} (p ≥ 0.05)."
    return f"{verdict} It is better than every other network (p < 0.05)." if others else verdict


def _named(entry: ComparedNetwork) -> str:
    return one_line(entry.name) + (" from random weights" if entry.scratch else "")


def _grid_alt(comparison: Comparison) -> str:
    return (
        f"Validation images, one per row, with the predictions of {count(len(comparison.ranked), 'network')}: "
        "label and confidence, green with a check mark where correct, red with a cross where wrong."
    )
