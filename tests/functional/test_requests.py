"""Requests that name images: each id is deleted or a failure, and people get a report of what was not deleted."""

import threading
from typing import Any

import pytest

from local.runtime import FakeLambdaContext
from tests.harness.guarded import MISSING
from tests.harness.outside import Outside, ask, by_digest, by_tag, codes, request
from tests.harness.server_faults import hold, throttle

type Json = dict[str, Any]


def test_254_ids_make_three_calls_and_are_all_accounted_for(stack: Outside) -> None:
    """250 tags, one of them twice, an untagged image and two malformed ids: 251 images go, and 2 are failures."""
    tags = [f"pr-{n}" for n in range(250)]
    stack.push_many(tags)
    image_ids = [*by_tag(tags), {"imageTag": "pr-7"}, *by_digest(stack.push())]
    image_ids[100:100] = [{}, {"imageDigest": "none"}]
    assert len(image_ids) == 254

    answer = ask(stack.start(), *image_ids)

    assert sorted(len(call.names) for call in stack.faults.of("BatchDeleteImage")) == [51, 100, 100]
    assert len(answer["imageIds"]) == 251
    assert codes(answer) == ["MissingDigestAndTag", "InvalidImageDigest"]
    assert stack.left() == set()
    [notice] = stack.notices()
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [253, 251, 2]


def test_parents_go_before_their_children(stack: Outside) -> None:
    """A nested index, its index and their children in one request, children first, are all deleted."""
    children = stack.push_many(["amd64", "arm64"])
    index = stack.push_index(children, "1.0")
    nested = stack.push_index([index], "all")
    answer = ask(stack.start(), *by_digest(*children, index, nested))
    assert answer["failures"] == []
    assert stack.left() == set()
    assert stack.notices() == []


def test_a_notice_offers_a_request_that_tries_again(stack: Outside) -> None:
    """A child of an index that stays is a failure under ECR's code; sent when the index is gone, the request works."""
    children = stack.push_many(["amd64", "arm64", "old"])
    index = stack.push_index(children[:2], "1.0")
    function = stack.start()

    answer = ask(function, *by_digest(children[0]), "imageTag=old", reason="retired", requestId="retire")

    assert codes(answer) == ["ImageReferencedByManifestList"]
    assert stack.tags() == {"amd64", "arm64", "1.0"}
    [notice] = stack.notices()
    assert notice.data["retryRequest"] == request(*by_digest(children[0]), reason="retired")
    assert "ImageReferencedByManifestList" in notice.text

    stack.delete(index)
    stack.send_body(notice.data["retryRequest"])
    stack.drain(function)
    assert stack.tags() == {"arm64"}
    assert len(stack.notices()) == 1


@pytest.mark.usefixtures("no_waiting")
def test_a_throttled_request_goes_on_where_it_stopped(stack: Outside) -> None:
    """Throttled after two chunks of seven, the redelivery finishes, asks for no chunk twice and reports no failure."""
    tags = [f"pr-{n}" for n in range(700)]
    stack.push_many(tags)
    stack.send(*by_tag(tags))
    function = stack.start()
    throttled = stack.faults.add("BatchDeleteImage", throttle, nth=range(3, 1000))
    assert stack.receive(function).failed
    assert len(stack.tags()) == 500
    throttled.lift()

    stack.drain(function)

    assert stack.left() == set()
    assert stack.faults.count("BatchDeleteImage") - throttled.strikes == 7
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


def test_a_repository_that_is_not_there_fails_each_image(stack: Outside) -> None:
    """A refusal of the whole call is the failure of each id in it: data, reported once, and off the queue."""
    stack.send_body(request("imageTag=a", {"imageDigest": MISSING}) | {"repositoryName": "team/gone"})
    stack.drain(stack.start())
    [notice] = stack.notices()
    assert codes(notice.data) == ["RepositoryNotFoundException"] * 2
    assert stack.waiting() == stack.dead_letters() == []


def test_the_requests_of_a_batch_have_reports_of_their_own(stack: Outside) -> None:
    """Ten records are processed side by side, each with its own images and its own notice."""
    stack.push_many([f"pr-{n}" for n in range(10)])
    for n in range(10):
        stack.send(f"imageTag=pr-{n}", f"imageTag=gone-{n}", requestId=f"request-{n}")

    stack.drain(stack.start())

    assert stack.left() == set()
    assert len(stack.notices()) == 10
    assert {notice.data["requestId"]: notice.data["failures"][0]["imageId"] for notice in stack.notices()} == {
        f"request-{n}": {"imageTag": f"gone-{n}"} for n in range(10)
    }


def test_a_batch_of_no_records_is_answered(stack: Outside) -> None:
    """An empty SQS batch has no failures."""
    assert stack.start()({"Records": []}, FakeLambdaContext()) == {"batchItemFailures": []}


@pytest.mark.parametrize("number", range(3))
def test_untagging_requests_of_one_batch_keep_the_image(stack: Outside, number: int) -> None:
    """Each asks for one of its two tags, at the same time: one of them is refused, for it would be the last."""
    del number  # they are threads
    image = stack.push("pr-1", "pr-2")
    stack.send("imageTag=pr-1", untag=True)
    stack.send("imageTag=pr-2", untag=True)
    assert not stack.receive(stack.start()).failed
    assert image in stack.left()
    assert len(stack.tags()) == 1
    assert [notice.data["failuresByCode"] for notice in stack.notices()] == [{"LastTag": 1}]


def test_untagging_in_one_repository_keeps_no_other_waiting(stack: Outside) -> None:
    """While ECR hangs for one of them, the nine others of the batch are done."""
    names = [f"team/r{number}" for number in range(10)]
    stack.create(*names)
    for name in names:
        stack.push("a", "b", repository=name, content=name)
        stack.send_body({"repositoryName": name, "imageIds": ["imageTag=a"], "untag": True})
    released = threading.Event()
    stack.faults.add("BatchDeleteImage", hold(released), nth=1)
    left: list[int] = []

    def release_once_the_others_are_done() -> None:
        for _ in range(100):
            left.append(sum("a" in stack.tags(name) for name in names))
            if left[-1] == 1:
                break
            released.wait(0.05)
        released.set()

    watch = threading.Thread(target=release_once_the_others_are_done)
    watch.start()
    assert not stack.receive(stack.start()).failed
    watch.join()
    assert left[-1] == 1
