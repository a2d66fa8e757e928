"""The ways a request arrives, where it really comes from, and the key that its arrival gives it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from handler import events
from handler.models.errors import RejectedRequestError
from handler.models.request import Arrival, Origin, Payload
from local.runtime import FakeLambdaContext
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, QUEUE_ARN, sqs_record
from tests.values import REQUEST

CONTEXT: Any = FakeLambdaContext("lambda-request-1")
FUNCTION: str = CONTEXT.invoked_function_arn
MESSAGE, EVENT = Origin("message", "message-1", QUEUE_ARN), Origin("event", "event-1", "team.cleaner")
INVOCATION, EARLIER = Origin("invocation", "lambda-request-1", FUNCTION), Origin("invocation", "earlier", FUNCTION)
DEEP = 100_000


def event(detail: Any, **changes: Any) -> dict[str, Any]:
    """Returns an EventBridge event as a rule hands it on."""
    whole = {"version": "0", "id": "event-1", "detail-type": "ECR Image Deletion Request", "source": "team.cleaner"}
    return whole | {"detail": detail} | changes


def failed(content: Any, **changes: Any) -> dict[str, Any]:
    """Returns what Lambda sends to the failure destination of an invocation."""
    context = {"requestId": "earlier", "functionArn": FUNCTION, "condition": "RetriesExhausted"}
    return {"version": "1.0", "requestContext": context, "requestPayload": content} | changes


def follow_up(**changes: Any) -> dict[str, Any]:
    """Returns a request that the stack has sent to its bulk queue."""
    envelope = {
        "key": ["child", ["request", "cleanup-1"], "team/app"],
        "requestId": "cleanup-1/team/app",
        "turn": 0,
        "taken": 0,
        "seal": None,
        "origin": MESSAGE.to_json(),
    }
    return {"followUp": envelope | changes, "request": REQUEST}


def arrivals(event: Any) -> list[Arrival]:
    """Returns what an event brings to the function of the tests' stack."""
    return events.arrivals(event, CONTEXT, BULK_QUEUE_URL)


def received(body: Any, *, queue: str = QUEUE_ARN) -> Payload:
    """Returns what is read of a message, from the request queue or another."""
    [arrival] = arrivals({"Records": [sqs_record("message-1", body, queue=queue)]})
    return arrival.read()


def invoked(content: Any) -> Payload:
    """Returns what is read of a direct invocation."""
    [arrival] = arrivals(content)
    return arrival.read()


@pytest.mark.parametrize(
    ("content", "by_message", "by_hand"),
    [
        (REQUEST, MESSAGE, INVOCATION),
        (event(REQUEST), EVENT, EVENT),
        (failed(REQUEST), EARLIER, EARLIER),
        (failed(event(REQUEST)), EVENT, EVENT),
    ],
    ids=["request", "event", "failed invocation", "failed invocation of an event"],
)
def test_a_request_is_read_out_of_its_envelope(content: Any, by_message: Origin, by_hand: Origin) -> None:
    """However it arrives, the request is the same; its key and origin are those of the innermost envelope."""
    for payload, origin in ((received(json.dumps(content)), by_message), (invoked(content), by_hand)):
        assert payload == Payload(REQUEST, origin, (origin.kind, origin.id))


@pytest.mark.parametrize("wrapped", [follow_up(), failed(follow_up())])
def test_a_follow_up_message_says_its_own_key_and_origin(wrapped: dict[str, Any]) -> None:
    """A request that another one led to keeps the key that was made from that one's, also after a failed invocation."""
    expected = Payload(REQUEST, MESSAGE, ("child", ["request", "cleanup-1"], "team/app"), "cleanup-1/team/app")
    assert received(json.dumps(wrapped), queue=BULK_QUEUE_ARN) == expected


@pytest.mark.parametrize("wrapped", [follow_up(), failed(follow_up())])
@pytest.mark.parametrize(
    "read",
    [
        lambda content: received(json.dumps(content)),
        *(
            lambda content, queue=queue: received(json.dumps(content), queue=queue)
            for queue in (
                *(BULK_QUEUE_ARN.replace("123456789012", "210987654321"), BULK_QUEUE_ARN + "-2", "another:bulk"),
                *(BULK_QUEUE_ARN.rpartition(":")[2], BULK_QUEUE_URL, "", ":"),
            )
        ),
        invoked,
    ],
)
def test_a_follow_up_counts_only_from_the_bulk_queue(read: Callable[[Any], Payload], wrapped: dict[str, Any]) -> None:
    """From any other queue, of whatever name or account, or by hand, it is rejected, and told where it belongs."""
    with pytest.raises(RejectedRequestError, match=r"came from there goes back there \(output BulkQueueArn\)"):
        read(wrapped)


def test_a_record_without_a_source_is_of_no_queue() -> None:
    """Nothing that it says of a key is believed."""
    record = sqs_record("message-1", json.dumps(follow_up()))
    del record["eventSourceARN"]
    [arrival] = arrivals({"Records": [record]})
    assert not arrival.internal
    with pytest.raises(RejectedRequestError, match="BulkQueueArn"):
        arrival.read()


def test_others_wait_behind_a_message_of_the_request_queue_alone() -> None:
    """On the bulk queue nobody waits who has named images, and an invocation by hand has no queue."""
    records = [sqs_record("m", "{}", queue=queue) for queue in (QUEUE_ARN, BULK_QUEUE_ARN)]
    request, bulk = arrivals({"Records": records})
    [by_hand] = arrivals(REQUEST)
    assert [a.is_queued_among_others for a in (request, bulk, by_hand)] == [True, False, False]
    assert [a.internal for a in (request, bulk, by_hand)] == [False, True, False]


def test_anything_but_an_envelope_is_read_alike_from_either_queue() -> None:
    """A dead letter of the request queue is sent back to the bulk queue: as it is, an event, or a failed invocation."""
    for content in (REQUEST, event(REQUEST), failed(REQUEST), failed(event(REQUEST))):
        body = json.dumps(content)
        expected = received(body)
        if expected.origin == MESSAGE:
            expected = expected._replace(origin=MESSAGE._replace(source=BULK_QUEUE_ARN))
        assert received(body, queue=BULK_QUEUE_ARN) == expected


@pytest.mark.parametrize(
    "content",
    [
        *(event(REQUEST, id=key) for key in ("", None, 17, "x" * 257, "é")),
        {key: value for key, value in event(REQUEST).items() if key != "detail"},
        *(failed(REQUEST, requestContext=context) for context in (None, {"functionArn": FUNCTION})),
        failed(REQUEST, requestContext={"requestId": "", "functionArn": FUNCTION}),
        *(follow_up(key=key) for key in ("text", None, {"a": 1}, ["\ud800"], ["x" * 20_000])),
        *(follow_up(requestId=name) for name in (None, 1, "\ud800", "x" * 20_000)),
        *(follow_up(taken=taken) for taken in ("1", None, 1.5, -1, True)),
        *(follow_up(turn=turn) for turn in ("1", None, 1.5, -1, 1_000)),
        *(follow_up(seal=value) for value in (1, "\ud800")),
        *(follow_up(origin=origin) for origin in (None, {}, {**MESSAGE.to_json(), "id": 1})),
        {"followUp": follow_up()["followUp"]},
    ],
)
def test_a_malformed_envelope_is_no_envelope(content: dict[str, Any]) -> None:
    """It is read as a request, an odd one, under the key of its arrival: no forged key or name gets any further."""
    assert received(json.dumps(content)) == Payload(content, MESSAGE, ("message", "message-1"))
    bulk = MESSAGE._replace(source=BULK_QUEUE_ARN)
    assert received(json.dumps(content), queue=BULK_QUEUE_ARN) == Payload(content, bulk, ("message", "message-1"))


def test_a_key_has_256_ascii_characters_at_most() -> None:
    """The id of an event at the limit is its key."""
    assert invoked(event(REQUEST, id="x" * 256)).key == ("event", "x" * 256)


def test_the_source_of_an_event_is_quoted() -> None:
    """However long a sender makes it, and whatever is in it, it can be sent on in a notice."""
    source = invoked(event(REQUEST, source="\ud800" * 1_000)).origin.source
    assert source == "\\ud800" * 500


@pytest.mark.parametrize(("receives", "before"), [("1", False), ("2", True), (None, True)])
def test_a_record_says_whether_it_was_received_before(receives: str | None, before: bool) -> None:  # noqa: FBT001
    """Only the first receive can be known to be the first; Lambda's own retries of an invocation are not announced."""
    attributes = {"ApproximateReceiveCount": receives} if receives else {}
    [arrival] = arrivals({"Records": [sqs_record("message-1", "{}") | {"attributes": attributes}]})
    assert (arrival.received_before, arrival.origin, arrival.key) == (before, MESSAGE, ("message", "message-1"))
    [arrival] = arrivals(REQUEST)
    assert (arrival.received_before, arrival.key) == (True, ("invocation", "lambda-request-1"))


RESULT_KINDS = [f"ECR Image Deletion {word}" for word in ("Completed", "Rejected", "Summarized")]


@pytest.mark.parametrize("kind", RESULT_KINDS)
@pytest.mark.parametrize("detail", [{"metadata": {}, "data": {}}, REQUEST, None, "text"])
def test_an_event_that_says_what_became_of_a_request_is_known(kind: str, detail: Any) -> None:
    """By its detail-type, whatever it holds and however it arrives."""
    result = event(detail, **{"detail-type": kind})
    for content in (result, failed(result)):
        expected = Payload(detail, EVENT, ("event", "event-1"), is_result=True)
        assert received(json.dumps(content)) == invoked(content) == expected


@pytest.mark.parametrize(
    "kind",
    [
        *("ECR Image Deletion Request", "ECR Image Deletion", "ecr image deletion completed", ""),
        *([], RESULT_KINDS, {"a": 1}, {}, 7, 1.5, True, None),
    ],
)
def test_any_other_event_is_a_request(kind: Any) -> None:
    """What an envelope is called may be anything in JSON, and need not even be text."""
    content = event(REQUEST, **{"detail-type": kind})
    assert received(json.dumps(content)) == invoked(content) == Payload(REQUEST, EVENT, ("event", "event-1"))


def test_a_request_that_is_called_a_result_is_none() -> None:
    """Only an event can be one: a member of that name in a message is an odd key of a request."""
    content = REQUEST | {"detail-type": RESULT_KINDS[0]}
    assert not received(json.dumps(content)).is_result


TOO_DEEP = "the message body is nested too deeply; a request has two levels"
NO_JSON, UNREADABLE = (
    "the message body is not JSON: ",
    "the message body cannot be read as JSON; send text in which no number has thousands of digits",
)
TWICE = "the message body has an object that says a key twice; say it once"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", NO_JSON + "Expecting value: line 1 column 1 (char 0)"),
        ("delete all", NO_JSON + "Expecting value: line 1 column 1 (char 0)"),
        ("{", NO_JSON + "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{} {}", NO_JSON + "Extra data: line 1 column 4 (char 3)"),
        ("\ufeff{}", NO_JSON + "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        (b"\xff\xfe\xfd", UNREADABLE),
        (None, UNREADABLE),
        ({}, UNREADABLE),
        ("9" * 5_000, UNREADABLE),
        ("[" * DEEP + "]" * DEEP, TOO_DEEP),
        ('{"a":' * DEEP, TOO_DEEP),
        ('{"imageIds": [], "imageIds": []}', TWICE),
        ('{"imageIds": [{"imageTag": "a", "imageTag": "b"}]}', TWICE),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_is_no_json_is_rejected(body: Any, message: str) -> None:
    """The error says what is wrong with it, and that record alone is rejected."""
    with pytest.raises(RejectedRequestError) as error:
        received(body)
    assert str(error.value) == message


def test_every_record_of_a_batch_is_an_arrival() -> None:
    """In their order; one without a body is rejected when it is read, and costs the others nothing."""
    without_body = {"eventSource": "aws:sqs", "messageId": "message-2"}
    batch = {"Records": [without_body, sqs_record("message-1", json.dumps(REQUEST))]}
    assert events.is_batch(batch)
    bad, good = arrivals(batch)
    assert (bad.origin.id, good.read().content) == ("message-2", REQUEST)
    with pytest.raises(RejectedRequestError, match=UNREADABLE):
        bad.read()
    assert arrivals({"Records": []}) == []


@pytest.mark.parametrize(
    "content",
    [
        *(None, [], "Records", REQUEST, {}, {"records": [sqs_record("m", "{}")]}),
        *({"Records": value} for value in (None, {"a": 1}, "aws:sqs", [None], ["aws:sqs"], [1])),
        {"Records": [sqs_record("m", "{}"), {}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]},
        {"Records": [{"eventSource": "aws:s3", "messageId": "m"}]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": 1}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "attributes": None}]},
    ],
)
def test_anything_else_is_one_request(content: Any) -> None:
    """An event of SNS or S3, or one that only resembles a batch, is a single request, and will be rejected as one."""
    assert not events.is_batch(content)
    assert invoked(content) == Payload(content, INVOCATION, ("invocation", "lambda-request-1"))
