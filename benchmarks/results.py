"""The results as people read them: RESULTS.md with its tables, and the plot of how cost grows."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import PRICES_OF, Bill
from benchmarks.goals import Row, duration
from benchmarks.growth import Growth
from benchmarks.in_use import DYNAMODB_LATENCY, WORKLOADS_LATENCY
from benchmarks.plot import Line, Panel, draw

PLOT = "growth.svg"
_WHOLE = frozenset({"calls", "messages"})
"""Units of which there are no parts."""


class Rows(NamedTuple):
    """The rows of both tables of goals."""

    function: Sequence[Row]
    """Of the function as it comes, without the guard of images in use."""
    guard: Sequence[Row]
    """Of that guard."""


def page(
    rows: Rows,
    parts: Mapping[str, int],
    grown: Sequence[Growth],
    bills: Sequence[Bill],
    *,
    latency: float,
    load: float,
) -> str:
    """Returns RESULTS.md. `latency` is ECR's in seconds, `load` the machine's before it began."""
    return f"""\
# How fast it is

Measured by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}. The machine's load
was {load:.1f} over the minute before; the busier it is, the worse the ratios.

ECR, DynamoDB and SNS are local, in processes of their own, and answer at once unless a latency is given; so what is
compared is work, not network. Each ratio comes from two things that ran in turns; the median of the runs counts, and
the spread is that from the least to the greatest. boto3 is of the same version and as pip installs it, and its clients
as they come, without settings of ours; what runs beside the function in one process is the boto3 in its package, which
starts faster. The AWS CLI starts anew for each call, so its time for one call is measured and multiplied; what it takes
is mostly its start, so the rows with it have no goal. The function is the built package in Python alone, without
site-packages, with the template's defaults; `MaxImagesPerRequest` and `MaxPercentOfRepository` alone are raised, to let
the large requests in. Selections are measured in the package of the function for selections, with its time-out.

The physical limit of a selection follows from what ECR demands: each page of a list names the next, so the pages of
the longer list, of images with a tag or without, come one after another; the other list and the manifests of indexes
can be read meanwhile. After all of that, each 100 images take two calls, one to see that they are as they were listed
and one to delete them, as many at a time as the function makes. What a call takes is measured in the same run, by a
client that only sends and receives: to the latency that is named, the machine's timers and network add milliseconds.

{goals_table(rows.function)}

{_package_table(parts)}

## What the guard of images in use costs

The guard is off in all that stands above. Here the function is compared with itself, without the guard and with
`ProtectInUse=ecs,lambda`. ECR takes {duration(latency)} a call, and DynamoDB {duration(DYNAMODB_LATENCY)}, so that the
guard's questions do not come for nothing. Manifests are as long as those of images with eight layers.

A reading is one invocation of the second function, from its own package, by the schedule. Its calls, writes and memory
are measured in the whole account, without the pace of the readings, for which one would have to wait, and with services
that answer at once. Its time is measured at that pace, in the small account that its row names, with
{duration(WORKLOADS_LATENCY)} a call to ECS and Lambda. The plain loop is what a tool without an inventory does, each
time that somebody cleans up.

{goals_table(rows.guard)}

## How cost grows

{duration(latency)} a call. Hollow points, and figures in brackets, are extrapolated from calls that were measured.

![Seconds and calls against the number of images]({PLOT})

{_growth_table(grown)}

## What it costs

US dollars, from the durations, the items and the log lines as measured here with {duration(latency)} a call to ECR, at
the prices that AWS published for US East (N. Virginia) in {PRICES_OF}, without free tiers. Each request is one message
on the queue. ECR charges nothing for calls. A notice, which only failures cause, is one SNS request: $0.50 for a
million, and what its subscriptions cost. Durations on AWS are longer, for a GB of memory brings half a core and the
table is further away: [the guide](../docs/operations.md#costs) reckons with more.

{_bills_table(bills)}
"""


def growth_plot(grown: Sequence[Growth]) -> str:
    """Returns time and calls against the number of images, as SVG."""
    yes = [True] * len(grown)
    time = [
        Line("the function", [(g.images, g.function) for g in grown], yes),
        Line("a sequential boto3 loop", [(g.images, g.loop) for g in grown], [g.loop_measured for g in grown]),
        Line("aws ecr batch-delete-image", [(g.images, g.cli) for g in grown], [g.cli_measured for g in grown]),
    ]
    calls = [
        Line("ECR: the function, the loop and the CLI", [(g.images, g.ecr_calls) for g in grown], yes),
        Line("DynamoDB: the function", [(g.images, g.dynamodb_calls) for g in grown], yes),
    ]
    return draw([Panel("seconds", "images in one request", time), Panel("calls", "images in one request", calls)])


def machine() -> str:
    """Returns what it was measured on."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = cpus.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def goals_table(rows: Sequence[Row]) -> str:
    """Returns the rows as a table in Markdown."""
    lines = ["| work | against | goal | median | | spread | in figures |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        digits = 2 if row.unit.startswith("x") and (row.goal or 1) <= 2 else 1  # noqa: PLR2004  # near 1, hundredths matter
        spread = f"{min(row.values):.{digits}f} to {max(row.values):.{digits}f}, {len(row.values)} runs"
        if len(row.values) == 1:
            spread = ""
        median = f"{row.median:.0f}" if row.unit in _WHOLE else f"{row.median:.{digits}f}"
        lines.append(
            f"| {row.work} | {row.against} | {_goal(row)} | {median} {row.unit} | {_verdict(row)} | {spread} "
            f"| {row.detail} |"
        )
    return "\n".join(lines)


def _goal(row: Row) -> str:
    if row.goal is None:
        return "none: the more, the better" if row.faster else "none: the less, the better"
    return f"{'at least' if row.faster else 'at most'} {row.goal:g} {row.unit}"


def _verdict(row: Row) -> str:
    if row.goal is None:
        return ""
    return "met" if row.met else "**missed**"


def _package_table(parts: Mapping[str, int]) -> str:
    """Returns what is more than a hundredth of the package."""
    total = sum(parts.values())
    large = {name: size for name, size in parts.items() if size * 100 >= total}
    large["everything else"] = total - sum(large.values())
    lines = ["| in the package | bytes |", "|---|---:|"]
    lines += [f"| {name} | {size:,} |" for name, size in large.items()]
    return "\n".join([*lines, f"| all | {total:,} |"])


def _growth_table(grown: Sequence[Growth]) -> str:
    lines = ["| images | function | loop | CLI | ECR calls | DynamoDB calls |", "|---:|---:|---:|---:|---:|---:|"]
    for g in grown:
        loop = duration(g.loop) if g.loop_measured else f"({duration(g.loop)})"
        cli = duration(g.cli) if g.cli_measured else f"({duration(g.cli)})"
        lines.append(f"| {g.images:,} | {duration(g.function)} | {loop} | {cli} | {g.ecr_calls} | {g.dynamodb_calls} |")
    return "\n".join(lines)


def _bills_table(bills: Sequence[Bill]) -> str:
    lines = ["| a million | Lambda | SQS | DynamoDB | logs | all |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {b.million} | ${b.lambda_:.2f} | ${b.sqs:.2f} | ${b.dynamodb:.2f} | ${b.logs:.2f} | **${b.total:.2f}** |"
        for b in bills
    ]
    return "\n".join(lines)
