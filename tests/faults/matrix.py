"""The fault matrix: every fault of every service, at every moment, and what is to be seen from outside afterwards."""

import contextlib
import importlib
import io
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from unittest import mock

from tests.faults.queue import RECEIVES, Invoke, Queue
from tests.faults.world import FAULTS, Fault, Json, World

SERVICES = ("ecr", "dynamodb", "sns")
MOMENTS = ("first", "middle", "last", "always", "for good")
"""Which calls of the first delivery fail; for good, those of every delivery do."""
SIZES = (1, 100, 101, 1000)
BATCHES = (1, 10)
ENVIRONMENT = {
    "IDEMPOTENCY_TABLE": "steps",
    "FAILURE_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:failures",
    "MAX_CONCURRENT_CALLS": "12",
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
        return f"{self.service} {self.kind}, {self.moment} call, {self.batch} x {self.size} ids"


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
        mock.patch.dict(os.environ, ENVIRONMENT),
        mock.patch("time.sleep"),
        # Where botocore holds itself back while it is throttled; the load test lets it.
        mock.patch("botocore.retries.bucket.TokenBucket.acquire"),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        for name in [name for name in sys.modules if name.partition(".")[0] == "handler"]:
            del sys.modules[name]
        app = importlib.import_module("handler.app")
        world.serve(app.ecr, app.dynamodb, app.sns)
        yield lambda event: app.lambda_handler(event, Context())


def requests(case: Case) -> dict[str, list[str]]:
    """The tags each request asks for, by repository; the last one does not exist, except in half of the smallest."""
    return {
        f"repository-{r}": [
            f"tag-{n}" if n < case.size - 1 or (case.size == 1 and r % 2 == 0) else "missing" for n in range(case.size)
        ]
        for r in range(case.batch)
    }


def start(case: Case) -> tuple[World, Queue]:
    """A world with the images, and a queue with the requests."""
    world = World()
    for repository, tags in requests(case).items():
        for tag in tags:
            if tag != "missing":
                world.push(repository, tag)
    bodies = {
        repository: json.dumps(
            {"requestId": repository, "repositoryName": repository, "imageIds": [f"imageTag={tag}" for tag in tags]}
        )
        for repository, tags in requests(case).items()
    }
    return world, Queue(bodies)


@cache
def calls_without_faults(size: int, batch: int) -> Counter[str]:
    """How often each service is called when nothing fails."""
    world, queue = start(Case("", "", "", size, batch))
    with function(world) as handler:
        queue.deliver(handler)
    assert not queue.bodies
    return world.calls


def strikes(case: Case) -> Fault | None:
    """The fault of a case; None where no such call is made."""
    total = calls_without_faults(case.size, case.batch)[case.service]
    if not total:
        return None
    struck = {"first": {0}, "middle": {total // 2}, "last": {total - 1}}.get(case.moment)
    return Fault(case.service, case.kind, lambda number: struck is None or number in struck)


def run(case: Case) -> tuple[World, Queue, list[str]]:
    """Delivers, fails, pushes again what is gone, lifts the fault, delivers until the queue is empty; then looks."""
    world, queue = start(case)
    world.fault = strikes(case)
    pushed_again: dict[str, set[str]] = {}
    with function(world) as handler:
        for delivery in range(1, RECEIVES + 1):
            queue.deliver(handler)
            if delivery == 1:
                for repository, tags in requests(case).items():
                    gone = [tag for tag in tags if tag != "missing" and tag not in world.tags(repository)]
                    pushed_again[repository] = set(gone[:: max(1, len(gone) // 3)])
                    for tag in pushed_again[repository]:
                        world.push(repository, tag, time.time())
            if world.fault and case.moment != "for good":
                world.fault.lift()
            world.let_time_pass()
    return world, queue, list(complaints(case, world, queue, pushed_again))


def complaints(case: Case, world: World, queue: Queue, pushed_again: dict[str, set[str]]) -> Iterator[str]:
    """What the promise does not allow."""
    yield from world.violations
    if queue.bodies:
        yield f"still on the queue: {list(queue.bodies)}"
    for repository, tags in requests(case).items():
        notices = [notice for notice in world.notices if notice.get("requestId") == repository]
        if taken := pushed_again[repository] - world.tags(repository):
            yield f"{repository}: deleted although pushed again: {sorted(taken)[:3]}"
        # SNS may have published before its answer was lost: then, and only then, a notice may come twice.
        if len(notices) > 1 and not (case.service == "sns" and case.kind == "cut after"):
            yield f"{repository}: {len(notices)} notices"
        if any(notice != notices[0] for notice in notices[1:]):
            yield f"{repository}: notices that differ"
        if repository not in queue.dead:
            told = {failure["imageId"]["imageTag"]: failure for notice in notices for failure in notice["failures"]}
            yield from unaccounted(tags, told, world.tags(repository), pushed_again[repository])
        elif case.moment != "for good":
            yield f"{repository}: a dead letter, although the fault was lifted"
        elif queue.dead[repository] != start(case)[1].bodies[repository]:
            yield f"{repository}: its dead letter is not what was sent"


def unaccounted(tags: list[str], told: dict[str, Json], left: set[str], pushed_again: set[str]) -> Iterator[str]:
    """The tags of a finished request that are neither gone nor told, or told of what is not so."""
    for tag in tags:
        gone = tag != "missing" and (tag not in left or tag in pushed_again)
        if tag not in told and not gone:
            yield f"{tag} is neither deleted nor told"
        if tag in told and tag != "missing" and not _honest(told[tag], again=tag in pushed_again):
            yield f"{tag} is told to have failed with {told[tag]}"


def _honest(failure: Json, *, again: bool) -> bool:
    """An image that was there may be told only as one that may be gone already, or that was pushed again."""
    match failure["failureCode"]:
        case "ImageNotFound":
            return "an earlier try may have deleted it" in failure["failureReason"]
        case "ImageTagPushedAgain":
            return again
    return False
