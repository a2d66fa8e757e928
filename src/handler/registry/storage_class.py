"""Images into ECR's archive, and back: one call for each, and what became of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import RefusedLookUpError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.failure_codes import CANNOT_CHANGE
from handler.models.images import Guard, Image, ImageFailure, ImageId, moved, unseen
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Action

from .client import CALLS_AT_A_TIME, Repository
from .errors import final_error
from .lookup import look_up

_TARGETS: Mapping[Action, tuple[Literal["ARCHIVE", "STANDARD"], frozenset[str]]] = {
    "archive": ("ARCHIVE", frozenset({"ARCHIVED"})),
    "restore": ("STANDARD", frozenset({"ACTIVE", "ACTIVATING"})),
}
"""By action, the storage class to ask for, and the statuses of an image that is in it, or on its way there."""
type _Result = str | tuple[str, str] | UnfinishedRequestError
"""The status of an image in the end; code and reason of its failure; or what came in between."""
_UNFINISHED = "its turn did not come in this try, and ECR was not asked"


class Ledger(NamedTuple):
    """Where it is written down which images are about to change their storage class."""

    remember: Callable[[Image], None] = lambda _: None
    """Called for each image right before its turn."""
    forget: Callable[[str], None] = lambda _: None
    """Called with the digest of each whose turn came and that is where it was, as far as can be known."""
    has_moved: Callable[[Image], bool] = lambda _: False
    """Whether an earlier try has moved an image that is where it is to be: its size counts as well then."""


_NO_LEDGER = Ledger()


def change_storage_class(
    repository: Repository,
    image_ids: Sequence[ImageId],
    guard: Guard,
    *,
    action: Action,
    dry_run: bool,
    ledger: Ledger = _NO_LEDGER,
) -> ChunkOutcome:
    """Archives or restores those of up to 100 images that the guard lets go, several at a time; or simulates that.

    ECR itself remembers what was done: images that are where they are to be are done, unless the guard refuses
    them, and it is not asked for them. An image whose turn does not come fails as Unfinished; where that would be all
    of them, what came in between is raised: ServiceUnavailableError, OutOfTimeError or UnknownOutcomeError.
    """
    try:
        found = look_up(repository, image_ids)
        images, failures = _seen(image_ids, found)
        changing = {i: m for i, m in images.items() if m.status not in _TARGETS[action][1] or ledger.has_moved(m)}
        failures |= guard(list(images), partial(_known, repository, images))
    except RefusedLookUpError as error:
        return ChunkOutcome(failures=tuple(ImageFailure(i, error.code, error.reason) for i in image_ids))
    wanted = {image.digest: image for i, image in images.items() if i not in failures}
    if dry_run:
        results: dict[str, _Result] = {digest: image.status for digest, image in wanted.items()}
    else:
        change = partial(_change, repository, action=action, remember=ledger.remember)
        with ThreadPoolExecutor(CALLS_AT_A_TIME) as executor:
            results = dict(zip(wanted, executor.map(change, wanted.values()), strict=True))
        results |= _done_all_the_same(repository, results, _TARGETS[action][1])
        for digest in (digest for digest, result in results.items() if not isinstance(result, str)):
            ledger.forget(digest)
    done: list[ImageId] = []
    interruptions: list[UnfinishedRequestError] = []
    for image_id, image in images.items():
        match None if image_id in failures else results[image.digest]:
            case UnfinishedRequestError() as interruption:
                interruptions.append(interruption)
                failures[image_id] = ImageFailure(image_id, "Unfinished", f"{_UNFINISHED}: {interruption}")
            case (code, reason):
                failures[image_id] = ImageFailure(image_id, code, reason)
            case str():
                done.append(ImageId(image.digest, image_id.tag))
    if interruptions and len(interruptions) == len(image_ids):
        raise min(interruptions, key=lambda interruption: interruption.nothing_done)
    changed = {image.digest: image.size for image in changing.values() if isinstance(results.get(image.digest), str)}
    return ChunkOutcome(
        tuple(done),
        tuple(failures[image_id] for image_id in image_ids if image_id in failures),
        activating=sum(results[str(i.digest)] == "ACTIVATING" for i in done) if action == "restore" else 0,
        bytes=sum(changed.values()),
    )


def _seen(
    image_ids: Sequence[ImageId], found: Mapping[ImageId, Image | ImageFailure]
) -> tuple[dict[ImageId, Image], dict[ImageId, ImageFailure]]:
    """Returns the images that are there, and the failures of the other ids."""
    images: dict[ImageId, Image] = {}
    failures: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        image = found.get(image_id)
        if failure := unseen(image_id, image) or moved(image_id, image):
            failures[image_id] = failure
        elif isinstance(image, Image):
            images[image_id] = image
    return images, failures


def _known(
    repository: Repository, images: Mapping[ImageId, Image], image_ids: Sequence[ImageId]
) -> dict[ImageId, Image | ImageFailure]:
    """Looks up what has not been looked up already."""
    by_digest = {image.digest: image for image in images.values()}
    known = {i: image for i in image_ids if (image := images.get(i) or by_digest.get(i.digest or ""))}
    others = [image_id for image_id in image_ids if image_id not in known]
    return {**known, **(look_up(repository, others) if others else {})}


def _change(repository: Repository, image: Image, *, action: Action, remember: Callable[[Image], None]) -> _Result:
    """Asks ECR for the storage class of one image, unless the image has it.

    By digest alone: botocore may ask again by itself, and a tag may name another image by then.
    """
    target, statuses = _TARGETS[action]
    try:
        with repository.calling():
            remember(image)
            if image.status in statuses:
                return image.status
            response = repository.ecr.update_image_storage_class(
                **repository.scope, imageId={"imageDigest": image.digest}, targetStorageClass=target
            )
        status: str | None = response.get("imageStatus")  # botocore reads what was cut short on its way
        if status is None:
            return UnknownOutcomeError("ECR's answer did not arrive whole")
    except repository.ecr.exceptions.ImageNotFoundException:
        return "ImageNotFound", "Requested image not found"
    except (ClientError, BotoCoreError) as error:
        return _refused(error)
    except UnfinishedRequestError as error:
        return error
    wrong = "Unanswered", f"ECR was asked for {target}, and answers that the image is {status}"
    return status if status in statuses else wrong


def _done_all_the_same(
    repository: Repository, results: Mapping[str, _Result], statuses: Collection[str]
) -> dict[str, _Result]:
    """Looks at the images of which an answer was lost, or ECR says that they cannot change: maybe they have."""

    def in_doubt(result: _Result) -> bool:
        return isinstance(result, UnknownOutcomeError) or (isinstance(result, tuple) and result[0] == CANNOT_CHANGE)

    doubtful = [ImageId(digest) for digest, result in results.items() if in_doubt(result)]
    if not doubtful:
        return {}
    try:
        found = look_up(repository, doubtful)
    except (RefusedLookUpError, UnfinishedRequestError):
        return {}
    return {i.digest: i.status for i in found.values() if isinstance(i, Image) and i.status in statuses}


def _refused(error: ClientError | BotoCoreError) -> _Result:
    try:
        return final_error(error, deleting=True)
    except UnfinishedRequestError as unfinished:
        return unfinished
