"""One summary of a request for several repositories, once the requests that it led to have ended.

The request checks on them by messages to itself, further and further apart: each is a turn of it, with a claim of its
own. The check that finds all of them ended is the last, or that after a day.
"""

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from handler import request_queue
from handler.models.errors import ServiceUnavailableError
from handler.models.limits import STORED_BYTES
from handler.models.outcomes import SentRequests
from handler.models.report import DeletionReport
from handler.models.request import Key, Payload, mark_of
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.step_table import StepTable
from handler.steps import Attempt
from handler.tally import Tally, Turns, Written, has_ended

from .execution import Execution

_FIRST_SECONDS, _MOST_SECONDS = 60, 900
"""Between two checks: twice as long as before, up to what SQS can delay a message."""
_MOST_TRIES = 10
"""To mark a repository whose request is going on at this very moment."""
CHECKS = 99
"""Which is 24 hours. A request that has not ended by then waits for people, or for ECR."""


def watch(execution: Execution, attempt: Attempt) -> SentRequests:
    """Sends the message by which a fan-out checks on its requests once more; names it."""
    del attempt  # sent twice, it is one check: its key is the same
    message = request_queue.next_turn(execution.request, execution.steps.generation)
    delay = min(_MOST_SECONDS, _FIRST_SECONDS << execution.request.turn)
    url, group = execution.services.settings.bulk_queue_url, request_queue.group(execution.request)
    request_queue.send(execution.services.sqs, url, [message], nullcontext, group, delay=delay)
    return SentRequests((message["followUp"]["requestId"],), more=False)


def leave_report(table: StepTable, report: DeletionReport) -> bool:
    """Writes down what became of a part of a fan-out; returns whether the summary tells it.

    Raises ServiceUnavailableError.
    """
    return _leave(table, report.request.key, report.request.turn, Entry.of(report))


def leave_rejection(table: StepTable, payload: Payload, arrival: str, reason: str) -> bool:
    """Does the same of a part that was rejected, as it arrived in a message."""
    return _leave(table, payload.key, payload.turn, Entry.rejected(reason, arrival))


def _leave(table: StepTable, key: Key, turn: int, entry: Entry) -> bool:
    if (part := Tally.of_part(table, key)) is None:
        return False
    tally, name = part
    if (entry.failed or entry.error is not None) and not tally.is_awaited():
        return False  # nobody will sum up what this belongs to
    return tally.add(name, turn, entry)


class Summary:
    """One check on the requests of a fan-out."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self._request = execution, execution.request
        table = execution.invocation.step_table(execution.services)
        self._tally = Tally(table, self._request.key, mark_of(execution.steps.generation))

    def carry_out(self) -> SummaryReport:
        """Checks, and sums up or sends the message for the next check; raises what a redelivery may cure."""
        steps = self._execution.steps
        outcome, _ = steps.run("check", SummaryOutcome, self._check, store_in_claim=True)
        return SummaryReport(self._request, outcome, steps.replaying)

    def _check(self, attempt: Attempt) -> SummaryOutcome:
        """Finds out whether all have ended, unless another check has summed up: this one may have been interrupted."""
        if self._execution.steps.remembered("summary"):
            return self._sum_up({}, {})
        sent = self._execution.steps.remembered("send/")
        names = sorted(itertools.chain.from_iterable(step["repositoryNames"] for step in sent))
        written = self._tally.read()
        found = {name: written[name].turns if name in written else {} for name in names}
        unfinished = [name for name in names if not has_ended(found[name])]
        counts = {"repositories": len(names), "unfinished": len(unfinished)}
        self._execution.log.info("repositories checked", extra=counts)
        if unfinished and self._request.turn < CHECKS:
            [next_check] = watch(self._execution, attempt).repository_names
            return SummaryOutcome(continued_as=next_check)
        return self._sum_up(found, written)

    def _sum_up(self, found: Mapping[str, Turns], written: Mapping[str, Written]) -> SummaryOutcome:
        """Sums up, once for all checks."""

        def work(_: Attempt) -> SummaryOutcome:
            late = {name for name, entries in written.items() if entries.late}
            open_ones = [name for name, turns in found.items() if _may_go_on(turns) and name not in late]
            closed = self._execution.invocation.pool.run(partial(self._close, name, found[name]) for name in open_ones)
            last = {**found, **dict(zip(open_ones, closed, strict=True))}
            unfinished = [name for name, turns in last.items() if not has_ended(turns)]
            entries = {name: [*turns.values()] for name, turns in last.items()}
            return SummaryOutcome.of(self._request, entries, unfinished).truncated(STORED_BYTES)

        outcome, _ = self._execution.steps.run("summary", SummaryOutcome, work, of_all_turns=True)
        return outcome

    def _close(self, name: str, turns: Turns) -> Turns:
        """Returns what a repository has come to by now; what comes after that, its request tells itself."""
        for _ in range(_MOST_TRIES):
            if not _may_go_on(turns):
                return turns
            with self._execution.invocation.deadline.calling():
                more = self._tally.mark_late(name, turns)
            if more is None:
                return turns
            turns = more
        raise ServiceUnavailableError(
            f"the request for {name} goes on as fast as it is checked; a redelivery checks again"
        )


def _may_go_on(turns: Turns) -> bool:
    """Returns whether there may be more entries: a rejected request can be corrected, and sent back."""
    return not has_ended(turns) or turns[max(turns)].error is not None
