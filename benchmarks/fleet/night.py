"""One night: schedules send a selection for each repository, named images are asked for meanwhile, both lanes work."""

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import costs
from benchmarks.fleet.lane import Function, Lane
from benchmarks.fleet.queue import Queue, QueueConnection
from benchmarks.function_under_test import (
    BULK_QUEUE_ARN,
    BULK_TIMEOUT_SECONDS,
    MEMORY_MB,
    QUEUE_ARN,
    TIMEOUT_SECONDS,
    environment,
    request,
    selection,
)
from benchmarks.http_server import READ_UNITS, WRITE_UNITS, Server

DYNAMODB_LATENCY = 0.005
IMAGES, KEPT = 10, 7
"""Images of each repository, and how many of them its selection keeps."""
RECEIVES, BULK_RECEIVES = 5, 3
"""Receives before a message is a dead letter, as the template sets them."""
_LOOK_SECONDS = 0.01
NICENESS = 10
"""Of the instances for selections: on AWS, those for named images need not wait for a processor."""


@dataclass(frozen=True, slots=True)
class Night:
    """What is sent, and to what."""

    repositories: int
    latency: float = 0.1
    """Seconds that ECR takes for a call."""
    rate: float = 0.0
    """Calls a second that ECR lets through; 0 for all."""
    burst: float = 1.0
    """Calls that it lets through at once."""
    named_rate: float = 2.0
    """Requests a second that name an image, at random intervals."""
    schedule_rate: float = 50.0
    """Selections a second that the schedules send."""
    seconds: float = 0.0
    """How long named images are asked for at least."""
    concurrency: int = 5
    """MaxConcurrency."""
    bulk_concurrency: int = 16
    """BulkMaxConcurrency."""
    redelivery: float = 20.0
    """Seconds until a failed message is received again: not as long as in the template, for a night would not end."""
    limit: float = 1_800.0
    """Seconds after which a night is given up."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a night."""

    night: Night
    seconds: float
    """From the first schedule to the last selection."""
    named: tuple[float, ...]
    """Seconds from sent to answered of each request that named an image."""
    selections: tuple[float, ...]
    """Of each selection, on the second queue."""
    calls: Counter[str]
    """To ECR, THROTTLED ones by themselves."""
    redelivered: int
    dead: int
    errors: int
    peak_memory: tuple[int, int]
    """Bytes of an instance for named images, and for selections."""
    dollars: dict[str, float]
    """By service."""

    @property
    def needed(self) -> int:
        """Calls to ECR without any haste: a page, a check and a deletion for a selection, a deletion for a name."""
        return 3 * self.night.repositories + len(self.named)

    @property
    def calls_per_needed(self) -> float:
        return self.calls.total() / self.needed

    def percentile(self, percent: int) -> float:
        """Returns the seconds within which so many of the named requests were answered."""
        ordered = sorted(self.named)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def run(night: Night, package: Path) -> Figures:
    """Plays a night; raises TimeoutError where it does not end within its limit."""
    return asyncio.run(asyncio.wait_for(_run(night, package), night.limit))


async def _run(night: Night, package: Path) -> Figures:
    requests = Queue("requests", RECEIVES, night.redelivery)
    bulk = Queue("bulk", BULK_RECEIVES, night.redelivery)
    sqs_calls: Counter[str] = Counter()
    with ExitStack() as servers:
        ecr = servers.enter_context(Server(latency=night.latency))
        others = servers.enter_context(Server(latency=DYNAMODB_LATENCY))
        async with AsyncExitStack() as stack:
            connection = partial(QueueConnection, bulk, "selection", sqs_calls)
            sqs = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
            stack.callback(sqs.close)
            address = f"http://127.0.0.1:{sqs.sockets[0].getsockname()[1]}"
            variables = environment(ecr.url, others.url) | {"AWS_ENDPOINT_URL_SQS": address}
            first, second = [
                await stack.enter_async_context(Lane(function, queue, variables))
                for function, queue in zip(_functions(night, package), (requests, bulk), strict=True)
            ]
            await first.warm_up([_named(f"warm/{n}", n) for n in range(night.concurrency)])
            ecr.rate, ecr.burst = night.rate, night.burst
            before, units = Counter(ecr.calls), Counter(others.calls)
            start = asyncio.get_running_loop().time()
            await _send(night, requests, bulk)
            ended = max(bulk.last_done, start)
            for lane in (first, second):
                lane.measure_memory()
            return Figures(
                night,
                seconds=ended - start,
                named=tuple(requests.waits.get("named", ())),
                selections=tuple(bulk.waits.get("selection", ())),
                calls=ecr.calls - before,
                redelivered=requests.redelivered + bulk.redelivered,
                dead=requests.dead + bulk.dead,
                errors=first.errors + second.errors,
                peak_memory=(first.peak_memory, second.peak_memory),
                dollars=_dollars((first, second), requests.sent + sqs_calls.total(), others.calls - units),
            )


def _functions(night: Night, package: Path) -> tuple[Function, Function]:
    bulk = package.parent / "BulkFunction"
    return (
        Function("DeletionFunction", package, QUEUE_ARN, TIMEOUT_SECONDS, 10, night.concurrency),
        Function("BulkFunction", bulk, BULK_QUEUE_ARN, BULK_TIMEOUT_SECONDS, 1, night.bulk_concurrency, NICENESS),
    )


async def _send(night: Night, requests: Queue, bulk: Queue) -> None:
    """Sends what there is to be sent, and returns once all of it is done or dead."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    schedules = loop.create_task(_schedules(night, requests))
    names = loop.create_task(_names(night, requests))
    await schedules
    await _settled(requests, bulk, "selection")
    await asyncio.sleep(start + night.seconds - loop.time())
    names.cancel()
    await _settled(requests, bulk, "named")


async def _settled(requests: Queue, bulk: Queue, kind: str) -> None:
    """Waits until no message of a kind is pending; a forwarded one is always pending on one of the queues."""
    while requests.pending[kind] or bulk.pending[kind]:  # noqa: ASYNC110  # whoever began the night bounds it
        await asyncio.sleep(_LOOK_SECONDS)


async def _schedules(night: Night, queue: Queue) -> None:
    """Sends the selections, evenly."""
    start = asyncio.get_running_loop().time()
    for number in range(night.repositories):
        await asyncio.sleep(start + number / night.schedule_rate - asyncio.get_running_loop().time())
        body = {"requestId": f"nightly/{number}", **selection(_repository(number), KEPT)}
        queue.send(json.dumps(body), "selection")


async def _names(night: Night, queue: Queue) -> None:
    """Sends requests that name an image, at random intervals, until it is cancelled; to the same repositories."""
    chance = random.Random(1)  # noqa: S311  # the same each night
    due = asyncio.get_running_loop().time()
    for number in range(int(night.limit * night.named_rate * 2)):
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        queue.send(_named(_repository(chance.randrange(max(1, night.repositories))), number), "named")
        due += chance.expovariate(night.named_rate)


def _repository(number: int) -> str:
    return f"listing/{IMAGES}/fleet/{number}"


def _named(repository: str, number: int) -> str:
    return json.dumps(request(repository, [{"imageTag": f"preview-{number}"}]))


def _dollars(lanes: tuple[Lane, Lane], sends: int, units: Counter[str]) -> dict[str, float]:
    """Returns the cost of a night by service. Each batch is received with one request and deleted with another."""
    invocations = sum(lane.invocations for lane in lanes)
    gb_seconds = sum(lane.billed_seconds for lane in lanes) * MEMORY_MB / 1024
    return {
        "Lambda": invocations * costs.LAMBDA_REQUEST + gb_seconds * costs.LAMBDA_GB_SECOND,
        "SQS": (sends + 2 * invocations) * costs.SQS_REQUEST,
        "DynamoDB": units[WRITE_UNITS] * costs.DYNAMODB_WRITE_UNIT + units[READ_UNITS] * costs.DYNAMODB_READ_UNIT,
        "logs": sum(lane.log_bytes for lane in lanes) * costs.LOG_BYTE,
    }
