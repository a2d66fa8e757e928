"""Parity with the AWS CLI: the same ids, in the same words, have the same outcome."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from local.aws import ACCOUNT_ID, EmbeddedAWS
from local.images import SAMPLES, push_image, push_index
from local.poller import Poller
from local.rie import RuntimeEmulator

type Json = dict[str, Any]
type Answer = dict[str, list[Json]]

CLI = Path(__file__).parent.parent.parent / ".venv-sam/bin/aws"
MISSING = "sha256:" + "0" * 64

EXAMPLES: dict[str, tuple[str, list[str]]] = {
    "the page's first example": ("ubuntu", ["imageTag=precise"]),
    "the page's second example": ("my-repository", ["imageTag=prod", "imageTag=team1"]),
    "a tag that is not there": ("ubuntu", ["imageTag=warty", "imageTag=precise"]),
    "a digest that is not there": ("ubuntu", [f"imageDigest={MISSING}"]),
    "an image of several tags, by digest": ("ubuntu", ["imageDigest=DIGEST_OF_LATEST"]),
    "digest and tag that belong together": ("ubuntu", ["imageDigest=DIGEST_OF_LATEST,imageTag=latest"]),
    "digest and tag that do not": ("ubuntu", ["imageDigest=DIGEST_OF_LATEST,imageTag=precise"]),
    "quotes, and a blank after the comma": ("ubuntu", ['imageTag="latest", imageDigest=DIGEST_OF_LATEST']),
    "a digest that is none": ("ubuntu", ["imageDigest=sha256:precise", "imageTag=trusty"]),
    "a child of an index that stays": ("with-index", ["imageTag=child"]),
}
"""A repository and ids as they stand behind --image-ids."""
REPOSITORIES = SAMPLES | {"with-index": [["child"]]}
"""The tags of the images in each."""


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAWS]:
    """One AWS for all examples: each begins by putting the images back."""
    with EmbeddedAWS() as aws:
        yield aws


@pytest.fixture(scope="module")
def function(aws: EmbeddedAWS) -> Iterator[RuntimeEmulator]:
    """One function for all examples. To it, the embedded account is a foreign one."""
    with RuntimeEmulator(aws.environment | {"FOREIGN_REGISTRY_IDS": ACCOUNT_ID}, timeout=60) as function:
        yield function


@pytest.fixture
def fresh(aws: EmbeddedAWS) -> Callable[[str], None]:
    """Puts a repository into the same state again: contents, digests and tags."""
    ecr = aws.client("ecr")

    def fresh(repository: str) -> None:
        with suppress(ecr.exceptions.RepositoryNotFoundException):
            ecr.delete_repository(repositoryName=repository, force=True)
        ecr.create_repository(repositoryName=repository)
        pushed = [push_image(ecr, repository, tags=tags, content=" ".join(tags)) for tags in REPOSITORIES[repository]]
        if repository == "with-index":
            push_index(ecr, repository, pushed, tags=["index"])

    return fresh


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, aws: EmbeddedAWS, fresh: Callable[[str], None]) -> tuple[str, list[str]]:
    """One of the examples, with the digest that it speaks of."""
    repository, image_ids = EXAMPLES[request.param]
    fresh(repository)
    latest = next((digest for digest, tags in aws.images(repository) if "latest" in tags), "")
    return repository, [image_id.replace("DIGEST_OF_LATEST", latest) for image_id in image_ids]


def comparable(failures: list[Json]) -> list[Json]:
    """Without the reason of what is found before ECR is asked: the code is ECR's, the words say what to do."""
    ours = ("ImageTagDoesNotMatchDigest", "InvalidImageDigest")
    return [failure | {"failureReason": ""} if failure["failureCode"] in ours else failure for failure in failures]


def test_the_answer_is_that_of_the_cli(
    aws: EmbeddedAWS, fresh: Callable[[str], None], function: RuntimeEmulator, example: tuple[str, list[str]]
) -> None:
    """By hand, from EventBridge and on the queue; in shorthand and in JSON."""
    repository, image_ids = example
    printed = cli(aws, repository, image_ids)
    left = aws.images(repository)
    shorthand: Json = {"repositoryName": repository, "imageIds": image_ids}
    objects = {"repositoryName": repository, "imageIds": [parsed(image_id) for image_id in image_ids]}
    event = {"version": "0", "detail-type": "ECR Image Deletion Request", "source": "com.example.ci"}

    for number, payload in enumerate([shorthand, objects]):
        for arrival in (payload, event | {"id": f"{repository} {image_ids} {number}", "detail": payload}):
            fresh(repository)
            answer = function.invoke(arrival)
            assert answer["imageIds"] == printed["imageIds"]
            assert comparable(answer["failures"]) == comparable(printed["failures"])
            assert aws.images(repository) == left
        for body in (payload, event | {"id": f"{repository} {image_ids} queued {number}", "detail": payload}):
            fresh(repository)
            before = len(aws.notices())
            aws.send(json.dumps(body))
            Poller(aws, lambda event, _: function.invoke(event)).drain()
            reported = [failure for notice in aws.notices()[before:] for failure in notice.data["failures"]]
            assert comparable(reported) == comparable(printed["failures"])
            assert aws.images(repository) == left


def test_registry_and_input_json_are_those_of_the_cli(
    aws: EmbeddedAWS, fresh: Callable[[str], None], function: RuntimeEmulator
) -> None:
    """The input of --cli-input-json is a request as it stands, with the registry named."""
    request = {"registryId": ACCOUNT_ID, "repositoryName": "ubuntu", "imageIds": [{"imageTag": "precise"}]}
    fresh("ubuntu")
    printed = run(aws, "--cli-input-json", json.dumps(request))
    fresh("ubuntu")

    answer = function.invoke(request, request_id="input-json")

    assert answer == printed | {"requestId": "input-json", "registryId": ACCOUNT_ID, "repositoryName": "ubuntu"}


def cli(aws: EmbeddedAWS, repository: str, image_ids: list[str]) -> Answer:
    """The output of `aws ecr batch-delete-image`."""
    return run(aws, "--repository-name", repository, "--image-ids", *image_ids)


def run(aws: EmbeddedAWS, *arguments: str) -> Answer:
    """The command with these arguments, pointed at the embedded AWS."""
    command = [str(CLI), "--endpoint-url", aws.endpoint_url, "ecr", "batch-delete-image", *arguments]
    printed = subprocess.run(command, env=os.environ, capture_output=True, check=True, text=True, timeout=60).stdout
    answer: Answer = json.loads(printed)
    return answer


def parsed(image_id: str) -> dict[str, str]:
    """The JSON of a shorthand, by hand."""
    members = (member.strip().split("=", 1) for member in image_id.replace('"', "").split(","))
    return dict(members)
