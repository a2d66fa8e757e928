"""A few deaths of the built package; `make faults` has it die at more points."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.deaths import CHUNKS, ENDS, deaths, run

POINTS = {"SIGKILL": 5, "time-out": 3}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("end", ENDS)
def test_the_function_dies(end: str, chunks: int) -> None:
    """A redelivery finishes what it began: nothing is lost, nothing done twice."""
    with ThreadPoolExecutor(POINTS["time-out"]) as side_by_side:
        results = list(side_by_side.map(run, deaths(end, chunks, POINTS[end])))
    assert [complaint for result in results for complaint in result.complaints] == []
