"""Look-ups: which calls they make, and what they make of the responses."""

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from handler.models.errors import RefusedLookUpError, ServiceUnavailableError
from handler.models.images import Image, ImageFailure, ImageId
from handler.registry import Repository, look_up
from handler.registry.lookup import get_manifests
from tests.fakes.scripted import URL, Play, ScriptedAWS, broken, cut_short, edited, refused

REPOSITORY = "team/app"
GONE = "sha256:" + "0" * 64


def image(aws: ScriptedAWS, digest: str) -> Image:
    """An image as a look-up finds it: of its push, whole seconds."""
    there = aws.ecr.repositories[REPOSITORY][digest]
    pushed, status = float(int(there.pushed)), there.current_status()
    return Image(digest, frozenset(there.tags), pushed, size=there.size, status=status, archived=there.archived)


def test_an_image_is_found_by_tag_by_digest_and_by_both(repository: Repository, aws: ScriptedAWS) -> None:
    """With all its tags; an id that has both is looked up by its tag, wherever that is now. One call is enough."""
    one, other, untagged = (
        aws.ecr.push(REPOSITORY, "v1", "v2"),
        aws.ecr.push(REPOSITORY, "v3"),
        aws.ecr.push(REPOSITORY, status="ARCHIVED", archived=1e9),
    )
    ids = [ImageId(tag="v1"), ImageId(one), ImageId(one, "v2"), ImageId(one, "v3"), ImageId(untagged)]
    digests = [one, one, one, other, untagged]
    assert look_up(repository, ids) == {i: image(aws, digest) for i, digest in zip(ids, digests, strict=True)}
    assert aws.operations == ["DescribeImages"]
    assert (aws.requests[0][1]["registryId"], aws.requests[0][1]["repositoryName"]) == ("210987654321", REPOSITORY)


def test_an_image_that_is_named_twice_is_asked_for_once(repository: Repository, aws: ScriptedAWS) -> None:
    """By tag, and by tag and digest, is the same question."""
    digest = aws.ecr.push(REPOSITORY, "v1")
    ids = {ImageId(digest, "v1"), ImageId(tag="v1"), ImageId(GONE, "v1")}
    assert look_up(repository, list(ids)).keys() == ids
    [call] = aws.asked("DescribeImages")
    assert call["imageIds"] == [{"imageTag": "v1"}]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_a_look_up_takes_a_call_for_each_hundred(
    repository: Repository, aws: ScriptedAWS, count: int, sizes: list[int]
) -> None:
    """As long as all are there."""
    digests = [aws.ecr.push(REPOSITORY, f"v{n}") for n in range(count)]
    ids = [ImageId(tag=f"v{n}") if n % 2 else ImageId(digest) for n, digest in enumerate(digests)]
    assert look_up(repository, ids) == {i: image(aws, digest) for i, digest in zip(ids, digests, strict=True)}
    assert [len(call["imageIds"]) for call in aws.asked("DescribeImages")] == sizes


def test_a_missing_image_costs_the_others_nothing(repository: Repository, aws: ScriptedAWS) -> None:
    """DescribeImages refuses the lot, BatchGetImage says which are there, and DescribeImages describes these.

    Whatever cannot be pulled may be in the archive: one or two are described singly, more are sought in a list.
    """
    tagged, untagged = aws.ecr.push(REPOSITORY, "v1", "v2"), aws.ecr.push(REPOSITORY)
    there, missing = [ImageId(tag="v1"), ImageId(untagged)], [ImageId(tag="none"), ImageId(GONE), ImageId(GONE, "v9")]
    assert look_up(repository, [*there, *missing]) == {
        there[0]: image(aws, tagged),
        there[1]: image(aws, untagged),
    }
    assert aws.operations == ["DescribeImages", "BatchGetImage", *["DescribeImages"] * 3]
    assert [call["filter"]["imageStatus"] for call in aws.asked("DescribeImages")][1:] == [
        "ARCHIVED",
        "ACTIVATING",
        "ANY",
    ]
    assert look_up(repository, missing[:2]) == {}  # an empty list of ids would mean all images
    assert aws.operations[5:] == ["DescribeImages", "BatchGetImage", "DescribeImages", "DescribeImages"]
    assert look_up(repository, missing[:1]) == {}
    assert aws.operations[9:] == ["DescribeImages"]


def test_only_the_hundred_with_a_missing_image_are_looked_up_again(repository: Repository, aws: ScriptedAWS) -> None:
    """The next hundred take one call as ever."""
    digests = [aws.ecr.push(REPOSITORY) for _ in range(150)]
    assert len(look_up(repository, [ImageId(GONE), *map(ImageId, digests)])) == 150
    assert aws.operations == ["DescribeImages", "BatchGetImage", *["DescribeImages"] * 3]


def test_an_image_that_ecr_cannot_show_is_a_failure_of_its_id(repository: Repository, aws: ScriptedAWS) -> None:
    """It may be there: to leave it out would say that it is not."""
    digest, locked = aws.ecr.push(REPOSITORY, "v1"), aws.ecr.push(REPOSITORY, "locked", failure="KmsError")
    ids = [ImageId(digest), ImageId(tag="locked"), ImageId(locked, "locked"), ImageId(GONE)]
    assert look_up(repository, ids) == {
        ids[0]: image(aws, digest),
        ids[1]: ImageFailure(ids[1], "KmsError", "The manifest cannot be shown"),
        ids[2]: ImageFailure(ids[2], "KmsError", "The manifest cannot be shown"),
    }


def test_images_that_go_while_they_are_looked_up_are_left_out(repository: Repository, aws: ScriptedAWS) -> None:
    """The chunks beside may be deleting them: it is asked again which are there, five times at most."""
    digests = [aws.ecr.push(REPOSITORY) for _ in range(8)]
    ids = [ImageId(GONE), *map(ImageId, digests)]

    def one_goes(answer: dict[str, Any]) -> dict[str, Any]:
        del aws.ecr.repositories[REPOSITORY][digests.pop()]
        return answer

    aws.plays["BatchGetImage"] = [edited(one_goes)] * 3
    assert look_up(repository, ids).keys() == set(map(ImageId, digests))
    assert len(digests) == 5

    aws.plays["BatchGetImage"] = [edited(one_goes)] * 5
    with pytest.raises(ServiceUnavailableError, match=r"^images went away while they were looked up, again and again$"):
        look_up(repository, ids)


def without(member: str) -> Play:
    """The response lacks a member."""
    return edited(lambda answer: {key: value for key, value in answer.items() if key != member})


def first_without(members: str, member: str) -> Play:
    """The first entry of a list lacks a member."""

    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        answer[members][0].pop(member)
        return answer

    return edited(edit)


def leaves_out(members: str) -> Play:
    """A list lacks its first entry."""
    return edited(lambda answer: answer | {members: answer[members][1:]})


LOST: dict[str, tuple[str, Play]] = {
    "throttled": ("DescribeImages", refused("ThrottlingException")),
    "a description cut short": ("DescribeImages", cut_short),
    "no descriptions": ("DescribeImages", without("imageDetails")),
    "a description left out": ("DescribeImages", leaves_out("imageDetails")),
    "throttled, to know which are there": ("BatchGetImage", refused("ThrottlingException")),
    "down": ("DescribeImages", refused("ServerException", 500)),
    "no response": ("BatchGetImage", broken(ReadTimeoutError(endpoint_url=URL))),
    "cut short": ("BatchGetImage", cut_short),
    "no images": ("BatchGetImage", without("images")),
    "no failures": ("BatchGetImage", without("failures")),
    "an image without its manifest": ("BatchGetImage", first_without("images", "imageManifest")),
    "an image left out": ("BatchGetImage", leaves_out("images")),
    "a failure left out": ("BatchGetImage", leaves_out("failures")),
}


@pytest.mark.parametrize(("operation", "play"), LOST.values(), ids=LOST)
def test_half_a_response_is_none(repository: Repository, aws: ScriptedAWS, operation: str, play: Play) -> None:
    """A redelivery makes the look-up again: nothing is decided on a response that does not name every id."""
    ids = [ImageId(aws.ecr.push(REPOSITORY, "v1")), ImageId(aws.ecr.push(REPOSITORY, "v2"))]
    if operation == "BatchGetImage":  # which is asked only where an image is missing
        ids.append(ImageId(tag="none"))
    aws.plays[operation] = [play]
    with pytest.raises(ServiceUnavailableError):
        look_up(repository, ids)


@pytest.mark.parametrize("operation", ["DescribeImages", "BatchGetImage"])
def test_a_look_up_that_is_refused_for_good_is_data(repository: Repository, aws: ScriptedAWS, operation: str) -> None:
    """Under ECR's code, for whatever it was about."""
    ids = [ImageId(aws.ecr.push(REPOSITORY, "v1")), ImageId(tag="none")]
    aws.plays[operation] = [refused("AccessDeniedException")]
    with pytest.raises(RefusedLookUpError, match=r"^AccessDeniedException: why$") as raised:
        look_up(repository, ids)
    assert (raised.value.code, raised.value.reason) == ("AccessDeniedException", "why")


def test_manifests_are_asked_for_in_every_format(repository: Repository, aws: ScriptedAWS) -> None:
    """Of Docker and OCI, images and indexes: one that is not accepted would be converted, or refused."""
    get_manifests(repository, [ImageId(aws.ecr.push(REPOSITORY))])
    [call] = aws.asked("BatchGetImage")
    assert {kind.split("+")[0].removeprefix("application/vnd.") for kind in call["acceptedMediaTypes"]} == {
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v1",
        "docker.distribution.manifest.v2",
        "oci.image.index.v1",
        "oci.image.manifest.v1",
    }
