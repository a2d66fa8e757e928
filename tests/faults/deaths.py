"""Death in the middle: the built package killed at any point of a request, and what a redelivery makes of it."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from local.rie import PACKAGE, FunctionError, RuntimeEmulator
from tests.faults.loopback import Loopback
from tests.faults.matrix import ENVIRONMENT
from tests.faults.promise import Result, Scene
from tests.faults.queue import RECEIVES
from tests.faults.world import Json, World

ENDS = ("SIGKILL", "time-out")
CHUNKS = (1, 7, 25)
POINTS = 50

_ERRORS = {"SIGKILL": "Runtime.ExitError", "time-out": "Sandbox.Timedout"}
"""What Lambda calls them."""
_CHUNK_SIZE = 100
_TIMEOUT_SECONDS = 120  # the template's
_SHORT_TIMEOUT_SECONDS = 4  # enough to start, and to do the largest of these requests
_STARTS = 5
_LATER_SECONDS = 0.02  # a few calls long
_START_SECONDS = 0.4  # what the emulator needs before the first call


@dataclass(frozen=True, slots=True)
class Death:
    """How and when the function dies while it carries out its first delivery."""

    end: str
    chunks: int
    """The size of the request."""
    call: int
    """The number of the call at which it dies; -1 while it starts."""
    moment: str
    """"before" the call's work, "after" it, or "later", once the call is answered."""
    seconds: float = 0.0
    """How much later."""

    def __str__(self) -> str:
        return f"{self.end} {self.moment} call {self.call} (+ {self.seconds:.3f} s) of {self.chunks} chunks"


class Killing(World):
    """A world in which the function's process is killed when it gets to the point."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self.death = death
        self.kill: Callable[[], bool] = lambda: False
        self.killed = False
        self.timer = threading.Timer(death.seconds, self.strike)

    def strike(self) -> None:
        self.killed = self.kill()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self._lock:
            due = self.calls.total() == self.death.call
            if due and self.death.moment == "before":
                self.calls[service] += 1
                self.strike()
                raise ConnectionClosedError(endpoint_url=url)
            answer = super().answer(service, operation, body, url)
            if due and self.death.moment == "after":
                self.strike()
            elif due:
                self.timer.start()
            return answer


class Hanging(World):
    """A world that gives no answer any more from the point on, until the function's time is up."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self.death = death
        self.hangs = threading.Event()
        self.over = threading.Event()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self._lock:
            due = self.calls.total() >= self.death.call and not self.over.is_set()
            if due and self.death.moment == "before":
                self.calls[service] += 1
                answer = None
            else:
                answer = super().answer(service, operation, body, url)
        if due:
            self.hangs.set()
            self.over.wait(_TIMEOUT_SECONDS)
        if answer is None:
            raise ConnectionClosedError(endpoint_url=url)
        return answer


@cache
def calls_without_death(chunks: int) -> int:
    """How many calls a request makes when it is left alone."""
    scene = Scene.of(1, chunks * _CHUNK_SIZE)
    with Loopback(scene.world) as aws, function(aws, _TIMEOUT_SECONDS) as copy:
        scene.queue.deliver(copy.invoke)
    assert not scene.queue.bodies
    return scene.world.calls.total()


def function(aws: Loopback, timeout: int, package: Path = PACKAGE) -> RuntimeEmulator:
    """A copy of the function before a world."""
    return RuntimeEmulator(ENVIRONMENT | {"AWS_ENDPOINT_URL": aws.endpoint_url}, timeout=timeout, package=package)


def deaths(end: str, chunks: int, points: int = POINTS) -> Iterator[Death]:
    """Points spread at random from before the first call to after the last, the same ones each time."""
    calls = calls_without_death(chunks)
    chance = random.Random(f"{end} {chunks}")  # noqa: S311  # no secret
    for n in range(points):
        # One in each of equal parts. Nothing of ours can run out of time before the first call.
        start = -1 if end == "SIGKILL" else 0
        at = start + (calls - start) * (n + chance.random()) / points
        if at < 0:
            yield Death(end, chunks, -1, "later", _START_SECONDS * chance.random())
            continue
        moment = chance.choice(["before", "after", "later"] if end == "SIGKILL" else ["before", "after"])
        seconds = _LATER_SECONDS * chance.random() if moment == "later" else 0.0
        yield Death(end, chunks, int(at), moment, seconds)


def run(death: Death, package: Path = PACKAGE) -> Result:
    """Ends the first delivery, pushes again what is gone, delivers until the queue is empty, and once more."""
    world = Killing(death) if death.end == "SIGKILL" else Hanging(death)
    timeout = _TIMEOUT_SECONDS if death.end == "SIGKILL" else _SHORT_TIMEOUT_SECONDS
    scene = Scene.of(1, death.chunks * _CHUNK_SIZE, world=world)
    errors: list[str] = []

    with Loopback(world) as aws, function(aws, timeout, package) as copy:

        def deliver() -> None:
            def invoke(event: Json) -> Any:
                try:
                    return copy.invoke(event)
                except FunctionError as error:
                    errors.append(str(error))
                    raise

            scene.queue.deliver(invoke)

        if isinstance(world, Hanging):
            _warm_up(copy)
        else:
            world.kill = copy.kill
            if death.call < 0:
                world.timer.start()
        deliver()
        if isinstance(world, Hanging):
            world.over.set()
        elif world.timer.ident:
            world.timer.join()
        scene.push_again()
        # Published, but not stored as published: the one thing that may be done again.
        doubts = len(world.notices) - len(world.told)
        for _ in range(RECEIVES - 1):
            world.let_time_pass()
            deliver()
        complaints = [*_misfires(death, errors, world), *scene.complaints(doubts=doubts)]
        scene.queue.send_back()
        for _ in range(2):  # Lambda tells of a process that was killed while idle only when it is needed
            deliver()
    complaints += scene.complaints(doubts=doubts)
    return Result([f"{death}: {complaint}" for complaint in complaints], scene.repeated_notices)


def _warm_up(copy: RuntimeEmulator) -> None:
    """Starts the process: the emulator counts that against the time-out, and on a busy machine it may take longer."""
    for _ in range(_STARTS):
        with contextlib.suppress(FunctionError):
            copy.invoke({"Records": []})
            return
    raise RuntimeError(f"the function did not start within {_SHORT_TIMEOUT_SECONDS} s:\n{copy.logs}")


def _misfires(death: Death, errors: list[str], world: World) -> Iterator[str]:
    """Whether the function died as it was meant to; a little later, it may have been done, and idle."""
    if isinstance(world, Killing) and death.moment == "later":
        if not world.killed:
            yield "no process was killed"
    elif not errors or not errors[0].startswith(_ERRORS[death.end]):
        yield f"it did not die of that: {errors}"
