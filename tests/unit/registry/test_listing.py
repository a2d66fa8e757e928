"""A whole repository as ECR lists it, page by page, and which repositories there are."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from handler.models.errors import OutOfTimeError, RefusedLookUpError, ServiceUnavailableError
from handler.models.images import ListedImage
from handler.registry import Repository
from handler.registry.listing import read_repository, repository_names
from tests.fakes.ecr import DAY
from tests.fakes.scripted import URL, Play, ScriptedAWS, answered, broken, cut_short, edited, refused, time_for
from tests.harness.function import one_after_the_other

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


def page(*details: dict[str, Any], then: str | None = None) -> Play:
    """A page of the list."""
    return answered({"imageDetails": list(details)} | ({"nextToken": then} if then else {}))


def list_images(repository: Repository) -> list[ListedImage]:
    """The images of a repository, listed in parts where it has more than one page."""
    return list(read_repository(repository, in_parts=True).images)


def test_what_has_one_page_is_listed_by_one_call(repository: Repository, aws: ScriptedAWS) -> None:
    """A thousand images at a time; tagged or not, archived ones too."""
    digests = [aws.ecr.push(REPOSITORY, *tags) for tags in (["v1", "v2"], [], ["v3"], [])]
    digests.append(aws.ecr.push(REPOSITORY, status="ARCHIVED"))
    assert [image.digest for image in list_images(repository)] == digests
    assert aws.asked("DescribeImages") == [asked_for("ANY", "ANY")]
    assert len(aws.requests) == 1


def asked_for(tag_status: str, image_status: str, token: str | None = None) -> dict[str, Any]:
    """What DescribeImages is asked for one page of a part."""
    return {
        "registryId": "210987654321",
        "repositoryName": REPOSITORY,
        "maxResults": 1_000,
        "filter": {"tagStatus": tag_status, "imageStatus": image_status},
    } | ({"nextToken": token} if token else {})


def test_what_has_more_is_listed_in_parts_side_by_side(repository: Repository, aws: ScriptedAWS) -> None:
    """Each to its last page: by tags, and what is archived once more, for tags may come and go meanwhile."""
    aws.ecr.page = 2
    digests = [aws.ecr.push(REPOSITORY, *tags) for tags in (["v1", "v2"], [], ["v3"], [], ["v4"])]
    digests.append(aws.ecr.push(REPOSITORY, status="ARCHIVED"))
    images = list_images(repository)
    assert sorted(image.digest for image in images) == sorted(digests)
    calls = aws.asked("DescribeImages")
    assert calls.pop(0) == asked_for("ANY", "ANY")
    assert sorted(calls, key=str) == sorted(
        [
            asked_for("TAGGED", "ANY"),
            asked_for("TAGGED", "ANY", "2"),
            asked_for("UNTAGGED", "ANY"),
            asked_for("UNTAGGED", "ANY", "2"),
            asked_for("ANY", "ARCHIVED"),
        ],
        key=str,
    )


def test_an_archived_image_whose_tag_goes_meanwhile_is_listed(repository: Repository, aws: ScriptedAWS) -> None:
    """By tags it is in neither part: not without them yet, and not with them any more."""
    aws.plays["DescribeImages"] = [
        page(detail("a"), then="1"),
        page(),
        page(),
        page(detail("index", imageStatus="ARCHIVED")),
    ]
    with one_after_the_other():
        assert {image.digest for image in list_images(repository)} == {"a", "index"}


def test_a_subject_that_changes_meanwhile_is_found_by_its_signatures(repository: Repository, aws: ScriptedAWS) -> None:
    """It is not listed, and is there: it counts as pulled just now, and those that are gone are not made up."""
    subject = aws.ecr.push(REPOSITORY, "v1", days=9)
    by_tag = aws.ecr.push(REPOSITORY, days=8)
    signatures = [
        detail("b", subjectManifestDigest=subject),
        detail("c", imageTags=[by_tag.replace(":", "-") + ".sig"]),
        detail("d", subjectManifestDigest="sha256:" + "0" * 64),
    ]
    aws.plays["DescribeImages"] = [page(detail("a"), then="1"), page(*signatures), page(), page()]
    with one_after_the_other():
        images = {image.digest: image for image in list_images(repository)}
    assert images.keys() == {"a", "b", "c", "d", subject, by_tag}
    assert (images[subject].tags, images[by_tag].tags) == (("v1",), ())
    assert images[subject].pushed < time.time() - 8 * DAY
    pulled = images[subject].pulled
    assert pulled is not None
    assert pulled > time.time() - 60


def test_signatures_of_what_cannot_be_seen_are_left_out(repository: Repository, aws: ScriptedAWS) -> None:
    """So they are left alone, and nothing that is not seen counts: ECR shows neither, or answers nobody."""
    locked = [aws.ecr.push(REPOSITORY, failure="ImageInaccessible") for _ in range(2)]
    by_tag = detail("c", imageTags=[locked[1].replace(":", "-")])
    listed = page(detail("b", subjectManifestDigest=locked[0]), by_tag, detail("d"))
    parts = [page(detail("a"), then="1"), page(), listed, page()]
    refusals = [refused("AccessDeniedException")]
    for operation, plays in (("BatchGetImage", refusals), ("DescribeImages", [*parts, *refusals])):
        aws.plays["DescribeImages"] = list(parts)
        aws.plays[operation] = list(plays)
        with one_after_the_other():
            assert {image.digest for image in list_images(repository)} == {"a", "d"}
        aws.plays.clear()


def test_nobody_looks_for_what_does_not_matter(repository: Repository, aws: ScriptedAWS) -> None:
    """Where tags are removed, and no image: what belongs to what is not asked."""
    aws.ecr.page = 1
    for n in range(3):
        aws.ecr.push(REPOSITORY, f"v{n}", subject="sha256:" + "0" * 64)
    assert len(read_repository(repository, indexes=False, in_parts=True).images) == 3
    assert not aws.asked("BatchGetImage")


def test_as_a_whole_a_repository_is_listed_page_after_page(repository: Repository, aws: ScriptedAWS) -> None:
    """Nothing is missed whose tags come or go meanwhile; indexes are read all the same."""
    aws.ecr.page = 2
    child = aws.ecr.push(REPOSITORY)
    index = aws.ecr.push(REPOSITORY, "v1", children=[child])
    digests = [child, index, *(aws.ecr.push(REPOSITORY, *tags) for tags in ([], ["v2"], []))]
    contents = read_repository(repository)
    assert ([image.digest for image in contents.images], contents.named) == (digests, {index: [child]})
    assert aws.asked("DescribeImages") == [asked_for("ANY", "ANY", token) for token in (None, "2", "4")]


def test_an_image_that_changes_while_it_is_listed_counts_once(repository: Repository, aws: ScriptedAWS) -> None:
    """ECR may name it on two pages; the later one has what is so by then."""
    first = page(detail("a", imageTags=["v1"]), detail("b"), then="1")
    aws.plays["DescribeImages"] = [first, page(), page(detail("c"), detail("a")), page()]
    with one_after_the_other():
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
    "pushed", [1_767_225_600, PUSHED, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "1767225600"]
)
def test_a_time_is_read_in_whichever_form_it_comes(repository: Repository, aws: ScriptedAWS, pushed: object) -> None:
    """ECR sends numbers, some emulators send text; a member that is null does not matter."""
    for more in ({}, {"lastRecordedPullTime": None}):
        aws.plays["DescribeImages"] = [page(detail() | {"imagePushedAt": pushed} | more)]
        assert [(image.pushed, image.pulled) for image in list_images(repository)] == [(PUSHED, None)]


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
        return page(*details, then=None if number == 4 else "more")

    aws.plays["DescribeImages"] = [thousand(0), *(thousand(number) for number in range(5)), page(), page()]
    tracemalloc.start()
    try:
        with one_after_the_other():
            images = list_images(repository)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == count
    assert held / count < 500


def named(repository: Repository) -> dict[str, Any]:
    """What the indexes of a repository name."""
    return {index: digests and list(digests) for index, digests in read_repository(repository).named.items()}


def test_indexes_are_read_a_hundred_in_a_call(repository: Repository, aws: ScriptedAWS) -> None:
    """All digests that each names, whether they are on one page or many, as soon as so many are listed."""
    children = [aws.ecr.push(REPOSITORY) for _ in range(3)]
    indexes = [aws.ecr.push(REPOSITORY, f"v{n}", children=children[n % 3 :]) for n in range(150)]
    expected = {index: children[n % 3 :] for n, index in enumerate(indexes)}
    assert named(repository) == expected
    assert sorted(len(call["imageIds"]) for call in aws.asked("BatchGetImage")) == [50, 100]
    aws.requests.clear()
    aws.ecr.page = 60
    assert named(repository) == expected
    assert sorted(len(call["imageIds"]) for call in aws.asked("BatchGetImage")) == [50, 100]
    [call, *_] = aws.asked("BatchGetImage")
    assert (call["registryId"], call["repositoryName"]) == ("210987654321", REPOSITORY)


def test_indexes_are_not_read_for_whom_they_do_not_matter(repository: Repository, aws: ScriptedAWS) -> None:
    """Then nothing is asked of them."""
    aws.ecr.push(REPOSITORY, children=[aws.ecr.push(REPOSITORY)])
    contents = read_repository(repository, indexes=False)
    assert (len(contents.images), contents.named, len(aws.requests)) == (2, {}, 1)


def test_an_index_that_cannot_be_read_is_none(repository: Repository, aws: ScriptedAWS) -> None:
    """Of no known kind, not shown by ECR, or gone since it was listed; the others of the call are read."""
    child = aws.ecr.push(REPOSITORY)
    odd = aws.ecr.push(REPOSITORY, children=[child], manifest="odd")
    locked = aws.ecr.push(REPOSITORY, children=[child], failure="ImageInaccessible")
    index, gone = aws.ecr.push(REPOSITORY, children=[odd]), "sha256:" + "0" * 64
    listed = [detail(digest, imageManifestMediaType=INDEX) for digest in (odd, locked, gone, index)]
    aws.plays["DescribeImages"] = [page(*listed)]
    assert named(repository) == {odd: None, locked: None, gone: None, index: [odd]}


def test_indexes_that_may_not_be_read_are_none(repository: Repository, aws: ScriptedAWS) -> None:
    """Where ECR refuses for good; where it may yet, a redelivery asks again."""
    index = aws.ecr.push(REPOSITORY, children=[aws.ecr.push(REPOSITORY)])
    aws.plays["BatchGetImage"] = [refused("AccessDeniedException")]
    assert named(repository) == {index: None}
    for play in NOT_NOW:
        aws.plays["BatchGetImage"] = [play]
        with pytest.raises(ServiceUnavailableError):
            read_repository(repository)


def test_a_repository_of_many_pages_is_read_as_a_whole_or_not_at_all(repository: Repository, aws: ScriptedAWS) -> None:
    """Where one of its parts, or an index, cannot be read for now, nothing more is asked."""
    children = [aws.ecr.push(REPOSITORY) for _ in range(20)]
    for n in range(20):
        aws.ecr.push(REPOSITORY, f"v{n}", children=children[n:])
    aws.ecr.page = 2
    for operation, call in (("DescribeImages", 7), ("DescribeImages", 2), ("BatchGetImage", 0)):
        aws.requests.clear()
        aws.plays[operation] = [*[lambda do: do()] * call, refused("ThrottlingException")]
        with pytest.raises(ServiceUnavailableError):
            read_repository(repository)
        asked = len(aws.requests)
        time.sleep(0.02)
        assert len(aws.requests) == asked  # nothing is under way any more


def test_how_far_a_list_came_is_told(repository: Repository, aws: ScriptedAWS) -> None:
    """Where time ran out, so that people know how large the repository is."""
    aws.ecr.page = 2
    for n in range(9):
        aws.ecr.push(REPOSITORY, f"v{n}")
    with one_after_the_other(), pytest.raises(OutOfTimeError, match=r"^time ran out when 4 images were listed$"):
        read_repository(repository._replace(calling=time_for(3)), in_parts=True)


def test_an_index_that_a_response_leaves_out_is_read_again(repository: Repository, aws: ScriptedAWS) -> None:
    """By a redelivery: what a response does not name at all is neither there nor gone."""
    aws.ecr.push(REPOSITORY, children=[aws.ecr.push(REPOSITORY)])
    aws.plays["BatchGetImage"] = [edited(lambda answer: answer | {"images": []})]
    with pytest.raises(ServiceUnavailableError, match=r"^ECR's response leaves out imageDigest=sha256:"):
        read_repository(repository)


def test_every_repository_of_a_registry_is_listed(repository: Repository, aws: ScriptedAWS) -> None:
    """To the last page, in the registry that is meant."""
    aws.ecr.page = 1
    for name in "abc":
        aws.ecr.push(name)
    assert repository_names(repository) == ["a", "b", "c", REPOSITORY]
    assert repository_names(repository._replace(registry_id=None)) == ["a", "b", "c", REPOSITORY]
    registries = [call.get("registryId") for call in aws.asked("DescribeRepositories")]
    assert registries == ["210987654321"] * 4 + [None] * 4
