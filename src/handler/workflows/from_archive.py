"""Requests that bring images back from the archive, named or selected."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from handler import guards, selection
from handler.deletion import CHANGING_STEPS
from handler.models.errors import RefusedLookUpError, UnfinishedRequestError
from handler.models.failure_codes import RESTORED_IN_PART
from handler.models.images import Image, ImageFailure, ImageId, ListedImage, LookUp, ids_of
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.models.selection_outcome import SelectionOutcome
from handler.registry import look_up
from handler.registry.listing import Contents
from handler.registry.storage_class import change_storage_class
from handler.selection.restore_plan import make_restore_plan
from handler.steps import Attempt

from .image_ids import NamedImages
from .selection import SelectedImages

_IN_PART = (
    "it is restored without what it names, which cannot be known before that is done: ECR does not show it while it is "
    "in the archive; send the retryRequest 20 minutes later to restore that as well"
)


class RestoredImages(NamedImages):
    """The steps of a request that names images to be restored."""

    def carry_out(self) -> DeletionReport:
        """Restores the images that the request names, as wholes. Raises what a redelivery may cure."""
        self._find_relatives()
        self._relatives, unread = self._relatives.of_wholes()
        report = self._passes.run(self._relatives, self._take_chunk)
        image_ids, failures = restored_in_part(report.image_ids, unread)
        return report._replace(
            image_ids=image_ids,
            failures=(*report.failures, *failures),
            activating=max(0, report.activating - len(failures)),
        )

    def _refused(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, ImageFailure]:
        return guards.on_dry_run(self._rules, self._request, image_ids)

    def _work(self, attempt: Attempt, gone: AbstractSet[ImageId]) -> Callable[[Sequence[ImageId]], ChunkOutcome]:
        del attempt, gone  # ECR itself remembers what was done, and nothing goes
        return partial(
            change_storage_class,
            self._repository,
            guard=self._may_return,
            action="restore",
            dry_run=self._request.dry_run,
        )

    def _may_return(self, image_ids: Sequence[ImageId], look_up: LookUp) -> Mapping[ImageId, ImageFailure]:
        if not (stopped := guards.on_dry_run(self._rules, self._request, image_ids)):
            return {}
        found = look_up(image_ids)
        return {i: failure for i, failure in stopped.items() if not is_restored(found.get(i))}


class RestoredSelection(SelectedImages):
    """The steps of a request that says which images are to be restored."""

    action = "restore"
    width = CHANGING_STEPS
    _unread: frozenset[ImageId] = frozenset()
    """The indexes of which it is not known what they name."""
    _unread_before: Sequence[ImageId] = ()
    """The same of earlier tries."""

    def _refused(self) -> Iterable[ImageFailure]:
        return guards.on_dry_run(self._rules, self._request, [ImageId()]).values()

    def _plan(self, contents: Contents) -> tuple[selection.Plan, Mapping[str, str]]:
        images, (named, archived) = contents.images, self._execution.remember_archive(contents)
        plan = make_restore_plan(self._selection, images, named, time.time(), archived.only if archived else None)
        going = [image for level in plan.levels for image in level]
        self._unread = frozenset(ImageId(image.digest) for image in going if named.get(image.digest, ()) is None)
        self._unread_before = sorted(self._take_over_unread() - self._unread, key=str)
        told = {image_id.digest for image_id in (*self._unread_before, *self._settled)}
        return plan._replace(kept={digest: why for digest, why in plan.kept.items() if digest not in told}), {}

    def _take_over_unread(self) -> set[ImageId]:
        """Returns the indexes that earlier tries may have restored without what they name; they are not settled."""
        turn = self._request.turn
        before = set(map(ImageId, self._digests(f"unread/{turn}"))) if self._first_attempt_at is not None else set()
        before |= set(map(ImageId, self._digests(f"unread/{turn - 1}"))) & self._settled.keys()
        self._settled = {i: image for i, image in self._settled.items() if i not in before}
        return before

    def _is_done(self, image_id: ImageId, image: Image | None) -> bool:
        """Returns whether an image has left the archive."""
        return image is not None and image.digest == image_id.digest and is_restored(image)

    def _with_settled(self, outcome: SelectionOutcome) -> SelectionOutcome:
        """Adds what an earlier try has restored: it is there, which needs no confirmation."""
        counted, chunk = super()._with_settled(outcome), outcome.chunk
        settled = [image for image in self._settled.values() if image]
        activating = chunk.activating + sum(image.status == "ACTIVATING" for image in settled)
        return counted._replace(
            chunk=counted.chunk._replace(unconfirmed=chunk.unconfirmed, activating=activating),
            bytes=counted.bytes + sum(image.size for image in settled),
        )

    def _admit(self, plan: selection.Plan, total: int) -> str | None:
        """Admits any plan: what comes back needs no limit."""
        del plan, total
        return None

    def _prepare(self, plan: selection.Plan) -> None:
        """Stores what it will not know of an index once that is on its way."""
        del plan
        if self._unread and not self._request.dry_run:
            unread = [str(image_id.digest) for image_id in sorted(self._unread, key=str)]
            self._remember(f"unread/{self._request.turn}", unread)

    def _failed(self, failures: Iterable[ImageFailure]) -> SelectionOutcome:
        """Returns the outcome where nothing could be selected, and the indexes that an earlier try has restored."""
        before = self._take_over_unread()
        outcome = super()._failed(failures)
        try:
            found = look_up(self._repository, sorted(before, key=str)) if before else {}
        except (RefusedLookUpError, UnfinishedRequestError):  # there may be no time left
            return outcome
        _, in_part = restored_in_part([i for i, image in found.items() if is_restored(image)], before)
        chunk = outcome.chunk._replace(failures=(*outcome.chunk.failures, *in_part))
        return outcome._replace(chunk=chunk)

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        image_ids = [ImageId(digest=image.digest) for image in images]
        return change_storage_class(
            self._repository, image_ids, lambda _, __: {}, action="restore", dry_run=self._request.dry_run
        )

    def _finished(self, outcome: SelectionOutcome) -> SelectionOutcome:
        outcome = super()._finished(outcome)
        # What an earlier try has begun to restore is not among the images of this one.
        earlier = self._unread_before
        image_ids, failures = restored_in_part([*outcome.chunk.image_ids, *earlier], self._unread | {*earlier})
        chunk = outcome.chunk._replace(
            image_ids=image_ids,
            failures=(*outcome.chunk.failures, *failures),
            activating=max(0, outcome.chunk.activating - (len(failures) - len(earlier))),
        )
        return outcome._replace(
            chunk=chunk,
            selected=outcome.selected + len(earlier),
            deleted=outcome.deleted + len(earlier) - len(failures),
        )


def is_restored(image: Image | ImageFailure | None) -> bool:
    """Returns whether an image is where it can be pulled, or on its way there."""
    return isinstance(image, Image) and image.status != "ARCHIVED"


def restored_in_part(
    image_ids: Sequence[ImageId], unread: Collection[ImageId]
) -> tuple[tuple[ImageId, ...], tuple[ImageFailure, ...]]:
    """Returns the images that are restored whole, and a failure for each index of which nothing more is known."""
    in_part = sorted(ids_of(image_ids) & set(unread), key=str) if unread else []
    if not in_part:
        return tuple(image_ids), ()
    whole = tuple(image_id for image_id in image_ids if ids_of([image_id]).isdisjoint(in_part))
    return whole, tuple(ImageFailure(asked, RESTORED_IN_PART, _IN_PART) for asked in in_part)
