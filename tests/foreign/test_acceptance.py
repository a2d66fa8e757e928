"""`make acceptance` against ministack: what it serves passes, and what it does not is named with the reason."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acceptance.imitations import NOT_SERVED
from local.aws import REGION
from tests.foreign.conftest import ROOT, Foreign, deployable
from tests.harness.acceptance_world import PARAMETERS


@pytest.fixture(scope="module")
def proven(stack: Foreign) -> Foreign:
    """A stack as the guide recommends it, beside the others."""
    other = replace(stack, stack_name="acceptance")
    other.deploy(deployable(), PARAMETERS | {"EventSources": "com.example.acceptance"})
    return other


def test_a_run(proven: Foreign, tmp_path: Path) -> None:
    """No check fails, and none is skipped but those that are named, or that nobody asked for."""
    arguments = ["--stack", proven.stack_name, "--imitation", "ministack", "--patience", "0.02"]
    command = [sys.executable, "-m", "acceptance", *arguments, "--facts", str(tmp_path / "FACTS.md")]
    environment = os.environ | {"AWS_ENDPOINT_URL": proven.endpoint_url, "AWS_DEFAULT_REGION": REGION}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line for line in run.stdout.splitlines() if "  skipped " in line]
    reasons = {*NOT_SERVED["ministack"].values(), "with SLOW=1", "with THROTTLE=1", "with REPLICATE_TO=<region>"}
    reasons.add("deploy the stack with KmsKeyArn=<a key of yours>")
    assert {reason for reason in reasons if any(line.endswith(f": {reason}") for line in lines)} == reasons
    assert len(lines) == sum(line.endswith(tuple(f": {reason}" for reason in reasons)) for line in lines)
    names = [one["repositoryName"] for one in proven.client("ecr").describe_repositories()["repositories"]]
    assert not [name for name in names if name.startswith("acceptance/")]
