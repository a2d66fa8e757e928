"""A few requests of the load test; the whole of it is `make load`."""

import sys
from dataclasses import replace

import pytest

from tests.faults.load import Figures, Load, run

SMALL = Load(instances=2, pool=12, rate=10, burst=5, requests=60)


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")
def test_an_ecr_that_throttles_is_not_asked_in_vain() -> None:
    """All requests are done, and ECR is asked less than one and a half times as often as it must be."""
    figures = run(SMALL)
    assert list(figures.complaints()) == []
    assert figures.throttled, "nothing was throttled, so nothing was tested"


def test_what_is_not_as_promised_is_reported() -> None:
    """Too many calls, dead letters, and images that were not deleted are complaints."""
    good = Figures(SMALL, done=60, throttled=29, notices=0, seconds=5.0, received_again=0, dead=0, left=0)
    assert list(good.complaints()) == []
    for bad, complaint in [
        (replace(good, throttled=30), "1.50 calls for each call needed"),
        (replace(good, dead=1), "0 requests are still on the queue and 1 are dead letters"),
        (replace(good, done=59), "ECR carried out 59 calls instead of 60; 0 notices"),
    ]:
        assert list(bad.complaints()) == [complaint]
