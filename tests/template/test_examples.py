"""The CloudFormation templates of examples/, and that of the acceptance role, have no findings of cfn-lint."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import EXAMPLES, ROOT


@pytest.mark.lint
def test_cfn_lint_has_no_findings(tmp_path: Path) -> None:
    """But in a state machine that is wrong. All of them at once: it takes longer to start than to read them."""
    templates = [path for path in sorted(EXAMPLES.glob("*/*.yaml")) if "AWSTemplateFormatVersion" in path.read_text()]
    assert {path.parent.name for path in templates} >= {"schedules", "hub-and-spokes", "deployer", "github-actions"}
    wrong = tmp_path / "wrong.yaml"
    state_machine = (EXAMPLES / "distributed-map" / "template.yaml").read_text()
    wrong.write_text(state_machine.replace("Type: Task\n", "Type: Tusk\n"))
    files = [*templates, ROOT / "acceptance" / "role.yaml", wrong]
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "parseable", *map(str, files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {(line.split(":")[0], line.split(":")[5]) for line in run.stdout.splitlines()}
    assert found == {(str(wrong), "E3601")}, run.stdout
