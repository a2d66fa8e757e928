"""The CloudFormation templates of examples/ have no findings of cfn-lint."""

import subprocess
import sys
from pathlib import Path

from tests.examples import EXAMPLES, ROOT


def test_cfn_lint_has_no_findings() -> None:
    """All of them at once: the linter takes longer to start than to read them."""
    templates = [path for path in sorted(EXAMPLES.glob("*/*.yaml")) if "AWSTemplateFormatVersion" in path.read_text()]
    assert {path.parent.name for path in templates} >= {"schedules", "hub-and-spokes", "deployer", "github-actions"}
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "parseable", *map(str, templates)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
