"""The services are asked at a steady pace, well below their rates."""

from collections.abc import Iterator
from unittest import mock

import pytest

from handler.usage import ecs, inspector, lambda_, pace
from handler.usage.pace import RATES, Pace, limit_rate
from tests.fakes.usage import FakeUsage, client


class Clock:
    """A clock that sleeping moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock that the pace looks at."""
    clock = Clock()
    with mock.patch.object(pace, "time", clock):
        yield clock


def test_calls_keep_their_distance(clock: Clock) -> None:
    """The first goes at once, those behind it one after another; time that passed by itself counts."""
    paced = Pace(4)
    times = []
    for _ in range(4):
        paced.wait()
        times.append(clock.now)
    clock.now += 10
    paced.wait()
    assert times == [100, 100.25, 100.5, 100.75]
    assert clock.now == 110.75  # no rest is saved up, and none is owed


def test_threads_share_the_pace(clock: Clock) -> None:
    """A turn is taken before it is waited for."""
    paced = Pace(10)
    turns: list[float] = []
    with mock.patch.object(clock, "sleep", turns.append):  # all of them wait side by side
        for _ in range(4):
            paced.wait()
    assert turns == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("service", "operation", "per_second"),
    [("ecs", "ListClusters", 10), ("lambda", "ListFunctions", 5), ("inspector2", "ListCoverage", 2)],
)
def test_clients_keep_to_the_rates_of_their_service(
    running: FakeUsage, clock: Clock, service: str, operation: str, per_second: float
) -> None:
    """Each page of a list is a call; those of other services have no pace."""
    running.page = 1
    running.clusters = ["a", "b", "c"]
    running.functions = [{"FunctionName": n, "Version": "1", "PackageType": "Zip"} for n in "abc"]
    arn = f"arn:aws:ecr:us-east-1:123456789012:repository/a/sha256:{'0' * 64}"
    running.coverage = [{"resourceId": arn}] * 3
    paced = client(service, running)
    limit_rate(paced)
    start = clock.now
    match service:
        case "ecs":
            ecs.units(paced, 1)
        case "lambda":
            lambda_.units(paced)
        case _:
            list(inspector.units(paced)[0].read())
    calls = sum(running.calls.values())
    assert running.calls[operation] == 3 + (service == "inspector2")  # which is asked first whether it covers any image
    assert clock.now - start == pytest.approx((calls - 1) / per_second)


def test_the_rates_are_half_of_what_is_documented_or_less() -> None:
    """Other callers of the account have their share."""
    documented = {"ecs": 20, "lambda.GetFunction": 100, "lambda.ListFunctions": 15}
    assert all(RATES[name] <= rate / 2 for name, rate in documented.items())
