"""Polls the stack's queues as Lambda's event source mappings do."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .aws import REGION, EmbeddedAWS, Function
from .runtime import FakeLambdaContext, Handler, load_function

__all__ = ["FakeLambdaContext", "Handler", "Poll", "Poller", "load_function"]

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Poll:
    """The outcome of one batch of messages."""

    event: Json
    """The event that the function was invoked with."""
    answer: Any
    """Its answer; None if it raised."""
    error: Exception | None
    """The error that it raised."""
    succeeded: tuple[str, ...]
    """Ids of the messages that are off the queue."""
    failed: tuple[str, ...]
    """Ids of those that are received again, or have been received for the last time."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """A queue, and the function that takes its messages."""

    url: str
    arn: str
    function: Function


class Poller:
    """Takes batches from the queues, invokes the function, and deletes what it does not report as failed."""

    def __init__(self, aws: EmbeddedAWS, function: Handler) -> None:
        """`function` is invoked as that of whichever queue it is."""
        self._function = function
        self._sqs = aws.client("sqs")
        self._lanes: dict[str, _Lane] = {}
        for name, deployed in aws.lanes.items():
            url = aws.resources[name]
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
            self._lanes[attributes["QueueArn"]] = _Lane(url, attributes["QueueArn"], deployed)
        self._failed: dict[str, tuple[str, str]] = {}

    def poll(self) -> Poll | None:
        """Takes one batch through the function, of the first queue that has one. None when no message is visible.

        A message that was received as often as its queue allows is not handed out again: it goes to the dead-letter
        queue.
        """
        for lane in self._lanes.values():
            received = self._sqs.receive_message(
                QueueUrl=lane.url,
                MaxNumberOfMessages=lane.function.batch_size,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            if received:
                return self.deliver({"Records": [_record(message, lane.arn) for message in received]})
        return None

    def deliver(self, event: Json, receipts: Mapping[str, str] | None = None) -> Poll:
        """Invokes the function with an SQS event, and deletes what did not fail, by the event's receipts or these."""
        lane = self._lanes[event["Records"][0]["eventSourceARN"]]
        context = FakeLambdaContext(
            function_name=lane.function.name,
            invoked_function_arn=lane.function.arn,
            memory_limit_in_mb=lane.function.memory,
            timeout=lane.function.timeout,
        )
        answer, error = None, None
        try:
            # The function gets a copy through JSON, and answers through JSON, as across Lambda's API.
            answer = json.loads(json.dumps(self._function(json.loads(json.dumps(event)), context)))
        except Exception as raised:  # noqa: BLE001  # whatever it is, all the batch has failed
            error = raised
        receipts = receipts or _receipts(event)
        failed = tuple(receipts) if error else failed_ids(answer, list(receipts))
        succeeded = tuple(message_id for message_id in receipts if message_id not in failed)
        if succeeded:
            entries = [{"Id": str(i), "ReceiptHandle": receipts[m]} for i, m in enumerate(succeeded)]
            self._sqs.delete_message_batch(QueueUrl=lane.url, Entries=entries)
        for message_id in succeeded:
            self._failed.pop(message_id, None)
        self._failed |= {message_id: (lane.url, receipts[message_id]) for message_id in failed}
        return Poll(event, answer, error, succeeded, failed)

    def duplicate(self, poll: Poll) -> Poll:
        """Delivers a batch a second time, as a queue may do even with messages that were deleted."""
        event = deepcopy(poll.event)
        for record in event["Records"]:
            record["receiptHandle"] += "again"
            record["attributes"]["ApproximateReceiveCount"] = str(
                int(record["attributes"]["ApproximateReceiveCount"]) + 1
            )
        return self.deliver(event, _receipts(poll.event))

    def redeliver(self) -> int:
        """Lets the visibility time-out of what failed be over now; returns of how many messages."""
        for url, receipt in self._failed.values():
            self._sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
        count = len(self._failed)
        self._failed.clear()
        return count

    def drain(self, limit: int = 100) -> list[Poll]:
        """Polls until the queues are empty, redelivering what failed until it succeeds or is a dead letter.

        Raises RuntimeError when they are not empty after `limit` batches.
        """
        polls: list[Poll] = []
        while len(polls) < limit:
            if poll := self.poll():
                polls.append(poll)
            elif not self.redeliver():
                return polls
        raise RuntimeError(f"the queues are not empty after {limit} batches")


def _record(message: Json, arn: str) -> Json:
    """A message as Lambda hands it over: keys begin in lower case, and attribute values are typed differently."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {name_[0].lower() + name_[1:]: value for name_, value in attribute.items()}
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }


def _receipts(event: Json) -> dict[str, str]:
    return {record["messageId"]: record["receiptHandle"] for record in event["Records"]}


def failed_ids(answer: Any, message_ids: Sequence[str]) -> tuple[str, ...]:
    """The messages that stay on the queue: those an answer names; all, when it is malformed or names others.

    An answer that is empty, or whose list is, names none.
    """
    match answer:
        case None | {} if not answer:
            return ()
        case {"batchItemFailures": None | []}:
            return ()
        case {"batchItemFailures": list(failures)}:
            named = [f.get("itemIdentifier") if isinstance(f, dict) else None for f in failures]
            if all(name in message_ids for name in named):
                return tuple(map(str, named))
    return tuple(message_ids)
