"""`python -m benchmarks`: measures, prints the table, and writes RESULTS.md and the plot beside it."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import costs, goals, growth, in_use, results, selections
from benchmarks.function_under_test import PACKAGE
from benchmarks.testbed import Testbed


def main() -> None:
    """Measures everything, in some fifteen minutes; with --quick in seconds, and with figures that mean nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the built package to measure")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder to write to")
    options = parser.parse_args()
    scale = goals.QUICK if options.quick else goals.Scale()

    def timed[T](name: str, measure: Callable[[Testbed, goals.Scale], T]) -> T:
        start = time.monotonic()
        result = measure(testbed, scale)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return result

    load = os.getloadavg()[0]
    with Testbed(options.package.resolve()) as testbed:
        rows = [
            *timed("large requests", goals.large_requests),
            timed("batches", goals.batches),
            timed("warm requests", goals.warm_requests),
            *timed("cold starts", goals.cold_starts),
            timed("memory", goals.memory),
            *timed("selections", selections.tagged_images),
            *timed("selections of indexes", selections.indexes),
        ]
        guard = [
            *timed("selections with the guard", in_use.selections),
            *timed("named images with the guard", in_use.named_images),
            *timed("readings", in_use.readings),
        ]
        grown = timed("how cost grows", growth.growth)
        bills = timed("what it costs", costs.bills)
    size, parts = goals.package_size(options.package)
    page = results.page(results.Rows([*rows, size], guard), parts, grown, bills, latency=scale.latency, load=load)
    print(page)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "RESULTS.md").write_text(page)
    (options.output / results.PLOT).write_text(results.growth_plot(grown))


if __name__ == "__main__":
    main()
