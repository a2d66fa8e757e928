"""What the documents and the imitations say of checks is true of those that there are."""

import ast
import re
from pathlib import Path

import pytest

import acceptance
from acceptance import imitations
from acceptance.stack import lacking

FOLDER = Path(acceptance.__file__).parent
CHECKS = sorted([*FOLDER.glob("checks/test_*.py"), *FOLDER.glob("questions/test_*.py")])
DEFAULTS = {"ResultEvents": "none", "EventRepositoryPrefix": "team/", "GracePeriodDays": "30"}
PARAMETERS = {parameter for path in CHECKS for parameter in re.findall(r'needs\("(\w+)"', path.read_text())}


def test_what_an_imitation_does_not_serve_exists() -> None:
    """No reason is kept for a check that is gone."""
    names = {path.name for path in CHECKS}
    for served in imitations.NOT_SERVED.values():
        assert {name.partition("::")[0] for name in served} <= names


def test_a_reason_is_found_by_file_and_by_check() -> None:
    """And on AWS there is none."""
    assert imitations.not_served("embedded", "test_metrics.py::test_images_deleted_are_counted")
    assert not imitations.not_served("", "test_metrics.py::test_images_deleted_are_counted")
    assert not imitations.not_served("embedded", "test_metrics.python::test")


@pytest.mark.parametrize("parameter", sorted(PARAMETERS))
def test_each_parameter_that_a_check_needs_is_named_where_it_lacks(parameter: str) -> None:
    """On a stack of defaults, with the value to deploy."""
    parameters = DEFAULTS if parameter == "GracePeriodDays" else DEFAULTS | {"GracePeriodDays": "0"}
    assert lacking(parameter, parameters, "acceptance/").startswith(f"{parameter}=")


def test_each_check_says_what_it_checks() -> None:
    """A docstring, which the guide's reader sees; that of a question is the question."""
    for path in CHECKS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                first = str(ast.get_docstring(node)).splitlines()[0]
                assert first.endswith("?" if path.parent.name == "questions" else "."), (path.name, node.name)


def test_modules_are_small() -> None:
    """Each can be read at once."""
    for path in FOLDER.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 250, path.name
