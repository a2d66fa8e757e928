"""Deleted once, however the request arrives: a tag that was pushed again since a delivery survives its duplicate."""

from typing import Any

import pytest

from local.runtime import FakeLambdaContext
from tests.harness.arrivals import WAYS, deliver
from tests.harness.outside import Outside, codes, request
from tests.harness.server_faults import drop_after, drop_before

type Json = dict[str, Any]


@pytest.mark.parametrize("way", WAYS)
def test_a_tag_pushed_again_survives_a_duplicate(stack: Outside, way: str) -> None:
    """The second delivery of the same request replays the first one's outcome, and does not see the new image."""
    stack.push("latest")
    function = stack.start()
    first = deliver(function, way, request("imageTag=latest"))
    assert stack.left() == set()
    again = stack.push("latest", days=0)

    second = deliver(function, way, request("imageTag=latest"), n=2)

    assert first == second
    assert not first.failed
    assert stack.left() == {again}
    assert stack.notices() == []


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("way", WAYS)
def test_a_tag_pushed_again_survives_an_answer_that_was_lost(stack: Outside, way: str) -> None:
    """ECR deletes, and no further answer arrives: the redelivery sees that the tag was pushed since and keeps it."""
    stack.push("latest")
    function = stack.start()
    stack.faults.add("BatchDeleteImage", drop_after)
    stack.faults.add("DescribeImages", drop_before)
    assert deliver(function, way, request("imageTag=latest")).failed
    assert stack.left() == set()
    stack.faults.lift()
    again = stack.push("latest", days=0)

    assert not deliver(function, way, request("imageTag=latest"), n=2).failed

    assert stack.left() == {again}
    [notice] = stack.notices()
    assert codes(notice.data) == ["ImageTagPushedAgain"]
    assert "retryRequest" not in notice.data  # it would delete the new image


def test_the_same_content_an_hour_later_is_a_new_request(stack: Outside) -> None:
    """The key is never a hash of the content: another message with the same body deletes again."""
    function = stack.start()
    for _ in range(2):
        stack.push("latest")
        stack.send("imageTag=latest")
        stack.drain(function)
        assert stack.left() == set()


def test_a_dead_letter_of_an_invocation_keeps_its_key(stack: Outside) -> None:
    """Sent to the queue, Lambda's record of a failed invocation repeats none of the steps that it had finished."""
    stack.push("latest")
    function, context = stack.start(), FakeLambdaContext()
    function(request("imageTag=latest"), context)
    again = stack.push("latest", days=0)
    stack.send_body({
        "version": "1.0",
        "timestamp": "2026-11-23T04:00:00.000Z",
        "requestContext": {
            "requestId": context.aws_request_id,
            "functionArn": f"{context.invoked_function_arn}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": request("imageTag=latest"),
    })  # fmt: skip

    stack.drain(function)

    assert stack.left() == {again}
    assert stack.dead_letters() == []
