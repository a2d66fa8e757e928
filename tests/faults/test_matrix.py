"""A cut through the fault matrix; `make faults` runs all of it."""

import itertools
import json

import pytest

from tests.faults.matrix import ENVIRONMENT, SERVICES, Case, deliver, function, run
from tests.faults.wishes import KINDS, Wishes
from tests.faults.world import FAULTS, Fault

MOMENTS = ("middle", "from the middle on", "from the last on", "always", "for good")


@pytest.mark.parametrize(("service", "kind"), [*itertools.product(SERVICES, FAULTS)])
def test_a_service_fails(service: str, kind: str) -> None:
    """Nothing is lost and nothing done twice, at whatever moment it fails, and for how long."""
    complaints = [
        complaint for moment in MOMENTS for complaint in run(Case(service, kind, moment, size=150, batch=2)).complaints
    ]
    assert complaints == []


@pytest.mark.parametrize("wish", KINDS)
def test_a_service_fails_under_a_guard_or_a_selection(wish: str) -> None:
    """Nothing goes on doubt, nothing that must stay, and in the end all that was meant."""
    cases = [Case(s, "cut after", "from the middle on", size=0, batch=0, wish=wish) for s in KINDS[wish].services]
    assert [complaint for case in cases for complaint in run(case).complaints] == []


@pytest.mark.parametrize("length", [1, 255, 256])
def test_a_selection_goes_on_whatever_its_key(length: int) -> None:
    """What goes along with its images is remembered, also where no longer key could be derived from its own."""
    scene = Wishes.of_kind(KINDS["selection of wholes"])
    request = json.loads(scene.queue.bodies.popitem()[1]) | {"requestId": "x" * length}
    scene.queue.bodies["m-1"] = json.dumps(request)
    all_but_the_first = range(1, 1_000).__contains__
    scene.world.fault = Fault("BatchDeleteImage", "throttled", all_but_the_first)
    with function(scene.world, ENVIRONMENT) as handler:
        deliver(scene, handler)
        scene.world.fault.lift()
        deliver(scene, handler)
    assert (scene.queue.bodies, [*scene._misplaced("repository-0")]) == ({}, [])
