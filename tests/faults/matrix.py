"""The fault matrix: every fault of every service, at every moment, and what is to be seen from outside afterwards."""

import contextlib
import importlib
import io
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from unittest import mock

from local.runtime import SOURCE
from tests.faults.promise import Result, Scene
from tests.faults.queue import RECEIVES, Invoke
from tests.faults.world import FAULTS, Fault, World

SERVICES = ("ecr", "dynamodb", "sns")
MOMENTS = ("first", "middle", "last", "from the middle on", "from the last on", "always", "for good")
"""Which calls of the first delivery fail; always, also those of the second; for good, those of every delivery.

A single fault is often cured by the function's own retries. What begins and goes on ends the delivery there.
"""
SIZES = (1, 100, 101, 1000)
BATCHES = (1, 10)
ENVIRONMENT = {
    "IDEMPOTENCY_TABLE": "steps",
    "FAILURE_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:failures",
    "MAX_CONCURRENT_CALLS": "12",
    "MAX_IMAGES_PER_REQUEST": "100000",
    "PROTECTED_TAGS": "",
    "PROTECTED_REPOSITORIES": "",
    "MAX_PERCENT_OF_REPOSITORY": "50",
    "REPOSITORY_PATTERN": "*",
    "REQUEST_QUEUE_URL": "https://queue",
    "DRY_RUN": "false",
    "POWERTOOLS_SERVICE_NAME": "ecr-image-deletion",
    "POWERTOOLS_METRICS_NAMESPACE": "EcrImageDeletion",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}


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

    def __str__(self) -> str:
        return f"{self.service} {self.kind}, {self.moment}, {self.batch} x {self.size} ids"


def cases(sizes: tuple[int, ...] = SIZES, batches: tuple[int, ...] = BATCHES) -> Iterator[Case]:
    """The whole matrix, or the part of it with these sizes."""
    return itertools.starmap(Case, itertools.product(SERVICES, FAULTS, MOMENTS, sizes, batches))


class Context:
    """What Lambda tells an invocation, with two minutes to go."""

    aws_request_id = "invocation"
    function_name = "deletion"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:deletion"

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


@contextlib.contextmanager
def function(world: World) -> Iterator[Invoke]:
    """The function, freshly started, with the world behind its clients; nobody logs, and nobody waits."""
    with (
        mock.patch("sys.path", [str(SOURCE), *sys.path]),
        mock.patch.dict(os.environ, ENVIRONMENT | {"POWERTOOLS_LOG_LEVEL": "CRITICAL"}),
        mock.patch("time.sleep"),
        # Where botocore holds itself back while it is throttled; the load test lets it.
        mock.patch("botocore.retries.bucket.TokenBucket.acquire"),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        for name in [name for name in sys.modules if name.partition(".")[0] == "handler"]:
            del sys.modules[name]
        app = importlib.import_module("handler.app")
        world.serve(app.work.ecr, app.work.dynamodb, app.work.sns)
        yield lambda event: app.lambda_handler(event, Context())


def scene_of(case: Case) -> Scene:
    """Its requests; a single id is of an image that is there, unless the fault is for its notice."""
    return Scene.of(case.batch, case.size, failing=case.service == "sns")


@cache
def calls_without_faults(case: Case) -> int:
    """How often its service is called when nothing fails."""
    scene = scene_of(case)
    with function(scene.world) as handler:
        scene.queue.deliver(handler)
    assert not scene.queue.bodies, f"nothing failed, and yet {list(scene.queue.bodies)} did, after {scene.world.calls}"
    return scene.world.calls[case.service]


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
    with function(world) as handler:
        for delivery in range(1, RECEIVES + 1):
            queue.deliver(handler)
            if delivery == 1:
                scene.push_again()
            if delivery == lifted_after:
                world.fault.lift()
            world.let_time_pass()
        # An outage that begins between the notice and the storing of its outcome leaves that to be done again.
        doubts = world.lost["sns"] + (case.service == "dynamodb" and case.moment.endswith(" on"))
        complaints = list(scene.complaints(doubts=doubts, may_be_dead=case.moment == "for good"))
        queue.send_back()
        queue.deliver(handler)
    complaints += scene.complaints(doubts=doubts)
    return Result([f"{case}: {complaint}" for complaint in complaints], scene.repeated_notices)
