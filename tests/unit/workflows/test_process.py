"""What every request goes through: claimed once, carried out once, reported once, whatever arrives under its key."""

import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from handler import events
from handler.bootstrap import Invocation
from handler.concurrency import Deadline
from handler.models.errors import RejectedRequestError, ServiceUnavailableError, StepLostError
from handler.models.report import DeletionReport, FanOutReport, Report
from handler.workflows.process import process
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.ecr import DAY
from tests.fakes.lambda_ import sqs_record
from tests.fakes.scripted import URL, ScriptedAWS, broken, refused
from tests.fakes.steps import INLINE, KilledError

REPOSITORY = "team/app"
LOGGER: Any = logging.getLogger("test")

type Json = dict[str, Any]


class Queue:
    """Delivers messages to the function, and remembers how often each was received."""

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
        **settings: Any,
    ) -> Report | Exception:
        """Returns what becomes of a message, in an invocation of its own."""
        self._receives[message_id] = receives = self._receives.get(message_id, 0) + 1
        body = content if isinstance(content, str) else json.dumps(content)
        context: Any = FakeLambdaContext(timeout=60)
        [arrival] = events.arrivals({"Records": [sqs_record(message_id, body, receives)]}, context)
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
        """The error of a message that stays on the queue."""
        error = self.deliver(message_id, content, **options)
        assert isinstance(error, Exception), error
        assert not isinstance(error, RejectedRequestError)
        return error


@pytest.fixture
def queue(clients: Clients, aws: ScriptedAWS, sleeps: list[float]) -> Queue:
    """The request queue, and a repository with some images behind the function."""
    del sleeps
    for n in range(3):
        aws.ecr.push(REPOSITORY, f"v{n}")
    return Queue(clients, aws)


def asking(*tags: str, **more: Any) -> Json:
    """A request for these images."""
    return {"repositoryName": REPOSITORY, "imageIds": [{"imageTag": tag} for tag in tags]} | more


# One request.


def test_a_request_of_one_chunk_makes_one_call_to_ecr_and_two_to_dynamodb(queue: Queue) -> None:
    """A duplicate makes one, to DynamoDB; no notice is published where nothing failed."""
    report = queue.report("m-1", asking("v0", "v1"))
    assert (report.deleted, report.replayed) == (2, False)
    assert queue.aws.calls == {"ecr": 1, "BatchDeleteImage": 1, "dynamodb": 2, "UpdateItem": 2}
    queue.aws.calls.clear()
    again = queue.report("m-2", asking("v0", "v1", requestId="r-1"))
    assert [f.code for f in again.failures] == ["ImageNotFound"] * 2
    queue.aws.calls.clear()
    assert queue.report("m-3", asking("v0", "v1", requestId="r-1")).replayed
    assert queue.aws.calls["ecr"] == 0


def test_what_failed_is_published_once(queue: Queue) -> None:
    """A duplicate replays it; where SNS does not take it, the redelivery publishes it and does nothing else."""
    queue.aws.plays["Publish"] = [broken(EndpointConnectionError(endpoint_url=URL))] * 5
    content = asking("v0", "gone", requestId="r-1")
    queue.unfinished("m-1", content)
    assert queue.aws.ecr.tags(REPOSITORY) == {"v1", "v2"}
    report = queue.report("m-1", content)
    assert (report.deleted, report.replayed) == (1, False)
    assert queue.report("m-2", content).replayed
    assert queue.aws.calls["BatchDeleteImage"] == len(queue.aws.notices) == 1


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
    queue: Queue, content: Json, notices: int
) -> None:
    """A dry run has no failures yet."""
    queue.report("m-1", content)
    assert len(queue.aws.notices) == notices


def test_whatever_is_raised_is_returned(queue: Queue) -> None:
    """The other messages of its batch go on; a redelivery goes on with this one."""
    queue.aws.plays["BatchDeleteImage"] = [refused("ThrottlingException")]
    assert isinstance(queue.unfinished("m-1", asking("v0")), ServiceUnavailableError)
    assert queue.report("m-1", asking("v0")).deleted == 1
    queue.aws.plays["UpdateItem"] = [refused("AccessDeniedException")]
    queue.unfinished("m-2", asking("v1"))
    assert queue.report("m-2", asking("v1")).deleted == 1


def test_what_was_deleted_before_a_death_is_no_failure(queue: Queue) -> None:
    """Every id of the chunk in flight was deleted, and its outcome is lost: deleted, though unconfirmed."""

    def killed(do: Callable[[], Any]) -> Any:
        do()
        raise KilledError

    queue.aws.plays["BatchDeleteImage"] = [killed]
    with pytest.raises(KilledError):
        queue.deliver("m-1", asking("v0", "v1"))
    assert isinstance(queue.unfinished("m-1", asking("v0", "v1")), StepLostError)
    queue.aws.let_time_pass(61)
    report = queue.report("m-1", asking("v0", "v1"))
    assert (report.deleted, report.failures, report.unconfirmed_count) == (2, (), 2)
    assert queue.aws.notices == []


def test_a_tag_that_was_pushed_since_a_lost_answer_is_left_alone(queue: Queue) -> None:
    """Days later too: a redrive of a dead letter does not delete the image that the tag names by then."""
    queue.aws.plays["BatchDeleteImage"] = [refused("ServerException", 500)] * 3
    queue.unfinished("m-1", asking("v0"))
    queue.aws.let_time_pass(13 * DAY)
    new = queue.aws.ecr.push(REPOSITORY, "v0", days=1)
    report = queue.report("m-1", asking("v0"))
    assert [failure.code for failure in report.failures] == ["ImageTagPushedAgain"]
    assert new in queue.aws.ecr.digests(REPOSITORY)


def test_a_dead_letter_is_known_however_often_it_is_redriven(queue: Queue) -> None:
    """Each redrive gives it another 14 days, and each receive another 30 to its claim."""
    content = asking("v0", requestId="r-1")
    queue.report("m-1", content)
    for day in range(5):
        queue.aws.let_time_pass(14 * DAY)
        queue.aws.ecr.push(REPOSITORY, "v0")
        assert queue.report(f"redriven-{day}", content).replayed
    assert "v0" in queue.aws.ecr.tags(REPOSITORY)


# Rejections.


def test_a_rejection_is_that_of_its_arrival(queue: Queue) -> None:
    """Over the limit at the first receive: also once the limit is raised; sent anew, the request is judged anew."""
    content = asking("v0", "v1", requestId="r-1")
    first = queue.rejected("m-1", content, max_images_per_request=1)
    assert (str(first), first.replayed) == (str(queue.rejected("m-1", content)), False)
    assert queue.report("m-2", content).deleted == 2
    for n in range(2):
        queue.aws.ecr.push(REPOSITORY, f"v{n}")
    again = queue.rejected("m-1", content)
    assert again.replayed
    assert queue.aws.ecr.tags(REPOSITORY) == {"v0", "v1", "v2"}
    assert len(queue.aws.notices) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"repositoryName": "app"}', '{"requestId": "r", "requestId": "s"}'])
def test_what_can_never_be_read_is_rejected_once(queue: Queue, content: str) -> None:
    """Two such messages are two rejections, whatever stands in them."""
    for message_id in ("m-1", "m-1", "m-2"):
        queue.rejected(message_id, content)
    assert (len(queue.aws.notices), queue.aws.calls["ecr"]) == (2, 0)


def test_a_rejection_that_cannot_be_published_stays_on_the_queue(queue: Queue) -> None:
    """The next receive publishes it, for the same reason."""
    queue.aws.plays["Publish"] = [broken(EndpointConnectionError(endpoint_url=URL))] * 5
    queue.unfinished("m-1", asking("v0", "v1"), max_images_per_request=1)
    error = queue.rejected("m-1", asking("v0", "v1"))
    assert (error.replayed, [notice["error"] for notice in queue.aws.notices]) == (False, [str(error)])


def test_a_foreign_registry_must_be_allowed(queue: Queue) -> None:
    """By the stack's ForeignRegistryIds; its own account needs no leave."""
    foreign = {"registryId": "210987654321"}
    assert "ForeignRegistryIds" in str(queue.rejected("m-1", asking("v0", **foreign)))
    assert queue.report("m-2", asking("v0", registryId="123456789012")).deleted == 1
    allowed: Json = {"foreign_registry_ids": ("210987654321",)}
    assert queue.report("m-3", asking("v1", **foreign), **allowed).deleted == 1


# Keys that are used again.

KINDS: dict[str, Json] = {
    "named ids": asking("v0"),
    "other ids": asking("v1"),
    "malformed ids": asking("-"),
    "a selection": {
        "repositoryName": REPOSITORY,
        "selection": {"tagStatus": "tagged", "tagPatternList": ["v2"]},
        "allowPercent": 100,
    },
    "several repositories": {"repositoryNames": [REPOSITORY], "imageIds": [{"imageTag": "v2"}]},
    "a dry run": asking("v0", dryRun=True),
    "a notice": asking("v0", notify="always"),
}


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_a_key_admits_one_content(queue: Queue, first: str, second: str) -> None:
    """Whatever kind the first request was: another content is rejected, reported once, and nothing of it is done."""
    queue.deliver("m-1", KINDS[first] | {"requestId": "r-1"})
    before = (queue.aws.ecr.tags(REPOSITORY), list(queue.aws.sent), len(queue.aws.notices))
    for message_id in ("m-2", "m-2"):
        outcome = queue.deliver(message_id, KINDS[second] | {"requestId": "r-1"})
        if first == second:
            assert not isinstance(outcome, Exception)
            assert outcome.replayed
        else:
            assert isinstance(outcome, RejectedRequestError)
            assert "'r-1' was used before by a request that asked for something else" in str(outcome)
    tags, sent, notices = before
    assert (queue.aws.ecr.tags(REPOSITORY), queue.aws.sent) == (tags, sent)
    assert len(queue.aws.notices) == notices + (first != second)


def test_an_unfinished_request_is_not_disturbed_by_another_content(queue: Queue) -> None:
    """Its first chunk was refused for now, and nothing is stored of it but its claim."""
    queue.aws.plays["BatchDeleteImage"] = [refused("ThrottlingException")]
    queue.unfinished("m-1", asking("v0", requestId="r-1"))
    queue.rejected("m-2", asking("v1", requestId="r-1"))
    assert queue.report("m-1", asking("v0", requestId="r-1")).deleted == 1
    assert queue.aws.ecr.tags(REPOSITORY) == {"v1", "v2"}


def test_keys_that_are_made_of_others_are_no_requestids(queue: Queue) -> None:
    """A fan-out's child and a requestId that reads like it, the cascade's steps, a message's id: all apart."""
    queue.aws.ecr.push("app", "v9")
    queue.deliver("m-1", {"requestId": "X", "repositoryNames": [REPOSITORY], "imageIds": [{"imageTag": "v0"}]})
    queue.deliver("m-2", {"requestId": "X/team", "repositoryNames": ["app"], "imageIds": [{"imageTag": "v9"}]})
    for n, body in enumerate(queue.aws.sent):
        assert queue.report(f"child-{n}", body).deleted == 1
    for n, request_id in enumerate(["X/team/app", "X/relatives/0", "X#1", "m-1"]):
        assert not queue.report(f"other-{n}", asking("v1", requestId=request_id)).replayed


# Settings that change between two deliveries.


def half_done(queue: Queue, **options: Any) -> Json:
    """A request of which the first hundred images are deleted."""
    tags = [f"t{n:03}" for n in range(150)]
    for tag in tags:
        queue.aws.ecr.push(REPOSITORY, tag)
    queue.aws.plays["BatchDeleteImage"] = [lambda do: do(), refused("ThrottlingException")]
    content = asking(*tags, requestId="r-1")
    queue.unfinished("m-1", content, **options)
    assert len(queue.aws.ecr.tags(REPOSITORY)) == 3 + 50
    return content


def test_a_lower_limit_does_not_reject_what_was_admitted(queue: Queue) -> None:
    """It goes on to its end, and its duplicates replay."""
    content = half_done(queue)
    assert queue.report("m-1", content, max_images_per_request=1).deleted == 150
    assert queue.report("m-2", content, max_images_per_request=1).replayed
    assert (len(queue.aws.ecr.tags(REPOSITORY)), queue.aws.notices) == (3, [])


def test_a_dry_run_that_is_switched_on_half_way_stops_a_request_truthfully(queue: Queue) -> None:
    """What was deleted is counted, and what was left alone is a failure, published once."""
    content = half_done(queue)
    report = queue.report("m-1", content, dry_run=True)
    assert (report.deleted, {failure.code for failure in report.failures}) == (100, {"StoppedByDryRun"})
    assert queue.report("m-2", content).deleted == 100
    assert (len(queue.aws.ecr.tags(REPOSITORY)), len(queue.aws.notices)) == (3 + 50, 1)


def test_what_began_as_the_stacks_dry_run_stays_one(queue: Queue) -> None:
    """Sent again once DryRun is off, it is the same request, whose report is replayed."""
    content = asking("v0", requestId="r-1")
    assert queue.report("m-1", content, dry_run=True).request.dry_run
    again = queue.report("m-2", content)
    assert (again.request.dry_run, again.replayed, "v0" in queue.aws.ecr.tags(REPOSITORY)) == (True, True, True)


# Requests that lead to others.


def test_a_fan_out_reports_its_repositories_and_each_child_reports_itself(queue: Queue) -> None:
    """A duplicate sends nothing, and a duplicate of a child deletes nothing."""
    content = asking("v0", "gone", requestId="r-1", repositoryNames=["team/*"])
    del content["repositoryName"]
    queue.aws.ecr.push("team/other", "v0")
    for message_id, replayed in (("m-1", False), ("m-2", True)):
        report = queue.deliver(message_id, content)
        assert isinstance(report, FanOutReport)
        assert (report.repository_names, report.replayed) == ((REPOSITORY, "team/other"), replayed)
    assert len(queue.aws.sent) == 2
    for n, body in enumerate(queue.aws.sent):
        for message_id in (f"child-{n}", f"duplicate-{n}"):
            child = queue.report(message_id, body)
            assert (child.deleted, child.request.request_id.startswith("r-1/team/")) == (1, True)
    assert len(queue.aws.notices) == 2


def test_a_selection_that_is_continued_deletes_all_and_each_turn_reports_its_own(queue: Queue) -> None:
    """Each message is received twice, and each turn has time for two chunks; a stranger under its key is rejected."""
    for n in range(550):
        queue.aws.ecr.push(REPOSITORY, f"pr-{n}")
    selection = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
    content = {"requestId": "r-1", "repositoryName": REPOSITORY, "selection": selection, "allowPercent": 100}
    bodies, deleted = [json.dumps(content)], 0
    for n, body in enumerate(bodies):
        limit = queue.aws.calls["BatchDeleteImage"] + 2

        def remaining(limit: int = limit) -> float:
            return 60.0 if queue.aws.calls["BatchDeleteImage"] < limit else 0.1

        report = queue.report(f"m-{n}", body, remaining_seconds=remaining)
        deleted += report.deleted
        again = queue.report(f"duplicate-{n}", body)
        assert again == report._replace(request=again.request, replayed=True)
        bodies += queue.aws.sent[len(bodies) - 1 :]
    assert (deleted, len(bodies)) == (550, 3)
    assert queue.aws.ecr.tags(REPOSITORY) == {"v0", "v1", "v2"}
    queue.rejected("m-9", content | {"allowPercent": 99})


def test_families_are_looked_for_in_steps_that_end_in_time(queue: Queue) -> None:
    """20 ids with 1,400 signatures: each invocation finds some, and the next goes on behind them."""
    for n in range(20):
        image = queue.aws.ecr.push(REPOSITORY, f"s{n}")
        for _ in range(70):
            queue.aws.ecr.push(REPOSITORY, subject=image)
    content = asking(*(f"s{n}" for n in range(20)), cascade=True, requestId="r-1")
    for invocations in itertools.count(1):
        limit = queue.aws.calls["ecr"] + 150

        def remaining(limit: int = limit) -> float:
            return 60.0 if queue.aws.calls["ecr"] < limit else 0.1

        options: Json = {"remaining_seconds": remaining, "max_images_per_request": 2_000}
        if isinstance(report := queue.deliver(f"m-{invocations}", content, **options), DeletionReport):
            assert (report.deleted, len(report.image_ids), invocations > 5) == (20, 1_420, True)
            break
        assert invocations < 30
    assert queue.aws.ecr.tags(REPOSITORY) == {"v0", "v1", "v2"}
