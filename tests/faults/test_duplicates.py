"""A duplicate that arrives while the first is still at work: it does nothing, and is done once the first is."""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from tests.fakes.lambda_ import sqs_record
from tests.harness.crash import instance
from tests.harness.function import function
from tests.harness.invariants import Allowance, violations
from tests.harness.loopback import Loopback
from tests.harness.scenario import Scenario
from tests.harness.watched import WatchedAWS

type Json = dict[str, Any]

CHUNKS = 3
CHUNK = 100
SECONDS = 30
"""Longer than anything here takes."""
LIFE_SECONDS = 120
"""Seconds that an invocation may take."""


@dataclass
class SlowAWS(WatchedAWS):
    """Its ECR takes its time over one deletion: until it is released."""

    number: int = 0
    """Counted from 0 by their arrival: several are under way at once."""
    moment: str = ""
    arrived: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        due = False
        if operation == "BatchDeleteImage":
            with self.lock:
                due = self.arrived == self.number
                self.arrived += 1
        if due:
            self.reached.set()
        if due and self.moment == "before":
            self.released.wait(SECONDS)
        answer = super().answer(service, operation, body, url)
        if due and self.moment == "after":
            self.released.wait(SECONDS)
        return answer

    def wait_until_it_alone_is_at_work(self) -> None:
        """Waits until the outcomes of all other deletions are stored."""
        assert self.reached.wait(SECONDS)
        end = time.monotonic() + SECONDS
        while sum(not name.startswith("sha256:") for name in self.settled.copy()) < (CHUNKS - 1) * CHUNK:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [0, CHUNKS - 1])
def test_a_duplicate_beside_the_first(number: int, moment: str) -> None:
    """A second instance neither deletes nor notifies. Once the first is done, the duplicate is done too."""
    aws = SlowAWS(number=number, moment=moment)
    scenario = Scenario.of_images(1, CHUNKS * CHUNK, aws=aws)
    ((message_id, body),) = scenario.queue.bodies.items()
    event = {"Records": [sqs_record(message_id, body)]}
    answers: list[Json] = []
    with Loopback(aws) as server, instance(server, SECONDS) as first, instance(server, SECONDS) as second:
        running = threading.Thread(target=lambda: answers.append(first.invoke(event)))
        running.start()
        aws.wait_until_it_alone_is_at_work()
        asked = list(aws.deletions)

        assert second.invoke(event) == {"batchItemFailures": [{"itemIdentifier": message_id}]}
        assert (aws.deletions, aws.notices) == (asked, [])

        aws.released.set()
        running.join()
        assert second.invoke(event) == {"batchItemFailures": []}
        answers.append({"batchItemFailures": []})
    assert answers == [{"batchItemFailures": []}] * 2
    assert len(aws.deletions) == CHUNKS
    assert aws.ecr.tags("repository-0") == set()
    scenario.queue.bodies.clear()
    assert list(violations(scenario, Allowance())) == []


@dataclass
class ClockedAWS(WatchedAWS):
    """Notes until when each step is held."""

    untils: list[float] = field(default_factory=list)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        items = self.dynamodb.items("steps")
        self.untils.extend(float(i["until"]["N"]) / 1000 for i in items if i["state"]["S"] == "begun")
        return super().answer(service, operation, body, url)


def test_a_step_is_held_no_longer_than_the_invocation_lives() -> None:
    """Whoever finds it in progress after that finds what a dead invocation left behind."""
    aws = ClockedAWS()
    scenario = Scenario.of_images(1, 100, aws=aws)
    with function(aws) as invoke:
        start = time.time()
        scenario.queue.deliver(invoke)
        end = time.time()
    assert aws.untils
    rounding = 0.002  # the time, and what is left of it, are whole milliseconds
    assert all(start - rounding <= until - LIFE_SECONDS <= end for until in aws.untils)
