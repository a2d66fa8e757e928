"""A chunk asked again after its answer was lost: the truth about what is missing, and new images left alone."""

from collections.abc import Sequence
from copy import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handler.models import ChunkOutcome, DeletionRequest, ImageFailure, ImageId, Origin
from handler.registry import delete_images

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
TAG, DIGEST, BOTH = ImageId(tag="v1"), ImageId(A), ImageId(A, "v1")
REQUEST = DeletionRequest("r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash")
BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
DOUBT = (
    "; an earlier try may have deleted it: that try's answer was lost, so this one cannot tell whether the image was "
    "there"
)


def anything(*_: object) -> dict[ImageId, ImageFailure]:
    """A guard that lets everything go."""
    return {}


class Missing(Exception):  # noqa: N818  # as ECR names it
    """One image that was to be described is not there."""


class Ecr:
    """An ECR that answers a deletion as it is told, and knows when each tag's image was pushed."""

    def __init__(
        self,
        answer: dict[str, Any] | Exception,
        pushed: dict[str, tuple[str, float]] | None = None,
        refused: dict[str, str] | None = None,
    ) -> None:
        """`pushed` holds the digest of each tag there is, and when its image was pushed; `refused` codes of others."""
        self.answer = answer
        self.pushed = pushed or {}
        self.refused = refused or {}
        self.asked: list[dict[str, Any]] = []

    exceptions = SimpleNamespace(ImageNotFoundException=Missing)

    def batch_delete_image(self, **call: Any) -> dict[str, Any]:
        self.asked.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def batch_get_image(self, *, imageIds: list[dict[str, str]], **_: object) -> dict[str, Any]:  # noqa: N803
        assert imageIds, "ECR takes no empty list"
        tags = [image_id["imageTag"] for image_id in imageIds]
        return {
            "images": [
                {"imageId": {"imageTag": tag, "imageDigest": self.pushed[tag][0]}} for tag in tags if tag in self.pushed
            ],
            "failures": [
                {
                    "imageId": {"imageTag": tag},
                    "failureCode": self.refused.get(tag, "ImageNotFound"),
                    "failureReason": "why",
                }
                for tag in tags
                if tag not in self.pushed
            ],
        }

    def describe_images(self, *, imageIds: list[dict[str, str]], **_: object) -> dict[str, Any]:  # noqa: N803
        assert imageIds, "ECR takes no empty list"
        tags = {digest: tag for tag, (digest, _) in self.pushed.items()}
        asked = [i.get("imageTag") or tags.get(i["imageDigest"]) for i in imageIds]
        if not all(tag in self.pushed for tag in asked):
            raise Missing
        return {
            "imageDetails": [
                {"imageDigest": digest, "imageTags": [tag], "imagePushedAt": datetime.fromtimestamp(when, UTC)}
                for tag, (digest, when) in self.pushed.items()
                if tag in asked
            ]
        }


def delete(ecr: Ecr, image_ids: Sequence[ImageId], *, begun: float | None = BEGUN) -> ChunkOutcome:
    """Deletes these ids from the repository, which an earlier try had begun to do."""
    return delete_images(ecr, REQUEST, image_ids, anything, begun=begun)  # type: ignore[arg-type]  # what it uses of a client


NOT_FOUND: dict[str, Any] = {
    "failures": [
        {"imageId": {"imageTag": "v1"}, "failureCode": "ImageNotFound", "failureReason": "why"},
        {"imageId": {"imageDigest": A}, "failureCode": "KmsError", "failureReason": "why"},
    ]
}


def test_not_found_is_certain_on_the_first_try() -> None:
    """The reason is ECR's own."""
    assert [f.reason for f in delete(Ecr(NOT_FOUND), [TAG, DIGEST], begun=None).failures] == ["why", "why"]


def test_not_found_is_doubtful_once_an_answer_was_lost() -> None:
    """The image may have been there before the earlier try: the reason says so, and no other code's reason does."""
    assert [f.reason for f in delete(Ecr(NOT_FOUND), [TAG, DIGEST]).failures] == ["why" + DOUBT, "why"]


@pytest.mark.parametrize(
    ("pushed", "left_alone"),
    [(BEGUN - 3600, False), (BEGUN - 3, False), (BEGUN - 2, True), (BEGUN, True), (BEGUN + 3600, True)],
)
@pytest.mark.parametrize("image_id", [TAG, BOTH])
def test_a_tag_pushed_since_an_earlier_try_is_left_alone(image_id: ImageId, pushed: float, left_alone: bool) -> None:  # noqa: FBT001
    """That try may have deleted the one that was meant; ECR tells whole seconds, and late ones: two are in doubt."""
    ecr = Ecr({"imageIds": [{"imageDigest": B, "imageTag": "v2"}]}, {"v1": (A, pushed), "v2": (B, BEGUN - 3600)})
    outcome = delete(ecr, [image_id, ImageId(tag="v2")])
    assert ({"imageTag": "v2"} in ecr.asked[0]["imageIds"], len(ecr.asked[0]["imageIds"])) == (True, 2 - left_alone)
    (told,) = outcome.failures
    assert (told.image_id, told.code) == (image_id, "ImageTagPushedAgain" if left_alone else "Unanswered")


def test_nothing_is_asked_when_every_tag_was_pushed_again() -> None:
    """ECR takes no empty list."""
    ecr = Ecr({}, {"v1": (A, BEGUN + 1)})
    assert [f.code for f in delete(ecr, [TAG]).failures] == ["ImageTagPushedAgain"]
    assert ecr.asked == []


def test_a_tag_that_ecr_cannot_look_up_is_left_alone() -> None:
    """It may name a new image: it fails under the code of the look-up, and the others are asked for again."""
    ecr = Ecr({"imageIds": [{"imageDigest": B, "imageTag": "v2"}]}, {"v2": (B, BEGUN - 3600)}, {"v1": "KmsError"})
    assert delete(ecr, [TAG, ImageId(tag="v2")]).failures == (ImageFailure(TAG, "KmsError", "why"),)
    assert ecr.asked[0]["imageIds"] == [{"imageTag": "v2"}]


def test_a_look_up_of_another_shape_does_no_harm() -> None:
    """A failure without a reason, or about nothing that was asked, is taken for what it is."""
    ecr = Ecr({"imageIds": [{"imageDigest": B, "imageTag": "v2"}]})
    ecr.batch_get_image = lambda **_: {  # type: ignore[method-assign]
        "failures": [{"imageId": {"imageTag": "v1"}, "failureCode": "K" * 99}, {"failureCode": "KmsError"}, {}]
    }
    (told,) = delete(ecr, [TAG, ImageId(tag="v2")]).failures
    assert (told.image_id, told.code, told.reason) == (TAG, "K" * 64, "ECR gave no reason")


def test_a_refusal_of_the_whole_call_leaves_doubt_too() -> None:
    """A repository that is gone, say: what the earlier try deleted in it cannot be told from what it did not."""
    response: Any = {
        "Error": {"Code": "RepositoryNotFoundException", "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    gone = ClientError(response, "BatchDeleteImage")
    for begun, reason in ((None, "why"), (BEGUN, "why" + DOUBT)):
        (told,) = delete(Ecr(gone), [DIGEST], begun=begun).failures
        assert (told.code, told.reason) == ("RepositoryNotFoundException", reason)


@pytest.mark.parametrize("asked", [[DIGEST], [TAG]])
def test_digests_and_missing_tags_are_asked_for_again(asked: list[ImageId]) -> None:
    """Deleting by digest repeats harmlessly, and a tag that is not there has not been pushed again."""
    ecr = Ecr({}, {})
    delete(ecr, asked)
    assert ecr.asked[0]["imageIds"] == [image_id.to_json() for image_id in asked]


def test_a_dry_run_is_never_in_doubt() -> None:
    """Its earlier try deleted nothing: a tag pushed since is foreseen as any other, and what is missing is missing."""
    ecr = Ecr({}, {"v1": (A, BEGUN + 1)})
    request = replace(REQUEST, dry_run=True)
    outcome = delete_images(ecr, request, [TAG, ImageId(tag="v2")], anything, begun=BEGUN)  # type: ignore[arg-type]  # what it uses of a client
    assert outcome.image_ids == (ImageId(A, "v1"),)
    assert outcome.failures == (ImageFailure(ImageId(tag="v2"), "ImageNotFound", "Requested image not found"),)
    assert ecr.asked == []
