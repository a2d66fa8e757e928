"""Files for maintainers and their services: workflows, issue forms, updates of dependencies, hooks, addresses."""

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def read(path: Path) -> Any:
    """YAML 1.2, as GitHub reads it: `on` is a word."""
    return YAML(typ="safe").load(path.read_text())


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        *((path, "vendor.github-workflows") for path in WORKFLOWS),
        (GITHUB / "dependabot.yml", "vendor.dependabot"),
        (GITHUB / "ISSUE_TEMPLATE" / "config.yml", "vendor.github-issue-config"),
        (GITHUB / "ISSUE_TEMPLATE" / "bug.yml", "vendor.github-issue-forms"),
        (GITHUB / "ISSUE_TEMPLATE" / "idea.yml", "vendor.github-issue-forms"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_the_file_is_one_that_github_reads(path: Path, schema: str) -> None:
    """By the schemas that SchemaStore has."""
    jsonschema.validate(read(path), get_builtin_schema(schema))


def test_ci_runs_what_everybody_runs() -> None:
    """The one script, with the Python of the project, and no step besides."""
    [job] = read(GITHUB / "workflows" / "ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    [python] = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python == {"python-version-file": ".python-version"}


def test_a_release_runs_all_checks_and_the_rehearsed_one() -> None:
    """In this order; only what creates the release may write."""
    workflow = read(GITHUB / "workflows" / "release.yml")
    checks, release = workflow["jobs"]["all-checks"], workflow["jobs"]["release"]
    assert checks["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in read(GITHUB / "workflows" / "ci.yml")["on"]
    assert release["needs"] == "all-checks"
    assert [step["run"].split()[0:2] for step in release["steps"] if "run" in step] == [
        ["make", "release-check"],
        ["make", "package"],
        ["gh", "release"],
    ]
    assert (workflow["permissions"], checks["permissions"]) == ({}, {"contents": "read"})
    assert release["permissions"] == {"contents": "write"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_scripts_have_no_expressions(path: Path) -> None:
    """By commit, with the version beside it; what comes from outside reaches a script as a variable."""
    for line in path.read_text().splitlines():
        if (used := re.search(r"uses: (\S+)(.*)", line)) and not used[1].startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used[1]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", used[2]), line
    for job in read(path)["jobs"].values():
        assert not [step["run"] for step in job.get("steps", []) if "${{" in step.get("run", "")]


def test_every_lock_file_is_kept_up_to_date() -> None:
    """Those that `make lock` writes, and the example that has requirements of its own."""
    [pip] = [u for u in read(GITHUB / "dependabot.yml")["updates"] if u["package-ecosystem"] == "pip"]
    folders = {folder.removeprefix("/") for folder in pip["directories"]}
    assert {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "requirements").glob("*.txt")} <= folders
    written = set(re.findall(r"--output-file (\S+)/\S+\.txt", MAKEFILE))
    assert {"src", "requirements"} == written
    assert written <= folders
    assert "examples/cdk" in folders


def test_every_group_of_dependencies_is_locked() -> None:
    """And every lock file belongs to a group."""
    locks = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    assert locks == PROJECT["dependency-groups"].keys()
    [loop] = re.findall(r"for group in (.*); do", MAKEFILE)
    assert {"dev", *loop.split()} == locks


def test_addresses_agree() -> None:
    """Whoever publishes the project replaces one word, and no place is forgotten."""
    [owner] = re.findall(r"^https://github\.com/([\w-]+)/ecr-image-deletion$", PROJECT["project"]["urls"]["Repository"])
    assert all(url.startswith(PROJECT["project"]["urls"]["Repository"]) for url in PROJECT["project"]["urls"].values())
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *GITHUB.rglob("*"), ROOT / "template.yaml"]
    found = {
        (path.name, named)
        for path in paths
        if path.is_file()
        for pattern in (
            r"github\.com/([\w-]+)/ecr-image-deletion",
            r"^\* @([\w-]+)/",
            r"<https://github\.com/([\w-]+)>",
        )
        for named in re.findall(pattern, path.read_text(), re.MULTILINE)
    }
    assert {"CODEOWNERS", "SECURITY.md", "config.yml", "CODE_OF_CONDUCT.md"} <= {name for name, _ in found}
    assert {named for _, named in found} == {owner}


@pytest.mark.parametrize("path", [ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """To a file, and to a heading that it has."""
    for target, anchor in re.findall(r"\]\((?!https:)([^)#]+)#?([^)]*)\)", path.read_text()):
        headings = re.findall(r"^#+ (.*)$", (ROOT / target).read_text(), re.MULTILINE)
        assert anchor in {"", *(re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings)}


def test_hooks_run_the_projects_own_tools() -> None:
    """Those of `make check`, at the versions of the lock file: nothing is fetched from elsewhere."""
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    pinned = (ROOT / "requirements" / "dev.txt").read_text()
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].split()
        if program == "make":
            assert f"\n{arguments[0]}: " in MAKEFILE
        else:
            tool = program.removeprefix(".venv/bin/")
            assert f"\n{tool}==" in pinned
            assert f"@.venv/bin/{tool}" in MAKEFILE


def test_editors_agree_with_the_formatter() -> None:
    """On the length of lines, and on tabs where make needs them."""
    settings = configparser.ConfigParser()
    settings.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert int(settings["*"]["max_line_length"]) == PROJECT["tool"]["ruff"]["line-length"]
    assert settings["*.py"]["indent_size"] == "4"
    assert settings["{Makefile,*.mk}"]["indent_style"] == "tab"


def test_the_container_has_the_projects_python() -> None:
    """And sets up what the editor uses."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["image"].split(":")[1] == (ROOT / ".python-version").read_text().strip()
    assert f"\n{container['postCreateCommand'].removeprefix('make ')}: " in MAKEFILE
