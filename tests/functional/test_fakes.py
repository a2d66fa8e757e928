"""The embedded ECR and the one of the unit tests behave as the real one does, where moto's own does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.fakes.aws import FakeAWS
from tests.harness.outside import REPOSITORY, Outside

type Json = dict[str, Any]
type Images = set[tuple[str, tuple[str, ...]]]
"""The digest and the sorted tags of each image."""

NOWHERE = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Registry:
    """One repository, and short words for what is done to it."""

    ecr: Any
    """A client."""
    push: Callable[..., str]
    """Pushes an image with these tags; returns its digest."""
    index: Callable[..., str]
    """Pushes an index of these digests, with tags; returns its digest."""
    images: Callable[[], Images]

    def delete(self, *image_ids: Json, repository: str = REPOSITORY) -> tuple[list[Json], list[str]]:
        """Returns the entries of the deleted, and the code of each failure."""
        answer = self.ecr.batch_delete_image(repositoryName=repository, imageIds=list(image_ids))
        failed = [failure["imageId"] for failure in answer["failures"]]
        assert failed == [image_id for image_id in image_ids if image_id in failed]
        return answer["imageIds"], [failure["failureCode"] for failure in answer["failures"]]


def client(**more: Any) -> Any:
    """Makes a client that sends also what botocore would keep from ECR."""
    return boto3.client("ecr", config=Config(parameter_validation=False), **more)


@pytest.fixture(params=["embedded", "fake"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """An empty one, in either imitation."""
    if request.param == "embedded":
        stack: Outside = request.getfixturevalue("stack")
        aws = stack.aws
        return Registry(
            client(endpoint_url=aws.endpoint_url), stack.push, stack.push_index, lambda: aws.images(REPOSITORY)
        )
    fake, ecr = FakeAWS(), client()
    fake.connect(ecr)
    images = fake.ecr.repositories[REPOSITORY]
    return Registry(
        ecr,
        lambda *tags: fake.ecr.push(REPOSITORY, *tags),
        lambda children, *tags: fake.ecr.push(REPOSITORY, *tags, children=children),
        lambda: {(digest, tuple(sorted(image.tags))) for digest, image in images.items()},
    )


def digest(value: str) -> Json:
    """An id by digest."""
    return {"imageDigest": value}


def tag(value: str) -> Json:
    """An id by tag."""
    return {"imageTag": value}


def test_images_are_found_by_the_tag_that_was_asked_for(registry: Registry) -> None:
    """BatchGetImage names an image with several tags by the one in question, and answers for each id."""
    image = registry.push("1", "one")
    answer = registry.ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[tag("1"), tag("2")])
    assert [found["imageId"] for found in answer["images"]] == [{"imageDigest": image, "imageTag": "1"}]
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"]


def test_a_description_fails_whole_when_one_image_is_missing(registry: Registry) -> None:
    """Those that are there have no description either."""
    image = registry.push("1", "one")
    [detail] = registry.ecr.describe_images(repositoryName=REPOSITORY, imageIds=[tag("1"), tag("one")])["imageDetails"]
    assert (detail["imageDigest"], sorted(detail["imageTags"])) == (image, ["1", "one"])
    with pytest.raises(registry.ecr.exceptions.ImageNotFoundException):
        registry.ecr.describe_images(repositoryName=REPOSITORY, imageIds=[tag("1"), tag("2")])


def test_a_call_takes_a_hundred_ids(registry: Registry) -> None:
    """100 are fine; one more, or none, and nothing is deleted."""
    tags = [f"pr-{number}" for number in range(101)]
    registry.push(*tags)
    for image_ids in (map(tag, tags), ()):
        with pytest.raises(registry.ecr.exceptions.InvalidParameterException):
            registry.delete(*image_ids)
    assert len(registry.delete(*map(tag, tags[:100]))[0]) == 100
    assert {tags for _, tags in registry.images()} == {("pr-100",)}


@pytest.mark.parametrize("bad", ["", "a" * 301])
def test_one_tag_of_a_bad_length_fails_the_whole_call(registry: Registry, bad: str) -> None:
    """The good image stays."""
    image = registry.push("good")
    with pytest.raises(registry.ecr.exceptions.InvalidParameterException):
        registry.delete(tag("good"), tag(bad))
    assert registry.images() == {(image, ("good",))}


def test_a_repository_that_is_not_there_is_an_error_of_the_call(registry: Registry) -> None:
    """Not a failure of each image."""
    with pytest.raises(registry.ecr.exceptions.RepositoryNotFoundException):
        registry.delete(tag("latest"), repository="nowhere")


@pytest.mark.parametrize(
    ("image_id", "code"),
    [
        ({}, "MissingDigestAndTag"),
        (digest("sha256:123456789012"), "InvalidImageDigest"),
        (digest(NOWHERE + "0"), "InvalidImageDigest"),
        (digest(""), "InvalidImageDigest"),
        (tag("not a tag"), "InvalidImageTag"),
        (tag(".hidden"), "InvalidImageTag"),
        (tag("nowhere"), "ImageNotFound"),
        (digest(NOWHERE), "ImageNotFound"),
    ],
)
def test_an_id_that_names_no_image_is_that_ids_failure(registry: Registry, image_id: Json, code: str) -> None:
    """The others of the call are deleted."""
    image = registry.push("good")
    assert registry.delete(image_id, tag("good")) == ([{"imageDigest": image, "imageTag": "good"}], [code])
    assert registry.images() == set()


def test_the_last_tag_takes_the_image_along(registry: Registry) -> None:
    """A tag that is not the last leaves the image in place; the digest beside a tag changes nothing."""
    image = registry.push("1", "one")
    assert registry.delete(digest(image) | tag("1")) == ([{"imageDigest": image, "imageTag": "1"}], [])
    assert registry.images() == {(image, ("one",))}
    assert registry.delete(tag("one")) == ([{"imageDigest": image, "imageTag": "one"}], [])
    assert registry.images() == set()


def test_a_digest_takes_all_tags_along(registry: Registry) -> None:
    """The answer has an entry for each tag, and one for an image that has none, of which moto says nothing."""
    image, untagged = registry.push("1", "one"), registry.push()
    deleted, _ = registry.delete(digest(image), digest(untagged))
    assert deleted == [*({"imageDigest": image, "imageTag": name} for name in ("1", "one")), digest(untagged)]
    assert registry.images() == set()


def test_digest_and_tag_must_belong_together(registry: Registry) -> None:
    """A tag of another image is a mismatch; a tag that is nowhere is not found; neither deletes anything."""
    one, two = registry.push("1"), registry.push("2")
    _, codes = registry.delete(digest(one) | tag("2"), digest(one) | tag("3"), digest(NOWHERE) | tag("1"))
    assert codes == ["ImageTagDoesNotMatchDigest", "ImageNotFound", "ImageTagDoesNotMatchDigest"]
    assert registry.images() == {(one, ("1",)), (two, ("2",))}


def test_an_id_that_is_asked_for_twice_is_one(registry: Registry) -> None:
    """It is answered once, and is no failure the second time."""
    image = registry.push("1")
    assert registry.delete(tag("1"), tag("1")) == ([{"imageDigest": image, "imageTag": "1"}], [])


def test_a_child_of_an_index_cannot_be_deleted(registry: Registry) -> None:
    """Neither by digest nor with its last tag, though one of several tags goes."""
    untagged, tagged = registry.push(), registry.push("amd64", "intel")
    index = registry.index([untagged, tagged], "1.0")
    deleted, codes = registry.delete(digest(untagged), digest(tagged), tag("amd64"), tag("intel"))
    assert deleted == [{"imageDigest": tagged, "imageTag": "amd64"}]
    assert codes == ["ImageReferencedByManifestList"] * 3
    assert registry.images() == {(untagged, ()), (tagged, ("intel",)), (index, ("1.0",))}


def test_an_index_in_an_index_goes_from_the_outside_in(registry: Registry) -> None:
    """An index that goes in the same call still protects its children; the next call takes them."""
    image = registry.push()
    inner = registry.index([image])
    outer = registry.index([inner], "1.0")
    for gone in (outer, inner, image):
        [deleted], _ = registry.delete(digest(image), digest(inner), digest(outer))
        assert deleted["imageDigest"] == gone
    assert registry.images() == set()
