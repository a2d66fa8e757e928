"""What is measured: each row of the table is a ratio of two things that ran in turns on one machine."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.function import CHUNK_SIZE, POOL, TIMEOUT_SECONDS
from benchmarks.processes import PLAIN, Lab

MIB = 1 << 20
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    latency: float = 0.1
    """Seconds that ECR takes for a call, where the table says so."""
    bulk_images: int = 10_000
    bulk_runs: int = 5
    bulk_requests: int = 3
    """Requests in each bulk run; the middle one counts."""
    cli_calls: int = 3
    """Calls of the AWS CLI measured for each bulk run; the rest is extrapolated, for it starts anew for each call."""
    batch_pairs: int = 30
    warm_runs: int = 5
    warm_pairs: int = 150
    cold_runs: int = 36
    """Every other one in the opposite order: a shared machine is slow for seconds at a time."""
    emulator_pairs: int = 9
    memory_images: int = 30_000
    memory_runs: int = 2
    selection_images: int = 100_000
    selection_loop_images: int = 2_500
    """What the sequential loop is really run with; the rest is extrapolated."""
    sizes: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000)
    loop_limit: int = 1_000
    """Images that the sequential loop is really run with for the plot; it is extrapolated beyond."""


QUICK = Plan(0.005, 250, 1, 1, 1, 2, 1, 3, 1, 1, 250, 1, 1_250, 250, (1, 250), 250)
"""Just enough to see that everything runs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured against what, and the goal it is held against."""

    work: str
    against: str
    goal: float
    unit: str
    """ "x" for ratios, "s" for times, "MiB" and "MB" for sizes."""
    values: tuple[float, ...]
    """One for each run."""
    faster: bool = False
    """The goal is the least that is wanted, not the most."""
    detail: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.median >= self.goal if self.faster else self.median <= self.goal


def _ratios(pairs: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(first / second for first, second in pairs)


def _medians(first: str, second: str, pairs: Sequence[tuple[float, float]]) -> str:
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return f"{first} {seconds(a)}, {second} {seconds(b)}"


def seconds(value: float) -> str:
    """A duration, for people."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"  # noqa: PLR2004  # three digits or so


def bulk(lab: Lab, plan: Plan) -> list[Row]:
    """One large request against a boto3 loop, the AWS CLI and the physical limit."""
    lab.ecr.latency = plan.latency
    calls = -(-plan.bulk_images // CHUNK_SIZE)
    against_loop, against_cli, cli_times = [], [], []
    for _ in range(plan.bulk_runs):
        times = lab.child("bulk", images=plan.bulk_images, loop_images=plan.bulk_images, requests=plan.bulk_requests)
        cli = statistics.fmean(lab.cli(CHUNK_SIZE) for _ in range(plan.cli_calls))
        cli_times.append(cli)
        against_loop.append((times["loop"], times["function"]))
        against_cli.append((cli * calls, times["function"]))
    lab.ecr.latency = 0
    limit, rounds = calls / POOL * plan.latency, -(-calls // POOL)
    work = f"{plan.bulk_images:,} images in one request, {seconds(plan.latency)} a call, a pool of {POOL}"
    cli_detail = f"CLI {seconds(statistics.median(cli_times))} a call, over {plan.cli_calls} calls a run, times {calls}"
    return [
        Row(
            work,
            "a sequential boto3 loop of 100-id calls",
            8,
            "x",
            _ratios(against_loop),
            faster=True,
            detail=_medians("loop", "function", against_loop),
        ),
        Row(
            "the same",
            "`aws ecr batch-delete-image`, 100 ids a call, one after another",
            80,
            "x",
            _ratios(against_cli),
            faster=True,
            detail=cli_detail,
        ),
        Row(
            "the same",
            "the physical limit: calls / pool size x latency",
            1.3,
            "x",
            tuple(ours / limit for _, ours in against_loop),
            detail=f"limit {seconds(limit)}; as whole rounds of {POOL} calls {seconds(rounds * plan.latency)}",
        ),
    ]


def batch(lab: Lab, plan: Plan) -> Row:
    """Ten one-image requests against one."""
    lab.ecr.latency = plan.latency
    pairs = [(ten, one) for one, ten in lab.child("batch", records=10, pairs=plan.batch_pairs)]
    lab.ecr.latency = 0
    work = f"ten one-image requests in one SQS batch, {seconds(plan.latency)} a call"
    return Row(work, "one such request", 1.5, "x", _ratios(pairs), detail=_medians("ten", "one", pairs))


def warm(lab: Lab, plan: Plan) -> Row:
    """One warm request against its bare calls: the ratio of the medians of many, in several processes."""
    runs = [lab.child("warm", pairs=plan.warm_pairs) for _ in range(plan.warm_runs)]
    pairs = [(statistics.median(a for a, _ in run), statistics.median(b for _, b in run)) for run in runs]
    against = "its bare calls by boto3: one ECR, two DynamoDB"
    detail = _medians("function", "calls", pairs)
    return Row("one warm one-image request, no latency", against, 1.25, "x", _ratios(pairs), detail=detail)


def cold(lab: Lab, plan: Plan) -> list[Row]:
    """A cold start against boto3 alone, and in Lambda's runtime against the AWS CLI."""
    clients: list[str] = lab.child("cold_function")["clients"]
    starts: dict[str, Callable[[], float]] = {
        "function": lambda: lab.child("cold_function")["seconds"],
        "boto3": lambda: lab.child("cold_boto3", home=PLAIN, clients=clients),
        "the package's boto3": lambda: lab.child("cold_boto3", clients=clients),
    }
    runs = []
    for turn in range(plan.cold_runs):
        seconds_of = {name: starts[name]() for name in (starts if turn % 2 else reversed(starts))}
        runs.append([seconds_of[name] for name in starts])
    plain, own = ([(ours, boto3[i]) for ours, *boto3 in runs] for i in (0, 1))
    emulator = [(lab.cli(1), lab.emulator()) for _ in range(plan.emulator_pairs)]
    return [
        Row(
            "cold start: import to first request ready",
            f"bare `boto3` with the same clients ({', '.join(clients)})",
            1.1,
            "x",
            _ratios(plain),
            detail=_medians("function", "boto3", plain),
        ),
        Row(
            "the same",
            "the same, of the boto3 in our package",
            1.1,
            "x",
            _ratios(own),
            detail=_medians("function", "boto3", own),
        ),
        Row(
            "cold start in the runtime interface emulator, first answer",
            "`aws ecr batch-delete-image`, one image",
            2,
            "x",
            _ratios(emulator),
            faster=True,
            detail=_medians("CLI", "function", emulator),
        ),
    ]


def memory(lab: Lab, plan: Plan) -> Row:
    """The most that a process ever held."""
    values = [lab.child("memory", images=plan.memory_images) / MIB for _ in range(plan.memory_runs)]
    return Row(f"peak memory, {plan.memory_images:,} ids in one request", "", 128, "MiB", tuple(values))


def selection(lab: Lab, plan: Plan) -> list[Row]:
    """A whole repository but for its newest images, against a boto3 loop and the usual script."""
    images, keep = plan.selection_images, 10
    lab.ecr.latency = plan.latency
    ours = lab.child("selection", images=images, keep=keep)
    loop = lab.child("selection_loop", images=plan.selection_loop_images, keep=keep)
    loop *= images / plan.selection_loop_images
    listed, call = lab.cli_list(images), statistics.fmean(lab.cli(CHUNK_SIZE) for _ in range(plan.cli_calls))
    lab.ecr.latency = 0
    script = listed + call * -(-images // CHUNK_SIZE)
    work = f"a selection of {images - keep:,} images of {images:,}, {seconds(plan.latency)} a call"
    loop_detail = f"loop {seconds(loop)}, extrapolated from {plan.selection_loop_images:,} images"
    script_detail = f"script {seconds(script)}: listed in {seconds(listed)}, the calls at {seconds(call)} each"
    return [
        Row(work, "the time-out of one invocation", TIMEOUT_SECONDS, "s", (ours["seconds"],)),
        Row("the same", "a sequential boto3 loop", 1, "x", (loop / ours["seconds"],), faster=True, detail=loop_detail),
        Row(
            "the same",
            "`aws ecr list-images`, then `batch-delete-image` for each 100",
            1,
            "x",
            (script / ours["seconds"],),
            faster=True,
            detail=script_detail,
        ),
        Row("peak memory, the same", "", 256, "MiB", (ours["bytes"] / MIB,)),
    ]


def package(path: Path) -> tuple[Row, dict[str, int]]:
    """The package's size, and the bytes of each of its entries."""
    parts: Counter[str] = Counter()
    for file in path.rglob("*"):
        if file.is_file():
            names = file.relative_to(path).parts
            parts["botocore/data" if names[:2] == ("botocore", "data") else names[0]] += file.stat().st_size
    size = sum(parts.values()) / MB
    return Row("unzipped package", "", 30, "MB", (size,), detail="what is in it: below"), dict(parts.most_common())
