"""The goals: each row of the table measures something against something else, in turns on one machine."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.function_under_test import CHUNK_SIZE, MAX_CONCURRENT_CALLS
from benchmarks.testbed import PLAIN, Testbed

MIB = 1 << 20
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured, and how often."""

    latency: float = 0.1
    """Seconds that ECR takes for a call, where the table says so."""
    large_images: int = 10_000
    large_runs: int = 5
    large_requests: int = 3
    """Requests in each of these runs; the middle one counts."""
    cli_calls: int = 3
    """Calls of the AWS CLI measured in each of these runs; the rest is extrapolated, for it starts anew at each."""
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
    """As many as the sequential loop really deletes; the rest is extrapolated."""
    selection_indexes: int = 33_000
    """Each names two images: with these, almost as many images as a repository may have."""
    selections_at_once: int = 10
    slow_latency: float = 1.0
    """Seconds for a call to an ECR that is slow."""
    growth_images: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000)
    growth_loop_images: int = 1_000
    """The most that the sequential loop really deletes for the plot; it is extrapolated beyond."""
    selection_in_use: int = 10_000
    """Images in use of the repository from which is selected."""
    small_selections: int = 2
    """Pairs of selections in a repository of a tenth of its size."""
    names_in_use: int = 100
    guarded_pairs: int = 12
    guarded_large_pairs: int = 2
    clusters: int = 20
    """Of the account whose use is read, with fifty services and so on in each."""
    paced_clusters: int = 1
    """Of the account that is read at the pace of the readings; that of the large one is extrapolated."""


QUICK = Scale(
    latency=0.005,
    large_images=250,
    large_runs=1,
    large_requests=1,
    cli_calls=1,
    batch_pairs=2,
    warm_runs=1,
    warm_pairs=3,
    cold_runs=1,
    emulator_pairs=1,
    memory_images=250,
    memory_runs=1,
    selection_images=1_250,
    selection_loop_images=250,
    selection_indexes=150,
    selections_at_once=2,
    slow_latency=0.01,
    growth_images=(1, 250),
    growth_loop_images=250,
    selection_in_use=100,
    small_selections=1,
    guarded_pairs=1,
    guarded_large_pairs=1,
    clusters=1,
    paced_clusters=0,
)
"""Just enough to see that everything runs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured against what, and the goal it is held against."""

    work: str
    against: str
    goal: float | None
    """None for what is shown for information."""
    unit: str
    """ "x" for ratios of times, "x the ..." for others, "s" for times, "MiB" and "MB" for sizes, "calls"."""
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
        if self.goal is None:
            return True
        return self.median >= self.goal if self.faster else self.median <= self.goal


def ratios(pairs: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Returns how many times as long each first took as its second."""
    return tuple(first / second for first, second in pairs)


def medians(first: str, second: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Returns both medians for people, under these names."""
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return f"{first} {duration(a)}, {second} {duration(b)}"


def duration(seconds: float) -> str:
    """Returns a duration for people."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"  # noqa: PLR2004  # three digits or so


def milliseconds(seconds: float) -> str:
    """Returns what a call takes for people, where the tenth of a millisecond counts."""
    return f"{seconds * 1000:,.1f} ms"


def large_requests(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures a large request against a boto3 loop, the AWS CLI and the physical limit."""
    images, calls = scale.large_images, -(-scale.large_images // CHUNK_SIZE)
    against_loop, against_cli, cli_times = [], [], []
    with testbed.ecr_latency(scale.latency):
        for _ in range(scale.large_runs):
            times = testbed.measure("large_request", images=images, loop_images=images, requests=scale.large_requests)
            cli = statistics.fmean(testbed.cli(CHUNK_SIZE) for _ in range(scale.cli_calls))
            cli_times.append(cli)
            against_loop.append((times["loop"], times["function"]))
            against_cli.append((cli * calls, times["function"]))
        call = testbed.bare_deletion()
    limit = calls / MAX_CONCURRENT_CALLS * call
    rounds = -(-calls // MAX_CONCURRENT_CALLS) * call
    latency, cli_call = duration(scale.latency), duration(statistics.median(cli_times))
    return [
        Row(
            f"{images:,} images in one request, {latency} a call, {MAX_CONCURRENT_CALLS} calls at a time",
            "a sequential boto3 loop of 100-id calls",
            11,
            "x",
            ratios(against_loop),
            faster=True,
            detail=medians("loop", "function", against_loop),
        ),
        Row(
            "the same",
            "`aws ecr batch-delete-image`, 100 ids a call, one after another",
            None,  # of each call, the CLI needs most to start
            "x",
            ratios(against_cli),
            faster=True,
            detail=f"CLI {cli_call} a call, over {scale.cli_calls} calls a run, times {calls}",
        ),
        Row(
            "the same",
            "the physical limit: calls / calls at a time x what one takes",
            1.15,
            "x",
            tuple(ours / limit for _, ours in against_loop),
            detail=f"limit {duration(limit)}, at {milliseconds(call)} a call; as whole rounds of "
            f"{MAX_CONCURRENT_CALLS} calls {duration(rounds)}",
        ),
    ]


def batches(testbed: Testbed, scale: Scale) -> Row:
    """Measures ten one-image requests against one."""
    with testbed.ecr_latency(scale.latency):
        pairs = [(ten, one) for one, ten in testbed.measure("batches", records=10, pairs=scale.batch_pairs)]
    work = f"ten one-image requests in one SQS batch, {duration(scale.latency)} a call"
    return Row(work, "one such request", 1.2, "x", ratios(pairs), detail=medians("ten", "one", pairs))


def warm_requests(testbed: Testbed, scale: Scale) -> Row:
    """Measures a warm request against its bare calls: the ratio of the medians of many, in several processes."""
    runs = [testbed.measure("warm_requests", pairs=scale.warm_pairs) for _ in range(scale.warm_runs)]
    pairs = [(statistics.median(a for a, _ in run), statistics.median(b for _, b in run)) for run in runs]
    against = "its bare calls by boto3: one ECR, two DynamoDB"
    detail = medians("function", "calls", pairs)
    return Row("one warm one-image request, no latency", against, 1.25, "x", ratios(pairs), detail=detail)


def cold_starts(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures a cold start against boto3 alone, and in Lambda's runtime against the AWS CLI."""
    clients: list[str] = testbed.measure("function_cold_start")["clients"]
    starts: dict[str, Callable[[], float]] = {
        "function": lambda: testbed.measure("function_cold_start")["seconds"],
        "boto3": lambda: testbed.measure("boto3_cold_start", home=PLAIN, clients=clients),
        "the package's boto3": lambda: testbed.measure("boto3_cold_start", clients=clients),
    }
    runs = []
    for turn in range(scale.cold_runs):
        seconds = {name: starts[name]() for name in (starts if turn % 2 else reversed(starts))}
        runs.append([seconds[name] for name in starts])
    plain, own = ([(ours, boto3[i]) for ours, *boto3 in runs] for i in (0, 1))
    emulator = [(testbed.cli(1), testbed.emulator()) for _ in range(scale.emulator_pairs)]
    return [
        Row(
            "cold start: import to first request ready",
            f"bare `boto3` with the same clients ({', '.join(clients)})",
            0.8,
            "x",
            ratios(plain),
            detail=medians("function", "boto3", plain),
        ),
        Row(
            "the same",
            "the same, of the boto3 in our package",
            1.05,
            "x",
            ratios(own),
            detail=medians("function", "boto3", own),
        ),
        Row(
            "cold start in the runtime interface emulator, first answer",
            "`aws ecr batch-delete-image`, one image",
            None,
            "x",
            ratios(emulator),
            faster=True,
            detail=medians("CLI", "function", emulator),
        ),
    ]


def memory(testbed: Testbed, scale: Scale) -> Row:
    """Measures the most that a process ever holds for a large request."""
    values = [
        testbed.measure("large_request_memory", images=scale.memory_images) / MIB for _ in range(scale.memory_runs)
    ]
    return Row(f"peak memory, {scale.memory_images:,} ids in one request", "", 70, "MiB", tuple(values))


def package_size(package: Path) -> tuple[Row, dict[str, int]]:
    """Measures the package; returns also the bytes of each of its entries."""
    parts: Counter[str] = Counter()
    for file in package.rglob("*"):
        if file.is_file():
            names = file.relative_to(package).parts
            parts["botocore/data" if names[:2] == ("botocore", "data") else names[0]] += file.stat().st_size
    size = sum(parts.values()) / MB
    return Row("unzipped package", "", 30, "MB", (size,), detail="what is in it: below"), dict(parts.most_common())
