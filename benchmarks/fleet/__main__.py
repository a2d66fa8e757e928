"""`python -m benchmarks.fleet`: plays the nights, prints the page, and writes FLEET.md and the plot."""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.fleet import page
from benchmarks.fleet.night import Figures, Night, run
from benchmarks.function_under_test import PACKAGE

_FIRST = 10
"""The nights before the whole one have a power of this many repositories."""


def main() -> None:
    """Measures the nights, in some eleven minutes; with --quick in seconds, and with figures that mean nothing."""
    options = _options()
    package = options.package.resolve()
    repositories = min(options.repositories, 20) if options.quick else options.repositories
    free = Night(
        repositories,
        latency=0.005 if options.quick else options.latency,
        named_rate=options.named_rate,
        schedule_rate=options.schedule_rate,
        concurrency=options.concurrency,
        bulk_concurrency=options.bulk_concurrency,
        redelivery=options.redelivery,
    )
    bounded = options.throttled_repositories or max(1, repositories // 2)
    throttled = replace(free, repositories=bounded, rate=options.rate, burst=options.burst)
    quiet_seconds = 1.0 if options.quick else options.quiet_seconds

    def played(name: str, night: Night) -> Figures:
        start = time.monotonic()
        figures = run(night, package)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return figures

    def measured(name: str, night: Night) -> page.Measured:
        quiet = played(f"{name}, quiet", replace(night, repositories=0, seconds=quiet_seconds))
        return page.Measured(played(name, night), quiet)

    load = os.getloadavg()[0]
    sizes = [size for n in range(9) if (size := _FIRST**n) < repositories]
    grown = [played(f"repositories: {size:,}", replace(free, repositories=size)) for size in sizes]
    whole, slowed = measured("ECR does not throttle", free), measured("ECR throttles", throttled)
    grown.append(whole.night)
    text = page.page(whole, slowed, grown, load=load)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "FLEET.md").write_text(text)
    (options.output / page.PLOT).write_text(page.growth_plot(grown))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    night = Night(repositories=10_000, rate=60, burst=120)
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--repositories", type=_positive, default=night.repositories)
    parser.add_argument("--throttled-repositories", type=_positive, help="where ECR throttles; half as many by default")
    parser.add_argument("--latency", type=float, default=night.latency, help="seconds that ECR takes for a call")
    parser.add_argument("--rate", type=float, default=night.rate, help="calls a second that ECR lets through")
    parser.add_argument("--burst", type=float, default=night.burst, help="calls that it lets through at once")
    parser.add_argument("--named-rate", type=float, default=night.named_rate, help="named images a second")
    parser.add_argument("--schedule-rate", type=float, default=night.schedule_rate, help="selections sent a second")
    parser.add_argument("--concurrency", type=_positive, default=night.concurrency, help="MaxConcurrency")
    parser.add_argument("--bulk-concurrency", type=_positive, default=night.bulk_concurrency, help="BulkMaxConcurrency")
    parser.add_argument("--redelivery", type=float, default=night.redelivery, help="seconds to the next receive")
    parser.add_argument("--quiet-seconds", type=float, default=45, help="how long it is quiet, to compare with")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the built package; BulkFunction is beside it")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1], help="the folder to write to")
    return parser.parse_args()


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    main()
