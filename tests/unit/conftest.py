"""Fixtures of the unit tests: one set of clients, and an AWS in memory behind them."""

from collections.abc import Iterator
from unittest import mock

import pytest

from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS


@pytest.fixture(scope="session")
def clients() -> Clients:
    """The function's clients; a test with generated examples puts a new AWS behind them for each."""
    return Clients()


@pytest.fixture
def aws(clients: Clients) -> ScriptedAWS:
    """A new AWS, behind the clients."""
    return clients.use(ScriptedAWS())


@pytest.fixture
def sleeps() -> Iterator[list[float]]:
    """The seconds that were slept, in which no time passes."""
    with mock.patch("time.sleep") as sleep:
        slept: list[float] = []
        sleep.side_effect = slept.append
        yield slept
