"""Fault injection at the server's side does what its names say, to the calls that a rule names."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from local.aws import EmbeddedAWS
from local.images import push_image
from local.runtime import FakeLambdaContext
from tests.harness.instance import Instance, InstanceDiedError
from tests.harness.server_faults import (
    FaultInjector,
    delay,
    drop_after,
    drop_answer_about,
    drop_before,
    drop_while,
    edit_answer,
    empty,
    ignore,
    nothing,
    server_error,
    throttle,
    truncate,
)

type Json = dict[str, Any]
type Delete = Callable[..., Json]

REPOSITORY = "team/app"


@pytest.fixture
def faults(aws: EmbeddedAWS) -> Iterator[FaultInjector]:
    """Stands before the embedded AWS, in which a repository has two images."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    for tag in ("a", "b"):
        push_image(aws.client("ecr"), REPOSITORY, tags=[tag])
    with FaultInjector.before(aws) as injector:
        yield injector


def client(aws: EmbeddedAWS, service: str) -> Any:
    """A client as the function has one, which calls once."""
    connect: Any = boto3.client
    return connect(service, endpoint_url=aws.endpoint_url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def delete(aws: EmbeddedAWS) -> Delete:
    """Deletes images by tag; returns the answer without its metadata."""
    ecr = client(aws, "ecr")

    def call(*tags: str) -> Json:
        image_ids = [{"imageTag": tag} for tag in tags]
        answer: Json = ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=image_ids)
        del answer["ResponseMetadata"]
        return answer

    return call


def tags(aws: EmbeddedAWS) -> set[str]:
    """The tags that are left."""
    return {tag for _, tags in aws.images(REPOSITORY) for tag in tags}


def test_errors_and_broken_connections(aws: EmbeddedAWS, faults: FaultInjector, delete: Delete) -> None:
    """Each rule counts the calls that match it; the first that applies decides."""
    faults.add("BatchDeleteImage", throttle, nth=1)
    faults.add("BatchDeleteImage", server_error, nth=1)
    faults.add("BatchDeleteImage", drop_before, nth=1)
    lost = faults.add("BatchDeleteImage", drop_after, about="b")
    for code in ("ThrottlingException", "ServerException"):
        with pytest.raises(ClientError, match=code):
            delete("a")
    with pytest.raises(ConnectionClosedError):
        delete("a")
    assert tags(aws) == {"a", "b"}
    with pytest.raises(ConnectionClosedError):
        delete("b")
    assert tags(aws) == {"a"}
    lost.lift()
    assert len(delete("a", "b")["imageIds"]) == 1
    assert [call.names for call in faults.of("BatchDeleteImage")] == [{"a"}, {"a"}, {"a"}, {"b"}, {"a", "b"}]
    assert faults.count("DescribeImages") == 0


def test_half_answers(aws: EmbeddedAWS, faults: FaultInjector, delete: Delete) -> None:
    """Cut short or empty, an answer has no members; one that is silent about an id has the others."""
    rules = [faults.add("BatchDeleteImage", action, nth=1) for action in (nothing, ignore({"imageTag": "a"}))]
    assert delete("a") == {}
    assert delete("a") == {"imageIds": [], "failures": []}
    assert tags(aws) == {"a", "b"}
    assert [rule.strikes for rule in rules] == [1, 1]
    faults.add("BatchDeleteImage", truncate, nth=1)
    assert delete("a") == {}
    assert tags(aws) == {"b"}
    faults.add("BatchDeleteImage", edit_answer(lambda answer: answer | {"failures": []}), nth=1)
    assert delete("a") == {"imageIds": [], "failures": []}
    faults.add("BatchDeleteImage", empty, about="b")
    assert delete("b") == {}
    assert tags(aws) == set()


def test_something_happens_while_an_answer_is_lost(aws: EmbeddedAWS, faults: FaultInjector, delete: Delete) -> None:
    """Before the work or after it; the answer that is lost may be the one about a certain image."""
    seen: list[set[str]] = []
    faults.add("BatchDeleteImage", drop_while(lambda: seen.append(tags(aws)), done=False), nth=1)
    faults.add("BatchDeleteImage", drop_while(lambda: seen.append(tags(aws)), done=True), nth=1)
    for _ in range(2):
        with pytest.raises(ConnectionClosedError):
            delete("a")
    assert seen == [{"a", "b"}, {"b"}]
    faults.add("BatchDeleteImage", drop_answer_about("b"))
    assert delete("a")["imageIds"] == []
    with pytest.raises(ConnectionClosedError):
        delete("b")
    assert tags(aws) == set()


def test_slow_calls_and_services_that_speak_in_forms(aws: EmbeddedAWS, faults: FaultInjector) -> None:
    """An answer comes later; SNS has no header that names its operation."""
    topic = aws.outputs["FailureTopicArn"]
    faults.add("Publish", server_error, nth=1)
    faults.add("Publish", delay(0.1), nth=1)
    sns = client(aws, "sns")
    with pytest.raises(ClientError, match="ServerException"):
        sns.publish(TopicArn=topic, Message="one")
    started = time.monotonic()
    sns.publish(TopicArn=topic, Message="two")
    assert time.monotonic() - started > 0.1
    assert [notice.text for notice in aws.notices()] == ["two"]
    assert faults.count("Publish") == 2


def test_an_instance_answers_or_dies(aws: EmbeddedAWS, faults: FaultInjector) -> None:
    """A process of its own that is killed in a call leaves what ECR has done, and no answer."""
    request = {"repositoryName": REPOSITORY, "imageIds": ["imageTag=a"], "requestId": "r"}
    answer = Instance(aws.environment)(request, FakeLambdaContext())
    assert [image_id["imageTag"] for image_id in answer["imageIds"]] == ["a"]
    instance = Instance(aws.environment)
    faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), about="b")
    with pytest.raises(InstanceDiedError):
        instance(request | {"imageIds": ["imageTag=b"], "requestId": "s"}, FakeLambdaContext())
    assert tags(aws) == set()
