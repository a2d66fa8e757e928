"""Input of any shape is a request or a rejected request: never a crash, never a message as long as what was sent."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.events import load_body, parse_request, record_origin, sqs_records, unwrap
from handler.models import DeletionRequest, Origin, RejectedRequestError

ACCOUNT = "123456789012"
DEEP = 100_000
HALF = "\ud800"
INVOCATION = Origin("invocation", "r-1", "arn")


def outcome(payload: Any, received: Origin = INVOCATION) -> DeletionRequest | str:
    """The request in a payload, or why it is rejected."""
    try:
        payload, origin = unwrap(payload, received)
        return parse_request(payload, origin, (ACCOUNT,), max_images=1_000, dry_run=False)
    except RejectedRequestError as error:
        return printable(error)


def told(record: dict[str, Any]) -> DeletionRequest | str:
    """The request in an SQS record, or why it is rejected."""
    try:
        body = load_body(record)
    except RejectedRequestError as error:
        return printable(error)
    return outcome(body, record_origin(record))


def printable(error: RejectedRequestError) -> str:
    """The words of a rejection, which fit a notice and are text that can be sent."""
    text = str(error)
    assert len(text.encode()) < 3000
    return text


def of(body: Any) -> DeletionRequest | str:
    """The same for a record with this body."""
    return told({"messageId": "m-1", "eventSource": "aws:sqs", "eventSourceARN": "arn", "body": body})


TOO_DEEP = "the message body is nested too deeply; a request has two levels"
BODIES: dict[str, tuple[Any, str]] = {
    "empty": ("", "the message body is not JSON: Expecting value: line 1 column 1 (char 0)"),
    "words": ("delete all", "the message body is not JSON: Expecting value: line 1 column 1 (char 0)"),
    "cut short": ("{", "the message body is not JSON: Expecting property name enclosed in double quotes: line 1"),
    "two documents": ("{} {}", "the message body is not JSON: Extra data: line 1 column 4 (char 3)"),
    "byte order mark": ("\ufeff{}", "the message body is not JSON: Unexpected UTF-8 BOM"),
    "garbled bytes": (b"\xff\xfe\xfd", "the message body is not JSON that can be read"),
    "no text": (None, "the message body is not JSON that can be read"),
    "an object": ({}, "the message body is not JSON that can be read"),
    "5000 digits": ("9" * 5000, "the message body is not JSON that can be read"),
    "5000 digits inside": ('{"imageIds": %s}' % ("9" * 5000), "the message body is not JSON that can be read"),
    "deep list": ("[" * DEEP + "]" * DEEP, TOO_DEEP),
    "deep object": ('{"a":' * DEEP + "1" + "}" * DEEP, TOO_DEEP),
    "deep and cut short": ("[" * DEEP, TOO_DEEP),
    "not a number": ("NaN", "request must be object"),
    "infinity": ('{"repositoryName": -Infinity, "imageIds": []}', "request.repositoryName must be string"),
    "null": ("null", "request must be object"),
    "text": ('"imageTag=precise"', "request must be object"),
    "list": ("[]", "request must be object"),
    "key said twice": (
        '{"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "imageIds": ["imageTag=b"]}',
        "the message body has an object that says a key twice; say it once",
    ),
    "key said twice in an id": (
        '{"repositoryName": "ubuntu", "imageIds": [{"imageTag": "a", "imageTag": "b"}]}',
        "the message body has an object that says a key twice; say it once",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_request(body: Any, message: str) -> None:
    """It is rejected with words that say what is wrong with it."""
    assert str(of(body)).startswith(message)


def test_a_record_without_a_body() -> None:
    """It is rejected as well, and costs the other records of its batch nothing."""
    record = {"messageId": "m-1", "eventSource": "aws:sqs"}
    assert sqs_records({"Records": [record]}) == [record]
    assert told(record) == "the message body is not JSON that can be read"


@pytest.mark.parametrize(
    "nest", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: {"imageIds": [inner]}]
)
def test_a_payload_nested_deeply(nest: Any) -> None:
    """Lambda reads the payload of an invocation itself; however deep, only its first levels are looked at."""
    inner: Any = {}
    for _ in range(sys.getrecursionlimit() * 3):
        inner = nest(inner)
    assert str(outcome({"repositoryName": "ubuntu", "imageIds": [inner]})).startswith("request.imageIds[0] must ")
    assert str(outcome(inner)).startswith("request must ")


MEBIBYTE = "k" * 2**20


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({MEBIBYTE: 1}, "request must contain exactly one of"),
        ({"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], MEBIBYTE: 1}, "request must not contain {'kkk"),
        ({"repositoryName": MEBIBYTE, "imageIds": ["imageTag=a"]}, "request.repositoryName must be shorter than"),
        ({"repositoryName": "ubuntu", "imageIds": [MEBIBYTE]}, "request.imageIds[0] must match pattern"),
        ({"repositoryName": "ubuntu", "imageIds": [{MEBIBYTE: 1}]}, "request.imageIds[0] must not contain {'kkk"),
        ({"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "registryId": MEBIBYTE}, "request.registryId must"),
        ({"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "requestId": MEBIBYTE}, "request.requestId must be"),
        (
            {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "reason": MEBIBYTE},
            "request.reason must be shorter",
        ),
        ({"repositoryName": "ubuntu", "imageIds": ['imageTag="' * 100_000]}, "request.imageIds[0] must match pattern"),
    ],
)
def test_a_mebibyte_is_told_in_a_few_words(payload: Any, message: str) -> None:
    """What a sender wrote is quoted so that it can be recognised, never whole."""
    assert str(of(json.dumps(payload))).startswith(message)


@pytest.mark.parametrize(
    "payload",
    [
        {"repositoryName": "ubuntu", "imageIds": [{"imageTag": HALF}]},
        {"repositoryName": "ubuntu", "imageIds": [{"imageDigest": HALF}]},
        {"repositoryName": "ubuntu", "imageIds": [f"imageTag={HALF}"]},
        {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "requestId": HALF},
        {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "reason": HALF},
    ],
)
def test_half_a_surrogate_pair_is_no_character(payload: Any) -> None:
    """JSON can spell what UTF-8 cannot carry, and so neither a notice nor ECR could."""
    assert of(json.dumps(payload)) == "request holds half a surrogate pair, which is no character; send UTF-8"


@pytest.mark.parametrize(
    "payload",
    [
        {"repositoryName": HALF * 2, "imageIds": ["imageTag=a"]},
        {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], "registryId": HALF},
        {"repositoryName": "ubuntu", "imageIds": [HALF]},
        {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"], HALF: 1},
        {"repositoryName": "ubuntu", "imageIds": [{HALF: "a"}]},
        {"detail-type": "x", "id": HALF, "source": "x", "detail": {}},
        {"detail-type": "x", "id": "x", "source": HALF, "detail": {}},
        {"requestContext": {"requestId": HALF, "functionArn": "x"}, "requestPayload": {}},
    ],
)
def test_half_a_surrogate_pair_elsewhere(payload: Any) -> None:
    """It never ends in the words of a rejection, for those are published too."""
    assert str(of(json.dumps(payload))).startswith("request")


def test_an_origin_can_be_published() -> None:
    """Nor does it end in the origin of a request, however long a sender made that."""
    wish = {"repositoryName": "ubuntu", "imageIds": ["imageTag=a"]}
    request = of(json.dumps({"detail-type": "x", "id": "e-1", "source": HALF * 1000, "detail": wish}))
    assert isinstance(request, DeletionRequest)
    assert len(str(request.origin).encode()) < 3200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = st.one_of(
    JSON,
    st.sampled_from(["ubuntu", "team/app", "imageTag=a", ACCOUNT, "sha256:" + "0" * 64, HALF, "", None, {}]),
)
IDS = st.dictionaries(st.sampled_from(["imageTag", "imageDigest", "tag"]), ANYTHING) | ANYTHING
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "repositoryName": ANYTHING,
        "imageIds": st.lists(IDS, max_size=4) | ANYTHING,
        "registryId": ANYTHING,
        "requestId": ANYTHING,
        "reason": ANYTHING,
        "more": ANYTHING,
    },
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "detail-type": ANYTHING,
        "detail": REQUESTS | ANYTHING,
        "id": ANYTHING,
        "source": ANYTHING,
        "requestContext": st.dictionaries(st.sampled_from(["requestId", "functionArn"]), ANYTHING) | ANYTHING,
        "requestPayload": REQUESTS | ANYTHING,
    },
)
PAYLOADS = st.one_of(JSON, REQUESTS, ENVELOPES)


@given(PAYLOADS)
def test_any_json_is_a_request_or_rejected(payload: Any) -> None:
    """Any value that JSON can spell, sent by hand or in a message."""
    assert isinstance(outcome(payload), DeletionRequest | str)
    assert isinstance(of(json.dumps(payload)), DeletionRequest | str)


@given(st.text() | st.binary() | st.text("{}[]\",:0tfn\\u d8'=imageTag", max_size=60))
def test_any_body_is_a_request_or_rejected(body: str | bytes) -> None:
    """Any text, and any bytes, in a message."""
    assert isinstance(of(body), DeletionRequest | str)


RECORDS = st.fixed_dictionaries(
    {},
    optional={"eventSource": st.just("aws:sqs") | ANYTHING, "messageId": st.just("m-1") | ANYTHING, "body": ANYTHING},
)


@given(st.fixed_dictionaries({"Records": st.lists(RECORDS | ANYTHING, max_size=3) | ANYTHING}) | PAYLOADS)
def test_any_event_is_a_batch_or_one_request(event: Any) -> None:
    """Any event at all: a batch of records, each judged by itself, or one request."""
    records = sqs_records(event)
    outcomes = [outcome(event)] if records is None else [told(record) for record in records]
    assert all(isinstance(result, DeletionRequest | str) for result in outcomes)
