"""The request queue with its redrive policy, as SQS and Lambda's poller work it, with as many copies as there are."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.world import Json

type Invoke = Callable[[Json], Any]
"""A copy of the function: an event becomes an answer; it raises when the copy died."""

RECEIVES = 5
"""As the template's redrive policy has it."""


@dataclass
class Queue:
    """Messages by id. What failed waits for the next round, which begins when its visibility time-out is over."""

    bodies: dict[str, str]
    batch_size: int = 10
    receives: Counter[str] = field(default_factory=Counter)
    done: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send_back(self) -> None:
        """Puts all that is done or dead back: queues deliver more than once, and dead letters are redriven."""
        self.bodies |= self.done | self.dead
        self.receives.clear()
        self.done.clear()
        self.dead.clear()

    def deliver(self, *copies: Invoke) -> None:
        """One round: each message that waits is received once, by whichever copy is free."""
        waiting = list(self.bodies)
        batches = [waiting[at : at + self.batch_size] for at in range(0, len(waiting), self.batch_size)][::-1]

        def work(invoke: Invoke) -> None:
            while True:
                with self._lock:
                    if not batches:
                        return
                    batch = batches.pop()
                self._hand_over(invoke, batch)

        threads = [threading.Thread(target=work, args=(invoke,)) for invoke in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _hand_over(self, invoke: Invoke, batch: Sequence[str]) -> None:
        self.receives.update(batch)
        try:
            answer = invoke({"Records": [record(key, self.bodies[key]) for key in batch]})
        except Exception:  # noqa: BLE001  # a copy that died: all of the batch stays
            failed = set(batch)
        else:
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for key in batch:
            if key not in failed:
                self.done[key] = self.bodies.pop(key)
            elif self.receives[key] >= RECEIVES:
                self.dead[key] = self.bodies.pop(key)


def record(message_id: str, body: str) -> Json:
    """A message as Lambda hands it over."""
    arn = "arn:aws:sqs:us-east-1:123456789012:requests"
    return {"messageId": message_id, "body": body, "eventSource": "aws:sqs", "eventSourceARN": arn}
