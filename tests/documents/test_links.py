"""Links, commands and pictures of the documents lead somewhere, and the site has every page."""

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs import links

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
SITE = YAML(typ="rt").load((ROOT / "mkdocs.yml").read_text())


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    """To a file that is there, and to a heading that it has."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for file, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]*))?\)", text):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"
    for name in re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE):
        assert text.count(f"[{name}]") > 1, name


def test_commands_of_make_exist() -> None:
    """Those that the documents name."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"(?:`|^|\n)make ([a-z-]+)", path.read_text()):
            assert target in targets, (path.name, target)


def test_contributors_find_every_command_that_checks() -> None:
    """Each target of the Makefile that tests, measures or packages has a row."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    [phony] = re.findall(r"^\.PHONY: (.+?)(?<!\\)\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    elsewhere = {"help", "demo", "demo-svg", "serve", "invoke", "build", "fmt", "lock", "clean"}
    for target in set(phony.replace("\\\n", " ").split()) - elsewhere:
        assert f"\n| `make {target}` |" in text, target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_have_no_comments(path: Path) -> None:
    """A zsh in which they are pasted takes a comment for arguments."""
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
        assert not re.search(r"(^|\s)#\s", block)


def test_every_page_is_in_the_navigation() -> None:
    """Once, under a heading; MkDocs itself checks links and anchors when `make check` builds the site."""
    [overview, *sections] = SITE["nav"]
    pages = [*overview.values(), *(page for section in sections for pages in section.values() for page in pages)]
    assert sorted(pages) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert SITE["strict"] is True


def test_the_site_leads_to_the_repository() -> None:
    """Whatever is outside of docs/ is there, and not in the site."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert SITE["repo_url"] == urls["Repository"]
    config = type("Config", (), {"repo_url": SITE["repo_url"]})
    text = links.on_page_markdown("[a](../events) [b](deploy.md#c)", page=None, config=config, files=None)
    assert text == f"[a]({urls['Repository']}/blob/main/events) [b](deploy.md#c)"


def test_the_build_counts_warnings() -> None:
    """A quiet MkDocs does not, and would build a site with broken links."""
    [command] = re.findall(r"^\t.*mkdocs build.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "--quiet" not in command


PRIVATE = re.compile(
    r"\b(wish(es)?|mend(s|ed|ing)?|whims?|nobody looks|(is|are|was|were|be|and) told|told as|(a|the|its) looks?\b(?!-)|"
    r"goes although|in CI alike|the honest limit|copies of the function|believes to|houses?|(a|one|two) rooms?)\b",
    re.IGNORECASE,
)
"""Words that a reader would have to decode; the field has others."""


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda path: path.name,
)
def test_documents_speak_the_words_of_the_field(path: Path) -> None:
    """No private vocabulary."""
    text = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", path.read_text(), flags=re.DOTALL)
    assert [match[0] for match in PRIVATE.finditer(text)] == []
