"""The examples' documents say what is there, and their commands are commands."""

import re
from pathlib import Path

import pytest

from tests.examples import EXAMPLES, ROOT, check_shell, shell_blocks, stack, template

FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")
DOCUMENTS = [EXAMPLES / "README.md", *(folder / "README.md" for folder in FOLDERS)]


def outputs() -> set[str]:
    """Of the stack, and of the examples' own templates."""
    texts = {path: path.read_text() for path in EXAMPLES.glob("*/*.yaml")}
    templates = [path for path, text in texts.items() if "AWSTemplateFormatVersion" in text]
    examples = [template(str(path.relative_to(EXAMPLES))).get("Outputs", {}) for path in templates]
    return {*stack()["Outputs"], *(name for each in examples for name in each)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_folder_is_explained_and_listed(folder: Path) -> None:
    """It has a README of its own, which the list of examples links to."""
    assert (folder / "README.md").is_file()
    assert f"({folder.name}/README.md)" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.parent.name)
def test_links_lead_somewhere(document: Path) -> None:
    """To a file beside it, or in the project."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.parent.name)
def test_each_file_is_mentioned(document: Path) -> None:
    """A reader learns what each file of the folder is for."""
    if document.parent == EXAMPLES:
        return
    text = document.read_text()
    for path in document.parent.iterdir():
        if path.suffix in {".yaml", ".yml", ".py"} or path.name == "schedules.tf":
            assert path.name in text, path.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.parent.name)
def test_the_commands_are_shell_and_name_what_exists(document: Path) -> None:
    """Outputs of the stack or of an example, and parameters of the template that is deployed."""
    for block in shell_blocks(document.read_text()):
        check_shell(block)
        named = set(re.findall(r"OutputKey=='(\w+)'", block)) | set(re.findall(r"\$\((?:\w+) (\w+)\)", block))
        assert named - {"output"} <= outputs()
        for command in re.split(r"\n(?! )", block):
            deployed = re.search(r"--template-file (\S+)", command)
            path = document.parent / deployed[1] if deployed else ROOT / "template.yaml"
            known = template(str(path))["Parameters"]
            overrides = re.search(r"--parameter-overrides (.*)", command.replace("\\\n", " "))
            for name in re.findall(r"(?<!\S)(\w+)=", overrides[1] if overrides else ""):
                assert name in known, name
