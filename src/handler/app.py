"""Lambda entry: wires the rooms and lends them to Powertools; decides nothing itself."""

# Imports and clients make a few hundred thousand objects that all stay: to look through them again and again for
# garbage is a tenth of a cold start.
# ruff: noqa: E402
import gc

gc.disable()

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from logging import LoggerAdapter
from threading import BoundedSemaphore
from time import sleep
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyValidationError
from aws_lambda_powertools.utilities.typing import LambdaContext

from . import deletion, events, guards, notifications, queue, registry, selection
from .models import (
    ChunkOutcome,
    DeletionReport,
    DeletionRequest,
    Guard,
    ImageFailure,
    ImageId,
    Json,
    ListedImage,
    LostAnswerError,
    Origin,
    RejectedRequestError,
    Relatives,
    Selection,
    SelectionOutcome,
    SpreadReport,
)
from .settings import Settings
from .steps import StepStore, begun, step_config

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_STORED_BYTES = 350_000
"""What one outcome may take in its table: DynamoDB's limit is 400 KB an item."""

settings = Settings.from_env()
logger = Logger()
metrics = Metrics()

_client_config = settings.client_config()
ecr = boto3.client("ecr", config=_client_config)
sns = boto3.client("sns", config=_client_config)
dynamodb = boto3.client("dynamodb", config=_client_config)
registry.never_ask_twice_unseen(ecr)


@cache
def sqs() -> "SQSClient":
    """Made when it is first needed, for few requests lead to others."""
    return boto3.client("sqs", config=_client_config)


type Arrival = tuple[Origin, Callable[[], Any]]
"""Where something came from, and what reads it."""

_steps = step_config()
_rules = guards.Rules(settings.protected_tags, settings.protected_repositories, settings.repository_pattern)
_calls = BoundedSemaphore(settings.max_concurrent_calls)
# A step also begins and ends in the table: with a few more in flight than calls, ECR need not wait for that.
_STEPS_IN_FLIGHT = settings.max_concurrent_calls * 4 // 3


# One store for each decorated function: nested or shared, they would mix up their keys.
@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools types it as Any
    data_keyword_argument="step",
    persistence_store=StepStore(settings.idempotency_table, dynamodb, _steps, "delete"),
    config=_steps,
    key_prefix="delete",
)
def delete_chunk(
    *,
    step: Json,  # noqa: ARG001  # for Powertools alone
    request: DeletionRequest,
    image_ids: Sequence[ImageId],
    guard: Guard,
    delay: float,
    taken: deletion.Taken,
) -> Json:
    """Deletes what the guard lets go of one chunk of a request, once; replays its outcome afterwards."""
    taken()
    if delay:
        sleep(delay)
    with _calls:
        return registry.delete_images(ecr, request, image_ids, guard, begun=begun.get()).to_json()


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools types it as Any
    data_keyword_argument="step",
    persistence_store=StepStore(settings.idempotency_table, dynamodb, _steps, "find"),
    config=_steps,
    key_prefix="find",
)
def find_relatives(
    *,
    step: Json,  # noqa: ARG001  # for Powertools alone
    request: DeletionRequest,
    image_ids: Sequence[ImageId],
    taken: deletion.Taken,
) -> Json:
    """Looks for what belongs to a chunk of images, once: after they are gone nobody could tell."""
    taken()
    with _calls:
        return registry.find_relatives(ecr, request, image_ids).to_json()


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools types it as Any
    data_keyword_argument="step",
    persistence_store=StepStore(settings.idempotency_table, dynamodb, _steps, "select"),
    config=_steps,
    key_prefix="select",
)
def take_selection(*, step: Json, take: Callable[[], Json]) -> Json:  # noqa: ARG001  # for Powertools alone
    """Takes what a selection means, once. A try that did not end is made again, of what is left."""
    return take()


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools types it as Any
    data_keyword_argument="step",
    persistence_store=StepStore(settings.idempotency_table, dynamodb, _steps, "notify"),
    config=_steps,
    key_prefix="notify",
)
def publish(*, step: Json, notice: notifications.Notice) -> Json:  # noqa: ARG001  # for Powertools alone
    """Publishes one notice, once."""
    return {"messageId": notifications.publish(sns, settings.failure_topic_arn, notice)}


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Any, context: LambdaContext) -> Json:
    """Carries out the requests of an SQS batch, or the one request of any other event.

    Answers a batch with the records that must stay on the queue, and a single request with the CLI's output. Raises
    what hinders a single request, so that Lambda tries it again or keeps it at its failure destination.
    """
    _steps.register_lambda_context(context)
    account_id = context.invoked_function_arn.split(":")[4]
    records = events.sqs_records(event)
    arrivals: list[Arrival]
    if records is None:
        arrivals = [(Origin("invocation", context.aws_request_id, context.invoked_function_arn), lambda: event)]
    else:
        arrivals = [(events.record_origin(record), partial(events.load_body, record)) for record in records]
    # Both pools end before the handler returns: a frozen thread would wake up in the next invocation.
    with ThreadPoolExecutor(_STEPS_IN_FLIGHT) as steps, ThreadPoolExecutor(max(1, len(arrivals))) as requests:
        pool = deletion.StepPool(steps, _STEPS_IN_FLIGHT, lambda: context.get_remaining_time_in_millis() / 1000)
        # One that arrives alone needs no thread of its own.
        run = requests.map if len(arrivals) > 1 else map
        outcomes = list(run(partial(carry_out, pool, account_id), arrivals))
    count(outcomes)
    if records is None:
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0].to_answer(account_id)
    failed = [
        origin.id for (origin, _), outcome in zip(arrivals, outcomes, strict=True) if isinstance(outcome, Exception)
    ]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def carry_out(pool: deletion.StepPool, account_id: str, arrival: Arrival) -> DeletionReport | SpreadReport | Exception:
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
            return _carry_out(request, pool, account_id, log)
        except RejectedRequestError as error:
            # Under the key of its arrival: a reused requestId must not collide with the first request's own notice.
            step = {"key": f"{origin.kind}/{origin.id}/rejection", "content": ""}
            told = publish(step=step, notice=notifications.rejection_notice(str(error), origin))
            error.told_before = "replayed" in told
            log.warning("request rejected", extra={"why": str(error), "replayed": error.told_before})
            return error
    except Exception as error:  # whatever it is, the others of its batch go on
        log.warning("request not finished; a redelivery goes on from here", exc_info=True)
        return error


def _carry_out(
    request: DeletionRequest, pool: deletion.StepPool, account_id: str, log: "LoggerAdapter[Any]"
) -> DeletionReport | SpreadReport:
    about = request.payload.get("selection") or {"images": len(request.image_ids)}
    log.info(
        "request taken",
        extra={"origin": request.origin.to_json(), "reason": request.reason, **about, **request.switches},
    )
    if request.repository_names:
        return _spread(request, log)
    try:
        return _delete_and_tell(request, RequestSteps(request, pool, log), account_id)
    except IdempotencyValidationError as error:
        raise RejectedRequestError(
            f"requestId {request.request_id!r} was used before by a request that asked for something else; "
            "a new wish needs a requestId of its own"
        ) from error


def _spread(request: DeletionRequest, log: "LoggerAdapter[Any]") -> SpreadReport:
    """A request for several repositories becomes one for each, on the queue."""
    try:
        names = guards.spread(_rules, request, lambda: registry.repository_names(ecr, request.registry_id))
    except registry.RepositoryError as error:
        raise RejectedRequestError(f"request.repositoryNames: the repositories cannot be listed: {error}") from error
    queue.send(
        sqs(),
        settings.request_queue_url,
        [queue.following(request, f"/{name}", repositoryName=name, repositoryNames=None) for name in names],
    )
    log.info("request spread", extra={"repositories": len(names)})
    return SpreadReport(request, tuple(names))


def _delete_and_tell(request: DeletionRequest, steps: "RequestSteps", account_id: str) -> DeletionReport:
    log = steps.log
    if request.selection:
        report = steps.select(request.selection)
    else:
        report = deletion.carry_out(request, steps.delete_named, steps.pool, log, steps.cascade())
    if request.notify or (report.failures and not request.dry_run):
        told = publish(step=steps.step("notice"), notice=notifications.report_notice(report, account_id))
        report = replace(report, replayed=report.replayed and "replayed" in told)
    if not report.replayed:
        for failure in report.failures:
            log.warning("image would be refused" if request.dry_run else "image not deleted", extra=failure.to_json())
        for kept in report.kept:
            log.info("relative kept", extra=kept.to_json())
    log.info(
        "request done",
        extra={"deleted": report.deleted, "failed": report.failed, "replayed": report.replayed},
    )
    return report


@dataclass(frozen=True, slots=True)
class RequestSteps:
    """The steps of one request, each under a key of its own."""

    request: DeletionRequest
    pool: deletion.StepPool
    log: "LoggerAdapter[Any]"

    def step(self, name: str) -> Json:
        return {"key": f"{self.request.request_id}/{name}", "content": self.request.content_hash}

    def delete_named(
        self, name: str, image_ids: Sequence[ImageId], delay: float, taken: deletion.Taken
    ) -> ChunkOutcome:
        """What the request names."""
        return self._delete(partial(guards.verdicts, _rules, self.request), name, image_ids, delay, taken)

    def cascade(self) -> deletion.Cascade | None:
        """What belongs to it, where the request asks for that."""
        if self.request.cascade is None:
            return None

        def find(name: str, image_ids: Sequence[ImageId], taken: deletion.Taken) -> Relatives:
            return Relatives.from_json(
                find_relatives(step=self.step(name), request=self.request, image_ids=image_ids, taken=taken)
            )

        def delete(relatives: Relatives, gone: AbstractSet[ImageId]) -> deletion.DeleteChunk:
            return partial(self._delete, partial(guards.verdicts_on_relatives, self.request, relatives, gone))

        return deletion.Cascade(settings.max_images_per_request, find, delete)

    def select(self, meant: Selection) -> DeletionReport:
        """What the request's selection means; where time ran short, a further request goes on."""

        def take() -> Json:
            try:
                outcome, whole = self._take(meant)
            except registry.RepositoryError as error:
                failure = ImageFailure(ImageId(), error.code, error.reason)
                outcome, whole = SelectionOutcome(0, 0, 0, {}, (), (failure,)), True
            if not whole:
                following = queue.following(self.request, "#")
                queue.send(sqs(), settings.request_queue_url, [following])
                outcome = replace(outcome, continued_as=following["requestId"])
            return outcome.to_json(_STORED_BYTES)

        outcome = SelectionOutcome.from_json(take_selection(step=self.step("selection"), take=take))
        return DeletionReport(
            self.request,
            outcome.image_ids,
            outcome.failures,
            omitted=outcome.omitted,
            selection=outcome,
            replayed=outcome.replayed,
        )

    def _take(self, meant: Selection) -> tuple[SelectionOutcome, bool]:
        request = self.request
        if refused := guards.verdicts(_rules, request, [ImageId()], lambda _: {}):
            return SelectionOutcome(0, 0, 0, {}, (), tuple(refused.values())), True

        def read(digests: Sequence[str]) -> Mapping[str, Sequence[str] | None]:
            with _calls:
                return registry.read_indexes(ecr, request, digests)

        def delete(images: Sequence[ListedImage]) -> ChunkOutcome:
            selected = {ImageId(digest=image.digest): image for image in images}
            guard = partial(guards.verdicts_on_selected, selected)

            def ask(pause: float) -> ChunkOutcome:
                if pause:
                    sleep(pause)
                with _calls:
                    return registry.delete_images(ecr, request, list(selected), guard, begun=None)

            return self._asking_again("selection", ask)

        def side_by_side(work: Sequence[Callable[[], Any]]) -> list[Any]:
            def step(do: Callable[[], Any], taken: deletion.Taken) -> Any:
                taken()
                return do()

            return self.pool.run([partial(step, do) for do in work])

        return selection.carry_out(
            meant,
            selection.Repository(lambda: registry.list_images(ecr, request, self.pool.check_time), read, delete),
            side_by_side,
            partial(guards.protects, _rules),
            selection.Limits(
                settings.max_images_per_request, request.allow_percent or settings.max_percent_of_repository
            ),
            self.log,
        )

    def _delete(
        self, guard: Guard, name: str, image_ids: Sequence[ImageId], delay: float, taken: deletion.Taken
    ) -> ChunkOutcome:
        def ask(pause: float) -> ChunkOutcome:
            outcome = delete_chunk(
                step=self.step(name),
                request=self.request,
                image_ids=image_ids,
                guard=guard,
                delay=pause or delay,
                taken=taken,
            )
            return ChunkOutcome.from_json(outcome)

        return self._asking_again(name, ask)

    def _asking_again(self, name: str, ask: Callable[[float], ChunkOutcome]) -> ChunkOutcome:
        """What ECR answers at last: twice its answer may be lost, and the next try waits for so many seconds."""
        for pause in (0.0, 1.0):
            try:
                return ask(pause)
            except LostAnswerError as error:
                self.log.info("asking again", extra={"step": name, "why": str(error)})
        return ask(2.0)


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
                    counts["ImagesFailed"] += len(outcome.failures)
    for name, value in counts.items():
        metrics.add_metric(name, MetricUnit.Count, value)


gc.freeze()
gc.enable()
