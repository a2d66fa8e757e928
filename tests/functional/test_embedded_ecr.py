"""The embedded ECR behaves as the real one does, where moto's own does not."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.aws import EmbeddedAWS
from local.images import push_image, push_index, push_referrer

type Json = dict[str, Any]

REPOSITORY = "team/app"
NOWHERE = "sha256:" + "0" * 64


class Registry:
    """One repository, and short words for what is done to it."""

    def __init__(self, aws: EmbeddedAWS) -> None:
        self.aws = aws
        # botocore would keep some of what ECR refuses from ever being asked.
        config = Config(parameter_validation=False, max_pool_connections=20)
        self.ecr: Any = boto3.client("ecr", endpoint_url=aws.endpoint_url, config=config)
        self.ecr.create_repository(repositoryName=REPOSITORY)

    def push(self, *tags: str) -> str:
        return push_image(self.ecr, REPOSITORY, tags=tags)

    def index(self, *children: str, tags: tuple[str, ...] = ()) -> str:
        return push_index(self.ecr, REPOSITORY, children, tags=tags)

    def delete(self, *image_ids: Json, repository: str = REPOSITORY) -> tuple[list[Json], list[str]]:
        """Returns the entries of the deleted, and the code of each failure."""
        answer = self.ecr.batch_delete_image(repositoryName=repository, imageIds=list(image_ids))
        assert [failure["imageId"] for failure in answer["failures"]] == [
            image_id for image_id in image_ids if image_id in [f["imageId"] for f in answer["failures"]]
        ]
        return answer["imageIds"], [failure["failureCode"] for failure in answer["failures"]]

    @property
    def images(self) -> set[tuple[str, tuple[str, ...]]]:
        return self.aws.images(REPOSITORY)


@pytest.fixture
def registry(aws: EmbeddedAWS) -> Registry:
    """An empty one."""
    return Registry(aws)


def digest(value: str) -> Json:
    """An id by digest."""
    return {"imageDigest": value}


def tag(value: str) -> Json:
    """An id by tag."""
    return {"imageTag": value}


def test_images_have_digests_of_their_own(registry: Registry) -> None:
    """Two images differ although nobody gave them content; one with several tags, or none, is one image."""
    one, two, untagged = registry.push("1", "one"), registry.push("2"), registry.push()

    assert registry.images == {(one, ("1", "one")), (two, ("2",)), (untagged, ())}
    assert registry.ecr.list_images(repositoryName=REPOSITORY)["imageIds"] == [
        {"imageDigest": one, "imageTag": "1"},
        {"imageDigest": one, "imageTag": "one"},
        {"imageDigest": two, "imageTag": "2"},
        {"imageDigest": untagged},
    ]


def test_a_tag_that_is_pushed_again_leaves_its_image_untagged(registry: Registry) -> None:
    """The former image stays, as in ECR, where moto deletes it with its last tag."""
    old = registry.push("latest")
    new = registry.push("latest")

    assert registry.images == {(old, ()), (new, ("latest",))}


def test_the_same_image_is_not_pushed_twice(registry: Registry) -> None:
    """A manifest that is there, under the tag it has, is refused."""
    push_image(registry.ecr, REPOSITORY, tags=["1"], content="the same")

    with pytest.raises(registry.ecr.exceptions.ImageAlreadyExistsException):
        push_image(registry.ecr, REPOSITORY, tags=["1"], content="the same")


def test_an_index_needs_its_children(registry: Registry) -> None:
    """An index that names a manifest which is not in the repository is refused."""
    media_type = "application/vnd.oci.image.index.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "manifests": [{"digest": NOWHERE}]}

    with pytest.raises(registry.ecr.exceptions.ReferencedImagesNotFoundException):
        registry.ecr.put_image(repositoryName=REPOSITORY, imageManifest=json.dumps(manifest))


def test_images_are_looked_up_by_the_tag_that_was_asked_for(registry: Registry) -> None:
    """BatchGetImage names an image with several tags by the one in question, and answers for each id."""
    image = registry.push("1", "one")

    answer = registry.ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[tag("1"), tag("2")])

    assert [found["imageId"] for found in answer["images"]] == [{"imageDigest": image, "imageTag": "1"}]
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"]


def test_a_call_takes_a_hundred_ids(registry: Registry) -> None:
    """100 are fine; one more, or none, and nothing is deleted."""
    tags = [f"pr-{number}" for number in range(101)]
    registry.push(*tags)

    with pytest.raises(ClientError, match="Member must have length less than or equal to 100") as error:
        registry.delete(*map(tag, tags))
    with pytest.raises(ClientError, match="Member must have length greater than or equal to 1"):
        registry.delete()

    assert error.value.response["Error"]["Code"] == "InvalidParameterException"
    assert len(registry.delete(*map(tag, tags[:100]))[0]) == 100
    assert {tags for _, tags in registry.images} == {("pr-100",)}


@pytest.mark.parametrize("bad", ["", "a" * 301])
def test_one_tag_of_a_bad_length_costs_the_others_theirs(registry: Registry, bad: str) -> None:
    """The whole call fails, and the good image stays."""
    image = registry.push("good")

    with pytest.raises(registry.ecr.exceptions.InvalidParameterException):
        registry.delete(tag("good"), tag(bad))

    assert registry.images == {(image, ("good",))}


@pytest.mark.parametrize("name", ["MyRepository", "a", "team//app", "a" * 257])
def test_a_repository_name_of_another_form_is_an_invalid_parameter(registry: Registry, name: str) -> None:
    """By ECR's own pattern and lengths, before the repository is looked for."""
    with pytest.raises(registry.ecr.exceptions.InvalidParameterException):
        registry.delete(tag("latest"), repository=name)


def test_a_repository_that_is_not_there_is_an_error_of_the_call(registry: Registry) -> None:
    """Not a failure of each image; and a registry of another account holds none of ours."""
    with pytest.raises(registry.ecr.exceptions.RepositoryNotFoundException):
        registry.delete(tag("latest"), repository="nowhere")
    with pytest.raises(registry.ecr.exceptions.RepositoryNotFoundException):
        registry.ecr.batch_delete_image(registryId="210987654321", repositoryName=REPOSITORY, imageIds=[tag("latest")])


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
    assert registry.images == set()


def test_the_last_tag_takes_the_image_along(registry: Registry) -> None:
    """A tag that is not the last leaves the image in place."""
    image = registry.push("1", "one")

    assert registry.delete(tag("1")) == ([{"imageDigest": image, "imageTag": "1"}], [])
    assert registry.images == {(image, ("one",))}
    assert registry.delete(tag("one")) == ([{"imageDigest": image, "imageTag": "one"}], [])
    assert registry.images == set()


def test_a_digest_takes_all_tags_along(registry: Registry) -> None:
    """The answer has an entry for each tag."""
    image = registry.push("1", "one")

    deleted, _ = registry.delete(digest(image))

    assert deleted == [{"imageDigest": image, "imageTag": "1"}, {"imageDigest": image, "imageTag": "one"}]
    assert registry.images == set()


def test_an_untagged_image_is_in_the_answer(registry: Registry) -> None:
    """By its digest, where moto's answer says nothing of it."""
    image = registry.push()

    assert registry.delete(digest(image)) == ([{"imageDigest": image}], [])
    assert registry.images == set()


def test_digest_and_tag_must_belong_together(registry: Registry) -> None:
    """A tag of another image is a mismatch; a tag that is nowhere is not found; neither deletes anything."""
    one, two = registry.push("1"), registry.push("2")

    _, codes = registry.delete(digest(one) | tag("2"), digest(one) | tag("3"), digest(NOWHERE) | tag("1"))

    assert codes == ["ImageTagDoesNotMatchDigest", "ImageNotFound", "ImageTagDoesNotMatchDigest"]
    assert registry.images == {(one, ("1",)), (two, ("2",))}


def test_digest_and_tag_that_belong_together_delete_the_tag(registry: Registry) -> None:
    """As by tag alone."""
    image = registry.push("1", "one")

    assert registry.delete(digest(image) | tag("1")) == ([{"imageDigest": image, "imageTag": "1"}], [])
    assert registry.images == {(image, ("one",))}


def test_an_id_that_is_asked_twice_is_one_wish(registry: Registry) -> None:
    """It is answered once, and is no failure the second time."""
    image = registry.push("1")

    assert registry.delete(tag("1"), tag("1")) == ([{"imageDigest": image, "imageTag": "1"}], [])


def test_a_child_of_an_index_cannot_be_deleted(registry: Registry) -> None:
    """Neither by digest nor with its only tag; the reason names the index."""
    untagged, tagged = registry.push(), registry.push("amd64")
    index = registry.index(untagged, tagged, tags=("1.0",))

    failures = registry.ecr.batch_delete_image(
        repositoryName=REPOSITORY, imageIds=[digest(untagged), digest(tagged), tag("amd64")]
    )["failures"]

    assert [failure["failureCode"] for failure in failures] == ["ImageReferencedByManifestList"] * 3
    assert all(f"[{index}]" in failure["failureReason"] for failure in failures)
    assert registry.images == {(untagged, ()), (tagged, ("amd64",)), (index, ("1.0",))}


def test_one_of_several_tags_of_a_child_can_be_removed(registry: Registry) -> None:
    """The image stays, and its last tag with it."""
    child = registry.push("amd64", "intel")
    index = registry.index(child, tags=("1.0",))

    assert registry.delete(tag("amd64"), tag("intel"))[1] == ["ImageReferencedByManifestList"]
    assert registry.images == {(child, ("intel",)), (index, ("1.0",))}


def test_the_order_inside_a_call_does_not_help(registry: Registry) -> None:
    """An index that goes in the same call still protects its children; the next call takes them."""
    children = [registry.push(), registry.push()]
    index = registry.index(*children, tags=("1.0",))

    deleted, codes = registry.delete(tag("1.0"), *map(digest, children))

    assert deleted == [{"imageDigest": index, "imageTag": "1.0"}]
    assert codes == ["ImageReferencedByManifestList"] * 2
    assert registry.images == {(child, ()) for child in children}
    assert registry.delete(*map(digest, children)) == ([digest(child) for child in children], [])


def test_an_index_in_an_index_goes_from_the_outside_in(registry: Registry) -> None:
    """Each level protects the next."""
    image = registry.push()
    inner = registry.index(image)
    outer = registry.index(inner, tags=("1.0",))

    for gone in (outer, inner, image):
        assert registry.delete(digest(image), digest(inner), digest(outer))[0][0]["imageDigest"] == gone
    assert registry.images == set()


def test_calls_side_by_side_lose_nothing(registry: Registry) -> None:
    """Each image is deleted by exactly one of the calls that ask for it."""
    tags = [f"pr-{number}" for number in range(100)]
    for name in tags:
        registry.push(name)
    calls = [[tag(name) for name in tags[start : start + 50]] for start in range(0, 60, 5)]

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda ids: registry.delete(*ids), calls))

    assert sorted(entry["imageTag"] for deleted, _ in answers for entry in deleted) == sorted(tags)
    assert registry.images == set()


def test_an_archived_image_is_listed_where_it_is_asked_for(registry: Registry) -> None:
    """With the times at which it was archived and restored; by digest it is found in any case."""
    image = registry.push("a")
    signature = push_referrer(registry.ecr, REPOSITORY, image)
    registry.aws.archive(REPOSITORY, signature, days=3)

    def listed(**more: Json) -> dict[str, str]:
        details = registry.ecr.describe_images(repositoryName=REPOSITORY, **more)["imageDetails"]
        return {detail["imageDigest"]: detail["imageStatus"] for detail in details}

    def referrers(**more: Json) -> list[str]:
        answer = registry.ecr.list_image_referrers(repositoryName=REPOSITORY, subjectId=digest(image), **more)
        return [referrer["artifactStatus"] for referrer in answer["referrers"]]

    assert listed() == {image: "ACTIVE"}
    assert listed(filter={"imageStatus": "ARCHIVED"}) == {signature: "ARCHIVED"}
    assert listed(filter={"imageStatus": "ANY"}) == {image: "ACTIVE", signature: "ARCHIVED"}
    assert referrers() == []
    assert referrers(filter={"artifactStatus": "ANY"}) == ["ARCHIVED"]

    registry.aws.restore(REPOSITORY, signature, days=1)
    [detail] = registry.ecr.describe_images(repositoryName=REPOSITORY, imageIds=[digest(signature)])["imageDetails"]
    assert (detail["lastActivatedAt"] - detail["lastArchivedAt"]).days == 2
    assert listed() == {image: "ACTIVE", signature: "ACTIVE"}
    assert referrers() == ["ACTIVE"]
