"""The README says what the template says, permissions verbatim; and each word that a request or a report may hold."""

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


def test_every_parameter_is_told(template: Any) -> None:
    """With its description, word for word."""
    for name, parameter in template["Parameters"].items():
        assert re.search(rf"\| `{name}` \| .* \| {re.escape(parameter['Description'])} \|", README), name


def test_every_output_is_told(template: Any) -> None:
    """By its name."""
    for name in template["Outputs"]:
        assert f"`{name}`" in README, name


def test_every_key_of_a_request_is_told() -> None:
    """In a row of its table, those of a selection too."""
    schema = json.loads((HANDLER / "deletion_request.schema.json").read_text())
    for key in (*schema["properties"], *schema["properties"]["selection"]["properties"]):
        assert re.search(rf"^\| `{key}` \|", README, re.MULTILINE), key


@pytest.mark.parametrize(
    "module", ["guards.py", "registry/deletions.py", "models.py", "selection/choice.py", "selection/taking.py"]
)
def test_every_code_and_reason_is_told(module: str) -> None:
    """What a guard, a selection or an answer of ECR that is none may say of an image."""
    text = (HANDLER / module).read_text()
    types = " ".join(re.findall(r"import (.*)", text))
    codes = {word for word in re.findall(r'"((?:[A-Z][a-z]+)+)"', text) if word not in types}
    assert codes
    codes.discard("LeftUntagged")  # these are counted, under a key of their own
    for code in codes:
        assert f"`{code}`" in README, code


def test_every_key_of_a_report_is_told() -> None:
    """Of the answer and of the notice."""
    models, notices = (HANDLER / "models.py").read_text(), (HANDLER / "notifications.py").read_text()
    keys = {
        key for text in (models, notices) for key in re.findall(r'(?:"|\[")([a-z]+(?:[A-Z][a-z]+)+)"\]?(?::| =)', text)
    }
    assert {"keptByReason", "continuedAs", "dryRun", "retryRequest", "failuresOmitted"} <= keys
    for key in keys:
        assert f"`{key}`" in README or f'"{key}"' in README, key
