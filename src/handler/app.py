"""Lambda entry: one event or a batch in; an answer or a batch response, and metrics, out."""

# Imports and clients make a few hundred thousand objects that all stay: to look through them again and again for
# garbage is a tenth of a cold start.
# ruff: noqa: E402
import gc

gc.disable()

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from . import events
from .bootstrap import Invocation, Services
from .concurrency import Deadline, TaskPool, share_one_processor
from .models.errors import RejectedRequestError
from .models.images import Json
from .models.report import DeletionReport, FanOutReport, Report
from .workflows.process import process

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

type Handler = Callable[[Any, LambdaContext], Json]

METRICS = {"delete": "ImagesDeleted", "archive": "ImagesArchived", "restore": "ImagesRestored"}
"""The metric that counts the images that are done, by action."""

logger = Logger()
metrics = Metrics()


def create_handler(services: Services) -> Handler:
    """Returns the handler that Lambda calls, with these services."""

    @metrics.log_metrics
    @logger.inject_lambda_context(clear_state=True)
    def handle(event: Any, context: "LambdaContext") -> Json:
        """Carries out the requests of an SQS batch, or the one request of any other event.

        Returns for a batch the records that must stay on the queue, and for a single request the CLI's output. Raises
        the error of a single request, so that Lambda retries it or sends it to its failure destination.
        """
        arrivals = events.arrivals(event, context, services.settings.bulk_queue_url)
        deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)
        account_id = context.invoked_function_arn.split(":")[4]
        width = services.settings.steps_in_flight
        # Both pools end before the handler returns: a frozen thread would wake up in the next invocation.
        with ThreadPoolExecutor(width) as tasks, ThreadPoolExecutor(max(1, len(arrivals))) as requests:
            invocation = Invocation(context, TaskPool(tasks, width), deadline, account_id, services.usage())
            # One that arrives alone needs no thread of its own.
            run = requests.map if len(arrivals) > 1 else map
            outcomes = list(run(partial(process, services=services, invocation=invocation, logger=logger), arrivals))
        add_metrics(outcomes)
        if not events.is_batch(event):
            if isinstance(outcomes[0], Exception):
                raise outcomes[0]
            return outcomes[0].to_answer(account_id)
        # Rejected ones too: their next receives are cheap, and the last leaves them intact in the dead-letter queue.
        failed = [a.origin.id for a, outcome in zip(arrivals, outcomes, strict=True) if isinstance(outcome, Exception)]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    return handle


def add_metrics(outcomes: Iterable[Report | Exception]) -> None:
    """Counts what was done now; what a duplicate only replays was counted before."""
    counts = Counter(Requests=0, RequestsRejected=0, ImagesDeleted=0, ImagesFailed=0)
    for outcome in outcomes:
        match outcome:
            case RejectedRequestError(replayed=False):
                counts["Requests"] += 1
                counts["RequestsRejected"] += 1
            case FanOutReport(replayed=False):
                counts["Requests"] += 1
            case DeletionReport(replayed=False):
                counts["Requests"] += 1
                if not outcome.request.dry_run:
                    counts[METRICS[outcome.action]] += outcome.done
                    counts["ImagesFailed"] += outcome.failed
                    if spared := outcome.spared_in_use:
                        counts["ImagesRefusedInUse"] += spared
                if any(failure.code == "TooManyTurns" for failure in outcome.failures):
                    counts["TurnLimitReached"] += 1
    for name, value in counts.items():
        metrics.add_metric(name, MetricUnit.Count, value)


services = Services.from_env()
share_one_processor(services.settings.memory_mb)
lambda_handler = create_handler(services)
gc.freeze()
gc.enable()
