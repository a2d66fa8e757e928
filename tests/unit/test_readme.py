"""The README says what the template says: permissions verbatim, and every parameter and output."""

import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


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
