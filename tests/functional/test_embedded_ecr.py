"""The embedded ECR, beside what it has in common with the fake of the unit tests: pushes, lists, and the archive."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.images import push_image
from tests.harness.outside import REPOSITORY, Outside

type Json = dict[str, Any]

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def ecr(stack: Outside) -> Any:
    """A client that sends also what botocore would keep from ECR."""
    config = Config(parameter_validation=False, max_pool_connections=20)
    return boto3.client("ecr", endpoint_url=stack.aws.endpoint_url, config=config)


def test_images_have_digests_of_their_own(stack: Outside, ecr: Any) -> None:
    """Two images differ although nobody gave them content; one with several tags, or none, is one image."""
    one, two, untagged = stack.push("1", "one"), stack.push("2"), stack.push()

    assert stack.aws.images(REPOSITORY) == {(one, ("1", "one")), (two, ("2",)), (untagged, ())}
    assert ecr.list_images(repositoryName=REPOSITORY)["imageIds"] == [
        {"imageDigest": one, "imageTag": "1"},
        {"imageDigest": one, "imageTag": "one"},
        {"imageDigest": two, "imageTag": "2"},
        {"imageDigest": untagged},
    ]


def test_a_tag_that_is_pushed_again_leaves_its_image_untagged(stack: Outside) -> None:
    """The former image stays, as in ECR, where moto deletes it with its last tag."""
    old = stack.push("latest")
    new = stack.push("latest")

    assert stack.aws.images(REPOSITORY) == {(old, ()), (new, ("latest",))}


def test_the_same_image_is_not_pushed_twice(ecr: Any) -> None:
    """A manifest that is there, under the tag it has, is refused."""
    push_image(ecr, REPOSITORY, tags=["1"], content="the same")

    with pytest.raises(ecr.exceptions.ImageAlreadyExistsException):
        push_image(ecr, REPOSITORY, tags=["1"], content="the same")


def test_an_index_needs_its_children(ecr: Any) -> None:
    """An index that names a manifest which is not in the repository is refused."""
    media_type = "application/vnd.oci.image.index.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "manifests": [{"digest": NOWHERE}]}

    with pytest.raises(ecr.exceptions.ReferencedImagesNotFoundException):
        ecr.put_image(repositoryName=REPOSITORY, imageManifest=json.dumps(manifest))


@pytest.mark.parametrize("name", ["MyRepository", "a", "team//app", "a" * 257])
def test_a_repository_name_of_another_form_is_an_invalid_parameter(ecr: Any, name: str) -> None:
    """By ECR's own pattern and lengths, before the repository is looked for."""
    with pytest.raises(ecr.exceptions.InvalidParameterException):
        ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "latest"}])


def test_refusals_are_worded_as_ecr_words_them(stack: Outside, ecr: Any) -> None:
    """Too many ids, or none; a child of an index, whose reason names the index; and the registry of another account."""
    child = stack.push("amd64")
    index = stack.push_index([child], "1.0")
    for count, words in ((101, "less than or equal to 100"), (0, "greater than or equal to 1")):
        with pytest.raises(ClientError, match=f"Member must have length {words}"):
            ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "amd64"}] * count)
    [failure] = ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": child}])["failures"]
    assert f"[{index}]" in failure["failureReason"]
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.batch_delete_image(registryId="210987654321", repositoryName=REPOSITORY, imageIds=[{"imageTag": "1.0"}])


def test_calls_side_by_side_lose_nothing(stack: Outside, ecr: Any) -> None:
    """Each image is deleted by exactly one of the calls that ask for it."""
    tags = [f"pr-{number}" for number in range(100)]
    stack.push_many(tags)
    calls = [[{"imageTag": tag} for tag in tags[start : start + 50]] for start in range(0, 60, 5)]

    def delete(image_ids: list[Json]) -> list[Json]:
        deleted: list[Json] = ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=image_ids)["imageIds"]
        return deleted

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(delete, calls))

    assert sorted(entry["imageTag"] for deleted in answers for entry in deleted) == sorted(tags)
    assert stack.aws.images(REPOSITORY) == set()


def test_an_archived_image_is_listed_where_it_is_asked_for(stack: Outside, ecr: Any) -> None:
    """With the times at which it was archived and restored; by digest it is found in any case."""
    image = stack.push("a")
    signature = stack.push_referrer(image)
    stack.aws.archive(REPOSITORY, signature, days=3)

    def listed(**more: Json) -> dict[str, str]:
        details = ecr.describe_images(repositoryName=REPOSITORY, **more)["imageDetails"]
        return {detail["imageDigest"]: detail["imageStatus"] for detail in details}

    def referrers(**more: Json) -> list[str]:
        answer = ecr.list_image_referrers(repositoryName=REPOSITORY, subjectId={"imageDigest": image}, **more)
        return [referrer["artifactStatus"] for referrer in answer["referrers"]]

    assert listed() == {image: "ACTIVE"}
    assert listed(filter={"imageStatus": "ARCHIVED"}) == {signature: "ARCHIVED"}
    assert listed(filter={"imageStatus": "ANY"}) == {image: "ACTIVE", signature: "ARCHIVED"}
    assert referrers() == []
    assert referrers(filter={"artifactStatus": "ANY"}) == ["ARCHIVED"]

    stack.aws.restore(REPOSITORY, signature, days=1)
    [detail] = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageDigest": signature}])["imageDetails"]
    assert (detail["lastActivatedAt"] - detail["lastArchivedAt"]).days == 2
    assert listed() == {image: "ACTIVE", signature: "ACTIVE"}
    assert referrers() == ["ACTIVE"]
