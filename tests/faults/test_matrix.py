"""A cut through the fault matrix; `make faults` runs all of it."""

import itertools

import pytest

from tests.faults.matrix import SERVICES, Case, run
from tests.faults.world import FAULTS

MOMENTS = ("middle", "from the middle on", "from the last on", "always", "for good")


@pytest.mark.parametrize(("service", "kind"), [*itertools.product(SERVICES, FAULTS)])
def test_a_service_fails(service: str, kind: str) -> None:
    """Nothing is lost and nothing done twice, at whatever moment it fails, and for how long."""
    complaints = [
        complaint for moment in MOMENTS for complaint in run(Case(service, kind, moment, size=150, batch=2)).complaints
    ]
    assert complaints == []
