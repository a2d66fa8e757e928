"""Image ids: which can name an image, how they are written, and what a signature's tag says."""

from typing import Any

import pytest

from handler.models.images import ImageFailure, ImageId, ids_of, own_tags, signature_subject, signature_tags
from tests.values import digest

DIGEST = digest(10)


@pytest.mark.parametrize(
    "image_id",
    [
        *(ImageId(tag=tag) for tag in ("a", "_", "0", "a" * 300, "V1.2_3-rc", "a.-")),
        *(ImageId(f"sha256:{digits * 4}") for digits in ("0123456789abcdef", "ABCDEF0123456789")),
        ImageId(DIGEST, "precise"),
    ],
)
def test_a_well_formed_id_can_name_an_image(image_id: ImageId) -> None:
    """ECR may be asked for it, and decides."""
    assert image_id.malformed() is None


NO_TAGS = ("", "a" * 301, "precise\n", "\nprecise", " precise", ".a", "-a", "a:b", "a/b", "é", "٣", DIGEST)
NO_DIGESTS = ("", DIGEST + "\n", DIGEST[:-1], DIGEST + "a", "sha256:" + "g" * 64, DIGEST.upper(), "a" * 64, "precise")


@pytest.mark.parametrize(
    ("image_id", "code", "problem"),
    [
        (ImageId(), "MissingDigestAndTag", "both tag and digest cannot be null"),
        *((ImageId(tag=tag), "InvalidImageTag", "image tag should satisfy the regex") for tag in NO_TAGS),
        (ImageId(DIGEST, ""), "InvalidImageTag", "image tag should satisfy the regex"),
        *(
            (ImageId(name, tag), "InvalidImageDigest", "image digest should satisfy the regex")
            for name in NO_DIGESTS
            for tag in (None, "precise", "")
        ),
    ],
)
def test_a_malformed_id_is_a_failure_of_its_own(image_id: ImageId, code: str, problem: str) -> None:
    """Under ECR's code, and with what would be right: no digest fails with a pattern that it seems to satisfy."""
    failure = image_id.malformed()
    assert failure is not None
    assert (failure.image_id, failure.code) == (image_id, code)
    assert failure.reason.startswith(f"Invalid request parameters: {problem}")
    assert ("it is sha256: and 64 hexadecimal digits" in failure.reason) == (code == "InvalidImageDigest")


def test_a_malformed_id_is_cut_to_a_thousand_characters() -> None:
    """A tag of 300,000 characters takes no other failure's place in an answer; cut, it still names no image."""
    failure = ImageId("none", "x" * 300_000).malformed()
    assert failure is not None
    assert failure.image_id == ImageId("none", "x" * 1_000 + "...")
    assert failure.image_id.malformed() is not None


@pytest.mark.parametrize(
    ("image_id", "value", "text"),
    [
        (ImageId(), {}, ""),
        (ImageId(tag="a"), {"imageTag": "a"}, "imageTag=a"),
        (ImageId("d"), {"imageDigest": "d"}, "imageDigest=d"),
        (ImageId("d", "a"), {"imageDigest": "d", "imageTag": "a"}, "imageDigest=d,imageTag=a"),
        (ImageId("", ""), {"imageDigest": "", "imageTag": ""}, "imageDigest=,imageTag="),
    ],
)
def test_an_id_is_written_as_by_ecr_and_the_cli(image_id: ImageId, value: Any, text: str) -> None:
    """An empty member is there, an absent one is not."""
    assert (image_id.to_json(), str(image_id)) == (value, text)
    assert ImageId.from_json(value) == image_id


def test_a_failure_is_written_as_by_ecr() -> None:
    """Under the names of the API."""
    failure = ImageFailure(ImageId(tag="a"), "ImageNotFound", "no such image")
    expected = {"imageId": {"imageTag": "a"}, "failureCode": "ImageNotFound", "failureReason": "no such image"}
    assert failure.to_json() == expected


def test_an_image_answers_to_its_digest_its_tag_and_both() -> None:
    """By any of these it may have been asked for."""
    assert ids_of([ImageId("d", "a")]) == {ImageId("d", "a"), ImageId("d"), ImageId(tag="a")}


def test_a_signature_may_name_its_subject_by_its_tag() -> None:
    """As cosign and the OCI fallback write it, with any of the known endings; nothing else is read as one."""
    tags = signature_tags(DIGEST)
    stem = DIGEST.replace(":", "-")
    assert tags == [stem, f"{stem}.sig", f"{stem}.att", f"{stem}.sbom"]
    assert {signature_subject(tag) for tag in tags} == {DIGEST}
    for tag in ("v1", stem[:-1], f"{stem}0", f"{stem}.other", f"{stem}.sig.sig", stem.upper(), f"x{stem}", f"{stem}\n"):
        assert signature_subject(tag) is None


def test_a_tag_is_an_images_own_unless_it_only_names_a_subject() -> None:
    """Of a subject that is not there it says nothing, so it is a tag like any other."""
    other = digest(11)
    tags = ["v1", *signature_tags(DIGEST)[:2], signature_tags(other)[1]]
    assert own_tags(tags, {DIGEST}) == {"v1", signature_tags(other)[1]}
    assert own_tags(tags, {DIGEST, other}) == {"v1"}
    assert own_tags(tags, ()) == set(tags)
