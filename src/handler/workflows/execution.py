"""The execution of one request: the value that all workflows work with."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler import registry
from handler.bootstrap import Invocation, Services
from handler.guards import Rules
from handler.models.images import ListedImage
from handler.models.limits import CHUNK_SIZE
from handler.models.request import DeletionRequest
from handler.registry import Repository
from handler.steps import StepRunner

if TYPE_CHECKING:
    from logging import LoggerAdapter

    from handler.archive_records import ArchiveRecords
    from handler.usage.guard import RepositoryUse


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

    def read_indexes(self, images: Sequence[ListedImage]) -> dict[str, list[str] | None]:
        """Returns what each index among the images names; None for one that cannot be read."""
        indexes = itertools.batched([image.digest for image in images if image.is_index], CHUNK_SIZE, strict=False)
        read = self.invocation.pool.run(partial(registry.read_indexes, self.repository, digests) for digests in indexes)
        return {index: named for indexes_read in read for index, named in indexes_read.items()}

    @property
    def use(self) -> "RepositoryUse | None":
        """What is in use of the repository; None where the stack does not protect it."""
        usage = self.invocation.usage
        return usage.of(self.request.repository_name) if usage else None
