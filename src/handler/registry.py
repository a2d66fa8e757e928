"""The only room that calls ECR: one chunk, one call, and what became of each id in it."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from .models import (
    ChunkOutcome,
    DeletionRequest,
    ImageFailure,
    ImageId,
    LostAnswerError,
    NotNowError,
    largest,
    names,
)

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import BatchDeleteImageResponseTypeDef, ImageDetailTypeDef, ImageFailureTypeDef

# Refusals that say "not now" although their HTTP status says 4xx: throttling, credentials that Lambda renews, and an
# image that went away between the two questions of a look-up.
_NOT_NOW = frozenset({
    "ExpiredToken",
    "ExpiredTokenException",
    "ImageNotFoundException",
    "InvalidSignatureException",
    "LimitExceededException",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
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
_PUSHED_AGAIN: "ImageFailureTypeDef" = {
    "failureCode": "ImageTagPushedAgain",  # type: ignore[typeddict-item]
    "failureReason": "The tag was pushed again after an earlier try of this request, which may have deleted the image "
    "it named then; the image it names now was left alone. To delete that one too, send a new request",
}


def never_ask_twice_unseen(ecr: "ECRClient") -> None:
    """Keeps botocore from asking ECR again by itself once an answer is lost, for ECR may have done the work.

    Asking again for a tag that was pushed in the meantime would delete the new image, so the next try looks first.
    """

    def stop_when_lost(
        response: tuple[Any, dict[str, Any]] | None, caught_exception: Exception | None, **_: object
    ) -> bool | None:
        if caught_exception is not None:
            return False if _may_have_arrived(caught_exception) else None
        return False if response is not None and response[0].status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else None

    # The stubs know only hooks that answer nothing; the first answer to needs-retry decides.
    ecr.meta.events.register_first("needs-retry.ecr.BatchDeleteImage", stop_when_lost)  # type: ignore[arg-type]


def delete_images(
    ecr: "ECRClient", request: DeletionRequest, image_ids: Sequence[ImageId], *, begun: float | None
) -> ChunkOutcome:
    """Asks ECR once to delete up to 100 images of the request's repository.

    `begun` is when an earlier try began that left no outcome, in seconds since the epoch: tags that were pushed since
    are left alone. A refusal that no redelivery cures is the failure of each id, under ECR's code. Raises NotNowError
    when ECR did nothing, and LostAnswerError when it may have done what it was asked.
    """
    scope: Any = {"repositoryName": request.repository_name}
    if request.registry_id:
        scope["registryId"] = request.registry_id
    try:
        failures = [] if begun is None else _left_alone(ecr, scope, image_ids, begun)
        left_alone = {failure.image_id for failure in failures}
        asked = [image_id for image_id in image_ids if image_id not in left_alone]
        response: BatchDeleteImageResponseTypeDef | Any = {}
        if asked:
            response = ecr.batch_delete_image(**scope, imageIds=[image_id.to_json() for image_id in asked])
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise LostAnswerError(f"ECR failed with {code}") from error
        if code in _NOT_NOW or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise NotNowError(f"ECR refused for now with {code}") from error
        reason = _plain(error.response["Error"].get("Message") or str(error), _REASON_CHARACTERS)
        reason += _DOUBT if begun is not None else ""
        return ChunkOutcome((), tuple(ImageFailure(image_id, code, reason) for image_id in image_ids))
    except BotoCoreError as error:
        if _may_have_arrived(error):
            raise LostAnswerError("the connection to ECR broke before its answer came") from error
        raise NotNowError("ECR could not be reached") from error
    return _account(asked, response, failures, doubt=begun is not None)


def _may_have_arrived(error: Exception) -> bool:
    """Whether a call that ended so may have reached ECR: all but a connection that was never made."""
    return not isinstance(error, ConnectTimeoutError | EndpointConnectionError)


def _left_alone(ecr: "ECRClient", scope: Any, image_ids: Sequence[ImageId], begun: float) -> list[ImageFailure]:
    """The ids that are not asked again: their tag names an image pushed since `begun`, or ECR cannot tell which.

    Two questions, as BatchGetImage answers for each tag but knows no dates, and DescribeImages fails whole when one tag
    is missing.
    """
    tags = {image_id.tag for image_id in image_ids if image_id.tag is not None}
    if not tags:
        return []
    answer = ecr.batch_get_image(**scope, imageIds=[{"imageTag": tag} for tag in tags])
    digest_of = {image["imageId"]["imageTag"]: image["imageId"]["imageDigest"] for image in answer.get("images", [])}
    details: list[ImageDetailTypeDef] = []
    if digests := {*digest_of.values()}:
        details = ecr.describe_images(**scope, imageIds=[{"imageDigest": d} for d in digests])["imageDetails"]
    # ECR tells whole seconds, and its clock is not ours: a push in the second before counts as one after.
    recent = {detail["imageDigest"] for detail in details if detail["imagePushedAt"].timestamp() >= begun - 1}
    told = {tag: _PUSHED_AGAIN for tag, digest in digest_of.items() if digest in recent}
    for failure in answer.get("failures", []):
        if failure.get("failureCode") != "ImageNotFound":
            told[failure.get("imageId", {}).get("imageTag", "")] = failure
    return [_failure(image_id, told[image_id.tag]) for image_id in image_ids if image_id.tag in told]


def _account(
    asked: Sequence[ImageId],
    response: "BatchDeleteImageResponseTypeDef",
    failures: list[ImageFailure],
    *,
    doubt: bool,
) -> ChunkOutcome:
    """Gives each id asked for one fate, whatever ECR answered, beside the failures there are already.

    A failure outweighs an entry among the deleted: an id asked by digest also answers to the tags of its image that
    went, and those may go while the image stays.
    """
    gone = [ImageId.from_json(entry) for entry in response.get("imageIds", [])]
    told = {ImageId.from_json(failure.get("imageId", {})): failure for failure in response.get("failures", [])}
    names_gone = names(gone)
    gone_untagged = {image_id for image_id in gone if image_id.tag is None}
    for image_id in asked:
        # ECR may name an id that was asked by digest and tag by one of them alone.
        by_digest, by_tag = ImageId(digest=image_id.digest), ImageId(tag=image_id.tag)
        failure = told.get(image_id)
        if failure is None:
            if image_id in names_gone or by_digest in gone_untagged:
                continue
            failure = told.get(by_digest) or told.get(by_tag) or _NO_ANSWER
        failures.append(_failure(image_id, failure, doubt=doubt))
    kept = _fitting(gone, asked, failures)
    return ChunkOutcome(tuple(kept), tuple(failures), omitted=len(gone) - len(kept))


def _failure(image_id: ImageId, told: "ImageFailureTypeDef", *, doubt: bool = False) -> ImageFailure:
    code, reason = told.get("failureCode", "Unknown"), told.get("failureReason", "ECR gave no reason")
    if doubt and code == "ImageNotFound":
        reason += _DOUBT
    return ImageFailure(image_id, _plain(code, _CODE_CHARACTERS), _plain(reason, _REASON_CHARACTERS))


def _fitting(gone: list[ImageId], asked: Sequence[ImageId], failures: list[ImageFailure]) -> list[ImageId]:
    """As many of the deleted as the store takes; first an entry for each id asked for, then those that went along."""

    def stored_bytes(kept: list[ImageId]) -> int:
        return len(json.dumps(ChunkOutcome(tuple(kept), tuple(failures)).to_json()))

    if stored_bytes(gone) <= _STORED_BYTES:
        return gone
    unanswered = set(asked)
    first: list[ImageId] = []
    rest: list[ImageId] = []
    for image_id in gone:
        answered = unanswered & names([image_id])
        unanswered -= answered
        (first if answered else rest).append(image_id)
    ordered = first + rest
    return largest(lambda count: ordered[:count], len(ordered), stored_bytes, _STORED_BYTES)


def _plain(text: str, limit: int) -> str:
    """Text of ECR's in ASCII, so that its length is its size wherever it is stored or sent."""
    return text.encode("ascii", "backslashreplace").decode()[:limit]
