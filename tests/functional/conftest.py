"""The fixtures of the functional tests: the embedded AWS, wiped before each test, and faults at its side."""

import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from botocore.retries.bucket import TokenBucket

from local.aws import EmbeddedAWS
from local.poller import Poller
from tests.harness.outside import Outside
from tests.harness.recorder import Recorder
from tests.harness.server_faults import FaultInjector


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedAWS]:
    """One embedded AWS for all tests."""
    with EmbeddedAWS() as aws:
        yield aws


@pytest.fixture
def aws(embedded: EmbeddedAWS) -> EmbeddedAWS:
    """The embedded AWS with the template newly deployed, and nothing else in it."""
    embedded.reset()
    return embedded


@pytest.fixture
def deploy(embedded: EmbeddedAWS) -> Iterator[Callable[[Mapping[str, str]], EmbeddedAWS]]:
    """Deploys the stack with these parameters and no others, for the length of a test."""
    before = embedded.parameters

    def deploy(parameters: Mapping[str, str]) -> EmbeddedAWS:
        embedded.parameters = dict(parameters)
        embedded.reset()
        return embedded

    yield deploy
    embedded.parameters = before


@pytest.fixture
def faults(aws: EmbeddedAWS) -> Iterator[FaultInjector]:
    """Records the calls of the function, and lets those fail that a test names."""
    with FaultInjector.before(aws) as injector:
        yield injector


@pytest.fixture
def stack(aws: EmbeddedAWS, faults: FaultInjector, capsys: pytest.CaptureFixture[str]) -> Outside:
    """The stack newly deployed, with one empty repository."""
    return Outside(aws, faults, capsys)


@pytest.fixture
def recorder() -> Recorder:
    """In place of the function."""
    return Recorder()


@pytest.fixture
def poller(aws: EmbeddedAWS, recorder: Recorder) -> Poller:
    """Delivers the messages on the request queue to it."""
    return Poller(aws, recorder)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come without a pause, and are not slowed down because ECR throttles."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(TokenBucket, "acquire", lambda *_, **__: True)
