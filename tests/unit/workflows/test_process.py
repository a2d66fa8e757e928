"""The path of every request: claimed once, carried out once, reported once, whatever arrives under its key."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from handler import events
from handler.bootstrap import Invocation
from handler.concurrency import Deadline
from handler.models.errors import RejectedRequestError, ServiceUnavailableError
from handler.models.report import DeletionReport, FanOutReport, ForwardedReport, Report
from handler.workflows.process import process
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, QUEUE_ARN, sqs_record
from tests.fakes.scripted import URL, ScriptedAWS, broken, refused
from tests.fakes.steps import INLINE

REPOSITORY = "team/app"
LOGGER: Any = logging.getLogger("test")

type Json = dict[str, Any]


class Queues:
    """Deliver messages to the function, and remember how often each was received."""

    def __init__(self, clients: Clients, aws: ScriptedAWS) -> None:
        self.aws = aws
        self._clients = clients
        self._receives: dict[str, int] = {}

    def deliver(
        self,
        message_id: str,
        content: Json | str,
        *,
        remaining_seconds: Callable[[], float] = lambda: 60.0,
        bulk: bool = False,
        **settings: Any,
    ) -> Report | Exception:
        """Returns what becomes of a message on the request queue or the bulk queue, in an invocation of its own."""
        self._receives[message_id] = receives = self._receives.get(message_id, 0) + 1
        body = content if isinstance(content, str) else json.dumps(content)
        context: Any = FakeLambdaContext(timeout=60)
        record = sqs_record(message_id, body, receives, queue=BULK_QUEUE_ARN if bulk else QUEUE_ARN)
        [arrival] = events.arrivals({"Records": [record]}, context, BULK_QUEUE_URL)
        invocation = Invocation(context, INLINE, Deadline(remaining_seconds), "123456789012")
        return process(arrival, self._clients.services(**settings), invocation, LOGGER)

    def report(self, message_id: str, content: Json | str, **options: Any) -> DeletionReport:
        """The report of a message that is carried out, or was."""
        report = self.deliver(message_id, content, **options)
        assert isinstance(report, DeletionReport), report
        return report

    def rejected(self, message_id: str, content: Json | str, **options: Any) -> RejectedRequestError:
        """The error of a message that is rejected, or was."""
        error = self.deliver(message_id, content, **options)
        assert isinstance(error, RejectedRequestError), error
        return error

    def unfinished(self, message_id: str, content: Json | str, **options: Any) -> Exception:
        """The error of a message that stays on the queues."""
        error = self.deliver(message_id, content, **options)
        assert isinstance(error, Exception), error
        assert not isinstance(error, RejectedRequestError)
        return error


@pytest.fixture
def queues(clients: Clients, aws: ScriptedAWS, sleeps: list[float]) -> Queues:
    """Both queues, and a repository with some images behind the function."""
    del sleeps
    for n in range(3):
        aws.ecr.push(REPOSITORY, f"v{n}")
    return Queues(clients, aws)


def asking(*tags: str, **more: Any) -> Json:
    """A request for these images."""
    return {"repositoryName": REPOSITORY, "imageIds": [{"imageTag": tag} for tag in tags]} | more


# One request.


def test_a_request_of_one_chunk_makes_one_call_to_ecr_and_two_to_dynamodb(queues: Queues) -> None:
    """A duplicate makes one, to DynamoDB; no notice is published where nothing failed."""
    report = queues.report("m-1", asking("v0", "v1"))
    assert (report.done, report.replayed) == (2, False)
    assert queues.aws.calls == {"ecr": 1, "BatchDeleteImage": 1, "dynamodb": 2, "UpdateItem": 2}
    queues.aws.calls.clear()
    again = queues.report("m-2", asking("v0", "v1", requestId="r-1"))
    assert [f.code for f in again.failures] == ["ImageNotFound"] * 2
    queues.aws.calls.clear()
    assert queues.report("m-3", asking("v0", "v1", requestId="r-1")).replayed
    assert queues.aws.calls["ecr"] == 0


def test_what_failed_is_published_once(queues: Queues) -> None:
    """A duplicate replays it; where SNS does not take it, the redelivery publishes it and does nothing else."""
    queues.aws.plays["Publish"] = [broken(EndpointConnectionError(endpoint_url=URL))] * 5
    content = asking("v0", "gone", requestId="r-1")
    queues.unfinished("m-1", content)
    assert queues.aws.ecr.tags(REPOSITORY) == {"v1", "v2"}
    report = queues.report("m-1", content)
    assert (report.done, report.replayed) == (1, False)
    assert queues.report("m-2", content).replayed
    assert queues.aws.calls["BatchDeleteImage"] == len(queues.aws.notices) == 1


@pytest.mark.parametrize(
    ("content", "notices"),
    [
        (asking("v0"), 0),
        (asking("v0", notify="always"), 1),
        (asking("gone"), 1),
        (asking("gone", dryRun=True), 0),
        (asking("gone", dryRun=True, notify="always"), 1),
    ],
)
def test_a_notice_is_published_of_failures_or_where_the_request_asks_for_it(
    queues: Queues, content: Json, notices: int
) -> None:
    """A dry run has no failures yet."""
    queues.report("m-1", content)
    assert len(queues.aws.notices) == notices


def test_whatever_is_raised_is_returned(queues: Queues) -> None:
    """The other messages of its batch go on; a redelivery goes on with this one."""
    queues.aws.plays["BatchDeleteImage"] = [refused("ThrottlingException")]
    assert isinstance(queues.unfinished("m-1", asking("v0")), ServiceUnavailableError)
    assert queues.report("m-1", asking("v0")).done == 1
    queues.aws.plays["UpdateItem"] = [refused("AccessDeniedException")]
    queues.unfinished("m-2", asking("v1"))
    assert queues.report("m-2", asking("v1")).done == 1


# Rejections.


def test_a_rejection_is_that_of_its_arrival(queues: Queues) -> None:
    """Over the limit at the first receive: also once the limit is raised; sent anew, the request is judged anew."""
    content = asking("v0", "v1", requestId="r-1")
    first = queues.rejected("m-1", content, max_images_per_request=1)
    assert (str(first), first.replayed) == (str(queues.rejected("m-1", content)), False)
    assert queues.report("m-2", content).done == 2
    for n in range(2):
        queues.aws.ecr.push(REPOSITORY, f"v{n}")
    again = queues.rejected("m-1", content)
    assert again.replayed
    assert queues.aws.ecr.tags(REPOSITORY) == {"v0", "v1", "v2"}
    assert len(queues.aws.notices) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"repositoryName": "app"}', '{"requestId": "r", "requestId": "s"}'])
def test_what_can_never_be_read_is_rejected_once(queues: Queues, content: str) -> None:
    """Two such messages are two rejections, whatever stands in them."""
    for message_id in ("m-1", "m-1", "m-2"):
        queues.rejected(message_id, content)
    assert (len(queues.aws.notices), queues.aws.calls["ecr"]) == (2, 0)


def test_a_foreign_registry_must_be_allowed(queues: Queues) -> None:
    """By the stack's ForeignRegistryIds; its own account needs no leave."""
    foreign = {"registryId": "210987654321"}
    assert "ForeignRegistryIds" in str(queues.rejected("m-1", asking("v0", **foreign)))
    assert queues.report("m-2", asking("v0", registryId="123456789012")).done == 1
    allowed: Json = {"foreign_registry_ids": ("210987654321",)}
    assert queues.report("m-3", asking("v1", **foreign), **allowed).done == 1


# Requests that move to the bulk queue.

SELECTING: Json = {"repositoryName": REPOSITORY, "selection": {"tagStatus": "any", "keepMostRecent": 2}}
BULK = pytest.mark.parametrize(
    "content",
    [
        {**SELECTING, "requestId": "r-1"},
        {"repositoryNames": ["team/*"], "imageIds": [{"imageTag": "v0"}], "requestId": "r-1"},
    ],
    ids=["a selection", "several repositories"],
)


@BULK
def test_what_may_take_minutes_moves_in_four_calls(queues: Queues, content: Json) -> None:
    """To begin the step, to send, and to store that; a duplicate makes one call, and ECR is not asked."""
    for message_id in ("m-1", "m-2"):  # each arrival moves: whether it is the same is seen by who carries it out
        queues.aws.calls.clear()
        report = queues.deliver(message_id, content)
        assert isinstance(report, ForwardedReport)
        assert report.to_answer("123456789012") == {"requestId": "r-1"}
        assert queues.aws.calls == {"dynamodb": 2, "UpdateItem": 2, "sqs": 1, "SendMessageBatch": 1}
        queues.aws.calls.clear()
        assert isinstance(queues.deliver(message_id, content), ForwardedReport)
        assert (queues.aws.calls["dynamodb"] <= 2, queues.aws.calls["sqs"], queues.aws.calls["ecr"]) == (True, 0, 0)
    assert len(queues.aws.sent) == 2
    assert queues.aws.notices == []


@BULK
def test_what_may_take_minutes_is_carried_out_in_the_bulk_lane(queues: Queues, content: Json) -> None:
    """As it arrives there, moved or sent there; the same request once."""
    queues.deliver("m-1", content)
    [moved] = queues.aws.sent
    first = queues.deliver("bulk-1", moved, bulk=True)
    assert isinstance(first, DeletionReport | FanOutReport)
    assert (first.request.request_id, first.replayed) == ("r-1", False)
    second = queues.deliver("bulk-2", content, bulk=True)
    assert isinstance(second, DeletionReport | FanOutReport)
    assert second.replayed


def test_named_images_move_nowhere(queues: Queues) -> None:
    """On either queue they are deleted where they arrive."""
    for message_id, bulk in (("m-1", False), ("m-2", True)):
        assert queues.report(message_id, asking(f"v{int(bulk)}"), bulk=bulk).done == 1
    assert queues.aws.calls["sqs"] == 0


def test_a_request_that_cannot_move_now_is_received_again(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS does not take it, or there is no time left for a call: no step is stored, and the next receive sends it."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # between botocore's own tries
    monkeypatch.setattr("botocore.retries.bucket.TokenBucket.acquire", lambda *_, **__: True)
    queues.aws.plays["SendMessageBatch"] = [refused("ThrottlingException", 500)] * 10
    queues.unfinished("m-1", SELECTING)
    queues.aws.plays["SendMessageBatch"].clear()
    queues.unfinished("m-1", SELECTING, remaining_seconds=lambda: 0.0)
    assert queues.aws.sent == []
    assert isinstance(queues.deliver("m-1", SELECTING), ForwardedReport)
    assert (len(queues.aws.sent), queues.aws.notices) == (1, [])


def test_a_message_that_was_rejected_does_not_move_later(queues: Queues) -> None:
    """Its key names nothing yet; what it says was refused once, and stays so at each further receive."""
    envelope = {"key": ["request", "r-1"], "requestId": "r-1", "turn": 0, "taken": 0, "seal": None}
    origin = {"kind": "message", "id": "m", "source": "queue", "sender": None}
    forged = {"followUp": envelope | {"origin": origin}, "request": SELECTING}
    for replayed in (False, True):
        error = queues.rejected("m-1", forged)
        assert ("BulkQueueArn" in str(error), error.replayed) == (True, replayed)
    assert (queues.aws.sent, len(queues.aws.notices), queues.aws.calls["ecr"]) == ([], 1, 0)
    assert queues.report("m-2", {**SELECTING, "requestId": "r-1"}, bulk=True).done == 1


# Requests that lead to others.


def test_a_fan_out_reports_its_repositories_and_each_child_reports_itself(queues: Queues) -> None:
    """A duplicate sends nothing, and a duplicate of a child deletes nothing."""
    content = asking("v0", "gone", requestId="r-1", repositoryNames=["team/*"])
    del content["repositoryName"]
    queues.aws.ecr.push("team/other", "v0")
    for message_id, replayed in (("m-1", False), ("m-2", True)):
        report = queues.deliver(message_id, content, bulk=True)
        assert isinstance(report, FanOutReport)
        assert (report.repository_names, report.replayed) == ((REPOSITORY, "team/other"), replayed)
    assert len(queues.aws.sent) == 2
    for n, body in enumerate(queues.aws.sent):
        for message_id in (f"child-{n}", f"duplicate-{n}"):
            child = queues.report(message_id, body, bulk=True)
            assert (child.done, child.request.request_id.startswith("r-1/team/")) == (1, True)
    assert len(queues.aws.notices) == 2


def test_a_selection_that_is_continued_deletes_all_and_each_turn_reports_its_own(queues: Queues) -> None:
    """Each message is received twice, and each turn has time for two chunks; a stranger under its key is rejected."""
    for n in range(550):
        queues.aws.ecr.push(REPOSITORY, f"pr-{n}")
    selection = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
    content = {"requestId": "r-1", "repositoryName": REPOSITORY, "selection": selection, "allowPercent": 100}
    bodies, deleted = [json.dumps(content)], 0
    for n, body in enumerate(bodies):
        limit = queues.aws.calls["BatchDeleteImage"] + 2

        def remaining(limit: int = limit) -> float:
            return 60.0 if queues.aws.calls["BatchDeleteImage"] < limit else 0.1

        report = queues.report(f"m-{n}", body, remaining_seconds=remaining, bulk=True)
        deleted += report.done
        again = queues.report(f"duplicate-{n}", body, bulk=True)
        assert again == report._replace(request=again.request, replayed=True)
        bodies += queues.aws.sent[len(bodies) - 1 :]
    assert (deleted, len(bodies)) == (550, 3)
    assert queues.aws.ecr.tags(REPOSITORY) == {"v0", "v1", "v2"}
    queues.rejected("m-9", content | {"allowPercent": 99}, bulk=True)
