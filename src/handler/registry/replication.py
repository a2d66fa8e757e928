"""Where ECR deletes as well what is deleted here: the registry's replication rules that have deleteReplication."""

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import OutOfTimeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mypy_boto3_ecr import ECRClient

_REMEMBERED_SECONDS = 600


class Destination(NamedTuple):
    """A registry that gets copies of images, and loses them when they are deleted here."""

    region: str
    registry_id: str


class Replication:
    """The replication rules of the function's own registry, read every ten minutes at most; threads share them.

    They are only reported and decide nothing: where they cannot be read, reports leave them out.
    """

    def __init__(self, ecr: "ECRClient") -> None:
        self._ecr = ecr
        self._rules: list[Any] = []
        self._read_at: float | None = None
        self._lock = Lock()

    def of(
        self, repository_name: str, calling: "Callable[[], AbstractContextManager[None]]"
    ) -> tuple[Destination, ...]:
        """Returns where the deletions in a repository are replicated to; `calling` surrounds the call."""
        with self._lock, suppress(OutOfTimeError):
            if self._read_at is None or time.monotonic() - self._read_at > _REMEMBERED_SECONDS:
                self._rules = self._read(calling)
                self._read_at = time.monotonic()
        found = {
            Destination(destination["region"], destination["registryId"])
            for rule in self._rules
            if rule.get("deleteReplication", {}).get("enabled") and _covers(rule, repository_name)
            for destination in rule["destinations"]
        }
        return tuple(sorted(found))

    def _read(self, calling: "Callable[[], AbstractContextManager[None]]") -> list[Any]:
        try:
            with calling():
                response: Any = self._ecr.describe_registry()
        except (ClientError, BotoCoreError):
            return []
        rules: list[Any] = response.get("replicationConfiguration", {}).get("rules", [])
        return rules


def _covers(rule: Any, repository_name: str) -> bool:
    """Returns whether a rule is about a repository: without a filter, it is about all of them."""
    filters = rule.get("repositoryFilters")
    return not filters or any(repository_name.startswith(entry["filter"]) for entry in filters)
