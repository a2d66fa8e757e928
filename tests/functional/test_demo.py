"""The demo and the server for laptops, and the payloads that they share with the tests."""

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from local.aws import EmbeddedAWS
from local.demo import PARAMETERS, Demo
from local.poller import Poller, load_function
from local.serve import Serve, write_environment
from local.template import cloudformation
from local.terminal import Terminal
from tests.harness.recorder import Recorder

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"


def test_the_demo_comes_out_as_it_claims(aws: EmbeddedAWS) -> None:
    """With the real function; and it fits a terminal of 100 columns, without colour where none is wanted."""
    output = io.StringIO()

    with mock.patch.dict(os.environ):
        function = load_function(aws.environment | {"PROTECTED_TAGS": PARAMETERS["ProtectedTags"]})
        assert Demo(aws, function, Terminal(output)).run()

    assert "ImageNotFound" in output.getvalue()
    assert "\033" not in output.getvalue()
    assert max(map(len, output.getvalue().splitlines())) <= 100


def test_serve_shows_what_happens(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """Messages that are done, fail or become dead letters, without waiting for the queue's time-out."""
    recorder.failing = {"bad"}
    aws.send("good", "bad")
    output, stop = io.StringIO(), threading.Event()
    server = Serve(aws, poller, Terminal(output), poll_seconds=0.01, redelivery_seconds=0.01)
    serving = threading.Thread(target=server.run, args=[stop])

    serving.start()
    deadline = time.monotonic() + 30
    while "dead letter: bad" not in output.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    serving.join()

    assert output.getvalue().count(" is done") == 1
    assert [f"receive {count}" in output.getvalue() for count in range(1, 7)] == [*[True] * 5, False]
    assert aws.messages("DeadLetterQueue") == ["bad"]


def test_serve_leads_containers_here(aws: EmbeddedAWS, tmp_path: Path) -> None:
    """The file for `sam local invoke --env-vars` has the variables of the template, and this server as their AWS."""
    declared = cloudformation()["Resources"]["DeletionFunction"]["Properties"]["Environment"]["Variables"]

    write_environment(aws, tmp_path / "env.json")

    [(name, variables)] = json.loads((tmp_path / "env.json").read_text()).items()
    assert name == "DeletionFunction"
    assert set(variables) == set(declared)
    assert variables["IDEMPOTENCY_TABLE"] == aws.outputs["IdempotencyTableName"]
    assert variables["ENDPOINT_URL"] == f"http://host.docker.internal:{aws.port}"


def test_events_are_laid_out_for_reading() -> None:
    """Each file in events/ is JSON, indented."""
    for path in EVENTS.glob("*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", path.name
