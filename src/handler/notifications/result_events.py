"""Result events: what became of a request, for systems. `events/schemas` has a JSON Schema of each kind."""

import json
from typing import Any, NamedTuple

from handler.models.event_types import COMPLETED, REJECTED, SUMMARIZED
from handler.models.images import Json
from handler.models.limits import EVENT_BYTES, truncate_to_fit
from handler.models.report import DeletionReport
from handler.models.request import Key, Origin, Registry, key_hash
from handler.models.summary import SummaryReport

from .data import rejection_data, report_data, summary_data

VERSION = "1"
"""Of the details; a new member keeps it, a changed or removed one does not."""


class ResultEvent(NamedTuple):
    """An event for the bus, without its source, which is the stack's."""

    detail_type: str
    detail: str
    """JSON."""
    resources: tuple[str, ...] = ()
    """ARNs."""

    @property
    def size(self) -> int:
        """Bytes, as PutEvents counts them, without the source."""
        return sum(len(text.encode()) for text in (self.detail_type, self.detail, *self.resources))


def completed(report: DeletionReport, registry: Registry, generation: str, limit: int = EVENT_BYTES) -> ResultEvent:
    """Returns the event of a report, with what was done and what failed; what `limit` bytes cannot hold is counted.

    `generation` is that of its claim: a requestId may be used again after some weeks.
    """
    request = report.request
    arn = registry.repository_arn(request.repository_name, request.registry_id)

    def first(count: int) -> ResultEvent:
        data = report_data(report, registry.account_id, count, names_done=True)
        return _event(COMPLETED, (request.key, generation, request.turn), data, arn)

    return truncate_to_fit(first, report.entries, lambda event: event.size, limit)


def rejected(error: str, origin: Origin, content: Any, arrival: Key, part_of: str | None = None) -> ResultEvent:
    """Returns the event of a request that can never work; it names no ARN, for no repository is known to be meant."""
    return _event(REJECTED, (arrival, error), rejection_data(error, origin, content, part_of))


def summarized(report: SummaryReport, registry: Registry, generation: str, limit: int = EVENT_BYTES) -> ResultEvent:
    """Returns the event of a summary."""

    def first(count: int) -> ResultEvent:
        return _event(SUMMARIZED, (report.request.key, generation), summary_data(report, registry.account_id, count))

    return truncate_to_fit(first, report.outcome.entries, lambda event: event.size, limit)


def _event(detail_type: str, about: tuple[Any, ...], data: Json, *resources: str) -> ResultEvent:
    """Returns an event, with a key of what it is about: sent again after a lost answer, it has the same."""
    detail = {"metadata": {"version": VERSION, "idempotencyKey": key_hash([detail_type, *about])}, "data": data}
    return ResultEvent(detail_type, json.dumps(detail), resources)
