"""A few hundred requests of the endurance test; the whole of it is `make soak`."""

import sys

import pytest

from tests.faults import soak

MB = 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")
def test_nothing_is_lost_and_nothing_happens_twice() -> None:
    """Among duplicates, poison, faults and outages, and with tags pushed again, all is as it is promised."""
    # With this seed, ECR loses connections in one outage, and SNS in the other.
    delivery = soak.run(300, seed=16, seconds=60, fault_share=0.15, outage_every=11)
    assert list(soak.complaints(delivery)) == []
    assert delivery.figures["outages"]
    assert delivery.figures["while the first ran"]
    assert delivery.pushed_again
    assert delivery.aws.notices


@pytest.mark.parametrize(
    ("bytes_each", "grown"), [(0, []), (1_000, ["instance 1 grew from 60.3 to 63.7 MB"])], ids=["flat", "leaking"]
)
def test_memory_that_grows_with_each_request_is_reported(bytes_each: int, grown: list[str]) -> None:
    """The last thousand messages are compared with those half way; what the first need to warm up does not count."""
    samples = [(at, (57 * MB if at > 900 else at * 65_000) + at * bytes_each) for at in range(0, 7_000, 10)]
    assert list(soak.grown([samples])) == grown
