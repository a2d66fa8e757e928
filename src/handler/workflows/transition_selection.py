"""A request that says which images are to be archived or restored; or deleted, where that has a grace period."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from handler import guards, selection
from handler.deletion import CHANGING_STEPS
from handler.models.images import Image, ImageFailure, ImageId, ListedImage
from handler.models.outcomes import ChunkOutcome, SelectionOutcome
from handler.registry.storage_class import Ledger, change_storage_class
from handler.selection.plan import parents_among
from handler.selection.restore_plan import make_restore_plan

from .archive import Archive
from .execution import Execution
from .selection import Named, SelectedImages
from .transition_image_ids import restored_in_part

if TYPE_CHECKING:
    from handler.archive_records import ArchiveRecord

_DAY = 24 * 60 * 60


class TransitionedSelection(SelectedImages):
    """The steps of a request that says which images are to be archived or restored.

    Images that are to be deleted are archived instead, where the stack has a grace period.
    """

    width = CHANGING_STEPS

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        instead = self._request.action == "delete"
        self.action = "archive" if instead else self._request.action
        self._grace_days = self._services.settings.grace_period_days if instead else None
        self._archive = execution.archive
        self._until = time.time() + self._grace_days * _DAY if self._grace_days else None
        """Until when all that is archived can be restored, in seconds since the epoch."""
        self._names: dict[str, list[str]] = {}
        self._unread: set[ImageId] = set()
        """Of those to be restored, the indexes of which it is not known what they name."""
        self._unread_before: list[ImageId] = []
        """The same of earlier tries."""

    def _refused(self) -> Iterable[ImageFailure]:
        if self.action == "restore":
            return guards.on_dry_run(self._rules, self._request, [ImageId()]).values()
        return super()._refused()

    def _plan(self, images: Sequence[ListedImage]) -> tuple[selection.Plan, Mapping[str, str]]:
        named, archived = self._read_indexes(images)
        if self.action == "restore":
            plan = make_restore_plan(self._selection, images, named, time.time(), archived.only if archived else None)
            going = [image for level in plan.levels for image in level]
            self._unread = {ImageId(image.digest) for image in going if named.get(image.digest, ()) is None}
            if self._first_attempt_at is not None:
                stored = self._steps.remembered(f"unread/{self._request.turn}/")
                before = {ImageId(digest) for outcome in stored for digest in outcome["digests"]}
                self._unread_before = sorted(before - self._unread, key=str)
            told = {image_id.digest for image_id in self._unread_before}
            return plan._replace(kept={digest: why for digest, why in plan.kept.items() if digest not in told}), {}
        users = self._users(images, named)
        # An image in the archive needs nothing of what belongs to it, unless it is in use.
        others = [image for image in images if image.status != "ARCHIVED" or image.digest in users]
        there = {image.digest for image in others}
        plan = self._make_plan(
            others,
            {i: names for i, names in named.items() if i in there},
            self._protection(users),
            self._going_along(images, named),
        )
        kept = plan.kept | {image.digest: "Archived" for image in images if image.digest not in there}
        return self._with_earlier(plan._replace(kept=kept), images), users

    def _going_along(self, images: Sequence[ListedImage], named: Named) -> Collection[str]:
        """Returns what belongs to images that are in the archive already, and goes after them.

        That of this request; and what has not gone with images that a grace period keeps, for whatever reason. What
        somebody has restored by itself, stays.
        """
        restored = {image.digest for image in images if (image.activated or 0.0) > self._restored_since}
        if not (self._grace_days and any(image.status == "ARCHIVED" for image in images)):
            return self._remembered - restored
        in_grace = Archive(self._execution, images).in_grace
        parents = parents_among(images, named)
        left_behind = {digest for digest, owners in parents.items() if in_grace.issuperset(owners)}
        return (self._remembered | left_behind) - restored

    def _with_earlier(self, plan: selection.Plan, images: Sequence[ListedImage]) -> selection.Plan:
        """Adds what earlier tries of this turn have archived: their report was lost with them."""
        if self._first_attempt_at is None and not self._request.turn:
            return plan
        mine = Archive(self._execution, images).archived_by(self._request.root_id)
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
        if not self._grace_days or (self._first_attempt_at is None and not self._request.turn):
            return outcome
        self._until = None
        records = self._archive.read().values()
        self._promise_no_later(record for record in records if record.request_id == self._request.root_id)
        return outcome._replace(restorable_until=self._until)

    @property
    def _restored_since(self) -> float:
        """Who restores an image does not want it archived again the next night."""
        return time.time() - self._grace_days * _DAY if self._grace_days else super()._restored_since

    def _admit(self, plan: selection.Plan, total: int) -> str | None:
        return None if self.action == "restore" else super()._admit(plan, total)

    def _prepare(self, plan: selection.Plan) -> None:
        if self._request.dry_run:
            return
        if self._unread:
            unread = [str(image_id.digest) for image_id in sorted(self._unread, key=str)]
            self._remember(f"unread/{self._request.turn}", unread)
        super()._prepare(plan)
        for digest, parents in plan.parents.items():
            for parent in parents:
                self._names.setdefault(parent, []).append(digest)
        if self._grace_days and plan.selected:
            self._archive.announce()

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        selected = {ImageId(digest=image.digest): image for image in images}
        guard = partial(guards.on_selected, selected)
        return change_storage_class(
            self._repository,
            list(selected),
            (lambda _, __: {}) if self.action == "restore" else guard,
            action=self.action,
            dry_run=self._request.dry_run,
            ledger=Ledger(self._remember_image, self._archive.close),
        )

    def _remember_image(self, image: Image) -> None:
        if self.action == "archive" and image.status != "ARCHIVED":
            names = self._names.get(image.digest, ())
            self._archive.remember(image, self._request.root_id, names, self._grace_days, self._request.turn)

    def _finished(self, outcome: SelectionOutcome) -> SelectionOutcome:
        outcome = super()._finished(outcome)
        if self._grace_days and outcome.deleted and not self._request.dry_run:
            return outcome._replace(restorable_until=self._until)
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
