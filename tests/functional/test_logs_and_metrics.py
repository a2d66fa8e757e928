"""Logs and metrics: one structured entry for each decision, and nothing is counted twice."""

import json

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, ask, by_tag, select
from tests.harness.server_faults import throttle

NAMES = ("Requests", "RequestsRejected", "ImagesDeleted", "ImagesFailed")


def counted(stack: Outside) -> list[float]:
    """The sums of the metrics, in the order of their names above."""
    return [stack.metric(name) for name in NAMES]


def test_every_entry_names_its_request(stack: Outside) -> None:
    """Ten requests side by side, each about a repository of its own: no entry has another request's names."""
    names = [f"team/app-{n}" for n in range(10)]
    stack.create(*names)
    for n, name in enumerate(names):
        stack.push("old", repository=name)
        members = {"repositoryName": name, "requestId": f"request-{n}", "reason": f"reason {n}"}
        stack.send_body({"imageIds": ["imageTag=old", "imageTag=gone"], **members})

    stack.drain(stack.start())

    for n, name in enumerate(names):
        entries = [entry for entry in stack.log() if entry["request_id"] == f"request-{n}"]
        assert {entry["repository_name"] for entry in entries} == {name}
        assert [entry["message"] for entry in entries] == [
            "request taken",
            "chunk done",
            "image not deleted",
            "request done",
        ]
        assert entries[0]["reason"] == f"reason {n}"
        assert entries[2]["failureCode"] == "ImageNotFound"
    assert len(stack.log()) == 40


@pytest.mark.usefixtures("no_waiting")
def test_an_unfinished_request_has_logged_what_it_did(stack: Outside) -> None:
    """Each chunk is logged when it is done: one of three came through, and the log of the first delivery says so."""
    stack.send(*by_tag([f"pr-{n}" for n in range(300)]))
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert stack.receive(stack.start()).failed
    assert [(entry["failed"], entry["replayed"]) for entry in stack.log("chunk done")] == [(100, False)]
    assert len(stack.log("request not finished; a redelivery goes on from here")) == 1
    assert stack.log("request done") == []


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_selection_says_at_debug_level_why_each_image_stays(stack: Outside, level: str) -> None:
    """Otherwise how many do: with thousands of images, an entry for each would cost more than the request."""
    kept = [stack.push("pr-1", days=1), stack.push("pr-2", days=0)]
    stack.push("pr-3", days=2)
    function = stack.start(POWERTOOLS_LOG_LEVEL=level, **ANY_SHARE)

    select(function, PREVIEWS | {"keepMostRecent": 2})

    [made] = stack.log("selection made")
    assert made["kept"] == {"MostRecent": 2}
    entries = [(entry["imageDigest"], entry["why"]) for entry in stack.log("image kept")]
    assert sorted(entries) == (sorted((digest, "MostRecent") for digest in kept) if level == "DEBUG" else [])


def test_no_entry_holds_a_whole_event(stack: Outside) -> None:
    """A request of 300 tags logs what was decided, not what was sent."""
    tags = [f"a-long-tag-{n}" for n in range(300)]
    ask(stack.start(), *by_tag(tags))
    assert stack.log()
    assert all(sum(f'"{tag}"' in json.dumps(entry) for tag in tags) <= 1 for entry in stack.log())


def test_each_request_is_counted_once(stack: Outside) -> None:
    """Requests, images and rejections are counted when they happen, not when a duplicate only replays them."""
    stack.push("old")
    function = stack.start()
    stack.send("imageTag=old", "imageTag=gone")
    stack.duplicate(stack.receive(function))
    stack.send()
    stack.drain(function)
    assert counted(stack) == [2, 1, 1, 1]
    for entry in stack.metrics():
        [directive] = entry["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["service"]]
        assert directive["Namespace"] == "EcrImageDeletion"


def test_a_dry_run_counts_as_a_request_alone(stack: Outside) -> None:
    """No image was deleted and none failed, whatever it foresees; each refusal is logged. A replay counts nothing."""
    stack.push("old")
    function = stack.start()
    ask(function, "imageTag=old", "imageTag=gone", dryRun=True)
    for _ in range(2):
        ask(function, {}, {"imageTag": "a b"}, dryRun=True, requestId="malformed ids only")
    assert counted(stack) == [2, 0, 0, 0]
    refused = sorted(entry["failureCode"] for entry in stack.log("image would be refused"))
    assert refused == ["ImageNotFound", "InvalidImageTag", "MissingDigestAndTag"]
