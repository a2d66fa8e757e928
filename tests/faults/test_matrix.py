"""A cut through the fault matrix; `make faults` runs all of it."""

import itertools
import json

import pytest

from tests.harness.faults import FAULTS, SERVICES, Fault
from tests.harness.function import function
from tests.harness.invariants import misplaced
from tests.harness.matrix import Case, deliver, run
from tests.harness.scenario import KINDS, LARGE, Scenario

MOMENTS = ("middle", "from the last on", "for good")


@pytest.mark.parametrize(("service", "fault"), [*itertools.product(SERVICES, FAULTS)])
def test_a_service_fails(service: str, fault: str) -> None:
    """Nothing is lost and nothing done twice, at whatever moment it fails, and for how long."""
    found = [
        complaint for moment in MOMENTS for complaint in run(Case(service, fault, moment, size=150, batch=2)).complaints
    ]
    assert found == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_fails_under_a_guard_or_a_selection(kind: str) -> None:
    """Nothing is deleted on doubt, nothing that must stay, and in the end all that was meant."""
    cases = [Case(service, "cut after", "from the middle on", kind=kind) for service in KINDS[kind].services]
    assert [complaint for case in cases for complaint in run(case).complaints] == []


@pytest.mark.parametrize("length", [1, 255, 256])
def test_a_selection_goes_on_whatever_its_key(length: int) -> None:
    """Relatives that go along with its images are remembered, also where no longer key could be derived."""
    scenario = Scenario.of_kind(KINDS["selection of whole images"])
    request = json.loads(scenario.queue.bodies.popitem()[1]) | {"requestId": "x" * length}
    scenario.queue.bodies["m-1"] = json.dumps(request)
    all_but_the_first = range(1, 1_000).__contains__
    scenario.aws.fault = Fault("BatchDeleteImage", "throttled", all_but_the_first)
    with function(scenario.aws, LARGE) as invoke:
        deliver(scenario, invoke)
        scenario.aws.fault.lift()
        deliver(scenario, invoke)
    assert (scenario.queue.bodies, [*misplaced(scenario, "repository-0")]) == ({}, [])
