"""The two queues with their redrive policies, as SQS and Lambda's pollers work them, before any number of instances."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.lambda_ import BULK_QUEUE_ARN, QUEUE_ARN, sqs_record
from tests.harness.faults import Killed

type Json = dict[str, Any]
type Invoke = Callable[[Json], Any]
"""An instance of the function: an event becomes an answer; it raises when the instance died."""

MAX_RECEIVES = 5
"""Of a message on the request queue; on the bulk queue it is BULK_RECEIVES. All are as in the template."""
BULK_RECEIVES = 3
VISIBILITY_SECONDS = 720
"""How long a message on the request queue is hidden once it was received."""


@dataclass
class RequestQueue:
    """Messages by id. What failed waits for the next round, which begins when its visibility time-out is over."""

    bodies: dict[str, str]
    batch_size: int = 10
    bulk: set[str] = field(default_factory=set)
    """Ids of the messages that are on the bulk queue, which hands over one at a time."""
    receives: Counter[str] = field(default_factory=Counter)
    done: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def redeliver(self) -> None:
        """Puts what is done back, as a queue may that delivers twice, under the same messageIds."""
        self.bodies |= self.done
        self.done.clear()

    def send(self, bodies: Mapping[str, str]) -> None:
        """Puts on the bulk queue what the function has sent there."""
        self.bodies |= bodies
        self.bulk |= bodies.keys()

    def redrive(self) -> None:
        """Puts the dead letters on the bulk queue, each as a new message."""
        self.send({f"{key}, redriven": body for key, body in self.dead.items()})
        self.dead.clear()

    def deliver(self, *instances: Invoke) -> None:
        """One round: each message that waits is received once, by whichever instance is free."""
        waiting = [key for key in self.bodies if key not in self.bulk]
        batches = [waiting[at : at + self.batch_size] for at in range(0, len(waiting), self.batch_size)]
        batches = [*batches, *([key] for key in self.bodies if key in self.bulk)][::-1]

        def work(invoke: Invoke) -> None:
            while True:
                with self._lock:
                    if not batches:
                        return
                    batch = batches.pop()
                self._hand_over(invoke, batch)

        threads = [threading.Thread(target=work, args=(invoke,)) for invoke in instances]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _hand_over(self, invoke: Invoke, batch: Sequence[str]) -> None:
        self.receives.update(batch)
        is_bulk = batch[0] in self.bulk
        queue = BULK_QUEUE_ARN if is_bulk else QUEUE_ARN
        records = [sqs_record(key, self.bodies[key], self.receives[key], queue=queue) for key in batch]
        try:
            answer = invoke({"Records": records})
        except (Exception, Killed):  # noqa: BLE001  # an instance that died: all of the batch stays
            failed = set(batch)
        else:
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for key in batch:
            if key not in failed:
                self.done[key] = self.bodies.pop(key)
            elif self.receives[key] >= (BULK_RECEIVES if is_bulk else MAX_RECEIVES):
                self.dead[key] = self.bodies.pop(key)
