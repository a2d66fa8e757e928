"""What the tests of the promise share: the stack from outside, with faults at the server's side."""

import os
import time
from collections.abc import Iterator
from unittest import mock

import pytest
from botocore.retries.bucket import TokenBucket

from local.aws import EmbeddedAWS
from tests.harness.outside import Outside
from tests.harness.server_faults import FaultInjector


@pytest.fixture
def faults(aws: EmbeddedAWS) -> Iterator[FaultInjector]:
    """Stands before the embedded AWS."""
    with FaultInjector.before(aws) as injector:
        yield injector


@pytest.fixture
def stack(aws: EmbeddedAWS, faults: FaultInjector, capsys: pytest.CaptureFixture[str]) -> Iterator[Outside]:
    """The stack newly deployed, with one empty repository."""
    with mock.patch.dict(os.environ):
        yield Outside(aws, faults, capsys)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come without a pause, and are not slowed down because ECR throttles."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(TokenBucket, "acquire", lambda *_, **__: True)
