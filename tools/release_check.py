"""Checks whether a release can be made of this commit, and changes nothing.

Without a tag it rehearses: what would keep the version in pyproject.toml from being released. With a tag it is strict:
the tag is to be pushed, or was just pushed. `make release-check` builds the package first.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parent.parent
NOTES = Path(".local/release-notes.md")
PLACEHOLDER = "OWNER"
"""The placeholder in every URL, until somebody publishes the project under an account of theirs."""

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\S+))?[ \t]*$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Section(NamedTuple):
    """A section of the changelog: a version, or what is not released yet."""

    name: str
    date: str | None
    text: str


class Release(NamedTuple):
    """A version that is to be released, and the folder it is in. `tag` is None in a rehearsal."""

    root: Path
    version: str
    tag: str | None

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def git(self, *arguments: str) -> str:
        """The output of a git command in the project's folder, without the line end."""
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603  # git


def changelog(text: str) -> list[Section]:
    """The sections of a changelog, the newest first."""
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return [
        Section(heading[1], heading[2], text[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    ]


def semantic_version(template: str) -> str:
    """The version that a template gives to the AWS Serverless Application Repository."""
    return str(yaml_parse(template)["Metadata"]["AWS::ServerlessRepo::Application"]["SemanticVersion"])


def check_version(release: Release) -> Iterator[str]:
    """The version is one, and template.yaml has it too."""
    if not _VERSION.fullmatch(release.version):
        yield f"pyproject.toml: {release.version!r} is not a version such as 1.2.3"
    if (found := semantic_version(release.read("template.yaml"))) != release.version:
        yield f"template.yaml: SemanticVersion is {found}, and pyproject.toml says {release.version}"


def check_changelog(release: Release) -> Iterator[str]:
    """There is something to say: under the version and its date or, in a rehearsal, under Unreleased."""
    unreleased, *released = changelog(release.read("CHANGELOG.md")) or [Section("", None, "")]
    if unreleased.name != "Unreleased":
        yield "CHANGELOG.md: the first section must be [Unreleased]"
        return
    if released and released[0].name == release.version:
        if not _DATE.fullmatch(released[0].date or ""):
            yield f"CHANGELOG.md: the section [{release.version}] needs its date, such as - 2026-11-25"
        if not released[0].text:
            yield f"CHANGELOG.md: the section [{release.version}] is empty"
        if release.tag and unreleased.text:
            yield f"CHANGELOG.md: move what is under [Unreleased] to [{release.version}], or release it later"
    elif any(section.name == release.version for section in released):
        yield f"CHANGELOG.md: {release.version} is an older release; raise the version in pyproject.toml"
    elif release.tag:
        yield f"CHANGELOG.md: head a section with [{release.version}] and the date"
    elif not unreleased.text:
        yield "CHANGELOG.md: nothing is under [Unreleased], so there is nothing to release"


def check_tag(release: Release) -> Iterator[str]:
    """The tag is that of the version, and is not on another commit."""
    expected = f"v{release.version}"
    if release.tag not in {None, expected}:
        yield f"the tag is {release.tag}, and the version makes it {expected}"
    if release.git("tag", "--list", expected):
        if release.git("rev-parse", f"{expected}^{{commit}}") != release.git("rev-parse", "HEAD"):
            yield f"the tag {expected} is on another commit; raise the version in pyproject.toml"
        elif release.tag is None:
            yield f"this commit is {expected} already"


def check_tree(release: Release) -> Iterator[str]:
    """A tag holds what is committed: nothing else may be here."""
    if release.tag and (changed := release.git("status", "--porcelain")):
        yield f"not committed: {', '.join(line[3:] for line in changed.splitlines())}"


def check_package(release: Release) -> Iterator[str]:
    """The package is built, of this version."""
    built = release.root / ".aws-sam" / "build"
    entries = (("DeletionFunction", "app.*"), ("UsageFunction", "usage_app.*"))
    if not all(list((built / function / "handler").glob(entry)) for function, entry in entries):
        yield "the package is not built; `make release-check` does it"
    elif semantic_version((built / "template.yaml").read_text()) != release.version:
        yield f"the package is not one of {release.version}; build it again"


def check_urls(release: Release) -> Iterator[str]:
    """The project is published somewhere: a release's documents lead there."""
    urls = tomllib.loads(release.read("pyproject.toml"))["project"]["urls"]
    if release.tag and f"/{PLACEHOLDER}/" in urls["Repository"]:
        yield f"pyproject.toml: {PLACEHOLDER} stands for the account that publishes this; replace it everywhere"
    if release.tag and f"github.com/{PLACEHOLDER}" in release.read("template.yaml"):
        yield f"template.yaml: the author, the home page and the source are those of {PLACEHOLDER}; replace it"


CHECKS: dict[str, Callable[[Release], Iterator[str]]] = {
    "the version is the same everywhere": check_version,
    "the changelog has an entry": check_changelog,
    "the tag is free": check_tag,
    "everything is committed": check_tree,
    "the package is built": check_package,
    "the project's address is known": check_urls,
}


def release_of(root: Path, tag: str | None) -> Release:
    """The release that pyproject.toml describes."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return Release(root, project["version"], tag)


def notes(release: Release) -> str:
    """The changelog's section on the release; in a rehearsal, the section as it is today."""
    sections = {section.name: section.text for section in changelog(release.read("CHANGELOG.md"))}
    return sections.get(release.version) or sections.get("Unreleased", "")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Prints each check and its problems; writes the release's notes if there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="the tag that is to be pushed, or was just pushed, such as v1.2.3")
    release = release_of(root, parser.parse_args(arguments).tag)
    print(f"Release {release.version}" if release.tag else f"Release {release.version}, a rehearsal")
    failed = False
    for name, check in CHECKS.items():
        problems = list(check(release))
        failed |= bool(problems)
        print(f"  {'no' if problems else 'ok'}  {name}")
        for problem in problems:
            print(f"      {problem}")
    if not failed:
        target = root / NOTES
        target.parent.mkdir(exist_ok=True)
        target.write_text(notes(release) + "\n")
        print(f"Notes: {NOTES}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
