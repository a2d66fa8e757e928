"""A request for several repositories: one message each, none twice from one step, and a redelivery goes on behind."""

import json
from typing import Any

import pytest

from handler.archive_records import ArchiveRecords
from handler.models.errors import (
    OutOfTimeError,
    RejectedRequestError,
    ServiceUnavailableError,
    UnknownOutcomeError,
)
from handler.models.images import ImageId
from handler.models.report import FanOutReport
from handler.models.request import Selection, mark_of
from handler.workflows.fan_out import FanOut
from tests.fakes.clients import Clients
from tests.fakes.execution import execution
from tests.fakes.scripted import ScriptedAWS, cut_short, lost, refused
from tests.fakes.steps import KilledError, MemorySteps, StepMemory
from tests.values import ACCOUNT, FOREIGN, deletion_request

OWN = ACCOUNT
NAMES = [f"team/{n:03}" for n in range(450)]


def fan_out(clients: Clients, steps: MemorySteps, *names: str, **variables: Any) -> FanOutReport:
    """Carries out a request for these repositories."""
    content = {"requestId": "r-1", "repositoryNames": list(names), "imageIds": [{"imageTag": "v1"}]}
    request = deletion_request(
        ImageId(tag="v1"), key=("request", "r-1"), repository_name="", repository_names=names, payload=content
    )
    return FanOut(execution(clients, request, steps, **variables)).carry_out()


@pytest.fixture
def aws(aws: ScriptedAWS, monkeypatch: pytest.MonkeyPatch) -> ScriptedAWS:
    """A registry of many repositories, of which one step takes some."""
    monkeypatch.setattr("handler.workflows.fan_out._REQUESTS_PER_STEP", 200)
    for name in NAMES:
        aws.ecr.push(name)
    return aws


def sent(aws: ScriptedAWS) -> list[str]:
    """The repositories of the messages that were sent."""
    return [json.loads(body)["request"]["repositoryName"] for body in aws.sent]


def test_each_repository_gets_a_request_of_its_own(clients: Clients, aws: ScriptedAWS) -> None:
    """In the order of their names, ten to a call and two hundred to a step; its key is made of that of the request."""
    report = fan_out(clients, steps := MemorySteps(), "team/*")
    assert (list(report.repository_names), sent(aws), report.replayed) == (NAMES, NAMES, False)
    assert steps.done == ["send/0", "send/1", "send/2"]
    assert aws.calls["SendMessageBatch"] == 45
    key = json.loads(aws.sent[7])["followUp"]["key"]
    assert key == ["child", ["request", "r-1"], "team/007", mark_of("generation")]


@pytest.mark.parametrize("does_the_next", [True, False])
def test_a_redelivery_sends_for_those_behind(
    clients: Clients,
    aws: ScriptedAWS,
    does_the_next: bool,  # noqa: FBT001
) -> None:
    """A step whose outcome was not stored is done again, and its messages have the same keys; no other is sent twice.

    What has come into being since, among those before, is none of this request.
    """
    memory = StepMemory()
    with pytest.raises(KilledError):
        fan_out(clients, MemorySteps(memory, survives=1, does_the_next=does_the_next), "team/*")
    assert len(sent(aws)) == (400 if does_the_next else 200)
    aws.ecr.push("team/000a")
    report = fan_out(clients, MemorySteps(memory), "team/*")
    assert list(report.repository_names) == NAMES
    assert len(sent(aws)) == (650 if does_the_next else 450)
    assert len(set(aws.sent)) == 450


def test_a_step_sends_as_many_as_there_is_time_for(clients: Clients, aws: ScriptedAWS) -> None:
    """Messages that were sent are stored; the next invocation sends for those behind."""
    memory = StepMemory()

    def remaining() -> float:
        return 60.0 if len(aws.sent) < 30 else 0.1

    with pytest.raises(OutOfTimeError):
        fan_out(clients, MemorySteps(memory), "team/*", remaining_seconds=remaining)
    assert (sent(aws), list(memory.outcomes)) == (NAMES[:30], ["send/0"])
    fan_out(clients, MemorySteps(memory), "team/*")
    assert sent(aws) == NAMES


def test_a_request_that_means_no_repository_is_rejected(clients: Clients, aws: ScriptedAWS) -> None:
    """Or whose repositories ECR will not list; with the stack's pattern, to see why."""
    with pytest.raises(
        RejectedRequestError, match=r"means no repository; the stack's RepositoryPattern is 'other/\*'$"
    ):
        fan_out(clients, MemorySteps(), "team/*", repository_patterns=("other/*",))
    aws.plays["DescribeRepositories"] = [refused("AccessDeniedException")]
    with pytest.raises(RejectedRequestError, match="cannot be listed: AccessDeniedException: why; the function's role"):
        fan_out(clients, MemorySteps(), "team/*")
    assert aws.sent == []


@pytest.mark.parametrize("survives", [0, 1])
def test_what_may_have_sent_something_is_not_rejected(clients: Clients, aws: ScriptedAWS, survives: int) -> None:
    """Though nothing more is meant, or can be listed: nobody may say that nothing of it was carried out."""
    memory = StepMemory()
    with pytest.raises(KilledError):
        fan_out(clients, MemorySteps(memory, survives=survives, does_the_next=True), "team/*")
    aws.plays["DescribeRepositories"] = [refused("AccessDeniedException")]
    with pytest.raises(ServiceUnavailableError):
        fan_out(clients, MemorySteps(memory), "team/*")
    aws.ecr.repositories.clear()
    if not survives:  # nothing is known to have been sent, and to be done without a word would hide that
        with pytest.raises(ServiceUnavailableError, match="means no repository"):
            fan_out(clients, MemorySteps(memory), "team/*")
    else:
        assert not fan_out(clients, MemorySteps(memory), "team/*").replayed


AFTER_GRACE = Selection("any", storage_class="archive", count_type="gracePeriodEnded")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"team/a": OWN, "team/a@210987654321": FOREIGN, "team/c@210987654321": FOREIGN}),
        ({"registry_id": FOREIGN}, {"team/a": FOREIGN, "team/c": FOREIGN}),
        ({"repository_names": ("team/c*",)}, {"team/c@210987654321": FOREIGN}),
    ],
)
def test_what_a_grace_period_has_kept_is_looked_for_where_it_is(
    clients: Clients, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    """In the repositories that are remembered, of the registries that are allowed, and of no other; nobody is asked."""
    aws = clients.use(ScriptedAWS())
    content: dict[str, Any] = {"repositoryNames": ["*"], "selection": {"countType": "gracePeriodEnded"}}
    names = {"repository_names": ("*",)} | changes
    request = deletion_request(repository_name="", payload=content, selection=AFTER_GRACE, **names)
    settings: dict[str, Any] = {
        "foreign_registry_ids": (FOREIGN,),
        "repository_patterns": ("team/*",),
        "protected_repositories": ("team/b",),
    }
    under = execution(clients, request, MemorySteps(), **settings)
    table = under.invocation.step_table(under.services)
    kept = [(OWN, "team/a"), (OWN, "team/b"), (OWN, "other"), (FOREIGN, "team/a"), (FOREIGN, "team/c")]
    for registry, name in [*kept, ("333333333333", "team/d")]:
        ArchiveRecords(table, registry, name).announce()
    report = FanOut(under).carry_out()
    assert report.repository_names == tuple(sorted(expected))
    children = [json.loads(body)["request"] for body in aws.sent]
    own = changes.get("registry_id", OWN)
    assert [(c["repositoryName"], c.get("registryId", own)) for c in children] == [
        (name.partition("@")[0], expected[name]) for name in sorted(expected)
    ]
    assert aws.calls["ecr"] == 0


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize("faults", [[refused("ThrottlingException")] * 5, [lost()] * 5, [cut_short]])
def test_what_sqs_did_not_take_is_sent_again_and_nothing_before_it(
    clients: Clients, aws: ScriptedAWS, faults: list[Any]
) -> None:
    """A step stores what was sent in front of it; what went side by side with it and behind it, goes twice."""
    aws.plays["SendMessageBatch"] = [lambda do: do()] * 12 + faults
    report = fan_out(clients, steps := MemorySteps(), "team/*")
    assert list(report.repository_names) == NAMES
    assert set(sent(aws)) == set(NAMES)
    assert len(sent(aws)) <= 450 + 40 + 50  # of calls whose answers are lost, botocore repeats one four times
    assert len(set(aws.sent)) == 450
    assert steps.done[0] == "send/0"


@pytest.mark.usefixtures("sleeps")
def test_nothing_is_sent_only_where_no_call_may_have_done_it(clients: Clients, aws: ScriptedAWS) -> None:
    """Of calls side by side, one was not begun for lack of time, and another's answer was lost."""
    left = iter([60.0, 0.1] + [60.0] * 100)
    aws.plays["SendMessageBatch"] = [lost()] * 100
    with pytest.raises(UnknownOutcomeError):
        fan_out(clients, MemorySteps(), *NAMES[:30], remaining_seconds=lambda: next(left))


def test_ids_times_repositories_have_a_limit(
    clients: Clients, aws: ScriptedAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message names all of the ids: what would be gigabytes on the queue is rejected, with what to do."""
    monkeypatch.setattr("handler.workflows.fan_out.MOST_IMAGES", 449)
    with pytest.raises(
        RejectedRequestError, match="imageIds in 450 repositories are 450 images, and a request may name"
    ):
        fan_out(clients, MemorySteps(), "team/*")
    assert aws.sent == []
    monkeypatch.setattr("handler.workflows.fan_out.MOST_IMAGES", 450)
    assert len(fan_out(clients, MemorySteps(), "team/*").repository_names) == 450
