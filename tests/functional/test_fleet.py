"""`make fleet` runs, and its queues, pollers and instances behave as those of AWS do; the figures are not tested."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from xml.etree import ElementTree as ET

import boto3
import pytest

from benchmarks.fleet.lane import Function, Lane
from benchmarks.fleet.night import BULK_RECEIVES, RECEIVES, Figures, Night
from benchmarks.fleet.page import Measured, growth_plot, page
from benchmarks.fleet.queue import Queue, QueueConnection
from tests.examples import ROOT, stack

HANDLER = """
import json, os, time

def lambda_handler(event, context):
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    print(json.dumps([record["attributes"] for record in event["Records"]]), flush=True)
    if "die" in bodies.values():
        os._exit(1)
    if "sleep" in bodies.values():
        time.sleep(context.get_remaining_time_in_millis() / 1000 + 60)
    if "raise" in bodies.values():
        raise ValueError
    time.sleep(0.1)
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_, body in bodies.items() if body == "fail"]}
"""


@pytest.fixture
def lane(tmp_path: Path) -> Callable[..., Lane]:
    """Makes lanes of a function that does what a message says."""
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "__init__.py").touch()
    (tmp_path / "handler" / "app.py").write_text(HANDLER)

    def make(*, batch_size: int = 10, most: int = 5, receives: int = 3) -> Lane:
        function = Function("F", tmp_path, "arn:aws:sqs:us-east-1:123456789012:q", 2, batch_size, most)
        return Lane(function, Queue("q", receives, 0.01), {})

    return make


async def settled(lane: Lane, kind: str = "a") -> None:
    """Waits until no message is pending."""
    async with asyncio.timeout(30):
        while lane.queue.pending[kind]:  # noqa: ASYNC110  # a test
            await asyncio.sleep(0.01)


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs a test in a loop of its own."""
    asyncio.run(test())


def test_a_night_is_played_and_reported(tmp_path: Path) -> None:
    """`python -m benchmarks.fleet --quick` writes the page with both nights, whose selections all end, and a plot."""
    options = ["--quick", "--repositories", "12", "--rate", "8", "--burst", "1", "--output", str(tmp_path)]
    options += ["--concurrency", "2", "--bulk-concurrency", "3"]  # each is a process to start
    command = [sys.executable, "-m", "benchmarks.fleet", *options]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    text = (tmp_path / "FLEET.md").read_text()
    assert printed.strip() == text.strip()
    assert text.count("| dead letters |  | at most 0 messages | 0 messages | met |") == 2
    assert text.count("| 12 selections until the last is done") == 1
    assert text.count("| 6 selections until the last is done") == 1
    assert text.count(" 0 refused |") == 1
    assert "| 1 | " in text
    assert ET.parse(tmp_path / "fleet.svg").getroot().tag.endswith("svg")  # noqa: S314  # our own


def test_receives_are_those_of_the_template() -> None:
    """Of both queues, before a message is a dead letter."""
    resources = stack()["Resources"]
    receives = [
        resources[name]["Properties"]["RedrivePolicy"]["maxReceiveCount"] for name in ("RequestQueue", "BulkQueue")
    ]
    assert receives == [RECEIVES, BULK_RECEIVES]
    assert resources["BulkFunction"]["Properties"]["Events"]["Requests"]["Properties"]["BatchSize"] == 1
    assert resources["DeletionFunction"]["Properties"]["Events"]["Requests"]["Properties"].get("BatchSize", 10) == 10
    assert Night(1).concurrency == stack()["Parameters"]["MaxConcurrency"]["Default"]


def test_what_fails_is_received_again_until_it_is_a_dead_letter(lane: Callable[..., Lane]) -> None:
    """The others of its batch are done."""

    async def test() -> None:
        async with lane() as own:
            for body in ("fail", "well", "well"):
                own.queue.send(body, "a")
            await settled(own)
            assert (own.queue.dead, own.queue.redelivered, own.errors) == (1, 2, 0)
            assert len(own.queue.waits["a"]) == 2
            assert own.log_bytes > 0
            own.measure_memory()
            assert own.peak_memory > 1 << 20

    run(test)


@pytest.mark.parametrize("body", ["die", "sleep", "raise"])
def test_an_invocation_that_fails_leaves_all_of_its_batch(lane: Callable[..., Lane], body: str) -> None:
    """Whether its process ends, its time is over, or it raises; the next is another process, unless it raised."""

    async def test() -> None:
        async with lane(receives=1) as own:
            own.queue.send(body, "a")
            await settled(own)
            own.queue.send("well", "b")
            await settled(own, "b")
            assert (own.queue.dead, own.errors) == (1, 1)
            assert len(own.queue.waits["b"]) == 1
            assert own.cold_starts == (1 if body == "raise" else 2)

    run(test)


def test_the_poller_begins_with_five_batches_and_has_no_more_than_it_may(lane: Callable[..., Lane]) -> None:
    """However many messages wait; a batch has as many as the function takes."""

    async def test() -> None:
        async with lane(batch_size=2, most=7) as own:
            busy = []
            for number in range(30):
                own.queue.send(f"{number}", "a")
                busy.append(len(own._tasks))
            assert max(busy) == 5
            while own.queue.pending["a"]:
                busy.append(len(own._tasks))
                await asyncio.sleep(0.01)
            assert 5 < max(busy) <= 7
            assert own.invocations < 30

    run(test)


def test_the_function_sends_to_the_queue() -> None:
    """By SQS's own protocol, ten at a time."""

    async def test() -> None:
        queue, calls = Queue("q", 3, 0.01), Counter[str]()
        server = await asyncio.get_running_loop().create_server(
            lambda: QueueConnection(queue, "a", calls), "127.0.0.1", 0
        )
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sqs = boto3.client("sqs", endpoint_url=address)
        entries = [{"Id": f"{n}", "MessageBody": f"body {n}"} for n in range(10)]
        answer = await asyncio.to_thread(sqs.send_message_batch, QueueUrl="http://q", Entries=entries)  # type: ignore[arg-type]
        server.close()
        assert [sent["Id"] for sent in answer["Successful"]] == [f"{n}" for n in range(10)]
        assert [message.body for message in queue.receive(20)] == [f"body {n}" for n in range(10)]
        assert calls == {"SendMessageBatch": 1}

    run(test)


def figures(night: Night, **changed: object) -> Figures:
    """Figures of a night."""
    given: dict[str, object] = {
        "night": night,
        "seconds": 10.0,
        "named": tuple(n / 100 for n in range(1, 101)),
        "selections": (0.5,) * night.repositories,
        "calls": Counter(
            DescribeImages=2 * night.repositories, BatchDeleteImage=night.repositories + 100, throttled=40
        ),
        "redelivered": 0,
        "dead": 0,
        "errors": 0,
        "peak_memory": (1 << 20, 2 << 20),
        "dollars": {"Lambda": 0.1, "SQS": 0.02},
    }
    return Figures(**given | changed)  # type: ignore[arg-type]


def test_figures_are_held_against_their_goals() -> None:
    """Waits by their percentiles, calls with those that ECR refused, and no dead letter is too few."""
    night, quiet = figures(Night(100), dead=1), figures(Night(0), named=(0.3, 0.33))
    assert (night.percentile(50), night.percentile(99), night.percentile(100)) == (0.5, 0.99, 1.0)
    assert night.calls_per_needed == pytest.approx(440 / 400)
    text = page(Measured(night, quiet), Measured(night, quiet), [figures(Night(1)), night], load=0)
    assert "| at most 2 x | 3.00 x | **missed** |" in text
    assert text.count("| at most 0 messages | 1 messages | **missed** |") == 2
    assert "| 100 | 10.00 s | $0.12 | $0.0012 |" in text
    assert growth_plot([figures(Night(1)), night]).startswith("<svg")
