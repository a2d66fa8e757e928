"""The embedded AWS without sockets: calls of clients go straight to moto, in the thread that makes them; some fail.

A call takes half the time that it takes over HTTP, which is what a long history of calls is made of.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from unittest import mock

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.dynamodb.responses import DynamoHandler

from tests.harness.faults import Killed
from tests.harness.server_faults import (
    Action,
    Answer,
    Call,
    DroppedConnectionError,
    Perform,
    deny,
    drop_after,
    drop_before,
    empty,
    server_error,
    truncate,
)

type Json = dict[str, Any]

_serialized = DynamoHandler.serialized


def kill(_: Call, __: Perform) -> Answer:
    """Ends the process: it makes no further call."""
    raise Killed


def leave_out(call: Call, perform: Perform) -> Answer:
    """Does the work, and leaves the last element out of each list of the answer."""
    answer = perform(call.body)
    return answer.with_json({key: v[:-1] if isinstance(v, list) else v for key, v in answer.json.items()})


FAULTS: dict[str, Action] = {
    "fails": server_error,
    "denied": deny,
    "cut": truncate,
    "empty": empty,
    "lost": drop_after,
    "refused": drop_before,
    "left out": leave_out,
    "killed": kill,
}
"""The faults that a call may meet."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What some calls of an operation meet."""

    operation: str
    kind: str
    first: int = 1
    """The first of the calls that meet it, counted from 1."""
    calls: int = 1
    """How many of them do, retries included."""


class Direct:
    """What stands in the place of the network between clients and the embedded AWS."""

    def __init__(self) -> None:
        self.strikes = 0
        """How many calls have met the fault."""
        self._invoked: list[Json] = []
        self._moto = BotocoreStubber()
        self._fault: Fault | None = None
        self._matched, self._killed = 0, False

    def client(self, service: str, **options: Any) -> Any:
        """Makes a client, in place of boto3.client; its calls arrive here, whatever endpoint it is given."""
        client: Any = boto3.Session().client(service, **options | {"endpoint_url": None})  # type: ignore[call-overload]
        client.meta.events.register_first("before-send", self._send)
        return client

    def take_invoked(self) -> list[Json]:
        """Returns the events of functions that were invoked since, without waiting for them."""
        invoked, self._invoked = self._invoked, []
        return invoked

    @contextmanager
    def failing(self, fault: Fault | None) -> Iterator[None]:
        """Lets calls meet a fault while the context lasts, and then begins a new process."""
        self._fault, self._matched, self.strikes, self._killed = fault, 0, 0, False
        try:
            yield
        finally:
            self._fault, self._killed = None, False

    def _send(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        if self._killed:
            raise Killed
        service, operation = event_name.split(".")[1:]
        text = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
        call = Call(service, operation, json.loads(text) if text.startswith("{") else {}, monotonic())
        action = self._action(call)
        try:
            answer = action(call, lambda _: self._perform(request, call))
        except DroppedConnectionError:
            raise ConnectionClosedError(endpoint_url=request.url) from None
        except Killed:
            self._killed = True
            raise
        headers = HTTPHeaders.from_dict(dict(answer.headers))
        return AWSResponse(request.url, int(answer.status.split()[0]), headers, MockRawResponse(answer.body))

    def _action(self, call: Call) -> Action:
        if self._fault and call.operation == self._fault.operation:
            self._matched += 1
            if 0 <= self._matched - self._fault.first < self._fault.calls:
                self.strikes += 1
                return FAULTS[self._fault.kind]
        return lambda call, perform: perform(call.body)

    def _perform(self, request: Any, call: Call) -> Answer:
        if call.operation == "Invoke":
            self._invoked.append(call.body)
            return Answer("202", [], b"")
        response = self._moto.process_request(request)
        assert response is not None, f"moto does not know {request.url}"
        status, headers, content = response
        return Answer(
            str(status),
            [(str(k), str(v)) for k, v in headers.items()],
            content.encode() if isinstance(content, str) else content,
        )


@contextmanager
def quick_queries() -> Iterator[None]:
    """Has moto write the answer to a Query as it is; to look at each value takes it most of the time of the call."""

    def serialized(handler: DynamoHandler, result: Any) -> Any:
        if isinstance(result.result, dict) and "Items" in result.result:
            return 200, dict(handler.response_headers), json.dumps(result.result)
        return _serialized(handler, result)

    with mock.patch.object(DynamoHandler, "serialized", serialized):
        yield
