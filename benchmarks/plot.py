"""Draws lines on logarithmic axes, as SVG; the same data give the same picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 460, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 40, 48  # "100,000" stands half beyond the right end of its axis
_COLOURS = ("#0b6e4f", "#b5541c", "#35508c", "#7a3b69", "#8a6d00")
"""Of the lines of all panels; the same name has the same colour in each, and no other has it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its name, its points, and which of them were `measured`; the others are drawn hollow."""

    name: str
    points: Sequence[tuple[float, float]]
    measured: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Panel:
    """A diagram of several lines."""

    title: str
    x_label: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel]) -> str:
    """Returns the panels, side by side."""
    names = dict.fromkeys(line.name for panel in panels for line in panel.lines)
    colours = dict(zip(names, _COLOURS[: len(names)], strict=True))
    body = "".join(
        f'<g transform="translate({i * _WIDTH},0)">{_panel(panel, colours)}</g>\n' for i, panel in enumerate(panels)
    )
    size = f'width="{_WIDTH * len(panels)}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH * len(panels)} {_HEIGHT}"'
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n{body}</svg>\n'


def _panel(panel: Panel, colours: Mapping[str, str]) -> str:
    xs = [x for line in panel.lines for x, _ in line.points]
    ys = [y for line in panel.lines for _, y in line.points]
    x_range, y_range = _decades(xs), _decades(ys)

    def x_of(value: float) -> float:
        return _LEFT + _share(value, x_range) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - _share(value, y_range) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="20" font-weight="600">{escape(panel.title)}</text>']
    for exponent in range(x_range[0], x_range[1] + 1):
        x = x_of(10.0**exponent)
        parts.append(_rule(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(exponent)}</text>')
    for exponent in range(y_range[0], y_range[1] + 1):
        y = y_of(10.0**exponent)
        parts.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(exponent)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(panel.x_label)}</text>')
    for i, line in enumerate(panel.lines):
        colour = colours[line.name]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3.5" fill="{colour if measured else "#fff"}" '
            f'stroke="{colour}" stroke-width="1.5"/>'
            for (x, y), measured in zip(line.points, line.measured, strict=True)
        ]
        legend = _TOP + 16 + 16 * i
        parts.append(f'<circle cx="{_LEFT + 12}" cy="{legend - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 22}" y="{legend}">{escape(line.name)}</text>')
    return "\n".join(parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Returns the powers of ten around the values, which are never the same."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    low, high = decades
    return (math.log10(value) - low) / (high - low)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _number(exponent: int) -> str:
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:.{-exponent}f}"
