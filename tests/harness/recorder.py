"""A stand-in for the function, for tests of what delivers messages to it."""

from typing import Any

from local.runtime import FakeLambdaContext

type Json = dict[str, Any]


class Recorder:
    """Keeps what it was invoked with; reports messages as failed, or raises, where a test says so."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.failing: set[str] = set()
        """The bodies of messages that fail."""
        self.error: Exception | None = None
        """Raised instead of an answer."""

    def __call__(self, event: Json, context: FakeLambdaContext) -> Json:
        assert context.get_remaining_time_in_millis() > 0
        self.events.append(event)
        if self.error:
            raise self.error
        failures = [record for record in event["Records"] if record["body"] in self.failing]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failures]}

    @property
    def bodies(self) -> list[str]:
        """Those of all messages, in order."""
        return [record["body"] for event in self.events for record in event["Records"]]
