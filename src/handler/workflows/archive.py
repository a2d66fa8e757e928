"""What a selection must know of images in the archive, beside what ECR says of them."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from handler import guards
from handler.archive_records import repositories_in_grace
from handler.models.images import ListedImage

from .execution import Execution

if TYPE_CHECKING:
    from handler.archive_records import ArchiveRecord


def nothing_ended(execution: Execution) -> bool:
    """Returns whether no grace period can have ended, so that the repository need not be listed."""
    now = time.time()
    return not any(record.may_have_ended(now) for record in execution.archive.read().values())


class Archive:
    """What this stack remembers of the archived images in a list.

    It is read after the list: what ECR lists as archived was remembered before it was archived.
    """

    def __init__(self, execution: Execution, images: Sequence[ListedImage]) -> None:
        records = execution.archive.read()
        self._selection, self._now = execution.request.selection, time.time()
        self._names = {digest: record.names for digest, record in records.items() if record.names is not None}
        self._known = [
            (image, record) for image in images if (record := records.get(image.digest)) and record.is_of(image)
        ]

    @property
    def known(self) -> set[str]:
        """The digests of those that this stack has archived."""
        return {image.digest for image, _ in self._known}

    @property
    def in_grace(self) -> set[str]:
        """The digests of those that were to be deleted, and can still be restored instead."""
        return {image.digest for image, record in self._known if record.in_grace(image, self._now)}

    @property
    def only(self) -> set[str] | None:
        """The digests of those that the selection can mean; None for all that are archived."""
        selection = self._selection
        if selection is None or (selection.count_type != "gracePeriodEnded" and selection.archived_by is None):
            return None
        ended = selection.count_type == "gracePeriodEnded"
        return {
            image.digest
            for image, record in self._known
            if (not ended or record.grace_ended(image, self._now))
            and selection.archived_by in {None, record.request_id}
        }

    def archived_by(self, request_id: str) -> "list[tuple[ListedImage, ArchiveRecord]]":
        """Returns those that a request has archived."""
        return [(image, record) for image, record in self._known if record.request_id == request_id]

    def completed(self, named: Mapping[str, Sequence[str] | None]) -> dict[str, Sequence[str] | None]:
        """Returns what indexes name, with those that ECR does not show, as far as it was remembered."""
        return {index: self._names.get(index) if digests is None else digests for index, digests in named.items()}


def targets_in_grace(execution: Execution) -> list[str]:
    """Returns the repositories of which a request for several is to delete what a grace period has kept.

    Those of other registries are named with them: `request_queue.child` takes that apart.
    """
    request, others = execution.request, execution.services.settings.foreign_registry_ids
    own = request.registry_id or execution.invocation.account_id
    kept = repositories_in_grace(execution.invocation.step_table(execution.services))
    names: list[str] = []
    for registry_id in (own,) if request.registry_id else (own, *others):
        existing = [name for registry, name in kept if registry == registry_id]
        found = guards.allowed_repositories(execution.rules, request, existing.copy)
        names += [name if registry_id == own else f"{name}@{registry_id}" for name in found]
    return sorted(names)
