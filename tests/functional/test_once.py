"""Deleted once: a tag that was pushed again between a delivery and its duplicate survives, however the request came."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from moto.ecr.models import ecr_backends

from local.aws import EmbeddedAWS
from local.images import push_image
from local.poller import FakeLambdaContext, Handler

type Json = dict[str, Any]

REQUEST: Json = {"repositoryName": "team/app", "imageIds": [{"imageTag": "latest"}]}
EVENT: Json = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "ECR Image Deletion Request",
    "source": "com.example.ci",
    "account": "123456789012",
    "time": "2026-11-23T04:00:00Z",
    "region": "us-east-1",
    "resources": [],
    "detail": REQUEST,
}
RUN = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/nightly/2026-11-23T04:00:00Z"


def batch(body: Json, message_id: str = "059f36b4-87a3-44ab-83d2-661975830a7d") -> Json:
    """An SQS batch of one message; each delivery has another receipt handle."""
    return {
        "Records": [
            {
                "messageId": message_id,
                "receiptHandle": f"handle-{id(body)}",
                "body": json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:requests",
                "awsRegion": "us-east-1",
            }
        ]
    }


WAYS: dict[str, Callable[[int], tuple[Json, str]]] = {
    "a message": lambda _: (batch(REQUEST), "any"),
    "an event on the queue, delivered twice by the rule": lambda n: (batch(EVENT, f"message-{n}"), "any"),
    "a schedule, whose run is sent twice": lambda n: (batch(REQUEST | {"requestId": RUN}, f"message-{n}"), "any"),
    "an event sent straight to the function": lambda n: (EVENT, f"invocation-{n}"),
    "an invocation by hand, tried again by Lambda": lambda _: (REQUEST, "the same invocation"),
}
"""What arrives at the n-th delivery of the same request, and the Lambda request id it comes with."""


@pytest.fixture
def deliver(function: Handler) -> Callable[[Json, str], Any]:
    """Invokes the function with an event under a Lambda request id of choice."""

    def deliver(event: Json, request_id: str) -> Any:
        context = FakeLambdaContext()
        if request_id != "any":
            context.aws_request_id = request_id
        return function(event, context)

    return deliver


@pytest.fixture
def latest(aws: EmbeddedAWS) -> Callable[[], str]:
    """Pushes a new image under the tag `latest` and returns its digest."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    return lambda: push_image(aws.client("ecr"), "team/app", tags=["latest"])


@pytest.mark.parametrize("way", WAYS)
def test_a_tag_pushed_again_survives_a_duplicate(
    aws: EmbeddedAWS, deliver: Callable[[Json, str], Any], latest: Callable[[], str], way: str
) -> None:
    """The second delivery of the same request replays the first one's outcome, and does not see the new image."""
    latest()
    first = deliver(*WAYS[way](1))
    assert aws.images("team/app") == set()
    pushed_again = latest()

    second = deliver(*WAYS[way](2))

    assert first == second
    assert aws.images("team/app") == {(pushed_again, ("latest",))}
    assert aws.notices() == []


def test_the_same_words_an_hour_later_are_a_new_wish(
    aws: EmbeddedAWS, deliver: Callable[[Json, str], Any], latest: Callable[[], str]
) -> None:
    """The key is never a hash of the content: another message with the same body deletes again."""
    latest()
    deliver(batch(REQUEST, "morning"), "any")
    latest()

    deliver(batch(REQUEST, "evening"), "any")

    assert aws.images("team/app") == set()


@pytest.mark.parametrize("way", WAYS)
def test_a_tag_pushed_again_survives_an_answer_that_was_lost(
    aws: EmbeddedAWS,
    function: Handler,
    deliver: Callable[[Json, str], Any],
    latest: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """ECR deletes and its answer is lost: the redelivery sees that the tag was pushed since, and leaves it alone."""
    latest()
    backdate()
    work: Any = sys.modules[function.__module__].work
    monkeypatch.setattr(work, "sleep", lambda _: None)
    http = work.ecr._endpoint.http_session
    send = http.send

    def send_and_lose(http_request: Any) -> None:
        send(http_request)
        raise ReadTimeoutError(endpoint_url=http_request.url)

    monkeypatch.setattr(http, "send", send_and_lose)
    event, request_id = WAYS[way](1)
    if "Records" in event:
        assert deliver(event, request_id)["batchItemFailures"]
    else:
        with pytest.raises(Exception, match=r"ECR could not be reached|answer"):
            deliver(event, request_id)
    assert aws.images("team/app") == set()
    monkeypatch.setattr(http, "send", send)
    pushed_again = latest()

    deliver(*WAYS[way](2))

    assert aws.images("team/app") == {(pushed_again, ("latest",))}
    [notice] = aws.notices()
    [failure] = notice.data["failures"]
    assert failure["failureCode"] == "ImageTagPushedAgain"


def backdate() -> None:
    """Makes the images that are there older than the request."""
    for image in ecr_backends["123456789012"]["us-east-1"].repositories["team/app"].images:
        image.image_pushed_at -= 3600
