"""Requests that name the images to be put into the archive."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from handler import guards
from handler.models.errors import OutOfTimeError, RefusedLookUpError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.images import Image, ImageFailure, ImageId, LookUp, ids_of
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.registry.listing import read_repository
from handler.registry.storage_class import Ledger, change_storage_class
from handler.steps import Attempt

from .execution import Execution
from .image_ids import NamedImages
from .selection import AGAIN

_TIMED_OUT = "timed-out"
_HIDDEN = (
    "it, or an index that it names, was in the archive already; what that names cannot be known, and may not be there"
)


class ArchivedImages(NamedImages):
    """The steps of a request that names images to be archived."""

    _doubt: ImageFailure | None = None
    """Why it cannot be known whether anything else needs the relatives."""
    _all_in_doubt = False
    """Nor the images that are named: what cannot be read, is in use."""
    _users: Mapping[str, str] = {}
    """Who uses which image, by digest."""
    _too_late: ImageFailure | None = None
    """Why none is archived any more; those that an earlier receive has archived, are."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self._archive = execution.archive

    def carry_out(self) -> DeletionReport:
        """Archives the images that the request names, as wholes.

        None of them now, if time did not suffice to look at the others, and an earlier receive was not finished either.
        Raises RejectedRequestError where its relatives make it too large, and what a redelivery may cure.
        """
        if self._steps.remembered(_TIMED_OUT):
            self._too_late = self._timed_out("")
        self._find_relatives()
        self._relatives, unread = self._relatives.of_wholes()
        use = self._execution.use
        others_matter = self._relatives.parents or (use and not use.nothing)
        if others_matter and not (self._too_late or self._steps.replaying):
            try:
                self._look_at_the_others()
            except OutOfTimeError as error:
                if not self._steps.met_unfinished:
                    raise
                self._too_late = self._timed_out(f"{error}; it was not archived; {AGAIN}")
        report = self._passes.run(self._relatives, self._take_chunk)
        asked = sorted(unread & ids_of(report.image_ids), key=str)
        there = [ImageFailure(image_id, ARCHIVED_INDEX, _HIDDEN) for image_id in asked]
        return report._replace(kept=(*report.kept, *there))

    def _timed_out(self, reason: str) -> ImageFailure:
        """Stores that there is too little time, so that it stays so; returns the failure that was stored first."""
        known = ChunkOutcome(failures=(ImageFailure(ImageId(), "TimedOut", reason),))
        outcome, _ = self._steps.run(_TIMED_OUT, ChunkOutcome, lambda _: known)
        return outcome.failures[0]

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
        # ECR itself remembers what was done, and the records, by whom.
        records = {} if attempt.first_attempt_at is None else self._archive.read()

        def archived_before(image: Image) -> bool:
            record = records.get(image.digest)
            return record is not None and record.request_id == self._request.root_id and record.is_of(image)

        return partial(
            change_storage_class,
            self._repository,
            guard=partial(self._may_go, gone=gone),
            action="archive",
            dry_run=self._request.dry_run,
            ledger=Ledger(self._remember, self._archive.close, archived_before),
        )

    def _may_go(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        """Asks the guards of a deletion by digest: by whichever name, it is the image that is archived."""
        found = {i: image for i, image in look_up(image_ids).items() if isinstance(image, Image)}
        digests = {i: ImageId(image.digest) for i, image in found.items() if image.status != "ARCHIVED"}
        if self._too_late:
            return self._left_for_lack_of_time(digests, self._too_late, look_up)
        refused = self._guard(list(dict.fromkeys(digests.values())), look_up, gone) if digests else {}
        for own in {*digests.values()} - refused.keys():
            if user := self._users.get(str(own.digest)):
                refused[own] = guards.in_use(own, user)
            elif self._all_in_doubt and self._doubt:
                refused[own] = self._doubt
        return {i: refused[own]._replace(image_id=i) for i, own in digests.items() if own in refused}

    def _left_for_lack_of_time(
        self, digests: Mapping[ImageId, ImageId], too_late: ImageFailure, look_up: LookUp
    ) -> dict[ImageId, ImageFailure]:
        """Returns a failure for each of the others; what belongs to an image that stays, stays with it."""
        owners = {i: self._relatives.parents[i.digest or ""] for i in digests if i.digest in self._relatives.parents}
        found = look_up([ImageId(owner) for owner in {*itertools.chain(*owners.values())}]) if owners else {}
        gone = {image.digest for image in found.values() if isinstance(image, Image) and image.status == "ARCHIVED"}
        stays = ImageFailure(ImageId(), "StillUsed", "what it belongs to was not archived")
        return {
            i: (stays if i in owners and gone.isdisjoint(owners[i]) else too_late)._replace(image_id=i) for i in digests
        }

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
            if self._archived:
                self._archived.forget()
