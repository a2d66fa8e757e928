"""The Lambda entry: what an event is answered with, and what the metrics count."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from handler.bootstrap import Services
from handler.models.errors import HandlerError, OutOfTimeError, RejectedRequestError
from handler.models.images import ImageId
from handler.models.report import FanOutReport, Report
from local.runtime import FakeLambdaContext
from tests.environment import VARIABLES as ENV
from tests.fakes.aws import FakeAWS
from tests.fakes.lambda_ import sqs_record
from tests.values import ACCOUNT, deletion_report, deletion_request, failure

with pytest.MonkeyPatch.context() as environment:  # as Lambda sets it before it imports the function
    for name, value in {**ENV, "POWERTOOLS_METRICS_NAMESPACE": "Test", "POWERTOOLS_SERVICE_NAME": "test"}.items():
        environment.setenv(name, value)
    from handler import app

type Json = dict[str, Any]


def function(aws: FakeAWS | None = None) -> app.Handler:
    """Returns the function as Lambda calls it, in front of services in memory."""
    services = Services.from_env(ENV)
    (aws or FakeAWS()).connect(services.ecr, services.dynamodb, services.sns, services.sqs)
    return app.create_handler(services)


def context() -> Any:
    """Returns the context of a new invocation."""
    return FakeLambdaContext()


def counted(output: str) -> Json:
    """Returns the metrics in what the function has written, by name."""
    [entry] = [json.loads(line) for line in output.splitlines() if '"_aws"' in line]
    names = [metric["Name"] for metric in entry["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    return {name: entry[name][0] for name in names}


def request(*tags: str, **more: Any) -> Json:
    """Returns a request for some tags."""
    return {"repositoryName": "team/app", "imageIds": [f"imageTag={tag}" for tag in tags]} | more


def test_an_invocation_is_answered_as_by_the_cli(capsys: pytest.CaptureFixture[str]) -> None:
    """With what was deleted and what failed; the account is that of the function's own ARN."""
    aws = FakeAWS()
    digest = aws.ecr.push("team/app", "a")
    answer = function(aws)(request("a", "b", requestId="by-hand-1"), context())
    assert answer == {
        "imageIds": [{"imageDigest": digest, "imageTag": "a"}],
        "failures": [failure("b").to_json()],
        "requestId": "by-hand-1",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
    }
    assert aws.ecr.names("team/app") == set()
    expected = {"Requests": 1, "RequestsRejected": 0, "ImagesDeleted": 1, "ImagesFailed": 1}
    assert counted(capsys.readouterr().out) == expected


def test_an_invocation_that_is_rejected_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """As a function error, so that Lambda keeps it at its failure destination; it is counted and reported once."""
    aws, again = FakeAWS(), context()
    handle = function(aws)
    for rejected in (1, 0):  # Lambda invokes it again under the same request id
        with pytest.raises(RejectedRequestError, match="request must be an object, not a list"):
            handle([], again)
        assert counted(capsys.readouterr().out)["RequestsRejected"] == rejected
    assert [notice["type"] for notice in aws.notices] == ["rejection"]


def test_the_records_that_failed_stay_on_the_queue(capsys: pytest.CaptureFixture[str]) -> None:
    """Each record is judged by itself: one that is rejected fails, and the others are done."""
    aws = FakeAWS()
    aws.ecr.push("team/app", "a")
    records = [sqs_record("bad", "{"), sqs_record("good", json.dumps(request("a"))), sqs_record("worse", "[]")]
    answer = function(aws)({"Records": records}, context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}, {"itemIdentifier": "worse"}]}
    assert aws.ecr.names("team/app") == set()
    expected = {"Requests": 3, "RequestsRejected": 2, "ImagesDeleted": 1, "ImagesFailed": 0}
    assert counted(capsys.readouterr().out) == expected


@dataclass
class MeetingAWS(FakeAWS):
    """An ECR that answers a deletion once three of them are under way."""

    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(3, timeout=5))

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        if operation == "BatchDeleteImage":
            self.together.wait()
        return super().answer(service, operation, body, url)


def test_the_records_of_a_batch_go_side_by_side() -> None:
    """Ten requests take as long as the slowest; no thread of the invocation outlives it."""
    aws, threads = MeetingAWS(), threading.active_count()
    for tag in "abc":
        aws.ecr.push("team/app", tag)
    records = [sqs_record(f"m-{tag}", json.dumps(request(tag))) for tag in "abc"]
    assert function(aws)({"Records": records}, context()) == {"batchItemFailures": []}
    assert aws.ecr.names("team/app") == set()
    assert threading.active_count() == threads


def rejected(*, replayed: bool) -> RejectedRequestError:
    """Returns the rejection of a request."""
    error = RejectedRequestError("no")
    error.replayed = replayed
    return error


DELETED = deletion_report(failure(), deleted=2)
FAN_OUT = FanOutReport(deletion_request(), ("team/app",))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([DELETED], (1, 0, 2, 1)),
        ([DELETED._replace(unconfirmed=(ImageId(tag="gone-0"),))], (1, 0, 2, 1)),
        ([DELETED._replace(replayed=True)], (0, 0, 0, 0)),
        ([deletion_report(failure(), deleted=2, dry_run=True)], (1, 0, 0, 0)),
        ([FAN_OUT], (1, 0, 0, 0)),
        ([FAN_OUT._replace(replayed=True)], (0, 0, 0, 0)),
        ([rejected(replayed=False)], (1, 1, 0, 0)),
        ([rejected(replayed=True)], (0, 0, 0, 0)),
        ([OutOfTimeError()], (0, 0, 0, 0)),
        ([HandlerError()], (0, 0, 0, 0)),
        ([DELETED, DELETED, OutOfTimeError()], (2, 0, 4, 2)),
    ],
    ids=repr,
)
def test_what_was_done_now_is_counted(
    outcomes: list[Report | Exception], expected: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, over the whole batch: duplicates count nothing, dry runs no images, unfinished requests when they end."""
    app.add_metrics(outcomes)
    app.metrics.flush_metrics()
    names = ("Requests", "RequestsRejected", "ImagesDeleted", "ImagesFailed")
    assert counted(capsys.readouterr().out) == dict(zip(names, expected, strict=True))
