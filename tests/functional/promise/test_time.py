"""Every invocation ends before its time-out, and the next delivery goes on from there."""

import threading
import time
from collections import Counter

from tests.harness.outside import Clock, Outside, by_tag
from tests.harness.server_faults import SENDS, Answer, Call, Perform, unavailable

INDEXES = [f"v{n}" for n in range(20)]


def push_families(stack: Outside, relatives: int) -> None:
    """Pushes 20 indexes, each with so many platform images."""
    for tag in INDEXES:
        stack.push_index([stack.push() for _ in range(relatives)], tag)


def test_relatives_are_searched_side_by_side(stack: Outside) -> None:
    """Several calls are in flight at a time, and never more than MAX_CONCURRENT_CALLS; the whole batch is done."""
    push_families(stack, 10)
    stack.push("a")
    stack.send(*by_tag(INDEXES), cascade=True)
    stack.send("imageTag=a")
    in_flight: list[int] = [0]
    lock = threading.Lock()

    def count(call: Call, perform: Perform) -> Answer:
        with lock:
            in_flight.append(in_flight[-1] + 1)
        time.sleep(0.02)
        with lock:
            in_flight.append(in_flight[-1] - 1)
        return perform(call.body)

    stack.faults.add("ListImageReferrers", count)

    assert stack.receive(stack.start(MAX_CONCURRENT_CALLS="5")).failed == ()

    assert 2 < max(in_flight) <= 5
    assert stack.left() == set()
    assert stack.waiting() == []


def test_a_search_for_relatives_ends_in_time_and_goes_on(stack: Outside) -> None:
    """One at a time, 100 slow calls do not fit: the rest of the batch is done, and hardly a call is made twice."""
    push_families(stack, 4)
    stack.push("a")
    slow = stack.send(*by_tag(INDEXES), cascade=True)
    stack.send("imageTag=a")
    clock = Clock()
    stack.faults.add("ListImageReferrers", clock.takes(0.5))
    function = clock.limit(stack.start(MAX_CONCURRENT_CALLS="1"), 20)

    first = stack.receive(function)

    assert (first.error, first.failed) == (None, (slow,))
    assert "a" not in stack.tags()
    assert len(stack.left()) == 100
    polls = stack.drain(function)
    assert [poll.error for poll in polls] == [None] * len(polls)
    assert stack.left() == set()
    assert stack.faults.count("ListImageReferrers") < 130
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


def test_a_fan_out_ends_in_time_and_goes_on(stack: Outside) -> None:
    """With a slow SQS not all messages are sent in time: a redelivery goes on, and each repository gets one."""
    names = [f"team/app-{n}" for n in range(50)]  # five calls, one after another
    slow = stack.send_bulk("imageTag=a", repositoryNames=names)
    clock = Clock()
    stack.faults.add(SENDS, clock.takes(2))
    function = clock.limit(stack.start(MAX_CONCURRENT_CALLS="1"), 8)

    first = stack.receive(function)

    assert (first.error, first.failed, 0 < len(stack.waiting()) - 1 < len(names)) == (None, (slow,), True)
    polls = stack.drain(function)
    assert [poll.error for poll in polls] == [None] * len(polls)
    # None of the repositories is there, and each request reports that.
    assert Counter(notice.data["repositoryName"] for notice in stack.notices()) == dict.fromkeys(names, 1)
    assert stack.waiting() == stack.dead_letters() == []


def test_a_wait_ends_in_time_too(stack: Outside) -> None:
    """ECR cannot delete an image at the moment, and too little time is left to wait: the message comes again."""
    stack.push("a")
    stack.send("imageTag=a")
    clock = Clock()
    stack.faults.add("BatchDeleteImage", unavailable, nth=range(1, 3))

    first = stack.receive(clock.limit(stack.start(), 1.5))

    assert (first.error, len(first.failed), clock.now()) == (None, 1, 0)
    stack.drain(stack.start())
    assert stack.left() == set()
