"""One claim per request: a requestId belongs to the request that came first, and stays admitted once it was."""

from typing import Any

import pytest

from tests.harness.outside import BULK_VISIBILITY_SECONDS, PREVIEWS, Outside, ask, by_tag, codes, request
from tests.harness.server_faults import drop_while, throttle

type Json = dict[str, Any]

A: Json = {"tagStatus": "tagged", "tagPatternList": ["a*"]}
B: Json = {"tagStatus": "tagged", "tagPatternList": ["b*"]}
FIRST: dict[str, tuple[Json, int]] = {
    "malformed ids": (request({}), 1),
    "a selection": (request(selection=A), 0),
    "several repositories": ({"repositoryNames": ["team/app"], "imageIds": ["imageTag=a"]}, 0),
    "named ids": (request("imageTag=a"), 0),
    "a dry run": (request("imageTag=a", dryRun=True), 0),
}
SECOND: dict[str, Json] = {
    "named ids": request("imageTag=b", "imageTag=gone"),
    "malformed ids": request({"imageTag": ""}),
    "a selection": request(selection=B),
    "several repositories": {"repositoryNames": ["team/app"], "imageIds": ["imageTag=b"]},
    "a dry run": request("imageTag=b", dryRun=True, notify="always"),
}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_a_used_request_id_is_refused_whatever_used_it(stack: Outside, first: str, second: str) -> None:
    """The second request is rejected with a notice, its images stay, and nothing changes for the first."""
    function = stack.start()
    stack.push("b")
    stack.push("a")
    body, expected = FIRST[first]
    stack.send_body(body | {"requestId": "once"})
    stack.drain(function)
    left, notices = stack.tags(), stack.notices()
    assert len(notices) == expected

    stack.send_body(SECOND[second] | {"requestId": "once"})
    stack.drain(function)

    assert stack.tags() == left
    assert stack.notices()[: len(notices)] == notices
    [rejection] = stack.notices()[len(notices) :]
    assert rejection.data["type"] == "rejection"
    assert "once" in rejection.data["error"]
    assert "used before" in rejection.data["error"]
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)


def test_a_used_request_id_is_reported_for_each_arrival(stack: Outside) -> None:
    """Sent a second time, the other request is another arrival: it is rejected again, with a notice of its own."""
    function = stack.start()
    stack.push_many(["a", "b"])
    stack.send(selection=A, requestId="once")
    stack.drain(function)
    for _ in range(2):
        stack.send("imageTag=b", requestId="once")
        stack.drain(function)
    assert stack.tags() == {"b"}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"] * 2
    assert len({notice.data["origin"]["id"] for notice in stack.notices()}) == 2
    assert len(stack.dead_letters()) == 2


@pytest.mark.usefixtures("no_waiting")
def test_a_request_whose_first_chunk_was_throttled_keeps_its_id(stack: Outside) -> None:
    """Another request under its requestId deletes nothing, and the first one is finished."""
    function = stack.start()
    stack.push_many([f"{letter}{n}" for letter in "ab" for n in range(150)])
    stack.send(*by_tag([f"a{n}" for n in range(150)]), requestId="once")
    throttled = stack.faults.add("BatchDeleteImage", throttle, about="a0")
    assert stack.receive(function).failed
    assert throttled.strikes > 0
    throttled.lift()

    stack.send(*by_tag([f"b{n}" for n in range(150)]), requestId="once")
    second = stack.receive(function)
    assert second.failed
    stack.drain(function)

    assert stack.tags() == {f"b{n}" for n in range(150)}
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["origin"]["id"]) == ("rejection", second.failed[0])
    assert "used before" in notice.data["error"]
    assert len(stack.dead_letters()) == 1


@pytest.mark.usefixtures("no_waiting")
def test_a_stack_that_turns_dry_stops_a_request_half_way(stack: Outside) -> None:
    """The images deleted by then are counted, and those left alone are failures of a code of their own."""
    tags = [f"pr-{n}" for n in range(150)]
    stack.push_many(tags)
    stack.send(*by_tag(tags), requestId="half")
    stack.faults.add("BatchDeleteImage", throttle, about="pr-149")
    assert stack.receive(stack.start()).failed
    assert stack.tags() == set(tags[100:])
    stack.faults.lift()

    stack.drain(stack.start(DRY_RUN="true"))

    assert stack.tags() == set(tags[100:])
    [notice] = stack.notices()
    assert notice.data["type"] == "failure"
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [150, 100, 50]
    assert set(codes(notice.data)) == {"StoppedByDryRun"}
    assert [failure["imageId"] for failure in notice.data["failures"]] == [{"imageTag": tag} for tag in tags[100:]]
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("cascade", [True, False])
@pytest.mark.parametrize(("operation", "nth"), [("BatchDeleteImage", 1), ("BatchGetImage", 3)])
def test_a_stack_that_turns_dry_stops_only_what_was_asked_for(
    stack: Outside, operation: str, nth: int, *, cascade: bool
) -> None:
    """Relatives that would have stayed anyway are no failures, and nothing offers to delete them by name.

    Whether it turned dry before the deletion, or while relatives were looked for, which takes two calls for the index.
    """
    images = {plain := stack.push(), tagged := stack.push("keep"), stack.push_index([plain, tagged], "1.0")}
    stack.send("imageTag=1.0", cascade=cascade)
    stack.faults.add(operation, throttle, nth=range(nth, 100))
    assert stack.receive(stack.start()).failed
    stack.faults.lift()

    stack.drain(stack.start(DRY_RUN="true"))

    assert stack.left() == images
    [notice] = stack.notices()
    assert [(f["imageId"], f["failureCode"]) for f in notice.data["failures"]] == [
        ({"imageTag": "1.0"}, "StoppedByDryRun")
    ]
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [1, 0, 1]
    assert notice.data["retryRequest"]["imageIds"] == [{"imageTag": "1.0"}]


@pytest.mark.usefixtures("no_waiting")
def test_a_stack_that_turns_dry_after_an_index_went_reports_what_was_to_go_with_it(stack: Outside) -> None:
    """A platform image without a tag is a failure, to be tried again; one with a tag of its own is kept."""
    plain, tagged = stack.push(), stack.push("keep")
    stack.push_index([plain, tagged], "1.0")
    stack.send("imageTag=1.0", cascade=True)
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert stack.receive(stack.start()).failed
    assert stack.left() == {plain, tagged}
    stack.faults.lift()

    stack.drain(stack.start(DRY_RUN="true"))

    [notice] = stack.notices()
    assert codes(notice.data) == ["StoppedByDryRun"]
    assert [(k["imageId"], k["code"]) for k in notice.data["kept"]] == [({"imageDigest": tagged}, "StillTagged")]
    assert notice.data["retryRequest"]["imageIds"] == [{"imageDigest": plain}]
    ask(stack.start(), *notice.data["retryRequest"]["imageIds"], cascade=True)
    assert stack.left() == {tagged}


def test_a_dry_run_stays_one(stack: Outside) -> None:
    """A request that the stack made a dry run is one when it is sent again, though the stack is no longer dry."""
    digest = stack.push("a")
    dry = ask(stack.start(DRY_RUN="true"), "imageTag=a", requestId="once")
    assert ask(stack.start(DRY_RUN="false"), "imageTag=a", requestId="once") == dry
    assert dry["dryRun"] is True
    assert stack.left() == {digest}
    assert stack.notices() == []


@pytest.mark.usefixtures("no_waiting")
def test_a_lower_cap_does_not_reject_what_was_admitted(stack: Outside) -> None:
    """A request that is half done when MaxImagesPerRequest is lowered is finished."""
    tags = [f"pr-{n}" for n in range(150)]
    stack.push_many(tags)
    stack.send(*by_tag(tags))
    stack.faults.add("BatchDeleteImage", throttle, about="pr-149")
    assert stack.receive(stack.start()).failed
    assert len(stack.left()) == 50
    stack.faults.lift()

    stack.drain(stack.start(MAX_IMAGES_PER_REQUEST="100"))

    assert stack.left() == set()
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.usefixtures("no_waiting")
def test_a_lower_cap_does_not_reject_a_cascade_whose_index_is_gone(stack: Outside) -> None:
    """The images that belong to the index go too, though they are too many for the new cap."""
    stack.push_index([stack.push(), stack.push()], "1.0")
    stack.send("imageTag=1.0", cascade=True)
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert stack.receive(stack.start()).failed
    assert len(stack.left()) == 2
    stack.faults.lift()

    stack.drain(stack.start(MAX_IMAGES_PER_REQUEST="1"))

    assert stack.left() == set()
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


def test_a_selection_that_was_killed_is_finished_though_its_share_has_grown(stack: Outside) -> None:
    """It was within MaxPercentOfRepository when it began; that others delete images meanwhile does not reject it."""
    for n in range(150):
        stack.push(f"pr-{n}")
    others = [stack.push(f"main-{n}") for n in range(100)]
    stack.send_bulk(selection=PREVIEWS, requestId="pr")
    settings = {"MAX_PERCENT_OF_REPOSITORY": "60", "MAX_CONCURRENT_CALLS": "1"}
    instance = stack.start_process(**settings)
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=False), nth=2)
    assert stack.receive(instance).failed
    assert 0 < len(stack.left() - set(others)) < 150
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    stack.delete(*others[:90])

    stack.drain(stack.start(**settings))

    assert stack.left() == set(others[90:])
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []
