"""Requests that put images into the archive, named or selected; and deletions of those that a grace period keeps."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING

from handler import guards, selection
from handler.deletion import CHANGING_STEPS
from handler.models.errors import OutOfTimeError, RefusedLookUpError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.images import Image, ImageFailure, ImageId, ListedImage, LookUp, ids_of
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.models.selection_outcome import SelectionOutcome
from handler.registry.listing import Contents, read_repository
from handler.registry.storage_class import Ledger, change_storage_class
from handler.selection.plan import parents_of
from handler.steps import Attempt

from .archive import Archive
from .execution import Execution, Named
from .image_ids import NamedImages
from .selection import AGAIN, SelectedImages

if TYPE_CHECKING:
    from handler.archive_records import ArchiveRecord

_DAY = 24 * 60 * 60
_TIMED_OUT = "timed-out"
_HIDDEN = "it was in the archive already; what it names cannot be known, and may not be there"


class ArchivedImages(NamedImages):
    """The steps of a request that names images to be archived."""

    _doubt: ImageFailure | None = None
    """Why it cannot be known whether anything else needs the relatives."""
    _all_in_doubt = False
    """Nor the images that are named: what cannot be read, is in use."""
    _users: Mapping[str, str] = {}
    """Who uses which image, by digest."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self._archive = execution.archive

    def carry_out(self) -> DeletionReport:
        """Archives the images that the request names, as wholes.

        None of them, if time did not suffice to look at the others, and an earlier receive was not finished either.
        Raises RejectedRequestError where its relatives make it too large, and what a redelivery may cure.
        """
        if self._steps.remembered(_TIMED_OUT):
            return self._timed_out("")
        self._find_relatives()
        self._relatives, unread = self._relatives.of_wholes()
        use = self._execution.use
        others_matter = self._relatives.parents or (use and not use.nothing)
        if others_matter and not self._steps.replaying:
            try:
                self._look_at_the_others()
            except OutOfTimeError as error:
                if not self._steps.met_unfinished:
                    raise
                return self._timed_out(f"{error}; nothing was archived now; {AGAIN}")
        report = self._passes.run(self._relatives, self._take_chunk)
        asked = sorted(unread & ids_of(report.image_ids), key=str)
        there = [ImageFailure(image_id, ARCHIVED_INDEX, _HIDDEN) for image_id in asked]
        return report._replace(kept=(*report.kept, *there))

    def _timed_out(self, reason: str) -> DeletionReport:
        """Returns the report where there is not enough time to begin; an earlier one keeps the reason that it gave."""
        known = ChunkOutcome(failures=(ImageFailure(ImageId(), "TimedOut", reason),))
        outcome, _ = self._steps.run(_TIMED_OUT, ChunkOutcome, lambda _: known)
        [failure] = outcome.failures
        failures = tuple(failure._replace(image_id=image_id) for image_id in self._request.image_ids)
        return DeletionReport(self._request, failures=failures, replayed=self._steps.replaying)

    def _look_at_the_others(self) -> None:
        """Finds what else names the images, or uses them: ECR may let one go that an index needs, and does not tell."""
        try:
            contents = read_repository(self._repository)
        except RefusedLookUpError as error:
            self._doubt = ImageFailure(ImageId(), error.code, error.reason)
            return
        images, (named, _) = contents.images, self._execution.remember_archive(contents)
        use = self._execution.use
        self._users = use.among(images, named) if use else {}
        needing = [i.digest for i in images if i.status != "ARCHIVED" or i.digest in self._users]
        if unread := [digest for digest in needing if named.get(digest, ()) is None]:
            reason = f"it may be named by {unread[0]}, and ECR does not show what that names"
            self._doubt = ImageFailure(ImageId(), "UnreadableIndex", reason)
            self._all_in_doubt = not self._users.keys().isdisjoint(unread)
        more: dict[str, list[str]] = {digest: list(known) for digest, known in self._relatives.parents.items()}
        for index, digests in named.items():
            for digest in more.keys() & (digests or ()):
                more[digest].append(index)
        self._relatives = self._relatives._replace(parents=more)

    def _work(self, attempt: Attempt, gone: AbstractSet[ImageId]) -> Callable[[Sequence[ImageId]], ChunkOutcome]:
        del attempt  # ECR itself remembers what was done
        return partial(
            change_storage_class,
            self._repository,
            guard=partial(self._may_go, gone=gone),
            action="archive",
            dry_run=self._request.dry_run,
            ledger=Ledger(self._remember, self._archive.close),
        )

    def _may_go(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        """Asks the guards of a deletion by digest: by whichever name, it is the image that is archived."""
        found = {i: image for i, image in look_up(image_ids).items() if isinstance(image, Image)}
        digests = {i: ImageId(image.digest) for i, image in found.items() if image.status != "ARCHIVED"}
        refused = self._guard(list(dict.fromkeys(digests.values())), look_up, gone) if digests else {}
        for own in {*digests.values()} - refused.keys():
            if user := self._users.get(str(own.digest)):
                refused[own] = guards.in_use(own, user)
            elif self._all_in_doubt and self._doubt:
                refused[own] = self._doubt
        return {i: refused[own]._replace(image_id=i) for i, own in digests.items() if own in refused}

    def _on_relatives(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        if self._doubt:
            return {image_id: self._doubt._replace(image_id=image_id) for image_id in image_ids}
        return super()._on_relatives(image_ids, look_up, gone)

    def _remember(self, image: Image) -> None:
        if image.status == "ARCHIVED":
            self._archive.keep(image.digest)
        else:
            names = self._relatives.names.get(image.digest, ())
            self._archive.remember(image, self._request.root_id, names, grace_days=None)


class ArchivedSelection(SelectedImages):
    """The steps of a request that says which images are to be archived; or deleted, where that has a grace period."""

    action = "archive"
    width = CHANGING_STEPS

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        deleting = self._request.action == "delete"
        self._grace_days = self._services.settings.grace_period_days if deleting else None
        self._archive = execution.archive
        self._until = time.time() + self._grace_days * _DAY if self._grace_days else None
        """Until when all that is archived can be restored, in seconds since the epoch."""
        self._names: dict[str, list[str]] = {}

    def _plan(self, contents: Contents) -> tuple[selection.Plan, Mapping[str, str]]:
        images, (named, archived) = contents.images, self._execution.remember_archive(contents)
        if archived is None and (self._begun_before or self._any_in_grace(images)):
            archived = Archive(self._execution, images)
        users = self._users(images, named)
        # An image in the archive needs nothing of what belongs to it, unless it is in use.
        others = [image for image in images if image.status != "ARCHIVED" or image.digest in users]
        there = {image.digest for image in others}
        plan = self._make_plan(
            others,
            {i: names for i, names in named.items() if i in there},
            self._protection(users),
            self._going_along(images, named, archived),
        )
        kept = plan.kept | {image.digest: "Archived" for image in images if image.digest not in there}
        plan = plan._replace(kept=kept)
        return self._with_earlier(plan, archived) if archived and self._begun_before else plan, users

    @property
    def _begun_before(self) -> bool:
        """Whether an earlier try or turn may have archived something."""
        return self._first_attempt_at is not None or bool(self._request.turn)

    def _any_in_grace(self, images: Sequence[ListedImage]) -> bool:
        return bool(self._grace_days) and any(image.status == "ARCHIVED" for image in images)

    def _going_along(self, images: Sequence[ListedImage], named: Named, archived: Archive | None) -> Collection[str]:
        """Returns what belongs to images that are in the archive already, and goes after them.

        That of this request; and what has not gone with images that a grace period keeps, for whatever reason. What
        somebody has restored by itself, stays.
        """
        restored = {image.digest for image in images if (image.activated or 0.0) > self._restored_since}
        if not (archived and self._any_in_grace(images)):
            return self._remembered - restored
        in_grace = archived.in_grace
        parents, untagged = parents_of(images, named)
        left_behind = {digest for digest in untagged & parents.keys() if in_grace.issuperset(parents[digest])}
        return (self._remembered | left_behind) - restored

    def _with_earlier(self, plan: selection.Plan, archived: Archive) -> selection.Plan:
        """Adds what earlier tries of this turn have archived: their report was lost with them."""
        mine = archived.archived_by(self._request.root_id)
        self._promise_no_later([record for _, record in mine])
        if self._first_attempt_at is None:
            return plan
        earlier = {image.digest: image for image, record in mine if record.turn == self._request.turn}
        kept = {digest: why for digest, why in plan.kept.items() if digest not in earlier}
        return plan._replace(levels=[[*earlier.values()], *plan.levels] if earlier else plan.levels, kept=kept)

    def _promise_no_later(self, records: Iterable["ArchiveRecord"]) -> None:
        ends = [record.not_before + record.grace_days * _DAY for record in records if record.grace_days is not None]
        self._until = min([*ends, *([] if self._until is None else [self._until])], default=None)

    def _failed(self, failures: Iterable[ImageFailure]) -> SelectionOutcome:
        """Returns the outcome where nothing could be selected; what was archived before, can be restored."""
        outcome = super()._failed(failures)
        if not (self._grace_days and self._begun_before):
            return outcome
        self._until = None
        records = self._archive.read().values()
        self._promise_no_later(record for record in records if record.request_id == self._request.root_id)
        return outcome._replace(restorable_until=self._until)

    @property
    def _restored_since(self) -> float:
        """Who restores an image does not want it archived again the next night."""
        return time.time() - self._grace_days * _DAY if self._grace_days else super()._restored_since

    def _prepare(self, plan: selection.Plan) -> None:
        super()._prepare(plan)
        for digest, parents in plan.parents.items():
            for parent in parents:
                self._names.setdefault(parent, []).append(digest)
        if self._grace_days and plan.selected and not self._request.dry_run:
            self._archive.announce()

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        selected = {ImageId(digest=image.digest): image for image in images}
        return change_storage_class(
            self._repository,
            list(selected),
            partial(guards.on_selected, selected),
            action="archive",
            dry_run=self._request.dry_run,
            ledger=Ledger(self._remember_image, self._archive.close),
        )

    def _remember_image(self, image: Image) -> None:
        if image.status != "ARCHIVED":
            names = self._names.get(image.digest, ())
            self._archive.remember(image, self._request.root_id, names, self._grace_days, self._request.turn)

    def _finished(self, outcome: SelectionOutcome) -> SelectionOutcome:
        outcome = super()._finished(outcome)
        if self._grace_days and outcome.deleted and not self._request.dry_run:
            return outcome._replace(restorable_until=self._until)
        return outcome
