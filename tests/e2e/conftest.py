"""The fixtures of the end-to-end tests: the embedded AWS, and the built package in Lambda's runtime before it."""

import sys
from collections.abc import Iterator

import pytest

from local.aws import EmbeddedAWS
from local.rie import RuntimeEmulator


@pytest.fixture
def parameters() -> dict[str, str]:
    """The parameters of the stack; a module may have others."""
    return {}


@pytest.fixture
def aws(parameters: dict[str, str]) -> Iterator[EmbeddedAWS]:
    """An AWS of the test's own, with the template deployed."""
    if sys.platform != "linux":
        pytest.skip("the runtime interface emulator is a Linux program")
    with EmbeddedAWS(parameters) as aws:
        yield aws


@pytest.fixture
def function(aws: EmbeddedAWS) -> Iterator[RuntimeEmulator]:
    """The built package, with the environment that the template gives it."""
    with RuntimeEmulator(aws.environment, timeout=aws.function.timeout, memory=aws.function.memory) as function:
        yield function
