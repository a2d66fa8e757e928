"""The execution of one request: the value that all workflows work with."""

from typing import TYPE_CHECKING, Any, NamedTuple

from handler.bootstrap import Invocation, Services
from handler.guards import Rules
from handler.models.request import DeletionRequest
from handler.registry import Repository
from handler.steps import StepRunner

if TYPE_CHECKING:
    from logging import LoggerAdapter

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
    def use(self) -> "RepositoryUse | None":
        """What is in use of the repository; None where the stack does not protect it."""
        usage = self.invocation.usage
        return usage.of(self.request.repository_name) if usage else None
