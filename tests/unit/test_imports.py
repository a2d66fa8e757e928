"""The import rule: data flows one way, and only app and work know the others."""

import ast
from pathlib import Path

import pytest

HANDLER = Path(__file__).parents[2] / "src" / "handler"
ROOMS = {path.stem for path in HANDLER.glob("*.py")} - {"__init__"} | {p.parent.name for p in HANDLER.glob("*/*.py")}
ALLOWED: dict[str, set[str]] = {
    "models": set(),
    "settings": set(),
    "work": ROOMS - {"app", "work"},
    "app": ROOMS - {"app"},
    "events": {"models", "contract"},  # which the build makes of the schema
}
MIDDLE: set[str] = {"models"}


def imports(source: str) -> set[str]:
    """The rooms that a room imports, also where it does so for its types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=None | "handler", names=aliases):
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module)) if node.level == 1 or module.startswith("handler."):
                found.add(module.removeprefix("handler."))
            case ast.Import(names=aliases):
                found |= {a.name.removeprefix("handler.") for a in aliases if a.name.startswith("handler")}
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    """Models and settings import none of ours, the middle rooms models alone, never each other."""
    sources = [HANDLER / f"{room}.py"] if (HANDLER / f"{room}.py").exists() else list((HANDLER / room).glob("*.py"))
    corners = {source.stem for source in sources}  # of a room that is a folder
    for source in sources:
        assert imports(source.read_text()) - corners <= ALLOWED.get(room, MIDDLE)


def test_every_room_is_used() -> None:
    """By the entry or by the work that it hands on."""
    assert imports((HANDLER / "app.py").read_text()) | imports((HANDLER / "work.py").read_text()) == ROOMS - {"app"}


@pytest.mark.parametrize(
    "line",
    [
        "from . import registry",
        "from .registry import delete_images",
        "from handler import registry",
        "from handler.registry import delete_images",
        "import handler.registry",
        "def late():\n    from . import registry",
    ],
)
def test_every_spelling_of_an_import_is_seen(line: str) -> None:
    """The rule cannot be evaded by another way to write an import."""
    assert imports(line) == {"registry"}
