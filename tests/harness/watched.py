"""An AWS in memory that watches over what must never happen, while it happens."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse

from tests.fakes.ecr import CALL_LIMIT
from tests.harness.faults import FaultyAWS

type Json = dict[str, Any]

ASKED_AGAIN = {
    *("ImageReferencedByManifestList", "StillUsed", "StillTagged"),
    *("UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"),
}
"""Failures after which an image may be asked for again."""


@dataclass
class WatchedAWS(FaultyAWS):
    """Notes each deletion that reaches ECR, and what is stored of it.

    Tags and digests must be unique over all repositories, and each image asked for by one request alone and in one way,
    so that what is stored of a name is its outcome.
    """

    deletions: list[tuple[str, ...]] = field(default_factory=list)
    """The tags asked for in each call, or the digests, where an id has no tag."""
    settled: set[str] = field(default_factory=set)
    """Names whose outcome is stored: nobody may ask for them again, whatever was pushed meanwhile."""
    overlapping: bool = False
    """Several requests may ask for the same digest, which goes once all the same."""
    reported: set[str] = field(default_factory=set)
    """Requests whose notice, and events by their keys, that are stored as published: nobody may publish them again."""
    violations: list[str] = field(default_factory=list)

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        if operation == "BatchDeleteImage":
            self._watch_deletion(json.loads(body))
        before, events = len(self.notices), len(self.events)
        answer = super().serve(service, operation, body)
        for notice in self.notices[before:]:
            if subject(notice) in self.reported:
                self.violations.append(f"published again although its notice is stored: {subject(notice)}")
        for event in self.events[events:]:
            if event_key(event) in self.reported:
                self.violations.append(f"put on the bus again although that is stored: {event['Detail']}")
        if operation == "UpdateItem" and answer.status_code == 200:
            data = json.loads(body).get("ExpressionAttributeValues", {}).get(":data")
            for outcome in _objects(json.loads(data["S"]) if data else {}):
                self._note(outcome)
        return answer

    def _watch_deletion(self, call: Json) -> None:
        asked = tuple(image_id.get("imageTag") or image_id["imageDigest"] for image_id in call["imageIds"])
        self.deletions.append(asked)
        if not 0 < len(set(asked)) == len(asked) <= CALL_LIMIT:
            self.violations.append(f"asked for {len(asked)} ids in a call, {len(set(asked))} of them different")
        again = self.settled.intersection(asked)
        if self.overlapping:
            again = {name for name in again if not name.startswith("sha256:")}
        if again:
            self.violations.append(f"asked again although their outcome is stored: {sorted(again)[:3]} of {len(again)}")

    def _note(self, outcome: Json) -> None:
        """Learns from a stored outcome of a chunk, a selection or a notice."""
        for digest, tag, *failure in (
            *outcome.get("imageIds", ()),
            *outcome.get("unconfirmed", ()),
            *outcome.get("failures", ()),
        ):
            if not ASKED_AGAIN.intersection(failure):
                self.settled |= {digest, tag} - {None}
        match str(outcome.get("messageId", "")).split():
            case ["event", number]:
                self.reported.add(event_key(self.events[int(number) - 1]))
            case [number]:
                self.reported.add(subject(self.notices[int(number) - 1]))


def _objects(value: Any) -> Iterator[Json]:
    """All JSON objects in a value, whatever they are stored in."""
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from _objects(member)


def event_key(event: Json) -> str:
    """Returns the key by which a result event is known."""
    return str(event["Detail"]["metadata"]["idempotencyKey"])


def subject(notice: Json) -> str:
    """Returns the subject of a notice: a request, or the arrival of one that was rejected."""
    if notice["type"] == "rejection":
        return f"rejected {notice['arrival']}" if "arrival" in notice else f"rejected {notice['origin']['id']}"
    return str(notice["requestId"])
