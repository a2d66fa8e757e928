"""Images into the archive and back: one call for each, several at a time, and what became of each."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from handler.models.errors import OutOfTimeError, ServiceUnavailableError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.images import Image, ImageFailure, ImageId, LookUp
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Action
from handler.registry import Repository
from handler.registry.storage_class import Ledger, change_storage_class
from tests.fakes.scripted import ScriptedAWS, answered, edited, lost, refused, time_for

REPOSITORY = "team/app"
OPERATION = "UpdateImageStorageClass"


def change(
    repository: Repository,
    *image_ids: ImageId,
    action: Action = "archive",
    refuses: Sequence[ImageId] = (),
    dry_run: bool = False,
    remember: Any = lambda _: None,
) -> ChunkOutcome:
    """Archives or restores images, but those that a guard refuses."""

    def guard(asked: Sequence[ImageId], _: LookUp) -> dict[ImageId, ImageFailure]:
        return {image_id: ImageFailure(image_id, "ProtectedTag", "no") for image_id in asked if image_id in refuses}

    return change_storage_class(repository, image_ids, guard, action=action, dry_run=dry_run, ledger=Ledger(remember))


def failed(outcome: ChunkOutcome) -> dict[ImageId, str]:
    """Returns the failure codes by id."""
    return {failure.image_id: failure.code for failure in outcome.failures}


def test_each_image_is_a_call_by_its_digest(repository: Repository, aws: ScriptedAWS) -> None:
    """After one look-up for all; by digest, for botocore may repeat a call, and a tag may have moved by then."""
    digests = [aws.ecr.push(REPOSITORY, f"v{n}", size=n) for n in range(5)]
    outcome = change(repository, *(ImageId(tag=f"v{n}") for n in range(5)))
    assert outcome == ChunkOutcome(tuple(ImageId(d, f"v{n}") for n, d in enumerate(digests)), bytes=10)
    assert len(aws.asked("DescribeImages")) == 1
    assert sorted(str(call["imageId"]) for call in aws.asked(OPERATION)) == [str({"imageDigest": d}) for d in digests]
    assert {call["targetStorageClass"] for call in aws.asked(OPERATION)} == {"ARCHIVE"}
    assert aws.asked(OPERATION)[0]["registryId"] == "210987654321"


def test_what_is_there_is_not_asked_for(repository: Repository, aws: ScriptedAWS) -> None:
    """What is on its way out of the archive is restored already. A guard may see to it that it is what was meant."""
    there, away = aws.ecr.push(REPOSITORY), aws.ecr.push(REPOSITORY, status="ARCHIVED", archived=1e9)
    coming = aws.ecr.push(REPOSITORY, status="ACTIVATING", activated=time.time() + 600)
    ids = [ImageId(there), ImageId(away), ImageId(coming)]
    outcome = change(repository, ids[1])
    assert (outcome.image_ids, outcome.bytes) == ((ids[1],), 0)
    assert failed(change(repository, ids[1], refuses=ids)) == {ids[1]: "ProtectedTag"}
    outcome = change(repository, ids[0], ids[2], action="restore")
    assert (outcome.image_ids, outcome.bytes, outcome.activating) == ((ids[0], ids[2]), 0, 1)
    assert aws.asked(OPERATION) == []


def test_two_names_of_an_image_are_one_call(repository: Repository, aws: ScriptedAWS) -> None:
    """And both are done, or both have failed."""
    digest = aws.ecr.push(REPOSITORY, "v1", size=7)
    ids = (ImageId(digest), ImageId(tag="v1"), ImageId(digest, "v1"))
    assert change(repository, *ids) == ChunkOutcome((ImageId(digest), *[ImageId(digest, "v1")] * 2), bytes=7)
    assert len(aws.asked(OPERATION)) == 1


def test_an_id_that_means_nothing_costs_only_itself(repository: Repository, aws: ScriptedAWS) -> None:
    """One that is not there, one whose tag has moved, one that a guard refuses."""
    digest, other = aws.ecr.push(REPOSITORY, "v1"), aws.ecr.push(REPOSITORY, "v2")
    ids = (ImageId(tag="v1"), ImageId(tag="gone"), ImageId(digest, "v2"), ImageId(other))
    outcome = change(repository, *ids, refuses=[ids[3]])
    assert outcome.image_ids == (ImageId(digest, "v1"),)
    assert failed(outcome) == {ids[1]: "ImageNotFound", ids[2]: "ImageTagDoesNotMatchDigest", ids[3]: "ProtectedTag"}


def test_a_dry_run_says_what_would_be_changed(repository: Repository, aws: ScriptedAWS) -> None:
    """And how large it is; nothing is asked for, and nothing remembered."""
    digest = aws.ecr.push(REPOSITORY, size=7)
    outcome = change(repository, ImageId(digest), dry_run=True, remember=pytest.fail)
    assert outcome == ChunkOutcome((ImageId(digest),), bytes=7)
    assert aws.asked(OPERATION) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ImageStorageClassUpdateNotSupportedException", "ImageStorageClassUpdateNotSupportedException"),
        ("ImageNotFoundException", "ImageNotFound"),
        ("AccessDeniedException", "AccessDeniedException"),
    ],
)
def test_what_ecr_refuses_is_the_failure_of_the_image(
    repository: Repository, aws: ScriptedAWS, code: str, expected: str
) -> None:
    """The others are changed."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(3)]
    aws.plays[OPERATION] = [refused(code)]
    outcome = change(repository, *ids)
    assert (len(outcome.image_ids), [*failed(outcome).values()]) == (2, [expected])


def test_an_unexpected_status_is_a_failure(repository: Repository, aws: ScriptedAWS) -> None:
    """Nobody says that an image is archived which ECR says is active."""
    digest = aws.ecr.push(REPOSITORY)
    aws.plays[OPERATION] = [edited(lambda answer: answer | {"imageStatus": "ACTIVE"})]
    assert failed(change(repository, ImageId(digest))) == {ImageId(digest): "Unanswered"}


@pytest.mark.parametrize("play", [refused("ThrottlingException"), answered({})])
def test_what_came_in_between_leaves_the_image_for_later(repository: Repository, aws: ScriptedAWS, play: Any) -> None:
    """The others are done, and nothing is lost: the next try looks where the image is."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(3)]
    aws.plays[OPERATION] = [play] * 2
    outcome = change(repository, *ids)
    assert [*failed(outcome).values()] == ["Unfinished"] * 2
    assert {i.digest for i in outcome.image_ids} | {i.digest for i in failed(outcome)} == {i.digest for i in ids}
    assert failed(change(repository, *ids)) == {}


@pytest.mark.parametrize(
    ("play", "error"),
    [(refused("ThrottlingException"), ServiceUnavailableError), (answered({}), UnknownOutcomeError)],
)
def test_where_nothing_is_done_that_is_raised(
    repository: Repository, aws: ScriptedAWS, play: Any, error: type[UnfinishedRequestError]
) -> None:
    """A redelivery tries it again."""
    digest = aws.ecr.push(REPOSITORY)
    aws.plays[OPERATION] = [play] * 20
    with pytest.raises(error):
        change(repository, ImageId(digest))


@pytest.mark.parametrize(
    "play", [lost(), edited(lambda _: {}), refused("ImageStorageClassUpdateNotSupportedException")], ids=range(3)
)
def test_what_is_done_all_the_same_is_done(repository: Repository, aws: ScriptedAWS, play: Any) -> None:
    """An answer that was lost is looked for; and ECR may refuse what it has done before botocore asks again."""
    digest = aws.ecr.push(REPOSITORY)

    def done(do: Any) -> Any:
        do()
        return play(do)

    aws.plays[OPERATION] = [done]
    assert change(repository, ImageId(digest)).image_ids == (ImageId(digest),)


def test_it_looks_at_the_clock_before_each_call(repository: Repository, aws: ScriptedAWS) -> None:
    """What does not fit is left, and said to be."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(30)]
    outcome = change(repository._replace(calling=time_for(11)), *ids)
    assert (len(outcome.image_ids), [*failed(outcome).values()]) == (10, ["Unfinished"] * 20)
    with pytest.raises(OutOfTimeError):
        change(repository._replace(calling=time_for(1)), *failed(outcome))


def test_an_image_is_remembered_before_ecr_is_asked(repository: Repository, aws: ScriptedAWS) -> None:
    """One that cannot be remembered is not archived."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(2)]

    def remember(image: Image) -> None:
        assert image.digest not in {call["imageId"]["imageDigest"] for call in aws.asked(OPERATION)}
        if image.digest == ids[0].digest:
            raise ServiceUnavailableError("no")

    assert failed(change(repository, *ids, remember=remember)) == {ids[0]: "Unfinished"}
    assert [call["imageId"]["imageDigest"] for call in aws.asked(OPERATION)] == [ids[1].digest]


def test_a_look_up_that_is_refused_fails_each(repository: Repository, aws: ScriptedAWS) -> None:
    """Nothing is changed on doubt."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(2)]
    aws.plays["DescribeImages"] = [refused("AccessDeniedException")]
    assert failed(change(repository, *ids)) == dict.fromkeys(ids, "AccessDeniedException")
    assert aws.asked(OPERATION) == []
