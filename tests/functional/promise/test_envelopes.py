"""What the stack sends to its own queue counts as it was sent, however often it comes back, and in no other way."""

import json
from typing import Any

import pytest

from local.poller import Handler
from tests.harness.outside import ANY_SHARE, DAY, PREVIEWS, REPOSITORY, Outside, request
from tests.harness.server_faults import server_error, throttle

type Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("no_waiting")

OTHER = "team/web"
EVERYTHING = {"tagStatus": "tagged", "tagPatternList": ["*"]}
SOMEBODY = {"kind": "event", "id": "x", "source": "s", "sender": "somebody else"}
CHANGES: dict[str, Json] = {
    "another repository": {"request": {"repositoryName": OTHER, "selection": PREVIEWS}},
    "other images": {"request": request(selection=EVERYTHING)},
    "for real": {"request": request(selection=PREVIEWS)},
    "another name": {"followUp": {"requestId": "somebody's"}},
    "another sender": {"followUp": {"origin": SOMEBODY}},
    "without its seal": {"followUp": {"seal": None}},
}


@pytest.fixture
def everything(stack: Outside) -> dict[str, set[str]]:
    """Two repositories with images, by name."""
    stack.create(OTHER)
    stack.push_many([f"pr-{n}" for n in range(120)])
    stack.push("v1", repository=OTHER)
    stack.push("pr-1", repository=OTHER)
    return {name: stack.left(name) for name in (REPOSITORY, OTHER)}


def receive_first_turn(stack: Outside, function: Handler) -> None:
    """Delivers a selection of more than a hundred images, of which ECR deletes a hundred before it throttles."""
    busy = stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 10_000))
    stack.receive(function)
    busy.lift()


def changed(body: str, change: Json) -> Json:
    """Returns a message with a change in its envelope, or another request in it."""
    message: Json = json.loads(body)
    message["followUp"] |= change.get("followUp", {})
    return message | {"request": change.get("request", message["request"])}


@pytest.mark.parametrize("change", CHANGES)
def test_a_part_of_a_fan_out_counts_as_it_was_sent(
    stack: Outside, everything: dict[str, set[str]], change: str
) -> None:
    """Who takes one for a model is rejected: on the request queue, and again when all dead letters are sent back."""
    function = stack.start(**ANY_SHARE)
    stack.send_bulk(repositoryNames=[REPOSITORY], selection=PREVIEWS, requestId="nightly", dryRun=True)
    stack.receive(function)
    [body] = stack.take("nightly")
    stack.send_body(changed(body, CHANGES[change]))
    stack.drain(function)
    stack.redrive()
    stack.drain(function)
    assert {name: stack.left(name) for name in everything} == everything
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"] * 2
    stack.send_to_bulk(body)
    stack.drain(function)
    assert len(stack.dead_letters()) == 1


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "for real"])
def test_a_further_turn_counts_as_it_was_sent(stack: Outside, everything: dict[str, set[str]], change: str) -> None:
    """It is not held to the limits, for its first turn was: so nobody else may say what it asks for."""
    stack.send_bulk(selection=PREVIEWS, requestId="weekly")
    receive_first_turn(stack, stack.start(**ANY_SHARE))
    left = {name: stack.left(name) for name in everything}
    assert 0 < len(left[REPOSITORY]) < 120
    [body] = stack.take("weekly")
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="10")
    stack.send_to_bulk(changed(body, CHANGES[change]))
    stack.drain(function)
    assert {name: stack.left(name) for name in everything} == left
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
    stack.send_to_bulk(body)
    stack.drain(function)
    assert (stack.left(), stack.left(OTHER)) == (set(), left[OTHER])


def test_no_message_says_what_it_is_sealed_with(stack: Outside) -> None:
    """Who may read dead letters cannot make one."""
    stack.push_many([f"pr-{n}" for n in range(120)])
    stack.send_bulk(repositoryNames=[REPOSITORY], selection=PREVIEWS, requestId="nightly", notify="summary")
    function = stack.start(**ANY_SHARE)
    stack.receive(function)
    bodies = stack.waiting()
    receive_first_turn(stack, function)
    bodies += stack.waiting()
    assert {json.loads(body)["followUp"]["turn"] for body in bodies} == {0, 1}
    pages = (
        stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=stack.aws.resources["IdempotencyTable"])
    )
    items = [item for page in pages for item in page["Items"]]
    generations = {item["generation"]["S"] for item in items if item["step"]["S"].endswith("claim")}
    assert len(generations) == 2
    assert not [body for body in bodies if any(generation in body for generation in generations)]


@pytest.mark.parametrize(
    ("way", "outage"),
    [
        ("to the bulk queue", "of ECR"),
        ("to the request queue", "of ECR"),
        ("to the request queue", "of SNS"),
        ("as part of a fan-out", "of SNS"),
        ("as a turn", "of ECR"),
        ("as a turn", "of SNS"),
    ],
)
def test_it_counts_however_late_it_is_sent_back(stack: Outside, way: str, outage: str) -> None:
    """A redrive gives a dead letter 14 more days, and then again: what knows it lasts for as long as it is met."""
    stack.push_many([f"pr-{n}" for n in range(150)])
    function = stack.start(**ANY_SHARE)
    several = {"repositoryNames": [REPOSITORY]} if way == "as part of a fan-out" else {}
    send = stack.send if way == "to the request queue" else stack.send_bulk
    send(selection=PREVIEWS, requestId="nightly", notify="always", **several)
    if way == "as a turn":
        receive_first_turn(stack, function)
    reported = len(stack.notices())
    fault = {"of ECR": ("DescribeImages", throttle), "of SNS": ("Publish", server_error)}[outage]
    broken = stack.faults.add(*fault)
    for redrive in range(4):
        stack.drain(function)
        assert (len(stack.dead_letters()), len(stack.notices())) == (1, reported), redrive
        stack.let_time_pass(13 * DAY)
        stack.expire()
        stack.redrive()
    broken.lift()
    stack.drain(function)
    assert (stack.left(), stack.dead_letters()) == (set(), [])
    assert [notice.data["type"] for notice in stack.notices()[reported:]] == ["report"]
