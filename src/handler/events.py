"""Arrivals: an SQS record, an EventBridge event or a raw request becomes a payload with its origin."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from .models.errors import RejectedRequestError
from .models.event_types import DECLARATION, RESULTS
from .models.images import Json
from .models.limits import KEY_CHARACTERS
from .models.request import ORIGINS, Arrival, Origin, Payload, declares_use, quoted

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_FOLLOW_UP_BYTES = 20_000
"""More than any request that this function sends to itself needs beside its content."""
_MAX_TURN = 1_000
"""More messages than ever continue a selection: the number only has to be plausible."""


def is_batch(event: Any) -> bool:
    """Returns whether an event is an SQS batch."""
    records = event.get("Records") if isinstance(event, dict) else None
    return isinstance(records, list) and all(
        isinstance(record, dict)
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
        and isinstance(record.get("attributes", {}), dict)
        for record in records
    )


def arrivals(event: Any, context: "LambdaContext", bulk_queue_url: str) -> list[Arrival]:
    """Returns what an event brings: a record each of an SQS batch, or the one request of any other event."""
    if is_batch(event):
        bulk_queue = bulk_queue_url.split("/")[-2:]  # of which account, and its name
        return [_record(record, internal=_source(record).split(":")[-2:] == bulk_queue) for record in event["Records"]]
    # Lambda invokes an asynchronous event again under the same request id, and does not say that it does.
    origin = Origin("invocation", context.aws_request_id, context.invoked_function_arn)
    return [Arrival(origin, received_before=True, read=partial(_unwrap, event, origin))]


def _source(record: Mapping[str, Any]) -> str:
    return str(record.get("eventSourceARN"))


def _record(record: Mapping[str, Any], *, internal: bool) -> Arrival:
    attributes = record.get("attributes", {})
    sender = attributes.get("SenderId")
    origin = Origin("message", record["messageId"], _source(record), sender and quoted(str(sender)))
    received = str(attributes.get("ApproximateReceiveCount"))
    sent = str(attributes.get("SentTimestamp"))
    sent_at = int(sent) / 1_000 if sent.isdecimal() else None
    return Arrival(
        origin,
        received_before=received != "1",
        read=lambda: _unwrap(_load_body(record), origin, sent_at, internal=internal),
        internal=internal,
    )


def _load_body(record: Mapping[str, Any]) -> Any:
    """Returns the JSON in an SQS record's body; raises RejectedRequestError when it holds none."""
    try:
        return json.loads(record["body"], object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise RejectedRequestError(f"the message body is not JSON: {error}") from error
    except RecursionError as error:
        raise RejectedRequestError("the message body is nested too deeply; a request has two levels") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedRequestError(
            "the message body cannot be read as JSON; send text in which no number has thousands of digits"
        ) from error


def _unwrap(content: Any, received: Origin, sent: float | None = None, *, internal: bool = False) -> Payload:
    """Returns the request in what carried it, where it really comes from, and the key of what carried it.

    A failed invocation holds it as the requestPayload of the record that Lambda sends to a failure destination: sent
    back to a queue, it keeps its key. An EventBridge envelope holds it as its detail. What this function has sent to
    itself says the key: that of another request, or made from it. So it counts only where nobody else may send.
    """
    match content:
        case {
            "requestContext": {"requestId": str(request_id), "functionArn": str(source)},
            "requestPayload": inner,
        } if _may_be_key(request_id):
            content, received = inner, Origin("invocation", request_id, quoted(source))
    match content:
        case {"detail-type": kind, "detail": detail, "id": str(event_id)} if _may_be_key(event_id):
            # Whoever may only declare what is in use, as IAM can tell by the detail-type, must not delete.
            if kind == DECLARATION and not declares_use(detail):
                raise RejectedRequestError(
                    f"an event {DECLARATION!r} must have imagesInUse in its detail; a deletion request has the "
                    "detail-type 'ECR Image Deletion Request'"
                )
            account = content.get("account")
            origin = Origin(
                "event",
                event_id,
                quoted(str(content.get("source"))),
                quoted(account) if isinstance(account, str) else None,
            )
            time = _seconds(content.get("time")) or sent
            return Payload(detail, origin, (origin.kind, origin.id), sent=time, is_result=_is_result(kind, detail))
        case {
            "followUp": {
                "key": [*key],
                "requestId": str(name),
                "turn": int(turn),
                "taken": int(taken),
                "seal": str() | None as seal,
                "origin": {
                    "kind": str(kind),
                    "id": str(origin_id),
                    "source": str(source),
                    "sender": str() | None as sender,
                },
                **more,
            },
            "request": request,
        } if (
            _are_counts(turn, taken)
            and kind in ORIGINS
            and _may_be_sent([key, name, seal, more, origin_id, source, sender])
        ):
            if not internal:
                raise RejectedRequestError(
                    "a followUp is what the stack sends to its own bulk queue, and counts nowhere else; a dead letter "
                    "that came from there goes back there (output BulkQueueArn); otherwise, send the request itself"
                )
            origin = Origin(kind, origin_id, source, sender)
            arrival = more.get("forwarded")
            forwarded = tuple(arrival) if isinstance(arrival, list) else None
            return Payload(request, origin, tuple(key), name, turn, taken, seal, forwarded)
    return Payload(content, received, (received.kind, received.id), sent=sent, is_result=_is_result(None, content))


def _is_result(kind: Any, content: Any) -> bool:
    """Returns whether this is what the function itself says of a request, whole or out of its envelope."""
    if isinstance(kind, str) and kind in RESULTS:
        return True
    if not isinstance(content, dict):
        return False
    metadata = content.get("metadata")
    return (isinstance(metadata, dict) and "idempotencyKey" in metadata) or {
        "origin",
        "actionRequired",
    } <= content.keys()


def _seconds(time: Any) -> float | None:
    """Returns an event's time in seconds since the epoch; None where it has none that can be read."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _are_counts(turn: int, taken: int) -> bool:
    return not (isinstance(turn, bool) or isinstance(taken, bool)) and turn in range(_MAX_TURN) and taken >= 0


def _may_be_key(text: str) -> bool:
    return 0 < len(text) <= KEY_CHARACTERS and text.isascii()


def _may_be_sent(values: list[Any]) -> bool:
    """Returns whether what an envelope says can stand in the table and in notices, as what this function sends can."""
    try:
        return len(json.dumps(values, ensure_ascii=False).encode()) <= _FOLLOW_UP_BYTES
    except (RecursionError, UnicodeEncodeError):
        return False


def _object(pairs: list[tuple[str, Any]]) -> Json:
    """Returns a JSON object; refuses one that says a key twice, for it asks for two things and would be read as one."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise RejectedRequestError("the message body has an object that says a key twice; say it once")
    return members
