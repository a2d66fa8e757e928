"""The function in this process, before an AWS in memory."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

from local.runtime import SOURCE
from tests.environment import VARIABLES
from tests.fakes.aws import FakeAWS
from tests.fakes.lambda_ import ImpatientContext
from tests.harness.request_queue import Invoke

_HURRIED = 2
"""Invocations that are short of time, where any are."""


class Instance:
    """A process of the function, before an AWS in memory."""

    def __init__(self, aws: FakeAWS, variables: Mapping[str, str] | None = None) -> None:
        if str(SOURCE) not in sys.path:
            sys.path.insert(0, str(SOURCE))
        from handler.app import create_handler  # noqa: PLC0415  # it reads the environment when it is imported
        from handler.bootstrap import Services  # noqa: PLC0415

        services = Services.from_env(VARIABLES | dict(variables or {}))
        aws.connect(services.ecr, services.dynamodb, services.sns, services.sqs, services.events)
        self._handler = create_handler(services)
        self._patience: list[int] = []

    def hurry(self, patience: int) -> None:
        """Leaves the next invocations no time once they have asked for it so often; 0 for all the time."""
        self._patience = [patience] * _HURRIED if patience else []

    @property
    def hurried(self) -> bool:
        """Whether the next invocation is short of time."""
        return bool(self._patience)

    def __call__(self, event: Any) -> Any:
        context: Any = ImpatientContext()
        context.patience = self._patience.pop() if self._patience else 1_000_000
        return self._handler(event, context)


@contextlib.contextmanager
def function(aws: FakeAWS, variables: Mapping[str, str] | None = None, patience: int = 0) -> Iterator[Invoke]:
    """Starts an instance with these variables beside the template's defaults; nobody logs, and nobody waits.

    Where `patience` is given, the first invocations have no time left once they have asked for it so often.
    """
    # With threads, how often somebody asks before something is done would differ from run to run.
    with still(), one_after_the_other() if patience else contextlib.nullcontext():
        instance = Instance(aws, variables)
        instance.hurry(patience)
        yield instance


def one_after_the_other() -> contextlib.AbstractContextManager[Any]:
    """Has pools do their work at once, as any of their threads would."""
    return mock.patch.object(ThreadPoolExecutor, "submit", _submit)


def _submit(_: ThreadPoolExecutor, work: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
    future = Future[Any]()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(work(*arguments, **options))
    except BaseException as error:  # noqa: BLE001  # it is for whoever asks for the result
        future.set_exception(error)
    return future


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Lets nobody log, and nobody wait."""
    with (
        mock.patch("time.sleep"),
        # Where botocore holds itself back while it is throttled; the load test lets it.
        mock.patch("botocore.retries.bucket.TokenBucket.acquire"),
        contextlib.redirect_stdout(io.StringIO()),
        _silence(),
    ):
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("ecr-image-deletion")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
