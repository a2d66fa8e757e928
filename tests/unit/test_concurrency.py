"""Bounded threads: tasks side by side, in bounds and in order, none left running, none started too late."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

import pytest

from handler.concurrency import Deadline, TaskPool, share_one_processor
from handler.models.errors import OutOfTimeError


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """More threads than any pool here may use."""
    with ThreadPoolExecutor(16) as threads:
        yield threads


def test_results_come_in_the_order_of_the_tasks(executor: ThreadPoolExecutor) -> None:
    """Whichever task ends first: here the second waits for the fourth."""
    fourth = threading.Event()

    def second() -> str:
        assert fourth.wait(5)
        return "second"

    def last() -> str:
        fourth.set()
        return "fourth"

    tasks: list[Callable[[], str]] = [lambda: "first", second, lambda: "third", last]
    assert TaskPool(executor, 3).run(tasks) == ["first", "second", "third", "fourth"]
    assert TaskPool(executor, 3).run([]) == []


@pytest.mark.parametrize(("width", "of_this_run"), [(1, None), (2, None), (5, None), (5, 1), (5, 2)])
def test_no_more_tasks_run_than_the_pool_is_wide(
    executor: ThreadPoolExecutor, width: int, of_this_run: int | None
) -> None:
    """Nor fewer: each round of tasks waits until the pool is full. One run may be narrower than its pool."""
    lock, running, seen = threading.Lock(), [0], list[int]()
    full = threading.Barrier(of_this_run or width)

    def task() -> None:
        with lock:
            running[0] += 1
            seen.append(running[0])
        full.wait(5)
        with lock:
            running[0] -= 1

    TaskPool(executor, width).run([task] * 10, of_this_run)
    assert (max(seen), len(seen), running) == (of_this_run or width, 10, [0])


def test_a_single_task_needs_no_thread() -> None:
    """It runs in the thread that asks, so a request for one image waits for no other."""
    with ThreadPoolExecutor(1) as executor:
        assert TaskPool(executor, 3).run([threading.get_ident]) == [threading.get_ident()]


def test_tasks_of_several_requests_share_the_threads() -> None:
    """A pool that is wider than its executor has threads takes them in turn."""
    with ThreadPoolExecutor(1) as executor:
        assert TaskPool(executor, 8).run(partial(int, n) for n in range(20)) == list(range(20))


def test_an_error_begins_no_further_task_and_waits_for_those_that_run(executor: ThreadPoolExecutor) -> None:
    """A thread left behind would wake up in the next invocation."""
    both, failed = threading.Barrier(2), threading.Event()
    ended: list[str] = []

    def slow() -> None:
        both.wait(5)
        failed.wait(5)
        ended.append("slow")

    def fails() -> None:
        both.wait(5)
        failed.set()
        raise ValueError("second")

    tasks: list[Callable[[], None]] = [slow, fails, *[partial(ended.append, "never")] * 20]
    with pytest.raises(ValueError, match=r"^second$"):
        TaskPool(executor, 2).run(tasks)
    assert ended == ["slow"]


def test_tasks_that_wait_for_a_thread_are_not_begun_after_an_error() -> None:
    """They were handed to the executor, whose only thread others have."""
    submitted: list[Future[Any]] = []
    ended: list[int] = []

    class Recorder(ThreadPoolExecutor):
        def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
            future = super().submit(fn, *args, **kwargs)
            submitted.append(future)
            return future

    def fails() -> None:
        raise ValueError

    def last_is_cancelled() -> None:
        end = time.monotonic() + 5
        while not submitted[-1].cancelled() and time.monotonic() < end:
            threading.Event().wait(0.001)

    tasks: list[Callable[[], None]] = [fails, last_is_cancelled, *(partial(ended.append, n) for n in range(6))]
    with Recorder(1) as executor, pytest.raises(ValueError, match=r"^$"):
        TaskPool(executor, 8).run(tasks)
    assert ended == []


@pytest.mark.parametrize(("remaining", "enough"), [(0.0, False), (0.9, False), (1.0, True), (60.0, True)])
def test_no_call_is_begun_without_time_for_it(remaining: float, enough: bool) -> None:  # noqa: FBT001
    """Until one has shown otherwise, a call is expected to take half a second; twice that must be left."""
    deadline = Deadline(lambda: remaining)
    if enough:
        deadline.check()
    else:
        with pytest.raises(OutOfTimeError, match=r"^too little time is left"), deadline.calling():
            raise AssertionError("the call was made")


@pytest.mark.parametrize("ends", ["answered", "failed"])
def test_the_slowest_call_so_far_says_how_much_time_another_needs(ends: str) -> None:
    """Also one that failed: after a call of 10 seconds, 19 are too few for the next, however quick others were."""
    remaining = [60.0]
    deadline = Deadline(lambda: remaining[0])

    def call(seconds: float) -> None:
        start = time.monotonic()
        with mock.patch("time.monotonic", side_effect=[start, start + seconds]), deadline.calling():
            if ends == "failed":
                raise ConnectionError

    for seconds in (10.0, 0.1):
        try:
            call(seconds)
        except ConnectionError:
            assert ends == "failed"
    remaining[0] = 19.0
    with pytest.raises(OutOfTimeError):
        deadline.check()
    remaining[0] = 20.0
    deadline.check()


@pytest.mark.parametrize(("memory_mb", "processors"), [(128, 1), (1769, 1), (1770, None), (0, None)])
def test_threads_share_one_processor(memory_mb: int, processors: int | None) -> None:
    """Where Lambda gives the time of no more than one, and only there; it is one of those that were allowed."""

    def after() -> tuple[set[int], set[int]]:
        share_one_processor(memory_mb)
        with ThreadPoolExecutor(1) as later:
            return os.sched_getaffinity(0), later.submit(os.sched_getaffinity, 0).result()

    allowed = os.sched_getaffinity(0)
    with ThreadPoolExecutor(1) as own:  # what a thread chooses holds for itself, and for those that it starts
        chosen, inherited = own.submit(after).result()
    assert chosen == inherited
    assert chosen <= allowed
    assert len(chosen) == (processors or len(allowed))


@pytest.mark.parametrize("call", ["sched_getaffinity", "sched_setaffinity"])
def test_a_processor_that_may_not_be_chosen(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The function works as well where the system refuses."""
    refused = mock.Mock(side_effect=PermissionError)
    monkeypatch.setattr(os, call, refused)
    share_one_processor(128)
    refused.assert_called_once()
