"""A request that names images to be archived or restored, with what belongs to them."""

import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from handler import guards, registry
from handler.models.errors import RefusedLookUpError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.images import Image, ImageFailure, ImageId, LookUp, ids_of
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.registry.storage_class import Ledger, change_storage_class
from handler.steps import Attempt

from .execution import Execution
from .image_ids import NamedImages

_HIDDEN = "it was in the archive already; what it names cannot be known, and may not be there"
_IN_PART = (
    "it is restored without what it names, which cannot be known before that is done: ECR does not show it while it is "
    "in the archive; send the retryRequest 20 minutes later to restore that as well"
)


class TransitionedImages(NamedImages):
    """The steps of a request that names images to be archived or restored."""

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
        use = self._execution.use
        others_matter = self._relatives.parents or (use and not use.nothing)
        if self._request.action == "archive" and others_matter and not self._steps.replaying:
            self._look_at_the_others()
        report = self._passes.run(self._relatives, self._take_chunk)
        if self._request.action == "archive":
            asked = sorted(unread & ids_of(report.image_ids), key=str)
            there = [ImageFailure(image_id, ARCHIVED_INDEX, _HIDDEN) for image_id in asked]
            return report._replace(kept=(*report.kept, *there))
        image_ids, failures = restored_in_part(report.image_ids, unread)
        return report._replace(
            image_ids=image_ids,
            failures=(*report.failures, *failures),
            activating=max(0, report.activating - len(failures)),
        )

    def _look_at_the_others(self) -> None:
        """Finds what else names the images, or uses them: ECR may let one go that an index needs, and does not tell."""
        try:
            images = registry.list_images(self._repository)
        except RefusedLookUpError as error:
            self._doubt = ImageFailure(ImageId(), error.code, error.reason)
            return
        named: dict[str, Sequence[str] | None] = {**self._execution.read_indexes(images)}
        hidden = [i.digest for i in images if i.status != "ACTIVE" and named.get(i.digest, ()) is None]
        named |= self._archive.names_of(hidden)
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

    def _refused(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, ImageFailure]:
        if self._request.action == "restore":
            return guards.on_dry_run(self._rules, self._request, image_ids)
        return super()._refused(image_ids)

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
        outcome = change_storage_class(
            self._repository,
            image_ids,
            partial(self._may_change, gone=gone),
            action=request.action,
            dry_run=request.dry_run,
            ledger=Ledger(self._remember, self._archive.close),
        )
        self._log.info("chunk done", extra={"step": label, "failed": len(outcome.failures), "replayed": False})
        return outcome

    def _may_change(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        """Asks the guards of a deletion by digest: by whichever name, it is the image that is archived."""
        if self._request.action == "restore":
            return guards.on_dry_run(self._rules, self._request, image_ids)
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
        if self._request.action == "restore":
            return
        if image.status == "ARCHIVED":
            self._archive.keep(image.digest)
        else:
            names = self._relatives.names.get(image.digest, ())
            self._archive.remember(image, self._request.root_id, names, grace_days=None)


def restored_in_part(
    image_ids: Sequence[ImageId], unread: Collection[ImageId]
) -> tuple[tuple[ImageId, ...], tuple[ImageFailure, ...]]:
    """Returns the images that are restored whole, and a failure for each index of which nothing more is known."""
    in_part = sorted(ids_of(image_ids) & set(unread), key=str) if unread else []
    if not in_part:
        return tuple(image_ids), ()
    whole = tuple(image_id for image_id in image_ids if ids_of([image_id]).isdisjoint(in_part))
    return whole, tuple(ImageFailure(asked, "RestoredInPart", _IN_PART) for asked in in_part)
