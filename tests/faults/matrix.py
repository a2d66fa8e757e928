"""The fault matrix: every fault of every service, at every moment, and what is to be seen from outside afterwards."""

import contextlib
import importlib
import io
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

from local.runtime import SOURCE
from tests.environment import VARIABLES
from tests.faults.promise import Result, Scene
from tests.faults.queue import RECEIVES, Invoke
from tests.faults.wishes import ENVIRONMENT as GUARDED
from tests.faults.wishes import KINDS, Wishes
from tests.faults.world import FAULTS, Fault, World

SERVICES = ("ecr", "dynamodb", "sns")
MOMENTS = ("first", "middle", "last", "from the middle on", "from the last on", "always", "for good")
"""Which calls of the first delivery fail; always, also those of the second; for good, those of every delivery.

A single fault is often cured by the function's own retries. What begins and goes on ends the delivery there.
"""
SIZES = (1, 100, 101, 1000)
BATCHES = (1, 10)
ENVIRONMENT = {
    **VARIABLES,
    "MAX_IMAGES_PER_REQUEST": "100000",
    "POWERTOOLS_SERVICE_NAME": "ecr-image-deletion",
    "POWERTOOLS_METRICS_NAMESPACE": "EcrImageDeletion",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}


_MOST_CALLS = 10_000
_HURRIED = 2  # invocations that are short of time, if any


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix."""

    service: str
    kind: str
    moment: str
    size: int
    """Image ids in each request."""
    batch: int
    """Requests in the SQS batch."""
    wish: str = ""
    """What kind of request it is, if not for images by their tags alone."""

    def __str__(self) -> str:
        what = self.wish or f"{self.batch} x {self.size} ids"
        return f"{self.service} {self.kind}, {self.moment}, {what}"


def cases(sizes: tuple[int, ...] = SIZES, batches: tuple[int, ...] = BATCHES) -> Iterator[Case]:
    """The whole matrix, or the part of it with these sizes."""
    return itertools.starmap(Case, itertools.product(SERVICES, FAULTS, MOMENTS, sizes, batches))


def wish_cases(wish: str, moments: tuple[str, ...] = MOMENTS) -> Iterator[Case]:
    """The matrix of one kind of request: its services, and operations by which it looks before it deletes."""
    return (
        Case(*cell, size=0, batch=0, wish=wish) for cell in itertools.product(KINDS[wish].services, FAULTS, moments)
    )


class Context:
    """What Lambda tells an invocation, with two minutes to go."""

    aws_request_id = "invocation"
    function_name = "deletion"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:deletion"

    def __init__(self, patience: int = 0) -> None:
        """After it was asked for the time so often, it has none left; 0 is for ever."""
        self._asked = 0
        self._patience = patience

    def get_remaining_time_in_millis(self) -> int:
        self._asked += 1
        return 100 if self._asked > self._patience > 0 else 120_000


@contextlib.contextmanager
def function(world: World, environment: Mapping[str, str] = ENVIRONMENT, patience: int = 0) -> Iterator[Invoke]:
    """The function, freshly started, with the world behind its clients; nobody logs, and nobody waits."""
    with (
        mock.patch("sys.path", [str(SOURCE), *sys.path]),
        mock.patch.dict(os.environ, {**environment, "POWERTOOLS_LOG_LEVEL": "CRITICAL"}),
        mock.patch("time.sleep"),
        # Where botocore holds itself back while it is throttled; the load test lets it.
        mock.patch("botocore.retries.bucket.TokenBucket.acquire"),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        for name in [name for name in sys.modules if name.partition(".")[0] == "handler"]:
            del sys.modules[name]
        app = importlib.import_module("handler.app")
        world.serve(app.work.ecr, app.work.dynamodb, app.work.sns)
        sqs = app.work.sqs

        @cache
        def served_sqs() -> Any:
            world.serve(sqs())
            return sqs()

        app.work.sqs = served_sqs
        invocations = itertools.count()
        yield lambda event: app.lambda_handler(event, Context(patience if next(invocations) < _HURRIED else 0))


def scene_of(case: Case) -> Scene:
    """Its requests; a single id is of an image that is there, unless the fault is for its notice."""
    if case.wish:
        return Wishes.of_kind(KINDS[case.wish])
    return Scene.of(case.batch, case.size, failing=case.service == "sns")


def function_for(case: Case, world: World) -> contextlib.AbstractContextManager[Invoke]:
    """The function as its stack would configure it."""
    if not case.wish:
        return function(world)
    return function(world, ENVIRONMENT | GUARDED, patience(case.wish) if KINDS[case.wish].hurried else 0)


@cache
def patience(wish: str) -> int:
    """How often an invocation may ask for the time so that it gets somewhere, and a further message goes on."""
    for asked in itertools.count(1):
        scene = Wishes.of_kind(KINDS[wish])
        with function(scene.world, ENVIRONMENT | GUARDED, asked) as handler:
            scene.queue.deliver(handler)
        if scene.world.sent:
            return asked
        assert scene.queue.bodies, "it never stops in the middle"
    raise AssertionError


def deliver(scene: Scene, handler: Invoke) -> None:
    """One round; what the function sends is on the queue for the next."""
    scene.queue.deliver(handler)
    sent, scene.world.sent = scene.world.sent, []
    number = len(scene.queue.done | scene.queue.dead | scene.queue.bodies)
    scene.queue.bodies |= {f"sent-{number + n}": body for n, body in enumerate(sent)}


@cache
def calls_without_faults(case: Case) -> int:
    """How often its service is called when nothing fails."""
    scene = scene_of(case)
    with function_for(case, scene.world) as handler:
        while scene.queue.bodies and scene.world.calls.total() < _MOST_CALLS:
            deliver(scene, handler)
    assert not scene.queue.bodies, f"nothing failed, and yet {list(scene.queue.bodies)} did, after {scene.world.calls}"
    return (scene.world.calls + scene.world.operations)[case.service]


def fault(case: Case) -> Fault:
    """What goes wrong in a case."""
    total = calls_without_faults(replace(case, kind="", moment=""))
    assert total > 0
    first = {"first": 0, "middle": total // 2, "last": total - 1}
    strikes = {
        **{moment: range(number, number + 1) for moment, number in first.items()},
        **{f"from the {moment} on": range(number, sys.maxsize) for moment, number in first.items()},
    }.get(case.moment, range(sys.maxsize))
    return Fault(case.service, case.kind, strikes.__contains__)


def run(case: Case) -> Result:
    """Delivers, fails, pushes again what is gone, lifts the fault, delivers until the queue is empty; then looks.

    In the end everything is sent once more, as queues may, and dead letters are by hand.
    """
    scene = scene_of(case)
    world, queue = scene.world, scene.queue
    world.fault = fault(case)
    lifted_after = {"always": 2, "for good": RECEIVES}.get(case.moment, 1)
    with function_for(case, world) as handler:
        for delivery in range(1, (3 if case.wish else 1) * RECEIVES + 1):
            deliver(scene, handler)
            if delivery == 1:
                scene.push_again()
            if delivery == lifted_after:
                world.fault.lift()
            world.let_time_pass()
        # An outage that begins between the notice and the storing of its outcome leaves that to be done again.
        doubts = world.lost["sns"] + (case.service == "dynamodb" and case.moment.endswith(" on"))
        complaints = list(scene.complaints(doubts=doubts, may_be_dead=case.moment == "for good"))
        queue.send_back()
        for _ in range(RECEIVES):
            deliver(scene, handler)
            world.let_time_pass()
    complaints += scene.complaints(doubts=doubts)
    return Result([f"{case}: {complaint}" for complaint in complaints], scene.repeated_notices)
