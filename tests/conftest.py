"""Guards for every suite: no test sees a person's credentials, and none reaches beyond this machine.

They hold from the moment this file is read, so also while test modules are imported. Unit tests, and those of the
template and the documents, reach nothing at all.
Generated examples are the same on every machine and take what time they need, so that no test flickers.
"""

import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings

from local.runtime import Modules, isolate
from tests.environment import ENVIRONMENT

TESTS = Path(__file__).parent
OFFLINE = ("unit", "template", "documents")
SUITES = (*OFFLINE, "functional", "e2e", "faults", "foreign")

isolate(ENVIRONMENT)

patient = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", patient, max_examples=80, derandomize=True)
settings.register_profile("mutants", settings.get_profile("test"), phases=[Phase.explicit, Phase.generate])
settings.register_profile("faults", patient, max_examples=1_000)  # for each of the seeds that it is run with
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


class NetworkRefusedError(BaseException):
    """A test tried to leave its bounds. Not an Exception, lest the code under test takes it for an outage."""


class NetworkGuard:
    """Refuses connections and look-ups beyond loopback; Python itself asks it, so no library gets around it."""

    loopback_allowed = True

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        match event, arguments:
            # An AF_UNIX address is a path, not a tuple.
            case "socket.connect" | "socket.sendto" | "socket.sendmsg", (_, (host, *_)):
                self.check(host, event)
            case "socket.getaddrinfo" | "socket.gethostbyname", (host, *_) if not is_address(host):
                self.check(host, event)

    def check(self, host: Any, event: str) -> None:
        if not is_loopback(host):
            raise NetworkRefusedError(f"{event} to {host!r}: tests must not reach beyond this machine")
        if not self.loopback_allowed:
            raise NetworkRefusedError(f"{event} to {host!r}: these tests must not use the network, not even loopback")


def is_address(host: Any) -> bool:
    """Looking up an address, or nothing, as servers do before they listen, asks nobody."""
    try:
        ipaddress.ip_address(host or "::")
    except ValueError:
        return False
    return True


def is_loopback(host: Any) -> bool:
    """Whether a name or an address is this machine's own."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_offline(request: pytest.FixtureRequest) -> bool:
    """Whether a test belongs to a suite that reaches nothing at all."""
    return any(request.node.get_closest_marker(suite) for suite in OFFLINE)


guard = NetworkGuard()
sys.addaudithook(guard)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder is its suite, and its marker."""
    for item in items:
        if item.path.is_relative_to(TESTS) and (suite := item.path.relative_to(TESTS).parts[0]) in SUITES:
            item.add_marker(suite)


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """An instance of the function, and each command of local/, changes the environment of this process."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def collected_modules() -> Modules:
    """The function's modules as the test modules have imported them."""
    return Modules()


@pytest.fixture(autouse=True)
def own_modules(request: pytest.FixtureRequest, collected_modules: Modules) -> Iterator[None]:
    """What an offline test patches is what it has imported, although other tests may have loaded instances since."""
    with collected_modules.imported() if is_offline(request) else nullcontext():
        yield


@pytest.fixture(autouse=True)
def network_bounds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Which bounds hold follows from the suite."""
    guard.loopback_allowed = not is_offline(request)
    yield
    guard.loopback_allowed = True
