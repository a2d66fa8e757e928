"""Plain text for a person at a terminal: 100 columns, and colour only where it is wanted."""

import os
import textwrap
from collections.abc import Collection
from typing import TextIO

from .sns import Notice

WIDTH = 100

type Images = Collection[tuple[str, tuple[str, ...]]]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Terminal:
    """Writes to one stream, such as the sys.stdout of before it was redirected."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def styled(self, text: str, style: str) -> str:
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self._colour else text

    def line(self, text: str = "", style: str = "") -> None:
        print(self.styled(text, style) if style else text, file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(f"{text} {'─' * (WIDTH - len(text) - 1)}", "bold")
        self.line()

    def paragraph(self, text: str, *, label: str = "") -> None:
        """Text in lines that fit, the first after a label and the others below its first word."""
        indent = " " * len(label)
        for line in textwrap.wrap(text, WIDTH, initial_indent=label, subsequent_indent=indent, break_on_hyphens=False):
            self.line(line)

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
        """A notice as the reader of its e-mail sees it."""
        self.line(f"  ┌{'─' * (WIDTH - 4)}", "cyan")
        self._mail_line(f"Subject: {notice.subject}", "bold")
        self._mail_line()
        for line in notice.text.splitlines():
            for part in textwrap.wrap(line, WIDTH - 6, break_on_hyphens=False, drop_whitespace=False) or [""]:
                self._mail_line(part)
        self.line(f"  └{'─' * (WIDTH - 4)}", "cyan")

    def _mail_line(self, text: str = "", style: str = "") -> None:
        self.line(f"  {self.styled('│', 'cyan')} {self.styled(text, style) if style else text}".rstrip())


def short(digest: str) -> str:
    """Enough of a digest to know it among others."""
    return digest[: len("sha256:") + 12]
