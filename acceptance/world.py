"""What every check works with: the stack, clients, the run, and how long to wait."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import inbox, repositories
from .aws import Clients, until
from .facts import Fact
from .inbox import Inbox
from .names import Run
from .options import Options
from .repositories import Repository
from .stack import Stack
from .ways import Sender

type Json = dict[str, Any]

_SETTLE_SECONDS = 5
"""How long to wait for what must not happen."""
_LEAST_SECONDS = 1.0
"""How long a check waits at least, however impatient: even an imitation takes a moment."""
_HASTE = 50
"""How much more patient a check is with what must happen than with what must not: the former costs no time."""


@dataclass
class World:
    """One run, as the checks see it."""

    options: Options
    clients: Clients
    stack: Stack
    run: Run
    answers: dict[str, Fact] = field(default_factory=dict)
    """The answers so far, by the question."""
    deleted: int = 0
    """How many images the answers so far say are deleted: the metric must count no fewer."""

    def __post_init__(self) -> None:
        self.began = time.time()

    @cached_property
    def send(self) -> Sender:
        """What sends requests."""
        return Sender(self.clients, self.run, self.stack)

    @cached_property
    def notices(self) -> Inbox:
        """The notices since the first check that asked for them."""
        return inbox.notices(self.clients, self.run, self.stack)

    @cached_property
    def results(self) -> Inbox:
        """The result events of this run."""
        return inbox.result_events(self.clients, self.run, self.stack)

    def repository(self, name: str) -> Repository:
        """Makes a repository of this run."""
        return repositories.create(self.clients, self.run, name)

    def invoke(self, request: Json) -> Json:
        """Sends a request by hand; returns the answer."""
        answer = self.send.invoke(request)
        if not answer.get("dryRun"):
            # An image of several tags is one to the metric, and what belongs to an image counts with it.
            named = min(len(request.get("imageIds", [])), len(answer.get("imageIds", [])))
            self.deleted += int(answer.get("deleted", named))
        return answer

    def until[T](self, find: Callable[[], T], what: str, seconds: float = 120) -> T:
        """Returns what is found as soon as it is; an AssertionError when time is up."""
        return until(find, what, self.scaled(seconds))

    def seconds_until(self, find: Callable[[], object], seconds: float) -> float | None:
        """Returns how long it takes until something is found; None if it is not."""
        began = time.monotonic()
        try:
            until(find, "answer", seconds * self.options.patience)
        except AssertionError:
            return None
        return time.monotonic() - began

    def notice(self, request_id: str, type_: str = "", seconds: float = 120) -> Json:
        """Returns the notice of a request, as soon as it has arrived."""
        return self.notices.wait_for(
            f"notice {type_} of {request_id}",
            lambda notice: notice.get("requestId") == request_id and type_ in {"", notice["type"]},
            self.scaled(seconds),
        )

    def scaled(self, seconds: float) -> float:
        """Returns how long to wait for what must happen."""
        return max(_LEAST_SECONDS, seconds * min(1.0, _HASTE * self.options.patience))

    def pause(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Lets time pass: what must not happen would have happened by then."""
        time.sleep(seconds * self.options.patience)
