"""What an index in the archive names stays, so that it comes back whole, whatever ECR itself would let go."""

from typing import Any

import pytest

from local import ecr
from local.ecr_storage import StorageChoices, status
from tests.harness.in_use import Inventory, address
from tests.harness.outside import ANY_SHARE, PREVIEWS, REPOSITORY, Outside, ask, by_digest, by_tag, codes, select
from tests.harness.server_faults import delay

type Json = dict[str, Any]

ARCHIVES = {"ALLOW_ARCHIVE": "true", **ANY_SHARE}
GRACE = {"GRACE_PERIOD_DAYS": "30", **ARCHIVES}


@pytest.fixture(params=[True, False], ids=["ECR keeps it too", "ECR would let it go"], autouse=True)
def whatever_ecr_keeps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody outside AWS knows whether it refuses to delete what an archived index names."""
    if not request.param:
        parents = ecr._parents
        monkeypatch.setattr(ecr, "_parents", lambda images: parents([i for i in images if status(i) == "ACTIVE"]))


@pytest.fixture(params=[None, "ImageNotFound"], ids=str)
def whatever_ecr_shows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor how it answers for the manifest of an archived image."""
    monkeypatch.setattr(StorageChoices, "archived_image_failure", request.param)


def put_away(stack: Outside, *tags: str) -> tuple[str, str]:
    """Archives an index one of whose images has tags of its own, and stays; returns the digests of both."""
    part = stack.push(*tags)
    index = stack.push_index([part, stack.push()], "v1")
    ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive", requestId="put-away")
    assert stack.statuses()[index] == "ARCHIVED"
    assert stack.statuses()[part] == "ACTIVE"
    return index, part


@pytest.mark.parametrize("switches", [{}, {"dryRun": True}], ids=["real", "dry"])
@pytest.mark.parametrize("named", ["digest", "digest and tag", "all of its tags", "one of its tags"])
def test_a_part_of_an_archived_image_is_not_deleted(stack: Outside, named: str, switches: Json) -> None:
    """By its digest, or with the last of its tags; one of several tags may go.

    For an id with both, ECR may take the tag alone or the image.
    """
    index, part = put_away(stack, "amd64", "linux")
    image_ids: dict[str, list[Json | str]] = {
        "digest": by_digest(part),
        "digest and tag": [{"imageDigest": part, "imageTag": "amd64"}],
        "all of its tags": by_tag(["amd64", "linux"]),
    }
    answer = ask(stack.start(**ARCHIVES), *image_ids.get(named, ["imageTag=amd64"]), **switches)
    assert {index, part} <= stack.left()
    if named == "one of its tags":
        assert codes(answer) == []
        return
    assert set(codes(answer)) == {"ImageReferencedByManifestList"}
    assert index in answer["failures"][0]["failureReason"]


@pytest.mark.parametrize("switches", [{}, {"dryRun": True}], ids=["real", "dry"])
@pytest.mark.parametrize("order", [1, -1])
def test_both_may_go_together(stack: Outside, order: int, switches: Json) -> None:
    """The index first, whatever the order in the request."""
    both = put_away(stack, "amd64")
    left = stack.left()
    answer = ask(stack.start(**ARCHIVES), *by_digest(*both[::order]), **switches)
    assert codes(answer) == []
    assert {image["imageDigest"] for image in answer["imageIds"]} == set(both)
    assert stack.left() == (left if switches else left - set(both))


@pytest.mark.usefixtures("whatever_ecr_shows")
def test_what_a_grace_period_keeps_comes_back_whole(stack: Outside) -> None:
    """Though another image that shares a part with it is deleted meanwhile, with all that belongs to it."""
    shared, own = stack.push(days=40), stack.push(days=40)
    old = stack.push_index([shared, own], "pr-1", days=40)
    new = stack.push_index([shared], "v2", days=40)
    function = stack.start(**GRACE)
    assert select(function, PREVIEWS, requestId="night")["archivedCount"] == 2
    answer = ask(function, "imageTag=v2", cascade=True)
    assert (codes(answer), [kept["code"] for kept in answer["kept"]]) == ([], ["StillUsed"])
    restore = {"tagStatus": "any", "storageClass": "archive", "archivedBy": "night"}
    assert select(function, restore, action="restore")["restoredCount"] == 2
    assert stack.left() == {old, own, shared}
    assert new not in stack.left()


@pytest.mark.usefixtures("whatever_ecr_shows")
@pytest.mark.parametrize(("used_by", "named"), [("digest", "tag"), ("tag", "digest")])
def test_what_an_archived_image_in_use_names_is_in_use(stack: Outside, used_by: str, named: str) -> None:
    """Whoever may pull the index again pulls one of its images: that is why it stays, and no retry is offered."""
    inventory = Inventory(stack.aws)
    index, part = put_away(stack, "amd64")
    inventory.use(address(REPOSITORY, index if used_by == "digest" else "v1"))
    function = stack.start(**ARCHIVES, **inventory.variables)
    stack.send(by_digest(part)[0] if named == "digest" else "imageTag=amd64")
    stack.drain(function)
    [notice] = stack.notices()
    assert [failure["failureCode"] for failure in notice.data["failures"]] == ["ImageInUse"]
    assert "retryRequest" not in notice.data
    assert part in stack.left()


@pytest.mark.parametrize(
    ("variables", "queries"), [({}, 0), (ARCHIVES, 1), (GRACE, 1)], ids=["nothing is archived", "on request", "grace"]
)
def test_what_it_costs(stack: Outside, variables: dict[str, str], queries: int) -> None:
    """A read of the table where the stack archives; of ECR, nothing is asked as long as nothing is in the archive."""
    stack.push_many([f"pr-{n}" for n in range(150)])
    ask(stack.start(**variables), *by_tag([f"pr-{n}" for n in range(150)]))
    assert stack.faults.ecr_calls == ["BatchDeleteImage"] * 2
    assert stack.faults.count("Query") == queries


def test_what_takes_long_to_read_is_not_read_for_each_chunk(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks, one after another, where all that was read would be too old by the time of the next one."""
    tags = [f"v{number}" for number in range(201)]
    stack.push_many(tags)
    function = stack.start(**ARCHIVES, MAX_CONCURRENT_CALLS="1")
    monkeypatch.setattr("handler.workflows.archived_needs._FRESH_SECONDS", 0)
    before = stack.faults.count("Query")
    stack.faults.add("Query", delay(0.3))
    assert codes(ask(function, *by_tag(tags))) == []
    assert stack.faults.count("Query") - before == 1
