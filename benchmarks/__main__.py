"""`python -m benchmarks`: measures, prints the table, and writes RESULTS.md and the plot beside it."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth, measures, report
from benchmarks.function import PACKAGE
from benchmarks.prices import bill
from benchmarks.processes import Lab


def main() -> None:
    """Runs it all, in under five minutes; with --quick in seconds, and with figures that mean nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the built package to measure")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder to write to")
    options = parser.parse_args()
    plan = measures.QUICK if options.quick else measures.Plan()

    def step[T](name: str, measure: Callable[[], T]) -> T:
        start = time.monotonic()
        result = measure()
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return result

    load = os.getloadavg()[0]
    with Lab(options.package.resolve()) as lab:
        rows = [
            *step("large requests", lambda: measures.bulk(lab, plan)),
            step("batches", lambda: measures.batch(lab, plan)),
            step("warm requests", lambda: measures.warm(lab, plan)),
            *step("cold starts", lambda: measures.cold(lab, plan)),
            step("memory", lambda: measures.memory(lab, plan)),
            *step("selections", lambda: measures.selection(lab, plan)),
        ]
        grown = step("how cost grows", lambda: growth.growth(lab, plan))
        one, ten, hundred = step(
            "what it costs", lambda: [growth.usage(lab, plan, *use) for use in ((1, 1), (10, 1), (1, 100))]
        )
    size, parts = measures.package(options.package)
    bills = [
        bill("one-image requests, each received alone", one, 1e6),
        bill("one-image requests, received ten at a time", ten, 1e5),
        bill("images, in requests of 100", hundred, 1e4),
    ]
    text = report.results([*rows, size], parts, grown, bills, latency=plan.latency, load=load)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "RESULTS.md").write_text(text)
    (options.output / report.PLOT).write_text(report.growth_plot(grown))


if __name__ == "__main__":
    main()
