"""The five ways in which a request arrives."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from . import roles
from .aws import Clients
from .names import Run
from .stack import Stack

type Json = dict[str, Any]

DETAIL_TYPE = "ECR Image Deletion Request"
NEEDS: dict[str, tuple[str, ...]] = {
    "queue": (),
    "bus": ("EventBusName", "EventRepositoryPrefix"),
    "schedule": (),
    "rule": (),
    "hand": (),
}
"""The parameters that the stack must have for each way."""


_AHEAD_SECONDS = 60
"""How far ahead a schedule is set: one whose time is past when it is created would never be sent."""


class FunctionError(AssertionError):
    """An invocation that ended in an error of the function, or an event that was not taken."""


@dataclass
class Sender:
    """Whoever sends requests to the stack."""

    clients: Clients
    run: Run
    stack: Stack
    _schedule_role: str = field(default="", init=False)

    def by(self, way: str) -> Callable[[Json], object]:
        """Returns what sends a request in that way."""
        return {
            "queue": self.message,
            "bus": self.event,
            "schedule": self.schedule,
            "rule": self.direct_event,
            "hand": self.invoke,
        }[way]

    def message(self, request: Json | str) -> str:
        """Puts a message on the request queue; returns its id."""
        body = request if isinstance(request, str) else json.dumps(request)
        answer = self.clients("sqs").send_message(QueueUrl=self.stack.outputs["RequestQueueUrl"], MessageBody=body)
        return str(answer["MessageId"])

    def event(self, request: Json) -> str:
        """Puts an event on the stack's bus; returns its id."""
        entry = {
            "Source": self.stack.event_source,
            "DetailType": DETAIL_TYPE,
            "Detail": json.dumps(request),
            "EventBusName": self.stack.parameters["EventBusName"],
        }
        [answer] = self.clients("events").put_events(Entries=[entry])["Entries"]
        if "EventId" not in answer:
            raise FunctionError(f"the bus did not take the event: {answer}")
        return str(answer["EventId"])

    def schedule(self, request: Json) -> str:
        """Has EventBridge Scheduler send a request in a minute, once; returns the name of that schedule."""
        scheduler, name = self.clients("scheduler"), self.run.name(f"once-{uuid.uuid4().hex[:8]}")
        if not self._schedule_role:
            scheduler.create_schedule_group(Name=self.run.name("once"), Tags=self.run.tag_list)
            self._schedule_role = self._make_schedule_role()
        at = datetime.now(UTC) + timedelta(seconds=_AHEAD_SECONDS)
        roles.once_known(
            lambda: scheduler.create_schedule(
                Name=name,
                GroupName=self.run.name("once"),
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": self.stack.outputs["RequestQueueArn"],
                    "RoleArn": self._schedule_role,
                    "Input": json.dumps(request),
                },
            )
        )
        return name

    def direct_event(self, request: Json) -> str:
        """Invokes the function with an event and does not wait, as a rule does that has it as its target."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Acceptance",
            "source": self.stack.event_source,
            "account": self.stack.account,
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": self.stack.region,
            "resources": [],
            "detail": request,
        }
        self.clients("lambda").invoke(
            FunctionName=self.stack.function, InvocationType="Event", Payload=json.dumps(event).encode()
        )
        return str(event["id"])

    def invoke(self, request: Json) -> Json:
        """Invokes the function by hand, and returns its answer. Raises FunctionError if that is an error."""
        return self.invoke_function(self.stack.function, request)

    def invoke_function(self, name: str, payload: Json) -> Json:
        """Invokes one of the stack's functions, and waits for its answer."""
        answer = self.clients("lambda").invoke(FunctionName=name, Payload=json.dumps(payload).encode())
        body = answer["Payload"].read()
        if "FunctionError" in answer:
            raise FunctionError(body.decode())
        parsed: Json = json.loads(body) or {}
        return parsed

    def _make_schedule_role(self) -> str:
        statements: list[Json] = [
            {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": self.stack.outputs["RequestQueueArn"]}
        ]
        if key := self.stack.parameters.get("KmsKeyArn"):
            statements.append({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key})
        return roles.create(self.clients, self.run, "schedule", "scheduler.amazonaws.com", statements)
