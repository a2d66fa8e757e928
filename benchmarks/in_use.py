"""The goals of the guard of images in use: what it adds to a request, and what the readings cost that it relies on."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks import fake_workloads
from benchmarks.costs import DYNAMODB_READ_UNIT, LAMBDA_GB_SECOND
from benchmarks.fake_workloads import LAMBDA_OPERATIONS
from benchmarks.function_under_test import CHUNK_SIZE, USAGE_MEMORY_MB, USAGE_TIMEOUT_SECONDS
from benchmarks.goals import MIB, Row, Scale, duration, medians, ratios
from benchmarks.http_server import READ_UNITS
from benchmarks.selections import KEEP
from benchmarks.testbed import Testbed

DYNAMODB_LATENCY, WORKLOADS_LATENCY = 0.005, 0.03
"""Seconds for a call: the guard's questions to DynamoDB must not come for nothing."""
_READINGS_A_MONTH = 24 * 30


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of what is in use, or a scan for it."""

    seconds: float
    bytes: float
    ecs_rate: float
    """Calls a second that are the pace of ECS."""
    calls: Counter[str]

    @property
    def ecs(self) -> int:
        return _sum(self.calls, set(fake_workloads.OPERATIONS) - set(LAMBDA_OPERATIONS))

    @property
    def lambda_(self) -> int:
        return _sum(self.calls, LAMBDA_OPERATIONS)


def selections(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures a selection that keeps what is in use against one that keeps as many of the newest images instead."""
    images, used = scale.selection_images, scale.selection_in_use
    peaks: list[float] = []

    def pair(images: int, used: int) -> tuple[float, float]:
        guarded = testbed.select(images=images, keep=KEEP, in_use=used)
        plain = testbed.select(images=images, keep=KEEP + used)
        peaks.append(guarded["bytes"] / MIB)
        return guarded["seconds"], plain["seconds"]

    with testbed.ecr_latency(scale.latency, others=DYNAMODB_LATENCY):
        small = ratios([pair(images // 10, used // 10) for _ in range(scale.small_selections)])
        whole = [pair(images, used)]
    spread = f"{min(small):.2f} to {max(small):.2f} x in {len(small)} pairs"
    return [
        Row(
            f"a selection in a repository of {images:,} images, {used:,} of them in use",
            "the same without the guard, which keeps as many of the newest instead",
            1.15,
            "x",
            ratios(whole),
            detail=f"{medians('with', 'without', whole)}; a tenth of the size: {spread}",
        ),
        Row("peak memory, the same", "", 256, "MiB", (max(peaks),)),
    ]


def named_images(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures requests that name images, none of which is in use, with the guard and without."""
    large, used = scale.large_images, scale.names_in_use
    with testbed.ecr_latency(scale.latency, others=DYNAMODB_LATENCY):
        many = testbed.measure("guarded_requests", images=large, in_use=used, pairs=scale.guarded_large_pairs)
        one = testbed.measure("guarded_requests", images=1, in_use=used, pairs=scale.guarded_pairs)
        free = testbed.measure("guarded_requests", images=1, in_use=0, pairs=scale.guarded_pairs)
    chunks = -(-large // CHUNK_SIZE)
    return [
        Row(
            f"{large:,} images in one request, {used} names of the repository in use",
            "the same without the guard",
            2.3,  # two calls for each chunk instead of one, and one for the names
            "x",
            ratios(many),
            detail=f"{medians('with', 'without', many)}: for each of {chunks} chunks, a call describes its "
            "images before one deletes; what the names are is asked once",
        ),
        Row(
            f"a one-image request, {used} names of the repository in use",
            "the same without the guard",
            3.2,  # three calls instead of one, and DynamoDB's two
            "x",
            ratios(one),
            detail=f"{medians('with', 'without', one)}: ECR is asked what the names and the image are, then to delete",
        ),
        Row(
            "a one-image request, nothing of the repository in use",
            "the same without the guard",
            1.15,
            "x",
            ratios(free),
            detail=f"{medians('with', 'without', free)}: two Queries more",
        ),
    ]


def readings(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures the reading of what is in use: its calls against a plain loop, its time against its pace."""
    clusters, small = scale.clusters, scale.paced_clusters
    scan = _reading(testbed, "scan", clusters=clusters)
    first = _reading(testbed, "reading", clusters=clusters, table="whole", paced=False)
    second = _reading(testbed, "reading", clusters=clusters, table="whole", paced=False, hours_later=1)
    testbed.workloads.latency, testbed.others.latency = WORKLOADS_LATENCY, DYNAMODB_LATENCY
    paced = _reading(testbed, "reading", clusters=small, table="part", paced=True)
    testbed.workloads.latency = testbed.others.latency = 0
    asked = testbed.others.calls["Query"]
    testbed.measure("guarded_requests", images=1, in_use=0, pairs=1)
    asked = (testbed.others.calls["Query"] - asked) // 2  # the first is to be warm
    whole = paced.seconds * first.ecs / paced.ecs
    scan_calls = scan.ecs + scan.lambda_
    dollars = _READINGS_A_MONTH * (
        whole * USAGE_MEMORY_MB / 1024 * LAMBDA_GB_SECOND + second.calls[READ_UNITS] * DYNAMODB_READ_UNIT
    )
    return [
        Row(
            f"a first reading of {clusters * fake_workloads.IMAGES:,} images in use, in {_account(clusters)}",
            "a plain boto3 loop over the same lists and descriptions",
            1.05,
            "x the calls",
            ((first.ecs + first.lambda_) / scan_calls,),
            detail=f"ECS {first.ecs:,}, Lambda {first.lambda_:,}; and {_table_calls(first)}",
        ),
        Row(
            "the next reading, an hour later",
            "what the first has written",
            0.05,
            "x the writes",
            (second.calls["UpdateItem"] / first.calls["UpdateItem"],),
            detail=f"as many calls to ECS and Lambda; and {_table_calls(second)}",
        ),
        Row("peak memory, both readings", "", 256, "MiB", (first.bytes / MIB, second.bytes / MIB)),
        Row(
            f"a first reading at its pace, {paced.ecs_rate:g} calls a second to ECS",
            "its calls to ECS at that pace",
            1.2,
            "x",
            (paced.seconds * paced.ecs_rate / paced.ecs,),
            detail=f"{paced.ecs} calls in {duration(paced.seconds)}, in {_account(small)}",
        ),
        Row(
            "the same in the whole account",
            "the time-out of one invocation",
            USAGE_TIMEOUT_SECONDS,
            "s",
            (whole,),
            detail=f"extrapolated; one an hour costs ${dollars:.2f} a month",
        ),
        Row(
            "calls before a deletion where nothing is in use, to know that",
            "the plain loop, before each deletion",
            2,
            "calls",
            (asked,),
            detail=f"loop {scan_calls:,} calls, {duration(scan_calls * WORKLOADS_LATENCY)} at "
            f"{duration(WORKLOADS_LATENCY)} each",
        ),
    ]


def _reading(testbed: Testbed, name: str, **arguments: Any) -> Reading:
    before = testbed.workloads.calls + testbed.others.calls
    measured = testbed.measure_reading(name, **arguments)
    calls = testbed.workloads.calls + testbed.others.calls - before
    return Reading(measured["seconds"], measured.get("bytes", 0), measured.get("ecs_rate", 0), calls)


def _sum(calls: Counter[str], names: Iterable[str]) -> int:
    return sum(calls[name] for name in names)


def _table_calls(reading: Reading) -> str:
    return f"DynamoDB {reading.calls['Query']:,} Query, {reading.calls['UpdateItem']:,} UpdateItem"


def _account(clusters: int) -> str:
    """Returns what runs in an account with so many clusters."""
    services, tasks, families, functions = (
        clusters * each
        for each in (
            fake_workloads.SERVICES,
            fake_workloads.TASKS,
            fake_workloads.FAMILIES,
            fake_workloads.FUNCTIONS,
        )
    )
    return (
        f"{clusters} cluster{'s' * (clusters != 1)} with {services:,} services and {tasks:,} tasks, {families:,} task "
        f"definition families and {functions:,} functions, {fake_workloads.VERSIONS} versions of each"
    )
