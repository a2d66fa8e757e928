"""The request queue with its redrive policy, as SQS and Lambda's poller work it, before any number of instances."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.lambda_ import sqs_record
from tests.harness.faults import Killed

type Json = dict[str, Any]
type Invoke = Callable[[Json], Any]
"""An instance of the function: an event becomes an answer; it raises when the instance died."""

MAX_RECEIVES = 5
VISIBILITY_SECONDS = 720
"""How long a message is hidden once it was received. Both are as in the template."""


@dataclass
class RequestQueue:
    """Messages by id. What failed waits for the next round, which begins when its visibility time-out is over."""

    bodies: dict[str, str]
    batch_size: int = 10
    receives: Counter[str] = field(default_factory=Counter)
    done: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def redeliver(self) -> None:
        """Puts what is done back, as a queue may that delivers twice, under the same messageIds."""
        self.bodies |= self.done
        self.done.clear()

    def redrive(self) -> None:
        """Puts the dead letters back, each as a new message."""
        self.bodies |= {f"{key}, redriven": body for key, body in self.dead.items()}
        self.dead.clear()

    def deliver(self, *instances: Invoke) -> None:
        """One round: each message that waits is received once, by whichever instance is free."""
        waiting = list(self.bodies)
        batches = [waiting[at : at + self.batch_size] for at in range(0, len(waiting), self.batch_size)][::-1]

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
        records = [sqs_record(key, self.bodies[key], self.receives[key]) for key in batch]
        try:
            answer = invoke({"Records": records})
        except (Exception, Killed):  # noqa: BLE001  # an instance that died: all of the batch stays
            failed = set(batch)
        else:
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for key in batch:
            if key not in failed:
                self.done[key] = self.bodies.pop(key)
            elif self.receives[key] >= MAX_RECEIVES:
                self.dead[key] = self.bodies.pop(key)
