"""A queue in memory, as SQS works it: redelivery, dead letters, and an HTTP face for the function that sends to it."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fake_services import Response
from benchmarks.http_server import Connection

SQS_LATENCY = 0.005
"""Seconds for a call that sends."""


@dataclass(slots=True)
class Message:
    """A message, and what became of it."""

    id: str
    body: str
    kind: str
    """Which of the messages are counted together."""
    sent: float
    """By the loop's clock."""
    receives: int = 0


@dataclass
class Queue:
    """The messages of one lane. They are handed out in the order in which they came, as far as SQS promises any."""

    name: str
    max_receives: int
    redelivery: float
    """Seconds until a message that was not taken is received again."""
    on_arrival: Callable[[], None] = lambda: None
    waiting: deque[Message] = field(default_factory=deque)
    pending: Counter[str] = field(default_factory=Counter)
    """Messages that are neither done nor dead, by their kind."""
    waits: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from sent to done, by kind."""
    sent = dead = redelivered = 0
    last_done: float = 0.0
    """By the loop's clock."""

    def send(self, body: str, kind: str) -> Message:
        """Puts a message on the queue."""
        self.sent += 1
        message = Message(f"{self.name}-{self.sent}", body, kind, asyncio.get_running_loop().time())
        self.pending[kind] += 1
        self._put(message)
        return message

    def receive(self, most: int) -> list[Message]:
        """Takes messages off the queue, as many as there are and may be."""
        batch = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        for message in batch:
            message.receives += 1
        return batch

    def done(self, message: Message) -> None:
        """Deletes a message."""
        self.last_done = asyncio.get_running_loop().time()
        self.waits.setdefault(message.kind, []).append(self.last_done - message.sent)
        self.pending[message.kind] -= 1

    def failed(self, message: Message) -> None:
        """Lets a message be received again, or moves it to the dead letters."""
        if message.receives < self.max_receives:
            self.redelivered += 1
            asyncio.get_running_loop().call_later(self.redelivery, self._put, message)
        else:
            self.dead += 1
            self.pending[message.kind] -= 1

    def _put(self, message: Message) -> None:
        self.waiting.append(message)
        self.on_arrival()


class QueueConnection(Connection):
    """A connection to the only queue that the function sends to."""

    def __init__(self, queue: Queue, kind: str, calls: Counter[str]) -> None:
        super().__init__()
        self._queue, self._kind, self._calls = queue, kind, calls

    def serve(self, path: str, operation: str, body: bytes) -> None:
        del path
        self._calls[operation] += 1
        asyncio.get_running_loop().call_later(SQS_LATENCY, self.send, self._respond(operation, json.loads(body)))

    def _respond(self, operation: str, call: dict[str, Any]) -> Response:
        if operation != "SendMessageBatch":
            return 400, json.dumps({"__type": "UnsupportedOperation", "message": operation}).encode()
        sent = [(entry["Id"], self._queue.send(entry["MessageBody"], self._kind).id) for entry in call["Entries"]]
        successful = [{"Id": entry, "MessageId": id_, "MD5OfMessageBody": ""} for entry, id_ in sent]
        return 200, json.dumps({"Successful": successful, "Failed": []}).encode()
