"""The only room that calls SQS: requests that a request leads to."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .models import DeletionRequest, Json, NotNowError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_KEY_CHARACTERS = 256
_ROOT_CHARACTERS = 200
_ENTRIES = 10
_BATCH_BYTES = 200_000
"""Well under what SQS takes in one call."""


def root(request_id: str) -> str:
    """What the requestIds share under which a selection goes on; short enough for many a "#" behind it."""
    own = request_id.rstrip("#")
    return own if len(own) <= _ROOT_CHARACTERS else hashlib.sha256(own.encode()).hexdigest()


def following(request: DeletionRequest, suffix: str, **changes: object) -> Json:
    """A request like this one, under a requestId derived from its own; changes of None leave a key out."""
    own = request.request_id
    request_id = f"{root(own)}{own[len(own.rstrip('#')) :]}{suffix}"
    if len(request_id) > _KEY_CHARACTERS:
        request_id = hashlib.sha256(request_id.encode()).hexdigest()
    payload = {**request.payload, "requestId": request_id, **changes}
    if request.dry_run:  # though the stack may have made it one: it must not become real on the way
        payload["dryRun"] = True
    return {key: value for key, value in payload.items() if value is not None}


def send(sqs: "SQSClient", queue_url: str, requests: Sequence[Json]) -> None:
    """Puts requests on the queue; raises NotNowError where SQS does not take all. Their keys make it repeatable."""
    bodies = [json.dumps(request) for request in requests]
    largest = max(map(len, bodies), default=0)
    for some in itertools.batched(bodies, max(1, min(_ENTRIES, _BATCH_BYTES // (largest + 1))), strict=False):
        answer = sqs.send_message_batch(
            QueueUrl=queue_url, Entries=[{"Id": str(i), "MessageBody": body} for i, body in enumerate(some)]
        )
        if failed := answer.get("Failed"):
            raise NotNowError(f"SQS did not take {len(failed)} requests: {failed[0].get('Code')}")
