"""Input of any shape is a request or a rejection: never a crash, and nothing that could not be stored or reported."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from handler import events, notifications, request_parser
from handler.models.errors import RejectedRequestError
from handler.models.images import ImageFailure, ImageId
from handler.models.limits import MESSAGE_BYTES
from handler.models.report import DeletionReport
from handler.models.request import Arrival
from handler.step_table import partition_key
from local.runtime import FakeLambdaContext
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, QUEUE_ARN, sqs_record
from tests.values import ACCOUNT, ORIGIN, REQUEST

CONTEXT: Any = FakeLambdaContext()
HALF = "\ud800"


def read(arrival: Arrival) -> None:
    """Reads what has arrived as far as a request or a rejection; what it comes to can be stored and published."""
    try:
        payload = arrival.read()
        notice = notifications.rejection_notice("why", payload.origin, payload.content)
        request = request_parser.parse_request(payload)
    except RejectedRequestError as error:
        notice = notifications.rejection_notice(str(error), arrival.origin, None)
    else:
        assert len(partition_key(request.key)) == 64
        failures = tuple(ImageFailure(ImageId(digest="x"), "Code", "why") for _ in range(2))
        notice = notifications.report_notice(DeletionReport(request, failures=failures), ACCOUNT)
    assert notice.size <= MESSAGE_BYTES


def read_message(body: Any) -> None:
    """Reads a message with this body, from either queue."""
    for queue in (QUEUE_ARN, BULK_QUEUE_ARN):
        record = sqs_record("m-1", "", queue=queue) | {"body": body}
        [arrival] = events.arrivals({"Records": [record]}, CONTEXT, BULK_QUEUE_URL)
        read(arrival)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
WORDS: list[Any] = [
    *("ubuntu", "team/app", "imageTag=a", "always", "any", ACCOUNT, "sha256:" + "0" * 64, HALF, ""),
    *(None, 1, True, {}, []),
]
ANYTHING = JSON | st.sampled_from(WORDS)
IMAGE_IDS = st.dictionaries(st.sampled_from(["imageTag", "imageDigest", "tag"]), ANYTHING) | ANYTHING


def members(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with any of these members, and any other value."""
    return st.fixed_dictionaries({}, optional=strategies) | ANYTHING


SELECTIONS = members(
    tagStatus=ANYTHING, tagPatternList=ANYTHING, countType=ANYTHING, countNumber=ANYTHING, more=ANYTHING
)
REQUESTS = st.just(REQUEST) | members(
    repositoryName=ANYTHING,
    repositoryNames=ANYTHING,
    imageIds=st.lists(IMAGE_IDS, max_size=4) | ANYTHING,
    selection=SELECTIONS,
    **dict.fromkeys(("registryId", "requestId", "reason", "dryRun", "notify", "imageIDs", "more"), ANYTHING),
)
NESTED = st.recursive(st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
ENVELOPE = {"key": ["x"], "requestId": "x", "turn": 1, "taken": 0, "seal": "x", "origin": ORIGIN.to_json()}
FOLLOW_UPS = st.fixed_dictionaries({
    "followUp": st.fixed_dictionaries({
        "key": NESTED | ANYTHING,
        "requestId": st.text(max_size=9) | ANYTHING,
        "turn": st.integers() | ANYTHING,
        "taken": st.integers() | ANYTHING,
        "seal": st.none() | st.text(max_size=9) | ANYTHING,
        "origin": st.fixed_dictionaries({"kind": st.text(max_size=9), "id": st.text(max_size=9), "source": ANYTHING}),
    }),
    "request": REQUESTS,
})  # fmt: skip
ENVELOPES = FOLLOW_UPS | members(
    detail=REQUESTS,
    id=st.just("event-1") | ANYTHING,
    source=ANYTHING,
    requestContext=members(requestId=st.just("r-1") | ANYTHING, functionArn=ANYTHING),
    requestPayload=REQUESTS | FOLLOW_UPS,
    **{"detail-type": ANYTHING},
)
CONTENTS = JSON | REQUESTS | ENVELOPES


@given(CONTENTS)
@example({"followUp": {**ENVELOPE, "requestId": HALF}, "request": REQUEST})
@example({"followUp": {**ENVELOPE, "key": [HALF], "seal": HALF}, "request": REQUEST})
def test_any_json_is_a_request_or_rejected(content: Any) -> None:
    """Any value that JSON can spell, by hand or in a message, with forged envelopes among them."""
    [arrival] = events.arrivals(content, CONTEXT, BULK_QUEUE_URL)
    read(arrival)
    read_message(json.dumps(content))


@given(st.text() | st.binary() | st.text("{}[]\",:0tfn\\u d8'=imageTag", max_size=60))
def test_any_body_is_a_request_or_rejected(body: str | bytes) -> None:
    """Any text, and any bytes, in a message."""
    read_message(body)


RECORDS = members(
    eventSource=st.just("aws:sqs") | ANYTHING,
    eventSourceARN=st.just(BULK_QUEUE_ARN) | ANYTHING,
    messageId=st.just("m-1") | ANYTHING,
    body=ANYTHING,
    attributes=st.just({"ApproximateReceiveCount": "1"}) | ANYTHING,
)


@given(st.fixed_dictionaries({"Records": st.lists(RECORDS, max_size=3) | ANYTHING}) | CONTENTS)
def test_any_event_is_a_batch_or_one_request(event: Any) -> None:
    """Each record of a batch is judged by itself, and anything else is one request."""
    arrivals = events.arrivals(event, CONTEXT, BULK_QUEUE_URL)
    assert len(arrivals) == (len(event["Records"]) if events.is_batch(event) else 1)
    for arrival in arrivals:
        if arrival.origin.id.isascii() and len(arrival.origin.id) < 100:  # as SQS makes them
            read(arrival)
