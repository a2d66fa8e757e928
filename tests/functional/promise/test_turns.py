"""A selection that is continued in another message stays the request that it was admitted as."""

from typing import Any

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, ask, hurried, select

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


def test_a_dry_run_that_is_switched_on_stops_what_continues(stack: Outside) -> None:
    """The rest is left alone, and that is a failure which is reported: its sender was told that it goes on."""
    answer = begin(stack, variables=ANY_SHARE)

    stack.drain(stack.start(DRY_RUN="true", **ANY_SHARE))

    assert len(stack.left()) == 250 - answer["deleted"]
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["requestId"]) == ("failure", "weekly#1")
    assert [failure["failureCode"] for failure in notice.data["failures"]] == ["StoppedByDryRun"]


@pytest.mark.parametrize("used", [False, True], ids=["of no request", "of one that was admitted"])
def test_a_message_that_only_claims_to_continue_is_held_to_the_limits(stack: Outside, used: bool) -> None:  # noqa: FBT001
    """Its generation is that of no claim in the table; its rejection names the request as the envelope does."""
    if used:
        ask(stack.start(), "imageTag=gone", requestId="weekly", notify="always")
    reported = len(stack.notices())
    stack.push_many([f"pr-{n}" for n in range(3)])
    origin = {"kind": "message", "id": "a", "source": "b", "sender": None}
    envelope = {"key": ["request", "weekly"], "requestId": "weekly#1", "turn": 1, "generation": "0", "origin": origin}
    request = {"repositoryName": "team/app", "selection": PREVIEWS, "allowPercent": 100, "reason": "a trick"}
    stack.send_body({"followUp": envelope, "request": request})

    stack.drain(stack.start(ALLOW_PERCENT_IN_REQUESTS="false"))

    assert len(stack.left()) == 3
    [notice] = stack.notices()[reported:]
    assert notice.data["type"] == "rejection"
    assert (notice.data["requestId"], notice.data["reason"]) == ("weekly#1", "a trick")
