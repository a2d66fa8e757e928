"""A hook of MkDocs: links that lead out of docs/ lead to the repository, for only docs/ is in the site.

On GitHub they are relative links to files beside docs/; tests/documents sees to it that these are there.
"""
# ruff: noqa: INP001  # a script; the folder is no package

import re
from typing import Any


def on_page_markdown(markdown: str, /, *, page: Any, config: Any, files: Any) -> str:
    """Returns a page's text with the links that leave docs/ made absolute."""
    del page, files
    return re.sub(r"\]\(\.\./([^)\s]*)\)", rf"]({config.repo_url}/blob/main/\1)", markdown)
