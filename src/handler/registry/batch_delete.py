"""One chunk, one call, and what became of each id in it."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import RefusedLookUpError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.images import Guard, Image, ImageFailure, ImageId, LookUp, ids_of
from handler.models.limits import STORED_BYTES, truncate_to_fit
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Effect

from .client import Repository
from .errors import failure, final_error
from .lookup import look_up

if TYPE_CHECKING:
    from logging import LoggerAdapter

_UNTAGGING: dict[tuple[str | None, str], Lock] = {}
"""By repository: from the look at an image's tags to the removal of one, no other request removes another."""
_RETRY_SECONDS = (1.0, 2.0)
"""The waits before a chunk is asked for again whose answer was lost."""
_CLOCK_SECONDS = 2
"""ECR gives the time of a push in whole seconds, which may cut off one; its clock may be another one behind ours."""
_NOT_FOUND = "Requested image not found"
_DOUBT = "; an earlier try, whose answer was lost, may have deleted it"
_UNANSWERED = "ECR's answers name this image neither as deleted nor as failed, and it is still there"
_PUSHED_AGAIN = (
    "The tag was pushed again after an earlier try of this request, which may have deleted the image it named then; "
    "the image it names now was left alone. To delete that one too, send a new request"
)


def delete_images(
    repository: Repository,
    image_ids: Sequence[ImageId],
    guard: Guard,
    log: "LoggerAdapter[Any]",
    *,
    effect: Effect,
    first_attempt_at: float | None,
) -> ChunkOutcome:
    """Asks ECR once to delete those of up to 100 images that the guard lets go, or their tags; or simulates that.

    `first_attempt_at` is when an earlier try began that left no outcome, in seconds since the epoch. What is gone then
    was deleted as asked, though unconfirmed, and tags that were pushed since are left alone. The same holds where an
    answer is lost now, or leaves out an id: it is looked for and asked for twice again. A refusal that no redelivery
    cures is the failure of each id, under ECR's code.

    Raises ServiceUnavailableError and OutOfTimeError where ECR did nothing, UnknownOutcomeError where it may have done
    what it was asked.
    """
    chunk = _Chunk(image_ids)
    for number, wait in enumerate((0.0, *_RETRY_SECONDS)):
        last = number == len(_RETRY_SECONDS)
        started = time.time()
        try:
            repository.sleep(wait)
            with _alone(repository) if effect == "untag" else nullcontext():
                _ask(repository, chunk, guard, effect, first_attempt_at)
            if last:
                _close(repository, chunk, first_attempt_at or started)
            why = "ECR's answer leaves out some images"
        except UnknownOutcomeError as error:
            if last:
                raise
            why = str(error)
        except UnfinishedRequestError as error:
            if not number:
                raise
            raise UnknownOutcomeError(str(error)) from error
        if not chunk.pending:
            break
        first_attempt_at = first_attempt_at or started
        log.info("asking again", extra={"why": why})
    outcome = chunk.outcome()
    if outcome.unconfirmed:
        log.info("images unconfirmed", extra={"imageIds": [image_id.to_json() for image_id in outcome.unconfirmed]})
    return outcome


def _alone(repository: Repository) -> Lock:
    return _UNTAGGING.setdefault((repository.registry_id, repository.name), Lock())


def _close(repository: Repository, chunk: "_Chunk", first_attempt_at: float) -> None:
    """Looks at what every answer has left out: it is gone by now, or a failure."""
    try:
        chunk.recheck(partial(look_up, repository), first_attempt_at, chunk.pending)
    except RefusedLookUpError as error:
        chunk.fail_all(error.code, error.reason)
    chunk.fail({i: ImageFailure(i, "Unanswered", _UNANSWERED) for i in chunk.pending})


def _ask(
    repository: Repository,
    chunk: "_Chunk",
    guard: Guard,
    effect: Effect,
    first_attempt_at: float | None,
) -> None:
    """Asks for what is pending of a chunk, once; what ECR's answer leaves out stays so."""
    look = partial(look_up, repository)
    deleting = False
    try:
        if first_attempt_at is not None and effect != "simulate":  # which has no effect that could be in doubt
            # To remove a tag, ECR is never asked for a digest alone.
            chunk.recheck(look, first_attempt_at, [i for i in chunk.pending if effect != "untag" or i.tag])
        chunk.fail(guard(chunk.pending, look))
        if effect == "simulate":
            chunk.simulate(look)
        if not chunk.pending:
            return
        # With a digest beside the tag, ECR might take the whole image; the guard has compared them.
        sent = dict.fromkeys(ImageId(tag=i.tag) for i in chunk.pending) if effect == "untag" else chunk.pending
        with repository.calling():
            deleting = True
            response = repository.ecr.batch_delete_image(**repository.scope, imageIds=[i.to_json() for i in sent])
    except RefusedLookUpError as error:
        chunk.fail_all(error.code, error.reason)
    except (ClientError, BotoCoreError) as error:
        chunk.fail_all(*final_error(error, deleting=deleting))
    else:
        chunk.apply(response)


class _Chunk:
    """The ids of a chunk, and what has become of them so far: each is pending, gone or failed."""

    def __init__(self, image_ids: Sequence[ImageId]) -> None:
        self.pending: Sequence[ImageId] = image_ids
        self._asked = image_ids
        self._gone: list[ImageId] = []
        self._unconfirmed: list[ImageId] = []
        self._failures: dict[ImageId, ImageFailure] = {}
        self._in_doubt = False

    def recheck(self, look_up: LookUp, first_attempt_at: float, doubtful: Sequence[ImageId]) -> None:
        """Looks at what an earlier try may have deleted: what is gone, what was pushed again, what is to be asked."""
        self._in_doubt = True
        found = look_up(doubtful) if doubtful else {}
        refused = {i: ImageFailure(i, "ImageNotFound", _NOT_FOUND) for i in doubtful if i not in found}
        for image_id, image in found.items():
            if isinstance(image, ImageFailure):
                refused[image_id] = image
            elif image_id.tag is None or image_id.digest == image.digest:
                continue  # it is the image that was meant, whenever it was pushed
            elif image.pushed >= first_attempt_at - _CLOCK_SECONDS:
                refused[image_id] = ImageFailure(image_id, "ImageTagPushedAgain", _PUSHED_AGAIN)
        self.fail(refused)

    def fail(self, failures: Mapping[ImageId, ImageFailure]) -> None:
        """Fails some of the pending. In doubt, what is not found is gone as asked."""
        for image_id, failed in failures.items():
            if self._in_doubt and failed.code == "ImageNotFound":
                self._unconfirmed.append(image_id)
            else:
                self._failures[image_id] = failed
        self.pending = [image_id for image_id in self.pending if image_id not in failures]

    def fail_all(self, code: str, reason: str) -> None:
        """Fails all that is pending, for ECR has refused the whole call."""
        if self._in_doubt:
            reason += _DOUBT
        self.fail({image_id: ImageFailure(image_id, code, reason) for image_id in self.pending})

    def simulate(self, look_up: LookUp) -> None:
        """Answers for what is pending as BatchDeleteImage would, as far as a look-up can show.

        It does not see which indexes name an image.
        """
        found = look_up(self.pending) if self.pending else {}
        gone: dict[ImageId, None] = {}  # each once, in order
        failures: dict[ImageId, ImageFailure] = {}
        for image_id in self.pending:
            match found.get(image_id):
                case None:
                    failures[image_id] = ImageFailure(image_id, "ImageNotFound", _NOT_FOUND)
                case ImageFailure() as unseen:
                    failures[image_id] = unseen
                case Image() as image:
                    tags = sorted(image.tags) if image_id.tag is None else [image_id.tag]
                    gone |= dict.fromkeys([ImageId(image.digest, tag) for tag in tags] or [image_id])
        self._gone += gone
        self.fail(failures)
        self.pending = ()

    def apply(self, response: Mapping[str, Any]) -> None:
        """Takes over what ECR's answer says of the pending ids; an id that it leaves out stays pending.

        Raises UnknownOutcomeError where the answer did not arrive whole.

        A failure outweighs an entry among the deleted: an id asked by digest also answers to the tags of its image that
        went, and those may go while the image stays.
        """
        if not all(isinstance(response.get(name), list) for name in ("imageIds", "failures")):
            raise UnknownOutcomeError("ECR's answer did not arrive whole")
        asked = {image_id.tag: image_id.tag for image_id in self.pending}  # one copy of each is enough
        gone = [ImageId(i.digest, asked.get(i.tag, i.tag)) for i in map(ImageId.from_json, response["imageIds"])]
        named = {ImageId.from_json(entry["imageId"]): entry for entry in response["failures"] if entry.get("imageId")}
        entries = set(gone)
        tags = {image_id.tag for image_id in gone}
        # That a tag went which was asked for, and did not fail, says nothing of its image's digest.
        tags_asked = {i.tag for i in self.pending if i not in named and ImageId(tag=i.tag) not in named}
        digests = {image_id.digest for image_id in gone if image_id.tag is None or image_id.tag not in tags_asked}

        def answered(image_id: ImageId) -> bool:
            if image_id.digest is None:
                return image_id.tag in tags
            if image_id.tag is None:
                return image_id.digest in digests
            return image_id in entries or ImageId(digest=image_id.digest) in entries

        failures: dict[ImageId, ImageFailure] = {}
        silent: list[ImageId] = []
        for image_id in self.pending:
            entry = named.get(image_id)
            if entry is None and not answered(image_id):
                # ECR may name an id that was asked by digest and tag by one of them alone.
                entry = named.get(ImageId(digest=image_id.digest)) or named.get(ImageId(tag=image_id.tag))
                if entry is None:
                    silent.append(image_id)
            if entry:
                failures[image_id] = failure(image_id, entry)
        self._gone += gone
        self.fail(failures)
        self.pending = silent

    def outcome(self) -> ChunkOutcome:
        """Returns what became of all ids: as many entries of the deleted as one step may store."""
        failures, unconfirmed = tuple(self._failures.values()), tuple(self._unconfirmed)
        gone = [*self._gone, *unconfirmed]

        def first(count: int) -> ChunkOutcome:
            return ChunkOutcome(tuple(gone[:count]), failures, unconfirmed, len(gone) - count)

        # An entry for each of 100 ids is far below the limit; to measure them would cost a tenth of our own work.
        if len(gone) > len(self._asked):
            unanswered = set(self._asked)
            answers: dict[ImageId, bool] = {}
            for image_id in gone:  # first an entry for each id that was asked for, then those that went along
                answers[image_id] = bool(unanswered & ids_of([image_id]))
                unanswered -= ids_of([image_id])
            gone = sorted(answers, key=lambda image_id: not answers[image_id])
            return truncate_to_fit(first, len(gone), lambda outcome: len(json.dumps(outcome.to_json())), STORED_BYTES)
        return first(len(gone))
