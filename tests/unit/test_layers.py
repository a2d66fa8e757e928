"""The import rule: each layer imports only what is below it, and no layer two of the same height from each other."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import ENVIRONMENT

HANDLER = Path(__file__).parents[2] / "src" / "handler"
LAYERS = (
    ("app", "usage_app"),
    ("workflows",),
    ("bootstrap",),
    ("relatives",),
    ("deletion", "selection"),
    ("guards", "events", "request_parser"),
    ("steps", "archive_records", "tally"),
    ("step_table", "usage"),
    ("concurrency", "registry", "notifications", "request_queue", "request_errors"),
    ("settings",),
    ("models",),
)
"""From top to bottom. A package is one layer: its modules may import each other."""
GENERATED = {"contract"}
"""The module that the build makes of the request's schema, for request_parser alone."""
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}


def sources(layer: str) -> list[Path]:
    """The modules of a layer."""
    module = HANDLER / f"{layer}.py"
    return [module] if module.exists() else sorted((HANDLER / layer).glob("*.py"))


def imports(source: str) -> set[str]:
    """The layers that a module imports, also where it does so for its types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=None | "handler", names=aliases, level=level) if level < 2:
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module)) if node.level == 1 or module.startswith("handler."):
                found.add(module.removeprefix("handler.").partition(".")[0])
            case ast.Import(names=aliases):
                found |= {
                    a.name.removeprefix("handler.").partition(".")[0] for a in aliases if a.name.startswith("handler")
                }
    return found


@pytest.mark.parametrize("layer", HEIGHT)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    """No module knows what calls it, nor what stands beside it."""
    allowed = {name for name, height in HEIGHT.items() if height > HEIGHT[layer]}
    for source in sources(layer):
        own = {path.stem for path in sources(layer)} | {layer}
        found = imports(source.read_text()) - own - (GENERATED if layer == "request_parser" else set())
        assert found <= allowed, f"{source.name} imports {found - allowed}"


def loaded() -> set[str]:
    """Returns the modules that a cold start loads."""
    code = "import sys, handler.app; print(*sorted(name for name in sys.modules if name.startswith('handler.')))"
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(HANDLER.parent)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return {name.removeprefix("handler.") for name in run.stdout.split()}


def test_the_function_that_deletes_loads_none_of_the_readers() -> None:
    """They call services whose models its package lacks, and that its role may not call."""
    readers = {"claims", "ecs", "inspector", "lambda_", "measures", "pace", "refresh"}
    assert not loaded() & {f"usage.{name}" for name in readers}


def test_what_is_not_used_is_not_loaded() -> None:
    """Whatever is more than images by name costs a cold start nothing, until a request is for it."""
    rare = {
        "archive",
        "archived_needs",
        "declaration",
        "doubt",
        "fan_out",
        "forwarding",
        "from_archive",
        "selected_to_archive",
        "selection",
        "summary",
        "to_archive",
    }
    unused = {"archive_records", "request_queue", "selection", "tally", "workflows.untag"}
    unused |= {f"registry.{name}" for name in ("listing", "families", "storage_class")}
    unused |= {"models.families", "models.selection_outcome", "models.summary"}
    unused |= {"notifications", "relatives", "request_errors"}
    found = loaded()
    assert not found & (unused | {f"workflows.{name}" for name in rare} | {"usage.guard", "usage.inventory"})
    assert {"workflows.image_ids", "registry.batch_delete"} <= found


def test_every_module_has_its_layer() -> None:
    """A new module or package must be placed, and one that is removed is taken out."""
    modules = {path.stem for path in HANDLER.glob("*.py")} | {path.parent.name for path in HANDLER.glob("*/*.py")}
    assert modules - {"__init__"} == HEIGHT.keys()
