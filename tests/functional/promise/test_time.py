"""Every invocation ends before its time-out, and the next delivery goes on from there."""

from collections import Counter

from tests.harness.outside import Outside, by_tag, limited
from tests.harness.server_faults import SENDS, delay

INDEXES = [f"v{n}" for n in range(20)]


def push_families(stack: Outside, relatives: int) -> None:
    """Pushes 20 indexes, each with so many platform images."""
    for tag in INDEXES:
        stack.push_index([stack.push() for _ in range(relatives)], tag)


def test_relatives_are_searched_side_by_side(stack: Outside) -> None:
    """220 calls of 50 ms take 11 seconds one after another: side by side they fit, and the whole batch is done."""
    push_families(stack, 10)
    stack.push("a")
    stack.send(*by_tag(INDEXES), cascade=True)
    stack.send("imageTag=a")
    stack.faults.add("ListImageReferrers", delay(0.05))

    poll = stack.receive(limited(stack.start(), 8))

    assert (poll.error, poll.failed) == (None, ())
    assert stack.left() == set()
    assert stack.waiting() == []


def test_a_search_for_relatives_ends_in_time_and_goes_on(stack: Outside) -> None:
    """One at a time, 100 calls do not fit: the rest of the batch is done at once, and hardly a call is made twice."""
    push_families(stack, 4)
    stack.push("a")
    slow = stack.send(*by_tag(INDEXES), cascade=True)
    stack.send("imageTag=a")
    stack.faults.add("ListImageReferrers", delay(0.03))
    function = limited(stack.start(MAX_CONCURRENT_CALLS="1"), 3)

    first = stack.receive(function)

    assert first.error is None
    assert first.failed == (slow,)
    assert "a" not in stack.tags()
    assert len(stack.left()) == 100
    polls = stack.drain(function)
    assert [poll.error for poll in polls] == [None] * len(polls)
    assert stack.left() == set()
    assert stack.faults.count("ListImageReferrers") < 130
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


def test_a_fan_out_ends_in_time_and_goes_on(stack: Outside) -> None:
    """With a slow SQS not all messages are sent in time: the rest of the batch is done, and each repository once."""
    names = [f"team/app-{n}" for n in range(50)]
    stack.push("a")
    slow = stack.send("imageTag=a", repositoryNames=names)
    stack.send("imageTag=a")
    stack.faults.add(SENDS, delay(0.8))
    function = limited(stack.start(), 3)

    first = stack.receive(function)

    assert first.error is None
    assert set(first.failed) <= {slow}
    assert stack.left() == set()
    polls = stack.drain(function)
    assert [poll.error for poll in polls] == [None] * len(polls)
    # None of the repositories is there, and each request reports that.
    assert Counter(notice.data["repositoryName"] for notice in stack.notices()) == dict.fromkeys(names, 1)
    assert stack.waiting() == stack.dead_letters() == []
