"""The role of acceptance/role.yaml: without findings, and with nothing that no code calls."""

import subprocess
import sys
from pathlib import Path

from botocore import xform_name

from tests.acceptance_role import IMPLIED, NOT_CALLED, ROLE, allowed

SOURCE = "\n".join(path.read_text() for path in ROLE.parent.rglob("*.py"))


def test_cfn_lint_has_no_findings() -> None:
    """It knows the name of each action, too."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "parseable", str(ROLE)]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_each_action_is_called_or_implied() -> None:
    """By a method of that name; what a run here does not call stands in the code nevertheless."""
    assert allowed() >= IMPLIED | NOT_CALLED
    for action in allowed() - IMPLIED:
        method = xform_name(action.partition(":")[2]).replace("invoke_function", "invoke")
        assert f".{method}(" in SOURCE or f'"{method}"' in SOURCE or f".{method}," in SOURCE, action


def test_images_and_repositories_are_deleted_only_where_the_tag_is() -> None:
    """IAM holds that too, whatever the code does."""
    text = ROLE.read_text()
    statement = text.partition("Sid: DeleteInOwnRepositories")[2].partition("- Sid:")[0]
    assert "ecr:BatchDeleteImage, ecr:DeleteRepository" in statement
    assert "aws:ResourceTag/ecr-image-deletion-acceptance" in statement
    for action in ("ecr:BatchDeleteImage", "ecr:DeleteRepository"):
        assert text.count(action) == 1
