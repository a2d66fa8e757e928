"""Records `make demo` as docs/demo.svg: text alone, which scrolls as in a terminal. Run `make demo-svg`.

Ids and times that differ from run to run are replaced: the same demo makes the same picture.
"""
# ruff: noqa: INP001  # a script; the folder is no package

import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from html import escape
from pathlib import Path
from uuid import UUID

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"

COLUMNS, ROWS = 80, 27
WIDTH, LINE, LEFT, TOP = 720, 18, 16, 44
"""Pixels: of the picture, of a line, and left of and above the first line."""
SECONDS_A_LINE = 0.12
SECONDS_A_SECTION = 2.5
"""Time to read, before the next heading."""
INK, PAPER, BAR = "#c9d1d9", "#0d1117", "#161b22"
STYLES = {
    "1": 'font-weight="bold" fill="#ffffff"',
    "2": 'fill="#8b949e"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#7ee787"',
    "33": 'fill="#e3b341"',
    "36": 'fill="#79c0ff"',
}
"""The meaning of the terminal's escape sequences."""

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_SUFFIX = re.compile(r"\b(?=\d*[A-Z])[A-Z0-9]{12}\b")
_USER = re.compile(r"\bAIDA[A-Z0-9]{17}\b")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d(?!T)\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def record() -> str:
    """Runs the demo; returns what it prints, in colour."""
    sys.path.insert(0, str(ROOT))
    from local.aws import EmbeddedAWS  # noqa: PLC0415  # on the path since the line before
    from local.demo import PARAMETERS, Demo  # noqa: PLC0415
    from local.poller import load_function  # noqa: PLC0415
    from local.runtime import isolate  # noqa: PLC0415
    from local.terminal import Terminal  # noqa: PLC0415

    isolate()
    output = io.StringIO()
    with redirect_stdout(io.StringIO()), EmbeddedAWS(PARAMETERS) as aws:
        if not Demo(aws, load_function(aws.environment), Terminal(output, colour=True)).run():
            raise SystemExit(f"the demo did not come out as it claims:\n{output.getvalue()}")
    return output.getvalue()


def draw(output: str) -> str:
    """Returns what the demo printed as the text of an SVG file."""
    lines = steady(output).splitlines()
    height = TOP + ROWS * LINE + 10
    drawn = (
        f'<text x="{LEFT}" y="{(i + 1) * LINE}">{"".join(_spans(line))}</text>' for i, line in enumerate(lines) if line
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        "<title>make demo</title>",
        "<style>",
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;white-space:pre}",
        f"#lines{{animation:scroll {_seconds(lines):.1f}s infinite}}",
        "@keyframes scroll{" + "".join(_keyframes(lines)) + "}",
        "@media (prefers-reduced-motion:reduce){#lines{animation:none}}",
        "</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>',
        f'<path d="M0 30V8a8 8 0 0 1 8-8h{WIDTH - 16}a8 8 0 0 1 8 8v22z" fill="{BAR}"/>',
        *(
            f'<circle cx="{x}" cy="15" r="6" fill="{color}"/>'
            for x, color in ((18, "#ff5f56"), (38, "#ffbd2e"), (58, "#27c93f"))
        ),
        f'<text x="{WIDTH / 2:.0f}" y="20" fill="#8b949e" text-anchor="middle">make demo</text>',
        f'<svg y="{TOP - 8}" width="{WIDTH}" height="{ROWS * LINE + 5}"><g id="lines" fill="{INK}">',
        *drawn,
        "</g></svg>",
        "</svg>",
    ]) + "\n"  # fmt: skip


def steady(output: str) -> str:
    """Returns it with ids, names and times that are always the same."""
    found: dict[str, str] = {}
    text = _UUID.sub(lambda uuid: found.setdefault(uuid[0], str(UUID(int=_scattered(len(found) + 1)))), output)
    text = _SUFFIX.sub("1A2B3C4D5E6F", text)
    text = _USER.sub("AIDAIENQZJOLO23YVJ4VO", text)
    return _DATE.sub("2026-11-25", _TIME.sub("2026-11-25T04:00:00Z", text))


def _scattered(number: int) -> int:
    """Returns a number that looks like one by chance."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)


def _spans(line: str) -> Iterator[str]:
    """Yields the parts of a line, each in its style."""
    style = ""
    for part in re.split(r"(\033\[\d+m)", line):
        if code := re.fullmatch(r"\033\[(\d+)m", part):
            style = STYLES.get(code[1], "")
        elif part:
            text = escape(part, quote=False)
            yield f"<tspan {style}>{text}</tspan>" if style else text


def _times(lines: list[str]) -> Iterator[tuple[float, int]]:
    """Yields when the picture scrolls, in seconds, and how many lines have been written by then."""
    time = 0.0
    for number, line in enumerate(lines, 1):
        yield time, number
        time += SECONDS_A_LINE
        if not line and number < len(lines) and "─" in lines[number] and number > 1:
            time += SECONDS_A_SECTION
    yield time + SECONDS_A_SECTION, len(lines)


def _seconds(lines: list[str]) -> float:
    return list(_times(lines))[-1][0]


def _keyframes(lines: list[str]) -> Iterator[str]:
    whole, before = _seconds(lines), None
    for time, number in _times(lines):
        offset = max(0, number - ROWS) * LINE
        if offset != before:
            yield f"{100 * time / whole:.2f}%{{transform:translateY({-offset}px);animation-timing-function:step-end}}"
        before = offset
    yield f"100%{{transform:translateY({-(before or 0)}px)}}"


if __name__ == "__main__":
    PICTURE.write_text(draw(record()))
