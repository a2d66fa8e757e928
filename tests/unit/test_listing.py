"""What a whole repository holds, as ECR lists it: page by page, with what it leaves out, and small in memory."""

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from handler.models import DeletionRequest, ListedImage, NotNowError, Origin, OutOfTimeError
from handler.registry import RepositoryError, list_images, read_indexes, repository_names

type Json = dict[str, Any]

REQUEST = DeletionRequest("r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash")
ELSEWHERE = DeletionRequest("r-1", "team/app", (), REQUEST.origin, "hash", registry_id="210987654321")
PUSHED = datetime(2026, 1, 1, tzinfo=UTC)
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE = "application/vnd.oci.image.manifest.v1+json"


class Ecr:
    """An ECR that gives the answers it is given, one after another, and remembers what it was asked."""

    def __init__(self, *answers: Json | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Json] = []

    def describe_images(self, **call: Any) -> Json:
        self.asked.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    batch_get_image = describe_images

    def get_paginator(self, operation: str) -> "Ecr":
        assert operation == "describe_repositories"
        return self

    def paginate(self, **call: Any) -> Iterator[Json]:
        while self.answers:
            yield self.describe_images(**call)


def page(*details: Json, more: str | None = None) -> Json:
    """A page of the list."""
    return {"imageDetails": list(details)} | ({"nextToken": more} if more else {})


def detail(digest: str = "a", **more: Any) -> Json:
    """The least that ECR says of an image."""
    return {"imageDigest": digest, "imagePushedAt": PUSHED, **more}


def listed(*answers: Json | Exception, request: DeletionRequest = REQUEST) -> tuple[list[ListedImage], list[Json]]:
    """What is made of these answers, and what was asked."""
    ecr = Ecr(*answers)
    return list_images(ecr, request, lambda: None), ecr.asked  # type: ignore[arg-type]  # what it uses of a client


def error(code: str, status: int = 400) -> ClientError:
    """An error of the whole call."""
    response: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "DescribeImages")


TROUBLES = [
    error("ThrottlingException"),
    error("ServerException", 500),
    ConnectTimeoutError(endpoint_url="e"),
    ReadTimeoutError(endpoint_url="e"),
]
"""Those that a redelivery may cure; as nothing is done by looking, an answer that is lost is one of them."""


def test_a_repository_is_listed_a_thousand_at_a_time() -> None:
    """In the request's registry, to the last page, tagged or not, archived ones too."""
    images, asked = listed(page(detail("a"), more="1"), page(more="2"), page(detail("b")), request=ELSEWHERE)
    assert [image.digest for image in images] == ["a", "b"]
    call = {
        "registryId": "210987654321",
        "repositoryName": "team/app",
        "maxResults": 1_000,
        "filter": {"tagStatus": "ANY", "imageStatus": "ANY"},
    }
    assert asked == [call, {**call, "nextToken": "1"}, {**call, "nextToken": "2"}]


def test_all_that_is_told_of_an_image() -> None:
    """Times as seconds since the epoch."""
    full = detail(
        imageTags=["v1", "v2"],
        imageSizeInBytes=5,
        imageManifestMediaType=INDEX,
        lastRecordedPullTime=datetime(2026, 1, 2, tzinfo=UTC),
        subjectManifestDigest="b",
        imageStatus="ARCHIVED",
    )
    [image], _ = listed(page(full))
    pushed = PUSHED.timestamp()
    assert image == ListedImage(
        digest="a",
        tags=("v1", "v2"),
        pushed=pushed,
        pulled=pushed + 86_400,
        size=5,
        is_index=True,
        subject="b",
        active=False,
    )


def test_what_is_not_told_of_an_image() -> None:
    """Then it has no tags, was never pulled, refers to nothing, and is there."""
    [image], _ = listed(page(detail()))
    assert image == ListedImage(
        digest="a", tags=(), pushed=PUSHED.timestamp(), pulled=None, size=0, is_index=False, subject=None, active=True
    )


@pytest.mark.parametrize(
    ("media_type", "index"), [(INDEX, True), (MANIFEST_LIST, True), (IMAGE, False), ("odd", False)]
)
def test_what_may_name_others_is_an_index(media_type: str, index: bool) -> None:  # noqa: FBT001
    """By its media type: Docker's and OCI's."""
    [image], _ = listed(page(detail(imageManifestMediaType=media_type)))
    assert image.is_index is index


@pytest.mark.parametrize(("status", "active"), [("ACTIVE", True), ("ARCHIVED", False), ("ACTIVATING", False)])
def test_an_image_that_is_archived_is_not_active(status: str, active: bool) -> None:  # noqa: FBT001
    """Nor is one that is on its way out of the archive."""
    [image], _ = listed(page(detail(imageStatus=status)))
    assert image.active is active


def test_the_time_is_looked_at_before_each_page() -> None:
    """What stops the listing is raised, and no further page is asked for."""
    ecr = Ecr(page(detail("a"), more="1"), page(detail("b"), more="2"))

    def between_pages() -> None:
        if len(ecr.asked) == 2:
            raise OutOfTimeError("no time")

    with pytest.raises(OutOfTimeError):
        list_images(ecr, REQUEST, between_pages)  # type: ignore[arg-type]  # what it uses of a client
    assert len(ecr.asked) == 2


@pytest.mark.parametrize("pages", [0, 1])
def test_a_list_that_cannot_be_had_now(pages: int) -> None:
    """Throttled, failed or not reached, on the first page or a later one: a redelivery may succeed."""
    for trouble in TROUBLES:
        with pytest.raises(NotNowError):
            listed(*[page(detail(), more="1")] * pages, trouble)


def test_a_list_that_is_refused_for_good() -> None:
    """Under ECR's code, with its reason."""
    with pytest.raises(RepositoryError, match=r"^RepositoryNotFoundException: why$") as refused:
        listed(page(detail(), more="1"), error("RepositoryNotFoundException"))
    assert (refused.value.code, refused.value.reason) == ("RepositoryNotFoundException", "why")


def test_an_image_in_memory_is_small() -> None:
    """100,000 of them, with a digest and a tag of their own, take well under 100 MB of the function's memory."""
    count, pages = 5_000, 5

    def answers(number: int) -> Json:
        each = range(number * 1_000, (number + 1) * 1_000)
        details = [detail(f"sha256:{n:064}", imageTags=[f"v{n}"], imageManifestMediaType=IMAGE) for n in each]
        return page(*details, more=str(number) if number < pages - 1 else None)

    class Pages(Ecr):
        def describe_images(self, **_: Any) -> Json:
            self.asked.append({})
            return answers(len(self.asked) - 1)

    tracemalloc.start()
    try:
        images = list_images(Pages(), REQUEST, lambda: None)  # type: ignore[arg-type]  # what it uses of a client
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == count
    assert held / count < 400


# Indexes.


def manifests(**found: str) -> Json:
    """An answer with these manifests, by digest."""
    images = [{"imageId": {"imageDigest": digest}, "imageManifest": text} for digest, text in found.items()]
    return {"images": images, "failures": []}


def read(answer: Json | Exception, *digests: str) -> Mapping[str, Any]:
    """What the indexes name, by this answer."""
    return read_indexes(Ecr(answer), REQUEST, digests)  # type: ignore[arg-type]  # what it uses of a client


def test_an_index_is_read() -> None:
    """All digests it names, in one call for all of them."""
    text = json.dumps({"manifests": [{"digest": "b", "size": 1}, {"digest": "c"}]})
    ecr = Ecr(manifests(a=text, d='{"manifests": []}'))
    found = read_indexes(ecr, ELSEWHERE, ["a", "d"])  # type: ignore[arg-type]  # what it uses of a client
    assert found == {"a": ["b", "c"], "d": []}
    [call] = ecr.asked
    assert (call["registryId"], call["repositoryName"]) == ("210987654321", "team/app")
    assert call["imageIds"] == [{"imageDigest": "a"}, {"imageDigest": "d"}]
    assert {INDEX, MANIFEST_LIST} <= set(call["acceptedMediaTypes"])


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "7", '{"manifests": 7}', '{"manifests": null}', '{"manifests": [{}]}']
)
def test_an_index_of_no_known_kind_is_unread(text: str) -> None:
    """What it names cannot be known."""
    assert read(manifests(a=text, b='{"manifests": []}'), "a", "b") == {"a": None, "b": []}


def test_an_index_that_ecr_does_not_show_is_unread() -> None:
    """Whatever its reason; the others of the call are read."""
    failure = {"imageId": {"imageDigest": "a"}, "failureCode": "ImageInaccessible", "failureReason": "why"}
    assert read(manifests(b='{"manifests": []}') | {"failures": [failure]}, "a", "b") == {"a": None, "b": []}


def test_indexes_that_may_not_be_read_are_unread() -> None:
    """Where ECR refuses for good; where it may yet, it is asked again on the next delivery."""
    assert read(error("AccessDeniedException"), "a", "b") == {"a": None, "b": None}
    for trouble in TROUBLES:
        with pytest.raises(NotNowError):
            read(trouble, "a")


# Repositories.


def repositories(*answers: Json | Exception, registry_id: str | None = None) -> tuple[list[str], list[Json]]:
    """Their names by these pages, and what was asked."""
    ecr = Ecr(*answers)
    return repository_names(ecr, registry_id), ecr.asked  # type: ignore[arg-type]  # what it uses of a client


def test_every_repository_is_named() -> None:
    """Page by page, in the registry that is meant."""
    pages = [{"repositories": [{"repositoryName": name} for name in names]} for names in ("ab", "", "c")]
    assert repositories(*pages, registry_id="210987654321") == (["a", "b", "c"], [{"registryId": "210987654321"}] * 3)
    assert repositories(*pages)[1] == [{}] * 3


def test_repositories_that_cannot_be_listed() -> None:
    """For now, or for good."""
    for trouble in TROUBLES:
        with pytest.raises(NotNowError):
            repositories({"repositories": []}, trouble)
    with pytest.raises(RepositoryError, match=r"^AccessDeniedException: why$"):
        repositories(error("AccessDeniedException"))
