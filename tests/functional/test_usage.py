"""What is in use, from what runs in the embedded ECS, Lambda and Inspector to what the guard refuses."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from local import workloads
from local.aws import DEFAULT_PARAMETERS, EmbeddedAWS
from local.poller import FakeLambdaContext, Handler, load_function
from local.workloads import image_uri
from tests.harness.outside import REPOSITORY, Outside, ask, by_digest, codes
from tests.harness.server_faults import FaultInjector, deny, empty, server_error, truncate

type Json = dict[str, Any]

EVENTS = Path(__file__).parents[2] / "events"

pytestmark = pytest.mark.usefixtures("no_waiting")


class Guarded:
    """A stack that protects what is in use, the function that deletes and the one that reads."""

    def __init__(self, stack: Outside) -> None:
        self.stack = stack
        self.delete: Handler = stack.start()
        with mock.patch("boto3.DEFAULT_SESSION", None):
            self._read: Handler = load_function(stack.aws.usage_environment, "usage_app")

    def read(self, event: Json | None = None) -> None:
        """Invokes the function that reads what is in use: by hand, if no event is given."""
        self._read(event or {}, FakeLambdaContext(timeout=900))

    def codes(self, *digests: str) -> list[str]:
        """Returns the failure codes of a request for these images."""
        return codes(ask(self.delete, *by_digest(*digests)))

    def users(self, *digests: str) -> list[str]:
        """Returns who uses each of these images, of which all must be in use."""
        failures = ask(self.delete, *by_digest(*digests))["failures"]
        assert [failure["failureCode"] for failure in failures] == ["ImageInUse"] * len(digests)
        return [failure["failureReason"].split(": ")[1].partition(" since ")[0] for failure in failures]


@pytest.fixture
def guarded(
    request: pytest.FixtureRequest,
    deploy: Callable[[Mapping[str, str]], EmbeddedAWS],
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Guarded]:
    """A stack that protects what ECS, Lambda and Inspector use, or as the test's parameters say."""
    parameters = {"ProtectInUse": "ecs,lambda,inspector"} | getattr(request, "param", {})
    aws = deploy(DEFAULT_PARAMETERS | parameters)
    with FaultInjector.before(aws) as faults:
        yield Guarded(Outside(aws, faults, capsys))


def test_an_image_that_lost_its_tag_runs_on(guarded: Guarded) -> None:
    """ECS pins the digest at the deployment: the untagged image is in use, and so is the new one by its tag."""
    stack = guarded.stack
    running, unused = stack.push("v1"), stack.push("v0")
    workloads.deploy_service(stack.aws, "prod", "web", image_uri(REPOSITORY, "v1"))
    new = stack.push("v1")
    assert guarded.codes(running, new) == ["UsageUnknown"] * 2
    guarded.read()
    assert guarded.users(running, new) == ["ECS service web in cluster prod"] * 2
    assert guarded.codes(unused) == []


def test_a_task_runs_what_its_tag_was(guarded: Guarded) -> None:
    """By the digest that it has pulled, whatever its tag names by now."""
    stack = guarded.stack
    running = stack.push("v1")
    workloads.run_task(stack.aws, "prod", image_uri(REPOSITORY, "v1"), family="batch")
    stack.push("v1")
    guarded.read()
    assert guarded.users(running) == ["ECS task of family batch in cluster prod"]


def test_every_way_in_which_ecs_uses_an_image(guarded: Guarded) -> None:
    """Running and pending tasks, scaled-down services, both revisions of a deployment, old services, new revisions."""
    stack, aws = guarded.stack, guarded.stack.aws
    names = ("task", "pending", "zero", "former", "next", "old", *(f"job-{n}" for n in range(4)), "by-digest")
    images = {name: stack.push(name) for name in names}

    def uri(name: str) -> str:
        return image_uri(REPOSITORY, name)

    workloads.run_task(aws, "prod", uri("task"), family="batch")
    workloads.run_task(aws, "prod", uri("pending"), family="queue", pending=True)
    workloads.deploy_service(aws, "prod", "asleep", uri("zero"), count=0)
    workloads.deploy_service(aws, "prod", "web", uri("former"))
    workloads.deploy_service(aws, "prod", "web", uri("next"), in_progress=True)
    workloads.deploy_service(aws, "stage", "legacy", uri("old"))
    workloads.forget_revisions("stage", "legacy")
    for n in range(4):
        workloads.register_task_definition(aws, "nightly", uri(f"job-{n}"))
    workloads.register_task_definition(aws, "pinned", image_uri(REPOSITORY, digest=images["by-digest"]))
    guarded.read()

    assert guarded.users(*(images[name] for name in ("zero", "former", "next", "old"))) == [
        "ECS service asleep in cluster prod",
        "ECS service web in cluster prod",
        "ECS service web in cluster prod",
        "ECS service legacy in cluster stage",
    ]
    assert guarded.codes(images["task"], images["pending"]) == ["ImageInUse"] * 2
    assert guarded.users(*(images[f"job-{n}"] for n in (1, 2, 3)), images["by-digest"]) == [
        "ECS task definition nightly:2",
        "ECS task definition nightly:3",
        "ECS task definition nightly:4",
        "ECS task definition pinned:1",
    ]
    assert guarded.codes(images["job-0"]) == []  # the fourth newest


def test_every_version_of_a_function_keeps_its_image(guarded: Guarded) -> None:
    """An alias may point to any of them; it is the digest that it was published with, whatever the tag names now."""
    stack = guarded.stack
    first = stack.push("v1")
    workloads.deploy_function(stack.aws, "api", image_uri(REPOSITORY, "v1"), publish=True)
    second = stack.push("v1")
    workloads.deploy_function(stack.aws, "api", image_uri(REPOSITORY, "v1"))
    unused = stack.push("v1")
    guarded.read()
    assert guarded.users(first, second) == ["Lambda function api:1", "Lambda function api:$LATEST"]
    assert guarded.codes(unused) == []


def test_inspector_knows_of_clusters_in_other_accounts(guarded: Guarded) -> None:
    """Whatever it says to be in use now; an image that was in use once is free."""
    stack = guarded.stack
    here, there, former = stack.push("v1"), stack.push("v2"), stack.push("v3")
    workloads.report_use(stack.aws, REPOSITORY, here, count=3)
    workloads.report_use(stack.aws, REPOSITORY, there, account_id="210987654321")
    workloads.report_use(stack.aws, REPOSITORY, former, count=0, days=3)
    guarded.read()
    assert all("Amazon Inspector" in user for user in guarded.users(here, there))
    assert guarded.codes(former) == []


def test_what_stopped_counts_for_some_days_more(guarded: Guarded) -> None:
    """InUseDays after a reading last saw it; readings go on without it, and take nothing out."""
    stack = guarded.stack
    former = stack.push("v1")
    workloads.deploy_function(stack.aws, "api", image_uri(REPOSITORY, "v1"))
    guarded.read()
    stack.aws.client("lambda").delete_function(FunctionName="api")
    for _ in range(6):
        stack.let_time_pass(86_400)
        guarded.read()
        assert guarded.codes(former) == ["ImageInUse"]
    for _ in range(4):
        stack.let_time_pass(86_400)
    guarded.read()
    assert guarded.codes(former) == []


@pytest.mark.parametrize("guarded", [{"ProtectInUse": "ecs"}], indirect=True, ids=["ecs"])
@pytest.mark.parametrize(
    ("operation", "nth", "fault"),
    [
        *((name, 1, truncate) for name in ("ListClusters", "ListTasks", "ListServices", "DescribeTasks")),
        *((name, 1, truncate) for name in ("DescribeServices", "DescribeServiceRevisions", "DescribeTaskDefinition")),
        *((name, 1, truncate) for name in ("ListTaskDefinitionFamilies", "ListTaskDefinitions")),
        *((name, 2, fault) for name in ("ListTasks", "ListServices") for fault in (deny, empty, server_error)),
    ],
)
def test_a_source_that_was_not_read_whole_is_not_known(guarded: Guarded, operation: str, nth: int, fault: Any) -> None:
    """Whichever call fails, or is cut short: nothing is deleted until it was read whole, and then what is unused is."""
    stack, aws = guarded.stack, guarded.stack.aws
    running, unused = stack.push("v1"), stack.push("v2")
    for cluster in ("prod", "stage"):
        workloads.deploy_service(aws, cluster, "web", image_uri(REPOSITORY, "v1"))
    stack.faults.add(operation, fault, nth=range(nth, 100))
    with pytest.raises(Exception, match="not read: ecs"):
        guarded.read()
    assert guarded.codes(running, unused) == ["UsageUnknown"] * 2
    stack.faults.lift()
    guarded.read()
    assert guarded.codes(running, unused) == ["ImageInUse"]
    assert stack.left() == {running}


def test_a_schedule_reads_what_is_due(guarded: Guarded) -> None:
    """Every 15 minutes it says how old each source is; every hour it reads."""
    stack = guarded.stack
    stack.push("v1")
    scheduled = {"whenDue": True}
    guarded.read(scheduled)
    read = stack.faults.count("ListClusters")
    assert read
    for _ in range(3):
        stack.let_time_pass(15 * 60)
        guarded.read(scheduled)
    assert stack.faults.count("ListClusters") == read
    stack.let_time_pass(15 * 60)
    guarded.read(scheduled)
    assert stack.faults.count("ListClusters") == 2 * read
    ages = [
        entry["UsageAgeMinutes"][0]
        for entry in stack.metrics()
        if entry.get("source") == "ecs" and "UsageAgeMinutes" in entry
    ]
    assert [round(age) for age in ages] == [0, 15, 30, 45, 0]


def test_a_source_that_is_not_read_for_three_times_as_long_is_not_known(guarded: Guarded) -> None:
    """Its alarm is raised by a metric of its own, and the others are still known."""
    stack = guarded.stack
    stack.push("v1")
    guarded.read()
    stack.let_time_pass(3 * 3_600 + 60)
    stack.faults.add("ListClusters", server_error)
    with pytest.raises(Exception, match="not read: ecs"):
        guarded.read()
    answer = ask(guarded.delete, "imageTag=v1")
    assert codes(answer) == ["UsageUnknown"]
    assert "ecs was last read" in answer["failures"][0]["failureReason"]
    assert "lambda" not in answer["failures"][0]["failureReason"]
    known = {e["source"]: e["UsageKnown"] for e in stack.metrics() if "UsageKnown" in e}
    assert known == {"ecs": [0.0], "lambda": [1.0], "inspector": [1.0]}


DECLARED = {"ProtectInUse": "declared", "UsageSources": "eks/prod"}


@pytest.mark.parametrize(
    "guarded",
    [DECLARED, DECLARED | {"EventRepositoryPrefix": "team/"}, DECLARED | {"EventSources": "my.cluster"}],
    indirect=True,
    ids=["all events", "events of one team", "events of one source"],
)
def test_a_cluster_declares_on_the_bus(guarded: Guarded) -> None:
    """The rule takes what it declares, also where it takes the requests of one team alone."""
    stack = guarded.stack
    declared = json.loads((EVENTS / "eventbridge-in-use.json").read_text())
    declared["detail"] |= {"expiresAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    running, unused = stack.push("1.1"), stack.push("1.0")
    stack.aws.put_event(declared)
    stack.drain(guarded.delete)
    assert guarded.codes(running, unused) == ["ImageInUse"]
    assert (stack.left(), stack.dead_letters()) == ({running}, [])


@pytest.mark.parametrize(
    "guarded", [{"ProtectInUse": "ecs"}, DECLARED | {"EventSources": "another"}], indirect=True, ids=["ecs", "another"]
)
def test_nobody_declares_whom_the_stack_does_not_admit(guarded: Guarded) -> None:
    """An event of another source, or where nobody may declare, does not even reach the queue."""
    guarded.stack.aws.put_event(json.loads((EVENTS / "eventbridge-in-use.json").read_text()))
    assert guarded.stack.waiting() == []
