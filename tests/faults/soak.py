"""Endurance: thousands of requests through the queue into the built package, with duplicates, poison and faults.

`python -m tests.faults.soak` prints its figures as a table, and what is not as it is promised below it.
"""

# ruff: noqa: T201  # talks to a person at a terminal
import argparse
import itertools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from local.rie import PACKAGE, RuntimeEmulator
from tests.environment import ENVIRONMENT
from tests.harness.delivery import BATCH, Delivery, RecordingAWS, Sample, faults
from tests.harness.faults import SERVICES
from tests.harness.loopback import Loopback
from tests.harness.request_queue import MAX_RECEIVES, VISIBILITY_SECONDS, RequestQueue
from tests.harness.scenario import LARGE
from tests.harness.workload import FIRST, Message, messages

type Json = dict[str, Any]

INSTANCES = 2
"""Of the function, so that a duplicate can arrive while the first still runs."""
WAVE = 1000
"""Messages that are sent before those that failed come back."""
FAULTY, OUTAGE_EVERY = 0.05, 50
"""Faults for each request, and how many of them make one outage."""
FLAT = 1.05
"""How much more memory the last thousand messages may take than those half way: the C library's pools settle slowly."""

_TIMEOUT_SECONDS = 120  # the template's
_MB = 1024 * 1024
_SHOWN = 50  # complaints; the rest are counted


def run(
    count: int,
    seed: int,
    *,
    seconds: float,
    fault_share: float = FAULTY,
    outage_every: int = OUTAGE_EVERY,
    package: Path = PACKAGE,
) -> Delivery:
    """Sends it all, wave by wave, then lifts the faults and delivers until nothing is left."""
    random, storm = Random(seed), faults(Random(seed), outage_every)  # noqa: S311  # no secrets
    sent = {message.id: message for message in messages(count, random)}
    aws, queue = RecordingAWS(), RequestQueue({}, batch_size=BATCH)
    for message in sent.values():
        for tag in (*message.there, message.keeps):
            aws.ecr.push(message.repository, tag)
    delivery = Delivery(queue, aws, sent, random, time.monotonic() + seconds, storm, fault_share)
    with Loopback(aws) as loopback, ExitStack() as stack:
        endpoints = {f"AWS_ENDPOINT_URL_{service.upper()}": loopback.endpoint_url for service in (*SERVICES, "sqs")}
        environment = ENVIRONMENT | LARGE | endpoints
        functions = [
            stack.enter_context(RuntimeEmulator(environment, timeout=_TIMEOUT_SECONDS, package=package))
            for _ in range(INSTANCES)
        ]
        instances = [delivery.to(function) for function in functions]
        queue.bodies[FIRST] = sent[FIRST].body
        queue.deliver(instances[0])
        for wave in itertools.batched(list(sent)[1:], WAVE, strict=False):
            queue.bodies |= {key: sent[key].body for key in wave}
            queue.deliver(*instances)
            aws.let_time_pass(VISIBILITY_SECONDS)
            delivery.bring_late_ones()
        delivery.lift_faults()
        for _ in range(MAX_RECEIVES):
            queue.deliver(*instances)
            aws.let_time_pass(VISIBILITY_SECONDS)
        delivery.finish(instances[0])
    return delivery


def complaints(delivery: Delivery) -> Iterator[str]:
    """Yields what the promise does not allow."""
    if time.monotonic() > delivery.deadline:
        yield "not done in time"
    yield from delivery.accidents
    yield from delivery.aws.violations
    if delivery.queue.bodies:
        yield f"still on the queue: {list(delivery.queue.bodies)}"
    by_message = defaultdict(list)
    for notice in delivery.aws.notices:
        by_message[notice["origin"]["id"]].append(notice)
    for message in delivery.messages.values():
        notices = by_message[message.id]
        for complaint in (*_of_any(delivery, message, notices), *_of_its_kind(delivery, message, notices)):
            yield f"{message.id}: {complaint}"


def _of_any(delivery: Delivery, message: Message, notices: list[Json]) -> Iterator[str]:
    """Yields what no request may cause, poison or not."""
    left = delivery.aws.ecr.tags(message.repository)
    if message.keeps not in left:
        yield "an image is gone that nobody asked for"
    if gone := delivery.pushed_again.get(message.id, set()) - left:
        yield f"deleted although pushed again: {sorted(gone)}"
    if delivery.queue.dead.get(message.id, message.body) != message.body:
        yield "its dead letter is not what was sent"
    if len(notices) > 1 and message.id not in delivery.aws.unsure:
        yield f"{len(notices)} notices"
    if any(notice != notices[0] for notice in notices[1:]):
        yield "notices that differ"


def _of_its_kind(delivery: Delivery, message: Message, notices: list[Json]) -> Iterator[str]:
    """Yields what poison may not cause, and where a good request is not accounted for."""
    left, dead = delivery.aws.ecr.tags(message.repository), message.id in delivery.queue.dead
    if message.poison:
        if not dead or {notice["type"] for notice in notices} != {"rejection"}:
            yield f"poison, but a dead letter: {dead}, and {len(notices)} notices"
        if not left.issuperset(message.there):
            yield "poison, but an image is gone"
        return
    if any(notice["type"] != "failure" for notice in notices):
        yield f"a notice of type {[notice['type'] for notice in notices]}"
        return
    again = delivery.pushed_again.get(message.id, set())
    notice: Json = notices[0] if notices else {"failures": []}
    failed = {failure["imageId"]["imageTag"]: failure for failure in notice["failures"]}
    asked = message.there | message.missing
    if not dead and (unreported := (message.there & left) - again - failed.keys()):
        yield f"neither deleted nor reported: {sorted(unreported)[:3]}"
    if notices and (notice["requested"], notice["deleted"]) != (len(asked), len(asked) - len(failed)):
        yield f"{notice['deleted']} of {notice['requested']} reported as deleted, and {len(failed)} as failed"
    # An image that never was may be taken for one that an interrupted try has deleted; never silently.
    missing = message.missing - failed.keys()
    if notices and missing and len(missing) > notice.get("unconfirmed", 0):
        yield f"missing, and reported as deleted: {sorted(missing)[:3]}, {notice.get('unconfirmed', 0)} unconfirmed"
    for tag, failure in failed.items():
        if not (tag in message.missing if failure["failureCode"] == "ImageNotFound" else
                failure["failureCode"] == "ImageTagPushedAgain" and tag in again):  # fmt: skip
            yield f"reported what is not so: {failure}"


def memory(samples: Sequence[Sample]) -> tuple[int, int]:
    """Returns the most bytes that an instance held in the thousand messages before half of them, and in the last."""
    end = samples[-1][0] if samples else 0
    half = [rss for at, rss in samples if end // 2 - WAVE <= at < end // 2]
    last = [rss for at, rss in samples if at > end - WAVE]
    return max(half, default=0), max(last, default=0)


def grown(instances: Iterable[Sequence[Sample]]) -> Iterator[str]:
    """Yields instances whose memory is not flat in the second half."""
    for number, samples in enumerate(instances, 1):
        half, last = memory(samples)
        if samples[-1][0] > 2 * WAVE and last > half * FLAT:  # with fewer messages there is nothing to compare
            yield f"instance {number} grew from {half / _MB:.1f} to {last / _MB:.1f} MB"


def table(delivery: Delivery, seconds: float) -> str:
    """Returns the figures, as Markdown."""
    figures, aws, poison = delivery.figures, delivery.aws, sum(m.poison for m in delivery.messages.values())
    asked = sum(len(m.there) + len(m.missing) for m in delivery.messages.values() if not m.poison)
    published = Counter(notice["origin"]["id"] for notice in aws.notices)
    rows = {
        "requests": f"{len(delivery.messages):,}, with {asked:,} image ids",
        "poison messages": f"{poison:,}",
        "deliveries": f"{figures['handed over']:,}, to {len(delivery.rss)} instances",
        "duplicates": f"{figures['duplicates']:,}; {figures['while the first ran']:,} while the first still ran",
        "faults": f"{figures['faults']:,}, of them {figures['outages']:,} outages; {figures['struck']:,} calls struck",
        "calls": ", ".join(f"{aws.calls[service]:,} {service}" for service in SERVICES),
        "tags pushed again": f"{sum(map(len, delivery.pushed_again.values())):,}",
        "dead letters": f"{len(delivery.queue.dead):,}, {len(delivery.queue.dead) - poison:,} of others",
        "notices": f"{len(aws.notices):,}; more than one for {sum(n > 1 for n in published.values()):,} requests",
        "time": f"{seconds:.0f} s",
    }
    for number, samples in enumerate(delivery.rss, 1):
        half, last = memory(samples)
        rows[f"memory of instance {number}"] = f"{half / _MB:.1f} MB half way, {last / _MB:.1f} at the end"
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 when something was not as it is promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600, help="when to give up")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the built package")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    delivery = run(options.requests, options.seed, seconds=options.seconds, package=options.package)
    print(table(delivery, time.monotonic() - start))
    found = [*complaints(delivery), *grown(delivery.rss)]
    print("", *found[:_SHOWN], f"{len(found)} complaints", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
