"""One request, from the contract to its notice: the rooms, lent to Powertools as steps that happen once."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextvars import copy_context
from copy import copy, replace
from functools import cache, partial
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyValidationError

from . import deletion, guards, notifications, queue, registry, selection
from .models import (
    STORED_BYTES,
    ChunkOutcome,
    DeletionReport,
    DeletionRequest,
    Guard,
    ImageFailure,
    ImageId,
    Json,
    ListedImage,
    LostAnswerError,
    OutOfTimeError,
    RejectedRequestError,
    Relatives,
    Selection,
    SelectionOutcome,
    SpreadReport,
)
from .settings import Settings
from .steps import StepStore, begun, step_config

if TYPE_CHECKING:
    from logging import LoggerAdapter

    from mypy_boto3_sqs import SQSClient

settings = Settings.from_env()
_client_config = settings.client_config()
ecr = boto3.client("ecr", config=_client_config)
sns = boto3.client("sns", config=_client_config)
dynamodb = boto3.client("dynamodb", config=_client_config)
registry.never_ask_twice_unseen(ecr)
registry.bound(ecr, settings.max_concurrent_calls)

step_settings = step_config()
_steps = StepStore(settings.idempotency_table, dynamodb, step_settings)
_rules = guards.Rules(settings.protected_tags, settings.protected_repositories, settings.repository_pattern)


@cache
def sqs() -> "SQSClient":
    """Made when it is first needed, for few requests lead to others."""
    return boto3.client("sqs", config=_client_config)


def _once(kind: str) -> Any:
    """What makes a function a step; each has a store of its own, for shared ones would mix up their keys.

    A copy: each that is made anew has Powertools write into the user agent of every call to the table once more.
    """
    return partial(
        idempotent_function,
        data_keyword_argument="step",
        persistence_store=copy(_steps),
        config=step_settings,
        key_prefix=kind,
    )


@_once("delete")  # type: ignore[untyped-decorator]  # Powertools types it as Any
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
    return registry.delete_images(ecr, request, image_ids, guard, begun=begun.get()).to_json()


@_once("find")  # type: ignore[untyped-decorator]  # Powertools types it as Any
def find_relatives(
    *,
    step: Json,  # noqa: ARG001  # for Powertools alone
    request: DeletionRequest,
    image_ids: Sequence[ImageId],
    taken: deletion.Taken,
) -> Json:
    """Looks for what belongs to a chunk of images, once: after they are gone nobody could tell."""
    taken()
    return registry.find_relatives(ecr, request, image_ids).to_json()


@_once("select")  # type: ignore[untyped-decorator]  # Powertools types it as Any
def take_selection(*, step: Json, take: Callable[[], Json]) -> Json:  # noqa: ARG001  # for Powertools alone
    """Takes what a selection means, once. A try that did not end is made again, of what is left."""
    return take()


@_once("remember")  # type: ignore[untyped-decorator]  # Powertools types it as Any
def remember_relatives(*, step: Json, digests: Sequence[str]) -> Json:  # noqa: ARG001  # for Powertools alone
    """Stores digests, once."""
    return {"digests": digests}


@_once("notify")  # type: ignore[untyped-decorator]  # Powertools types it as Any
def publish(*, step: Json, notice: notifications.Notice) -> Json:  # noqa: ARG001  # for Powertools alone
    """Publishes one notice, once."""
    return {"messageId": notifications.publish(sns, settings.failure_topic_arn, notice)}


def carry_out(
    request: DeletionRequest, pool: deletion.StepPool, account_id: str, log: "LoggerAdapter[Any]"
) -> DeletionReport | SpreadReport:
    """Carries out a request and tells what could not be; raises RejectedRequestError where it can never work."""
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
    outcome = report.selection
    selected = {"selected": outcome.selected, "continued_as": outcome.continued_as} if outcome else {}
    log.info(
        "request done",
        extra={"deleted": report.deleted, "failed": report.failed, "replayed": report.replayed, **selected},
    )
    return report


class RequestSteps(NamedTuple):
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
        """What the request's selection means; where something came in between, a further request goes on."""

        def take() -> Json:
            try:
                outcome, whole = self._take(meant)
            except RejectedRequestError as error:
                return {"rejected": str(error)}  # for good: a later receive must not find that it fits by now
            except registry.RepositoryError as error:
                failure = ImageFailure(ImageId(), error.code, error.reason)
                outcome, whole = SelectionOutcome(0, 0, 0, {}, (), (failure,)), True
            if not whole and self.request.dry_run:  # what is still there would be foreseen again, without end
                raise OutOfTimeError("the dry run did not come to its end; a redelivery makes it again")
            if not whole:
                following = queue.following(self.request, "#")
                queue.send(sqs(), settings.request_queue_url, [following])
                outcome = replace(outcome, continued_as=following["requestId"])
            return outcome.to_json(STORED_BYTES)

        stored = take_selection(step=self.step("selection"), take=take)
        if "rejected" in stored:
            raise RejectedRequestError(stored["rejected"])
        outcome = SelectionOutcome.from_json(stored)
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

        def delete(images: Sequence[ListedImage]) -> ChunkOutcome:
            selected = {ImageId(digest=image.digest): image for image in images}
            guard = partial(guards.verdicts_on_selected, selected)

            def ask(pause: float) -> ChunkOutcome:
                if pause:
                    sleep(pause)
                return registry.delete_images(ecr, request, list(selected), guard, begun=None)

            return self._asking_again("selection", ask)

        def remember(number: int, digests: Sequence[str]) -> Sequence[str] | None:
            if request.dry_run:
                return None
            # Under a key that the requests share in which a selection goes on; in a context of its own, for the step
            # around it must still find when it was begun.
            step = {"key": f"{queue.root(request.request_id)}/relatives/{number}", "content": ""}
            stored = copy_context().run(remember_relatives, step=step, digests=digests)
            return stored["digests"] if "replayed" in stored else None

        def side_by_side(work: Sequence[Callable[[], Any]]) -> list[Any]:
            def step(do: Callable[[], Any], taken: deletion.Taken) -> Any:
                taken()
                return do()

            return self.pool.run([partial(step, do) for do in work])

        return selection.carry_out(
            meant,
            selection.Repository(
                lambda: registry.list_images(ecr, request, self.pool.check_time),
                partial(registry.read_indexes, ecr, request),
                delete,
                remember,
            ),
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

        outcome = self._asking_again(name, ask)
        # Told at once: what is killed in the middle has told what was done.
        self.log.info("chunk done", extra={"step": name, "failed": len(outcome.failures), "replayed": outcome.replayed})
        return outcome

    def _asking_again(self, name: str, ask: Callable[[float], ChunkOutcome]) -> ChunkOutcome:
        """What ECR answers at last: twice its answer may be lost, and the next try waits for so many seconds."""
        for pause in (0.0, 1.0):
            try:
                return ask(pause)
            except LostAnswerError as error:
                self.log.info("asking again", extra={"step": name, "why": str(error)})
        return ask(2.0)
