"""What a selection must know of images in the archive, beside what ECR says of them."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from handler import guards
from handler.archive_records import ArchiveRecord, repositories_in_grace
from handler.models.images import ListedImage

from .execution import Execution


class Archive(NamedTuple):
    """What this stack remembers of the archived images of a repository."""

    records: Mapping[str, ArchiveRecord]
    now: float
    ended_only: bool
    """The selection means images whose grace period has ended."""
    request_id: str | None
    """It means images that this request has archived."""

    @classmethod
    def of(cls, execution: Execution) -> "Archive":
        """Reads what a request must know; nothing, where it does not mean archived images."""
        selection, now = execution.request.selection, time.time()
        if selection is None or not selection.of_archive:
            return cls({}, now, ended_only=False, request_id=None)
        ended = selection.count_type == "gracePeriodEnded"
        return cls(execution.archive.read(), now, ended, selection.archived_by)

    @property
    def nothing_ended(self) -> bool:
        """Whether no image can be meant, so that the repository need not be listed."""
        return self.ended_only and not any(record.may_have_ended(self.now) for record in self.records.values())

    def in_grace(self, images: Sequence[ListedImage]) -> set[str]:
        """Returns the digests of those that were to be deleted, and can still be restored instead."""
        return {image.digest for image, record in self._known(images) if record.in_grace(image, self.now)}

    def only(self, images: Sequence[ListedImage]) -> set[str] | None:
        """Returns the digests of those that the selection can mean; None for all that are archived."""
        if not self.ended_only and self.request_id is None:
            return None
        return {
            image.digest
            for image, record in self._known(images)
            if record.is_of(image)
            and (not self.ended_only or record.grace_ended(image, self.now))
            and self.request_id in {None, record.request_id}
        }

    def completed(self, named: Mapping[str, Sequence[str] | None]) -> dict[str, Sequence[str] | None]:
        """Returns what indexes name, with those that ECR does not show, as far as it was remembered."""
        return {
            index: self.records[index].names if digests is None and index in self.records else digests
            for index, digests in named.items()
        }

    def _known(self, images: Sequence[ListedImage]) -> list[tuple[ListedImage, ArchiveRecord]]:
        return [(image, self.records[image.digest]) for image in images if image.digest in self.records]


def targets_in_grace(execution: Execution) -> list[str]:
    """Returns the repositories of which a request for several is to delete what a grace period has kept.

    Those of other registries are named with them: `request_queue.child` takes that apart.
    """
    own, request = execution.invocation.account_id, execution.request
    registries = (
        [request.registry_id] if request.registry_id else [own, *execution.services.settings.foreign_registry_ids]
    )
    kept = repositories_in_grace(execution.invocation.step_table(execution.services))
    names: list[str] = []
    for registry in registries:
        existing = [name for of, name in kept if of == registry]
        found = guards.allowed_repositories(execution.rules, request, existing.copy)
        names += [name if registry == registries[0] else f"{name}@{registry}" for name in found]
    return sorted(names)
