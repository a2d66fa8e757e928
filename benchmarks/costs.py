"""The cost of a million requests or images: the use of an invocation, as measured here, at AWS's published prices."""

import statistics
from dataclasses import dataclass
from tempfile import TemporaryFile

from benchmarks.function_under_test import MEMORY_MB
from benchmarks.goals import Scale
from benchmarks.http_server import WRITE_UNITS
from benchmarks.testbed import Testbed

PRICES_OF = "July 2025"
"""US East (N. Virginia), in US dollars, x86, without free tiers; each as AWS's pricing page of the service gives it."""

LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000166667
SQS_REQUEST = 0.40 / 1e6
DYNAMODB_READ_UNIT = 0.125 / 1e6
DYNAMODB_WRITE_UNIT = 0.625 / 1e6
LOG_BYTE = 0.50 / 1e9


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of one invocation that AWS charges for."""

    requests: int
    images: int
    """In each request."""
    seconds: float
    write_units: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars for a million of something, by service."""

    million: str
    """The unit that a million is counted in."""
    lambda_: float
    sqs: float
    dynamodb: float
    logs: float

    @property
    def total(self) -> float:
        return self.lambda_ + self.sqs + self.dynamodb + self.logs


def bills(testbed: Testbed, scale: Scale) -> list[Bill]:
    """Measures invocations of three kinds, and returns what a million of each costs."""
    return [
        bill("one-image requests, each received alone", usage(testbed, scale, requests=1, images=1), 1e6),
        bill("one-image requests, received ten at a time", usage(testbed, scale, requests=10, images=1), 1e5),
        bill("images, in requests of 100", usage(testbed, scale, requests=1, images=100), 1e4),
    ]


def usage(testbed: Testbed, scale: Scale, *, requests: int, images: int) -> Usage:
    """Measures a warm invocation, with a batch of so many requests of so many images each."""
    before = testbed.others.calls[WRITE_UNITS]
    with testbed.ecr_latency(scale.latency), TemporaryFile() as log:
        times = [
            testbed.measure("warm_invocation", records=requests, images=images, log=log)
            for _ in range(scale.large_runs)
        ]
        invocations = 2 * len(times)  # each runs it twice, for the second to be warm
        log_bytes = log.seek(0, 2) // invocations
    write_units = (testbed.others.calls[WRITE_UNITS] - before) // invocations
    return Usage(requests, images, statistics.median(times), write_units, log_bytes)


def bill(million: str, used: Usage, invocations: float) -> Bill:
    """Returns what so many invocations cost. ECR charges nothing for calls, SNS only for notices: there are none."""
    # Each message is sent by itself; a batch is received with one request and deleted with one.
    sqs_requests = used.requests + 2
    return Bill(
        million,
        lambda_=invocations * (LAMBDA_REQUEST + used.seconds * MEMORY_MB / 1024 * LAMBDA_GB_SECOND),
        sqs=invocations * sqs_requests * SQS_REQUEST,
        dynamodb=invocations * used.write_units * DYNAMODB_WRITE_UNIT,
        logs=invocations * used.log_bytes * LOG_BYTE,
    )
