"""The embedded ECR, beside what it has in common with the fake of the unit tests: pushes, lists, and the archive."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.ecr_storage import StorageChoices
from local.images import push_image
from tests.harness.outside import REPOSITORY, Outside

type Json = dict[str, Any]

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def ecr(stack: Outside) -> Any:
    """A client that sends also what botocore would keep from ECR."""
    config = Config(parameter_validation=False, max_pool_connections=20)
    return boto3.client("ecr", endpoint_url=stack.aws.endpoint_url, config=config)


def change(ecr: Any, image_id: Json | str, target: str) -> str:
    """Archives or restores an image, by its digest or another id; returns its status then."""
    image_id = {"imageDigest": image_id} if isinstance(image_id, str) else image_id
    answer = ecr.update_image_storage_class(repositoryName=REPOSITORY, imageId=image_id, targetStorageClass=target)
    return answer["imageStatus"]


def detail(ecr: Any, digest: str) -> Json:
    """Returns the description of an image."""
    [found] = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageDigest": digest}])["imageDetails"]
    return found


def failure_codes(answer: Json) -> list[str]:
    """Returns why ids failed."""
    return [failure["failureCode"] for failure in answer["failures"]]


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
        return {found["imageDigest"]: found["imageStatus"] for found in details}

    def referrers(**more: Json) -> list[str]:
        answer = ecr.list_image_referrers(repositoryName=REPOSITORY, subjectId={"imageDigest": image}, **more)
        return [referrer["artifactStatus"] for referrer in answer["referrers"]]

    assert listed() == {image: "ACTIVE"}
    assert listed(filter={"imageStatus": "ARCHIVED"}) == {signature: "ARCHIVED"}
    assert listed(filter={"imageStatus": "ANY"}) == {image: "ACTIVE", signature: "ARCHIVED"}
    assert referrers() == []
    assert referrers(filter={"artifactStatus": "ANY"}) == ["ARCHIVED"]

    stack.aws.restore(REPOSITORY, signature, days=1)
    found = detail(ecr, signature)
    assert (found["lastActivatedAt"] - found["lastArchivedAt"]).days == 2
    assert listed() == {image: "ACTIVE", signature: "ACTIVE"}
    assert referrers() == ["ACTIVE"]


def test_an_image_is_archived_at_once_and_restored_in_twenty_minutes(stack: Outside, ecr: Any) -> None:
    """By tag or digest, one at a time; while it is being restored it is neither active nor archived."""
    image = stack.push("v1")

    def listed(status: str) -> bool:
        wanted = {"imageStatus": status}
        ids = ecr.list_images(repositoryName=REPOSITORY, filter=wanted)["imageIds"]
        details = ecr.describe_images(repositoryName=REPOSITORY, filter=wanted)["imageDetails"]
        assert bool(ids) == bool(details)
        return bool(ids)

    assert ecr.update_image_storage_class(
        repositoryName=REPOSITORY, imageId={"imageTag": "v1"}, targetStorageClass="ARCHIVE"
    ).items() >= {
        "registryId": "123456789012",
        "repositoryName": REPOSITORY,
        "imageId": {"imageDigest": image, "imageTag": "v1"},
        "imageStatus": "ARCHIVED",
    }.items()  # fmt: skip
    assert "lastArchivedAt" in detail(ecr, image)
    assert [listed(status) for status in ("ACTIVE", "ARCHIVED", "ACTIVATING", "ANY")] == [False, True, False, True]

    assert change(ecr, image, "STANDARD") == "ACTIVATING"
    stack.let_time_pass(19 * 60)
    assert (detail(ecr, image)["imageStatus"], "lastActivatedAt" in detail(ecr, image)) == ("ACTIVATING", False)
    assert [listed(status) for status in ("ACTIVE", "ARCHIVED", "ACTIVATING", "ANY")] == [False, False, True, True]

    stack.let_time_pass(60)
    found = detail(ecr, image)
    assert found["imageStatus"] == "ACTIVE"
    assert 19 * 60 <= (found["lastActivatedAt"] - found["lastArchivedAt"]).total_seconds() <= 21 * 60
    assert listed("ACTIVE")


def test_a_storage_class_that_an_image_has_already_changes_nothing(stack: Outside, ecr: Any) -> None:
    """Nor does one that it is getting; but what is being restored cannot be archived meanwhile."""
    image = stack.push("v1")
    assert change(ecr, image, "STANDARD") == "ACTIVE"
    assert "lastActivatedAt" not in detail(ecr, image)

    stack.aws.archive(REPOSITORY, image, days=3)
    archived = detail(ecr, image)
    assert change(ecr, image, "ARCHIVE") == "ARCHIVED"
    assert detail(ecr, image) == archived

    change(ecr, image, "STANDARD")
    stack.let_time_pass(15 * 60)
    assert change(ecr, image, "STANDARD") == "ACTIVATING"
    with pytest.raises(ecr.exceptions.ImageStorageClassUpdateNotSupportedException):
        change(ecr, image, "ARCHIVE")
    stack.let_time_pass(5 * 60)
    assert detail(ecr, image)["imageStatus"] == "ACTIVE"


@pytest.mark.parametrize(
    ("image_id", "target", "error"),
    [
        ({"imageDigest": NOWHERE}, "ARCHIVE", "ImageNotFoundException"),
        ({"imageTag": "none"}, "ARCHIVE", "ImageNotFoundException"),
        ({"imageTag": "v1", "imageDigest": NOWHERE}, "STANDARD", "ImageNotFoundException"),
        ({"imageDigest": "sha256:short"}, "ARCHIVE", "InvalidParameterException"),
        ({}, "ARCHIVE", "InvalidParameterException"),
        ({"imageTag": "v1"}, "GLACIER", "InvalidParameterException"),
    ],
)
def test_one_bad_id_or_storage_class_is_an_error(
    stack: Outside, ecr: Any, image_id: Json, target: str, error: str
) -> None:
    """There is one image to a call, so no list of failures."""
    stack.push("v1")
    with pytest.raises(ClientError) as raised:
        change(ecr, image_id, target)
    assert raised.value.response["Error"]["Code"] == error


@pytest.mark.parametrize("failure", ["ImageInaccessible", "ImageNotFound", None])
def test_an_image_that_is_not_active_cannot_be_pulled(
    stack: Outside, ecr: Any, monkeypatch: pytest.MonkeyPatch, failure: str | None
) -> None:
    """Archived or being restored; a test says which failure its look-up is, or that it is none."""
    if failure != StorageChoices.archived_image_failure:
        monkeypatch.setattr(StorageChoices, "archived_image_failure", failure)
    image = stack.push("v1")
    for target in ("ARCHIVE", "STANDARD"):
        change(ecr, image, target)
        answer = ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])
        assert failure_codes(answer) == ([failure] if failure else [])
    stack.let_time_pass(20 * 60)
    answer = ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])
    assert (len(answer["images"]), answer["failures"]) == (1, [])


def test_an_image_that_is_pushed_again_is_restored_at_once(stack: Outside, ecr: Any) -> None:
    """Under the tag it has, under a further one, or under none; also where it is being restored already."""
    image = push_image(ecr, REPOSITORY, tags=["v1"], content="the same")
    for tags in (["v1"], ["v2"], []):
        stack.aws.archive(REPOSITORY, image, days=3)
        push_image(ecr, REPOSITORY, tags=tags, content="the same")
        assert detail(ecr, image)["imageStatus"] == "ACTIVE"
        assert (detail(ecr, image)["lastActivatedAt"] - detail(ecr, image)["lastArchivedAt"]).days == 3
    assert stack.aws.images(REPOSITORY) == {(image, ("v1", "v2"))}

    change(ecr, image, "ARCHIVE")
    change(ecr, image, "STANDARD")
    push_image(ecr, REPOSITORY, tags=["v1"], content="the same")
    assert detail(ecr, image)["imageStatus"] == "ACTIVE"


def test_a_child_is_archived_after_its_index(stack: Outside, ecr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index is active or being restored it is refused, unless a test chooses otherwise."""
    child = stack.push()
    index = stack.push_index([child], "1.0")
    with pytest.raises(ecr.exceptions.ImageStorageClassUpdateNotSupportedException):
        change(ecr, child, "ARCHIVE")
    change(ecr, index, "ARCHIVE")
    assert detail(ecr, child)["imageStatus"] == "ACTIVE"
    assert change(ecr, child, "ARCHIVE") == "ARCHIVED"

    change(ecr, index, "STANDARD")
    stack.aws.restore(REPOSITORY, child)
    with pytest.raises(ecr.exceptions.ImageStorageClassUpdateNotSupportedException):
        change(ecr, child, "ARCHIVE")
    monkeypatch.setattr(StorageChoices, "children_can_be_archived", True)
    assert change(ecr, child, "ARCHIVE") == "ARCHIVED"


def test_an_archived_image_can_be_deleted(stack: Outside, ecr: Any) -> None:
    """As any other; an archived index protects its children from that like one that is not."""
    child = stack.push()
    index = stack.push_index([child], "1.0")
    for digest in (index, child):
        change(ecr, digest, "ARCHIVE")

    answer = ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": child}])
    assert failure_codes(answer) == ["ImageReferencedByManifestList"]
    for digest in (index, child):
        stack.delete(digest)
    assert stack.left() == set()
