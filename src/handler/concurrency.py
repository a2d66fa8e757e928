"""Bounded threads on one processor, stopping before the invocation's time is up."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress

from .models.errors import OutOfTimeError

_ONE_PROCESSOR_MB = 1769
"""MemorySize from which on a function has the time of one processor, as Lambda's guide says under "Memory"."""


def share_one_processor(memory_mb: int) -> None:
    """Keeps this thread, and those that it will start, on one processor if so much memory brings the time of no more.

    Lambda shows such a function two. Python's threads take turns anyway; on two processors they take them with cold
    caches, and what that costs counts as the function's time.
    """
    if 0 < memory_mb <= _ONE_PROCESSOR_MB:
        with suppress(OSError):  # where that may not be chosen, all works as well
            processors = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {processors[os.getpid() % len(processors)]})


class Deadline:
    """The time that is left to an invocation, measured in the slowest call so far."""

    def __init__(self, remaining_seconds: Callable[[], float]) -> None:
        self._remaining_seconds = remaining_seconds
        self._slowest = 0.5

    def check(self, wait: float = 0.0) -> None:
        """Raises OutOfTimeError unless twice the slowest call fits into what is left, after a wait of so many seconds.

        A fixed reserve would be too long for the usual call and too short for a slow one.
        """
        if self._remaining_seconds() - wait < 2 * self._slowest:
            raise OutOfTimeError("too little time is left for another call; sent or delivered again, it resumes")

    def sleep(self, seconds: float) -> None:
        """Waits for a call that is to come. Raises OutOfTimeError unless that fits into what is left after it."""
        if seconds > 0:
            self.check(seconds)
            time.sleep(seconds)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Checks the time before a call, and remembers how long it takes. Raises OutOfTimeError."""
        self.check()
        start = time.monotonic()
        try:
            yield
        finally:
            self._slowest = max(self._slowest, time.monotonic() - start)


class TaskPool:
    """Runs at most `width` tasks of one request at a time, so that a large request cannot starve the others."""

    def __init__(self, executor: Executor, width: int) -> None:
        self._executor = executor
        self._width = width

    def run[T](self, tasks: Iterable[Callable[[], T]], width: int | None = None) -> list[T]:
        """Returns what each task returned, in order; a single one runs in the thread that asks.

        Raises what a task raised; no further task is begun then, and those that were have ended.
        """
        tasks = list(tasks)
        if len(tasks) == 1:
            return [tasks[0]()]
        started: list[Future[T]] = []
        running: set[Future[T]] = set()
        try:
            for task in tasks:
                if len(running) >= (width or self._width):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                started.append(self._executor.submit(task))
                running.add(started[-1])
            return [future.result() for future in started]
        finally:
            for future in running:
                future.cancel()
            wait(running)
