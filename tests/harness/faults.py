"""Fault injection: an AWS in memory whose services fail at chosen calls, and which can end the function's process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from tests.fakes.aws import FakeAWS, response

FAULTS = ("refused", "timed out", "throttled", "5xx", "cut before", "cut after", "truncated", "slow")
"""Faults that a call may meet. Only `cut after`, `truncated` and `slow` let it have its effect."""
SERVICES = ("ecr", "dynamodb", "sns")
LOSES_RESPONSE = {"cut after", "truncated"}
_SLOW_SECONDS = 0.02


class Killed(BaseException):
    """The process is gone: nothing of the function catches this, and it makes no further call."""


@dataclass
class Fault:
    """One kind of failure of one service, at the calls whose numbers `strikes` accepts, until it is lifted."""

    service: str
    """Or one operation."""
    kind: str
    strikes: Callable[[int], bool]

    def lift(self) -> None:
        self.strikes = lambda _: False


@dataclass
class FaultyAWS(FakeAWS):
    """Fails as its fault says."""

    fault: Fault | None = None
    kill_at: int | None = None
    """The number of the call, over all services, at which the process is killed: before its effect."""
    killed: bool = False
    lost: int = 0
    """How many responses were lost after the work was done."""

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self.lock:
            numbers = {service: self.calls[service], operation: self.calls[operation]}
            total = sum(self.calls[name] for name in ("ecr", "dynamodb", "sns", "sqs", "eventbridge"))
            self.killed = self.killed or total == self.kill_at
            if self.killed:
                raise Killed
            self.calls.update((service, operation))
        fault = self.fault
        kind = fault.kind if fault and fault.service in numbers and fault.strikes(numbers[fault.service]) else None
        match kind:
            case "refused":
                raise EndpointConnectionError(endpoint_url=url)
            case "timed out":
                raise ReadTimeoutError(endpoint_url=url)
            case "cut before":
                raise ConnectionClosedError(endpoint_url=url)
            case "throttled":
                return response(400, json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}))
            case "5xx":
                return response(500, json.dumps({"__type": "ServerException", "message": "Internal failure"}))
            case "slow":
                sleep(_SLOW_SECONDS)
        with self.lock:
            answer = self.serve(service, operation, body)
            self.lost += kind in LOSES_RESPONSE
        if kind == "cut after" or (kind == "truncated" and service == "sns"):  # whose XML could not be parsed
            raise ConnectionClosedError(endpoint_url=url)
        # An error that is cut short would be another error, not a success.
        return response(200, "") if kind == "truncated" and answer.status_code == 200 else answer

    def restart(self) -> None:
        """Lets a new process make calls."""
        self.killed, self.kill_at = False, None
