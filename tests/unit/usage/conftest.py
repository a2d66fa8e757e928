"""Fixtures of the tests of what is in use: services in which nothing runs yet."""

import pytest

from tests.fakes.usage import FakeUsage


@pytest.fixture
def running() -> FakeUsage:
    """Services in which nothing runs yet."""
    return FakeUsage()
