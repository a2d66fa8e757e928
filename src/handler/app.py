"""Lambda entry: what arrives becomes requests, and what became of these an answer and metrics."""

# Imports and clients make a few hundred thousand objects that all stay: to look through them again and again for
# garbage is a tenth of a cold start.
# ruff: noqa: E402
import gc

gc.disable()

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from logging import LoggerAdapter
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from . import deletion, events, notifications, work
from .models import DeletionReport, Json, Origin, RejectedRequestError, SpreadReport

logger = Logger()
metrics = Metrics()
settings = work.settings

type Arrival = tuple[Origin, Callable[[], Any]]
"""Where something came from, and what reads it."""


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Any, context: LambdaContext) -> Json:
    """Carries out the requests of an SQS batch, or the one request of any other event.

    Answers a batch with the records that must stay on the queue, and a single request with the CLI's output. Raises
    what hinders a single request, so that Lambda tries it again or keeps it at its failure destination.
    """
    work.step_settings.register_lambda_context(context)
    account_id = context.invoked_function_arn.split(":")[4]
    records = events.sqs_records(event)
    arrivals: list[Arrival]
    if records is None:
        arrivals = [(Origin("invocation", context.aws_request_id, context.invoked_function_arn), lambda: event)]
    else:
        arrivals = [(events.record_origin(record), partial(events.load_body, record)) for record in records]
    # Both pools end before the handler returns: a frozen thread would wake up in the next invocation.
    width = settings.steps_in_flight
    with ThreadPoolExecutor(width) as steps, ThreadPoolExecutor(max(1, len(arrivals))) as requests:
        pool = deletion.StepPool(steps, width, lambda: context.get_remaining_time_in_millis() / 1000)
        # One that arrives alone needs no thread of its own.
        run = requests.map if len(arrivals) > 1 else map
        outcomes = list(run(partial(receive, pool, account_id), arrivals))
    count(outcomes)
    if records is None:
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0].to_answer(account_id)
    failed = [
        origin.id for (origin, _), outcome in zip(arrivals, outcomes, strict=True) if isinstance(outcome, Exception)
    ]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def receive(pool: deletion.StepPool, account_id: str, arrival: Arrival) -> DeletionReport | SpreadReport | Exception:
    """One request from its arrival to its notice.

    Answers with the error where it stays unfinished: RejectedRequestError, once that is told, for a request that can
    never work; any other is for a redelivery to cure.
    """
    received, read = arrival
    origin = received
    fields: Json = {"request_id": origin.id}
    # Given to each entry: keys appended to the logger would be those of whichever request ran last.
    log = LoggerAdapter[Any](logger, fields, merge_extra=True)
    try:
        try:
            payload, origin = events.unwrap(read(), received)
            fields["request_id"] = origin.id
            request = events.parse_request(
                payload,
                origin,
                (account_id, *settings.foreign_registry_ids),
                max_images=settings.max_images_per_request,
                dry_run=settings.dry_run,
            )
            fields |= {"request_id": request.request_id, "repository_name": request.repository_name}
            if request.dry_run:
                fields["dry_run"] = True
            return work.carry_out(request, pool, account_id, log)
        except RejectedRequestError as error:
            # Under the key of its arrival: a reused requestId must not collide with the first request's own notice.
            step = {"key": f"{origin.kind}/{origin.id}/rejection", "content": ""}
            told = work.publish(step=step, notice=notifications.rejection_notice(str(error), origin))
            error.told_before = "replayed" in told
            log.warning("request rejected", extra={"why": str(error), "replayed": error.told_before})
            return error
    except Exception as error:  # whatever it is, the others of its batch go on
        log.warning("request not finished; a redelivery goes on from here", exc_info=True)
        return error


def count(outcomes: Iterable[DeletionReport | SpreadReport | Exception]) -> None:
    """Metrics of what was done now: what a duplicate only replays was counted before."""
    counts = {"Requests": 0, "RequestsRejected": 0, "ImagesDeleted": 0, "ImagesFailed": 0}
    for outcome in outcomes:
        match outcome:
            case RejectedRequestError(told_before=False):
                counts["Requests"] += 1
                counts["RequestsRejected"] += 1
            case SpreadReport():
                counts["Requests"] += 1
            case DeletionReport(replayed=False):
                counts["Requests"] += 1
                if not outcome.request.dry_run:
                    counts["ImagesDeleted"] += outcome.deleted
                    counts["ImagesFailed"] += outcome.failed
    for name, value in counts.items():
        metrics.add_metric(name, MetricUnit.Count, value)


gc.freeze()
# A large request makes tuples and dicts by the ten thousand, and hardly a cycle: looking every 2,000 is a hundredth of
# its work.
gc.set_threshold(50_000)
gc.enable()
