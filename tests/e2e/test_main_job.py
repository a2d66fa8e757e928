"""The main job, done by what is deployed: the built package in Lambda's runtime, against the embedded AWS."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_samples
from local.rie import FunctionError, RuntimeEmulator
from tests.fakes.lambda_ import sqs_record
from tests.harness.server_faults import FaultInjector, hold

EVENTS = Path(__file__).parent.parent.parent / "events"


def event(name: str) -> Any:
    """A payload that `sam local invoke -e` takes too."""
    return json.loads((EVENTS / name).read_text())


def tags_left(aws: EmbeddedAWS) -> set[tuple[str, str]]:
    """Repository and tag of each image that is still there."""
    repositories = aws.client("ecr").describe_repositories()["repositories"]
    names = [repository["repositoryName"] for repository in repositories]
    return {(name, tag) for name in names for _, tags in aws.images(name) for tag in tags}


def test_a_request_by_hand(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """`ubuntu:precise` is deleted, the other tags stay, and the answer is what the CLI prints, plus whose it is."""
    push_samples(aws.client("ecr"))
    before = tags_left(aws)

    answer = function.invoke(event("by-hand.json"), request_id="by-hand-1")

    [deleted] = answer.pop("imageIds")
    assert deleted["imageTag"] == "precise"
    assert answer.pop("registryId").isdecimal()
    assert answer == {"failures": [], "requestId": "by-hand-1", "repositoryName": "ubuntu"}
    assert tags_left(aws) == before - {("ubuntu", "precise")}
    assert aws.notices() == []


def test_a_batch_from_the_queue(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """The good record and the EventBridge-wrapped one are done; the bad one between them stays on the queue."""
    push_samples(aws.client("ecr"))
    before = tags_left(aws)
    batch = event("sqs-batch.json")
    _, bad, _ = batch["Records"]

    assert function.invoke(batch) == {"batchItemFailures": [{"itemIdentifier": bad["messageId"]}]}

    assert before - tags_left(aws) == {("team/app", "pr-1"), ("team/app", "pr-2"), ("team/app", "pr-3")}
    # pr-33, which the wrapped one also names, is not there.
    assert sorted(notice.attributes["type"] for notice in aws.notices()) == ["failure", "rejection"]


def test_a_rejected_request_by_hand(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """A request that can never work is an error for who sent it, and one notice, however often Lambda tries it."""
    push_samples(aws.client("ecr"))
    before = tags_left(aws)
    for _ in range(3):
        with pytest.raises(FunctionError, match="imageIds") as rejection:
            function.invoke({"repositoryName": "ubuntu", "imageIds": []}, request_id="by-hand-2")
        assert rejection.value.error_type == "RejectedRequestError"
    assert tags_left(aws) == before
    assert [notice.attributes["type"] for notice in aws.notices()] == ["rejection"]


def test_an_invocation_that_times_out_is_resumed(aws: EmbeddedAWS) -> None:
    """A chunk that outlives the function is asked for again on redelivery; the chunks that were done are not."""
    tags = [f"build-{number:03}" for number in range(201)]
    aws.client("ecr").create_repository(repositoryName="team/app")
    for tag in tags:
        aws.age("team/app", push_image(aws.client("ecr"), "team/app", tags=[tag]), days=1)
    body = json.dumps({"repositoryName": "team/app", "imageIds": [f"imageTag={tag}" for tag in tags]})
    released = threading.Event()

    with (
        FaultInjector.before(aws) as faults,
        RuntimeEmulator(aws.environment, timeout=8) as function,
    ):
        held = faults.add("BatchDeleteImage", hold(released), about=tags[-1])
        function.invoke({"Records": []})  # the emulator counts the start of the process against the time-out
        with pytest.raises(FunctionError) as death:
            function.invoke({"Records": [sqs_record("m-1", body)]})
        assert death.value.error_type == "Sandbox.Timedout"
        assert held.strikes == 1
        assert tags_left(aws) == {("team/app", tags[-1])}

        held.lift()
        released.set()
        assert function.invoke({"Records": [sqs_record("m-1", body, receives=2)]}) == {"batchItemFailures": []}
        asked = [call.names for call in faults.of("BatchDeleteImage")]
    assert sorted(map(len, asked)) == [1, 1, 100, 100]
    assert asked[-1] == {tags[-1]}
    assert tags_left(aws) == set()
    assert aws.notices() == []
