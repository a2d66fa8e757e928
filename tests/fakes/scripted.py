"""An AWS that remembers what it was asked, and whose next answers a test decides.

A play is what becomes of one call: it may do what is asked, before or after something else happens.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from handler.models.errors import OutOfTimeError
from tests.fakes.aws import FakeAWS, response

type Json = dict[str, Any]
type Play = Callable[[Callable[[], AWSResponse]], AWSResponse]

URL = "https://aws"


@dataclass
class ScriptedAWS(FakeAWS):
    """One whose calls can be looked at, and played."""

    requests: list[tuple[str, Json]] = field(default_factory=list)
    """Operation and parameters of each call, but for SNS's, which are no JSON."""
    plays: defaultdict[str, list[Play]] = field(default_factory=lambda: defaultdict(list))
    """The plays of the next calls of an operation; all further ones are answered as ever."""

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self.lock:
            if service != "sns":
                self.requests.append((operation, json.loads(body)))
            play = self.plays[operation].pop(0) if self.plays[operation] else None
        do = partial(super().answer, service, operation, body, url)
        return play(do) if play else do()

    def asked(self, operation: str) -> list[Json]:
        """The parameters of each call of an operation."""
        return [parameters for name, parameters in self.requests if name == operation]

    @property
    def operations(self) -> list[str]:
        """The calls, in order."""
        return [operation for operation, _ in self.requests]


def answered(value: Json) -> Play:
    """Does nothing, and answers this."""
    return lambda _: response(200, json.dumps(value))


def refused(code: str, status: int = 400, message: str | None = "why") -> Play:
    """Does nothing, and the whole call fails."""
    body = {"__type": code} | ({} if message is None else {"message": message})
    return lambda _: response(status, json.dumps(body))


def broken(error: Exception) -> Play:
    """Does nothing, and the connection breaks with this error."""

    def play(_: Callable[[], AWSResponse]) -> AWSResponse:
        raise error

    return play


def lost(then: Callable[[], object] = lambda: None) -> Play:
    """Does the call, then something else; and the connection breaks before the answer arrives."""

    def play(do: Callable[[], AWSResponse]) -> AWSResponse:
        do()
        then()
        raise ConnectionClosedError(endpoint_url=URL)

    return play


def edited(edit: Callable[[Json], Json]) -> Play:
    """Does the call, and changes its answer."""
    return lambda do: response(200, json.dumps(edit(json.loads(do().content))))


def cut_short(do: Callable[[], AWSResponse]) -> AWSResponse:
    """Does the call, and half of the answer arrives."""
    text = do().content.decode()
    return response(200, text[: len(text) // 2])


def after(happens: Callable[[], object]) -> Play:
    """Does something else before the call."""

    def play(do: Callable[[], AWSResponse]) -> AWSResponse:
        happens()
        return do()

    return play


def time_for(calls: int) -> Callable[[], AbstractContextManager[None]]:
    """Returns what a caller enters before each call: it raises OutOfTimeError after so many."""

    @contextmanager
    def calling() -> Iterator[None]:
        nonlocal calls
        if not calls:
            raise OutOfTimeError
        calls -= 1
        yield

    return calling
