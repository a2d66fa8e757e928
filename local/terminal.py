"""Plain text for a person at a terminal: 80 columns, and colour only where it is wanted."""

import os
import re
from collections.abc import Collection
from typing import TextIO

from .sns import Notice

WIDTH = 80

type Images = Collection[tuple[str, tuple[str, ...]]]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_DIGEST = re.compile(r"(sha256:\w{12})\w{52}")
_LABEL = re.compile(r"\w[\w ]*: {2,}| *")
"""The indent of a line's continuation: a label such as "Reason:      ", or how it is indented itself."""


class Terminal:
    """Writes to one stream, such as the sys.stdout of before it was redirected."""

    def __init__(self, stream: TextIO, *, colour: bool | None = None) -> None:
        """`colour` is None where the stream and the environment decide."""
        wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._stream = stream
        self._colour = wanted if colour is None else colour

    def styled(self, text: str, style: str) -> str:
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self._colour else text

    def line(self, text: str = "", style: str = "") -> None:
        print(self.styled(text, style) if style else text, file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(f"{text} {'─' * (WIDTH - len(text) - 1)}", "bold")
        self.line()

    def paragraph(self, text: str, *, label: str = "", style: str = "") -> None:
        """Writes text in lines that fit, the first after a label and the others below its first word."""
        for line in wrapped(label + text, WIDTH, indent=len(label)):
            self.line(line, style)

    def images(self, repository: str, images: Images, gone: Collection[str] = ()) -> None:
        """A repository's images by tag, those without one last; digests in `gone` are marked as deleted."""
        self.line(f"  {repository}", "bold")
        for digest, tags in sorted(images, key=lambda image: (not image[1], image[1], image[0])):
            text = f"    {short(digest)}  {', '.join(tags) or '(untagged)'}"
            if digest in gone:
                self.line(f"{text:<60}  deleted", "red")
            else:
                self.line(text)

    def mail(self, notice: Notice) -> None:
        """A notice as the reader of its e-mail sees it, but for digests, which are cut short."""
        self.line(f"  ┌{'─' * (WIDTH - 4)}", "cyan")
        for part in wrapped(f"Subject: {notice.subject}", WIDTH - 6, indent=len("Subject: ")):
            self._mail_line(part, "bold")
        self._mail_line()
        for line in _DIGEST.sub(r"\1...", notice.text).splitlines():
            label = _LABEL.match(line)
            for part in wrapped(line, WIDTH - 6, indent=label.end() if label else 0):
                self._mail_line(part)
        self.line(f"  └{'─' * (WIDTH - 4)}", "cyan")

    def _mail_line(self, text: str = "", style: str = "") -> None:
        self.line(f"  {self.styled('│', 'cyan')} {self.styled(text, style) if style else text}".rstrip())


def wrapped(text: str, width: int, *, indent: int) -> list[str]:
    """Returns lines that fit, all but the first with an indent.

    A word that is longer than a line, such as an ARN, goes on in the next line behind a character that separates.
    """
    lines, line = [], ""
    for word in re.findall(r" *[^ ]+", text):
        if line and len(line + word) > width and len(word.lstrip()) <= width - indent:
            lines.append(line)
            line = " " * indent + word.lstrip()
        else:
            line += word
        while len(line) > width:
            cut = max((i + 1 for i in range(indent, width) if line[i] in ":/,-=#"), default=width)
            lines.append(line[:cut])
            line = " " * indent + line[cut:]
    return [*lines, line]


def short(digest: str) -> str:
    """Enough of a digest to know it among others."""
    return digest[: len("sha256:") + 12]
