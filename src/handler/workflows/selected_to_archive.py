"""Selections whose images go into the archive: to stay there, or for a grace period instead of being deleted."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from handler import guards, selection
from handler.archive_records import CLOCK_SECONDS
from handler.deletion import CHANGING_STEPS
from handler.models.errors import RefusedLookUpError, UnfinishedRequestError
from handler.models.images import Image, ImageFailure, ImageId, ListedImage
from handler.models.outcomes import ChunkOutcome
from handler.models.selection_outcome import SelectionOutcome
from handler.registry import look_up
from handler.registry.listing import Contents
from handler.registry.storage_class import Ledger, change_storage_class
from handler.selection.plan import Parents, parents_of

from .archive import Archive
from .doubt import Settled, left_in_doubt
from .execution import Execution
from .selection import SelectedImages

if TYPE_CHECKING:
    from handler.archive_records import ArchiveRecord

_DAY = 24 * 60 * 60


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
        if archived is None and (self._begun_before or any(image.status == "ARCHIVED" for image in images)):
            archived = Archive(self._execution, images)
        users = self._users(images, named)
        # An image in the archive needs nothing of what belongs to it, unless it is in use.
        others = [image for image in images if image.status != "ARCHIVED" or image.digest in users]
        there = {image.digest for image in others}
        parents, untagged = parents_of(images, named)
        plan = self._make_plan(
            others,
            {i: names for i, names in named.items() if i in there},
            self._protection(users)._replace(belonging=untagged & parents.keys()),
            self._going_along(images, parents, untagged, archived),
        )
        kept = plan.kept | {image.digest: "Archived" for image in images if image.digest not in there}
        plan = plan._replace(kept=kept)
        return self._with_earlier(plan, archived) if archived and self._begun_before else plan, users

    def _settle(self) -> Settled:
        """Leaves it to the records, which tell what an earlier try has archived."""
        return {}

    @property
    def _begun_before(self) -> bool:
        """Whether an earlier try or turn may have archived something."""
        return self._first_attempt_at is not None or bool(self._request.turn)

    def _going_along(
        self, images: Sequence[ListedImage], parents: Parents, untagged: Collection[str], archived: Archive | None
    ) -> Collection[str]:
        """Returns what belongs to images that are in the archive already, and goes after them.

        That of this request; and what has not gone with images that this stack has archived, for whatever reason: of
        a deletion, with those that a grace period keeps. What somebody has restored by itself, stays.
        """
        restored = {image.digest for image in images if (image.activated or 0.0) > self._restored_since}
        if archived is None:
            return self._remembered - restored
        gone = archived.in_grace if self._grace_days else archived.known
        left_behind = {digest for digest in untagged if digest in parents and gone.issuperset(parents[digest])}
        return (self._remembered | left_behind) - restored

    def _with_earlier(self, plan: selection.Plan, archived: Archive) -> selection.Plan:
        """Adds what earlier tries of this turn have archived, whose report was lost, and what was left in doubt."""
        mine = archived.archived_by(self._request.root_id)
        self._promise_no_later([record for _, record in mine])
        before = self._may_be_taken_before()
        earlier = {image.digest: image for image, record in mine if before(image.digest, record)}
        kept = {digest: why for digest, why in plan.kept.items() if digest not in earlier}
        return plan._replace(levels=[[*earlier.values()], *plan.levels] if earlier else plan.levels, kept=kept)

    def _may_be_taken_before(self) -> "Callable[[str, ArchiveRecord], bool]":
        """Returns whether it may be an earlier try that has archived an image of this request.

        One of this turn, or the last one of the turn before, which has left it in doubt.
        """
        doubtful = {image_id.digest for image_id in left_in_doubt(self._execution)}
        turn, since = self._request.turn, self._first_attempt_at

        def may_be(digest: str, record: "ArchiveRecord") -> bool:
            own = since is not None and record.turn == turn and record.not_before >= since - CLOCK_SECONDS
            return own or digest in doubtful

        return may_be

    def _promise_no_later(self, records: Iterable["ArchiveRecord"]) -> None:
        ends = [record.not_before + record.grace_days * _DAY for record in records if record.grace_days is not None]
        self._until = min([*ends, *([] if self._until is None else [self._until])], default=None)

    def _failed(self, failures: Iterable[ImageFailure]) -> SelectionOutcome:
        """Returns the outcome where nothing could be selected; what was archived before, can be restored."""
        outcome = super()._failed(failures)
        if not self._begun_before:
            return outcome
        mine = {i: record for i, record in self._archive.read().items() if record.request_id == self._request.root_id}
        self._until = None
        self._promise_no_later(mine.values())
        done = self._done_before(mine)
        return outcome._replace(
            selected=outcome.selected + len(done),
            deleted=outcome.deleted + len(done),
            bytes=sum(image.size for image in done),
            chunk=outcome.chunk._replace(image_ids=tuple(ImageId(image.digest) for image in done)),
            restorable_until=self._until if self._grace_days else None,
        )

    def _done_before(self, records: Mapping[str, "ArchiveRecord"]) -> list[Image]:
        """Returns what earlier tries have archived, as far as there is time to look."""
        before = self._may_be_taken_before()
        asked = [ImageId(digest) for digest, record in records.items() if before(digest, record)]
        try:
            found = look_up(self._repository, asked) if asked else {}
        except (RefusedLookUpError, UnfinishedRequestError):  # there may be no time left
            return []
        return [i for i in found.values() if isinstance(i, Image) and records[i.digest].is_of(i)]

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
