"""A duplicate that arrives while the first still runs: it does nothing, and does not wait too often."""

import sys
import threading
import time
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from local.template import cloudformation
from tests.faults.deaths import function
from tests.faults.loopback import Loopback
from tests.faults.matrix import Context
from tests.faults.matrix import function as copy_in_this_process
from tests.faults.promise import Scene
from tests.faults.queue import RECEIVES, record
from tests.faults.world import Json, World

CHUNKS = 3
SECONDS = 30
"""Longer than anything here takes."""


class Slow(World):
    """A world whose ECR takes its time over one deletion: until it is released."""

    def __init__(self, number: int, moment: str) -> None:
        super().__init__()
        self.number = number
        self.moment = moment
        self.reached = threading.Event()
        self.released = threading.Event()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        with self._lock:
            due = operation == "BatchDeleteImage" and len(self.asked) == self.number and not self.reached.is_set()
            if due:
                self.reached.set()
        if due and self.moment == "before":
            self.released.wait(SECONDS)
        answer = super().answer(service, operation, body, url)
        if due and self.moment == "after":
            self.released.wait(SECONDS)
        return answer

    def wait_until_nothing_moves(self) -> None:
        """Until the slow deletion is all that is at work."""
        assert self.reached.wait(SECONDS)
        calls = -1
        while calls != self.calls.total():
            calls = self.calls.total()
            time.sleep(0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [0, CHUNKS - 1])
def test_a_duplicate_beside_the_first(number: int, moment: str) -> None:
    """A second copy neither deletes nor notifies. Once the first is done, the duplicate replays it and is done too."""
    world = Slow(number, moment)
    scene = Scene.of(1, CHUNKS * 100, world=world)
    ((message_id, body),) = scene.queue.bodies.items()
    event = {"Records": [record(message_id, body)]}
    answers: list[Json] = []
    with Loopback(world) as aws, function(aws, SECONDS) as first, function(aws, SECONDS) as second:
        running = threading.Thread(target=lambda: answers.append(first.invoke(event)))
        running.start()
        world.wait_until_nothing_moves()
        asked = list(world.asked)

        assert second.invoke(event) == {"batchItemFailures": [{"itemIdentifier": message_id}]}
        assert (world.asked, world.notices) == (asked, [])

        world.released.set()
        running.join()
        assert second.invoke(event) == {"batchItemFailures": []}
        answers.append({"batchItemFailures": []})
    assert answers == [{"batchItemFailures": []}] * 2
    assert len(world.asked) == CHUNKS
    assert world.tags("repository-0") == set()
    scene.queue.bodies.clear()
    assert list(scene.complaints()) == []


def test_a_step_is_held_no_longer_than_the_invocation_lives() -> None:
    """Whoever finds it in progress after that finds what a dead invocation left behind."""
    scene = Scene.of(1, 1)
    expiries: list[float] = []

    class Watched(World):
        def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
            expiries.extend(float(item["in_progress_expiration"]["N"]) / 1000 for item in self.steps.values())
            return super().answer(service, operation, body, url)

    scene = Scene.of(1, 100, world=Watched())
    with copy_in_this_process(scene.world) as invoke:
        start = time.time()
        scene.queue.deliver(invoke)
        end = time.time()
    lives = Context().get_remaining_time_in_millis() / 1000
    assert expiries
    assert all(start <= expiry - lives <= end for expiry in expiries)


def of_type(name: str) -> list[Json]:
    """The properties of the template's resources of a type."""
    return [r["Properties"] for r in cloudformation()["Resources"].values() if r["Type"] == name]


@pytest.mark.parametrize("into", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_a_duplicate_is_no_dead_letter_for_having_waited(into: float) -> None:
    """However far `into` the first invocation it arrives, and finds steps in progress, it waits but once.

    It is received again when its visibility time-out is over. By then the first has ended, or is dead and what it held
    has expired: so waiting costs one receive, the next one counts, and there are more for real trouble.
    """
    (function_,) = (f for f in of_type("AWS::Lambda::Function") if "MemorySize" in f)
    (mapping,) = of_type("AWS::Lambda::EventSourceMapping")
    (queue,) = (q for q in of_type("AWS::SQS::Queue") if "RedrivePolicy" in q)
    timeout, visibility = function_["Timeout"], queue["VisibilityTimeout"]
    receives = queue["RedrivePolicy"]["maxReceiveCount"]
    # A message may wait with Lambda's poller for its batch to fill; its visibility time-out runs all the while.
    window = mapping.get("MaximumBatchingWindowInSeconds", 0)

    received = [into * timeout - window + n * visibility for n in range(receives)]
    waited = [at for at in received if at + window <= timeout]
    assert len(waited) <= 1
    assert receives == RECEIVES
    assert receives - len(waited) - 1 >= 3
