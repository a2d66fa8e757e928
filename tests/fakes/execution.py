"""What a workflow is carried out with, before an AWS in memory."""

import logging
from typing import Any

from handler.bootstrap import Invocation
from handler.concurrency import Deadline, TaskPool
from handler.models.request import DeletionRequest
from handler.steps import StepRunner
from handler.workflows.execution import Execution
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.steps import INLINE

LOG = logging.LoggerAdapter(logging.getLogger("test"), {}, merge_extra=True)


def execution(
    clients: Clients, request: DeletionRequest, steps: StepRunner, *, pool: TaskPool = INLINE, **settings: Any
) -> Execution:
    """One request under its claim, in an invocation with a minute left."""
    context: Any = FakeLambdaContext()
    invocation = Invocation(context, pool, Deadline(lambda: 60.0), "123456789012")
    return Execution(request, steps, clients.services(**settings), invocation, LOG)
