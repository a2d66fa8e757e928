"""What people and systems are told about a request, once: a notice, and a result event where the stack sends them."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from handler.bootstrap import Invocation, Services
from handler.models.errors import RejectedRequestError
from handler.models.outcomes import Published
from handler.models.report import DeletionReport
from handler.models.request import Origin, Payload, parent_id
from handler.steps import Attempt, StepRunner

if TYPE_CHECKING:
    from handler.models.summary import SummaryReport
    from handler.notifications import Notice
    from handler.notifications.result_events import ResultEvent

_LEFT_TO_SUMMARY = Published("")
"""The outcome of a notice that is not published, for the summary of a fan-out has it."""


class Teller(NamedTuple):
    """The services that carry messages, in one invocation."""

    services: Services
    invocation: Invocation

    def tell_report(self, report: DeletionReport, steps: StepRunner) -> DeletionReport:
        """Tells what failed, or everything where that is asked for. The report is new then, if it was not before."""
        request, replayed = report.request, report.replayed
        failed = bool(report.failures) and not request.dry_run

        def publish(_: Attempt) -> Published:
            if request.notify == "summary" and self._left_to_summary(report):
                return _LEFT_TO_SUMMARY
            from handler.notifications import report_notice  # noqa: PLC0415  # what is not used is not imported

            account_id, chat = self.invocation.account_id, self.services.settings.chat_notices
            return self._publish(report_notice(report, account_id, chat=chat))

        if request.notify == "always" or failed or self._is_missed_by_summary(report):
            replayed &= steps.run("notice", Published, publish).replayed
        if self._sends_events(failed=failed):
            from handler.notifications import result_events  # noqa: PLC0415  # what is not used is not imported

            event = partial(result_events.completed, report, self.invocation.registry, steps.generation)
            replayed &= steps.run("event", Published, lambda _: self._put(event())).replayed
        return report._replace(replayed=replayed)

    def tell_summary(self, report: "SummaryReport", steps: StepRunner) -> None:
        """Tells what became of a request for several repositories, once for all of them."""
        from handler.notifications import result_events, summary  # noqa: PLC0415  # what is not used is not imported

        registry, chat = self.invocation.registry, self.services.settings.chat_notices
        notice = partial(summary.summary_notice, report, registry.account_id, chat=chat)
        steps.run("summary/notice", Published, lambda _: self._publish(notice()), of_all_turns=True)
        failed = any(report.outcome.counts[what] for what in ("failed", "rejected", "unfinished"))
        if self._sends_events(failed=failed and not report.request.dry_run):
            event = partial(result_events.summarized, report, registry, steps.generation)
            steps.run("summary/event", Published, lambda _: self._put(event()), of_all_turns=True)

    def tell_rejection(
        self, error: RejectedRequestError, origin: Origin, payload: Payload | None, rejections: StepRunner
    ) -> RejectedRequestError:
        """Rejects an arrival for good, and tells why; the error is new then, if it was not before."""
        reason, content = str(error), payload and payload.named_content
        part_of = payload and parent_id(payload.key)

        def publish(_: Attempt) -> Published:
            if payload and self._rejection_left_to_summary(payload, str(rejections.key[-1]), reason):
                return _LEFT_TO_SUMMARY
            from handler.notifications import rejection_notice  # noqa: PLC0415  # what is not used is not imported

            chat = self.services.settings.chat_notices
            return self._publish(rejection_notice(reason, origin, content, part_of, chat=chat))

        _, error.replayed = rejections.reject(reason, Published, publish)
        # What became of a request is no news about a request: a rule that sends such events here would never end.
        if self._sends_events(failed=True) and not (payload and payload.is_result):
            from handler.notifications import result_events  # noqa: PLC0415  # what is not used is not imported

            event = partial(result_events.rejected, reason, origin, content, rejections.key, part_of)
            _, replayed = rejections.reject(reason, Published, lambda _: self._put(event()), step="rejected/event")
            error.replayed &= replayed
        return error

    def _publish(self, notice: "Notice") -> Published:
        from handler.notifications import publish  # noqa: PLC0415  # what is not used is not imported

        return publish(self.services.sns, self.services.settings.notification_topic_arn, notice)

    def _sends_events(self, *, failed: bool) -> bool:
        wanted = self.services.settings.result_events
        return wanted == "all" or (wanted == "failures" and failed)

    def _put(self, event: "ResultEvent") -> Published:
        from handler.notifications.event_bus import put_event  # noqa: PLC0415  # what is not used is not imported

        settings = self.services.settings
        return put_event(self.services.events, settings.result_event_bus_name, settings.service_name, event)

    def _is_missed_by_summary(self, report: DeletionReport) -> bool:
        """Writes down for a summary what has not failed; returns whether it counts as failed, and comes too late."""
        if report.request.notify != "summary" or self._left_to_summary(report):
            return False
        from handler.models.summary import Entry  # noqa: PLC0415  # what is not used is not imported

        return parent_id(report.request.key) is not None and bool(Entry.of(report).failed)

    def _left_to_summary(self, report: DeletionReport) -> bool:
        from .summary import leave_report  # noqa: PLC0415  # what is not used is not imported

        return leave_report(self.invocation.step_table(self.services), report)

    def _rejection_left_to_summary(self, payload: Payload, arrival: str, reason: str) -> bool:
        if not (isinstance(payload.content, dict) and payload.content.get("notify") == "summary"):
            return False
        from .summary import leave_rejection  # noqa: PLC0415  # what is not used is not imported

        return leave_rejection(self.invocation.step_table(self.services), payload, arrival, reason)
