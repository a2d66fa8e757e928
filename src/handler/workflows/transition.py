"""A request that archives or restores images, with what belongs to them: those that it names, or selects."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from handler import guards, registry, selection
from handler.deletion import CHANGING_STEPS
from handler.models.errors import RefusedLookUpError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.images import Image, ImageFailure, ImageId, ListedImage, LookUp, ids_of
from handler.models.outcomes import ChunkOutcome, SelectionOutcome
from handler.models.report import DeletionReport
from handler.steps import Attempt

from .archive import Archive
from .execution import Execution
from .image_ids import NamedImages
from .selection import SelectedImages

_DAY = 24 * 60 * 60
_IN_PART = (
    "it is being restored, and what it names cannot be known before that is done, for ECR does not show it while it is "
    "in the archive: send the retryRequest in 20 minutes to restore that as well"
)


class TransitionedImages(NamedImages):
    """The steps of a request that names images to be archived or restored."""

    _doubt: ImageFailure | None = None
    """Why it cannot be known whether anything else needs the relatives."""

    def carry_out(self) -> DeletionReport:
        """Archives or restores the images that the request names, as wholes.

        Raises RejectedRequestError where its relatives make it too large, and what a redelivery may cure.
        """
        self._find_relatives()
        # What is not known of an index in the archive must not keep it there.
        found = self._relatives
        unread = {i for i, failure in found.failures.items() if failure.code == ARCHIVED_INDEX}
        named = set(found.digests.values())  # by a tag too: it is the image itself that is meant
        self._relatives = found._replace(
            parents={digest: parents for digest, parents in found.parents.items() if digest not in named},
            failures={i: failure for i, failure in found.failures.items() if i not in unread},
        )
        if self._request.action == "archive" and self._relatives.parents:
            self._find_other_indexes()
        report = self._passes.run(self._relatives, self._take_chunk)
        if self._request.action == "archive":
            return report
        image_ids, failures = restored_in_part(report.image_ids, unread, dry_run=self._request.dry_run)
        return report._replace(
            image_ids=image_ids,
            failures=(*report.failures, *failures),
            activating=max(0, report.activating - len(failures)),
        )

    def _find_other_indexes(self) -> None:
        """Finds what else names the relatives: ECR may let an image go that an index needs, and does not tell."""
        try:
            images = registry.list_images(self._repository)
        except RefusedLookUpError as error:
            self._doubt = ImageFailure(ImageId(), error.code, error.reason)
            return
        named = self._execution.read_indexes(images)
        if unread := [i.digest for i in images if i.status == "ACTIVE" and named.get(i.digest, ()) is None]:
            reason = f"it may be named by {unread[0]}, and ECR does not show what that names"
            self._doubt = ImageFailure(ImageId(), "UnreadableIndex", reason)
        more: dict[str, list[str]] = {digest: list(known) for digest, known in self._relatives.parents.items()}
        for index, digests in named.items():
            for digest in more.keys() & (digests or ()):
                more[digest].append(index)
        self._relatives = self._relatives._replace(parents=more)

    def _refused(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, ImageFailure]:
        return {} if self._request.action == "restore" else super()._refused(image_ids)

    def _take_chunk(
        self,
        attempt: Attempt,
        *,
        label: str,
        image_ids: Sequence[ImageId],
        gone: AbstractSet[ImageId],
        not_before: float,
    ) -> ChunkOutcome:
        del attempt  # ECR itself remembers what was done
        self._invocation.deadline.sleep(not_before - time.monotonic())
        request = self._request
        outcome = registry.change_storage_class(
            self._repository,
            image_ids,
            partial(self._may_change, gone=gone),
            action=request.action,
            dry_run=request.dry_run,
            remember=self._remember,
        )
        self._log.info("chunk done", extra={"step": label, "failed": len(outcome.failures), "replayed": False})
        return outcome

    def _may_change(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        """Asks the guards of a deletion by digest: by whichever name, it is the image that is archived."""
        if self._request.action == "restore" or not image_ids:
            return {}
        found = look_up(image_ids)
        digests = {i: ImageId(image.digest) for i in image_ids if isinstance(image := found.get(i), Image)}
        refused = self._guard(list(dict.fromkeys(digests.values())), look_up, gone)
        return {i: refused[own]._replace(image_id=i) for i, own in digests.items() if own in refused}

    def _on_relatives(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        if self._doubt:
            return {image_id: self._doubt._replace(image_id=image_id) for image_id in image_ids}
        return guards.on_relatives_to_archive(self._rules, self._relatives.parents, gone, image_ids, look_up)

    def _remember(self, image: Image) -> None:
        if self._request.action == "restore":
            return
        archive = self._execution.archive
        if image.status == "ARCHIVED":
            archive.keep(image.digest)
        else:
            names = self._relatives.names.get(image.digest, ())
            archive.remember(image.digest, self._request.root_id, names, grace_days=None)


class TransitionedSelection(SelectedImages):
    """The steps of a request that says which images are to be archived or restored.

    Images that are to be deleted are archived instead, where the stack has a grace period.
    """

    width = CHANGING_STEPS

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        in_grace = self._request.action == "delete"
        self._grace_days = self._services.settings.grace_period_days if in_grace else None
        self._began = time.time()
        self._names: dict[str, list[str]] = {}
        self.action = "archive" if self._grace_days else self._request.action

    def _refused(self) -> Iterable[ImageFailure]:
        return () if self.action == "restore" else super()._refused()

    def _plan(
        self, images: Sequence[ListedImage], named: Mapping[str, Sequence[str] | None], archive: Archive
    ) -> tuple[selection.Plan, Mapping[str, str]]:
        if self.action == "archive":
            return super()._plan(images, named, archive)
        return selection.make_restore_plan(self._selection, images, named, archive.now, archive.only(images)), {}

    @property
    def _restored_since(self) -> float:
        """Who restores an image does not want it archived again the next night."""
        return time.time() - self._grace_days * _DAY if self._grace_days else super()._restored_since

    def _admit(self, plan: selection.Plan, total: int) -> str | None:
        return None if self.action == "restore" else super()._admit(plan, total)

    def _prepare(self, plan: selection.Plan) -> None:
        if self.action == "restore" or self._request.dry_run:
            return
        super()._prepare(plan)
        for digest, parents in plan.parents.items():
            for parent in parents:
                self._names.setdefault(parent, []).append(digest)
        if self._grace_days and plan.selected:
            self._execution.archive.announce()

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        selected = {ImageId(digest=image.digest): image for image in images}
        guard = partial(guards.on_selected, selected)
        return registry.change_storage_class(
            self._repository,
            list(selected),
            (lambda _, __: {}) if self.action == "restore" else guard,
            action=self.action,
            dry_run=self._request.dry_run,
            remember=self._remember,
        )

    def _remember(self, image: Image) -> None:
        if self.action == "archive" and image.status != "ARCHIVED":
            names = self._names.get(image.digest, ())
            self._execution.archive.remember(image.digest, self._request.root_id, names, self._grace_days)

    def _finished(
        self, outcome: SelectionOutcome, plan: selection.Plan, named: Mapping[str, Sequence[str] | None]
    ) -> SelectionOutcome:
        outcome = super()._finished(outcome, plan, named)
        if self._grace_days and outcome.deleted and not self._request.dry_run:
            return outcome._replace(restorable_until=self._began + self._grace_days * _DAY)
        if self.action == "archive":
            return outcome
        unread = {
            ImageId(image.digest) for level in plan.levels for image in level if named.get(image.digest, ()) is None
        }
        image_ids, failures = restored_in_part(outcome.chunk.image_ids, unread, dry_run=self._request.dry_run)
        chunk = outcome.chunk._replace(
            image_ids=image_ids,
            failures=(*outcome.chunk.failures, *failures),
            activating=max(0, outcome.chunk.activating - len(failures)),
        )
        return outcome._replace(chunk=chunk, deleted=outcome.deleted - len(failures))


def restored_in_part(
    image_ids: Sequence[ImageId], unread: Collection[ImageId], *, dry_run: bool
) -> tuple[tuple[ImageId, ...], tuple[ImageFailure, ...]]:
    """Returns the images that are restored whole, and a failure for each index of which nothing more is known."""
    in_part = {i: own[0] for i in image_ids if (own := [asked for asked in ids_of([i]) if asked in unread])}
    if dry_run:
        return tuple(image_ids), ()
    whole = tuple(image_id for image_id in image_ids if image_id not in in_part)
    return whole, tuple(ImageFailure(asked, "RestoredInPart", _IN_PART) for asked in in_part.values())
