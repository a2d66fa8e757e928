"""What an operator reads: one structured entry for each decision, and metrics that count once."""

import io
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image
from local.poller import FakeLambdaContext, Handler, Poller

type Json = dict[str, Any]


@pytest.fixture
def log(function: Handler) -> Callable[[], list[Json]]:
    """The entries that the function has logged, formatted as they would be on standard output."""
    stream = io.StringIO()
    logger = vars(sys.modules[function.__module__])["logger"]
    logger.registered_handler.setStream(stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def send(aws: EmbeddedAWS, body: Json) -> None:
    """Puts a request on the queue."""
    aws.client("sqs").send_message(QueueUrl=aws.outputs["RequestQueueUrl"], MessageBody=json.dumps(body))


def test_every_line_names_its_request(log: Callable[[], list[Json]], aws: EmbeddedAWS, poller: Poller) -> None:
    """Ten requests side by side, each about a repository of its own: no line carries another request's names."""
    for n in range(10):
        aws.client("ecr").create_repository(repositoryName=f"team/app-{n}")
        push_image(aws.client("ecr"), f"team/app-{n}", tags=["old"])
        request = {"repositoryName": f"team/app-{n}", "imageIds": ["imageTag=old", "imageTag=gone"]}
        send(aws, request | {"requestId": f"request-{n}", "reason": f"reason {n}"})

    poller.drain()

    for n in range(10):
        of_request = [entry for entry in log() if entry["request_id"] == f"request-{n}"]
        assert {entry["repository_name"] for entry in of_request} == {f"team/app-{n}"}
        assert [entry["message"] for entry in of_request] == [
            "request taken",
            "chunk done",
            "image not deleted",
            "request done",
        ]
        assert of_request[0]["reason"] == f"reason {n}"
        assert of_request[2]["failureCode"] == "ImageNotFound"
    assert len(log()) == 40


def test_a_request_that_stops_has_told_what_it_did(
    log: Callable[[], list[Json]], aws: EmbeddedAWS, poller: Poller
) -> None:
    """Each chunk is told when it is done: one of three got through, and the log of the unfinished delivery says so."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    send(aws, {"repositoryName": "team/app", "imageIds": [f"imageTag=pr-{n}" for n in range(300)]})
    calls = itertools.count(1)

    def break_down(**_: Any) -> None:
        if next(calls) > 1:
            raise ConnectionError("the machine went down")

    sys.modules["handler.work"].ecr.meta.events.register("before-send.ecr.BatchDeleteImage", break_down)
    poll = poller.poll()

    assert poll
    assert poll.failed
    done = [entry for entry in log() if entry["message"] == "chunk done"]
    assert [(entry["failed"], entry["replayed"]) for entry in done] == [(100, False)]
    assert "request done" not in {entry["message"] for entry in log()}


def test_no_line_holds_a_whole_event(log: Callable[[], list[Json]], aws: EmbeddedAWS, function: Handler) -> None:
    """A request of 300 tags logs what was decided, not what was sent."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    tags = [f"a-long-tag-{n}" for n in range(300)]
    function({"repositoryName": "team/app", "imageIds": [f"imageTag={tag}" for tag in tags]}, FakeLambdaContext())

    assert log()
    assert all(sum(f'"{tag}"' in json.dumps(entry) for tag in tags) <= 1 for entry in log())


def test_metrics_count_each_request_once(capsys: pytest.CaptureFixture[str], aws: EmbeddedAWS, poller: Poller) -> None:
    """Requests, images and rejections are counted when they happen, not when a duplicate only replays them."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    push_image(aws.client("ecr"), "team/app", tags=["old"])
    send(aws, {"repositoryName": "team/app", "imageIds": ["imageTag=old", "imageTag=gone"]})
    first = poller.poll()
    assert first
    poller.duplicate(first)
    send(aws, {"repositoryName": "team/app"})
    poller.drain()

    lines = capsys.readouterr().out.splitlines()
    metrics = [json.loads(line) for line in lines if '"_aws"' in line]
    names = ("Requests", "RequestsRejected", "ImagesDeleted", "ImagesFailed")
    assert {name: sum(entry[name][0] for entry in metrics) for name in names} == {
        "Requests": 2,
        "RequestsRejected": 1,
        "ImagesDeleted": 1,
        "ImagesFailed": 1,
    }
    for entry in metrics:
        [directive] = entry["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["service"]]
        assert directive["Namespace"] == "EcrImageDeletion"


def test_metrics_count_a_dry_run_as_a_request_alone(
    capsys: pytest.CaptureFixture[str], aws: EmbeddedAWS, function: Handler
) -> None:
    """No image was deleted and none failed, whatever it foresees."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    push_image(aws.client("ecr"), "team/app", tags=["old"])
    request = {"repositoryName": "team/app", "imageIds": ["imageTag=old", "imageTag=gone"], "dryRun": True}
    function(request, FakeLambdaContext())

    [metrics] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    names = ("Requests", "RequestsRejected", "ImagesDeleted", "ImagesFailed")
    assert [metrics[name] for name in names] == [[1.0], [0.0], [0.0], [0.0]]
