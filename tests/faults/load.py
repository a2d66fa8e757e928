"""Requests for an ECR that throttles: the built package before a token bucket, and how many calls it takes.

`python -m tests.faults.load` prints the figures of the promise; `--all` those of other settings beside them.
"""

# ruff: noqa: T201  # talks to a person at a terminal
import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.function_under_test import MAX_CONCURRENT_CALLS, environment
from benchmarks.http_server import THROTTLED, Server
from local.rie import PACKAGE, RuntimeEmulator
from tests.harness.request_queue import MAX_RECEIVES, RequestQueue

LIMIT = 1.5
"""Calls to ECR for each call needed that are still well behaved."""

_TIMEOUT_SECONDS = 120  # the template's
_ECR_SECONDS = 0.1  # what a call takes that is let through; one that is throttled is refused at once


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that wait, the function that takes them, and what ECR lets through."""

    instances: int = 2
    """Concurrent executions: MaxConcurrency."""
    pool: int = MAX_CONCURRENT_CALLS
    """Calls that each may have in flight: MaxConcurrentCalls."""
    rate: float = 10.0
    """Calls a second in the long run."""
    burst: float = 20.0
    """Calls at once."""
    requests: int = 200
    ids: int = 100
    """Image ids in each request: one call to ECR takes 100."""

    @property
    def needed(self) -> int:
        """Calls to ECR, if each were let through."""
        return self.requests * -(-self.ids // 100)


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a load."""

    load: Load
    done: int
    """Calls that ECR carried out."""
    throttled: int
    notices: int
    seconds: float
    """Without the visibility time-outs between deliveries."""
    received_again: int
    """Messages that needed more than one delivery."""
    dead: int
    left: int
    """Messages that are still on the queue."""

    @property
    def calls_per_needed(self) -> float:
        return (self.done + self.throttled) / self.load.needed

    def complaints(self) -> Iterator[str]:
        """Yields where the promise is not kept."""
        if self.left or self.dead:
            yield f"{self.left} requests are still on the queue and {self.dead} are dead letters"
        if self.done != self.load.needed or self.notices:
            yield f"ECR carried out {self.done} calls instead of {self.load.needed}; {self.notices} notices"
        if self.calls_per_needed >= LIMIT:
            yield f"{self.calls_per_needed:.2f} calls for each call needed"

    def row(self) -> str:
        """A line of the table."""
        load = self.load
        return (
            f"| {load.rate:g} a second, burst {load.burst:g} | {load.instances} | {load.pool} "
            f"| {self.calls_per_needed:.2f} | {self.received_again} | {self.dead} | {self.seconds:.0f} s |"
        )


HEAD = """\
| ECR lets through | concurrent executions | calls each | calls for each needed | received again | dead letters | time |
|---|---|---|---|---|---|---|"""


def run(load: Load, package: Path = PACKAGE) -> Figures:
    """Delivers until the queue is empty, or every message has been received as often as may be."""
    bodies = {
        f"message-{n}": json.dumps(
            {"repositoryName": f"repository-{n}", "imageIds": [f"imageTag=tag-{i}" for i in range(load.ids)]}
        )
        for n in range(load.requests)
    }
    queue = RequestQueue(bodies)
    with (
        Server(latency=_ECR_SECONDS, rate=load.rate, burst=load.burst) as ecr,
        Server() as others,
        ExitStack() as stack,
    ):
        variables = environment(ecr.url, others.url) | {"MAX_CONCURRENT_CALLS": str(load.pool)}
        instances = [
            stack.enter_context(RuntimeEmulator(variables, timeout=_TIMEOUT_SECONDS, package=package))
            for _ in range(load.instances)
        ]
        start = time.monotonic()
        for _ in range(MAX_RECEIVES):
            queue.deliver(*(instance.invoke for instance in instances))
        return Figures(
            load=load,
            done=ecr.calls["BatchDeleteImage"],
            throttled=ecr.calls[THROTTLED],
            notices=others.calls["Publish"],
            seconds=time.monotonic() - start,
            received_again=sum(receives > 1 for receives in queue.receives.values()),
            dead=len(queue.dead),
            left=len(queue.bodies),
        )


PROMISED = [Load(instances=2), Load(instances=5)]
OTHERS = [Load(instances=instances, pool=pool) for pool in (4, MAX_CONCURRENT_CALLS) for instances in (1, 2, 5)] + [
    Load(instances=instances, pool=pool, rate=2.0, burst=5.0)
    for pool in (1, 4, MAX_CONCURRENT_CALLS)
    for instances in (1, 2, 5)
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 when the function did not behave as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.load", description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="other settings too, and a harder account: a quarter hour")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the built package")
    options = parser.parse_args(arguments)
    print(HEAD, flush=True)
    complaints: list[str] = []
    for load in OTHERS if options.all else PROMISED:
        figures = run(load, options.package)
        print(figures.row(), flush=True)
        if load in PROMISED:
            complaints += figures.complaints()
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
