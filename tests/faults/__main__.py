"""`make faults`: faults, crashes and properties in full, and mutants; their figures, and every complaint."""

# ruff: noqa: T201  # talks to a person at a terminal
import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from local.runtime import isolate
from tests.environment import ENVIRONMENT
from tests.faults import mutants, properties
from tests.harness import crash, matrix
from tests.harness.matrix import Result, timed
from tests.harness.scenario import KINDS

WORKERS = 2 * (os.cpu_count() or 1)
"""A good part of what they do is waiting."""

type Task = tuple[Callable[..., Result], tuple[object, ...]]

_SECONDS = 1200  # so that it ends in any case
_NEIGHBOURS = 3
_NAMES = {"ecr": "ECR", "dynamodb": "DynamoDB", "sns": "SNS"}
_HEAD = """\
| what | cases | complaints | notices repeated | work |
|---|---:|---:|---:|---:|"""


def matrix_rows() -> Iterator[tuple[str, list[Task]]]:
    """Yields every fault of every service."""
    for service, name in _NAMES.items():
        yield f"{name} fails", [(matrix.run, (case,)) for case in matrix.cases() if case.service == service]
    for kind in KINDS:
        yield f"any of them fails: {kind}", [(matrix.run, (case,)) for case in matrix.kind_cases(kind)]


def crash_rows() -> Iterator[tuple[str, list[Task]]]:
    """Yields both ends of requests of each size; time-outs also beside small requests in the batch."""
    for end in crash.ENDS:
        for chunks in crash.CHUNKS:
            points = [(crash.run, (one,)) for one in crash.crashes(end, chunks)]
            yield f"{end} in a request of {chunks} chunk{'s' * (chunks > 1)}", list(points)
    beside = [(crash.run, (one,)) for one in crash.crashes("time-out", 7, neighbours=_NEIGHBOURS)]
    yield f"time-out in a request of 7 chunks, beside {_NEIGHBOURS} small ones", list(beside)


def property_rows() -> Iterator[tuple[str, list[Task]]]:
    """Yields each property with all its seeds."""
    for test in properties.properties():
        name = test.rpartition("::test_")[2].replace("_", " ")
        yield name, [(properties.run, (test, seed)) for seed in properties.seeds(test)]


def mutant_rows() -> Iterator[tuple[str, list[Task]]]:
    """Yields all mutants; one that no test notices is complained of."""
    yield "the code is broken on purpose", [(mutants.caught, (mutant,)) for mutant in mutants.MUTANTS]


GROUPS: dict[str, Callable[[], Iterator[tuple[str, list[Task]]]]] = {
    "matrix": matrix_rows,
    "crashes": crash_rows,
    "properties": property_rows,
    "mutants": mutant_rows,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table, then what there is to complain of; 1 if there is anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", choices=GROUPS, help="one group instead of all")
    only = parser.parse_args(argv).only
    complaints: list[str] = []
    start = time.monotonic()
    isolate(ENVIRONMENT)
    print(_HEAD, flush=True)
    spawn = multiprocessing.get_context("spawn")  # no thread or lock of ours goes along, as it would with fork
    with spawn.Pool(WORKERS, isolate, (ENVIRONMENT,), maxtasksperchild=200) as pool:
        for group in [only] if only else GROUPS:
            rows = [
                (what, [pool.apply_async(timed, (run, *arguments)) for run, arguments in tasks])
                for what, tasks in GROUPS[group]()
            ]
            for what, futures in rows:
                results = [future.get(_SECONDS) for future in futures]
                cases, repeated = (sum(getattr(r, n) for r, _ in results) for n in ("cases", "repeated_notices"))
                found = [complaint for result, _ in results for complaint in result.complaints]
                seconds = sum(seconds for _, seconds in results)
                print(f"| {what} | {cases:,} | {len(found)} | {repeated} | {seconds:.0f} s |", flush=True)
                complaints += found
    print(f"\nIn all {time.monotonic() - start:.0f} s, with {os.cpu_count()} processors.")
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
