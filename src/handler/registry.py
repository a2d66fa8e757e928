"""The only room that calls ECR: one chunk, one call, and what became of each id in it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from .models import ChunkOutcome, DeletionRequest, ImageFailure, ImageId, largest, names

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import BatchDeleteImageResponseTypeDef, ImageFailureTypeDef

# Refusals that say "not now" although their HTTP status says 4xx: throttling, and credentials that Lambda renews.
_NOT_NOW = frozenset({
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "LimitExceededException",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServerException",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "UnrecognizedClientException",
})  # fmt: skip

_STORED_BYTES = 350_000
"""What one outcome may take in its table: DynamoDB's limit is 400 KB an item."""
_REASON_CHARACTERS = 500
_CODE_CHARACTERS = 64

_NO_ANSWER: "ImageFailureTypeDef" = {
    "failureCode": "Unanswered",  # type: ignore[typeddict-item]
    "failureReason": "ECR's answer names this image neither as deleted nor as failed; see whether it is still there",
}
_DOUBT = (
    "; an earlier try may have deleted it: that try's answer was lost, so this one cannot tell whether the image was "
    "there"
)


def watch_for_lost_answers(ecr: "ECRClient") -> None:
    """Marks each answer that botocore got by asking again after it lost one: ECR may have done the work by then."""

    def mark(
        response: tuple[Any, dict[str, Any]] | None,
        caught_exception: Exception | None,
        request_dict: dict[str, Any],
        **_: object,
    ) -> None:
        context = request_dict["context"]
        if response is None:
            # A connection that was never made carried nothing.
            if not isinstance(caught_exception, ConnectTimeoutError | EndpointConnectionError):
                context["answer_lost"] = True
        elif response[0].status_code >= 500:
            context["answer_lost"] = True
        elif context.get("answer_lost"):
            response[1]["ResponseMetadata"]["AnswerLost"] = True

    ecr.meta.events.register("needs-retry.ecr.BatchDeleteImage", mark)


def delete_images(
    ecr: "ECRClient", request: DeletionRequest, image_ids: Sequence[ImageId], *, asked_before: bool
) -> ChunkOutcome:
    """Asks ECR once to delete up to 100 images of the request's repository.

    `asked_before` says that an earlier try began and left no outcome. Raises botocore's error when ECR cannot answer
    now; a refusal that no redelivery cures is the failure of each id, under ECR's code.
    """
    scope = {"registryId": request.registry_id} if request.registry_id else {}
    try:
        response = ecr.batch_delete_image(
            repositoryName=request.repository_name,
            imageIds=[image_id.to_json() for image_id in image_ids],
            **scope,
        )
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in _NOT_NOW or status >= 500 or status == 429:
            raise
        reason = _plain(error.response["Error"].get("Message") or str(error), _REASON_CHARACTERS)
        return ChunkOutcome((), tuple(ImageFailure(image_id, code, reason) for image_id in image_ids))
    asked_before = asked_before or "AnswerLost" in response["ResponseMetadata"]
    return _account(image_ids, response, asked_before=asked_before)


def _account(
    asked: Sequence[ImageId], response: "BatchDeleteImageResponseTypeDef", *, asked_before: bool
) -> ChunkOutcome:
    """Gives each id asked for one fate, whatever ECR answered.

    A failure outweighs an entry among the deleted: an id asked by digest also answers to the tags of its image that
    went, and those may go while the image stays.
    """
    gone = [ImageId.from_json(entry) for entry in response.get("imageIds", [])]
    told = {ImageId.from_json(failure.get("imageId", {})): failure for failure in response.get("failures", [])}
    names_gone = names(gone)
    failures = []
    for image_id in asked:
        failure = told.get(image_id)
        if failure is None:
            if image_id in names_gone:
                continue
            # ECR may name an id that was asked by digest and tag by one of them alone.
            failure = told.get(ImageId(digest=image_id.digest)) or told.get(ImageId(tag=image_id.tag)) or _NO_ANSWER
        code, reason = failure.get("failureCode", "Unknown"), failure.get("failureReason", "ECR gave no reason")
        if code == "ImageNotFound" and asked_before:
            reason += _DOUBT
        failures.append(ImageFailure(image_id, _plain(code, _CODE_CHARACTERS), _plain(reason, _REASON_CHARACTERS)))
    kept = _fitting(gone, asked, failures)
    return ChunkOutcome(tuple(kept), tuple(failures), omitted=len(gone) - len(kept))


def _fitting(gone: list[ImageId], asked: Sequence[ImageId], failures: list[ImageFailure]) -> list[ImageId]:
    """As many of the deleted as the store takes; first an entry for each id asked for, then those that went along."""

    def stored_bytes(kept: list[ImageId]) -> int:
        return len(json.dumps(ChunkOutcome(tuple(kept), tuple(failures)).to_json()))

    unanswered = set(asked)
    first: list[ImageId] = []
    rest: list[ImageId] = []
    for image_id in gone:
        answered = unanswered & names([image_id])
        unanswered -= answered
        (first if answered else rest).append(image_id)
    ordered = first + rest
    kept = largest(lambda count: ordered[:count], len(ordered), stored_bytes, _STORED_BYTES)
    return gone if len(kept) == len(gone) else kept


def _plain(text: str, limit: int) -> str:
    """Text of ECR's in ASCII, so that its length is its size wherever it is stored or sent."""
    return text.encode("ascii", "backslashreplace").decode()[:limit]
