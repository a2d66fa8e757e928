"""The pool: steps side by side, in bounds, in order, and none left running."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from handler.deletion import Step, StepPool, Taken
from handler.models import OutOfTimeError

LONG = 60.0


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """More threads than any pool here may use."""
    with ThreadPoolExecutor(16) as threads:
        yield threads


def plain[T](*functions: Callable[[], T]) -> list[Step[T]]:
    """Steps that are taken at once."""

    def step(function: Callable[[], T]) -> Step[T]:
        def run(taken: Taken) -> T:
            taken()
            return function()

        return run

    return [step(function) for function in functions]


class Gauge:
    """Counts the steps that run at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = 0
        self.seen: list[int] = []
        """How many ran when each step began, itself included."""

    def __enter__(self) -> None:
        with self._lock:
            self.running += 1
            self.seen.append(self.running)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.running -= 1


def test_answers_come_in_the_order_of_the_steps(executor: ThreadPoolExecutor) -> None:
    """Whichever step ends first: here the second waits for the fourth."""
    fourth = threading.Event()

    def second() -> str:
        assert fourth.wait(5)
        return "second"

    def last() -> str:
        fourth.set()
        return "fourth"

    steps = plain(lambda: "first", second, lambda: "third", last)
    assert StepPool(executor, 3, lambda: LONG).run(steps) == ["first", "second", "third", "fourth"]


def test_no_steps_are_no_answers(executor: ThreadPoolExecutor) -> None:
    """A pass without work ends at once, also when no time is left."""
    assert StepPool(executor, 3, lambda: 0.0).run([]) == []


@pytest.mark.parametrize("width", [1, 2, 5])
def test_no_more_steps_run_than_the_pool_is_wide(executor: ThreadPoolExecutor, width: int) -> None:
    """Nor fewer: each round of steps waits until the pool is full."""
    gauge = Gauge()
    full = threading.Barrier(width)

    def step() -> None:
        with gauge:
            full.wait(5)

    StepPool(executor, width, lambda: LONG).run(plain(*[step] * (3 * width)))
    assert max(gauge.seen) == width
    assert gauge.running == 0


def test_a_single_step_needs_no_thread() -> None:
    """It runs where it is asked for, so a one-image request waits for no other."""
    with ThreadPoolExecutor(1) as executor:
        threads = StepPool(executor, 3, lambda: LONG).run(plain(threading.get_ident))
    assert threads == [threading.get_ident()]


def test_the_others_begin_when_the_first_is_taken(executor: ThreadPoolExecutor) -> None:
    """Not before: it meets a reused key or a twin still at work. And not only when it is done."""
    begun: list[str] = []
    others = threading.Barrier(3)

    def first(taken: Taken) -> None:
        threading.Event().wait(0.02)
        assert begun == []
        taken()
        others.wait(5)

    def other(_: Taken) -> None:
        begun.append("other")
        others.wait(5)

    StepPool(executor, 8, lambda: LONG).run([first, other, other])
    assert begun == ["other", "other"]


def test_the_others_begin_when_the_first_is_replayed(executor: ThreadPoolExecutor) -> None:
    """It is never taken then, but known to have been."""
    steps: list[Step[str]] = [lambda _: "replayed", *plain(lambda: "done")]
    assert StepPool(executor, 8, lambda: LONG).run(steps) == ["replayed", "done"]


def test_a_first_step_that_fails_is_the_only_one(executor: ThreadPoolExecutor) -> None:
    """What it met concerns them all."""
    begun: list[int] = []

    def step(n: int) -> Step[None]:
        def run(_: Taken) -> None:
            begun.append(n)
            raise ValueError(n)

        return run

    with pytest.raises(ValueError, match=r"^0$"):
        StepPool(executor, 8, lambda: LONG).run([step(n) for n in range(20)])
    assert begun == [0]


def test_an_error_waits_for_the_steps_that_run_and_begins_no_more(executor: ThreadPoolExecutor) -> None:
    """A thread left behind would wake up in the next invocation."""
    gauge, begun = Gauge(), threading.Barrier(2)
    ended: list[str] = []

    def slow() -> None:
        with gauge:
            begun.wait(5)
            threading.Event().wait(0.02)
            ended.append("slow")

    def fails() -> None:
        begun.wait(5)
        raise ValueError("third")

    def never() -> None:
        ended.append("never")

    with pytest.raises(ValueError, match=r"^third$"):
        StepPool(executor, 2, lambda: LONG).run(plain(lambda: None, slow, fails, *[never] * 20))
    assert (ended, gauge.running) == (["slow"], 0)


def test_steps_wait_their_turn_in_a_pool_that_others_use() -> None:
    """A width beyond the threads there are is no more than a wish."""
    numbers = [partial(int, n) for n in range(20)]
    with ThreadPoolExecutor(1) as narrow:
        assert StepPool(narrow, 8, lambda: LONG).run(plain(*numbers)) == list(range(20))


@pytest.mark.parametrize(("remaining", "begun"), [(0.0, 0), (0.9, 0), (1.0, 3), (LONG, 3)])
def test_nothing_is_begun_without_time_to_finish_it(executor: ThreadPoolExecutor, remaining: float, begun: int) -> None:
    """A step is taken to need half a second until one has shown otherwise, and twice that is kept in hand."""
    done: list[int] = []
    pool = StepPool(executor, 2, lambda: remaining)
    steps = plain(*[partial(done.append, n) for n in range(3)])
    if begun:
        pool.run(steps)
    else:
        with pytest.raises(OutOfTimeError, match=r"^too little time is left to finish another chunk; "):
            pool.run(steps)
    assert len(done) == begun


def test_the_steps_under_way_are_finished_when_time_runs_out(executor: ThreadPoolExecutor) -> None:
    """What was done is not lost, and nothing runs on after the error."""
    done: list[str] = []
    begun = threading.Barrier(3)

    def slow() -> None:
        begun.wait(5)
        threading.Event().wait(0.02)
        done.append("slow")

    def remaining() -> float:
        if next(asked):
            return LONG
        begun.wait(5)
        return 0.5

    asked = iter([True, True, False])
    with pytest.raises(OutOfTimeError):
        StepPool(executor, 8, remaining).run(plain(slow, slow, slow))
    assert done == ["slow", "slow"]


def test_time_is_kept_for_a_step_as_slow_as_the_slowest(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of another pass: where a step took 10 seconds, 15 are too few to begin another."""
    clock = iter([0.0, 10.0, 10.0, 11.0])
    remaining = [LONG]
    pool = StepPool(executor, 1, lambda: remaining[0])
    monkeypatch.setattr("handler.deletion.time.monotonic", lambda: next(clock))
    pool.run(plain(lambda: None))
    remaining[0] = 15.0
    with pytest.raises(OutOfTimeError):
        pool.run(plain(lambda: None))
    remaining[0] = 20.0
    assert pool.run(plain(lambda: "done")) == ["done"]
