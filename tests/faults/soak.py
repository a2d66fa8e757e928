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

from local.rie import PACKAGE, RuntimeEmulator
from tests.faults.loopback import Loopback
from tests.faults.mail import FIRST, Message, messages
from tests.faults.matrix import ENVIRONMENT, SERVICES
from tests.faults.post import BATCH, Post, Sample, Weather, faults
from tests.faults.queue import RECEIVES, Queue
from tests.faults.world import Json

COPIES = 2
"""Of the function, so that a duplicate can arrive while the first still runs."""
WAVE = 1000
"""Messages that are sent before those that failed come back."""
FAULTY, OUTAGE_EVERY = 0.05, 50
"""Faults for each request, and how many of them make one outage."""
FLAT = 1.1
"""How much more memory the last thousand messages may take than the second: the C library's pools settle slowly."""

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
) -> Post:
    """Sends it all, wave by wave, then lifts the faults and delivers until nothing is left."""
    random, storm = Random(seed), faults(Random(seed), outage_every)  # noqa: S311  # no secrets
    sent = {message.id: message for message in messages(count, random)}
    world, queue = Weather(), Queue({}, batch_size=BATCH)
    for message in sent.values():
        for tag in (*message.there, message.keeps):
            world.push(message.repository, tag)
    post = Post(queue, world, sent, random, time.monotonic() + seconds, storm, fault_share)
    with Loopback(world) as loopback, ExitStack() as stack:
        endpoints = {f"AWS_ENDPOINT_URL_{service.upper()}": loopback.endpoint_url for service in SERVICES}
        functions = [
            stack.enter_context(RuntimeEmulator(ENVIRONMENT | endpoints, timeout=_TIMEOUT_SECONDS, package=package))
            for _ in range(COPIES)
        ]
        copies = [post.copy(function) for function in functions]
        queue.bodies[FIRST] = sent[FIRST].body
        queue.deliver(copies[0])
        for wave in itertools.batched(list(sent)[1:], WAVE, strict=False):
            queue.bodies |= {key: sent[key].body for key in wave}
            queue.deliver(*copies)
            world.let_time_pass()
            post.bring_late_ones()
        post.lift_faults()
        for _ in range(RECEIVES):
            queue.deliver(*copies)
            world.let_time_pass()
        post.finish(copies[0])
    return post


def complaints(post: Post) -> Iterator[str]:
    """What the promise does not allow."""
    if time.monotonic() > post.deadline:
        yield "not done in time"
    yield from post.accidents
    yield from post.world.violations
    if post.queue.bodies:
        yield f"still on the queue: {list(post.queue.bodies)}"
    told = defaultdict(list)
    for notice in post.world.notices:
        told[notice["origin"]["id"]].append(notice)
    for message in post.messages.values():
        notices = told[message.id]
        for complaint in (*_of_any(post, message, notices), *_of_its_kind(post, message, notices)):
            yield f"{message.id}: {complaint}"


def _of_any(post: Post, message: Message, notices: list[Json]) -> Iterator[str]:
    """What no request may cause, poison or not."""
    left = post.world.tags(message.repository)
    if message.keeps not in left:
        yield "an image is gone that nobody asked for"
    if taken := post.pushed_again.get(message.id, set()) - left:
        yield f"deleted although pushed again: {sorted(taken)}"
    if post.queue.dead.get(message.id, message.body) != message.body:
        yield "its dead letter is not what was sent"
    if len(notices) > 1 and not post.world.unsure & {message.id, message.notice_step}:
        yield f"{len(notices)} notices"
    if any(notice != notices[0] for notice in notices[1:]):
        yield "notices that differ"


def _of_its_kind(post: Post, message: Message, notices: list[Json]) -> Iterator[str]:
    """What poison may not cause, and where a good request is not accounted for."""
    left, dead = post.world.tags(message.repository), message.id in post.queue.dead
    if message.poison:
        if not dead or {notice["type"] for notice in notices} != {"rejection"}:
            yield f"poison, but a dead letter: {dead}, and {len(notices)} notices"
        if not left.issuperset(message.there):
            yield "poison, but an image is gone"
        return
    again = post.pushed_again.get(message.id, set())
    failures = notices[0]["failures"] if notices else []
    told = {failure["imageId"]["imageTag"]: failure for failure in failures}
    still_there = (message.there & left) - again
    if not dead and (untold := (message.missing | still_there) - told.keys()):
        yield f"neither deleted nor told: {sorted(untold)[:3]}"
    if notices and notices[0]["deleted"] != len(message.there | message.missing) - len(told):
        yield f"told to have {notices[0]['deleted']} deleted and {len(told)} failed"
    for tag, failure in told.items():
        if not _honest(failure, missing=tag in message.missing, there=tag in still_there, again=tag in again):
            yield f"told what is not so: {failure}"


def _honest(failure: Json, *, missing: bool, there: bool, again: bool) -> bool:
    """An image that was there may be told only as one that may be gone already, or that was pushed again."""
    match failure["failureCode"]:
        case "ImageNotFound":
            return missing or ("an earlier try may have deleted it" in failure["failureReason"] and not there)
        case "ImageTagPushedAgain":
            return again
    return False


def memory(samples: Sequence[Sample]) -> tuple[int, int]:
    """The most bytes that a copy held during the second thousand messages, and during the last."""
    end = samples[-1][0] if samples else 0
    second = [rss for at, rss in samples if WAVE <= at < 2 * WAVE]
    last = [rss for at, rss in samples if at > end - WAVE]
    return max(second, default=0), max(last, default=0)


def grown(copies: Iterable[Sequence[Sample]]) -> Iterator[str]:
    """Copies whose memory is not flat after the first thousand."""
    for number, samples in enumerate(copies, 1):
        second, last = memory(samples)
        if last > second * FLAT > 0:  # with fewer messages there is nothing to compare
            yield f"copy {number} grew from {second / _MB:.1f} to {last / _MB:.1f} MB"


def table(post: Post, seconds: float) -> str:
    """The figures, as Markdown."""
    figures, world, poison = post.figures, post.world, sum(m.poison for m in post.messages.values())
    asked = sum(len(m.there) + len(m.missing) for m in post.messages.values() if not m.poison)
    told = Counter(notice["origin"]["id"] for notice in world.notices)
    rows = {
        "requests": f"{len(post.messages):,}, with {asked:,} image ids",
        "poison": f"{poison:,}",
        "handed over": f"{figures['handed over']:,} times by {len(post.rss)} copies",
        "duplicates": f"{figures['duplicates']:,}; {figures['while the first ran']:,} while the first still ran",
        "faults": f"{figures['faults']:,}, of them {figures['outages']:,} outages; {figures['struck']:,} calls struck",
        "calls": ", ".join(f"{world.calls[service]:,} {service}" for service in SERVICES),
        "tags pushed again": f"{sum(map(len, post.pushed_again.values())):,}",
        "dead letters": f"{len(post.queue.dead):,}, {len(post.queue.dead) - poison:,} of them not poison",
        "notices": f"{len(world.notices):,}; more than one for {sum(n > 1 for n in told.values()):,} requests",
        "time": f"{seconds:.0f} s",
    }
    for number, samples in enumerate(post.rss, 1):
        second, last = memory(samples)
        rows[f"memory of copy {number}"] = f"{second / _MB:.1f} MB in the second thousand, {last / _MB:.1f} in the last"
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
    post = run(options.requests, options.seed, seconds=options.seconds, package=options.package)
    print(table(post, time.monotonic() - start))
    found = [*complaints(post), *grown(post.rss)]
    print("", *found[:_SHOWN], f"{len(found)} complaints", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
