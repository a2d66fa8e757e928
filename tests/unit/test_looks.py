"""What is there, and what belongs to it: which calls a look makes, and what it makes of their answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from handler.guards import Rules, verdicts
from handler.models import (
    ChunkOutcome,
    DeletionRequest,
    Image,
    ImageFailure,
    ImageId,
    NotNowError,
    Origin,
    RejectedRequestError,
)
from handler.registry import delete_images, find_relatives, looks
from tests.model_ecr import Exceptions, NotThere

WHERE = {"repositoryName": "team/app", "registryId": "210987654321"}
REQUEST = DeletionRequest(
    "r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash", registry_id="210987654321", cascade=True
)
PUSHED = datetime(2026, 1, 1, tzinfo=UTC)


def refusal(code: str, status: int = 400) -> ClientError:
    """ECR's refusal of a call."""
    response: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Call")


class Ecr:
    """A repository of images with tags, manifests and referrers; it remembers each call."""

    exceptions = Exceptions

    def __init__(
        self,
        tags: Mapping[str, Iterable[str]],
        manifests: Mapping[str, Sequence[str] | str] | None = None,
        referrers: Mapping[str, Sequence[str]] | None = None,
        errors: Mapping[str, Exception] | None = None,
    ) -> None:
        self.tags = {digest: list(of) for digest, of in tags.items()}
        self.manifests = manifests or {}
        self.referrers = referrers or {}
        self.errors = errors or {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def called(self, name: str, call: dict[str, Any]) -> None:
        """Every call is about the request's repository, in its registry."""
        self.calls.append((name, {key: value for key, value in call.items() if key not in WHERE}))
        assert {key: call[key] for key in WHERE} == WHERE
        assert 0 < len(call.get("imageIds", "1")) <= 100
        if name in self.errors:
            raise self.errors[name]

    def find(self, image_id: Mapping[str, str]) -> str | None:
        if digest := image_id.get("imageDigest"):
            return digest if digest in self.tags else None
        return next((digest for digest, tags in self.tags.items() if image_id["imageTag"] in tags), None)

    def describe_images(self, **call: Any) -> dict[str, Any]:
        self.called("DescribeImages", call)
        assert call["filter"] == {"imageStatus": "ANY"}
        found = [self.find(image_id) for image_id in call["imageIds"]]
        if None in found:
            raise NotThere
        return {
            "imageDetails": [
                {"imageDigest": digest, "imagePushedAt": PUSHED}
                | ({"imageTags": self.tags[digest]} if self.tags[digest] else {})
                for digest in dict.fromkeys(filter(None, found))
            ]
        }

    def batch_get_image(self, **call: Any) -> dict[str, Any]:
        self.called("BatchGetImage", call)
        images, failures = [], []
        for image_id in call["imageIds"]:
            digest = self.find(image_id)
            if image_id.get("imageTag") == "locked" or digest == LOCKED:
                failures.append({"imageId": image_id, "failureCode": "KmsError", "failureReason": "no key"})
            elif digest is None:
                failures.append({"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "gone"})
            else:
                named = self.manifests.get(digest, ())
                manifest = (
                    named if isinstance(named, str) else json.dumps({"manifests": [{"digest": d} for d in named]})
                )
                images.append({"imageId": image_id | {"imageDigest": digest}, "imageManifest": manifest})
        return {"images": images, "failures": failures}

    def list_image_referrers(self, **call: Any) -> dict[str, Any]:
        """A page holds two; the token says where the next begins."""
        self.called("ListImageReferrers", call)
        assert call["filter"] == {"artifactStatus": "ANY"}
        start = int(call.get("nextToken", 0))
        referrers = self.referrers.get(call["subjectId"]["imageDigest"], ())
        answer: dict[str, Any] = {"referrers": [{"digest": digest} for digest in referrers[start : start + 2]]}
        return answer | ({"nextToken": str(start + 2)} if start + 2 < len(referrers) else {})

    @property
    def names(self) -> list[str]:
        """The calls, in order."""
        return [name for name, _ in self.calls]


def digest(number: int) -> str:
    """One of many."""
    return f"sha256:{number:064x}"


A, B, C, D, E, F = (digest(number) for number in range(10, 16))
LOCKED, GONE = digest(100), digest(101)


def look_up(ecr: Ecr, *image_ids: ImageId) -> dict[ImageId, Image | ImageFailure]:
    """What these ids name."""
    return looks.look_up(ecr, WHERE, image_ids)  # type: ignore[arg-type]  # what it uses of a client


def image(digest: str, *tags: str) -> Image:
    """An image as it is found."""
    return Image(digest, frozenset(tags), PUSHED.timestamp())


def test_a_look_by_tag_by_digest_and_by_both() -> None:
    """Each finds the image with all its tags; one that has both is looked up by its tag, wherever that points now."""
    ecr = Ecr({A: ["v1", "v2"], B: ["v3"], C: []})
    ids = [ImageId(tag="v1"), ImageId(A), ImageId(A, "v2"), ImageId(A, "v3"), ImageId(C)]
    expected = [image(A, "v1", "v2")] * 3 + [image(B, "v3"), image(C)]
    assert look_up(ecr, *ids) == dict(zip(ids, expected, strict=True))
    assert ecr.names == ["DescribeImages"]


def test_an_image_named_twice_is_asked_for_once() -> None:
    """ECR refuses duplicates; by tag and by both is the same question."""
    ecr = Ecr({A: ["v1"]})
    assert look_up(ecr, ImageId(A, "v1"), ImageId(tag="v1"), ImageId(B, "v1")).keys() == {
        ImageId(A, "v1"),
        ImageId(tag="v1"),
        ImageId(B, "v1"),
    }
    ((_, call),) = ecr.calls
    assert call["imageIds"] == [{"imageTag": "v1"}]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_a_look_takes_a_call_for_each_hundred(count: int, sizes: list[int]) -> None:
    """As long as all are there."""
    ecr = Ecr({digest(number): [f"v{number}"] for number in range(count)})
    ids = [ImageId(tag=f"v{n}") if n % 2 else ImageId(digest(n)) for n in range(count)]
    found = look_up(ecr, *ids)
    assert found == {image_id: image(digest(n), f"v{n}") for n, image_id in enumerate(ids)}
    assert [(name, len(call["imageIds"])) for name, call in ecr.calls] == [("DescribeImages", size) for size in sizes]


def test_a_missing_image_costs_the_others_nothing() -> None:
    """DescribeImages refuses the lot, BatchGetImage says which are there, and DescribeImages tells of these."""
    ecr = Ecr({A: ["v1", "v2"], B: []})
    there, missing = [ImageId(tag="v1"), ImageId(A), ImageId(B)], [ImageId(tag="none"), ImageId(GONE), ImageId(A, "v9")]
    assert look_up(ecr, *there, *missing) == {
        there[0]: image(A, "v1", "v2"),
        there[1]: image(A, "v1", "v2"),
        there[2]: image(B),
    }
    assert ecr.names == ["DescribeImages", "BatchGetImage", "DescribeImages"]
    again = [image_id["imageDigest"] for image_id in ecr.calls[-1][1]["imageIds"]]
    assert sorted(again) == [A, B]


def test_only_the_call_with_a_missing_image_is_made_again() -> None:
    """The next hundred are looked up as ever."""
    there = [digest(number) for number in range(200, 350)]
    ecr = Ecr({digest: [] for digest in there})
    assert len(look_up(ecr, ImageId(GONE), *map(ImageId, there))) == 150
    assert ecr.names == ["DescribeImages", "BatchGetImage", "DescribeImages", "DescribeImages"]


def test_where_nothing_is_there_nothing_is_described() -> None:
    """An empty list of ids would mean all images."""
    ecr = Ecr({A: ["v1"]})
    assert look_up(ecr, ImageId(GONE), ImageId(tag="none")) == {}
    assert ecr.names == ["DescribeImages", "BatchGetImage"]


def test_an_image_that_ecr_cannot_show_is_a_failure_of_its_id() -> None:
    """It may be there: to leave it out would say that it is not."""
    ecr = Ecr({A: ["v1"]})
    ids = [ImageId(tag="v1"), ImageId(tag="locked"), ImageId(GONE, "locked")]
    assert look_up(ecr, *ids) == {ids[0]: image(A, "v1")} | {i: ImageFailure(i, "KmsError", "no key") for i in ids[1:]}


LOST = [refusal("ThrottlingException"), refusal("ServerException", 500), ReadTimeoutError(endpoint_url="https://ecr")]


@pytest.mark.parametrize("error", LOST, ids=["throttled", "down", "no answer"])
@pytest.mark.parametrize("call", ["DescribeImages", "BatchGetImage"])
def test_a_look_that_cannot_be_made_deletes_nothing(call: str, error: Exception) -> None:
    """Its first question or its second: this one has no BatchDeleteImage at all, and a redelivery looks again."""
    with pytest.raises(NotNowError):
        guarded(Ecr({A: ["v1"]}, errors={call: error}), ImageId(A, "v1"), ImageId(GONE, "none"))


@pytest.mark.parametrize("call", ["DescribeImages", "BatchGetImage"])
def test_a_look_that_is_denied_fails_all(call: str) -> None:
    """Under ECR's code; one of them it would have let go."""
    ids = [ImageId(A, "v1"), ImageId(GONE, "none")]
    outcome = guarded(Ecr({A: ["v1"]}, errors={call: refusal("AccessDeniedException")}), *ids)
    assert [(failure.image_id, failure.code) for failure in outcome.failures] == [
        (image_id, "AccessDeniedException") for image_id in ids
    ]


def test_an_image_that_vanishes_between_two_questions_is_asked_for_again() -> None:
    """BatchGetImage still saw it: the next delivery begins anew, and the others lose nothing."""
    ecr = Ecr({A: ["v1"], B: ["v2"]})
    get = ecr.batch_get_image

    def vanish(**call: Any) -> dict[str, Any]:
        answer = get(**call)
        del ecr.tags[A]
        return answer

    ecr.batch_get_image = vanish  # type: ignore[method-assign]
    with pytest.raises(NotNowError):
        guarded(ecr, ImageId(A, "v1"), ImageId(B, "v2"), ImageId(GONE, "none"))


def guarded(ecr: Ecr, *image_ids: ImageId) -> ChunkOutcome:
    """What becomes of ids that are compared before they are deleted."""
    request = replace(REQUEST, cascade=None)
    return delete_images(ecr, request, image_ids, partial(verdicts, Rules(), request), begun=None)  # type: ignore[arg-type]  # what it uses of a client


def test_manifests_are_asked_for_in_every_format() -> None:
    """Of Docker and OCI, images and indexes: one that is not accepted would be converted, or refused."""
    ecr = Ecr({A: []})
    looks.get_images(ecr, WHERE, [ImageId(A)])  # type: ignore[arg-type]  # what it uses of a client
    ((_, call),) = ecr.calls
    assert {kind.split("+")[0].removeprefix("application/vnd.") for kind in call["acceptedMediaTypes"]} == {
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v1",
        "docker.distribution.manifest.v2",
        "oci.image.index.v1",
        "oci.image.manifest.v1",
    }


def parents(ecr: Ecr, *image_ids: ImageId) -> dict[str, list[str]]:
    """The relatives of these ids, and whose they are; no failure comes with them."""
    found = find_relatives(ecr, REQUEST, image_ids)  # type: ignore[arg-type]  # what it uses of a client
    assert found.failures == ()
    return {relative: list(of) for relative, of in found.parents.items()}


def failures(ecr: Ecr, *image_ids: ImageId) -> list[tuple[ImageId, str]]:
    """The ids whose relatives cannot be known."""
    found = find_relatives(ecr, REQUEST, image_ids)  # type: ignore[arg-type]  # what it uses of a client
    return [(failure.image_id, failure.code) for failure in found.failures]


def repository(*digests: str) -> dict[str, list[str]]:
    """These images; the first has a tag."""
    return {digest: ["v1"] if digest == A else [] for digest in digests}


@pytest.mark.parametrize("image_id", [ImageId(A), ImageId(tag="v1")])
def test_the_relatives_of_an_index(image_id: ImageId) -> None:
    """Its platform images and their attestations, which it names beside them."""
    ecr = Ecr(repository(A, B, C), {A: [B, C]})
    assert parents(ecr, image_id) == {B: [A], C: [A]}
    assert ecr.names.count("BatchGetImage") == 2


def test_a_plain_image_has_none() -> None:
    """Nor has one that is not there: it is told when it is to be deleted."""
    ecr = Ecr(repository(A))
    assert parents(ecr, ImageId(A), ImageId(tag="none"), ImageId(GONE)) == {}
    assert ecr.names == ["BatchGetImage", "ListImageReferrers"]


def test_indexes_within_indexes() -> None:
    """However deep they nest, each level is asked for once."""
    ecr = Ecr(repository(A, B, C, D, E), {A: [B], B: [C], C: [D, E]})
    assert parents(ecr, ImageId(A)) == {B: [A], C: [B], D: [C], E: [C]}
    assert ecr.names.count("BatchGetImage") == 4


def test_what_refers_to_an_image_belongs_to_it() -> None:
    """Signatures and the like, page for page; those of a platform image and of a signature, too."""
    ecr = Ecr(repository(A, B, C, D, E, F), {A: [B]}, {A: [C, D, E], B: [F]})
    assert parents(ecr, ImageId(A)) == {B: [A], C: [A], D: [A], E: [A], F: [B]}
    tokens = [call.get("nextToken") for name, call in ecr.calls if name == "ListImageReferrers"]
    assert sorted(tokens, key=str) == ["2", None, None, None, None, None, None]
    assert parents(Ecr(repository(A, B, C), {}, {A: [B], B: [C]}), ImageId(A)) == {B: [A], C: [B]}


def test_a_relative_of_two_has_both_as_parents() -> None:
    """It goes only when neither needs it; it is asked for once."""
    ecr = Ecr(repository(A, B, C), {A: [C], B: [C]}, {C: [D]})
    assert parents(ecr, ImageId(A), ImageId(B)) == {C: [A, B], D: [C]}
    asked = [image_id for name, call in ecr.calls if name == "BatchGetImage" for image_id in call["imageIds"]]
    assert asked.count({"imageDigest": C}) == 1


def test_what_an_index_names_may_belong_to_another_image() -> None:
    """A signature of an image that may stay has that as a parent, too; what is asked for has none."""
    ecr = Ecr(repository(A, B, C), {A: [B], B: json.dumps({"subject": {"digest": C}})})
    assert parents(ecr, ImageId(A)) == {B: [A, C]}
    assert parents(ecr, ImageId(B)) == {}


@pytest.mark.parametrize("subject", [None, {}, {"digest": None}, "image", []])
def test_a_subject_that_is_none_is_no_parent(subject: Any) -> None:
    """Whatever a client has pushed."""
    ecr = Ecr(repository(A, B), {A: [B], B: json.dumps({"subject": subject})})
    assert parents(ecr, ImageId(A)) == {B: [A]}


def test_an_image_asked_for_twice_is_read_once() -> None:
    """By tag and by digest it has the same relatives, and they have it as a parent once."""
    assert parents(Ecr(repository(A, B), {A: [B]}), ImageId(tag="v1"), ImageId(A)) == {B: [A]}


def test_manifests_that_name_each_other_come_to_an_end() -> None:
    """No honest client makes them, but a signature of a signature may come close."""
    assert parents(Ecr(repository(A, B), {A: [B]}, {B: [A]}), ImageId(A)) == {B: [A], A: [B]}


def test_more_relatives_than_a_call_takes() -> None:
    """A hundred at a time."""
    children = [digest(number) for number in range(1_000, 1_250)]
    ecr = Ecr(repository(A, *children), {A: children})
    assert parents(ecr, ImageId(A)) == {child: [A] for child in children}
    sizes = [len(call["imageIds"]) for name, call in ecr.calls if name == "BatchGetImage"]
    assert sizes == [1, 100, 100, 50]


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{",
        "[]",
        "null",
        "17",
        '"text"',
        '{"manifests": null}',
        '{"manifests": [{}]}',
        '{"manifests": ["sha256:1"]}',
    ],
)
@pytest.mark.parametrize("unreadable", [A, C])
def test_a_manifest_that_cannot_be_read_fails_all(unreadable: str, manifest: str) -> None:
    """Of the ids that are asked together: what belongs to which is not known, so nothing goes."""
    ecr = Ecr(repository(A, B, C), {A: [C], unreadable: manifest})
    ids = [ImageId(B), ImageId(tag="v1")]
    found = find_relatives(ecr, REQUEST, ids)  # type: ignore[arg-type]  # what it uses of a client
    assert found.parents == {}
    assert [(f.image_id, f.code) for f in found.failures] == [(i, "UnreadableIndex") for i in ids]
    assert all(f"ECR's manifest of {unreadable} is of no kind we know" in f.reason for f in found.failures)


def test_an_image_that_cannot_be_read_is_a_failure() -> None:
    """Asked for or belonging to one that is; the others' relatives are known."""
    ecr = Ecr(repository(A, B, LOCKED), {A: [B, LOCKED]})
    assert failures(ecr, ImageId(A)) == [(ImageId(LOCKED), "KmsError")]
    assert failures(ecr, ImageId(tag="locked"), ImageId(B)) == [(ImageId(tag="locked"), "KmsError")]


CALLS = ["BatchGetImage", "ListImageReferrers"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"),
        refusal("TooManyRequestsException", 429),
        refusal("ServerException", 500),
        EndpointConnectionError(endpoint_url="https://ecr"),
        ReadTimeoutError(endpoint_url="https://ecr"),
    ],
    ids=["throttled", "too many", "down", "not reached", "no answer"],
)
def test_relatives_that_cannot_be_known_now(call: str, error: Exception) -> None:
    """To look has no effect, so a redelivery looks again, also when only the answer was lost."""
    with pytest.raises(NotNowError):
        failures(Ecr(repository(A, B), {A: [B]}, errors={call: error}), ImageId(A))


@pytest.mark.parametrize("call", CALLS)
def test_relatives_that_may_not_be_known_fail_all(call: str) -> None:
    """A refusal that no redelivery cures is told under ECR's code, and nothing goes."""
    ecr = Ecr(repository(A, B), {A: [B]}, errors={call: refusal("AccessDeniedException")})
    assert failures(ecr, ImageId(A), ImageId(tag="none")) == [
        (ImageId(A), "AccessDeniedException"),
        (ImageId(tag="none"), "AccessDeniedException"),
    ]


@pytest.mark.parametrize(("count", "fits"), [(2_000, True), (2_001, False)])
def test_more_relatives_than_can_be_remembered(count: int, fits: bool) -> None:  # noqa: FBT001
    """The request is refused before anything is deleted, and told to ask for fewer."""
    children = [digest(number) for number in range(1_000, 1_000 + count)]
    ecr = Ecr(repository(A, *children), {A: children})
    if fits:
        assert len(parents(ecr, ImageId(A))) == count
    else:
        with pytest.raises(RejectedRequestError, match=r"^request\.cascade: .*more than 2,000 others; ask for fewer"):
            parents(ecr, ImageId(A))
        assert ecr.names.count("BatchGetImage") == 1
