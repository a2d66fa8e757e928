"""The execution of one request: the value that all workflows work with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.bootstrap import Invocation, Services
from handler.guards import Rules
from handler.models.request import DeletionRequest
from handler.registry import Repository
from handler.step_table import or_unavailable
from handler.steps import StepRunner

if TYPE_CHECKING:
    from logging import LoggerAdapter

    from handler.archive_records import ArchiveRecords
    from handler.registry.listing import Contents
    from handler.usage.guard import RepositoryUse

    from .archive import Archive
    from .archived_needs import ArchivedNeeds

type Named = Mapping[str, Sequence[str] | None]
"""What each index names; None for one of which that is not known."""


class Execution(NamedTuple):
    """One request under its claim, with the services and the invocation that carry it out."""

    request: DeletionRequest
    steps: StepRunner
    services: Services
    invocation: Invocation
    log: "LoggerAdapter[Any]"

    @property
    def rules(self) -> Rules:
        """The stack's guards."""
        return self.services.rules

    @property
    def repository(self) -> Repository:
        """The request's repository."""
        return self.invocation.repository(self.services, self.request)

    @property
    def archive(self) -> "ArchiveRecords":
        """What this stack has archived of the repository."""
        from handler.archive_records import ArchiveRecords  # noqa: PLC0415  # what is not used is not imported

        registry_id = self.request.registry_id or self.invocation.account_id
        return ArchiveRecords(self.invocation.step_table(self.services), registry_id, self.request.repository_name)

    @property
    def archived_needs(self) -> "ArchivedNeeds | None":
        """What indexes in the archive need, to be read once; None where the stack archives nothing."""
        settings = self.services.settings
        if not (settings.allow_archive or settings.grace_period_days):
            return None
        from .archived_needs import ArchivedNeeds  # noqa: PLC0415  # what is not used is not imported

        return ArchivedNeeds(self)

    def remember_archive(self, contents: "Contents") -> "tuple[Named, Archive | None]":
        """Returns what each index of a repository names, and what is remembered of the archive.

        None of an index that cannot be read: what an archived one names may be remembered, where ECR does not show it.
        None of the archive where nobody must know.
        """
        images, named = contents
        of_archive = self.request.selection is not None and self.request.selection.of_archive
        unread = any(image.status != "ACTIVE" and named.get(image.digest, ()) is None for image in images)
        if not (of_archive or unread):
            return named, None
        from .archive import Archive  # noqa: PLC0415  # what is not used is not imported

        archived = Archive(self, images)
        return archived.completed(named), archived

    @property
    def use(self) -> "RepositoryUse | None":
        """What is in use of the repository; None where the stack does not protect it.

        Raises ServiceUnavailableError.
        """
        if (usage := self.invocation.usage) is None:
            return None
        with or_unavailable("DynamoDB did not tell what is in use"):
            return usage.of(self.request.repository_name)
