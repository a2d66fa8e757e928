"""The path of every request, from its arrival to its notice: claim, work, report, notice."""

from logging import LoggerAdapter
from typing import TYPE_CHECKING, Any

from handler import request_parser
from handler.bootstrap import Invocation, Services
from handler.models.errors import RejectedRequestError
from handler.models.images import Json
from handler.models.report import DeletionReport, FanOutReport, Report
from handler.models.request import Arrival, DeletionRequest
from handler.steps import StepRunner

from .execution import Execution
from .image_ids import NamedImages
from .telling import Teller

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from .fan_out import FanOut
    from .selection import SelectedImages
    from .summary import Summary


def process(arrival: Arrival, services: Services, invocation: Invocation, logger: "Logger") -> Report | Exception:
    """Carries out what has arrived, and reports what people must know of it.

    Returns the error of a request that stays unfinished: RejectedRequestError, once that is reported, if it can never
    work; any other if a redelivery is to resume it.
    """
    settings, origin, payload = services.settings, arrival.origin, None
    fields: Json = {"request_id": origin.id}
    # Given to each entry: keys appended to the logger would be those of whichever request ran last.
    log = LoggerAdapter[Any](logger, fields, merge_extra=True)
    table = invocation.step_table(services)
    of_arrival, teller = StepRunner(table, arrival.key), Teller(services, invocation)
    try:
        try:
            try:
                payload = arrival.read()
                origin = payload.origin
                fields["request_id"] = origin.id
                request = None if payload.declares_use else request_parser.parse_request(payload)
                origin = request.origin if request else origin
            finally:
                # It stays rejected whatever is thought of it by now; what was read is for a notice that is still due.
                if arrival.received_before:
                    of_arrival.raise_if_rejected()
            if request is None:
                from . import declaration  # noqa: PLC0415  # what is not used is not imported

                return declaration.record(payload, services, invocation, log)
            fields |= {"request_id": request.request_id, "repository_name": request.repository_name}
            if request.is_bulk and arrival.is_queued_among_others:
                from . import forwarding  # noqa: PLC0415  # what is not used is not imported

                return forwarding.forward(request, of_arrival, services, invocation, log)
            if payload.request_id is not None:
                from . import forwarding  # noqa: PLC0415

                request = forwarding.check_sent(payload, request, table)
            registry_ids = (invocation.account_id, *settings.foreign_registry_ids)
            over_limits = request_parser.over_limits(
                request,
                registry_ids,
                max_images=settings.max_images_per_request,
                max_percent=None if settings.allow_percent_in_requests else settings.max_percent_of_repository,
                allow_archive=settings.allow_archive,
            )
            if not request.turn:  # a further turn stays what the request was admitted as
                request = request._replace(dry_run=request.dry_run or settings.dry_run)
            steps = StepRunner(table, request.key, request.turn)
            with steps.claim(request, over_limits) as dry_run:
                request = request._replace(dry_run=dry_run)
                fields |= {"dry_run": True} if dry_run else {}
                log.info("request taken", extra=_taken(request))
                report = _workflow(Execution(request, steps, services, invocation, log)).carry_out()
        except RejectedRequestError as error:
            error = teller.tell_rejection(error, origin, payload, of_arrival)
            extra = {"why": str(error), "replayed": error.replayed, "origin": {"id": origin.id}}
            log.warning("request rejected", extra=extra)
            return error
        # The claim is done by now: an invocation that dies here is redelivered, replays the report, and notifies then.
        if isinstance(report, DeletionReport):
            report = _with_replication(report, services, invocation)
            report = teller.tell_report(report, steps)
            _log_report(report, log)
        elif not isinstance(report, FanOutReport) and not report.outcome.continued_as:
            teller.tell_summary(report, steps)
    except Exception as error:  # whatever it is, the others of its batch go on
        extra = {"origin": {"id": origin.id}}
        log.warning("request not finished; a redelivery goes on from here", exc_info=True, extra=extra)
        return error
    return report


def _workflow(execution: Execution) -> "FanOut | Summary | SelectedImages | NamedImages":
    # What is not used is not imported: of two lanes, one never selects anything.
    if execution.request.repository_names:
        return _of_many(execution)
    selected = execution.request.selection
    if selected and execution.request.untag:
        from .untag import SelectedTags  # noqa: PLC0415

        return SelectedTags(execution)
    if execution.request.action == "restore":
        from .from_archive import RestoredImages, RestoredSelection  # noqa: PLC0415

        return RestoredSelection(execution) if selected else RestoredImages(execution)
    spared = selected and not selected.of_archive and execution.services.settings.grace_period_days
    if spared or execution.request.action == "archive":
        from .selected_to_archive import ArchivedSelection  # noqa: PLC0415
        from .to_archive import ArchivedImages  # noqa: PLC0415

        return ArchivedSelection(execution) if selected else ArchivedImages(execution)
    if selected:
        from .selection import SelectedImages  # noqa: PLC0415

        return SelectedImages(execution)
    return NamedImages(execution)


def _of_many(execution: Execution) -> "FanOut | Summary":
    if execution.request.turn:
        from .summary import Summary  # noqa: PLC0415

        return Summary(execution)
    from .fan_out import FanOut  # noqa: PLC0415

    return FanOut(execution)


def _with_replication(report: DeletionReport, services: Services, invocation: Invocation) -> DeletionReport:
    """Adds where ECR deletes as well what is deleted here, as far as that is asked for and can be known."""
    request = report.request
    if not (
        services.replication
        and report.image_ids
        and report.action == "delete"
        and request.registry_id in {None, invocation.account_id}
    ):
        return report
    destinations = services.replication.of(request.repository_name, invocation.deadline.calling)
    return report._replace(replicated_to=destinations)


def _taken(request: DeletionRequest) -> Json:
    about = request.payload.get("selection") or {"images": len(request.image_ids)}
    return {"origin": request.origin.to_json(), "reason": request.reason, **about, **request.switches}


def _log_report(report: DeletionReport, log: "LoggerAdapter[Any]") -> None:
    if not report.replayed:
        for failure in report.failures:
            message = "image would be refused" if report.request.dry_run else "image not deleted"
            log.warning(message, extra=failure.to_json())
        for kept in () if report.selection else report.kept:
            log.info("relative kept", extra=kept.to_json())
    outcome = report.selection
    selected = {"selected": outcome.selected, "continued_as": outcome.continued_as} if outcome else {}
    log.info(
        "request done",
        extra={
            report.words.number: report.done,
            "failed": report.failed,
            "replayed": report.replayed,
            "origin": {"id": report.request.origin.id},
            **selected,
        },
    )
