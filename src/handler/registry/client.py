"""How ECR is called: about which repository, at most so many calls at a time, and without unsafe retries.

What reaches into botocore stands here alone: its HTTP session, which has no hook that ends whatever happens to a call,
and the parser of its responses, which can be chosen only for a session as a whole.
"""

from http import HTTPStatus
from threading import BoundedSemaphore
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.parsers import JSONParser, ResponseParserFactory

from .errors import may_have_arrived

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mypy_boto3_ecr import ECRClient

CALLS_AT_A_TIME = 12
"""Calls that one step makes side by side, in threads of its own: those of the invocation may all be waiting for it."""
_HANDOVER_SECONDS = 0.003
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


def read_responses_as_sent(ecr: "ECRClient") -> None:
    """Takes ECR's JSON as it is, times as numbers: most of the time of a list goes into comparing it with the model."""
    vars(ecr)["_endpoint"]._response_parser_factory = _ParserFactory()  # noqa: SLF001


class _ParserFactory(ResponseParserFactory):
    def create_parser(self, protocol_name: str) -> Any:
        return _AsSent() if protocol_name == "json" else super().create_parser(protocol_name)


class _AsSent(JSONParser):
    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        parser: Any = super()
        # By the model, members that are null are left out.
        if b"null" in raw_body or not isinstance(parsed := parser._parse_body_as_json(raw_body), dict):  # noqa: SLF001
            return parser._handle_json_body(raw_body, shape)  # noqa: SLF001
        return parsed


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
