"""Fault injection at the server's side does what its names say, to the calls that a rule names."""

import threading
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from local.runtime import FakeLambdaContext
from tests.harness.instance import InstanceDiedError
from tests.harness.outside import REPOSITORY, Outside, request
from tests.harness.server_faults import (
    Action,
    delay,
    deny,
    do_after,
    drop_after,
    drop_answer_about,
    drop_before,
    drop_while,
    edit_answer,
    empty,
    hold,
    ignore,
    nothing,
    server_error,
    throttle,
    truncate,
)

type Json = dict[str, Any]
type Delete = Callable[..., Json]


def client(stack: Outside, service: str) -> Any:
    """A client as the function has one, which calls once."""
    connect: Any = boto3.client
    return connect(service, endpoint_url=stack.aws.endpoint_url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def delete(stack: Outside) -> Delete:
    """Deletes images by tag, of which there are two; returns the answer without its metadata."""
    stack.push_many(["a", "b"])
    ecr = client(stack, "ecr")

    def call(*tags: str) -> Json:
        answer: Json = ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag} for tag in tags])
        del answer["ResponseMetadata"]
        return answer

    return call


def test_errors_and_broken_connections(stack: Outside, delete: Delete) -> None:
    """Each rule counts the calls that match it; the first that applies decides."""
    for action in (throttle, server_error, deny, drop_before):
        stack.faults.add("BatchDeleteImage", action, nth=1)
    lost = stack.faults.add("BatchDeleteImage", drop_after, about="b")
    for code in ("ThrottlingException", "ServerException", "AccessDeniedException"):
        with pytest.raises(ClientError, match=code):
            delete("a")
    with pytest.raises(ConnectionClosedError):
        delete("a")
    assert stack.tags() == {"a", "b"}
    with pytest.raises(ConnectionClosedError):
        delete("b")
    assert stack.tags() == {"a"}
    lost.lift()
    assert len(delete("a", "b")["imageIds"]) == 1
    assert [call.names for call in stack.faults.of("BatchDeleteImage")] == [*[{"a"}] * 4, {"b"}, {"a", "b"}]
    assert stack.faults.count("DescribeImages") == 0


@pytest.mark.parametrize(
    ("action", "answer", "left"),
    [
        (nothing, {}, {"a", "b"}),
        (ignore({"imageTag": "a"}), {"imageIds": [], "failures": []}, {"a", "b"}),
        (truncate, {}, {"b"}),
        (empty, {}, {"b"}),
        (edit_answer(lambda _: {"failures": []}), {"failures": []}, {"b"}),
    ],
)
def test_incomplete_answers(stack: Outside, delete: Delete, action: Action, answer: Json, left: set[str]) -> None:
    """Cut short or empty, an answer has no members; one that is silent about an id has the others."""
    rule = stack.faults.add("BatchDeleteImage", action)
    assert delete("a") == answer
    assert stack.tags() == left
    assert rule.strikes == 1


def test_something_happens_during_a_call(stack: Outside, delete: Delete) -> None:
    """Before the work or after it; the answer that is lost may be the one about a certain image."""
    seen: list[set[str]] = []

    def observe() -> None:
        seen.append(stack.tags())

    stack.faults.add("BatchDeleteImage", drop_while(observe, done=False), nth=1)
    stack.faults.add("BatchDeleteImage", drop_while(observe, done=True), nth=1)
    for _ in range(2):
        with pytest.raises(ConnectionClosedError):
            delete("a")
    assert seen == [{"a", "b"}, {"b"}]
    stack.faults.add("BatchDeleteImage", drop_answer_about("b"))
    assert delete("a")["imageIds"] == []
    with pytest.raises(ConnectionClosedError):
        delete("b")
    stack.faults.lift()
    stack.faults.add("BatchDeleteImage", do_after(observe))
    assert len(delete("b")["failures"]) == 1
    assert seen[2:] == [set()]


def test_slow_calls_and_services_that_speak_in_forms(stack: Outside) -> None:
    """An answer comes later, or not before a test lets it; SNS has no header that names its operation."""
    topic, sns, released = stack.aws.outputs["NotificationTopicArn"], client(stack, "sns"), threading.Event()
    stack.faults.add("Publish", server_error, nth=1)
    stack.faults.add("Publish", delay(0.1), nth=1)
    stack.faults.add("Publish", hold(released), nth=1)
    with pytest.raises(ClientError, match="ServerException"):
        sns.publish(TopicArn=topic, Message="one")
    started = time.monotonic()
    sns.publish(TopicArn=topic, Message="two")
    assert time.monotonic() - started > 0.1
    threading.Timer(0.1, released.set).start()
    with pytest.raises(ConnectionClosedError):
        sns.publish(TopicArn=topic, Message="three")
    assert [notice.text for notice in stack.notices()] == ["two"]
    assert stack.faults.count("Publish") == 3


def test_an_instance_answers_or_dies(stack: Outside) -> None:
    """A process of its own that is killed in a call leaves what ECR has done, and no answer."""
    stack.push_many(["a", "b"])
    answer = stack.start_process()(request("imageTag=a"), FakeLambdaContext())
    assert [image_id["imageTag"] for image_id in answer["imageIds"]] == ["a"]
    instance = stack.start_process()
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True))
    with pytest.raises(InstanceDiedError):
        instance(request("imageTag=b"), FakeLambdaContext())
    assert stack.tags() == set()
