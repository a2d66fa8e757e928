"""An invocation that is killed in the middle: images that it deleted are reported as deleted, and not as failures."""

import pytest

from tests.harness.outside import VISIBILITY_SECONDS, Outside, by_tag, codes
from tests.harness.server_faults import drop_while

TAGS = [f"pr-{n}" for n in range(400)]


@pytest.mark.parametrize("notify", [{}, {"notify": "always"}])
def test_images_that_a_killed_invocation_deleted_are_no_failures(stack: Outside, notify: dict[str, str]) -> None:
    """There is no failure, so there is no notice unless it is asked for; that one says how many, and why."""
    tags = TAGS[:150]
    stack.push_many(tags)
    stack.send(*by_tag(tags), requestId="once", **notify)
    instance = stack.start_process(MAX_CONCURRENT_CALLS="1")
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    deleted = sorted(set(tags) - stack.tags())
    assert len(deleted) in {50, 100}
    stack.let_time_pass(VISIBILITY_SECONDS)

    stack.drain(stack.start())

    assert stack.left() == set()
    assert stack.waiting() == stack.dead_letters() == []
    [entry] = stack.log("images unconfirmed")
    assert sorted(image_id["imageTag"] for image_id in entry["imageIds"]) == deleted
    assert len(stack.notices()) == bool(notify)
    for notice in stack.notices():
        assert notice.data["type"] == "report"
        assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [150, 150, 0]
        assert notice.data["unconfirmed"] == len(deleted)
        assert notice.data["unconfirmedReason"]
        assert all({"imageTag": tag} in notice.data["imageIds"] for tag in deleted)
    assert (stack.metric("ImagesDeleted"), stack.metric("ImagesFailed")) == (150, 0)


def test_an_id_that_no_earlier_try_can_have_asked_for_stays_a_failure(stack: Outside) -> None:
    """It was in a call that was not made yet when the function was killed, and is not found now."""
    stack.push_many(TAGS)
    stack.send(*by_tag([*TAGS, "gone"]), requestId="once")
    instance = stack.start_process(MAX_CONCURRENT_CALLS="1")
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    assert len(stack.left()) == 300
    stack.let_time_pass(VISIBILITY_SECONDS)

    stack.drain(stack.start())

    assert stack.left() == set()
    [notice] = stack.notices()
    assert [(f["imageId"], f["failureCode"]) for f in notice.data["failures"]] == [
        ({"imageTag": "gone"}, "ImageNotFound")
    ]
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [401, 400, 1]
    assert notice.data["unconfirmed"] == 100


def test_a_tag_that_was_pushed_after_a_killed_invocation_is_left_alone(stack: Outside) -> None:
    """It is a failure of a code of its own, beside a tag that is gone, and is not offered for a retry."""
    stack.push_many(["a", "latest"])
    stack.send("imageTag=a", "imageTag=latest")
    instance = stack.start_process()
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    stack.let_time_pass(VISIBILITY_SECONDS)
    again = stack.push("latest", days=0)

    stack.drain(stack.start())

    assert stack.left() == {again}
    [notice] = stack.notices()
    assert codes(notice.data) == ["ImageTagPushedAgain"]
    assert (notice.data["deleted"], notice.data["unconfirmed"]) == (1, 1)
    assert "retryRequest" not in notice.data


def test_a_digest_stays_a_failure_of_an_untag_that_was_killed(stack: Outside) -> None:
    """No try can have deleted it: to remove tags, ECR is never asked for a digest."""
    digest, absent = stack.push("a", "b"), f"sha256:{0:064}"
    stack.send("imageTag=a", {"imageDigest": absent}, untag=True)
    instance = stack.start_process()
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    stack.let_time_pass(VISIBILITY_SECONDS)

    stack.drain(stack.start())

    assert (stack.left(), stack.tags()) == ({digest}, {"b"})
    [notice] = stack.notices()
    assert [(f["imageId"], f["failureCode"]) for f in notice.data["failures"]] == [
        ({"imageDigest": absent}, "TagRequired")
    ]
    assert (notice.data["deleted"], notice.data["unconfirmed"]) == (1, 1)


def test_a_cascade_that_was_killed_after_its_index_takes_the_rest(stack: Outside) -> None:
    """The index counts as deleted, and what belongs to it goes."""
    children = [stack.push(), stack.push()]
    index = stack.push_index(children, "1.0")
    stack.send("imageTag=1.0", cascade=True, notify="always")
    instance = stack.start_process()
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), about="1.0", nth=1)
    assert stack.receive(instance).failed
    assert stack.left() == {*children}
    stack.let_time_pass(VISIBILITY_SECONDS)

    stack.drain(stack.start())

    assert stack.left() == set()
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["unconfirmed"]) == ("report", 1)
    assert {"imageTag": "1.0"} in notice.data["imageIds"]
    assert index not in {image_id.get("imageDigest") for image_id in notice.data["imageIds"]}
