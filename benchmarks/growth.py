"""What is measured beside the goals: how cost grows with the number of images, and what an invocation uses."""

import statistics
from collections import Counter
from dataclasses import dataclass
from tempfile import TemporaryFile

from benchmarks.function import CHUNK_SIZE
from benchmarks.measures import Plan
from benchmarks.processes import Lab


@dataclass(frozen=True, slots=True)
class Growth:
    """What one request of so many images costs: seconds and calls, by whom."""

    images: int
    function: float
    loop: float
    loop_measured: bool
    cli: float
    cli_measured: bool
    """It takes one call; more are extrapolated from it."""
    ecr_calls: int
    dynamodb_calls: int


def growth(lab: Lab, plan: Plan) -> list[Growth]:
    """How cost grows with the number of images."""
    found = []
    per_call = plan.latency
    for images in plan.sizes:
        calls = -(-images // CHUNK_SIZE)
        ecr, others = Counter(lab.ecr.calls), Counter(lab.others.calls)
        lab.ecr.latency = plan.latency
        measured = images <= plan.loop_limit
        times = lab.child("bulk", images=images, loop_images=images if measured else 0)
        # Beside what is counted, the child made a request and a call of the loop to be warm, and the loop's own calls.
        ecr_calls = (lab.ecr.calls - ecr).total() - 2 - (calls if measured else 0)
        dynamodb_calls = sum((lab.others.calls - others)[name] for name in ("PutItem", "UpdateItem")) - 2
        if measured:
            per_call = times["loop"] / calls
        cli = lab.cli(min(images, CHUNK_SIZE)) * calls
        lab.ecr.latency = 0
        loop = times["loop"] if measured else per_call * calls
        found.append(Growth(images, times["function"], loop, measured, cli, calls == 1, ecr_calls, dynamodb_calls))
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """What one invocation uses that AWS charges for."""

    requests: int
    images: int
    """In each request."""
    seconds: float
    write_units: int
    log_bytes: int


def usage(lab: Lab, plan: Plan, requests: int, images: int) -> Usage:
    """One warm invocation, with a batch of so many requests of so many images each."""
    before = lab.others.calls["write units"]
    lab.ecr.latency = plan.latency
    with TemporaryFile() as log:
        times = [lab.child("once", records=requests, images=images, log=log) for _ in range(plan.bulk_runs)]
        log_bytes = log.seek(0, 2) // (2 * len(times))  # each runs it twice, for the second to be warm
    lab.ecr.latency = 0
    units = (lab.others.calls["write units"] - before) // (2 * len(times))
    return Usage(requests, images, statistics.median(times), units, log_bytes)
