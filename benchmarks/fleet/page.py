"""FLEET.md, with its tables, and the plot of how a night grows with the number of repositories."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks.costs import PRICES_OF
from benchmarks.fleet.lane import FIRST_BATCHES, MORE_BATCHES_A_MINUTE
from benchmarks.fleet.night import (
    BULK_RECEIVES,
    DYNAMODB_LATENCY,
    IMAGES,
    KEPT,
    NICENESS,
    RECEIVES,
    Figures,
)
from benchmarks.goals import MIB, Row, duration
from benchmarks.http_server import THROTTLED
from benchmarks.plot import Line, Panel, draw
from benchmarks.results import goals_table, machine

PLOT = "fleet.svg"
_WAIT_RATIO, _CALLS_RATIO, _MEMORY_MIB = 2, 1.2, 256


class Measured(NamedTuple):
    """A night, and as much of it without any selection."""

    night: Figures
    quiet: Figures


def page(free: Measured, throttled: Measured, grown: Sequence[Figures], *, load: float) -> str:
    """Returns FLEET.md. `load` is the machine's before it began."""
    night, bounded = free.night.night, throttled.night.night
    return f"""\
# A night of {night.repositories:,} repositories

Measured by `make fleet` on {datetime.now(UTC):%Y-%m-%d}: {machine()}. The machine's load
was {load:.1f} over the minute before; the busier it is, the worse the figures.

- **What is sent.** A schedule for each repository sends a selection to the request queue, {night.schedule_rate:g} a
  second, as schedules with a flexible time window do. Each repository has {IMAGES} images, and keeps {KEPT}. All the
  while, {night.named_rate:g} requests a second arrive on the same queue, at random intervals, that name one image each.
- **What takes it.** The real built packages of both functions, each instance a process of its own that finds its
  package and nothing else. The first function takes named images, and forwards selections to the second queue.
  `MaxConcurrency` is {night.concurrency}, `BulkMaxConcurrency` {night.bulk_concurrency}: as many as this machine's
  processors can serve.
- **What is imitated.** The queues, with dead letters after {RECEIVES} and {BULK_RECEIVES} receives; and the pollers,
  which begin with {FIRST_BATCHES} batches at a time and add {MORE_BATCHES_A_MINUTE} a minute, up to the maximum, of up
  to 10 messages and of 1. A failed message is received again after {night.redelivery:g} seconds instead of 12 or 90
  minutes. ECR takes {duration(night.latency)} a call, DynamoDB and SQS {duration(DYNAMODB_LATENCY)}.
- **Two lanes, one machine.** On AWS, each instance has a processor of its own. Here the processes of selections give
  way to those of named images (`nice {NICENESS}`). The latter are warm when the night begins; the former are not.
- **Quiet** is the same without selections. A wait lasts from when a message was sent until its batch was answered.

## While ECR does not throttle

{goals_table(_rows(free, throttles=False))}

## While ECR throttles

Both lanes share a bucket, as all that is in an account does: {bounded.rate:g} calls a second, {bounded.burst:g} at
once. What is beyond it gets a `ThrottlingException`. Named images wait for ECR like all others then. The night has
{bounded.repositories:,} repositories, for it takes longer.

{goals_table(_rows(throttled, throttles=True))}

## What it costs

US dollars, from the durations, the requests, the items and the log lines of these nights, at the prices that AWS
published for US East (N. Virginia) in {PRICES_OF}, without free tiers, and without the schedules. Where ECR throttles,
the time that the functions wait for it is paid as well.

{_costs_table({"ECR does not throttle": free.night, "ECR throttles": throttled.night})}

## How it grows

ECR does not throttle here. The schedules send up to {night.schedule_rate:g} selections a second, so that many
repositories take no less than that; a few take as long as their instances need to start, all at once on this machine.

![Seconds and dollars against the number of repositories]({PLOT})

{_growth_table(grown)}
"""


def growth_plot(grown: Sequence[Figures]) -> str:
    """Returns time and dollars against the number of repositories, as SVG."""
    yes = [True] * len(grown)
    time = [Line("until the last selection is done", [(f.night.repositories, f.seconds) for f in grown], yes)]
    dollars = [Line("all of it", [(f.night.repositories, sum(f.dollars.values())) for f in grown], yes)]
    return draw([Panel("seconds", "repositories", time), Panel("dollars", "repositories", dollars)])


def _rows(measured: Measured, *, throttles: bool) -> list[Row]:
    night, quiet = measured
    ratio = night.percentile(99) / quiet.percentile(99)
    throttled = night.calls[THROTTLED]
    done = night.calls.total() - throttled
    failed = f"received again: {night.redelivered}; invocations that failed: {night.errors}"
    rows = [
        Row(
            f"{night.night.repositories:,} selections until the last is done, and {len(night.named):,} named images",
            "",
            None,
            "s",
            (night.seconds,),
            detail=f"{len(night.selections) / night.seconds:.0f} selections a second" if night.seconds else "",
        ),
        Row(
            "wait of named images, p99",
            "the same while it is quiet",
            None if throttles else _WAIT_RATIO,
            "x",
            (ratio,),
            detail=f"p50 {_wait(night, 50)}, p99 {_wait(night, 99)}; quiet: p50 {_wait(quiet, 50)}, "
            f"p99 {_wait(quiet, 99)} of {len(quiet.named):,}",
        ),
        Row(
            "calls to ECR, with those that it refused",
            "what is needed: for a selection a page, a check and a deletion, for a named image a deletion",
            _CALLS_RATIO,
            "x the calls",
            (night.calls_per_needed,),
            detail=f"{night.needed:,} needed, {done:,} carried out, {throttled:,} refused",
        ),
        Row("dead letters", "", 0, "messages", (night.dead,), detail=failed),
    ]
    names = ("named images", "selections")
    return rows + [
        Row(f"peak memory of an instance for {name}", "", _MEMORY_MIB, "MiB", (peak / MIB,))
        for name, peak in zip(names, night.peak_memory, strict=True)
    ]


def _wait(figures: Figures, percent: int) -> str:
    return duration(figures.percentile(percent))


def _costs_table(nights: dict[str, Figures]) -> str:
    services = list(next(iter(nights.values())).dollars)
    lines = [f"| a night | {' | '.join(services)} | all |", f"|---|{'---:|' * (len(services) + 1)}"]
    for how, figures in nights.items():
        name = f"{figures.night.repositories:,} repositories, {how}"
        cells = " | ".join(_dollars(figures.dollars[service]) for service in services)
        lines.append(f"| {name} | {cells} | **{_dollars(sum(figures.dollars.values()))}** |")
    return "\n".join(lines)


def _growth_table(grown: Sequence[Figures]) -> str:
    lines = ["| repositories | until the last is done | cost | of each |", "|---:|---:|---:|---:|"]
    for figures in grown:
        dollars, repositories = sum(figures.dollars.values()), figures.night.repositories
        cells = [f"{repositories:,}", duration(figures.seconds), _dollars(dollars), _dollars(dollars / repositories)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _dollars(value: float) -> str:
    """Returns dollars with two digits that say something."""
    return f"${value:.2f}" if value >= 1 else f"${value:.2g}" if value >= 1e-4 else f"${value:.7f}"  # noqa: PLR2004
