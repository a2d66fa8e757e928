"""Guards: what is never deleted, however it is asked for, while the rest of the request is deleted."""

from typing import Any

import pytest

from tests.harness.arrivals import WAYS, deliver
from tests.harness.guarded import CASES, MISSING, names_left, populate
from tests.harness.outside import Outside, ask, by_digest, by_tag, codes, request

type Json = dict[str, Any]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [name for name in CASES if name != "all at once"])
def test_guards_hold_however_a_request_arrives(stack: Outside, way: str, name: str) -> None:
    """Images that a guard refuses stay, and are in notice and answer; the rest is deleted, and the request is done."""
    case, digests = CASES[name], populate(stack)
    before = names_left(stack, digests)

    delivery = deliver(stack.start(**case.variables), way, case.request(digests))

    assert before - names_left(stack, digests) == case.gone
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("failure", WAYS[way].origin)
    assert codes(notice.data) == list(case.codes)
    assert [kept["code"] for kept in notice.data.get("kept", [])] == ["StillTagged"] * ("cascade" in case.switches)
    assert delivery.answer is None or delivery.answer["failures"] == notice.data["failures"]
    assert not delivery.failed


@pytest.mark.parametrize("way", WAYS)
def test_the_cap_rejects_however_a_request_arrives(stack: Outside, way: str) -> None:
    """The request is reported once and fails, on the queue or as an invocation."""
    stack.push("a")
    delivery = deliver(stack.start(MAX_IMAGES_PER_REQUEST="1"), way, request("imageTag=a", "imageTag=b"))
    assert delivery.failed
    assert delivery.error is None or "must name at most 1 images, not 2" in str(delivery.error)
    assert stack.tags() == {"a"}
    [notice] = stack.notices("rejection")
    assert notice.data["origin"]["kind"] == WAYS[way].origin
    assert "must name at most 1 images, not 2" in notice.data["error"]


def test_a_protected_tag_stays(stack: Outside) -> None:
    """By that tag, and by the digest of an image with several; its other tags may go, and other images too."""
    release, other = stack.push("v1", "v2", "prod-eu"), stack.push("pr-1", "pr-2")
    function = stack.start(PROTECTED_TAGS="latest,prod*")

    answer = ask(
        function, "imageTag=prod-eu", *by_digest(release), f"imageDigest={release},imageTag=v1", "imageTag=v2",
        *by_digest(other),
    )  # fmt: skip

    assert codes(answer) == ["ProtectedTag"] * 3
    assert "ProtectedTags" in answer["failures"][0]["failureReason"]
    assert stack.left() == {release}
    assert stack.tags() == {"prod-eu", "v1"}
    [notice] = stack.notices()
    assert notice.attributes["failureCodes"] == ["ProtectedTag"]


def test_a_missing_digest_does_not_hide_a_protected_one(stack: Outside) -> None:
    """The look-up of the others does not fail with it, and what is not there is a failure under ECR's code."""
    release, other = stack.push("prod"), stack.push("pr-1")
    answer = ask(stack.start(PROTECTED_TAGS="prod"), *by_digest(MISSING, release, other))
    assert {failure["imageId"]["imageDigest"]: failure["failureCode"] for failure in answer["failures"]} == {
        MISSING: "ImageNotFound",
        release: "ProtectedTag",
    }
    assert stack.left() == {release}


@pytest.mark.parametrize(
    ("pattern", "switches"), [("team/app", {}), ("team/*", {"cascade": True}), ("other,*/app", {"cascade": False})]
)
def test_a_protected_repository_stays(stack: Outside, pattern: str, switches: Json) -> None:
    """ECR is not asked about it at all, not even for what belongs to an image."""
    index = stack.push_index([stack.push()], "1.0")
    before = stack.left()
    answer = ask(stack.start(PROTECTED_REPOSITORIES=pattern), "imageTag=1.0", *by_digest(index, MISSING), **switches)
    assert codes(answer) == ["ProtectedRepository"] * 3
    assert (stack.left(), stack.faults.ecr_calls) == (before, [])


def test_another_repository_is_not_protected(stack: Outside) -> None:
    """A pattern is matched against the whole name."""
    stack.push("v1")
    assert codes(ask(stack.start(PROTECTED_REPOSITORIES="team,app,*/app2"), "imageTag=v1")) == []
    assert stack.tags() == set()


def test_as_many_images_as_the_cap_may_go(stack: Outside) -> None:
    """A request for one more is rejected whole; an image that is named twice counts once."""
    tags = [f"v{n}" for n in range(4)]
    stack.push_many(tags)
    function = stack.start(MAX_IMAGES_PER_REQUEST="3")
    with pytest.raises(Exception, match="must name at most 3 images, not 4"):
        ask(function, *by_tag(tags))
    assert stack.tags() == set(tags)
    assert codes(ask(function, *by_tag(["v0", "v1", "v2", "v2"]))) == []
    assert stack.tags() == {"v3"}


def test_a_tag_is_compared_with_the_digest_beside_it(stack: Outside) -> None:
    """A tag that moved, or is gone, is refused before ECR is asked to delete; one that did not move is deleted."""
    old = stack.push("v1", "moved")
    new = stack.push("moved", "other")
    answer = ask(
        stack.start(), f"imageDigest={old},imageTag=moved", f"imageDigest={old},imageTag=gone",
        f"imageDigest={new},imageTag=moved",
    )  # fmt: skip
    assert codes(answer) == ["ImageTagDoesNotMatchDigest", "ImageNotFound"]
    assert answer["imageIds"] == [{"imageDigest": new, "imageTag": "moved"}]
    [deletion] = stack.faults.of("BatchDeleteImage")
    assert deletion.names == {new, "moved"}
    assert stack.tags() == {"v1", "other"}


def test_untag_never_deletes_an_image(stack: Outside) -> None:
    """The last tag is refused, also where the request itself removes the others; a digest is not a tag."""
    several, single = stack.push("a", "b", "c"), stack.push("d")
    answer = ask(stack.start(), *by_tag("adbc"), *by_digest(single), untag=True)
    assert codes(answer) == ["LastTag", "LastTag", "TagRequired"]
    assert stack.left() == {several, single}
    assert stack.tags() == {"c", "d"}


def test_untag_sends_the_tag_alone(stack: Outside) -> None:
    """With the digest beside it, ECR might delete the image."""
    digest = stack.push("a", "b")
    answer = ask(stack.start(), f"imageDigest={digest},imageTag=a", untag=True)
    assert [call.names for call in stack.faults.of("BatchDeleteImage")] == [{"a"}]
    assert (answer["failures"], answer["imageIds"]) == ([], [{"imageDigest": digest, "imageTag": "a"}])
    assert (stack.left(), stack.tags()) == ({digest}, {"b"})


def test_untag_keeps_an_image_whose_tags_are_in_several_chunks(stack: Outside) -> None:
    """The chunks go one after another, for side by side each would see the tags of the others."""
    tags = [f"v{n}" for n in range(150)]
    digest = stack.push(*tags)
    answer = ask(stack.start(), *by_tag(tags), untag=True)
    assert codes(answer) == ["LastTag"]
    assert (stack.left(), stack.tags()) == ({digest}, {"v149"})
