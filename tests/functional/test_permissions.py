"""The permissions that the template gives the roles suffice for the whole job, and for nothing else."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from local import workloads
from local.aws import DEFAULT_PARAMETERS, EmbeddedAWS
from local.images import push_image, push_index, push_samples
from local.poller import Handler, Poller, load_function
from local.runtime import FakeLambdaContext
from tests.harness.iam import assume, check_calls, statements
from tests.harness.server_faults import FaultInjector, server_error, throttle
from tests.policies import as_list

pytestmark = pytest.mark.usefixtures("no_waiting")

type Json = dict[str, Any]
type Deploy = Callable[[Mapping[str, str]], EmbeddedAWS]

EVENTS = Path(__file__).parents[2] / "events"
OTHER_ACCOUNT = "210987654321"
NEEDED = [
    "DeleteImages",
    "LookBefore",
    "ListRepositories",
    "SendBulkRequests",
    "RememberSteps",
    "TellFailures",
    "TakeRequests",
]
"""The statements of the function's role without which its own work is not done; Lambda needs the others."""


class Deployed(NamedTuple):
    """A stack whose calls are checked."""

    aws: EmbeddedAWS
    role: EmbeddedAWS
    """The same for whoever has the function's role."""
    function: Handler
    """An instance of the function under that role."""
    faults: FaultInjector

    def ask(self, request: Json) -> Any:
        """Invokes the function by hand, and once more where it fails, as Lambda does; returns the answer."""
        context = FakeLambdaContext()
        try:
            with contextlib.suppress(Exception):
                return self.function(request, context)
            return self.function(request, context)
        except Exception as error:
            raise AssertionError("the request failed twice") from error


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Has every call checked that a role signed; collects the actions that were allowed."""
    return check_calls(monkeypatch)


@pytest.fixture
def stack(request: pytest.FixtureRequest, deploy: Deploy, allowed: set[str]) -> Iterator[Deployed]:
    """A stack that may delete in every repository of its own account, or as the test's parameters say."""
    assert allowed == set()  # calls are checked, and there was none
    aws = deploy(DEFAULT_PARAMETERS | getattr(request, "param", {}))
    # boto3's default session would keep the credentials of whoever was first.
    with mock.patch("boto3.DEFAULT_SESSION", None), FaultInjector.before(aws) as faults:
        role = assume(aws, "FunctionRole")
        yield Deployed(aws, role, load_function(role.environment), faults)


team_only = pytest.mark.parametrize(
    "stack",
    [{"RepositoryPattern": "team/*,preview-?", "ForeignRegistryIds": OTHER_ACCOUNT}],
    indirect=True,
    ids=["team/*,preview-?"],
)
"""A stack that may delete in team/* and preview-? only, also in the registry of one other account."""


def whole_job(stack: Deployed) -> None:
    """Everything in events/ goes its way, by hand and through the queue; what failed is reported; ECR fails, too."""
    aws, ecr = stack.aws, stack.aws.client("ecr")
    push_samples(ecr)
    ecr.create_repository(repositoryName="lost")
    for tag in ("throttled", "answer"):
        aws.age("lost", push_image(ecr, "lost", tags=[tag]), days=1)
    push_index(ecr, "lost", [push_image(ecr, "lost")], tags=["whole"])
    poller = Poller(stack.role, stack.function)

    for name in ("by-hand", "by-hand-shorthand", "by-hand-index"):
        stack.ask(json.loads((EVENTS / f"{name}.json").read_text()))
    for record in json.loads((EVENTS / "sqs-batch.json").read_text())["Records"]:
        aws.send(record["body"])
    aws.put_event(json.loads((EVENTS / "eventbridge.json").read_text()))
    aws.run_schedule()
    while poller.poll():
        pass
    stack.faults.add("BatchDeleteImage", throttle, about="throttled", nth=range(1, 6))  # as often as botocore tries
    stack.ask({"repositoryName": "lost", "imageIds": ["imageTag=throttled", "imageTag=none"]})
    stack.faults.add("BatchDeleteImage", server_error, about="answer", nth=1)
    stack.ask({"repositoryName": "lost", "imageIds": ["imageTag=answer"]})
    stack.ask({"repositoryName": "lost", "imageIds": ["imageTag=whole"], "cascade": True})
    stack.ask({"repositoryNames": ["los*"], "selection": {"tagStatus": "tagged", "tagPatternList": ["old-*"]}})
    while poller.poll():
        pass

    codes = {failure["failureCode"] for notice in aws.notices() for failure in notice.data.get("failures", [])}
    assert codes == {"ImageNotFound"}
    assert [image for image in aws.images("ubuntu") if "precise" in image[1]] == []
    assert aws.images("lost") == set()
    assert {notice.data["type"] for notice in aws.notices()} == {"failure", "rejection"}


def test_the_role_suffices_for_the_whole_job_and_every_action_is_needed(stack: Deployed, allowed: set[str]) -> None:
    """All requests are processed and reported under the template's own role, which has no permission to spare."""
    whole_job(stack)
    for service, action, call in after_the_work(stack.aws):
        getattr(stack.role.client(service), action)(**call)
    granted = {a for statement in statements(stack.aws, "FunctionRole") for a in as_list(statement["Action"])}
    assert allowed == granted
    assert {action for action in granted if action.startswith("dynamodb:")} == {
        "dynamodb:GetItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    }


def after_the_work(aws: EmbeddedAWS) -> list[tuple[str, str, Json]]:
    """The calls that Lambda makes under the function's role beside the function itself."""
    group, stream = aws.resources["FunctionLogGroup"], "stream"
    event = {"timestamp": int(time.time() * 1000), "message": "request done"}
    return [
        ("sqs", "send_message", {"QueueUrl": aws.outputs["DeadLetterQueueUrl"], "MessageBody": "{}"}),
        ("logs", "create_log_stream", {"logGroupName": group, "logStreamName": stream}),
        ("logs", "put_log_events", {"logGroupName": group, "logStreamName": stream, "logEvents": [event]}),
    ]


@pytest.mark.parametrize("sid", NEEDED)
def test_without_any_of_its_statements_the_role_does_not_suffice(stack: Deployed, sid: str) -> None:
    """The test above passes because of permissions, not because of a check that lets everything pass."""
    kept = [statement for statement in statements(stack.aws, "FunctionRole") if statement["Sid"] != sid]
    stack.aws.client("iam").put_role_policy(
        RoleName=stack.aws.resources["FunctionRole"],
        PolicyName="delete-images",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": kept}),
    )
    with pytest.raises((AssertionError, ClientError)):
        whole_job(stack)


@pytest.mark.parametrize("stack", [{"AllowArchive": "true"}, {"GracePeriodDays": "30"}], indirect=True, ids=str)
def test_a_stack_that_archives_may(stack: Deployed, allowed: set[str]) -> None:
    """Into the archive and back, by name and by selection; to remember that needs no further permission."""
    ecr = stack.aws.client("ecr")
    ecr.create_repository(repositoryName="team/app")
    for number in range(3):
        push_image(ecr, "team/app", tags=[f"pr-{number}"])
    named = {"repositoryName": "team/app", "imageIds": ["imageTag=pr-1"]}
    assert stack.ask(named | {"action": "archive"})["failures"] == []
    assert stack.ask(named | {"action": "restore"})["failures"] == []
    selection = {"tagStatus": "tagged", "tagPatternList": ["pr-0"]}
    answer = stack.ask({"repositoryName": "team/app", "selection": selection, "action": "archive"})
    assert (answer["archivedCount"], stack.ask(answer["restoreRequest"])["restoredCount"]) == (1, 1)
    assert "ecr:UpdateImageStorageClass" in allowed


def test_a_stack_that_does_not_archive_may_not(stack: Deployed) -> None:
    """Whatever its function is told."""
    with pytest.raises(ClientError) as error:
        stack.role.client("ecr").update_image_storage_class(
            repositoryName="team/app", imageId={"imageTag": "pr-1"}, targetStorageClass="ARCHIVE"
        )
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"


@team_only
def test_a_repository_outside_the_pattern_is_refused(stack: Deployed) -> None:
    """Its images stay, each is a failure of permission, and repositories within a pattern are cleaned."""
    names = ("team/app", "preview-1", "preview-12", "ubuntu", "teams/app", "my/team/app")
    for name in names:
        stack.aws.client("ecr").create_repository(repositoryName=name)
        push_image(stack.aws.client("ecr"), name, tags=["precise"])

    answers = {name: stack.ask({"repositoryName": name, "imageIds": ["imageTag=precise"]}) for name in names}

    assert [name for name in names if not answers[name]["failures"]] == list(names[:2])
    assert [name for name in names if not stack.aws.images(name)] == list(names[:2])
    for name in names[2:]:
        assert [failure["failureCode"] for failure in answers[name]["failures"]] == ["AccessDeniedException"]


@team_only
@pytest.mark.parametrize(
    ("registry", "repository", "code"),
    [
        (OTHER_ACCOUNT, "team/app", "RepositoryNotFoundException"),
        (OTHER_ACCOUNT, "ubuntu", "AccessDeniedException"),
        ("333333333333", "team/app", "AccessDeniedException"),
    ],
)
def test_of_other_accounts_only_those_named_are_open(
    stack: Deployed, registry: str, repository: str, code: str
) -> None:
    """The role may ask for repositories within the pattern, there too; here, none exists in the other account."""
    with pytest.raises(ClientError) as error:
        stack.role.client("ecr").batch_delete_image(
            registryId=registry, repositoryName=repository, imageIds=[{"imageTag": "precise"}]
        )
    assert error.value.response["Error"]["Code"] == code


def test_without_foreign_registries_none_is_open(stack: Deployed) -> None:
    """Neither does the function ask, nor would the role let it."""
    request = {"repositoryName": "team/app", "registryId": OTHER_ACCOUNT, "imageIds": [{"imageTag": "precise"}]}
    with pytest.raises(Exception, match="registryId"):
        stack.function(request, FakeLambdaContext())
    with pytest.raises(ClientError, match="not authorized to perform: ecr:BatchDeleteImage"):
        stack.role.client("ecr").batch_delete_image(**request)
    assert [notice.data["type"] for notice in stack.aws.notices()] == ["rejection"]


def test_everything_else_is_refused(stack: Deployed) -> None:
    """The same calls on the resources of others, and other calls on those of this stack."""
    aws = stack.aws
    url, table = aws.outputs["RequestQueueUrl"], aws.outputs["IdempotencyTableName"]
    other_url = aws.client("sqs").create_queue(QueueName="another")["QueueUrl"]
    topic = aws.client("sns").create_topic(Name="another")["TopicArn"]
    key: Json = {"Key": {"id": {"S": "key"}, "step": {"S": "claim"}}}
    refused: list[tuple[str, str, Json]] = [
        ("dynamodb", "update_item", {"TableName": "another", **key}),
        ("dynamodb", "get_item", {"TableName": f"{table}s", **key}),
        ("dynamodb", "delete_item", {"TableName": table, **key}),
        ("dynamodb", "put_item", {"TableName": table, "Item": key["Key"]}),
        ("dynamodb", "scan", {"TableName": table}),
        ("sns", "publish", {"TopicArn": topic, "Message": "text"}),
        ("sns", "subscribe", {"TopicArn": aws.outputs["NotificationTopicArn"], "Protocol": "sqs", "Endpoint": "arn"}),
        ("sqs", "send_message", {"QueueUrl": other_url, "MessageBody": "{}"}),
        ("sqs", "send_message", {"QueueUrl": url, "MessageBody": "{}"}),
        ("sqs", "receive_message", {"QueueUrl": other_url}),
        ("sqs", "purge_queue", {"QueueUrl": url}),
        ("ecr", "delete_repository", {"repositoryName": "team/app", "force": True}),
        ("ecr", "put_image", {"repositoryName": "team/app", "imageManifest": "{}"}),
        ("logs", "create_log_stream", {"logGroupName": "/aws/lambda/another", "logStreamName": "stream"}),
    ]
    for service, action, call in refused:
        with pytest.raises(ClientError, match="not authorized to perform"):
            getattr(stack.role.client(service), action)(**call)


CANARY = {"CanaryRepository": "team/app"}
UNSCHEDULED = {"ScheduleExpression": "", "ScheduleRequest": ""}


@pytest.mark.parametrize(
    ("stack", "queues"),
    [
        ({}, {"BulkQueue", "DeadLetterQueue"}),
        (CANARY, {"BulkQueue", "RequestQueue", "DeadLetterQueue"}),
        (UNSCHEDULED | CANARY, {"RequestQueue", "DeadLetterQueue"}),
    ],
    indirect=["stack"],
    ids=["schedule", "schedule and canary", "canary"],
)
def test_the_schedules_role_may_send_where_its_schedules_do_and_nothing_else(stack: Deployed, queues: set[str]) -> None:
    """The schedule's request goes to the bulk queue, the canary to the request queue, the undelivered to the third."""
    scheduler = assume(stack.aws, "ScheduleRole").client("sqs")
    for name in ("RequestQueue", "BulkQueue", "DeadLetterQueue"):
        url = stack.aws.outputs[f"{name}Url"]
        refused = pytest.raises(ClientError, match="not authorized to perform")
        with contextlib.nullcontext() if name in queues else refused:
            scheduler.send_message(QueueUrl=url, MessageBody="{}")
        assert len(stack.aws.messages(name)) == (name in queues)
        with pytest.raises(ClientError, match="not authorized to perform"):
            scheduler.receive_message(QueueUrl=url)


ALL_SOURCES = pytest.mark.parametrize(
    "stack",
    [{"ProtectInUse": "ecs,lambda,inspector,declared", "UsageSources": "nomad"}],
    indirect=True,
    ids=["all sources"],
)
"""A stack that protects whatever any source says to be in use."""


def read_what_is_in_use(stack: Deployed) -> None:
    """Images run in a service, a task and a function, and Inspector knows one; that is read, and a source declares."""
    aws, ecr = stack.aws, stack.aws.client("ecr")
    ecr.create_repository(repositoryName="team/api")
    digests = [push_image(ecr, "team/api", tags=[tag]) for tag in ("service", "task", "function", "pod")]
    workloads.deploy_service(aws, "prod", "api", workloads.image_uri("team/api", "service"))
    workloads.run_task(aws, "prod", workloads.image_uri("team/api", "task"))
    workloads.deploy_function(aws, "api", workloads.image_uri("team/api", "function"))
    workloads.report_use(aws, "team/api", digests[3])
    with mock.patch("boto3.DEFAULT_SESSION", None):
        read = load_function(assume(aws, "UsageRole").usage_environment, "usage_app")
    read({}, FakeLambdaContext(timeout=900))
    declared = datetime.now(UTC) + timedelta(hours=1)
    stack.ask({"source": "nomad", "imagesInUse": [], "expiresAt": declared.isoformat()})
    answer = stack.ask({"repositoryName": "team/api", "imageIds": [{"imageDigest": digest} for digest in digests]})
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageInUse"] * 4


@ALL_SOURCES
def test_the_role_that_reads_what_is_in_use_suffices_and_has_nothing_to_spare(
    stack: Deployed, allowed: set[str]
) -> None:
    """All sources are read, and the guard knows them, under the template's own roles."""
    read_what_is_in_use(stack)
    role = assume(stack.aws, "UsageRole")
    group = stack.aws.resources["UsageLogGroup"]
    event = {"timestamp": int(time.time() * 1000), "message": "source read"}
    role.client("logs").create_log_stream(logGroupName=group, logStreamName="stream")
    role.client("logs").put_log_events(logGroupName=group, logStreamName="stream", logEvents=[event])
    granted = {a for statement in statements(stack.aws, "UsageRole") for a in as_list(statement["Action"])}
    asked_by_the_guard = {"dynamodb:Query", "dynamodb:UpdateItem", "ecr:DescribeRegistry"}
    assert granted - allowed == {"lambda:InvokeFunction"}  # of a further turn: to invoke needs Docker here
    assert asked_by_the_guard & granted == {"dynamodb:Query", "dynamodb:UpdateItem"}


@ALL_SOURCES
@pytest.mark.parametrize(
    ("sid", "error"),
    [
        ("ListWhatEcsRuns", "not read: ecs;"),
        ("DescribeWhatEcsRuns", "not read: ecs;"),
        ("ListFunctions", "not read: lambda;"),
        ("GetImagesOfFunctions", "not read: lambda;"),
        ("ListWhatInspectorCovers", "not read: inspector;"),
        ("RememberUse", "AccessDenied|not read: ecs, inspector, lambda;"),
    ],
)
def test_without_any_statement_a_source_is_not_read(stack: Deployed, sid: str, error: str) -> None:
    """And so nothing is deleted: the function says which source failed, and the guard that it is not known."""
    kept = [statement for statement in statements(stack.aws, "UsageRole") if statement["Sid"] != sid]
    stack.aws.client("iam").put_role_policy(
        RoleName=stack.aws.resources["UsageRole"],
        PolicyName="read-what-is-in-use",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": kept}),
    )
    with pytest.raises(Exception, match=error):
        read_what_is_in_use(stack)
    answer = stack.ask({"repositoryName": "team/api", "imageIds": ["imageTag=task"]})
    assert [failure["failureCode"] for failure in answer["failures"]] == ["UsageUnknown"]


@ALL_SOURCES
def test_the_role_that_reads_may_change_nothing(stack: Deployed) -> None:
    """Neither images, nor what runs, nor what is remembered of requests."""
    aws = stack.aws
    role = assume(aws, "UsageRole")
    refused: list[tuple[str, str, Json]] = [
        ("ecr", "batch_delete_image", {"repositoryName": "team/api", "imageIds": [{"imageTag": "v1"}]}),
        ("ecr", "batch_get_image", {"repositoryName": "team/api", "imageIds": [{"imageTag": "v1"}]}),
        ("ecs", "delete_service", {"cluster": "prod", "service": "api", "force": True}),
        ("ecs", "stop_task", {"cluster": "prod", "task": "1"}),
        ("lambda", "delete_function", {"FunctionName": "api"}),
        ("dynamodb", "query", {"TableName": aws.outputs["IdempotencyTableName"]}),
        (
            "dynamodb",
            "delete_item",
            {"TableName": aws.resources["UsageTable"], "Key": {"id": {"S": "a"}, "item": {"S": "b"}}},
        ),
        ("dynamodb", "scan", {"TableName": aws.resources["UsageTable"]}),
        ("sqs", "send_message", {"QueueUrl": aws.outputs["RequestQueueUrl"], "MessageBody": "{}"}),
        ("sns", "publish", {"TopicArn": aws.outputs["NotificationTopicArn"], "Message": "text"}),
    ]
    for service, action, call in refused:
        with pytest.raises(ClientError, match="not authorized to perform"):
            getattr(role.client(service), action)(**call)
