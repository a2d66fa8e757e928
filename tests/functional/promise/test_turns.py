"""A selection that is continued in another message stays the request that it was admitted as."""

import json
from typing import Any

import pytest

from local.poller import FakeLambdaContext
from tests.fakes.lambda_ import sqs_record
from tests.harness.outside import ANY_SHARE, PREVIEWS, REPOSITORY, Outside, ask, hurried, select
from tests.harness.server_faults import throttle

type Json = dict[str, Any]


def begin(stack: Outside, *, variables: dict[str, str], **members: Any) -> Json:
    """Selects 250 images by hand, with time for one call; returns the answer."""
    stack.push_many([f"pr-{n}" for n in range(250)])
    function = stack.start(MAX_CONCURRENT_CALLS="1", **variables)
    seconds_left = lambda: 0 if stack.faults.count("BatchDeleteImage") else 100  # noqa: E731  # one line
    answer: Json = select(hurried(function, seconds_left), PREVIEWS, requestId="weekly", **members)
    assert (answer["continuedAs"], 0 < answer["deleted"] < 250) == ("weekly#1", True)
    return answer


def test_a_lower_limit_does_not_reject_what_continues(stack: Outside) -> None:
    """What was admitted is finished under the limits of then, in each of its messages."""
    answer = begin(stack, variables={"ALLOW_PERCENT_IN_REQUESTS": "true"}, allowPercent=100)
    assert len(stack.left()) == 250 - answer["deleted"]

    stack.drain(stack.start(ALLOW_PERCENT_IN_REQUESTS="false"))

    assert stack.left() == set()
    assert (stack.notices(), stack.dead_letters()) == ([], [])


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("limits", "most", "archives"),
    [
        ({"MAX_IMAGES_PER_REQUEST": "300", **ANY_SHARE}, 300, False),
        ({"MAX_PERCENT_OF_REPOSITORY": "50"}, 350, False),  # of those that were there, and that were pushed since
        ({"MAX_IMAGES_PER_REQUEST": "60", **ANY_SHARE}, 60, True),  # each has a call of its own
    ],
    ids=["images", "share", "archived"],
)
def test_the_limits_are_those_of_the_request(
    stack: Outside,
    limits: dict[str, str],
    most: int,
    archives: bool,  # noqa: FBT001
) -> None:
    """However many messages continue it, and however fast images are pushed that match."""
    previews, more = (50, 10) if archives else (250, 40)
    stack.push_many([f"v{n}" for n in range(previews)])
    if archives:
        limits = limits | {"GRACE_PERIOD_DAYS": "30", "ALLOW_ARCHIVE": "true"}
    call = "UpdateImageStorageClass" if archives else "BatchDeleteImage"
    stack.push_many([f"pr-{n}" for n in range(previews)])
    stack.send_bulk(selection=PREVIEWS, requestId="weekly", notify="always")
    for turn in range(6):
        busy = stack.faults.add(call, throttle, nth=range(30 if archives else 2, 10_000))
        stack.receive(stack.start(**limits))
        busy.lift()
        if not stack.waiting():
            break
        stack.push_many([f"pr-{turn}-{n}" for n in range(more)])
    taken = sum(notice.data["archivedCount" if archives else "deleted"] for notice in stack.notices())
    assert 0 < taken <= most
    assert stack.notices()[-1].data["failuresByCode"] == {"SelectionGrew": 1}
    assert stack.waiting() == stack.dead_letters() == []


def test_a_dry_run_that_is_switched_on_stops_what_continues(stack: Outside) -> None:
    """The rest is left alone, and that is a failure which is reported: its sender was told that it goes on."""
    answer = begin(stack, variables=ANY_SHARE)

    stack.drain(stack.start(DRY_RUN="true", **ANY_SHARE))

    assert len(stack.left()) == 250 - answer["deleted"]
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["requestId"]) == ("failure", "weekly#1")
    assert [failure["failureCode"] for failure in notice.data["failures"]] == ["StoppedByDryRun"]


def follow_up(turn: int, seal: str | None, **request: Any) -> Json:
    """A message that says it is one of the function's own."""
    origin = {"kind": "message", "id": "a", "source": "b", "sender": None}
    envelope = {"key": ["request", "weekly"], "requestId": f"weekly#{turn}", "turn": turn, "taken": 0, "seal": seal}
    return {"followUp": envelope | {"origin": origin}, "request": {"repositoryName": REPOSITORY} | request}


def test_nobody_chooses_the_generation_that_proves_a_turn(stack: Outside) -> None:
    """A first message that names one is no follow-up, so that a second one cannot be proven by it."""
    stack.push_many(["pr-1", "pr-2", "pr-3"])
    function = stack.start(MAX_IMAGES_PER_REQUEST="2")
    stack.send_to_bulk(follow_up(0, "chosen", imageIds=["imageTag=gone"]))
    stack.drain(function)
    stack.send_to_bulk(follow_up(1, "chosen", imageIds=["imageTag=pr-1", "imageTag=pr-2", "imageTag=pr-3"]))

    stack.drain(function)

    assert len(stack.left()) == 3
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"] * 2


def test_what_continues_is_not_kept_out_by_who_only_claims_to(stack: Outside) -> None:
    """A message that takes its place, within all limits, is rejected; the rest of the selection is carried out."""
    begin(stack, variables=ANY_SHARE)
    function = stack.start(**ANY_SHARE)
    body = json.dumps(follow_up(1, "0", imageIds=["imageTag=pr-0"]))
    forged = sqs_record("forged", body, queue=stack.aws.outputs["BulkQueueArn"])

    assert function({"Records": [forged]}, FakeLambdaContext()) == {"batchItemFailures": [{"itemIdentifier": "forged"}]}
    stack.drain(function)

    assert stack.left() == set()


@pytest.mark.parametrize("used", [False, True], ids=["of no request", "of one that was admitted"])
def test_a_message_that_only_claims_to_continue_is_held_to_the_limits(stack: Outside, used: bool) -> None:  # noqa: FBT001
    """Its generation is that of no claim in the table; its rejection names the request as the envelope does."""
    if used:
        ask(stack.start(), "imageTag=gone", requestId="weekly", notify="always")
    reported = len(stack.notices())
    stack.push_many([f"pr-{n}" for n in range(3)])
    stack.send_to_bulk(follow_up(1, "0", selection=PREVIEWS, allowPercent=100, reason="a trick"))

    stack.drain(stack.start(ALLOW_PERCENT_IN_REQUESTS="false"))

    assert len(stack.left()) == 3
    [notice] = stack.notices()[reported:]
    assert notice.data["type"] == "rejection"
    assert (notice.data["requestId"], notice.data["reason"]) == ("weekly#1", "a trick")
