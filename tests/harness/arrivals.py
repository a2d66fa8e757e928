"""How a request arrives: five ways, each of which may deliver the same request again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from local.poller import Handler
from local.runtime import FakeLambdaContext
from tests.fakes.lambda_ import sqs_record

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"
RUN = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/nightly/2026-11-23T04:00:00Z"
"""The requestId of a scheduled request."""


class Way(NamedTuple):
    """One way for a request to arrive."""

    origin: str
    """The kind of origin that reports name."""
    event: Callable[[Json, int], tuple[Any, str]]
    """The function's event at the n-th delivery of a request, and the Lambda request id."""


class Delivery(NamedTuple):
    """The outcome of a delivery."""

    error: Exception | None
    """Raised by an invocation."""
    failed: bool
    """The request stays on the queue, or Lambda invokes the function again."""
    answer: Json | None
    """That of a direct invocation."""


def event_bus(request: Json) -> Json:
    """Returns the event that EventBridge makes of a request, always under the same id."""
    return json.loads((EVENTS / "eventbridge.json").read_text()) | {"detail": request}


def _batch(body: Json, message_id: str, receives: int = 1) -> tuple[Any, str]:
    record = sqs_record(message_id, json.dumps(body), receives)
    return {"Records": [record]}, f"invocation for {message_id}, {receives}"


WAYS = {
    "a message": Way("message", lambda request, n: _batch(request, "message", n)),
    "an event on the queue, sent twice by the rule": Way(
        "event", lambda request, n: _batch(event_bus(request), f"message {n}")
    ),
    "a schedule, whose run is sent twice": Way(
        "schedule", lambda request, n: _batch(request | {"requestId": RUN}, f"message {n}")
    ),
    "an event sent straight to the function": Way(
        "event", lambda request, n: (event_bus(request), f"invocation {n}")
    ),
    "an invocation by hand, retried by Lambda": Way("invocation", lambda request, _: (request, "invocation")),
}  # fmt: skip


def deliver(function: Handler, way: str, request: Json, n: int = 1) -> Delivery:
    """Delivers a request for the n-th time; what goes in and what comes out is JSON, as in Lambda."""
    event, request_id = WAYS[way].event(request, n)
    try:
        answer = json.loads(
            json.dumps(function(json.loads(json.dumps(event)), FakeLambdaContext(aws_request_id=request_id)))
        )
    except Exception as error:  # noqa: BLE001  # whatever it is, Lambda takes it for a failure
        return Delivery(error, failed=True, answer=None)
    if "Records" in event:
        return Delivery(None, failed=bool(answer["batchItemFailures"]), answer=None)
    return Delivery(None, failed=False, answer=answer)
