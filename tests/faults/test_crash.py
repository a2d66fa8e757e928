"""A few crashes of the built package; `make faults` has it crash at more points."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.crash import CHUNKS, ENDS, crashes, run

POINTS = 3

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("end", ENDS)
def test_the_function_crashes(end: str, chunks: int) -> None:
    """A redelivery finishes what it began: nothing is lost, nothing done twice."""
    with ThreadPoolExecutor(POINTS) as side_by_side:
        results = list(side_by_side.map(run, crashes(end, chunks, POINTS)))
    assert [complaint for result in results for complaint in result.complaints] == []


def test_the_function_times_out_beside_others() -> None:
    """Requests of the same batch that were done are received again, and nothing of them is done or reported twice."""
    with ThreadPoolExecutor(POINTS) as side_by_side:
        results = list(side_by_side.map(run, crashes("time-out", 7, POINTS, neighbours=3)))
    assert [complaint for result in results for complaint in result.complaints] == []
