"""ECR, DynamoDB, SNS, SQS and EventBridge in memory, reached through real botocore clients.

The code, its Powertools and its botocore run as they are, retries included; only the bytes on the wire are replaced, by
botocore's `before-send` hook. Subclasses decide what becomes of a call, in `answer`.
"""

import io
import json
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.ecr import FakeECR
from tests.fakes.errors import ServiceError

type Json = dict[str, Any]

_TIMES = {"begun": 1, "expiration": 1, "until": 1000, "notBefore": 1, "notAfter": 1}
"""The times in the items of a table, and how many of their units are a second."""


@dataclass
class FakeAWS:
    """The state that can be seen from outside, and how often each operation was called."""

    ecr: FakeECR = field(default_factory=FakeECR)
    dynamodb: FakeDynamoDB = field(default_factory=FakeDynamoDB)
    notices: list[Json] = field(default_factory=list)
    """The JSON of each."""
    events: list[Json] = field(default_factory=list)
    """The entries that were put on a bus, their details parsed."""
    sent: list[str] = field(default_factory=list)
    """Messages for the request queue."""
    calls: Counter[str] = field(default_factory=Counter)
    """By service, and by operation."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def connect(self, *clients: Any) -> None:
        """Puts this behind clients, instead of the network."""
        for client in clients:
            client.meta.events.register("before-send", self.before_send)

    def before_send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        """Answers a request that botocore is about to send."""
        service, operation = event_name.split(".")[1:]
        return self.answer(service, operation, request.body, request.url)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        """Answers one call."""
        del url
        with self.lock:
            self.calls.update((service, operation))
            return self.serve(service, operation, body)

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        """Does what is asked."""
        text = body.decode() if isinstance(body, bytes) else str(body)
        if service == "sns":
            message = dict(urllib.parse.parse_qsl(text))["Message"]
            self.notices.append(json.loads(json.loads(message)["default"]))
            result = f"<PublishResult><MessageId>{len(self.notices)}</MessageId></PublishResult>"
            return response(200, f"<PublishResponse>{result}</PublishResponse>")
        parameters = json.loads(text)
        if service == "eventbridge":
            self.events += [entry | {"Detail": json.loads(entry["Detail"])} for entry in parameters["Entries"]]
            taken = [{"EventId": f"event {len(self.events)}"}]
            return response(200, json.dumps({"FailedEntryCount": 0, "Entries": taken}))
        try:
            if service == "sqs":
                return response(200, json.dumps(self._send_message_batch(parameters)))
            fake = self.ecr if service == "ecr" else self.dynamodb
            return response(200, json.dumps(fake.call(operation, parameters)))
        except ServiceError as error:
            return response(error.status, json.dumps(error.body))

    def let_time_pass(self, seconds: float) -> None:
        """Makes all that was written down older, by the times that stand in it."""
        with self.lock:
            for images in self.ecr.repositories.values():
                for image in images.values():
                    image.pushed -= seconds
                    for name in ("archived", "activated"):
                        if (at := getattr(image, name)) is not None:
                            setattr(image, name, at - seconds)
            for table in self.dynamodb.tables.values():
                for item in table.values():
                    for name, unit in _TIMES.items():
                        if name in item:
                            item[name] = {"N": str(float(item[name]["N"]) - seconds * unit)}

    def _send_message_batch(self, call: Json) -> Json:
        self.sent += [entry["MessageBody"] for entry in call["Entries"]]
        return {"Successful": [{"Id": entry["Id"], "MessageId": entry["Id"]} for entry in call["Entries"]]}


class _Raw(io.BytesIO):
    """An HTTP body as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def response(status: int, body: str) -> AWSResponse:
    """A response as botocore takes it from its HTTP layer."""
    return AWSResponse("http://loopback", status, HTTPHeaders(), _Raw(body.encode()))


def seconds_ago(seconds: float) -> float:
    """A time, in seconds since the epoch."""
    return time.time() - seconds
