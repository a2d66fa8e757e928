"""Draws docs/dashboard.svg: the stack's dashboard as an operator sees it, with a day of sample data.

The widgets are read from template.yaml, so the picture shows what is deployed. Run `python docs/dashboard.py` after a
change of the dashboard. It needs Python alone, and draws the same picture everywhere.
"""
# ruff: noqa: INP001  # a script; the folder is no package

import json
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from random import Random
from typing import Any

type Json = dict[str, Any]
type Series = list[float]

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
PICTURE = ROOT / "docs" / "dashboard.svg"

COLUMN, ROW = 50, 38
"""Pixels of one unit of CloudWatch's grid, which is 24 columns wide."""
GAP = 8
POINTS = 144
"""One for every ten minutes of a day."""
INCIDENT = range(84, 102)
"""From 14:00 to 17:00 the day is not as it should be: a sender is broken, and ECR answers slowly."""
FONT = "Amazon Ember, Helvetica Neue, Helvetica, Arial, sans-serif"
INK, FAINT, LINE, PAPER, CARD = "#16191f", "#687078", "#eaeded", "#f2f3f3", "#ffffff"


def dashboard_body(template: str) -> Json:
    """The DashboardBody of the template's text, with the widgets that are there under a condition.

    What CloudFormation would fill in is left as the name it has there.
    """
    [(_, block, rest)] = re.findall(
        r"^( *)DashboardBody:\n\1  Fn::Sub:\n\1    - \|\n((?:\1 {6}.*\n)+)((?:\1 {4}.*\n)+)", template, re.MULTILINE
    )
    for name, _, text in re.findall(
        r"^ *- (\w+):.*\n *Fn::If:\n *- \w+\n( *)- !Sub \|-\n((?:\2 .*\n)+)", rest, re.MULTILINE
    ):
        block = block.replace(f"${{{name}}}", text)
    body: Json = json.loads(re.sub(r"\$\{(.+?)\}", r"\1", textwrap.dedent(block)))
    return body


def draw(template: str) -> str:
    """The picture, as the text of an SVG file."""
    widgets = dashboard_body(template)["widgets"]
    width = 24 * COLUMN
    height = max(widget["y"] + widget["height"] for widget in widgets) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + GAP} {height + GAP}" font-family="{FONT}">',
        "<title>The dashboard of the stack, with sample data</title>",
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
    ]
    for widget in widgets:
        lines += _widget(widget)
    return "\n".join([*lines, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Metric:
    """A line of a widget."""

    name: str
    stat: str
    label: str
    color: str

    @property
    def values(self) -> Series:
        return SAMPLES[self.name, self.stat]


def metrics(properties: Json) -> list[Metric]:
    """The metrics of a widget, with CloudWatch's shorthand written out: "." repeats one field, "..." all of them.

    What a search would find are the lines of the sample's sources; they stand where a statistic does elsewhere.
    """
    found: list[Metric] = []
    before: list[str] = []
    for entry in properties["metrics"]:
        if "expression" in entry[0]:
            name = re.findall(r'MetricName="(\w+)"', entry[0]["expression"])[0]
            found += [Metric(name, source, source, color) for source, color in SOURCES.items()]
            continue
        fields = [field for field in entry if isinstance(field, str)]
        options: Json = entry[-1] if isinstance(entry[-1], dict) else {}
        if fields[0] == "...":
            fields = before
        fields = [before[i] if field == "." else field for i, field in enumerate(fields)]
        before = fields
        stat: str = options.get("stat") or properties["stat"]
        found.append(Metric(fields[1], stat, options["label"], options["color"]))
    return found


def _widget(widget: Json) -> Iterator[str]:
    box = Box(
        widget["x"] * COLUMN + GAP,
        widget["y"] * ROW + GAP,
        widget["width"] * COLUMN - GAP,
        widget["height"] * ROW - GAP,
    )
    properties = widget["properties"]
    yield f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="3" fill="{CARD}"/>'
    yield _text(box.x + 12, box.y + 20, properties["title"], size=13, weight="bold")
    inner = Box(box.x + 12, box.y + 30, box.width - 24, box.height - 38)
    if widget["type"] == "alarm":
        yield from _alarms(properties, inner)
    elif properties["view"] == "singleValue":
        yield from _numbers(properties, inner)
    else:
        yield from _chart(properties, inner)


def _alarms(properties: Json, box: Box) -> Iterator[str]:
    step = box.width / len(properties["alarms"])
    for i, arn in enumerate(properties["alarms"]):
        name = arn.removesuffix(".Arn")
        rings = name in RINGING
        color, state = ("#d13212", "In alarm") if rings else ("#1d8102", "OK")
        x = box.x + i * step
        yield f'<rect x="{x:.1f}" y="{box.y}" width="{step - 8:.1f}" height="{box.height}" rx="3" fill="{color}"/>'
        yield _text(x + 6, box.y + box.height / 2 - 2, name, size=11, color=CARD)
        yield _text(x + 6, box.y + box.height / 2 + 11, state, size=10, color=CARD)


def _numbers(properties: Json, box: Box) -> Iterator[str]:
    shown = metrics(properties)
    step = box.width / len(shown)
    for i, metric in enumerate(shown):
        x, values = box.x + i * step, metric.values
        yield from _line(values, max(values), metric.color, Box(x, box.y + 66, step - 24, box.height - 68))
        yield _text(x, box.y + 38, f"{sum(values):,.0f}", size=32)
        yield _text(x, box.y + 58, metric.label, size=12, color=FAINT)


def _chart(properties: Json, box: Box) -> Iterator[str]:
    shown = metrics(properties)
    limits = properties.get("annotations", {}).get("horizontal", [])
    stacked = properties.get("stacked", False)
    sums = [sum(values) for values in zip(*(metric.values for metric in shown), strict=True)]
    highest = max(sums) if stacked else max(max(metric.values) for metric in shown)
    top = _round_up(max([highest, *(limit["value"] for limit in limits)]))
    plot = Box(box.x + 40, box.y + 6, box.width - 44, box.height - 50)
    for part in (0, 0.5, 1):
        y = plot.y + plot.height * (1 - part)
        yield f'<path d="M{plot.x} {y:.1f}h{plot.width}" stroke="{LINE}"/>'
        yield _text(plot.x - 6, y + 4, _short(top * part), size=10, color=FAINT, anchor="end")
    for hour in range(0, 25, 6):
        x = plot.x + plot.width * hour / 24
        yield _text(x, plot.y + plot.height + 15, f"{hour:02}:00", size=10, color=FAINT, anchor="middle")
    below = [0.0] * POINTS
    for metric in shown:
        values = metric.values
        if stacked:
            above = [low + value for low, value in zip(below, values, strict=True)]
            yield from _area(below, above, top, metric.color, plot)
            below = above
        else:
            yield from _line(values, top, metric.color, plot)
    for limit in limits:
        y = plot.y + plot.height * (1 - limit["value"] / top)
        yield f'<path d="M{plot.x} {y:.1f}h{plot.width}" stroke="{limit["color"]}" stroke-dasharray="6 4"/>'
        yield _text(plot.x + plot.width, y - 4, limit["label"], size=10, color=FAINT, anchor="end")
    x = plot.x
    for metric in shown:
        y = box.y + box.height - 2
        yield f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{metric.color}"/>'
        yield _text(x + 15, y, metric.label, size=11)
        x += 34 + 6.2 * len(metric.label)
    if label := properties.get("yAxis", {}).get("left", {}).get("label"):
        yield _text(plot.x + plot.width, box.y - 10, label, size=10, color=FAINT, anchor="end")


def _line(values: Series, top: float, color: str, box: Box) -> Iterator[str]:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _points(values, top, box))
    yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6" stroke-linejoin="round"/>'


def _area(below: Series, above: Series, top: float, color: str, box: Box) -> Iterator[str]:
    corners = [*_points(above, top, box), *reversed(list(_points(below, top, box)))]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    yield f'<polygon points="{points}" fill="{color}" fill-opacity="0.75"/>'


def _points(values: Series, top: float, box: Box) -> Iterator[tuple[float, float]]:
    for i, value in enumerate(values):
        yield box.x + box.width * i / (POINTS - 1), box.y + box.height * (1 - value / max(top, 1))


def _text(x: float, y: float, text: str, *, size: int, color: str = INK, **style: str) -> str:
    attributes = "".join(f' {"font-weight" if key == "weight" else "text-anchor"}="{style[key]}"' for key in style)
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{attributes}>{escape(text)}</text>'


def _round_up(value: float) -> float:
    """The next number of the form 1, 2, 4, 5 or 8, and zeros, so that its half is short too."""
    scale = 10.0 ** math.floor(math.log10(max(value, 2)))
    return next(step * scale for step in (1, 2, 4, 5, 8, 10) if step * scale >= value)


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"  # noqa: PLR2004  # a thousand


def _day(seed: str, value: Callable[[int, float], float]) -> Series:
    """A value for every ten minutes, from their number and from chance that is always the same."""
    chance = Random(seed)  # noqa: S311  # nothing secret: sample data
    return [value(i, chance.random()) for i in range(POINTS)]


def _busy(i: int) -> float:
    """How busy the hour is, from 0 to 1: people push and close branches by day."""
    return max(0.0, math.sin((i / POINTS - 0.27) * 2 * math.pi)) + 0.08


SOURCES = {"ecs": "#ff7f0e", "lambda": "#1f77b4"}
"""What the sample's stack reads, and CloudWatch's colors for what a search finds."""
RINGING = {"DeadLetterAlarm"}
"""The alarms that are still on when the day is over: somebody must see to the dead letters."""

_requests = _day("requests", lambda i, chance: round(40 * _busy(i) * (0.6 + 0.8 * chance)))
_rejected = _day("rejected", lambda i, chance: float(i in INCIDENT and i % 3 == 0 and chance > 0.2))  # noqa: PLR2004
_deleted: Series = [round(requests * 11.5) + (1500.0 if i == 24 else 0) for i, requests in enumerate(_requests)]  # noqa: PLR2004
_failed: Series = [round(deleted * (0.3 if i in INCIDENT else 0.012)) for i, deleted in enumerate(_deleted)]
_waited = _day(
    "age", lambda i, chance: 20 * chance + (1500 * math.sin((i - 84) / 18 * math.pi) if i in INCIDENT else 0)
)
_refused = _day("refused", lambda i, chance: float(round(3 * _busy(i))) if chance > 0.7 else 0.0)  # noqa: PLR2004
_median = _day("p50", lambda i, chance: 240 + 120 * chance + (900 if i in INCIDENT else 0))

SAMPLES: dict[tuple[str, str], Series] = {
    ("Requests", "Sum"): _requests,
    ("RequestsRejected", "Sum"): _rejected,
    ("ImagesDeleted", "Sum"): _deleted,
    ("ImagesFailed", "Sum"): _failed,
    # A rejected request is a dead letter after its last receive, an hour later; somebody saw to some at 18:00.
    ("ApproximateNumberOfMessagesVisible", "Maximum"): [
        max(0.0, sum(_rejected[: max(0, i - 6)]) - (3 if i >= 108 else 0))  # noqa: PLR2004
        for i in range(POINTS)
    ],
    ("ApproximateAgeOfOldestMessage", "Maximum"): _waited,
    ("Duration", "p50"): _median,
    ("Duration", "p99"): _day("p99", lambda i, chance: _median[i] * (2.2 + 1.6 * chance)),
    # Each hour what is in use is read anew; Lambda's reading failed once, at 14:00.
    ("UsageAgeMinutes", "ecs"): [10.0 * (i % 6) + 1 for i in range(POINTS)],
    ("UsageAgeMinutes", "lambda"): [10.0 * (i % 6) + (60 if i in range(84, 90) else 0) + 3 for i in range(POINTS)],
    ("ImagesInUse", "ecs"): [140.0 + 2 * (i // 36) for i in range(POINTS)],
    ("ImagesInUse", "lambda"): [32.0] * POINTS,
    ("ImagesRefusedInUse", "Sum"): _refused,
    ("Errors", "Sum"): [float(i == 93) for i in range(POINTS)],  # noqa: PLR2004
    ("Throttles", "Sum"): [3.0 if i in {96, 97} else 0.0 for i in range(POINTS)],
}
"""The values of each metric of the dashboard on a sample day, by name and statistic."""


if __name__ == "__main__":
    PICTURE.write_text(draw(TEMPLATE.read_text()))
