"""Crashes: the built package killed at any point of a request, and what a redelivery makes of it."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from local.rie import PACKAGE, FunctionError, RuntimeEmulator
from tests.environment import ENVIRONMENT
from tests.harness.invariants import Allowance, repeated_notices, violations
from tests.harness.loopback import Loopback
from tests.harness.matrix import Result
from tests.harness.request_queue import MAX_RECEIVES, VISIBILITY_SECONDS
from tests.harness.scenario import LARGE, Scenario
from tests.harness.watched import WatchedAWS

type Json = dict[str, Any]

ENDS = ("SIGKILL", "time-out")
CHUNKS = (1, 7, 25)
POINTS = 50

_ERRORS = {"SIGKILL": "Runtime.ExitError", "time-out": "Sandbox.Timedout"}
"""How Lambda calls them."""
_CHUNK_SIZE = 100
_TIMEOUT_SECONDS = 120  # the template's
_SHORT_TIMEOUT_SECONDS = 4  # enough to start, and to finish the largest of these requests
_STARTS = 5
_LATER_SECONDS = 0.02  # a few calls long
_START_SECONDS = 0.4  # what the emulator needs before the first call


@dataclass(frozen=True, slots=True)
class Crash:
    """How and when the function dies while it is at work on its first delivery."""

    end: str
    chunks: int
    """The size of the request."""
    call: int
    """The number of the call at which it dies; -1 while it starts."""
    moment: str
    """"before" the call's work, "after" it, or "later", once the call is answered."""
    seconds: float = 0.0
    """How much later."""
    neighbours: int = 0
    """Small requests in the same batch."""

    def __str__(self) -> str:
        beside = f" beside {self.neighbours}" if self.neighbours else ""
        return f"{self.end} {self.moment} call {self.call} (+ {self.seconds:.3f} s) of {self.chunks} chunks{beside}"


@dataclass
class KillingAWS(WatchedAWS):
    """Kills the function's process when it gets to the point."""

    crash: Crash = field(kw_only=True)
    kill: Callable[[], bool] = lambda: False
    was_killed: bool = False

    def __post_init__(self) -> None:
        self.timer = threading.Timer(self.crash.seconds, self.strike)

    def prepare(self, function: RuntimeEmulator) -> None:
        """Learns whom to kill."""
        self.kill = function.kill
        if self.crash.call < 0:
            self.timer.start()

    def settle(self) -> None:
        """Waits until the killing is over."""
        if self.timer.ident:
            self.timer.join()

    def strike(self) -> None:
        self.was_killed = self.kill()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self.lock:
            due = _total(self) == self.crash.call
            if due and self.crash.moment == "before":
                self.calls[service] += 1
                self.strike()
                raise ConnectionClosedError(endpoint_url=url)
            answer = super().answer(service, operation, body, url)
            if due and self.crash.moment == "after":
                self.strike()
            elif due:
                self.timer.start()
            return answer


@dataclass
class HangingAWS(WatchedAWS):
    """Gives no answer any more from the point on, until the function's time is up."""

    crash: Crash = field(kw_only=True)
    over: threading.Event = field(default_factory=threading.Event)

    def prepare(self, function: RuntimeEmulator) -> None:
        """Starts the process: its start counts against the time-out here, and takes longer on a busy machine."""
        for _ in range(_STARTS):
            with contextlib.suppress(FunctionError):
                function.invoke({"Records": []})
                return
        raise RuntimeError(f"the function did not start within {_SHORT_TIMEOUT_SECONDS} s:\n{function.logs}")

    def settle(self) -> None:
        """Answers again."""
        self.over.set()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self.lock:
            due = _total(self) >= self.crash.call and not self.over.is_set()
            if due and self.crash.moment == "before":
                self.calls[service] += 1
                answer = None
            else:
                answer = super().answer(service, operation, body, url)
        if due:
            self.over.wait(_TIMEOUT_SECONDS)
        if answer is None:
            raise ConnectionClosedError(endpoint_url=url)
        return answer


def _total(aws: WatchedAWS) -> int:
    return sum(aws.calls[service] for service in ("ecr", "dynamodb", "sns", "sqs"))


@cache
def calls_without_crash(chunks: int) -> int:
    """Returns how many calls a request makes when it is left alone."""
    scenario = Scenario.of_images(1, chunks * _CHUNK_SIZE)
    with Loopback(scenario.aws) as aws, instance(aws, _TIMEOUT_SECONDS) as function:
        scenario.queue.deliver(function.invoke)
    assert not scenario.queue.bodies
    return _total(scenario.aws)


def instance(aws: Loopback, timeout: int, package: Path = PACKAGE) -> RuntimeEmulator:
    """Returns an instance of the built package before an AWS."""
    return RuntimeEmulator(
        ENVIRONMENT | LARGE | {"AWS_ENDPOINT_URL": aws.endpoint_url}, timeout=timeout, package=package
    )


def crashes(end: str, chunks: int, points: int = POINTS, neighbours: int = 0) -> Iterator[Crash]:
    """Yields points spread at random from before the first call to after the last, the same ones each time."""
    calls = calls_without_crash(chunks)
    chance = random.Random(f"{end} {chunks}")  # noqa: S311  # no secret
    for n in range(points):
        # One in each of equal parts. Nothing of ours can run out of time before the first call.
        start = -1 if end == "SIGKILL" else 0
        at = start + (calls - start) * (n + chance.random()) / points
        if at < 0:
            yield Crash(end, chunks, -1, "later", _START_SECONDS * chance.random(), neighbours)
            continue
        moment = chance.choice(["before", "after", "later"] if end == "SIGKILL" else ["before", "after"])
        seconds = _LATER_SECONDS * chance.random() if moment == "later" else 0.0
        yield Crash(end, chunks, int(at), moment, seconds, neighbours)


def run(crash: Crash, package: Path = PACKAGE) -> Result:
    """Ends the first delivery, pushes again what is gone, delivers until the queue is empty, and once more."""
    aws = KillingAWS(crash=crash) if crash.end == "SIGKILL" else HangingAWS(crash=crash)
    timeout = _TIMEOUT_SECONDS if crash.end == "SIGKILL" else _SHORT_TIMEOUT_SECONDS
    scenario = Scenario.of_images(1, crash.chunks * _CHUNK_SIZE, aws=aws)
    if crash.neighbours:
        scenario.add_small(crash.neighbours)
    errors: list[str] = []

    with Loopback(aws) as server, instance(server, timeout, package) as function:

        def deliver(times: int = 1) -> None:
            def invoke(event: Json) -> Any:
                try:
                    return function.invoke(event)
                except FunctionError as error:
                    errors.append(str(error))
                    raise

            for _ in range(times):
                scenario.queue.deliver(invoke)
                aws.let_time_pass(VISIBILITY_SECONDS)

        aws.prepare(function)
        deliver()
        aws.settle()
        scenario.push_again()
        # Published, but not stored as published: the one thing that may be done again.
        allowed = Allowance(len(aws.notices) - len(aws.reported), lost_outcomes=True)
        deliver(MAX_RECEIVES - 1)
        complaints = [*_misfires(crash, errors, aws), *violations(scenario, allowed)]
        scenario.queue.redeliver()
        deliver(2)  # Lambda reports a process that was killed while idle only when it is needed
    complaints += violations(scenario, allowed)
    return Result([f"{crash}: {complaint}" for complaint in complaints], repeated_notices(scenario))


def _misfires(crash: Crash, errors: list[str], aws: WatchedAWS) -> Iterator[str]:
    """Yields where the function did not die as it was meant to; a little later, it may have been done, and idle."""
    if isinstance(aws, KillingAWS) and crash.moment == "later":
        if not aws.was_killed:
            yield "no process was killed"
    elif not errors or not errors[0].startswith(_ERRORS[crash.end]):
        yield f"it did not die of that: {errors}"
