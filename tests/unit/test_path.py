"""The path of a request, from Lambda's entry to ECR: short, and as CONTRIBUTING.md draws it."""

import json
import re
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from tests.fakes.aws import FakeAWS
from tests.fakes.lambda_ import sqs_record
from tests.harness.function import function

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
MOST_FUNCTIONS = 8
"""Between the entry and ECR."""


@dataclass
class TracingAWS(FakeAWS):
    """Notes which of our functions led to a deletion."""

    path: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        if operation == "BatchDeleteImage":
            self.path = [
                (frame.filename.partition("/handler/")[2], frame.name)
                for frame in traceback.extract_stack()
                if "/handler/" in frame.filename
            ]
        return super().answer(service, operation, body, url)


@pytest.fixture(scope="module")
def path() -> list[tuple[str, str]]:
    """Returns the modules and functions that a message for one image passes."""
    aws = TracingAWS()
    aws.ecr.push("team/app", "pr-1")
    with function(aws) as invoke:
        invoke(
            {"Records": [sqs_record("m-1", json.dumps({"repositoryName": "team/app", "imageIds": ["imageTag=pr-1"]}))]}
        )
    return aws.path


def test_at_most_eight_functions_lie_between_the_entry_and_ecr(path: list[tuple[str, str]]) -> None:
    """And no module is returned to more than once."""
    assert len(path) - 1 <= MOST_FUNCTIONS
    modules = [module for n, (module, _) in enumerate(path) if n == 0 or path[n - 1][0] != module]
    assert max(modules.count(module) for module in modules) <= 2


def test_the_path_is_the_one_that_contributing_draws(path: list[tuple[str, str]]) -> None:
    """Its functions stand there in their order."""
    drawn = re.findall(r"^\d+\. `([\w/]+\.py)` `(\w+)", CONTRIBUTING.read_text(), re.MULTILINE)
    assert drawn == path
