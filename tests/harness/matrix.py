"""The fault matrix: every fault of every service, at every moment, and what is to be seen from outside afterwards."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache

from tests.harness.faults import FAULTS, SERVICES, Fault
from tests.harness.function import function
from tests.harness.invariants import Allowance, repeated_notices, violations
from tests.harness.request_queue import MAX_RECEIVES, VISIBILITY_SECONDS, Invoke
from tests.harness.scenario import GUARDS, KINDS, LARGE, Scenario

MOMENTS = ("first", "middle", "last", "from the middle on", "from the last on", "always", "for good")
"""Which calls of the first delivery fail; always, also those of the second; for good, those of every delivery.

A single fault is often cured by the function's own retries. What begins and goes on ends the delivery there.
"""
HIDES_OUTCOME = {
    "ecr": {"timed out", "5xx", "cut before", "cut after", "truncated"},
    "dynamodb": set(FAULTS) - {"slow"},
    "sns": set[str](),
}
"""The faults after which nobody can tell whether an image was deleted."""
SIZES = (1, 100, 101, 1000)
BATCHES = (1, 10)
_MOST_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one case."""

    complaints: list[str]
    repeated_notices: int = 0
    """Notices that were published more than once."""
    cases: int = 1


def timed[**P](run: Callable[P, Result], *arguments: P.args, **options: P.kwargs) -> tuple[Result, float]:
    """Returns what came of a case, and the seconds it took. One that breaks down is a complaint."""
    start = time.monotonic()
    try:
        result = run(*arguments, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is
        result = Result([f"{arguments}: {error!r}"])
    return result, time.monotonic() - start


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix."""

    service: str
    fault: str
    moment: str
    size: int = 0
    """Image ids in each request."""
    batch: int = 0
    """Requests in the SQS batch."""
    kind: str = ""
    """The kind of request, if not for images by their tags alone."""

    def __str__(self) -> str:
        return f"{self.service} {self.fault}, {self.moment}, {self.kind or f'{self.batch} x {self.size} ids'}"


def cases(sizes: tuple[int, ...] = SIZES, batches: tuple[int, ...] = BATCHES) -> Iterator[Case]:
    """Yields the whole matrix of images by tag, or the part of it with these sizes."""
    return itertools.starmap(Case, itertools.product(SERVICES, FAULTS, MOMENTS, sizes, batches))


def kind_cases(kind: str, moments: tuple[str, ...] = MOMENTS) -> Iterator[Case]:
    """Yields the matrix of one kind of request: its services, and operations by which it looks before it deletes."""
    return (Case(*cell, kind=kind) for cell in itertools.product(KINDS[kind].services, FAULTS, moments))


def scenario_of(case: Case) -> Scenario:
    """Returns its requests; a single id is of an image that is there, unless the fault is for its notice."""
    if case.kind:
        return Scenario.of_kind(KINDS[case.kind])
    return Scenario.of_images(case.batch, case.size, failing=case.service == "sns")


def function_for(case: Case, scenario: Scenario) -> AbstractContextManager[Invoke]:
    """Returns the function as its stack would configure it."""
    if not case.kind:
        return function(scenario.aws, LARGE)
    kind = KINDS[case.kind]
    return function(scenario.aws, {**LARGE, **GUARDS, **kind.variables}, patience(case.kind) if kind.hurried else 0)


@cache
def patience(kind: str) -> int:
    """Returns how often an invocation may ask for the time to get somewhere, so that another message continues it."""
    for asked in itertools.count(1):
        scenario = Scenario.of_kind(KINDS[kind])
        with function(scenario.aws, LARGE | GUARDS, asked) as invoke:
            scenario.queue.deliver(invoke)
        if scenario.aws.sent:
            return asked
        assert scenario.queue.bodies, "it never stops in the middle"
    raise AssertionError


def deliver(scenario: Scenario, invoke: Invoke) -> None:
    """Delivers one round; what the function sends is on the queue for the next."""
    scenario.queue.deliver(invoke)
    scenario.deliver_follow_ups()


@cache
def calls_without_faults(case: Case) -> int:
    """Returns how often its service is called when nothing fails."""
    scenario = scenario_of(case)
    with function_for(case, scenario) as invoke:
        while scenario.queue.bodies and scenario.aws.calls.total() < _MOST_CALLS:
            deliver(scenario, invoke)
    assert not scenario.queue.bodies, f"nothing failed, and yet {list(scenario.queue.bodies)} did"
    return scenario.aws.calls[case.service]


def fault(case: Case) -> Fault:
    """Returns what goes wrong in a case."""
    total = calls_without_faults(replace(case, fault="", moment=""))
    assert total > 0
    first = {"first": 0, "middle": total // 2, "last": total - 1}
    strikes = {
        **{moment: range(number, number + 1) for moment, number in first.items()},
        **{f"from the {moment} on": range(number, sys.maxsize) for moment, number in first.items()},
    }.get(case.moment, range(sys.maxsize))
    return Fault(case.service, case.fault, strikes.__contains__)


def run(case: Case) -> Result:
    """Delivers, fails, pushes again what is gone, lifts the fault, delivers until the queue is empty; then looks.

    In the end everything is delivered once more, as queues may, and dead letters are redriven.
    """
    scenario = scenario_of(case)
    aws = scenario.aws
    aws.fault = fault(case)
    lifted_after = {"always": 2, "for good": MAX_RECEIVES}.get(case.moment, 1)
    with function_for(case, scenario) as invoke:
        for delivery in range(1, (3 if case.kind else 1) * MAX_RECEIVES + 1):
            deliver(scenario, invoke)
            if delivery == 1:
                scenario.push_again()
            if delivery == lifted_after:
                aws.fault.lift()
            aws.let_time_pass(VISIBILITY_SECONDS)
        # An outage that begins between the notice and the storing of its outcome leaves that to be done again.
        doubts = aws.lost * (case.service in {"sns", "eventbridge"}) + (
            case.service == "dynamodb" and case.moment.endswith(" on")
        )
        lost = case.fault in HIDES_OUTCOME.get(case.service, HIDES_OUTCOME["ecr"])
        allowed = Allowance(doubts, lost_outcomes=lost)
        complaints = list(violations(scenario, replace(allowed, dead_letters=case.moment == "for good")))
        scenario.queue.redeliver()
        scenario.queue.redrive()
        for _ in range(MAX_RECEIVES):
            deliver(scenario, invoke)
            aws.let_time_pass(VISIBILITY_SECONDS)
    complaints += violations(scenario, allowed)
    return Result([f"{case}: {complaint}" for complaint in complaints], repeated_notices(scenario))
