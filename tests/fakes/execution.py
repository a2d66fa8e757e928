"""Makes what a workflow needs: a request, its steps, and services that are in memory."""

from collections.abc import Callable
from typing import Any

from handler.bootstrap import Invocation
from handler.concurrency import Deadline
from handler.models.request import DeletionRequest
from handler.steps import StepRunner
from handler.workflows.execution import Execution
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.steps import INLINE
from tests.values import LOG

UNHURRIED = Deadline(lambda: 600.0)
"""That of an invocation with ten minutes left."""


def execution(
    clients: Clients,
    request: DeletionRequest,
    steps: StepRunner,
    *,
    remaining_seconds: Callable[[], float] = lambda: 60.0,
    **settings: Any,
) -> Execution:
    """One request under its claim, in an invocation with a minute left, whose tasks run one after the other."""
    context: Any = FakeLambdaContext()
    invocation = Invocation(context, INLINE, Deadline(remaining_seconds), "123456789012")
    return Execution(request, steps, clients.services(**settings), invocation, LOG)
