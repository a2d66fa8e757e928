"""`make clean` removes all that make has made, and what the documents' commands write is ignored by git."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
GITIGNORE = (ROOT / ".gitignore").read_text().splitlines()

KEPT = [".env", ".idea/workspace.xml", ".vscode/settings.json", "request.json", "template.yaml", "src/handler/app.py"]
"""Files of people, and of the project."""


def made() -> set[str]:
    """The folders that targets of the Makefile are in, and those that git ignores as caches."""
    targets = re.findall(r"^(\.[\w-]+)/", MAKEFILE, re.MULTILINE)
    caches = re.findall(r"^/(\.\w+_cache|\.hypothesis)/$", "\n".join(GITIGNORE), re.MULTILINE)
    assert {".venv", ".aws-sam", ".local"} <= set(targets)
    assert {".mypy_cache", ".hypothesis"} <= set(caches)
    return {*targets, *caches}


@pytest.mark.parametrize("tool", ["UV", "PIP"])
def test_caches_are_in_a_folder_that_clean_removes(tool: str) -> None:
    """Not in the home folder, where nobody would look for a gigabyte; unless somebody has set the folder on purpose."""
    [folder] = re.findall(rf"^export {tool}_CACHE_DIR \?= \$\(CURDIR\)/([\w./-]+)$", MAKEFILE, re.MULTILINE)
    assert folder.split("/")[0] in made()


def test_clean_removes_all_that_make_has_made_and_nothing_else(tmp_path: Path) -> None:
    """Environments, the package, caches, and bytecode in whatever folder."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    removed = [f"{folder}/sub/file" for folder in made()]
    removed += [f"{folder}/__pycache__/module.pyc" for folder in (".", "benchmarks", "src/handler/registry")]
    for name in (*removed, *KEPT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, env=environment, check=True)  # noqa: S607

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"Makefile", *KEPT}


def test_what_the_documents_write_is_ignored() -> None:
    """A reader who pastes the commands at the root has a clean tree afterwards."""
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(document.read_text() for document in documents)
    written = set(re.findall(r">\s?([\w-]+\.json)\b", text)) | set(re.findall(r"\b(answer\.json)\b", text))
    assert "request.json" in written
    for name in written:
        assert f"/{name}" in GITIGNORE, name
