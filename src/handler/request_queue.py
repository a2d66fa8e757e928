"""The only module that calls SQS: what goes to the bulk queue, in an envelope that says its key."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from .models.errors import OutOfTimeError, UnknownOutcomeError
from .models.images import Json
from .models.request import DeletionRequest, Key, Part, Payload, key_hash, mark_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MESSAGE_BYTES = 1_048_576
"""The most that SQS takes in one message."""
ENTRIES = 10
"""Messages that SQS takes in one call."""
_TRIES = 3
_BATCH_BYTES = 1_000_000
"""Just under what SQS takes in one call, which is as much as in one message."""


def forwarded(request: DeletionRequest, arrival: Key) -> Json:
    """Returns the message by which a request moves to the bulk queue as it is: nothing of it was begun."""
    message = _message(Payload(dict(request.payload), request.origin, request.key, request.request_id))
    message["followUp"]["forwarded"] = arrival
    return message


def child(request: DeletionRequest, generation: str, repository_name: str) -> Json:
    """Returns the message of a fan-out's request for one repository; of another registry, as name@registry.

    `generation` is that of the claim under which it is sent.
    """
    name, _, registry_id = repository_name.partition("@")
    content = _content(request) | {"repositoryName": name} | ({"registryId": registry_id} if registry_id else {})
    del content["repositoryNames"]
    key = Part(request.key, repository_name, mark_of(generation)).key
    return _message(Payload(content, request.origin, key, f"{request.request_id}/{repository_name}"), generation)


def next_turn(request: DeletionRequest, generation: str, taken: int = 0) -> Json:
    """Returns the message with which a request goes on, under the claim that it began with.

    `taken` is how much this turn of it has deleted, archived or restored.
    """
    turn, taken = request.turn + 1, request.taken + taken
    payload = Payload(_content(request), request.origin, request.key, f"{request.root_id}#{turn}", turn, taken)
    return _message(payload, generation)


def seal(generation: str, payload: Payload) -> str:
    """Returns the proof that who has claimed a request has sent a message.

    It is a hash of all that the message says, and of the claim's generation, which no message says.
    """
    envelope = (payload.key, payload.request_id, payload.turn, payload.taken, payload.origin.to_json())
    text = json.dumps((generation, envelope, payload.content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(request: DeletionRequest) -> Json:
    """Returns what a further request asks for; its key is that of the envelope."""
    content = {key: value for key, value in request.payload.items() if key != "requestId"}
    # The stack may have made it a dry run, and it must not become real on the way.
    return content | ({"dryRun": True} if request.dry_run else {})


def _message(payload: Payload, generation: str | None = None) -> Json:
    """Returns a request in an envelope that says its key, so that no requestId of others can be taken for it."""
    follow_up = {
        "key": payload.key,
        "requestId": payload.request_id,
        "turn": payload.turn,
        "taken": payload.taken,
        "seal": seal(generation, payload) if generation else None,
        "origin": payload.origin.to_json(),
    }
    return {"followUp": follow_up, "request": payload.content}


def group(request: DeletionRequest) -> str:
    """Returns the group of all messages that one request leads to, directly or not."""
    key = request.key
    while part := Part.of(key):
        key = part.parent
    return key_hash(key)


def sender_group(request: DeletionRequest) -> str:
    """Returns the group of all requests of one sender: a role in whatever session, a source of events, a schedule."""
    origin = request.origin
    return key_hash(("sender", (origin.sender or "").partition(":")[0], origin.source))


def over_size(message: Json) -> str | None:
    """Returns why SQS would not take a message; None if it would."""
    if (taken := size(message)) <= MESSAGE_BYTES:
        return None
    return (
        f"request is too large to be passed on: with its envelope, the message has {taken:,} bytes, and SQS takes "
        f"{MESSAGE_BYTES:,}; split imageIds into several requests"
    )


def size(message: Json) -> int:
    """Returns the bytes that a message takes on the queue."""
    return len(_body(message))


def _body(message: Json) -> str:
    """Returns a message as it is sent: in ASCII, for SQS refuses some characters, even in JSON."""
    return json.dumps(message, separators=(",", ":"))


def send(
    sqs: "SQSClient",
    queue_url: str,
    messages: Sequence[Json],
    calling: "Callable[[], AbstractContextManager[None]]",
    group: str,
    *,
    delay: int = 0,
) -> None:
    """Puts messages on the queue, to be received after so many seconds; their keys make it repeatable.

    `calling` surrounds each call. Where messages of several groups wait, SQS lets none of them keep the others waiting.
    Raises what `calling` raises before the first call, and UnknownOutcomeError where not all were sent after it.
    """
    bodies = [_body(message) for message in messages]
    longest = max(map(len, bodies), default=0)
    batches = itertools.batched(bodies, max(1, min(ENTRIES, _BATCH_BYTES // (longest + 1))), strict=False)
    for number, batch in enumerate(batches):
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(i), "MessageBody": body, "DelaySeconds": delay, "MessageGroupId": group}
            for i, body in enumerate(batch)
        ]
        _send_batch(sqs, queue_url, entries, calling, is_first=not number)


def _send_batch(
    sqs: "SQSClient",
    queue_url: str,
    entries: "Sequence[SendMessageBatchRequestEntryTypeDef]",
    calling: "Callable[[], AbstractContextManager[None]]",
    *,
    is_first: bool,
) -> None:
    """Sends messages in one call. What SQS says that it has not taken is sent again, and what may be there is not."""
    total = len(entries)
    for number in range(_TRIES):
        try:
            with calling():
                response = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            raise UnknownOutcomeError(f"SQS did not take requests, or did not say so: {error}") from error
        except OutOfTimeError as error:
            if is_first and not number:
                raise
            raise UnknownOutcomeError(str(error)) from error  # it is not so that nothing was done
        failed = {entry["Id"]: str(entry.get("Code")) for entry in response.get("Failed", [])}
        unsent = len(entries) - len(response.get("Successful", []))
        if not unsent:
            return
        if number == _TRIES - 1 or len(failed) != unsent:
            reason = ", ".join(sorted(set(failed.values()))) or "its response did not arrive whole"
            raise UnknownOutcomeError(f"SQS did not take {unsent} of {total} requests: {reason}")
        entries = [entry for entry in entries if entry["Id"] in failed]
