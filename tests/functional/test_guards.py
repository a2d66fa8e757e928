"""The guards: what is never deleted, however it is asked for, and what a request's own switches hold back."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_index, push_referrer
from local.poller import FakeLambdaContext, Handler, load_function

type Json = dict[str, Any]
type Start = Callable[..., Handler]

REPOSITORY = "team/app"
MISSING = "sha256:" + "0" * 64


@pytest.fixture
def start(aws: EmbeddedAWS) -> Iterator[Start]:
    """Starts the function, with variables as the template would set them from its parameters."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    with mock.patch.dict(os.environ):
        yield lambda **variables: load_function(aws.environment | variables)


def push(aws: EmbeddedAWS, *tags: str) -> str:
    """Pushes an image with these tags and returns its digest."""
    return push_image(aws.client("ecr"), REPOSITORY, tags=tags)


def ask(function: Handler, *image_ids: Json | str, **switches: object) -> Json:
    """Sends a request by hand."""
    answer: Json = function(
        {"repositoryName": REPOSITORY, "imageIds": list(image_ids), **switches}, FakeLambdaContext()
    )
    return answer


def codes(answer: Json) -> list[str]:
    """The failure codes of an answer, in order."""
    return [failure["failureCode"] for failure in answer["failures"]]


def tags_left(aws: EmbeddedAWS) -> set[str]:
    """The tags the repository still has."""
    return {tag for _, tags in aws.images(REPOSITORY) for tag in tags}


def test_a_protected_tag_stays(aws: EmbeddedAWS, start: Start) -> None:
    """By that tag and by the digest of an image with several; its other tags may go, and other images too."""
    release = push(aws, "v1", "v2", "prod-eu")
    other = push(aws, "pr-1", "pr-2")
    function = start(PROTECTED_TAGS="latest,prod*")

    answer = ask(
        function, "imageTag=prod-eu", {"imageDigest": release}, f"imageDigest={release},imageTag=v1", "imageTag=v2",
        {"imageDigest": other},
    )  # fmt: skip

    assert codes(answer) == ["ProtectedTag"] * 3
    assert "ProtectedTags" in answer["failures"][0]["failureReason"]
    assert aws.images(REPOSITORY) == {(release, ("prod-eu", "v1"))}
    [notice] = aws.notices()
    assert notice.attributes["failureCodes"] == ["ProtectedTag"]


def test_a_missing_digest_does_not_hide_a_protected_one(aws: EmbeddedAWS, start: Start) -> None:
    """The look-up of the others does not fail with it, and what is not there is told as ECR would."""
    release, other = push(aws, "prod"), push(aws, "pr-1")
    answer = ask(start(PROTECTED_TAGS="prod"), *({"imageDigest": digest} for digest in (MISSING, release, other)))
    assert {f["imageId"]["imageDigest"]: f["failureCode"] for f in answer["failures"]} == {
        MISSING: "ImageNotFound",
        release: "ProtectedTag",
    }
    assert aws.images(REPOSITORY) == {(release, ("prod",))}


@pytest.mark.parametrize("pattern", [REPOSITORY, "team/*", "other,*/app"])
def test_a_protected_repository_stays(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json], pattern: str) -> None:
    """Nothing is asked of ECR."""
    push(aws, "v1")
    answer = ask(start(PROTECTED_REPOSITORIES=pattern), "imageTag=v1", {"imageDigest": MISSING})
    assert codes(answer) == ["ProtectedRepository"] * 2
    assert (ecr_calls, tags_left(aws)) == ([], {"v1"})


def test_another_repository_is_not_protected(aws: EmbeddedAWS, start: Start) -> None:
    """A pattern is matched against the whole name."""
    push(aws, "v1")
    assert codes(ask(start(PROTECTED_REPOSITORIES="team,app,*/app2"), "imageTag=v1")) == []
    assert tags_left(aws) == set()


def test_a_request_for_too_many_is_rejected_whole(aws: EmbeddedAWS, start: Start) -> None:
    """Nothing of it is deleted; as many as the cap go, and one that is named twice counts once."""
    for n in range(4):
        push(aws, f"v{n}")
    function = start(MAX_IMAGES_PER_REQUEST="3")
    with pytest.raises(Exception, match="must name at most 3 images, not 4"):
        ask(function, *(f"imageTag=v{n}" for n in range(4)))
    assert tags_left(aws) == {"v0", "v1", "v2", "v3"}
    assert codes(ask(function, *(f"imageTag=v{n}" for n in (0, 1, 2, 2)))) == []
    assert tags_left(aws) == {"v3"}


def test_a_dry_run_deletes_nothing(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]) -> None:
    """It tells what would go, in the shape of the real answer; by mail only where that is asked for."""
    release, other = push(aws, "prod"), push(aws, "pr-1", "pr-2")
    untagged = push(aws)
    ids: list[Json | str] = ["imageTag=pr-1", {"imageDigest": other}, {"imageDigest": release}, "imageTag=gone"]
    ids += [{"imageDigest": untagged}, f"imageDigest={release},imageTag=pr-2", {}]
    function = start(PROTECTED_TAGS="prod")
    before = aws.images(REPOSITORY)

    answer = ask(function, *ids, dryRun=True)

    assert (aws.images(REPOSITORY), ecr_calls, aws.notices()) == (before, [], [])
    assert answer["dryRun"] is True
    assert codes(answer) == ["ProtectedTag", "ImageNotFound", "ImageTagDoesNotMatchDigest", "MissingDigestAndTag"]
    assert {(i["imageDigest"], i.get("imageTag")) for i in answer["imageIds"]} == {
        (other, "pr-1"),
        (other, "pr-2"),
        (untagged, None),
    }

    ask(function, *ids, dryRun=True, notify=True)
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["dryRun"]) == ("dryRun", True)
    assert notice.attributes["type"] == "dryRun"
    assert notice.data["imageIds"] == answer["imageIds"]
    assert notice.subject == "ECR image deletion: dry run: 3 of 7 would be deleted in team/app"
    assert "nothing was deleted" in notice.text

    real = ask(function, *ids)
    assert codes(real) == codes(answer)
    assert real["imageIds"] == answer["imageIds"]
    assert "dryRun" not in real


def test_a_dry_run_is_another_wish_than_the_real_one(aws: EmbeddedAWS, start: Start) -> None:
    """A requestId that a dry run used is not that of a deletion: nothing is deleted under it."""
    push(aws, "v1")
    function = start()
    ask(function, "imageTag=v1", dryRun=True, requestId="r-1")
    with pytest.raises(Exception, match="used before by a request that asked for something else"):
        ask(function, "imageTag=v1", requestId="r-1")
    assert tags_left(aws) == {"v1"}


def test_a_stack_may_only_try_things_out(aws: EmbeddedAWS, start: Start) -> None:
    """Every request is a dry run then, whatever it says."""
    push(aws, "v1")
    function = start(DRY_RUN="true")
    assert ask(function, "imageTag=v1", dryRun=False)["dryRun"] is True
    assert tags_left(aws) == {"v1"}


def test_what_is_asked_for_by_tag_and_digest_is_compared(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]) -> None:
    """A tag that moved, or is gone, is refused without a call; one that did not is deleted."""
    old, new = push(aws, "v1", "moved"), push(aws, "moved", "other")
    answer = ask(
        start(), f"imageDigest={old},imageTag=moved", f"imageDigest={old},imageTag=gone",
        f"imageDigest={new},imageTag=moved",
    )  # fmt: skip
    assert codes(answer) == ["ImageTagDoesNotMatchDigest", "ImageNotFound"]
    assert answer["imageIds"] == [{"imageDigest": new, "imageTag": "moved"}]
    assert [len(call["imageIds"]) for call in ecr_calls] == [1]
    assert tags_left(aws) == {"v1", "other"}


def test_untag_never_takes_an_image(aws: EmbeddedAWS, start: Start) -> None:
    """The last tag is refused, also where the request itself removes the others; a digest is not a tag."""
    several, single = push(aws, "a", "b", "c"), push(aws, "d")
    answer = ask(start(), "imageTag=a", "imageTag=d", "imageTag=b", "imageTag=c", {"imageDigest": single}, untag=True)
    assert codes(answer) == ["LastTag", "LastTag", "TagRequired"]
    assert aws.images(REPOSITORY) == {(several, ("c",)), (single, ("d",))}


def test_untag_keeps_an_image_whose_tags_are_in_several_chunks(aws: EmbeddedAWS, start: Start) -> None:
    """They go one after another, for side by side each would see the others left."""
    tags = [f"v{n}" for n in range(150)]
    digest = push(aws, *tags)
    answer = ask(start(), *(f"imageTag={tag}" for tag in tags), untag=True)
    assert codes(answer) == ["LastTag"]
    assert aws.images(REPOSITORY) == {(digest, ("v149",))}


def family(aws: EmbeddedAWS) -> dict[str, str]:
    """A nested index with platform images, of which one has a tag and one is used by another index; and signatures."""
    ecr = aws.client("ecr")
    digests = {name: push(aws) for name in ("amd64", "arm64", "shared")}
    digests["tagged"] = push(aws, "keep-me")
    digests["index"] = push_index(ecr, REPOSITORY, list(digests.values()))
    digests["all"] = push_index(ecr, REPOSITORY, [digests["index"]], tags=["1.0"])
    digests["other"] = push_index(ecr, REPOSITORY, [digests["shared"]], tags=["2.0"])
    digests["signature"] = push_referrer(ecr, REPOSITORY, digests["all"])
    digests["signature of arm64"] = push_referrer(ecr, REPOSITORY, digests["arm64"])
    digests["signature of shared"] = push_referrer(ecr, REPOSITORY, digests["shared"])
    return digests


def test_cascade_takes_the_whole_image(aws: EmbeddedAWS, start: Start) -> None:
    """The nested index, its images and signatures go; what has a tag, or another index needs, is kept and told."""
    digests = family(aws)
    answer = ask(start(), "imageTag=1.0", cascade=True)

    assert answer["failures"] == []
    assert {i["imageDigest"] for i in answer["imageIds"]} == {
        digests[name] for name in ("all", "index", "amd64", "arm64", "signature", "signature of arm64")
    }
    assert {digest for digest, _ in aws.images(REPOSITORY)} == {
        digests[name] for name in ("other", "shared", "tagged", "signature of shared")
    }
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {
        digests["tagged"]: "StillTagged",
        digests["shared"]: "ImageReferencedByManifestList",
        digests["signature of shared"]: "StillUsed",
    }
    assert aws.notices() == []


def test_a_dry_run_of_a_cascade_tells_the_same(aws: EmbeddedAWS, start: Start) -> None:
    """As far as a look can tell: that another index needs an image is known to ECR alone."""
    digests = family(aws)
    before = aws.images(REPOSITORY)
    answer = ask(start(), "imageTag=1.0", cascade=True, dryRun=True)
    assert aws.images(REPOSITORY) == before
    assert {digests[name] for name in ("all", "index", "amd64", "arm64", "signature", "signature of arm64")} <= {
        i["imageDigest"] for i in answer["imageIds"]
    }
    assert {kept["code"] for kept in answer["kept"]} == {"StillTagged"}


def test_an_index_that_stays_keeps_its_images(aws: EmbeddedAWS, start: Start) -> None:
    """With another tag left, only the tag goes."""
    ecr = aws.client("ecr")
    child = push(aws)
    index = push_index(ecr, REPOSITORY, [child], tags=["1.0", "stable"])
    signature = push_referrer(ecr, REPOSITORY, index)
    answer = ask(start(), "imageTag=1.0", cascade=True)
    assert {kept["code"] for kept in answer["kept"]} == {"StillUsed"}
    assert {digest for digest, _ in aws.images(REPOSITORY)} == {child, index, signature}


def test_without_cascade_the_report_says_how_many_are_left(aws: EmbeddedAWS, start: Start) -> None:
    """When the request says that they are to be left; otherwise nobody looks."""
    children = [push(aws), push(aws), push(aws, "tagged")]
    push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])
    function = start()
    answer = ask(function, "imageTag=1.0", cascade=False)
    assert answer["leftUntagged"] == 2
    assert {digest for digest, _ in aws.images(REPOSITORY)} == set(children)
    assert "leftUntagged" not in ask(function, {"imageDigest": children[0]})


def test_a_cascade_beyond_the_cap_is_rejected_before_anything_is_deleted(aws: EmbeddedAWS, start: Start) -> None:
    """What belongs to the images counts too."""
    children = [push(aws), push(aws)]
    push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])
    before = aws.images(REPOSITORY)
    with pytest.raises(Exception, match="with what belongs to them these are 3 images, and a request may delete 2"):
        ask(start(MAX_IMAGES_PER_REQUEST="2"), "imageTag=1.0", cascade=True)
    assert aws.images(REPOSITORY) == before
    assert codes(ask(start(MAX_IMAGES_PER_REQUEST="3"), "imageTag=1.0", cascade=True)) == []
    assert aws.images(REPOSITORY) == set()
