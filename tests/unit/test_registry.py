"""One chunk, one call to ECR: one fate for each id asked, whatever the answer, and what an outcome stores."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handler.models import ChunkOutcome, DeletionRequest, ImageFailure, ImageId, LostAnswerError, NotNowError, Origin
from handler.registry import delete_images

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
REQUEST = DeletionRequest("r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash")
DYNAMODB_ITEM_BYTES = 400 * 1024
UNANSWERED = "ECR's answer names this image neither as deleted nor as failed; see whether it is still there"


def anything(*_: object) -> dict[ImageId, ImageFailure]:
    """A guard that lets everything go."""
    return {}


class Ecr:
    """An ECR that answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def batch_delete_image(self, **call: Any) -> dict[str, Any]:
        self.asked.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def delete(ecr: Ecr, image_ids: Sequence[ImageId]) -> ChunkOutcome:
    """Deletes these ids from the repository, in a first try."""
    return delete_images(ecr, REQUEST, image_ids, anything, begun=None)  # type: ignore[arg-type]  # what it uses of a client


def failure(image_id: Mapping[str, object], code: str = "ImageNotFound", reason: str = "why") -> dict[str, Any]:
    """A failure as ECR tells it."""
    return {"imageId": image_id, "failureCode": code, "failureReason": reason}


def fates(asked: Sequence[ImageId], answer: dict[str, Any]) -> list[tuple[str, str] | None]:
    """What became of each id asked: None when it is deleted, else code and reason."""
    outcome = delete(Ecr(answer), asked)
    failed = {f.image_id: (f.code, f.reason) for f in outcome.failures}
    assert len(failed) == len(outcome.failures)
    return [failed.pop(image_id, None) for image_id in asked] + list(failed.values())


TAG, DIGEST, BOTH = ImageId(tag="v1"), ImageId(A), ImageId(A, "v1")
REFUSED = ("ImageReferencedByManifestList", "why")

FATES: dict[str, tuple[list[ImageId], dict[str, Any], list[tuple[str, str] | None]]] = {
    "deleted by tag": ([TAG], {"imageIds": [{"imageDigest": A, "imageTag": "v1"}]}, [None]),
    "deleted by digest, an entry per tag": (
        [DIGEST],
        {"imageIds": [{"imageDigest": A, "imageTag": "v1"}, {"imageDigest": A, "imageTag": "v2"}], "failures": []},
        [None],
    ),
    "deleted by digest, untagged": ([DIGEST], {"imageIds": [{"imageDigest": A}]}, [None]),
    "deleted by both": ([BOTH], {"imageIds": [{"imageDigest": A, "imageTag": "v1"}]}, [None]),
    "deleted by both, named by digest": ([BOTH], {"imageIds": [{"imageDigest": A}]}, [None]),
    "deleted, named by tag alone": ([TAG], {"imageIds": [{"imageTag": "v1"}]}, [None]),
    "two ids, one image": ([TAG, DIGEST], {"imageIds": [{"imageDigest": A, "imageTag": "v1"}]}, [None, None]),
    "failed": ([TAG], {"failures": [failure({"imageTag": "v1"})]}, [("ImageNotFound", "why")]),
    "failed by both": (
        [BOTH],
        {"failures": [failure({"imageDigest": A, "imageTag": "v1"}, REFUSED[0])]},
        [REFUSED],
    ),
    "failed by both, named by digest": ([BOTH], {"failures": [failure({"imageDigest": A}, REFUSED[0])]}, [REFUSED]),
    "failed by both, named by tag": ([BOTH], {"failures": [failure({"imageTag": "v1"}, REFUSED[0])]}, [REFUSED]),
    "unknown code": ([TAG], {"failures": [failure({"imageTag": "v1"}, "NewCode")]}, [("NewCode", "why")]),
    "one of each": (
        [TAG, ImageId(B)],
        {"imageIds": [{"imageDigest": A, "imageTag": "v1"}], "failures": [failure({"imageDigest": B})]},
        [None, ("ImageNotFound", "why")],
    ),
    "no answer": ([TAG, DIGEST], {"imageIds": [], "failures": []}, [("Unanswered", UNANSWERED)] * 2),
    "no lists": ([TAG], {}, [("Unanswered", UNANSWERED)]),
    "an answer for others": (
        [TAG],
        {"imageIds": [{"imageDigest": A, "imageTag": "v2"}], "failures": [failure({"imageTag": "v3"})]},
        [("Unanswered", UNANSWERED)],
    ),
    "tag elsewhere": ([BOTH], {"imageIds": [{"imageDigest": B, "imageTag": "v1"}]}, [("Unanswered", UNANSWERED)]),
    "deleted and failed": (
        [TAG],
        {"imageIds": [{"imageDigest": A, "imageTag": "v1"}], "failures": [failure({"imageTag": "v1"}, REFUSED[0])]},
        [REFUSED],
    ),
    "its tag went, it stayed": (
        [TAG, DIGEST],
        {"imageIds": [{"imageDigest": A, "imageTag": "v1"}], "failures": [failure({"imageDigest": A}, REFUSED[0])]},
        [None, REFUSED],
    ),
    "told twice": ([TAG], {"failures": [failure({"imageTag": "v1"}, REFUSED[0])] * 2}, [REFUSED]),
    "no reason": (
        [TAG],
        {"failures": [{"imageId": {"imageTag": "v1"}, "failureCode": "KmsError"}]},
        [("KmsError", "ECR gave no reason")],
    ),
    "no code": (
        [TAG],
        {"failures": [{"imageId": {"imageTag": "v1"}, "failureReason": "why"}]},
        [("Unknown", "why")],
    ),
    "no id": ([TAG], {"failures": [{"failureCode": "KmsError", "failureReason": "why"}]}, [("KmsError", "why")]),
    "not of ASCII": (
        [TAG],
        {"failures": [failure({"imageTag": "v1"}, "Ü", "läuft 🐳")]},
        [(r"\xdc", r"l\xe4uft \U0001f433")],
    ),
    "endless": (
        [TAG],
        {"failures": [failure({"imageTag": "v1"}, "C" * 1000, "r" * 100_000)]},
        [("C" * 64, "r" * 500)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "answer", "expected"), FATES.values(), ids=FATES)
def test_each_id_has_one_fate(
    asked: list[ImageId], answer: dict[str, Any], expected: list[tuple[str, str] | None]
) -> None:
    """Deleted or failed, once, for each id asked and for no other; a failure outweighs an entry among the deleted."""
    assert fates(asked, answer) == expected


def test_what_was_deleted_is_told_in_ecrs_words() -> None:
    """An entry per tag, in ECR's order, also for tags nobody asked for."""
    entries = [{"imageDigest": A, "imageTag": "v2"}, {"imageDigest": A, "imageTag": "v1"}]
    outcome = delete(Ecr({"imageIds": entries}), [DIGEST])
    assert [image_id.to_json() for image_id in outcome.image_ids] == entries
    assert (outcome.failures, outcome.omitted, outcome.replayed) == ((), 0, False)


def test_ecr_is_asked_once_for_the_whole_chunk() -> None:
    """In the order of the chunk, and in the registry of the request when it names one."""
    ecr = Ecr({})
    delete(ecr, [TAG, BOTH])
    image_ids = [{"imageTag": "v1"}, {"imageDigest": A, "imageTag": "v1"}]
    assert ecr.asked == [{"repositoryName": "team/app", "imageIds": image_ids}]
    elsewhere = DeletionRequest("r-1", "app", (), REQUEST.origin, "hash", registry_id="210987654321")
    delete_images(ecr, elsewhere, [TAG], anything, begun=None)  # type: ignore[arg-type]  # what it uses of a client
    assert ecr.asked[1:] == [{"repositoryName": "app", "registryId": "210987654321", "imageIds": [{"imageTag": "v1"}]}]


def error(code: str, status: int = 400, message: str | None = "why") -> ClientError:
    """An error of the whole call."""
    told = {"Code": code} if message is None else {"Code": code, "Message": message}
    response: Any = {"Error": told, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "BatchDeleteImage")


@pytest.mark.parametrize(
    "code",
    ["RepositoryNotFoundException", "AccessDeniedException", "InvalidParameterException", "SomethingNewException"],
)
def test_an_error_that_no_retry_cures_is_the_failure_of_each_id(code: str) -> None:
    """Under ECR's own code and words; nothing is deleted."""
    outcome = delete(Ecr(error(code)), [TAG, DIGEST])
    assert outcome == ChunkOutcome((), (ImageFailure(TAG, code, "why"), ImageFailure(DIGEST, code, "why")))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("ThrottledException", 400),
        ("Throttling", 400),
        ("RequestLimitExceeded", 400),
        ("TooManyRequestsException", 429),
        ("LimitExceededException", 400),
        ("SomethingNewException", 429),
        ("ExpiredTokenException", 400),
        ("ExpiredToken", 403),
        ("UnrecognizedClientException", 400),
        ("InvalidSignatureException", 403),
        ("RequestExpired", 400),
        ("RequestTimeout", 400),
    ],
)
def test_a_refusal_for_now_is_raised(code: str, status: int) -> None:
    """A redelivery may succeed, and ECR did nothing: it is nobody's failure."""
    with pytest.raises(NotNowError, match=f"^ECR refused for now with {code}$"):
        delete(Ecr(error(code, status)), [TAG])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_of_ecrs_own_may_have_done_the_work(status: int) -> None:
    """It is raised as an answer that was lost."""
    with pytest.raises(LostAnswerError, match=r"^ECR failed with ServerException$"):
        delete(Ecr(error("ServerException", status)), [TAG])


@pytest.mark.parametrize(("message", "reason"), [(None, "An error occurred (Odd) when calling"), ("é" * 9999, r"\xe9")])
def test_the_words_of_an_error_are_plain_and_short(message: str | None, reason: str) -> None:
    """A failure always says something, never a megabyte of it, and stays what it is wherever it is stored."""
    (told,) = delete(Ecr(error("Odd", message=message)), [TAG]).failures
    assert told.reason.startswith(reason)
    assert told.reason.isascii()
    assert len(told.reason) <= 500


def stored_bytes(outcome: ChunkOutcome) -> int:
    """What an outcome takes in its table."""
    return len(json.dumps(outcome.to_json() | {"replayed": True}).encode())


def test_the_outcome_of_the_busiest_chunk_fits_its_table() -> None:
    """100 digests of 1,000 tags each: an entry for each digest, as many of the tags as fit, the others counted."""
    digests = [f"sha256:{n:064}" for n in range(100)]
    entries = [{"imageDigest": d, "imageTag": f"{d[-3:]}-{n:0124}"} for d in digests for n in range(1000)]
    outcome = delete(Ecr({"imageIds": entries}), [ImageId(d) for d in digests])
    assert 300_000 < stored_bytes(outcome) < DYNAMODB_ITEM_BYTES - 20_000
    assert {image_id.digest for image_id in outcome.image_ids} == set(digests)
    assert len(outcome.image_ids) + outcome.omitted == len(entries)
    assert outcome.failures == ()


def test_the_outcome_of_a_hundred_long_failures_fits_its_table() -> None:
    """Reasons of any length and script: each id keeps its failure."""
    asked = [ImageId(f"sha256:{n:064}", "t" * 300) for n in range(100)]
    answer = {"failures": [failure(i.to_json(), "Ü" * 1000, "🐳" * 10_000) for i in asked]}
    outcome = delete(Ecr(answer), asked)
    assert stored_bytes(outcome) < DYNAMODB_ITEM_BYTES - 20_000
    assert [f.image_id for f in outcome.failures] == asked


def test_an_outcome_that_fits_keeps_ecrs_order() -> None:
    """Only an outcome that must be cut is put in another order."""
    entries = [{"imageDigest": A, "imageTag": f"v{n}"} for n in (3, 1, 2)] + [{"imageDigest": B}]
    outcome = delete(Ecr({"imageIds": entries}), [ImageId(B), DIGEST])
    assert [image_id.to_json() for image_id in outcome.image_ids] == entries
