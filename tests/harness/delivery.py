"""The delivery from the queue to the instances in the endurance test, with all that may go wrong."""

import itertools
import json
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from botocore.awsrequest import AWSResponse

from local.rie import FunctionError, RuntimeEmulator
from tests.fakes.lambda_ import sqs_record
from tests.harness.faults import FAULTS, SERVICES, Fault
from tests.harness.request_queue import MAX_RECEIVES, Invoke, RequestQueue
from tests.harness.watched import WatchedAWS
from tests.harness.workload import Message

type Json = dict[str, Any]

BATCH = 8
"""Messages that the queue hands over at once: with two duplicates, the ten that Lambda takes at most."""
DUPLICATES, PUSHED_AGAIN = 0.20, 0.3
"""For each request: messages handed over twice, and requests whose tags come back once they are gone."""
OUTAGE_CALLS = 40
"""Most faults strike one call; an outage strikes more than botocore's retries get over."""

_DUPLICATES_AT_ONCE = 2
_SOON = {"ecr": 6, "dynamodb": 12, "sns": 1}  # within how many calls a fault strikes: about a batch's
_TAGS_PUSHED = 3


type Sample = tuple[int, int]
"""How many messages were handed over by then, to all instances, and how many bytes this one held."""


@dataclass
class RecordingAWS(WatchedAWS):
    """Remembers which notices may have been published without the function's knowing."""

    unsure: set[str] = field(default_factory=set)
    """Messages whose notice SNS did not acknowledge, or whose outcome the table did not."""
    published: dict[str, str] = field(default_factory=dict)
    """For the number of a notice, its message."""

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        well = False
        try:
            answer = super().answer(service, operation, body, url)
            well = answer.status_code == 200 and bool(answer.content)
        finally:
            if operation == "Publish" and not well:
                form = dict(urllib.parse.parse_qsl(body.decode()))
                self.unsure.add(json.loads(json.loads(form["Message"])["default"])["origin"]["id"])
            if operation == "UpdateItem" and not well:
                data = json.loads(body).get("ExpressionAttributeValues", {}).get(":data", {"S": "{}"})
                if number := json.loads(data["S"]).get("messageId"):
                    self.unsure.add(self.notices[int(number) - 1]["origin"]["id"])
        return answer


@dataclass
class Delivery:
    """Hands messages over twice, brings faults, and pushes tags again."""

    queue: RequestQueue
    aws: RecordingAWS
    messages: dict[str, Message]
    random: Random
    deadline: float
    """By time.monotonic()."""
    faults: Iterator[tuple[str, str, int]]
    """Service, kind and calls of each fault to come."""
    fault_share: float
    """Faults for each message."""
    pushed_again: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rss: list[list[Sample]] = field(default_factory=list)
    """Of each instance, after each batch."""
    figures: Counter[str] = field(default_factory=Counter)
    accidents: list[str] = field(default_factory=list)
    """Instances that died, although nobody killed them."""
    _again: list[str] = field(default_factory=list)
    """Messages to be handed over once more, by whichever instance is the next to begin."""
    _later: list[str] = field(default_factory=list)
    _running: Counter[str] = field(default_factory=Counter)
    _last_fault: tuple[str, int] = ("ecr", 0)
    """Its service, and the number of the call before which it ends."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def to(self, function: RuntimeEmulator) -> Invoke:
        """Returns an instance of the function, as the queue is to see it."""
        samples: list[Sample] = []
        self.rss.append(samples)

        def invoke(event: Json) -> Any:
            keys = [item["messageId"] for item in event["Records"]]
            again = self._begin(keys)
            duplicates = [sqs_record(key, self.messages[key].body, self.queue.receives[key]) for key in again]
            failed = self._invoke(function, event["Records"] + duplicates)
            self._end(keys, [key for key in again if key in failed], again)
            samples.append((self.figures["handed over"], function.rss))
            return {"batchItemFailures": [{"itemIdentifier": key} for key in keys if key in failed]}

        return invoke

    def bring_late_ones(self) -> None:
        """Half of what comes twice comes much later."""
        self._again, self._later = self._again + self._later, []

    def lift_faults(self) -> None:
        self.fault_share, self.aws.fault = 0.0, None

    def finish(self, invoke: Invoke) -> None:
        """Hands over the duplicates that are left, those that were refused among them, now that nothing else runs."""
        for _ in range(MAX_RECEIVES):
            self.bring_late_ones()
            while self._again:
                invoke({"Records": []})
        self.accidents += [f"{key}: a duplicate that is never done" for key in self._later]

    def _invoke(self, function: RuntimeEmulator, records: list[Json]) -> set[str]:
        if time.monotonic() > self.deadline:
            return {item["messageId"] for item in records}
        try:
            answer = function.invoke({"Records": records})
        except FunctionError as error:
            self.accidents.append(str(error))
            return {item["messageId"] for item in records}
        return {item["itemIdentifier"] for item in answer["batchItemFailures"]}

    def _begin(self, keys: list[str]) -> list[str]:
        """Returns the messages to hand over again beside these."""
        with self._lock:
            again = [key for key in self._again if key not in keys][:_DUPLICATES_AT_ONCE]
            self._again = [key for key in self._again if key not in again]
            self.queue.receives.update(again)
            self.figures["handed over"] += len(keys) + len(again)
            self.figures["duplicates"] += len(again)
            self.figures["while the first ran"] += sum(key in self._running for key in again)
            for key in keys:
                if self.queue.receives[key] == 1:
                    self.figures["first"] += 1
                    if self.random.random() < DUPLICATES:
                        self.random.choice((self._again, self._later)).append(key)
            self._running.update(keys + again)
            self._bring_fault()
            return again

    def _end(self, keys: list[str], refused: list[str], again: list[str]) -> None:
        with self._lock:
            self._running -= Counter(keys + again)
            self._later += [key for key in refused if not self.messages[key].poison]
            for key in keys:
                # Between a look-up and a deletion nothing can be promised, so nobody may be about to look.
                if key not in self._running and key not in self.pushed_again and self.random.random() < PUSHED_AGAIN:
                    self._push_again(self.messages[key])

    def _push_again(self, message: Message) -> None:
        """Pushes another image under tags that are gone."""
        gone = [tag for tag in message.there if tag not in self.aws.ecr.tags(message.repository)]
        for tag in gone[:_TAGS_PUSHED]:
            self.aws.ecr.push(message.repository, tag, days=0)
            self.pushed_again[message.id].add(tag)

    def _bring_fault(self) -> None:
        """Sets the next fault, when one is due and the one before has struck."""
        service, end = self._last_fault
        due = self.figures["first"] * self.fault_share > self.figures["faults"]
        if not due or self.aws.calls[service] < end:
            return
        service, kind, calls = next(self.faults)
        begin = self.aws.calls[service] + self.random.randrange(_SOON[service])
        self._last_fault = service, begin + calls
        self.figures["faults"] += 1
        self.figures["outages"] += calls > 1

        def strikes(number: int) -> bool:
            hit = begin <= number < begin + calls
            self.figures["struck"] += hit
            return hit

        self.aws.fault = Fault(service, kind, strikes)


def faults(random: Random, outage_every: int) -> Iterator[tuple[str, str, int]]:
    """Yields all kinds of all services, again and again, each time in another order."""
    every = list(itertools.product(SERVICES, FAULTS))
    for number in itertools.count():
        if number % len(every) == 0:
            random.shuffle(every)
        outage = number % outage_every == outage_every - 1
        yield *every[number % len(every)], OUTAGE_CALLS if outage else 1
