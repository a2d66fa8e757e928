"""The README says what the template says, permissions verbatim, and explains each key and each code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
HANDLER = ROOT / "src" / "handler"


@pytest.fixture(scope="module")
def template() -> Any:
    """template.yaml, its short functions spelled out."""
    return yaml_parse((ROOT / "template.yaml").read_text())


def test_the_permissions_are_those_of_the_template(template: Any) -> None:
    """Statement by statement, with nothing added or left out."""
    [block] = re.findall(r"## Permissions\n.*?```yaml\n(.*?)```", README, re.DOTALL)
    [policy] = template["Resources"]["FunctionRole"]["Properties"]["Policies"]
    assert yaml_parse(block) == policy["PolicyDocument"]["Statement"]
    for statement in policy["PolicyDocument"]["Statement"]:
        assert f"| `{statement['Sid']}` |" in README


def test_every_parameter_is_described(template: Any) -> None:
    """With its description, word for word."""
    for name, parameter in template["Parameters"].items():
        assert re.search(rf"\| `{name}` \| .* \| {re.escape(parameter['Description'])} \|", README), name


def test_every_output_is_named(template: Any) -> None:
    """Where a reader needs it."""
    for name in template["Outputs"]:
        assert f"`{name}`" in README, name


def test_every_key_of_a_request_is_explained() -> None:
    """In a row of its table, those of a selection too."""
    schema = json.loads((HANDLER / "deletion_request.schema.json").read_text())
    for key in (*schema["properties"], *schema["properties"]["selection"]["properties"]):
        assert re.search(rf"^\| `{key}` \|", README, re.MULTILINE), key


CODES = (
    *("guards.py", "deletion.py", "models/images.py", "registry/batch_delete.py", "registry/relatives.py"),
    *("selection/plan.py", "selection/engine.py", "workflows/selection.py"),
)
"""Modules that give codes to failures, and reasons to what is kept."""


@pytest.mark.parametrize("module", CODES)
def test_every_code_and_reason_is_explained(module: str) -> None:
    """Whatever a guard, a selection or a chunk may say of an image."""
    text = (HANDLER / module).read_text()
    names = " ".join(re.findall(r"import (.*)", text))
    codes = {word for word in re.findall(r'"((?:[A-Z][a-z]+){2,})"', text) if word not in names}
    assert codes
    codes -= {"LeftUntagged", "LoggerAdapter"}  # these are counted, under a key of their own; and a type
    assert {code for code in codes if f"`{code}`" not in README} == set()


def test_every_key_of_a_report_is_explained() -> None:
    """Of the answer and of the notice."""
    text = "".join((HANDLER / name).read_text() for name in ("models/report.py", "notifications/notices.py"))
    keys = set(re.findall(r'(?:"|\[")([a-z]+(?:[A-Z][a-z]+)+)"\]?(?::| =)', text)) | {"unconfirmed"}
    assert {"keptByReason", "continuedAs", "dryRun", "retryRequest", "failuresOmitted", "unconfirmedReason"} <= keys
    assert {key for key in keys if f"`{key}`" not in README and f'"{key}"' not in README} == set()
