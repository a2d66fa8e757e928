"""The ways a request arrives, the key it gets, and the content that goes with the key."""

import json
from typing import Any

import pytest

from handler.events import load_body, parse_request, record_origin, sqs_records, unwrap
from handler.models import DeletionRequest, ImageId, Origin, RejectedRequestError, Selection

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


def selected(**meant: Any) -> DeletionRequest:
    """The request for a selection."""
    return received({"repositoryName": "ubuntu", "selection": meant})


SELECTIONS: list[tuple[dict[str, Any], Selection]] = [
    ({"tagStatus": "tagged", "tagPatternList": ["pr-*", "a*b"]}, Selection("tagged", ("pr-*", "a*b"))),
    ({"tagStatus": "tagged", "tagPrefixList": ["pr-", "v"]}, Selection("tagged", ("pr-*", "v*"))),
    (
        {"tagStatus": "any", "excludeTagPatternList": ["prod*"], "keepMostRecent": 3},
        Selection("any", (), ("prod*",), keep_most_recent=3),
    ),
    (
        {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 100_000},
        Selection("untagged", count_type="imageCountMoreThan", count_number=100_000),
    ),
    *(
        (
            {"tagStatus": "untagged", "countType": since, "countUnit": "days", "countNumber": 14},
            Selection("untagged", count_type=since, count_number=14),
        )
        for since in ("sinceImagePushed", "sinceImagePulled")
    ),
]


@pytest.mark.parametrize(("meant", "expected"), SELECTIONS)
def test_a_selection_is_a_rule_of_a_lifecycle_policy(meant: dict[str, Any], expected: Selection) -> None:
    """In its words; a prefix is a pattern that ends in a star."""
    request = selected(**meant)
    assert (request.selection, request.image_ids) == (expected, ())


TAGGED: dict[str, Any] = {"tagStatus": "tagged", "tagPatternList": ["*"]}
REFUSED_SELECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"tagStatus": "untagged"}, 'with tagStatus "untagged" must contain countType or keepMostRecent'),
    ({"tagStatus": "any"}, 'with tagStatus "any" must contain countType or keepMostRecent'),
    ({"tagStatus": "any", "excludeTagPatternList": ["prod"]}, "must contain countType or keepMostRecent"),
    ({"tagStatus": "tagged"}, 'with tagStatus "tagged" must contain tagPatternList or tagPrefixList'),
    ({"tagStatus": "tagged", "keepMostRecent": 1}, "must contain tagPatternList or tagPrefixList"),
    ({**TAGGED, "tagPrefixList": ["a"]}, "must not contain both tagPatternList and tagPrefixList"),
    ({**TAGGED, "tagStatus": "untagged", "keepMostRecent": 1}, 'with tagStatus "untagged" must not contain tag patt'),
    ({**TAGGED, "tagStatus": "any", "keepMostRecent": 1}, 'with tagStatus "any" must not contain tag patterns'),
    ({**TAGGED, "countType": "imageCountMoreThan"}, "must contain countType and countNumber together, or neither"),
    ({**TAGGED, "countNumber": 1}, "must contain countType and countNumber together, or neither"),
    ({**TAGGED, "countUnit": "days"}, 'must contain "countUnit": "days" with sinceImagePushed and sinceImagePulled'),
    ({**TAGGED, "countType": "imageCountMoreThan", "countNumber": 1, "countUnit": "days"}, "and only with them"),
    ({**TAGGED, "countType": "sinceImagePushed", "countNumber": 1}, 'must contain "countUnit": "days" with'),
    ({**TAGGED, "countType": "sinceImagePulled", "countNumber": 1}, 'must contain "countUnit": "days" with'),
    ({**TAGGED, "tagPatternList": [""]}, r"request.selection.tagPatternList\[0\] must match"),
    ({**TAGGED, "tagPatternList": ["v[12]"]}, r"request.selection.tagPatternList\[0\] must match"),
    ({**TAGGED, "tagPatternList": ["v?"]}, r"request.selection.tagPatternList\[0\] must match"),
    ({"tagStatus": "tagged", "tagPrefixList": ["v*"]}, r"request.selection.tagPrefixList\[0\] must match"),
    *(
        ({**TAGGED, "keepMostRecent": number}, "request.selection.keepMostRecent must be ")
        for number in (10**30, 1e300, -1, 0, 1.5, True, "1", None)
    ),
    *(
        (
            {**TAGGED, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": number},
            "countNumber must be ",
        )
        for number in (10**30, 1e300, -1, 0, 1.5, True, "1", None)
    ),
]


@pytest.mark.parametrize(("meant", "message"), REFUSED_SELECTIONS)
def test_a_selection_that_cannot_be_meant_is_refused(meant: dict[str, Any], message: str) -> None:
    """What would take everything by omission, says two things at once, or counts beyond all bounds."""
    with pytest.raises(RejectedRequestError, match=message):
        selected(**meant)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "9" * 5_000])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    """Python reads more numbers than JSON has; none of them overflows anything."""
    body = f'{{"repositoryName": "ubuntu", "selection": {{"tagStatus": "any", "keepMostRecent": {number}}}}}'
    with pytest.raises(RejectedRequestError):
        parse_request(load_body({"body": body}), MESSAGE, (ACCOUNT,), max_images=1_000, dry_run=False)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"untag": True}, "request.untag is for imageIds"),
        ({"untag": False}, "request.untag is for imageIds"),
        ({"cascade": True}, "request.cascade is for imageIds"),
        ({"cascade": False}, "request.cascade is for imageIds"),
        ({"imageIds": [{"imageTag": "a"}]}, "exactly one of imageIds and selection"),
        ({"repositoryNames": ["team/*"]}, "exactly one of repositoryName and repositoryNames"),
        ({"allowPercent": 100, "imageIds": []}, "exactly one of imageIds and selection"),
    ],
)
def test_what_a_selection_cannot_be_sent_with(more: dict[str, Any], message: str) -> None:
    """It takes images as wholes, of one repository or of several."""
    with pytest.raises(RejectedRequestError, match=message):
        received({"repositoryName": "ubuntu", "selection": TAGGED} | more)


def test_a_share_is_for_a_selection() -> None:
    """Beside image ids it would be a misunderstanding."""
    assert received({"repositoryName": "ubuntu", "selection": TAGGED, "allowPercent": 100}).allow_percent == 100
    with pytest.raises(RejectedRequestError, match=r"^request.allowPercent is for a selection"):
        received(WISH | {"allowPercent": 100})


def parsed(wish: dict[str, Any], *, max_images: int = 1_000, dry_run: bool = False) -> DeletionRequest:
    """The request, as a stack of these parameters takes it."""
    return parse_request(wish, MESSAGE, (ACCOUNT,), max_images=max_images, dry_run=dry_run)


@pytest.mark.parametrize("wish", [WISH, {"repositoryName": "ubuntu", "selection": TAGGED}])
@pytest.mark.parametrize(
    ("said", "stack", "dry"),
    [
        ({}, False, False),
        ({"dryRun": False}, False, False),
        ({"dryRun": True}, False, True),
        ({}, True, True),
        ({"dryRun": False}, True, True),
        ({"dryRun": True}, True, True),
    ],
)
def test_a_dry_run_is_said_by_the_request_or_by_the_stack(
    wish: dict[str, Any],
    said: dict[str, bool],
    stack: bool,  # noqa: FBT001
    dry: bool,  # noqa: FBT001
) -> None:
    """No request talks a stack out of its dry runs; and the key goes with the one that it really is."""
    request = parsed(wish | said, dry_run=stack)
    assert (request.dry_run, request.switches) == (dry, {"dryRun": True} if dry else {})
    assert (request.content_hash == parsed(wish).content_hash) is not dry
    assert (request.content_hash == parsed(wish | {"dryRun": True}).content_hash) is dry


SWITCHES: list[dict[str, Any]] = [
    {},
    {"dryRun": True},
    {"untag": True},
    {"cascade": True},
    {"cascade": False},
    {"notify": True},
    {"dryRun": True, "cascade": True},
    {"dryRun": True, "untag": True},
]


def test_other_switches_are_other_content() -> None:
    """A key that was a dry run's, or an untag's, is no deletion's."""
    assert len({parsed(WISH | switches).content_hash for switches in SWITCHES}) == len(SWITCHES)


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_switches_of_a_request(switches: dict[str, Any]) -> None:
    """Each is off unless it is said, and is said again as it was."""
    request = parsed(WISH | switches)
    assert request.switches == switches
    assert (request.dry_run, request.untag, request.notify) == tuple(
        switches.get(key, False) for key in ("dryRun", "untag", "notify")
    )
    assert request.cascade is switches.get("cascade")


@pytest.mark.parametrize("key", ["dryRun", "untag", "cascade"])
@pytest.mark.parametrize("value", ["true", 1, None, "always", []])
def test_a_switch_that_is_neither_on_nor_off_is_refused(key: str, value: object) -> None:
    """What was meant to be safe is not guessed."""
    with pytest.raises(RejectedRequestError, match=f"^request.{key} must be "):
        parsed(WISH | {key: value})


@pytest.mark.parametrize("key", ["dryrun", "dry_run", "DryRun", "unTag", "cascades"])
def test_a_misspelt_switch_is_refused(key: str) -> None:
    """Taken for nothing, it would delete what it was to spare."""
    with pytest.raises(RejectedRequestError):
        parsed(WISH | {key: True})


@pytest.mark.parametrize(("count", "most"), [(3, 3), (1, 1), (1_000, 1_000)])
def test_as_many_images_as_the_stack_allows(count: int, most: int) -> None:
    """An id that is said twice is one."""
    wish = WISH | {"imageIds": [f"imageTag=v{n}" for n in range(count)] * 2}
    assert len(parsed(wish, max_images=most).image_ids) == count


@pytest.mark.parametrize(
    ("count", "most", "told"), [(4, 3, "3 images, not 4"), (1_001, 1_000, "1,000 images, not 1,001")]
)
@pytest.mark.parametrize("switches", [{}, {"dryRun": True}, {"untag": True}])
def test_more_images_than_the_stack_allows_are_refused(
    count: int, most: int, told: str, switches: dict[str, bool]
) -> None:
    """Whole, before anything is deleted, and it says which parameter it was."""
    wish = WISH | switches | {"imageIds": [f"imageTag=v{n}" for n in range(count)]}
    with pytest.raises(RejectedRequestError, match=rf"^request\.imageIds .*{told}; .*MaxImagesPerRequest$"):
        parsed(wish, max_images=most)


IDS, CHOICE = {"imageIds": [{"imageTag": "precise"}]}, {"selection": TAGGED}
ONE, MANY = {"repositoryName": "ubuntu"}, {"repositoryNames": ["ubuntu", "team/*"]}


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (ONE | IDS | {"untag": True, "cascade": True}, "^request.untag keeps every image, so request.cascade cannot"),
        (ONE | CHOICE | {"cascade": True}, "^request.cascade is for imageIds"),
        (ONE | CHOICE | {"untag": True}, "^request.untag is for imageIds"),
        (ONE | IDS | CHOICE, "^request must contain exactly one of imageIds and selection$"),
        (ONE, "^request must contain exactly one of imageIds and selection$"),
        (ONE | MANY | CHOICE, "^request must contain exactly one of repositoryName and repositoryNames$"),
        (IDS, "^request must contain exactly one of repositoryName and repositoryNames$"),
        (CHOICE, "^request must contain exactly one of repositoryName and repositoryNames$"),
        (ONE | IDS | {"allowPercent": 50}, "^request.allowPercent is for a selection"),
        (ONE | IDS | {"allowPercent": 50, "dryRun": True}, "^request.allowPercent is for a selection"),
    ],
)
def test_what_cannot_be_meant_together_is_refused(wish: dict[str, Any], message: str) -> None:
    """With the names of what contradicts, and before anything is deleted."""
    with pytest.raises(RejectedRequestError, match=message):
        parsed(wish)


@pytest.mark.parametrize(
    "wish",
    [
        ONE | IDS | {"untag": True, "cascade": False},
        ONE | IDS | {"untag": False, "cascade": True},
        ONE | CHOICE | {"allowPercent": 50, "dryRun": True, "notify": True},
        MANY | CHOICE | {"allowPercent": 50},
    ],
)
def test_what_can_be_meant_together_is_taken(wish: dict[str, Any]) -> None:
    """The nearest to what is refused."""
    assert parsed(wish).payload == wish


def test_repositories_are_meant_once_each() -> None:
    """In the order of their first, and then no single one is meant."""
    request = parsed(CHOICE | {"repositoryNames": ["team/*", "ubuntu", "team/*"]})
    assert (request.repository_name, request.repository_names) == ("", ("team/*", "ubuntu"))
