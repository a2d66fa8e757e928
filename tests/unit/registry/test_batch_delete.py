"""One chunk, one call to ECR, and what became of each id: whatever the answer, and however often it is lost."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from handler.models.errors import OutOfTimeError, ServiceUnavailableError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.images import Guard, ImageFailure, ImageId, LookUp, ids_of
from handler.models.limits import STORED_BYTES
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Effect
from handler.registry import Repository, delete_images
from tests.fakes.clients import Clients
from tests.fakes.execution import UNHURRIED
from tests.fakes.scripted import URL, Play, ScriptedAWS, answered, broken, cut_short, edited, lost, refused, time_for
from tests.values import LOG, names_one

REPOSITORY = "team/app"
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
TAG, DIGEST, BOTH = ImageId(tag="v1"), ImageId(A), ImageId(A, "v1")
REFUSED = ("ImageReferencedByManifestList", "why")
DOUBT = "; an earlier try, whose answer was lost, may have deleted it"
HOUR = 3_600


def anything(*_: object) -> dict[ImageId, ImageFailure]:
    """A guard that lets everything go."""
    return {}


def delete(
    repository: Repository,
    *image_ids: ImageId,
    guard: Guard = anything,
    effect: Effect = "delete",
    since: float | None = None,
) -> ChunkOutcome:
    """Deletes these ids; `since` is when an earlier try began whose outcome is not known."""
    return delete_images(repository, image_ids, guard, LOG, effect=effect, first_attempt_at=since)


def failure(image_id: Mapping[str, object], code: str = "ImageNotFound") -> dict[str, Any]:
    """A failure as ECR says it."""
    return {"imageId": image_id, "failureCode": code, "failureReason": "why"}


def codes(outcome: ChunkOutcome) -> list[tuple[ImageId, str]]:
    """The failures without their reasons."""
    return [(failed.image_id, failed.code) for failed in outcome.failures]


ANSWERS: dict[str, tuple[list[ImageId], list[dict[str, str]], list[dict[str, Any]], list[tuple[str, str] | None]]] = {
    "deleted by tag": ([TAG], [{"imageDigest": A, "imageTag": "v1"}], [], [None]),
    "deleted by digest, an entry per tag": (
        [DIGEST],
        [{"imageDigest": A, "imageTag": "v1"}, {"imageDigest": A, "imageTag": "v2"}],
        [],
        [None],
    ),
    "deleted by digest, untagged": ([DIGEST], [{"imageDigest": A}], [], [None]),
    "deleted by both": ([BOTH], [{"imageDigest": A, "imageTag": "v1"}], [], [None]),
    "deleted by both, named by digest": ([BOTH], [{"imageDigest": A}], [], [None]),
    "deleted, named by tag alone": ([TAG], [{"imageTag": "v1"}], [], [None]),
    "two ids, one image": ([TAG, DIGEST], [{"imageDigest": A, "imageTag": "v1"}, {"imageDigest": A}], [], [None] * 2),
    "failed": ([TAG], [], [failure({"imageTag": "v1"})], [("ImageNotFound", "why")]),
    "failed by both": ([BOTH], [], [failure({"imageDigest": A, "imageTag": "v1"}, REFUSED[0])], [REFUSED]),
    "failed by both, named by digest": ([BOTH], [], [failure({"imageDigest": A}, REFUSED[0])], [REFUSED]),
    "failed by both, named by tag": ([BOTH], [], [failure({"imageTag": "v1"}, REFUSED[0])], [REFUSED]),
    "one of each": (
        [TAG, ImageId(B)],
        [{"imageDigest": A, "imageTag": "v1"}],
        [failure({"imageDigest": B})],
        [None, ("ImageNotFound", "why")],
    ),
    "named twice": ([TAG], [], [failure({"imageTag": "v1"}, REFUSED[0])] * 2, [REFUSED]),
    "deleted and failed": (
        [TAG],
        [{"imageDigest": A, "imageTag": "v1"}],
        [failure({"imageTag": "v1"}, REFUSED[0])],
        [REFUSED],
    ),
    "its tag went, it stayed": (
        [TAG, DIGEST],
        [{"imageDigest": A, "imageTag": "v1"}],
        [failure({"imageDigest": A}, REFUSED[0])],
        [None, REFUSED],
    ),
    "named by digest and tag too, which came too late": (
        [DIGEST, BOTH],
        [{"imageDigest": A, "imageTag": "v1"}],
        [failure({"imageDigest": A, "imageTag": "v1"})],
        [None, ("ImageNotFound", "why")],
    ),
    "its tag came too late": (
        [DIGEST, TAG],
        [{"imageDigest": A, "imageTag": "v1"}],
        [failure({"imageTag": "v1"})],
        [None, ("ImageNotFound", "why")],
    ),
    "answers for others too": (
        [TAG],
        [{"imageDigest": A, "imageTag": "v1"}, {"imageDigest": B}],
        [failure({"imageTag": "v3"}), {"failureCode": "KmsError"}],
        [None],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "gone", "failures", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_each_id_is_deleted_or_failed_once(
    repository: Repository,
    aws: ScriptedAWS,
    asked: list[ImageId],
    gone: list[dict[str, str]],
    failures: list[dict[str, Any]],
    expected: list[tuple[str, str] | None],
) -> None:
    """For each id asked and for no other; a failure outweighs an entry among the deleted."""
    aws.plays["BatchDeleteImage"] = [answered({"imageIds": gone, "failures": failures})]
    outcome = delete(repository, *asked)
    failed = {f.image_id: (f.code, f.reason) for f in outcome.failures}
    assert len(failed) == len(outcome.failures)
    assert [failed.pop(image_id, None) for image_id in asked] + list(failed.values()) == expected
    assert [image_id.to_json() for image_id in outcome.image_ids] == gone
    assert (outcome.unconfirmed, aws.operations) == ((), ["BatchDeleteImage"])


def test_ecr_is_asked_once_for_the_whole_chunk(repository: Repository, aws: ScriptedAWS) -> None:
    """In the order of the chunk; and in the registry of the request, when it names one."""
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    aws.ecr.push(REPOSITORY, "v2", digest=B)
    delete(repository, ImageId(tag="v2"), BOTH)
    delete(repository._replace(registry_id=None), BOTH)
    image_ids = [{"imageTag": "v2"}, {"imageDigest": A, "imageTag": "v1"}]
    assert aws.asked("BatchDeleteImage") == [
        {"repositoryName": REPOSITORY, "registryId": "210987654321", "imageIds": image_ids},
        {"repositoryName": REPOSITORY, "imageIds": image_ids[1:]},
    ]


def test_what_a_guard_refuses_is_not_asked_for(repository: Repository, aws: ScriptedAWS) -> None:
    """It fails as the guard says; where that is all, no call is made."""
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    refusal = ImageFailure(ImageId(B), "ProtectedTag", "why")

    def guard(image_ids: Sequence[ImageId], look_up: LookUp) -> dict[ImageId, ImageFailure]:
        del look_up
        return {refusal.image_id: refusal} if refusal.image_id in image_ids else {}

    outcome = delete(repository, TAG, ImageId(B), guard=guard)
    assert outcome == ChunkOutcome((BOTH,), (refusal,))
    assert [call["imageIds"] for call in aws.asked("BatchDeleteImage")] == [[{"imageTag": "v1"}]]
    assert delete(repository, ImageId(B), guard=guard) == ChunkOutcome((), (refusal,))
    assert len(aws.requests) == 1


def test_to_untag_sends_tags_alone(repository: Repository, aws: ScriptedAWS) -> None:
    """Each once: with a digest beside the tag, ECR might take the whole image."""
    aws.ecr.push(REPOSITORY, "v1", "v2", digest=A)
    outcome = delete(repository, BOTH, TAG, effect="untag")
    assert outcome == ChunkOutcome((BOTH,))
    assert [call["imageIds"] for call in aws.asked("BatchDeleteImage")] == [[{"imageTag": "v1"}]]
    assert aws.ecr.names(REPOSITORY) == {A, "v2"}


def test_a_refusal_for_good_is_the_failure_of_each_id(repository: Repository, aws: ScriptedAWS) -> None:
    """Under ECR's own code and words; whether it refuses the deletion, or a look-up of the guard."""

    def guard(image_ids: Sequence[ImageId], look_up: LookUp) -> dict[ImageId, ImageFailure]:
        look_up(image_ids)
        return {}

    failures = tuple(ImageFailure(image_id, "AccessDeniedException", "why") for image_id in (TAG, DIGEST))
    aws.plays["BatchDeleteImage"] = [refused("AccessDeniedException")]
    assert delete(repository, TAG, DIGEST) == ChunkOutcome((), failures)
    aws.plays["DescribeImages"] = [refused("AccessDeniedException")]
    assert delete(repository, TAG, DIGEST, guard=guard) == ChunkOutcome((), failures)


@pytest.mark.parametrize("play", [refused("ThrottlingException"), broken(ConnectTimeoutError(endpoint_url=URL))])
def test_a_first_call_that_did_nothing_is_for_a_redelivery(
    repository: Repository, aws: ScriptedAWS, sleeps: list[float], play: Play
) -> None:
    """It has had no effect, and is not made again here."""
    aws.plays["BatchDeleteImage"] = [play]
    with pytest.raises(ServiceUnavailableError) as raised:
        delete(repository, TAG)
    assert (raised.value.nothing_done, sleeps, len(aws.requests)) == (True, [], 1)


# Answers that are lost.

LOST: dict[str, Play] = {
    "connection broke": lost(),
    "cut short": cut_short,
    "no failures": edited(lambda answer: {"imageIds": answer["imageIds"]}),
    "no imageIds": edited(lambda answer: {"failures": answer["failures"]}),
    "failed after it was done": lambda do: (do(), refused("ServerException", 500)(do))[1],
    "an id in no list": edited(lambda _: {"imageIds": [], "failures": []}),
}


@pytest.mark.parametrize("play", LOST.values(), ids=LOST)
def test_what_is_gone_after_a_lost_answer_was_deleted_as_asked(
    repository: Repository, aws: ScriptedAWS, sleeps: list[float], caplog: pytest.LogCaptureFixture, play: Play
) -> None:
    """It is looked for after a second, and reported as deleted though unconfirmed; the log has its ids."""
    aws.ecr.push(REPOSITORY, "v2", "v1", digest=A)
    aws.plays["BatchDeleteImage"] = [play]
    caplog.set_level("INFO")
    outcome = delete(repository, DIGEST, TAG)
    assert (outcome.failures, aws.ecr.names(REPOSITORY)) == ((), set())
    assert DIGEST in outcome.unconfirmed
    assert {DIGEST, TAG} <= ids_of(outcome.image_ids)
    assert sleeps == [1.0]
    [unconfirmed] = [vars(record) for record in caplog.records if record.message == "images unconfirmed"]
    assert {"imageDigest": A} in unconfirmed["imageIds"]


def test_what_is_still_there_after_a_lost_call_is_asked_for_again(
    repository: Repository, aws: ScriptedAWS, sleeps: list[float]
) -> None:
    """After one second, then after two: three calls at most, and only for what is pending."""
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    aws.ecr.push(REPOSITORY, digest=B)
    silent = broken(ReadTimeoutError(endpoint_url=URL))
    aws.plays["BatchDeleteImage"] = [silent, silent]
    assert delete(repository, TAG, ImageId(B)) == ChunkOutcome((BOTH, ImageId(B)))
    assert (sleeps, len(aws.asked("BatchDeleteImage"))) == ([1.0, 2.0], 3)
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    aws.plays["BatchDeleteImage"] = [silent] * 3
    with pytest.raises(UnknownOutcomeError, match=r"^the connection to ECR broke before its response came$"):
        delete(repository, TAG)
    assert sleeps == [1.0, 2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("operation", "play"),
    [
        ("BatchDeleteImage", refused("ThrottlingException")),
        ("DescribeImages", refused("ThrottlingException")),
        ("DescribeImages", broken(ReadTimeoutError(endpoint_url=URL))),
    ],
)
def test_what_comes_after_a_lost_answer_does_not_make_it_certain(
    repository: Repository, aws: ScriptedAWS, sleeps: list[float], operation: str, play: Play
) -> None:
    """A second call that did nothing, or a look-up that failed: the first may have had its effect all the same."""
    aws.ecr.push(REPOSITORY, "v1", "v2", digest=A)
    aws.plays["BatchDeleteImage"] = [broken(ReadTimeoutError(endpoint_url=URL))]
    aws.plays[operation].append(play)
    with pytest.raises(UnknownOutcomeError) as raised:
        delete(repository, TAG)
    assert (raised.value.nothing_done, sleeps) == (False, [1.0])


@pytest.mark.parametrize(("calls", "kind"), [(0, OutOfTimeError), (1, UnknownOutcomeError)])
def test_time_that_runs_out_is_noticed_before_each_call(
    repository: Repository, aws: ScriptedAWS, sleeps: list[float], calls: int, kind: type[UnfinishedRequestError]
) -> None:
    """Before the first nothing was done; after a lost answer that is not known."""
    del sleeps
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    aws.plays["BatchDeleteImage"] = [broken(ReadTimeoutError(endpoint_url=URL))]
    with pytest.raises(kind):
        delete(repository._replace(calling=time_for(calls)), TAG)


# After an earlier try whose outcome is not known.


@pytest.mark.parametrize(("seconds", "left_alone"), [(-HOUR, True), (0, True), (2, True), (3, False), (HOUR, False)])
def test_a_tag_that_was_pushed_since_is_left_alone(
    repository: Repository,
    aws: ScriptedAWS,
    seconds: int,
    left_alone: bool,  # noqa: FBT001
) -> None:
    """The earlier try may have deleted the image it named then; whole seconds, by ECR's clock: two are in doubt."""
    aws.ecr.push(REPOSITORY, "v1", digest=A)
    aws.ecr.push(REPOSITORY, "v2", digest=B)
    pushed = int(aws.ecr.repositories[REPOSITORY][A].pushed)
    aws.ecr.repositories[REPOSITORY][B].pushed -= 2 * HOUR
    outcome = delete(repository, TAG, ImageId(tag="v2"), since=pushed + seconds)
    assert codes(outcome) == ([(TAG, "ImageTagPushedAgain")] if left_alone else [])
    assert aws.ecr.names(REPOSITORY) == ({A, "v1"} if left_alone else set())


@pytest.mark.parametrize(("digest", "left_alone"), [(A, False), (B, True)])
def test_a_digest_beside_a_tag_says_which_image_was_meant(
    repository: Repository,
    aws: ScriptedAWS,
    digest: str,
    left_alone: bool,  # noqa: FBT001
) -> None:
    """It goes whenever it was pushed; another one that has the tag by now stays."""
    aws.ecr.push(REPOSITORY, "v1", digest=A, days=0)
    outcome = delete(repository, ImageId(digest, "v1"), since=time.time() - HOUR)
    assert [code for _, code in codes(outcome)] == ["ImageTagPushedAgain"] * left_alone
    assert aws.ecr.names(REPOSITORY) == ({A, "v1"} if left_alone else set())


def test_nothing_is_asked_for_when_every_tag_was_pushed_again(repository: Repository, aws: ScriptedAWS) -> None:
    """ECR takes no empty list."""
    aws.ecr.push(REPOSITORY, "v1", days=0)
    assert codes(delete(repository, TAG, since=time.time() - HOUR)) == [(TAG, "ImageTagPushedAgain")]
    assert aws.asked("BatchDeleteImage") == []


def test_what_is_not_found_is_gone_only_if_an_earlier_try_can_have_deleted_it(
    repository: Repository, aws: ScriptedAWS
) -> None:
    """A first try reports it as a failure; so does the look-up that a guard makes."""
    assert codes(delete(repository, TAG, DIGEST)) == [(TAG, "ImageNotFound"), (DIGEST, "ImageNotFound")]
    outcome = delete(repository, TAG, DIGEST, since=time.time())
    assert outcome == ChunkOutcome((TAG, DIGEST), unconfirmed=(TAG, DIGEST))
    refusal = {DIGEST: ImageFailure(DIGEST, "ImageNotFound", "why")}
    aws.ecr.push(REPOSITORY, digest=A)
    assert delete(repository, DIGEST, guard=lambda *_: refusal, since=time.time()).unconfirmed == (DIGEST,)


def test_a_digest_is_asked_for_again_whenever_it_was_pushed(repository: Repository, aws: ScriptedAWS) -> None:
    """It can name no other image."""
    aws.ecr.push(REPOSITORY, "v1", digest=A, days=0)
    assert delete(repository, DIGEST, since=time.time() - HOUR) == ChunkOutcome((BOTH,))


def test_an_image_that_cannot_be_looked_up_is_left_alone(repository: Repository, aws: ScriptedAWS) -> None:
    """Its tag may name a new image: it fails under the code of the look-up, and the others are asked for again."""
    aws.ecr.push(REPOSITORY, "v1", failure="KmsError")
    aws.ecr.push(REPOSITORY, "v2", digest=B)
    outcome = delete(repository, TAG, ImageId(tag="v2"), ImageId(C), since=time.time())
    assert codes(outcome) == [(TAG, "KmsError")]
    assert (outcome.image_ids, outcome.unconfirmed) == ((ImageId(B, "v2"), ImageId(C)), (ImageId(C),))


@pytest.mark.parametrize("operation", ["BatchDeleteImage", "DescribeImages"])
def test_a_refusal_for_good_says_that_there_is_doubt(repository: Repository, aws: ScriptedAWS, operation: str) -> None:
    """Nobody can know what the earlier try deleted in a repository that is gone."""
    aws.ecr.push(REPOSITORY, digest=A)
    aws.plays[operation] = [refused("RepositoryNotFoundException")]
    [failed] = delete(repository, DIGEST, since=time.time()).failures
    assert (failed.code, failed.reason) == ("RepositoryNotFoundException", "why" + DOUBT)


# Dry runs.


def test_a_dry_run_foresees_what_ecr_would_answer(repository: Repository, aws: ScriptedAWS) -> None:
    """An entry per tag, each once; what is not there, or cannot be seen, would fail. Nothing is deleted."""
    aws.ecr.push(REPOSITORY, "v1", "v2", digest=A)
    aws.ecr.push(REPOSITORY, digest=B)
    aws.ecr.push(REPOSITORY, "locked", failure="KmsError")
    ids = [TAG, DIGEST, ImageId(B), ImageId(tag="none"), ImageId(tag="locked")]
    outcome = delete(repository, *ids, effect="simulate")
    assert outcome.image_ids == (BOTH, ImageId(A, "v2"), ImageId(B))
    assert codes(outcome) == [(ImageId(tag="none"), "ImageNotFound"), (ImageId(tag="locked"), "KmsError")]
    assert aws.asked("BatchDeleteImage") == []


def test_a_dry_run_is_never_in_doubt(repository: Repository, aws: ScriptedAWS) -> None:
    """Its earlier try deleted nothing: a tag pushed since is foreseen as any other, and what is missing is missing."""
    aws.ecr.push(REPOSITORY, "v1", digest=A, days=0)
    outcome = delete(repository, TAG, ImageId(tag="v2"), effect="simulate", since=time.time() - HOUR)
    assert (outcome.image_ids, codes(outcome)) == ((BOTH,), [(ImageId(tag="v2"), "ImageNotFound")])


# What an outcome takes in the table.


def stored_bytes(outcome: ChunkOutcome) -> int:
    """The bytes that an outcome takes there."""
    return len(json.dumps(outcome.to_json()).encode())


def test_the_outcome_of_the_busiest_chunk_fits_its_item(repository: Repository, aws: ScriptedAWS) -> None:
    """100 digests of 100 tags each: an entry for each digest, as many of the tags as fit, the others counted."""
    digests = [f"sha256:{n:064}" for n in range(100)]
    entries = [{"imageDigest": d, "imageTag": f"{d[-3:]}-{n:0124}"} for d in digests for n in range(100)]
    aws.plays["BatchDeleteImage"] = [answered({"imageIds": entries, "failures": []})]
    outcome = delete(repository, *map(ImageId, digests))
    assert 0.9 * STORED_BYTES < stored_bytes(outcome) <= STORED_BYTES
    assert {image_id.digest for image_id in outcome.image_ids} == set(digests)
    assert (len(outcome.image_ids) + outcome.omitted, outcome.failures) == (len(entries), ())


def test_the_outcome_of_a_hundred_long_failures_fits_its_item(repository: Repository, aws: ScriptedAWS) -> None:
    """Reasons of any length and script: each id keeps its failure."""
    asked = [ImageId(f"sha256:{n:064}", "t" * 300) for n in range(100)]
    failures = [{"imageId": i.to_json(), "failureCode": "Ü" * 1000, "failureReason": "🐳" * 10_000} for i in asked]
    aws.plays["BatchDeleteImage"] = [answered({"imageIds": [], "failures": failures})]
    outcome = delete(repository, *asked)
    assert stored_bytes(outcome) <= STORED_BYTES
    assert [f.image_id for f in outcome.failures] == asked


# Whatever ECR answers.

TAGS = ["v1", "v2", "v3"]
ASKED = st.lists(
    st.builds(ImageId, st.sampled_from([None, A, B, C]), st.sampled_from([None, *TAGS])).filter(any),
    min_size=1,
    unique=True,
)
ENTRY = st.builds(ImageId, st.sampled_from([None, A, B]), st.sampled_from([None, *TAGS])).map(ImageId.to_json)
CODES = st.sampled_from(["ImageNotFound", "KmsError", "SomethingNew"])
NONSENSE = st.fixed_dictionaries({
    "imageIds": st.lists(ENTRY, max_size=4),
    "failures": st.lists(st.builds(failure, ENTRY, CODES), max_size=4),
})  # fmt: skip


@st.composite
def images(draw: st.DrawFn) -> dict[str, list[str]]:
    """Up to two images, and the tags of each."""
    place = {tag: draw(st.sampled_from([None, A, B])) for tag in TAGS}
    digests = {*filter(None, place.values()), *draw(st.sets(st.sampled_from([A, B])))}
    return {digest: [tag for tag in TAGS if place[tag] == digest] for digest in sorted(digests)}


def with_images(clients: Clients, there: Mapping[str, Sequence[str]]) -> tuple[Repository, ScriptedAWS]:
    """A repository with these images."""
    aws = clients.use(ScriptedAWS())
    aws.ecr.repositories[REPOSITORY] = {}
    for digest, tags in there.items():
        aws.ecr.push(REPOSITORY, *tags, digest=digest)
    return Repository(clients.ecr_client, REPOSITORY, None, UNHURRIED.calling, UNHURRIED.sleep), aws


@given(asked=ASKED, there=images(), answers=st.lists(NONSENSE, min_size=1, max_size=3))
def test_no_answer_of_ecrs_confuses_the_account(
    clients: Clients, asked: list[ImageId], there: dict[str, list[str]], answers: list[dict[str, Any]]
) -> None:
    """However odd it is: each id is deleted or failed, once, and none is asked for again that was answered for."""
    repository, aws = with_images(clients, there)
    aws.plays["BatchDeleteImage"] = list(map(answered, answers))
    with mock.patch("time.sleep"):
        outcome = delete(repository, *asked)
    failed = [f.image_id for f in outcome.failures]
    assert len(set(failed)) == len(failed)
    assert set(failed) <= set(asked)
    assert set(outcome.unconfirmed) <= set(asked) - set(failed)
    assert set(outcome.unconfirmed) <= set(outcome.image_ids)
    for image_id in set(asked) - set(failed):
        assert ids_of([image_id]) & ids_of(outcome.image_ids)
    pending = [list(map(ImageId.from_json, call["imageIds"])) for call in aws.asked("BatchDeleteImage")]
    assert pending[0] == asked
    for n, answer in enumerate(answers[: len(pending) - 1]):
        answered_for = {ImageId.from_json(entry["imageId"]) for entry in answer["failures"]}
        answered_for |= {ImageId.from_json(entry) for entry in answer["imageIds"]}
        assert set(pending[n + 1]) <= set(pending[n]) - answered_for


ENDINGS: list[Play] = [
    lambda do: do(),
    lambda do: do(),
    lost(),
    cut_short,
    refused("ServerException", 500),
    broken(ReadTimeoutError(endpoint_url=URL)),
    edited(lambda _: {}),
]


@given(data=st.data(), asked=ASKED, there=images())
def test_an_outcome_is_the_truth(
    clients: Clients, data: st.DataObject, asked: list[ImageId], there: dict[str, list[str]]
) -> None:
    """Whatever is lost, and whatever is pushed between two tries.

    What is reported as deleted is gone, what is reported as not found was not there, what failed otherwise is there,
    and what was pushed since is left alone.
    """
    repository, aws = with_images(clients, there)
    ecr = aws.ecr
    since: dict[str, str] = {}

    def leaves_out(answer: dict[str, Any]) -> dict[str, Any]:
        silent = {data.draw(st.sampled_from([A, B]))}
        silent |= {tag for digest in silent for tag in there.get(digest, ())}
        said = [(entry, entry) for entry in answer["imageIds"]], [(f["imageId"], f) for f in answer["failures"]]
        gone, failures = ([entry for image_id, entry in some if silent.isdisjoint(image_id.values())] for some in said)
        return {"imageIds": gone, "failures": failures}

    def push(_: float) -> None:
        for tag in data.draw(st.sets(st.sampled_from(TAGS), max_size=1)):
            since[tag] = ecr.push(REPOSITORY, tag, days=0)

    plays = data.draw(st.lists(st.sampled_from([*ENDINGS, edited(leaves_out)]), min_size=1, max_size=3))
    aws.plays["BatchDeleteImage"] = list(plays)
    with mock.patch("time.sleep", push):
        try:
            outcome = delete(repository, *asked)
        except UnknownOutcomeError:
            outcome = None

    for tag, digest in since.items():
        assert ecr.find(REPOSITORY, {"imageTag": tag}) == digest
    if outcome is None:
        return
    went_along = ids_of(outcome.image_ids)
    failed = {f.image_id: f.code for f in outcome.failures if f.code != "ImageNotFound" or f.image_id not in went_along}
    after = {digest: sorted(image.tags) for digest, image in ecr.repositories[REPOSITORY].items()}
    for image_id in asked:
        is_there, pushed_since = names_one(after, image_id), image_id.tag in since
        holds = {
            None: not is_there or pushed_since,
            "ImageNotFound": not names_one(there, image_id),
            "ImageTagPushedAgain": pushed_since,
            "ImageTagDoesNotMatchDigest": not is_there,
            "Unanswered": is_there or names_one(after, ImageId(tag=image_id.tag)),
        }
        assert holds[failed.get(image_id)]
