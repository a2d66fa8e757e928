"""The demo and the server for laptops, and the payloads that they share with the tests."""

import html
import io
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from docs import demo as recording
from local.aws import DEFAULT_PARAMETERS, EmbeddedAWS
from local.demo import PARAMETERS, Demo
from local.poller import Poller, load_function
from local.serve import Serve, write_environment
from local.template import cloudformation
from local.terminal import Terminal, wrapped
from tests.harness.recorder import Recorder

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"


def test_the_demo_comes_out_as_it_claims(deploy: Callable[[Mapping[str, str]], EmbeddedAWS]) -> None:
    """With the real function; and it fits a terminal of 80 columns, without colour where none is wanted."""
    output = io.StringIO()

    aws = deploy(DEFAULT_PARAMETERS | PARAMETERS)
    assert Demo(aws, load_function(aws.environment), Terminal(output)).run()

    assert "ImageNotFound" in output.getvalue()
    assert "\033" not in output.getvalue()
    assert max(map(len, output.getvalue().splitlines())) <= 80
    assert "imageTag=release-1.0: ProtectedTag" in output.getvalue()  # as the CLI writes it
    recorded = re.sub(
        r"<[^>]+>", "", "\n".join(recording.PICTURE.read_text().partition('id="lines"')[2].splitlines()[1:])
    )
    printed = [line for line in recording.steady(output.getvalue()).splitlines() if line]
    assert html.unescape(recorded).split("\n")[: len(printed)] == printed  # `make demo-svg` was run since


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Reason:  pull request closed", ["Reason:  pull", "         request", "         closed"]),
        ("Sent:    arn:aws:sqs:eu-west-1:q", ["Sent:    arn:aws:", "         sqs:eu-", "         west-1:q"]),
        ("  short", ["  short"]),
        ("", [""]),
    ],
)
def test_lines_break_between_words_and_long_words_where_they_have_parts(text: str, lines: list[str]) -> None:
    """An ARN goes on behind a colon; what follows a label stands below it."""
    assert wrapped(text, 17, indent=9) == lines


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
    """The file for `sam local invoke --env-vars` has both functions' variables, and this server as their AWS."""
    write_environment(aws, tmp_path / "env.json")

    written = json.loads((tmp_path / "env.json").read_text())
    assert written.keys() == {"DeletionFunction", "BulkFunction"}
    for name, variables in written.items():
        declared = cloudformation()["Resources"][name]["Properties"]["Environment"]["Variables"]
        assert set(variables) == set(declared)
        assert variables["IDEMPOTENCY_TABLE"] == aws.outputs["IdempotencyTableName"]
        assert variables["BULK_QUEUE_URL"] == aws.outputs["BulkQueueUrl"]
        assert variables["ENDPOINT_URL"] == f"http://host.docker.internal:{aws.port}"


def test_events_are_laid_out_for_reading() -> None:
    """Each file in events/ is JSON, indented."""
    for path in EVENTS.glob("*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", path.name
