"""The main job, done by what is deployed: the built package in Lambda's runtime, against the embedded AWS."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_samples
from local.rie import FunctionError, RuntimeEmulator
from tests.e2e.slow_ecr import SlowECR

PUSHED_BEFORE_SECONDS = 2.5  # ECR tells whole seconds: a tag pushed just before a request may have been pushed after it
EVENTS = Path(__file__).parent.parent.parent / "events"


def event(name: str) -> Any:
    """A payload that `sam local invoke -e` takes too."""
    return json.loads((EVENTS / name).read_text())


def sqs_batch(message_id: str, request: dict[str, Any]) -> dict[str, Any]:
    """One message as Lambda delivers it, again and again under the same id."""
    record = {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": json.dumps(request),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:requests",
        "awsRegion": "us-east-1",
    }
    return {"Records": [record]}


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
    """The good record and the EventBridge-wrapped one are carried out; the bad one between them stays on the queue."""
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
    """A chunk that outlives the function is asked again on redelivery; the chunks that were done are not."""
    tags = [f"build-{number:03}" for number in range(201)]
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="team/app")
    for tag in tags:
        push_image(ecr, "team/app", tags=[tag])
    time.sleep(PUSHED_BEFORE_SECONDS)
    delivery = sqs_batch("m-1", {"repositoryName": "team/app", "imageIds": [f"imageTag={tag}" for tag in tags]})

    with (
        SlowECR(aws.endpoint_url, held={tags[-1]}) as slow,
        RuntimeEmulator(aws.environment | {"AWS_ENDPOINT_URL": slow.endpoint_url}, timeout=8) as function,
    ):
        function.invoke({"Records": []})  # the emulator counts the start of the process against the time-out
        with pytest.raises(FunctionError) as death:
            function.invoke(delivery)
        assert death.value.error_type == "Sandbox.Timedout"
        assert slow.holding.is_set()
        assert slow.asked == [tags[:100], tags[100:200]]
        assert tags_left(aws) == {("team/app", tag) for tag in tags[200:]}

        slow.release()
        assert function.invoke(delivery) == {"batchItemFailures": []}
        assert slow.asked == [tags[:100], tags[100:200], tags[200:]]
    assert tags_left(aws) == set()
    assert aws.notices() == []
