"""Selections that run out of time, or that ECR throttles: they stop in good order, and a message continues them."""

from typing import Any

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, hurried, select
from tests.harness.server_faults import throttle

type Json = dict[str, Any]


def test_when_time_runs_short_a_message_continues_it(stack: Outside) -> None:
    """As often as it takes, each going on where the last one stopped."""
    stack.push_many([f"pr-{n}" for n in range(250)])
    function = stack.start(MAX_CONCURRENT_CALLS="1", **ANY_SHARE)
    answer = select(
        hurried(function, lambda: 0 if stack.faults.count("BatchDeleteImage") else 100), PREVIEWS, requestId="r"
    )
    assert 0 < answer["deleted"] < 250 == answer["selected"]
    assert answer["continuedAs"] == "r#1"
    stack.drain(function)
    assert stack.left() == set()
    assert stack.waiting() == []


def test_without_time_for_anything_nothing_continues_it(stack: Outside) -> None:
    """The invocation fails for now, and what tries it again finds everything as it was."""
    digest = stack.push("pr-1")
    with pytest.raises(Exception, match="time ran out"):
        select(hurried(stack.start(**ANY_SHARE), lambda: 0), PREVIEWS)
    assert stack.left() == {digest}
    assert stack.waiting() == []


@pytest.mark.usefixtures("no_waiting")
def test_throttled_in_the_middle_a_message_continues_it(stack: Outside) -> None:
    """The report says what was deleted and what goes on; what is done is not done again."""
    stack.push_many([f"pr-{n}" for n in range(101)])
    function = stack.start(**ANY_SHARE)
    stack.send_bulk(selection=PREVIEWS, requestId="r", notify="always")
    throttled = stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))

    first = stack.receive(function)

    assert first.failed == ()
    [notice] = stack.notices()
    deleted = notice.data["deleted"]
    assert deleted in {1, 100}
    assert (notice.data["type"], notice.data["selected"], notice.data["continuedAs"]) == ("report", 101, "r#1")
    assert len(stack.left()) == 101 - deleted
    assert len(stack.waiting()) == 1

    throttled.lift()
    assert stack.duplicate(first).failed == ()
    assert (len(stack.left()), len(stack.waiting())) == (101 - deleted, 1)

    stack.drain(function)
    assert stack.left() == set()
    assert [notice.data["requestId"] for notice in stack.notices()] == ["r", "r#1"]
    assert [notice.data["deleted"] for notice in stack.notices()] == [deleted, 101 - deleted]
    assert "continuedAs" not in stack.notices()[-1].data
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.usefixtures("no_waiting")
def test_throttled_between_an_index_and_its_images_all_of_it_goes(stack: Outside) -> None:
    """The message that continues it takes what the index that went has left behind."""
    stack.push_index([stack.push(), stack.push()], "pr-1")
    function = stack.start(**ANY_SHARE)
    stack.send_bulk(selection=PREVIEWS)
    throttled = stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    stack.receive(function)
    assert len(stack.left()) == 2
    throttled.lift()
    stack.drain(function)
    assert stack.left() == set()


@pytest.mark.usefixtures("no_waiting")
def test_throttled_before_anything_is_deleted_the_message_stays(stack: Outside) -> None:
    """A later delivery of the same message does it all."""
    digest = stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    sent = stack.send_bulk(selection=PREVIEWS, notify="always")
    throttled = stack.faults.add("BatchDeleteImage", throttle)
    assert stack.receive(function).failed == (sent,)
    assert (stack.left(), stack.notices(), len(stack.waiting())) == ({digest}, [], 1)
    throttled.lift()
    stack.drain(function)
    assert stack.left() == set()
    [notice] = stack.notices()
    assert (notice.data["deleted"], "continuedAs" in notice.data) == (1, False)
    assert stack.waiting() == stack.dead_letters() == []
