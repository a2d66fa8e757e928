"""The main job: requests arrive, the images they name are deleted once, and people hear of what could not be."""

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from local.aws import EmbeddedAWS
from local.images import push_image, push_index
from local.poller import FakeLambdaContext, Handler, Poller

type Json = dict[str, Any]

REPOSITORY = "team/app"
MISSING = "sha256:" + "0" * 64


def send(aws: EmbeddedAWS, body: object) -> str:
    """Puts a request on the queue and returns its messageId."""
    text = body if isinstance(body, str) else json.dumps(body)
    return str(aws.client("sqs").send_message(QueueUrl=aws.outputs["RequestQueueUrl"], MessageBody=text)["MessageId"])


def create(aws: EmbeddedAWS, *tags: str) -> list[str]:
    """A new repository with an image for each tag; returns their digests."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    return [push_image(aws.client("ecr"), REPOSITORY, tags=[tag]) for tag in tags]


def tags_left(aws: EmbeddedAWS) -> set[str]:
    """The tags the repository still has."""
    return {tag for _, tags in aws.images(REPOSITORY) for tag in tags}


def request(*image_ids: Json | str, **more: str) -> Json:
    """A request about the repository."""
    return {"repositoryName": REPOSITORY, "imageIds": list(image_ids), **more}


def test_254_ids_make_three_calls_and_are_all_accounted_for(
    aws: EmbeddedAWS, function: Handler, ecr_calls: list[Json]
) -> None:
    """250 tags, one of them twice, an untagged image and two malformed ids: 251 images go, 2 failures are told."""
    tags = [f"pr-{n}" for n in range(250)]
    create(aws, *tags)
    untagged = push_image(aws.client("ecr"), REPOSITORY)
    image_ids: list[Json | str] = [f"imageTag={tag}" for tag in tags]
    image_ids += [{"imageTag": "pr-7"}, {"imageDigest": untagged}]
    image_ids[100:100] = [{}, {"imageDigest": "none"}]
    assert len(image_ids) == 254

    answer = function(request(*image_ids), FakeLambdaContext())

    assert sorted(len(call["imageIds"]) for call in ecr_calls) == [51, 100, 100]
    assert len(answer["imageIds"]) == 251
    assert [failure["failureCode"] for failure in answer["failures"]] == ["MissingDigestAndTag", "InvalidImageDigest"]
    assert aws.images(REPOSITORY) == set()
    [notice] = aws.notices()
    assert (notice.data["requested"], notice.data["deleted"], notice.data["failed"]) == (253, 251, 2)


def test_parents_go_before_their_children(aws: EmbeddedAWS, function: Handler) -> None:
    """A nested index, its index and their children in one request, children first, are all deleted."""
    ecr = aws.client("ecr")
    children = create(aws, "amd64", "arm64")
    index = push_index(ecr, REPOSITORY, children, tags=["1.0"])
    nested = push_index(ecr, REPOSITORY, [index], tags=["all"])

    answer = function(request(*({"imageDigest": d} for d in [*children, index, nested])), FakeLambdaContext())

    assert answer["failures"] == []
    assert aws.images(REPOSITORY) == set()
    assert aws.notices() == []


def test_a_child_of_an_index_that_stays_is_refused_and_told(aws: EmbeddedAWS, function: Handler) -> None:
    """Passes stop when one makes no progress; what is still blocked is a failure under ECR's code."""
    children = create(aws, "amd64", "arm64", "old")
    push_index(aws.client("ecr"), REPOSITORY, children[:2], tags=["1.0"])

    answer = function(request({"imageDigest": children[0]}, "imageTag=old"), FakeLambdaContext())

    assert [f["failureCode"] for f in answer["failures"]] == ["ImageReferencedByManifestList"]
    assert tags_left(aws) == {"amd64", "arm64", "1.0"}
    [notice] = aws.notices()
    assert notice.data["retryRequest"] == request({"imageDigest": children[0]})
    assert "ImageReferencedByManifestList" in notice.text


@pytest.mark.usefixtures("function")
def test_a_throttled_request_goes_on_where_it_stopped(aws: EmbeddedAWS, poller: Poller, ecr_calls: list[Json]) -> None:
    """Throttled after two chunks of seven, the redelivery finishes, asks no chunk twice and reports no failure."""
    tags = [f"pr-{n}" for n in range(650)]
    create(aws, *tags)
    send(aws, request(*(f"imageTag={tag}" for tag in tags)))
    ecr_events = sys.modules["handler.work"].ecr.meta.events
    passes = itertools.count(1)

    def throttle(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        return None if next(passes) <= 2 else AWSResponse(request.url, 400, HTTPHeaders(), Throttled())

    ecr_events.register("before-send.ecr.BatchDeleteImage", throttle)
    first = poller.poll()
    assert first
    assert first.failed
    assert len(tags_left(aws)) == 450
    ecr_events.unregister("before-send.ecr.BatchDeleteImage", throttle)

    poller.drain()

    assert aws.images(REPOSITORY) == set()
    assert len(ecr_calls) == 7
    assert aws.notices() == []
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


class Throttled:
    """ECR's answer to a call too many, as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'


def test_a_notice_can_be_sent_back(aws: EmbeddedAWS, poller: Poller) -> None:
    """The retryRequest of a notice is a request of its own: sent when the cause is mended, it finishes the work."""
    create(aws, "pr-1")
    send(aws, request("imageTag=pr-1", "imageTag=pr-2", requestId="close-prs", reason="closed"))
    poller.drain()
    [notice] = aws.notices()
    assert notice.data["failures"][0]["failureCode"] == "ImageNotFound"
    push_image(aws.client("ecr"), REPOSITORY, tags=["pr-2"])

    send(aws, notice.data["retryRequest"])
    poller.drain()

    assert aws.images(REPOSITORY) == set()
    assert len(aws.notices()) == 1


def test_a_repository_that_is_not_there_fails_each_image(aws: EmbeddedAWS, poller: Poller) -> None:
    """A refusal of the whole call is the failure of each id in it: data, told once, and off the queue."""
    send(aws, request("imageTag=a", {"imageDigest": MISSING}))

    poller.drain()

    [notice] = aws.notices()
    assert {f["failureCode"] for f in notice.data["failures"]} == {"RepositoryNotFoundException"}
    assert notice.data["failed"] == 2
    assert aws.messages("DeadLetterQueue") == []


def test_a_reused_request_id_is_refused(aws: EmbeddedAWS, poller: Poller) -> None:
    """The same requestId with other content, even only more ids, is rejected and told; the first stays as it was."""
    create(aws, "a", "b")
    send(aws, request("imageTag=a", requestId="once"))
    poller.drain()
    send(aws, request("imageTag=a", "imageTag=b", requestId="once"))

    poller.drain()

    assert tags_left(aws) == {"b"}
    [notice] = aws.notices()
    assert notice.data["type"] == "rejection"
    assert "'once'" in notice.data["error"]
    assert len(aws.messages("DeadLetterQueue")) == 1


def test_a_reused_request_id_is_refused_where_nothing_was_asked(aws: EmbeddedAWS, poller: Poller) -> None:
    """Also two requests that have only malformed ids, and so no chunk, cannot share a requestId."""
    send(aws, request({}, requestId="once"))
    poller.drain()
    send(aws, request({"imageTag": ""}, requestId="once"))

    poller.drain()

    assert [notice.data["type"] for notice in aws.notices()] == ["failure", "rejection"]


def test_one_request_among_many_does_not_hold_up_the_others(aws: EmbeddedAWS, poller: Poller) -> None:
    """Ten records of a batch run side by side, each with its own report and its own notice."""
    create(aws, *(f"pr-{n}" for n in range(10)))
    for n in range(10):
        send(aws, request(f"imageTag=pr-{n}", f"imageTag=gone-{n}", requestId=f"request-{n}"))

    poller.drain()

    assert aws.images(REPOSITORY) == set()
    told = {notice.data["requestId"]: notice.data["failures"][0]["imageId"] for notice in aws.notices()}
    assert told == {f"request-{n}": {"imageTag": f"gone-{n}"} for n in range(10)}
    assert len(aws.notices()) == 10


def test_a_batch_of_no_records_is_answered(function: Handler) -> None:
    """An empty SQS batch has no failures."""
    assert function({"Records": []}, FakeLambdaContext()) == {"batchItemFailures": []}


def test_a_rejected_request_by_hand_raises_and_is_told_once(aws: EmbeddedAWS, function: Handler) -> None:
    """Lambda's retries of the same invocation raise again, up to the failure destination, and tell nobody again."""
    context = FakeLambdaContext()
    for _ in range(3):
        with pytest.raises(Exception, match=r"request must contain exactly one of") as raised:
            function({"imageIds": ["imageTag=a"]}, context)
        assert type(raised.value).__name__ == "RejectedRequestError"

    assert len(aws.notices()) == 1


def test_a_dead_letter_of_an_invocation_keeps_its_key(aws: EmbeddedAWS, function: Handler, poller: Poller) -> None:
    """Sent back to the queue, the record of a failed invocation repeats none of the steps that it had finished."""
    create(aws, "latest")
    context = FakeLambdaContext()
    function(request("imageTag=latest"), context)
    push_image(aws.client("ecr"), REPOSITORY, tags=["latest"])

    send(
        aws,
        {
            "version": "1.0",
            "timestamp": "2026-11-23T04:00:00.000Z",
            "requestContext": {
                "requestId": context.aws_request_id,
                "functionArn": f"{context.invoked_function_arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": request("imageTag=latest"),
        },
    )
    poller.drain()

    assert tags_left(aws) == {"latest"}
    assert aws.messages("DeadLetterQueue") == []
