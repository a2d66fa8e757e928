"""boto3 clients of a run, with the time that each call to ECR takes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

USER_AGENT = "ecr-image-deletion-acceptance"
"""A part of the user agent of all calls of a run; CloudTrail shows it."""

_INVOCATION_SECONDS = 910
"""An invocation that is waited for takes 900 at most; botocore would invoke again."""


class Clients:
    """Clients of one region, made when they are first asked for; AWS_ENDPOINT_URL leads them elsewhere."""

    def __init__(self, region: str, *, long_poll: int = 1) -> None:
        """`long_poll` is how many seconds a queue is asked; with 0, AWS asks only some of its servers."""
        self.long_poll = long_poll
        session = boto3.Session(region_name=region or None)
        self.region: str = session.region_name or ""
        self.durations: defaultdict[str, list[float]] = defaultdict(list)
        """Seconds that each call to ECR took, by the operation."""
        self.made: defaultdict[str, set[str]] = defaultdict(set)
        """What was made, by kind: queues and roles, which AWS does not list at once."""
        self._connect: Any = session.client  # typed for each service by its literal name
        self._client = cache(self._make)

    def __call__(self, service: str, region: str = "") -> Any:
        return self._client(service, region or self.region)

    def _make(self, service: str, region: str) -> Any:
        retries: Any = {"mode": "standard", "total_max_attempts": 5}
        if service == "lambda":
            retries = {"mode": "standard", "total_max_attempts": 1}
        config = Config(retries=retries, read_timeout=_INVOCATION_SECONDS, user_agent_extra=USER_AGENT)
        client = self._connect(service, region_name=region, config=config)
        if service == "ecr":
            client.meta.events.register("before-call.ecr", self._begin)
            client.meta.events.register("after-call.ecr", self._end)
        return client

    def unretried(self, service: str) -> Any:
        """Returns a client that shows each refusal, instead of asking again."""
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=50, user_agent_extra=USER_AGENT)
        return self._connect(service, region_name=self.region, config=config)

    @staticmethod
    def _begin(context: Any, **_: Any) -> None:
        context["acceptance_began"] = time.perf_counter()

    def _end(self, model: Any, context: Any, **_: Any) -> None:
        self.durations[model.name].append(time.perf_counter() - context["acceptance_began"])


def code_of(error: ClientError) -> str:
    """Returns the code of an error that a service answered with."""
    return str(error.response["Error"]["Code"])


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Goes on where a service answers with one of these errors."""
    try:
        yield
    except ClientError as error:
        if not any(code in code_of(error) for code in codes):
            raise


def until[T](find: Callable[[], T], what: str, seconds: float) -> T:
    """Returns what is found as soon as it is; an AssertionError when time is up."""
    deadline, pause = time.monotonic() + seconds, 0.05
    while not (found := find()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} after {seconds:.0f} seconds")
        time.sleep(min(pause, max(0.0, deadline - time.monotonic()) + 0.01))
        pause = min(pause * 1.5, 3)
    return found
