"""`make release-check` finds what would keep a version from being released, and changes nothing but its notes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.release_check import NOTES, changelog, main

type Edit = Callable[[Path], None]

PROJECT = """\
[project]
version = "1.2.3"

[project.urls]
Repository = "https://github.com/somebody/ecr-image-deletion"
"""
TEMPLATE = "Metadata:\n  AWS::ServerlessRepo::Application:\n    SemanticVersion: 1.2.3\n"
OLDER = TEMPLATE.replace("1.2.3", "1.2.2")
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-11-25

### Fixed

- A fault.

## [1.2.2] - 2026-11-01

- Another.
"""


def git(root: Path, *arguments: str) -> None:
    """Runs git under a name and an address of its own."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "-C", root, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that can be released: committed, and built."""
    build = tmp_path / ".aws-sam" / "build"
    for function, entry in (("DeletionFunction", "app.py"), ("UsageFunction", "usage_app.py")):
        (build / function / "handler").mkdir(parents=True)
        (build / function / "handler" / entry).touch()
    (build / "template.yaml").write_text(TEMPLATE.replace("1.2.3", "'1.2.3'"))  # SAM quotes it
    (tmp_path / ".gitignore").write_text("/.aws-sam/\n/.local/\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--initial-branch", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "1.2.3")
    return tmp_path


def replace(name: str, old: str, new: str) -> Edit:
    """Edits a file, and commits it."""

    def edit(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))
        git(root, "commit", "--all", "--message", "edited")

    return edit


def tag_and_go_on(root: Path) -> None:
    """Tags the commit, and makes another."""
    git(root, "tag", "v1.2.3")
    git(root, "commit", "--allow-empty", "--message", "another")


@pytest.mark.parametrize("arguments", [[], ["--tag", "v1.2.3"]])
def test_a_release_that_can_be_made(root: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every check is fine, and the notes are the changelog's section."""
    assert main(arguments, root) == 0
    assert " no " not in capsys.readouterr().out
    assert (root / NOTES).read_text() == "### Fixed\n\n- A fault.\n"


def test_a_tag_that_was_just_pushed(root: Path) -> None:
    """It is on this commit, where the workflow checks it once more."""
    git(root, "tag", "v1.2.3")
    assert main(["--tag", "v1.2.3"], root) == 0


def test_a_rehearsal_before_the_changelog_has_the_version(root: Path) -> None:
    """The section Unreleased is enough, and is what the notes would say."""
    replace("CHANGELOG.md", "## [1.2.3] - 2026-11-25", "")(root)
    assert main([], root) == 0
    assert "A fault." in (root / NOTES).read_text()


@pytest.mark.parametrize(
    ("edit", "arguments", "problem"),
    [
        (replace("pyproject.toml", "1.2.3", "1.2"), [], "is not a version"),
        (replace("template.yaml", "1.2.3", "1.2.4"), [], "SemanticVersion is 1.2.4"),
        (replace("CHANGELOG.md", " - 2026-11-25", ""), [], "needs its date"),
        (replace("CHANGELOG.md", "### Fixed\n\n- A fault.\n", ""), [], "is empty"),
        (replace("CHANGELOG.md", "## [Unreleased]", ""), [], "the first section must be [Unreleased]"),
        (replace("CHANGELOG.md", "## [1.2.3]", "## [1.3.0]"), [], "there is nothing to release"),
        (replace("CHANGELOG.md", "## [1.2.3]", "## [1.3.0]"), ["--tag", "v1.2.3"], "head a section with [1.2.3]"),
        (replace("CHANGELOG.md", "## [1.2.3]", "## [2.0.0] - 2026-12-01\n\n- X.\n\n## [1.2.3]"), [], "older release"),
        (replace("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- X.\n"), ["--tag", "v1.2.3"], "move what is"),
        (lambda root: git(root, "tag", "v1.2.3"), [], "this commit is v1.2.3 already"),
        (tag_and_go_on, [], "on another commit"),
        (tag_and_go_on, ["--tag", "v1.2.3"], "on another commit"),
        (lambda _: None, ["--tag", "v1.2.4"], "the version makes it v1.2.3"),
        (lambda root: (root / "new.py").touch(), ["--tag", "v1.2.3"], "not committed: new.py"),
        (lambda root: (root / ".aws-sam/build/DeletionFunction/handler/app.py").unlink(), [], "is not built"),
        (lambda root: (root / ".aws-sam/build/UsageFunction/handler/usage_app.py").unlink(), [], "is not built"),
        (lambda root: (root / ".aws-sam/build/template.yaml").write_text(OLDER), [], "not one of 1.2.3"),
        (replace("pyproject.toml", "/somebody/", "/OWNER/"), ["--tag", "v1.2.3"], "replace it everywhere"),
        (replace("pyproject.toml", "/somebody/", "/OWNER/"), [], None),
    ],
)  # fmt: skip
def test_each_problem_is_found(
    root: Path, edit: Edit, arguments: list[str], problem: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the check that is for it; no notes are written then."""
    edit(root)
    assert main(arguments, root) == (problem is not None)
    assert (problem or "") in capsys.readouterr().out
    assert (root / NOTES).exists() == (problem is None)


def test_the_changelog_of_this_project_is_read() -> None:
    """It begins with what is not released yet."""
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert changelog(text)[0].name == "Unreleased"
