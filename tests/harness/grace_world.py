"""A repository under a grace period, as people and the function change it; and who archived what, as it happened."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse

from local.template import cloudformation
from tests.fakes.ecr import DAY
from tests.harness.faults import FaultyAWS
from tests.harness.request_queue import VISIBILITY_SECONDS, Invoke, RequestQueue

type Json = dict[str, Any]

REPOSITORY = "team/app"
GRACE_DAYS = 30
DAILY: Json = json.loads(cloudformation()["Resources"]["GracePeriodRule"]["Properties"]["Targets"][0]["Input"])
_ROUNDS = 12
_CLOCK_SECONDS = 300
"""What the fault of one request may take."""


@dataclass
class GraceWorld(FaultyAWS):
    """Notes who has put an image into the archive, and complains where one goes that must not."""

    due: dict[str, bool] = field(default_factory=dict)
    """Of each image that the function archived and nobody has touched since: whether it is to be deleted later."""
    deletes: set[str] = field(default_factory=set)
    """What the request that is delivered may delete by its name."""
    keeps: bool = False
    """It archives for good."""
    complaints: list[str] = field(default_factory=list)
    requests: int = 0

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        images = self.ecr.repositories[REPOSITORY]
        before = {digest: (image.current_status(), image.archived) for digest, image in images.items()}
        answer = super().serve(service, operation, body)
        if service == "ecr" and operation == "UpdateImageStorageClass" and answer.status_code == 200:
            call = json.loads(body)
            digest = call["imageId"]["imageDigest"]
            if call["targetStorageClass"] == "STANDARD":
                self.due.pop(digest, None)
            elif before[digest][0] == "ACTIVE":
                self.due[digest] = not self.keeps
        for digest in before.keys() - images.keys():
            self._gone(digest, *before[digest])
        return answer

    def _gone(self, digest: str, status: str, archived: float | None) -> None:
        due = self.due.pop(digest, False)
        if digest in self.deletes:
            return
        if not due:
            self.complaints.append(f"deleted, though {status} and not put away by the grace period: {digest}")
        elif archived is None or time.time() - archived < GRACE_DAYS * DAY:
            self.complaints.append(f"deleted too soon: {digest}")

    def deliver(self, invoke: Invoke, request: Json, lifted_after: int = 0) -> list[Json]:
        """Delivers a request until it is done or a dead letter, and all that it leads to; returns its notices.

        The fault is lifted after so many rounds.
        """
        self.requests += 1
        before = len(self.notices)
        queue = RequestQueue({f"m-{self.requests}": json.dumps(request)})
        for number in range(_ROUNDS):
            if number == lifted_after:
                self.fault = None
            queue.deliver(invoke)
            sent, self.sent = self.sent, []
            queue.send({f"m-{self.requests}-{number}-{n}": body for n, body in enumerate(sent)})
            if not queue.bodies:
                break
            self.let_time_pass(VISIBILITY_SECONDS)
        if queue.bodies or queue.dead:
            self.complaints.append(f"never done: {[*queue.bodies, *queue.dead]}")
        queue.redeliver()
        queue.deliver(invoke)
        return self.notices[before:]

    def by_hand(self, digest: str, target: str) -> None:
        """Archives or restores an image, as a person does."""
        image = self.ecr.repositories[REPOSITORY][digest]
        status = image.current_status()
        if target == "ARCHIVE" and status == "ACTIVE":
            image.status, image.archived = "ARCHIVED", time.time()
            self.due.pop(digest, None)
        elif target == "STANDARD" and status == "ARCHIVED":
            image.status, image.activated = "ACTIVATING", time.time() + self.ecr.activation_seconds
            self.due.pop(digest, None)

    def push_again(self, digest: str) -> None:
        """Pushes an image that is there, as a person does."""
        self.ecr.push_again(REPOSITORY, digest)
        self.due.pop(digest, None)

    @property
    def overdue(self) -> set[str]:
        """The images whose grace period is over by any clock."""
        images = self.ecr.repositories[REPOSITORY]
        end = time.time() - GRACE_DAYS * DAY - _CLOCK_SECONDS
        return {digest for digest, due in self.due.items() if due and (images[digest].archived or 0.0) < end}
