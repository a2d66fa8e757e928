"""A whole repository as ECR lists it, page by page, and which repositories there are."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from handler.models.errors import OutOfTimeError, RefusedLookUpError, ServiceUnavailableError
from handler.models.images import ListedImage
from handler.registry import Repository, list_images, read_indexes, repository_names
from tests.fakes.ecr import DAY
from tests.fakes.scripted import URL, Play, ScriptedAWS, answered, broken, cut_short, edited, refused, time_for

REPOSITORY = "team/app"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
PUSHED = 1_767_225_600.0

NOT_NOW = [
    refused("ThrottlingException"),
    refused("ServerException", 500),
    broken(ConnectTimeoutError(endpoint_url=URL)),
    broken(ReadTimeoutError(endpoint_url=URL)),
    cut_short,
    edited(lambda _: {}),
]
"""Faults that a redelivery may cure: to list has no effect, so a lost response is one of them."""


def detail(digest: str = "a", **more: Any) -> dict[str, Any]:
    """The least that ECR says of an image."""
    return {"imageDigest": digest, "imagePushedAt": PUSHED, **more}


def page(*details: dict[str, Any], token: str | None = None) -> Play:
    """A page of the list."""
    return answered({"imageDetails": list(details)} | ({"nextToken": token} if token else {}))


def test_a_repository_is_listed_to_its_last_page(repository: Repository, aws: ScriptedAWS) -> None:
    """A thousand at a time if ECR gives as many; tagged or not, archived ones too."""
    aws.ecr.page = 2
    digests = [aws.ecr.push(REPOSITORY, *tags) for tags in (["v1", "v2"], [], ["v3"], [])]
    digests.append(aws.ecr.push(REPOSITORY, status="ARCHIVED"))
    assert [image.digest for image in list_images(repository)] == digests
    call = {
        "registryId": "210987654321",
        "repositoryName": REPOSITORY,
        "maxResults": 1_000,
        "filter": {"tagStatus": "ANY", "imageStatus": "ANY"},
    }
    assert aws.asked("DescribeImages") == [call, {**call, "nextToken": "2"}, {**call, "nextToken": "4"}]


def test_an_image_that_changes_while_it_is_listed_counts_once(repository: Repository, aws: ScriptedAWS) -> None:
    """ECR may name it on two pages; the later one has what is so by then."""
    first = page(detail("a", imageTags=["v1"]), detail("b"), token="1")  # noqa: S106  # of a page
    aws.plays["DescribeImages"] = [first, page(detail("c"), detail("a"))]
    assert [(image.digest, image.tags) for image in list_images(repository)] == [("a", ()), ("b", ()), ("c", ())]


def test_all_that_ecr_says_of_an_image_is_listed(repository: Repository, aws: ScriptedAWS) -> None:
    """Times in seconds since the epoch; the least is an active image without tags, never pulled nor restored."""
    full = detail(
        imageTags=["v1", "v2"],
        imageSizeInBytes=5,
        imageManifestMediaType=INDEX,
        lastRecordedPullTime=PUSHED + DAY,
        lastActivatedAt=PUSHED + 2 * DAY,
        subjectManifestDigest="b",
        imageStatus="ARCHIVED",
    )
    aws.plays["DescribeImages"] = [page(full, detail("c"))]
    said = ListedImage("a", ("v1", "v2"), PUSHED, PUSHED + DAY, 5, is_index=True, subject="b", status="ARCHIVED")
    assert list_images(repository) == [
        said._replace(activated=PUSHED + 2 * DAY),
        ListedImage("c", (), PUSHED, None, 0, is_index=False, subject=None),
    ]


@pytest.mark.parametrize(
    ("says", "is_index", "active"),
    [
        ({"imageManifestMediaType": INDEX}, True, True),
        ({"imageManifestMediaType": MANIFEST_LIST}, True, True),
        ({"imageManifestMediaType": IMAGE}, False, True),
        ({"imageManifestMediaType": "odd"}, False, True),
        ({"imageStatus": "ACTIVE"}, False, True),
        ({"imageStatus": "ARCHIVED"}, False, False),
        ({"imageStatus": "ACTIVATING"}, False, False),
    ],
)
def test_an_index_is_known_by_its_media_type_and_an_archived_image_by_its_status(
    repository: Repository,
    aws: ScriptedAWS,
    says: dict[str, str],
    is_index: bool,  # noqa: FBT001
    active: bool,  # noqa: FBT001
) -> None:
    """Docker's and OCI's indexes; one that is on its way out of the archive is not active yet."""
    aws.plays["DescribeImages"] = [page(detail(**says))]
    [image] = list_images(repository)
    assert (image.is_index, image.status == "ACTIVE") == (is_index, active)


@pytest.mark.parametrize("list_", [list_images, repository_names])
def test_no_page_is_asked_for_without_time(
    repository: Repository, aws: ScriptedAWS, list_: Callable[[Repository], Any]
) -> None:
    """The time is checked before each."""
    aws.ecr.page = 1
    for name in "abc":
        aws.ecr.push(REPOSITORY)
        aws.ecr.push(name)
    with pytest.raises(OutOfTimeError):
        list_(repository._replace(calling=time_for(2)))
    assert len(aws.requests) == 2


@pytest.mark.parametrize(
    ("list_", "operation"), [(list_images, "DescribeImages"), (repository_names, "DescribeRepositories")]
)
def test_a_list_is_whole_or_an_error(
    repository: Repository, aws: ScriptedAWS, list_: Callable[[Repository], Any], operation: str
) -> None:
    """On the first page or a later one: for a redelivery to cure, or refused for good under ECR's code."""
    aws.ecr.page = 1
    for name in "abc":
        aws.ecr.push(REPOSITORY)
        aws.ecr.push(name)
    for pages in (0, 1):
        before: list[Play] = [lambda do: do()] * pages
        for play in NOT_NOW:
            aws.plays[operation] = [*before, play]
            with pytest.raises(ServiceUnavailableError):
                list_(repository)
        aws.plays[operation] = [*before, refused("AccessDeniedException")]
        with pytest.raises(RefusedLookUpError, match=r"^AccessDeniedException: why$"):
            list_(repository)


def test_a_listed_image_is_small_in_memory(repository: Repository, aws: ScriptedAWS) -> None:
    """100,000 of them, with a digest and a tag of their own, take well under 100 MB of the function's memory."""
    count = 5_000

    def thousand(number: int) -> Play:
        each = range(number * 1_000, (number + 1) * 1_000)
        details = [detail(f"sha256:{n:064}", imageTags=[f"v{n}"], imageManifestMediaType=IMAGE) for n in each]
        return page(*details, token=None if number == 4 else "more")

    aws.plays["DescribeImages"] = [thousand(number) for number in range(5)]
    tracemalloc.start()
    try:
        images = list_images(repository)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == count
    assert held / count < 500


def test_indexes_are_read_in_one_call(repository: Repository, aws: ScriptedAWS) -> None:
    """All digests that each names."""
    children = [aws.ecr.push(REPOSITORY) for _ in range(3)]
    index, empty = aws.ecr.push(REPOSITORY, children=children), aws.ecr.push(REPOSITORY, manifest='{"manifests": []}')
    assert read_indexes(repository, [index, empty]) == {index: children, empty: []}
    [call] = aws.asked("BatchGetImage")
    assert (call["registryId"], call["repositoryName"]) == ("210987654321", REPOSITORY)


def test_an_index_that_cannot_be_read_is_none(repository: Repository, aws: ScriptedAWS) -> None:
    """Of no known kind, not shown by ECR, or gone since it was listed; the others of the call are read."""
    odd, locked = aws.ecr.push(REPOSITORY, manifest="odd"), aws.ecr.push(REPOSITORY, failure="ImageInaccessible")
    index, gone = aws.ecr.push(REPOSITORY, children=[odd]), "sha256:" + "0" * 64
    assert read_indexes(repository, [odd, locked, gone, index]) == {odd: None, locked: None, gone: None, index: [odd]}


def test_indexes_that_may_not_be_read_are_none(repository: Repository, aws: ScriptedAWS) -> None:
    """Where ECR refuses for good; where it may yet, a redelivery asks again."""
    index = aws.ecr.push(REPOSITORY, manifest='{"manifests": []}')
    aws.plays["BatchGetImage"] = [refused("AccessDeniedException")]
    assert read_indexes(repository, [index, "other"]) == {index: None, "other": None}
    for play in NOT_NOW:
        aws.plays["BatchGetImage"] = [play]
        with pytest.raises(ServiceUnavailableError):
            read_indexes(repository, [index])


def test_an_index_that_a_response_leaves_out_is_read_again(repository: Repository, aws: ScriptedAWS) -> None:
    """By a redelivery: what a response does not name at all is neither there nor gone."""
    index = aws.ecr.push(REPOSITORY, manifest='{"manifests": []}')
    aws.plays["BatchGetImage"] = [edited(lambda answer: answer | {"images": []})]
    with pytest.raises(ServiceUnavailableError, match=r"^ECR's response leaves out imageDigest=sha256:"):
        read_indexes(repository, [index])


def test_every_repository_of_a_registry_is_listed(repository: Repository, aws: ScriptedAWS) -> None:
    """To the last page, in the registry that is meant."""
    aws.ecr.page = 1
    for name in "abc":
        aws.ecr.push(name)
    assert repository_names(repository) == ["a", "b", "c", REPOSITORY]
    assert repository_names(repository._replace(registry_id=None)) == ["a", "b", "c", REPOSITORY]
    registries = [call.get("registryId") for call in aws.asked("DescribeRepositories")]
    assert registries == ["210987654321"] * 4 + [None] * 4
