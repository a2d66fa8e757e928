"""One chunk, one call, and what became of each id in it."""

import json
from collections.abc import Sequence
from copy import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models import (
    STORED_BYTES,
    ChunkOutcome,
    DeletionRequest,
    Guard,
    Image,
    ImageFailure,
    ImageId,
    LookUp,
    largest,
    names,
)

from .calls import failure, lasting, scope
from .looks import look_up

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import BatchDeleteImageResponseTypeDef, ImageFailureTypeDef

_DOUBT = (
    "; an earlier try may have deleted it: that try's answer was lost, so this one cannot tell whether the image was "
    "there"
)
_NO_ANSWER: "ImageFailureTypeDef" = {
    "failureCode": "Unanswered",  # type: ignore[typeddict-item]
    "failureReason": "ECR's answer names this image neither as deleted nor as failed; see whether it is still there",
}
_NOT_FOUND = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
_PUSHED_AGAIN: "ImageFailureTypeDef" = {
    "failureCode": "ImageTagPushedAgain",  # type: ignore[typeddict-item]
    "failureReason": "The tag was pushed again after an earlier try of this request, which may have deleted the image "
    "it named then; the image it names now was left alone. To delete that one too, send a new request",
}


def delete_images(
    ecr: "ECRClient", request: DeletionRequest, image_ids: Sequence[ImageId], guard: Guard, *, begun: float | None
) -> ChunkOutcome:
    """Asks ECR once to delete those of up to 100 images of the request's repository that the guard lets go.

    A dry run looks at them instead. `begun` is when an earlier try began that left no outcome, in seconds since the
    epoch: tags that were pushed since are left alone. A refusal that no redelivery cures is the failure of each id,
    under ECR's code. Raises NotNowError when ECR did nothing, and LostAnswerError when it may have done what it was
    asked.
    """
    look = partial(look_up, ecr, scope(request))
    if request.dry_run:
        begun = None  # it has no effect that a lost answer could hide
    asked: list[ImageId] = []
    refused: dict[ImageId, ImageFailure] = {}
    response: BatchDeleteImageResponseTypeDef | Any = {}
    try:
        if begun is not None:
            refused |= _pushed_again(image_ids, look, begun)
        refused |= guard([image_id for image_id in image_ids if image_id not in refused], look)
        allowed = [image_id for image_id in image_ids if image_id not in refused]
        if allowed and request.dry_run:
            response = _foreseen(allowed, look)
        elif allowed:
            asked = allowed
            # With a digest beside the tag, ECR might take the image; the guard has compared them.
            sent = dict.fromkeys(ImageId(tag=image_id.tag) for image_id in asked) if request.untag else asked
            response = ecr.batch_delete_image(**scope(request), imageIds=[image_id.to_json() for image_id in sent])
    except (ClientError, BotoCoreError) as error:
        code, reason = lasting(error, lost=bool(asked))
        failures = [refused.get(image_id) or ImageFailure(image_id, code, reason) for image_id in image_ids]
        return ChunkOutcome((), tuple(failures if begun is None else map(_in_doubt, failures)))
    return _account(allowed, response, list(refused.values()), doubt=begun is not None)


def _in_doubt(failure: ImageFailure) -> ImageFailure:
    return replace(failure, reason=failure.reason + _DOUBT)


def _pushed_again(image_ids: Sequence[ImageId], look_up: LookUp, begun: float) -> dict[ImageId, ImageFailure]:
    """The ids that are not asked again: their tag names an image pushed since `begun`, or ECR cannot tell which."""
    found = look_up([image_id for image_id in image_ids if image_id.tag is not None])
    left_alone = {}
    for image_id, image in found.items():
        if isinstance(image, ImageFailure):
            left_alone[image_id] = image
        # ECR tells whole seconds, which may cut off one, and its clock may be another second behind ours.
        elif image.pushed >= begun - 2:
            left_alone[image_id] = failure(image_id, _PUSHED_AGAIN)
    return left_alone


def _foreseen(image_ids: Sequence[ImageId], look_up: LookUp) -> Any:
    """What BatchDeleteImage would answer, as far as a look can tell: it does not see which indexes name an image."""
    found = look_up(image_ids)
    gone: dict[ImageId, None] = {}  # each once, in order
    failures = []
    for image_id in image_ids:
        match found.get(image_id):
            case None:
                failures.append({"imageId": image_id.to_json(), **_NOT_FOUND})
            case ImageFailure() as unseen:
                failures.append(unseen.to_json())
            case Image() as image:
                tags = sorted(image.tags) if image_id.tag is None else [image_id.tag]
                gone |= dict.fromkeys([ImageId(image.digest, tag) for tag in tags] or [image_id])
    return {"imageIds": [image_id.to_json() for image_id in gone], "failures": failures}


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
    told = {ImageId.from_json(entry.get("imageId", {})): entry for entry in response.get("failures", [])}
    entries, digests, tags = set(gone), {image_id.digest for image_id in gone}, {image_id.tag for image_id in gone}

    def answered(image_id: ImageId) -> bool:
        if image_id.digest is None:
            return image_id.tag in tags
        if image_id.tag is None:
            return image_id.digest in digests
        return image_id in entries or ImageId(digest=image_id.digest) in entries

    for image_id in asked:
        entry = told.get(image_id)
        if entry is None:
            if answered(image_id):
                continue
            # ECR may name an id that was asked by digest and tag by one of them alone.
            entry = told.get(ImageId(digest=image_id.digest)) or told.get(ImageId(tag=image_id.tag)) or _NO_ANSWER
        failures.append(failure(image_id, entry))
    if doubt:
        failures = [_in_doubt(f) if f.code == "ImageNotFound" else f for f in failures]
    kept = _fitting(gone, asked, failures)
    return ChunkOutcome(tuple(kept), tuple(failures), omitted=len(gone) - len(kept))


def _fitting(gone: list[ImageId], asked: Sequence[ImageId], failures: list[ImageFailure]) -> list[ImageId]:
    """As many of the deleted as the store takes; first an entry for each id asked for, then those that went along."""

    def stored_bytes(kept: list[ImageId]) -> int:
        return len(json.dumps(ChunkOutcome(tuple(kept), tuple(failures)).to_json()))

    # An entry for each of 100 ids is far below; to count them would cost a tenth of our own work.
    if len(gone) <= len(asked) and not failures:
        return gone
    if stored_bytes(gone) <= STORED_BYTES:
        return gone
    unanswered = set(asked)
    first: list[ImageId] = []
    rest: list[ImageId] = []
    for image_id in gone:
        answered = unanswered & names([image_id])
        unanswered -= answered
        (first if answered else rest).append(image_id)
    ordered = first + rest
    return largest(lambda count: ordered[:count], len(ordered), stored_bytes, STORED_BYTES)
