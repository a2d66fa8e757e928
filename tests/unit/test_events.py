"""The ways a request arrives, the key it gets, and the content that goes with the key."""

import json
from typing import Any

import pytest

from handler.events import load_body, parse_request, record_origin, sqs_records, unwrap
from handler.models import DeletionRequest, ImageId, Origin, RejectedRequestError

ACCOUNT, FOREIGN = "123456789012", "210987654321"
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:requests"
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:deletion"
INVOCATION = Origin("invocation", "lambda-request-1", FUNCTION)

WISH: dict[str, Any] = {"repositoryName": "ubuntu", "imageIds": [{"imageTag": "precise"}]}


def event(detail: Any, **changes: Any) -> dict[str, Any]:
    """An EventBridge event as a rule hands it on."""
    return {
        "version": "0",
        "id": "event-1",
        "detail-type": "ECR Image Deletion Request",
        "source": "team.cleaner",
        "account": ACCOUNT,
        "time": "2026-01-01T00:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    } | changes


def failed_invocation(payload: Any, **changes: Any) -> dict[str, Any]:
    """What Lambda sends to a failure destination."""
    return {
        "version": "1.0",
        "timestamp": "2026-01-01T00:00:00Z",
        "requestContext": {
            "requestId": "lambda-request-0",
            "functionArn": f"{FUNCTION}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "ECR could not be reached", "errorType": "NotNowError"},
    } | changes


def record(payload: Any) -> dict[str, Any]:
    """A record of an SQS batch that holds this."""
    return {
        "messageId": "message-1",
        "receiptHandle": "different each time",
        "body": json.dumps(payload),
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
    }


def received(payload: Any) -> DeletionRequest:
    """The request in a message."""
    payload, origin = unwrap(load_body(record(payload)), record_origin(record(payload)))
    return parse_request(payload, origin, (ACCOUNT, FOREIGN), max_images=1_000, dry_run=False)


def invoked(payload: Any) -> DeletionRequest:
    """The request in the payload of an invocation."""
    payload, origin = unwrap(payload, INVOCATION)
    return parse_request(payload, origin, (ACCOUNT, FOREIGN), max_images=1_000, dry_run=False)


MESSAGE = Origin("message", "message-1", QUEUE)
EVENT = Origin("event", "event-1", "team.cleaner")
EARLIER = Origin("invocation", "lambda-request-0", f"{FUNCTION}:$LATEST")
SCHEDULED = {"requestId": "arn:aws:scheduler:…/2026-01-01T04:00:00Z", **WISH}

ARRIVALS = {
    "message": (received(WISH), MESSAGE, "message-1"),
    "event in a message": (received(event(WISH)), EVENT, "event-1"),
    "schedule's input in a message": (received(SCHEDULED), MESSAGE, SCHEDULED["requestId"]),
    "event": (invoked(event(WISH)), EVENT, "event-1"),
    "by hand": (invoked(WISH), INVOCATION, "lambda-request-1"),
    "failed invocation in a message": (received(failed_invocation(WISH)), EARLIER, "lambda-request-0"),
    "failed event in a message": (received(failed_invocation(event(WISH))), EVENT, "event-1"),
    "failed invocation by hand": (invoked(failed_invocation(WISH)), EARLIER, "lambda-request-0"),
}


@pytest.mark.parametrize(("request_", "origin", "key"), ARRIVALS.values(), ids=ARRIVALS)
def test_the_request_and_its_key(request_: DeletionRequest, origin: Origin, key: str) -> None:
    """Each way of arrival gives the same wish, a key of its own and an origin to name in a notice."""
    assert (request_.repository_name, request_.image_ids) == ("ubuntu", (ImageId(tag="precise"),))
    assert (request_.origin, request_.request_id) == (origin, key)


@pytest.mark.parametrize(
    "arrived",
    [
        received(WISH | {"requestId": "mine"}),
        received(event(WISH | {"requestId": "mine"})),
        received(failed_invocation(WISH | {"requestId": "mine"})),
        invoked(event(WISH | {"requestId": "mine"})),
        invoked(WISH | {"requestId": "mine"}),
    ],
)
def test_a_request_id_wins_over_the_arrival(arrived: DeletionRequest) -> None:
    """The requester's own key is the key, however the request came."""
    assert arrived.request_id == "mine"


def test_every_key_of_a_request_is_kept() -> None:
    """Registry and reason go with the request; a request without them has none."""
    full = received(WISH | {"registryId": FOREIGN, "reason": "unused"})
    assert (full.registry_id, full.reason) == (FOREIGN, "unused")
    assert (received(WISH).registry_id, received(WISH).reason) == (None, None)


def test_a_registry_outside_the_stack_is_refused() -> None:
    """A request may name the function's own account, and those the stack allows."""
    assert received(WISH | {"registryId": ACCOUNT}).registry_id == ACCOUNT
    with pytest.raises(RejectedRequestError, match=f"^request.registryId must be one of {ACCOUNT}, {FOREIGN}; "):
        received(WISH | {"registryId": "999999999999"})


@pytest.mark.parametrize(
    "envelope",
    [
        event(WISH, id=""),
        event(WISH, id=None),
        event(WISH, id=17),
        event(WISH, id="x" * 257),
        event(WISH, id="é"),
        {key: value for key, value in event(WISH).items() if key != "id"},
        {key: value for key, value in event(WISH).items() if key != "detail"},
        failed_invocation(WISH, requestContext={"functionArn": FUNCTION}),
        failed_invocation(WISH, requestContext={"requestId": "", "functionArn": FUNCTION}),
        failed_invocation(WISH, requestContext=None),
    ],
)
def test_an_envelope_without_a_usable_key_is_no_envelope(envelope: dict[str, Any]) -> None:
    """It is refused as the odd request it is: under another key its steps could be done twice."""
    with pytest.raises(RejectedRequestError, match=r"^request must contain "):
        received(envelope)


def test_the_largest_usable_event_id() -> None:
    """256 ASCII characters are a key."""
    assert received(event(WISH, id="x" * 256)).request_id == "x" * 256


def test_an_event_without_a_request_is_rejected_under_its_id() -> None:
    """A rule that catches too much is told which event it was."""
    payload, origin = unwrap(event({"state": "running"}), INVOCATION)
    assert origin == EVENT
    with pytest.raises(RejectedRequestError, match=r"^request must contain"):
        parse_request(payload, origin, (ACCOUNT,), max_images=1_000, dry_run=False)


def test_duplicates_are_asked_once_in_the_order_of_their_first() -> None:
    """However an id is spelt, it is one id."""
    ids = ["imageTag=b", {"imageTag": "a"}, {"imageTag": "b"}, "imageTag='a'", "imageTag=b,imageDigest=d", "imageTag=c"]
    expected = (ImageId(tag="b"), ImageId(tag="a"), ImageId("d", "b"), ImageId(tag="c"))
    assert received(WISH | {"imageIds": ids}).image_ids == expected


DISTINCT = [
    WISH,
    WISH | {"repositoryName": "debian"},
    WISH | {"registryId": ACCOUNT},
    WISH | {"registryId": FOREIGN},
    WISH | {"requestId": "mine"},
    WISH | {"reason": "mine"},
    WISH | {"imageIds": ["imageTag=a", "imageTag=b"]},
    WISH | {"imageIds": ["imageTag=b", "imageTag=a"]},
    WISH | {"imageIds": ["imageTag=a", "imageTag=b", "imageTag=c"]},
    WISH | {"imageIds": ["imageTag=a,imageDigest=b"]},
    WISH | {"imageIds": ["imageTag=b,imageDigest=a"]},
    WISH | {"imageIds": ["imageDigest=a"]},
    WISH | {"imageIds": ["imageTag=a"]},
    WISH | {"imageIds": [{}]},
    WISH | {"imageIds": ["imageTag="]},
]


def test_other_content_has_another_hash() -> None:
    """A key used again for anything else is noticed, be it only that ids were added or swapped."""
    assert len({received(wish).content_hash for wish in DISTINCT}) == len(DISTINCT)


@pytest.mark.parametrize("wish", DISTINCT)
def test_the_same_content_has_the_same_hash_however_it_arrives(wish: dict[str, Any]) -> None:
    """A duplicate is the same request, also when its keys come in another order or its ids twice."""
    turned = dict(reversed(wish.items())) | {"imageIds": [*wish["imageIds"], wish["imageIds"][0]]}
    hashes = {r.content_hash for r in (received(wish), received(event(wish)), invoked(wish), received(turned))}
    assert hashes == {received(wish).content_hash}


@pytest.mark.parametrize(
    "batch",
    [
        {"Records": [record(WISH)]},
        {"Records": [record(WISH), {"eventSource": "aws:sqs", "messageId": "m-2"}]},
        {"Records": []},
    ],
)
def test_an_sqs_batch_is_its_records(batch: dict[str, Any]) -> None:
    """A record without a body is one of them, so that it can be rejected by itself; no records are no work."""
    assert sqs_records(batch) == batch["Records"]


@pytest.mark.parametrize(
    "event_",
    [
        None,
        [],
        "Records",
        WISH,
        event(WISH),
        {},
        {"Records": None},
        {"Records": {}},
        {"Records": "aws:sqs"},
        {"Records": [None]},
        {"Records": ["aws:sqs"]},
        {"Records": [[]]},
        {"Records": [record(WISH), {}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}}}]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": 1}]},
        {"records": [record(WISH)]},
    ],
)
def test_anything_else_is_no_batch(event_: Any) -> None:
    """What comes from SNS or S3, or only looks like a batch, is one request, and will be rejected as one."""
    assert sqs_records(event_) is None
