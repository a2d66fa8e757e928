"""The EventBridge bus that carries result events."""

from typing import TYPE_CHECKING

from handler.models.errors import UnknownOutcomeError
from handler.models.outcomes import Published

from .result_events import ResultEvent

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


def put_event(events: "EventBridgeClient", bus_name: str, source: str, event: ResultEvent) -> Published:
    """Puts an event on the bus; raises botocore's error, or UnknownOutcomeError where EventBridge did not take it.

    A call that succeeds may have failed all the same: its answer says so of each entry.
    """
    answer = events.put_events(
        Entries=[
            {
                "EventBusName": bus_name,
                "Source": source,
                "DetailType": event.detail_type,
                "Detail": event.detail,
                "Resources": list(event.resources),
            }
        ]
    )
    [entry] = answer.get("Entries") or [{}]
    if "EventId" not in entry:
        reason = (
            f"{entry.get('ErrorCode', 'no EventId')}: {entry.get('ErrorMessage', 'its answer did not arrive whole')}"
        )
        raise UnknownOutcomeError(f"EventBridge did not take the result event for the bus {bus_name}: {reason}")
    return Published(entry["EventId"])
