"""Who is told what: notices, result events and metrics."""

import pytest

from acceptance import kinds
from acceptance.repositories import Repository
from acceptance.ways import FunctionError
from acceptance.world import World


def test_a_failure_is_a_notice(world: World, name: str, repository: Repository) -> None:
    """It says what failed and what was deleted, once; a duplicate sends none."""
    repository.push_image(name, "old")
    request_id = world.run.request_id(name)
    request = {
        "repositoryName": repository.name,
        "imageIds": ["imageTag=old", "imageTag=none"],
        "requestId": request_id,
        "reason": "acceptance",
    }
    _ = world.notices

    message_id = world.send.message(request)

    notice = world.notice(request_id, "failure")
    assert [notice[count] for count in ("requested", "deleted", "failed")] == [2, 1, 1]
    assert notice["failuresByCode"] == {"ImageNotFound": 1}
    assert notice["reason"] == "acceptance"
    assert (notice["origin"]["kind"], notice["origin"]["id"]) == ("message", message_id)
    world.send.invoke(request)
    world.pause()
    assert len(world.notices.arrived(lambda one: one.get("requestId") == request_id)) == 1


def test_a_report_on_request(world: World, name: str) -> None:
    """With `notify`, there is a notice although nothing failed, and it names what was deleted."""
    case = kinds.named(world, name)
    request_id = world.run.request_id(name)
    _ = world.notices
    world.send.message(kinds.request_of(case, request_id) | {"notify": "always"})
    notice = world.notice(request_id, "report")
    assert [image_id["imageTag"] for image_id in notice["imageIds"]] == ["old"]
    assert case.repository.images() == case.left


@pytest.mark.parametrize(
    "wrong",
    [{"imageTags": ["old"]}, {"imageIds": []}, {"imageIds": ["old"]}],
    ids=["unknown-key", "empty", "shorthand"],
)
def test_a_request_that_can_never_work(world: World, name: str, wrong: dict[str, object]) -> None:
    """It deletes nothing, is an error of the invocation that says what is wrong, and is one notice."""
    case = kinds.named(world, name)
    before = case.repository.images()
    request_id = world.run.request_id(name)
    _ = world.notices
    with pytest.raises(FunctionError, match='"errorMessage": "request'):
        world.send.invoke({"repositoryName": case.repository.name, "requestId": request_id, **wrong})
    notice = world.notice(request_id, "rejection")
    assert notice["error"].startswith("request")
    assert case.repository.images() == before
    world.pause()
    assert len(world.notices.arrived(lambda one: one.get("requestId") == request_id)) == 1


@pytest.mark.needs("ResultEvents")
def test_a_result_is_an_event(world: World, name: str) -> None:
    """It names the message that led to it, and the images that were deleted, once."""
    case = kinds.named(world, name)
    digest = next(digest for digest, tags in case.repository.images() if tags == ("old",))
    request_id = world.run.request_id(name)
    results = world.results
    world.until(lambda: _probe_arrives(world), "result of a probe: the rule is new")

    message_id = world.send.message(kinds.request_of(case, request_id))

    def is_it(event: dict[str, dict[str, dict[str, object]]]) -> bool:
        return event["detail"]["data"]["requestId"] == request_id

    event = results.wait_for("result event", is_it, world.scaled(120))
    assert event["detail-type"] == "ECR Image Deletion Completed"
    assert event["detail"]["data"]["origin"]["id"] == message_id
    assert event["detail"]["data"]["imageIds"] == [{"imageDigest": digest, "imageTag": "old"}]
    world.pause()
    assert len(results.arrived(is_it)) == 1


def _probe_arrives(world: World) -> bool:
    """Sends a request about nothing; returns whether any result has arrived. A new rule takes some seconds to work."""
    if not world.results.arrived():
        world.send.invoke({
            "repositoryName": world.run.repository("none"),
            "imageIds": ["imageTag=none"],
            "requestId": world.run.request_id(f"probe-{len(world.clients.durations['DescribeImages'])}"),
        })  # fmt: skip
        world.pause()
    return bool(world.results.arrived())
