"""How ECR is called: about which repository, at most so many calls at a time, and without unsafe retries.

What reaches into botocore stands here alone: its HTTP session, which has no hook that ends whatever happens to a call,
and the parser of its responses, which takes another parser of times, but only of a session as a whole.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from threading import BoundedSemaphore
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.utils import parse_timestamp

from .errors import may_have_arrived

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mypy_boto3_ecr import ECRClient

CALLS_AT_A_TIME = 12
"""Calls that one step makes side by side, in threads of its own: those of the invocation may all be waiting for it."""
_HANDOVER_SECONDS = 0.001
"""How long it takes Python to send a call. A thread that has its response leaves the interpreter to those that wait to
send: with its own work first, ECR would have one call less to do for another five milliseconds."""


class Repository(NamedTuple):
    """A repository, and how to call ECR about it."""

    ecr: "ECRClient"
    name: str
    registry_id: str | None
    calling: "Callable[[], AbstractContextManager[None]]"
    """Surrounds each call; raises OutOfTimeError where too little time is left for one."""
    sleep: "Callable[[float], None]"
    """Waits for so many seconds before a call; raises OutOfTimeError where too little time is left for both."""

    @property
    def scope(self) -> Any:
        """The arguments that every call has."""
        return {"repositoryName": self.name} | ({"registryId": self.registry_id} if self.registry_id else {})


def disable_unsafe_retries(ecr: "ECRClient") -> None:
    """Keeps botocore from deleting again by itself once a response is lost, for ECR may have done the work.

    Asking again for a tag that was pushed in the meantime would delete the new image, so the next try looks first.
    """

    def stop_when_lost(
        response: tuple[Any, dict[str, Any]] | None, caught_exception: Exception | None, **_: object
    ) -> bool | None:
        if caught_exception is not None:
            return False if may_have_arrived(caught_exception) else None
        return False if response is not None and response[0].status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else None

    # The stubs know only hooks that answer nothing; the first answer to needs-retry decides.
    ecr.meta.events.register_first("needs-retry.ecr.BatchDeleteImage", stop_when_lost)  # type: ignore[arg-type]


def read_times_fast(ecr: "ECRClient") -> None:
    """Has times read as numbers, which they are: to find a time zone for each is half of botocore's work on a list."""
    vars(ecr)["_response_parser"]._timestamp_parser = _time  # noqa: SLF001


def _time(value: Any) -> datetime:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else parse_timestamp(value)


def limit_concurrency(ecr: "ECRClient", calls: int) -> None:
    """Lets so many calls to ECR be under way at a time, over all threads.

    From the first byte sent to the last received: to sign a call and to read its response is work for Python, not for
    ECR.
    """
    session = vars(ecr)["_endpoint"].http_session
    send, slots = session.send, BoundedSemaphore(calls)
    waiting: list[Any] = []

    def send_in_turn(request: Any) -> Any:
        if not slots.acquire(blocking=False):
            waiting.append(request)
            slots.acquire()
            waiting.pop()  # whichever: how many they are is what counts
        try:
            return send(request)
        finally:
            slots.release()
            if waiting:
                sleep(_HANDOVER_SECONDS)

    session.send = send_in_turn
