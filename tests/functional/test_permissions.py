"""The permissions that the template gives suffice for the whole job, and for nothing else.

moto finds out which role signed a call and what its policies are. What these say to the call is decided by
`tests.policies`, for moto itself looks at neither resources nor conditions. The tests' own calls are not checked.
"""

import contextlib
import copy
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyPersistenceLayerError
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.core.responses import BaseResponse
from moto.iam.access_control import AssumedRoleAccessKey, IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from moto.logs.models import LogGroup

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.images import push_image, push_samples
from local.poller import FakeLambdaContext, Handler, Poller, load_function
from tests.policies import as_list, verdict

EVENTS = Path(__file__).parents[2] / "events"
OTHER_ACCOUNT = "210987654321"
STATEMENTS = [
    "DeleteImages",
    "LookBefore",
    "ListRepositories",
    "SendRequests",
    "RememberSteps",
    "TellFailures",
    "TakeRequests",
]
"""Those of the function's role that its work needs each time, or after a lost answer."""


def resource_arn(call: Any) -> str:
    """What a call is about, as the policies name it."""
    start = f"arn:aws:{call.boto3_service_name}:{REGION}"
    match call.boto3_service_name:
        case "ecr":
            registry = call._get_param("registryId") or ACCOUNT_ID
            return f"{start}:{registry}:repository/{call._get_param('repositoryName')}"
        case "dynamodb":
            return f"{start}:{ACCOUNT_ID}:table/{call._get_param('TableName')}"
        case "sns":
            return str(call._get_param("TopicArn"))
        case "sqs":
            return f"{start}:{ACCOUNT_ID}:{call._get_param('QueueUrl').rpartition('/')[2]}"
        case "logs":
            group, stream = call._get_param("logGroupName"), call._get_param("logStreamName")
            return f"{start}:{ACCOUNT_ID}:log-group:{group}:log-stream:{stream}"
    return "*"


def says(policy: IAMPolicy, action: str, resource: str = "*", *_: Any) -> PermissionResult:
    """What a policy says to a call."""
    context = {"aws:ResourceAccount": resource.split(":")[4]} if resource != "*" else {}
    action = action.replace("MessageBatch", "Message")  # IAM has one name for both
    match verdict(policy._policy_json["Statement"], action=action, resource=resource, context=context):
        case "allowed":
            return PermissionResult.PERMITTED
        case "denied":
            return PermissionResult.DENIED
        case "not mentioned":
            return PermissionResult.NEUTRAL


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Has every call checked that a role signed; collects the actions that were allowed."""
    actions: set[str] = set()
    check = ActionAuthenticatorMixin._authenticate_and_authorize_normal_action

    def authorize(call: Any, resource: str = "*") -> None:  # noqa: ARG001  # moto says "*" for all of these services
        if "Credential=testing/" not in call.headers.get("Authorization", "Credential=testing/"):
            try:
                check(call, resource_arn(call))
            except AccessDeniedError as error:
                if "X-Amz-Target" not in call.headers:
                    raise
                # moto answers in XML, also where AWS answers in JSON.
                raise JsonRESTError("AccessDeniedException", error.message) from error
            actions.add(f"{call.boto3_service_name}:{call._get_action()}".replace("MessageBatch", "Message"))

    monkeypatch.setattr(BaseResponse, "_authenticate_and_authorize_normal_action", authorize)
    monkeypatch.setattr(IAMPolicy, "is_action_permitted", says)
    collect = AssumedRoleAccessKey.collect_policies
    # moto keeps what CloudFormation gave it as objects, and reads only text.
    monkeypatch.setattr(
        AssumedRoleAccessKey,
        "collect_policies",
        lambda key: [policy if isinstance(policy, str) else json.dumps(policy) for policy in collect(key)],
    )
    # In CloudFormation, the ARN of a log group stands for the streams in it.
    monkeypatch.setattr(LogGroup, "get_cfn_attribute", lambda group, _: f"{group.arn}:*")
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    return actions


def assume(aws: EmbeddedAWS, role: str) -> EmbeddedAWS:
    """The same AWS, for whoever has assumed one of the stack's roles, as Lambda and Scheduler do."""
    arn = aws.client("iam").get_role(RoleName=aws.resources[role])["Role"]["Arn"]
    session = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    credentials = {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }

    def client(service: str) -> Any:
        once = Config(retries={"total_max_attempts": 1})
        session = boto3.Session(region_name=REGION, **credentials)
        return session.client(service, endpoint_url=aws.endpoint_url, config=once)  # type: ignore[call-overload]

    assumed = copy.copy(aws)
    assumed.client = cache(client)
    assumed.environment = aws.environment | {name.upper(): value for name, value in credentials.items()}
    return assumed


def deployed(parameters: dict[str, str]) -> Iterator[tuple[EmbeddedAWS, EmbeddedAWS, Handler]]:
    """The embedded AWS, the same under the function's role, and the function under it."""
    # boto3's default session would keep the credentials of whoever was first.
    with EmbeddedAWS(parameters) as aws, mock.patch.dict(os.environ), mock.patch("boto3.DEFAULT_SESSION", None):
        role = assume(aws, "FunctionRole")
        yield aws, role, load_function(role.environment)


type Stack = tuple[EmbeddedAWS, EmbeddedAWS, Handler]


@pytest.fixture
def stack(allowed: set[str]) -> Iterator[Stack]:  # noqa: ARG001  # calls are checked
    """A stack that may delete in every repository of its own account."""
    yield from deployed({"RepositoryPattern": "*"})


@pytest.fixture
def team_stack(allowed: set[str]) -> Iterator[Stack]:  # noqa: ARG001  # calls are checked
    """A stack that may delete in team/* only, also in the registry of one other account."""
    yield from deployed({"RepositoryPattern": "team/*", "ForeignRegistryIds": OTHER_ACCOUNT})


def whole_job(stack: Stack) -> None:
    """Everything in events/ goes its way, by hand and through the queue; what failed is told; ECR fails, too."""
    aws, role, function = stack
    ecr, queue = aws.client("ecr"), aws.outputs["RequestQueueUrl"]
    push_samples(ecr)
    ecr.create_repository(repositoryName="lost")
    push_image(ecr, "lost", tags=["answer"])
    push_image(ecr, "lost", tags=["whole"])
    poller = Poller(role, function)

    for name in ("by-hand", "by-hand-shorthand", "by-hand-index"):
        function(json.loads((EVENTS / f"{name}.json").read_text()), FakeLambdaContext())
    for record in json.loads((EVENTS / "sqs-batch.json").read_text())["Records"]:
        aws.client("sqs").send_message(QueueUrl=queue, MessageBody=record["body"])
    event = json.loads((EVENTS / "eventbridge.json").read_text())
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
    aws.client("events").put_events(Entries=[entry])
    aws.run_schedule()
    while poller.poll():
        pass
    request = {"repositoryName": "lost", "imageIds": ["imageTag=answer", "imageTag=none"]}
    instead_of_the_next_deletion(400, "UnrecognizedClientException")
    with contextlib.suppress(sys.modules["handler.models"].NotNowError):
        function(request, FakeLambdaContext())
    instead_of_the_next_deletion(500, "ServerException")
    function(request, FakeLambdaContext())

    function({"repositoryName": "lost", "imageIds": ["imageTag=whole"], "cascade": True}, FakeLambdaContext())
    spread = {"repositoryNames": ["los*"], "selection": {"tagStatus": "tagged", "tagPatternList": ["old-*"]}}
    function(spread, FakeLambdaContext())
    while poller.poll():
        pass

    codes = {failure["failureCode"] for notice in aws.notices() for failure in notice.data.get("failures", [])}
    assert codes <= {"ImageNotFound", "ImageTagPushedAgain", "InvalidImageTag"}
    assert [image for image in aws.images("ubuntu") if "precise" in image[1]] == []
    assert {notice.data["type"] for notice in aws.notices()} == {"failure", "rejection"}


def instead_of_the_next_deletion(status: int, code: str) -> None:
    """ECR answers the function's next call with an error, and does nothing."""
    ecr = sys.modules["handler.work"].ecr
    hook = "before-send.ecr.BatchDeleteImage"

    def answer(request: Any, **_: object) -> AWSResponse:
        ecr.meta.events.unregister(hook, answer)
        body = json.dumps({"__type": code}).encode()
        return AWSResponse(request.url, status, HTTPHeaders(), mock.Mock(stream=lambda **_: iter([body])))

    ecr.meta.events.register(hook, answer)


def test_the_role_suffices_for_the_whole_job_and_every_action_is_needed(stack: Stack, allowed: set[str]) -> None:
    """All requests are carried out and told under the template's own role, which is granted nothing it does not use."""
    aws, role, _ = stack

    whole_job(stack)
    for service, action, call in after_the_work(aws):
        getattr(role.client(service), action)(**call)

    assert allowed == {
        action for statement in statements(aws, "FunctionRole") for action in as_list(statement["Action"])
    }


def after_the_work(aws: EmbeddedAWS) -> list[tuple[str, str, dict[str, Any]]]:
    """What Lambda does under the function's role beside the function itself."""
    group, stream = aws.resources["FunctionLogGroup"], "stream"
    event = {"timestamp": int(time.time() * 1000), "message": "request done"}
    return [
        ("sqs", "send_message", {"QueueUrl": aws.outputs["DeadLetterQueueUrl"], "MessageBody": "{}"}),
        ("logs", "create_log_stream", {"logGroupName": group, "logStreamName": stream}),
        ("logs", "put_log_events", {"logGroupName": group, "logStreamName": stream, "logEvents": [event]}),
    ]


def statements(aws: EmbeddedAWS, role: str) -> list[dict[str, Any]]:
    """All that a role may do."""
    policies = iam_backends[ACCOUNT_ID]["aws"].get_role(aws.resources[role]).policies.values()
    return [statement for policy in policies for statement in policy["Statement"]]


@pytest.mark.parametrize("sid", STATEMENTS)
def test_without_any_of_its_statements_the_role_does_not_suffice(stack: Stack, sid: str) -> None:
    """What the tests above show is shown by permissions, not by a check that lets everything pass."""
    aws, _, _ = stack
    kept = [statement for statement in statements(aws, "FunctionRole") if statement["Sid"] != sid]
    document = json.dumps({"Version": "2012-10-17", "Statement": kept})
    aws.client("iam").put_role_policy(
        RoleName=aws.resources["FunctionRole"], PolicyName="delete-images", PolicyDocument=document
    )

    rejected = sys.modules["handler.models"].RejectedRequestError
    with pytest.raises((AssertionError, ClientError, IdempotencyPersistenceLayerError, rejected)):
        whole_job(stack)


def test_a_repository_outside_the_pattern_is_refused(team_stack: Stack) -> None:
    """Its images stay, each is told as a failure of permission, and a repository within the pattern is cleaned."""
    aws, _, function = team_stack
    for name in ("team/app", "ubuntu", "teams/app", "my/team/app"):
        aws.client("ecr").create_repository(repositoryName=name)
        push_image(aws.client("ecr"), name, tags=["precise"])

    answers = {
        name: function({"repositoryName": name, "imageIds": ["imageTag=precise"]}, FakeLambdaContext())
        for name in ("team/app", "ubuntu", "teams/app", "my/team/app")
    }

    assert aws.images("team/app") == set()
    assert answers["team/app"]["failures"] == []
    for name in ("ubuntu", "teams/app", "my/team/app"):
        assert len(aws.images(name)) == 1
        assert [failure["failureCode"] for failure in answers[name]["failures"]] == ["AccessDeniedException"]


@pytest.mark.parametrize(
    ("registry", "repository", "fate"),
    [
        (OTHER_ACCOUNT, "team/app", "RepositoryNotFoundException"),
        (OTHER_ACCOUNT, "ubuntu", "AccessDeniedException"),
        ("333333333333", "team/app", "AccessDeniedException"),
    ],
)
def test_of_other_accounts_only_those_named_are_open(
    team_stack: Stack, registry: str, repository: str, fate: str
) -> None:
    """The role may ask for repositories within the pattern, there too; here, none exists in the other account."""
    _, role, _ = team_stack

    with pytest.raises(ClientError) as error:
        role.client("ecr").batch_delete_image(
            registryId=registry, repositoryName=repository, imageIds=[{"imageTag": "precise"}]
        )

    assert error.value.response["Error"]["Code"] == fate


def test_without_foreign_registries_none_is_open(stack: Stack) -> None:
    """Neither does the function ask, nor would the role let it."""
    aws, role, function = stack
    request = {"repositoryName": "team/app", "registryId": OTHER_ACCOUNT, "imageIds": ["imageTag=precise"]}

    with pytest.raises(Exception, match="registryId"):
        function(request, FakeLambdaContext())
    with pytest.raises(ClientError, match="not authorized to perform: ecr:BatchDeleteImage"):
        role.client("ecr").batch_delete_image(**request | {"imageIds": [{"imageTag": "precise"}]})

    assert [notice.data["type"] for notice in aws.notices()] == ["rejection"]


def test_another_table_topic_queue_or_log_group_is_refused(stack: Stack) -> None:
    """What the role may do to this stack's own, it may not do to another's; nor anything else to its own."""
    aws, role, _ = stack
    url, table = aws.outputs["RequestQueueUrl"], aws.outputs["IdempotencyTableName"]
    other_url = aws.client("sqs").create_queue(QueueName="another")["QueueUrl"]
    topic = aws.client("sns").create_topic(Name="another")["TopicArn"]
    key: dict[str, Any] = {"Key": {"id": {"S": "key"}}}
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("dynamodb", "update_item", {"TableName": "another", **key}),
        ("dynamodb", "delete_item", {"TableName": f"{table}s", **key}),
        ("dynamodb", "get_item", {"TableName": table, **key}),
        ("dynamodb", "scan", {"TableName": table}),
        ("sns", "publish", {"TopicArn": topic, "Message": "text"}),
        ("sns", "subscribe", {"TopicArn": aws.outputs["NotificationTopicArn"], "Protocol": "sqs", "Endpoint": "arn"}),
        ("sqs", "send_message", {"QueueUrl": other_url, "MessageBody": "{}"}),
        ("sqs", "receive_message", {"QueueUrl": other_url}),
        ("sqs", "purge_queue", {"QueueUrl": url}),
        ("ecr", "delete_repository", {"repositoryName": "team/app", "force": True}),
        ("ecr", "put_image", {"repositoryName": "team/app", "imageManifest": "{}"}),
        ("logs", "create_log_stream", {"logGroupName": "/aws/lambda/another", "logStreamName": "stream"}),
    ]
    for service, action, call in refused:
        with pytest.raises(ClientError, match="not authorized to perform"):
            getattr(role.client(service), action)(**call)


def test_the_schedules_role_may_send_to_the_two_queues_and_nothing_else(stack: Stack) -> None:
    """Its requests go to the request queue, what it cannot deliver to the other."""
    aws, _, _ = stack
    scheduler = assume(aws, "ScheduleRole")
    urls = [aws.outputs["RequestQueueUrl"], aws.outputs["DeadLetterQueueUrl"]]

    for url in urls:
        scheduler.client("sqs").send_message(QueueUrl=url, MessageBody="{}")

    assert [len(aws.messages(queue)) for queue in ("RequestQueue", "DeadLetterQueue")] == [1, 1]
    for url in urls:
        with pytest.raises(ClientError, match="not authorized to perform"):
            scheduler.client("sqs").receive_message(QueueUrl=url)


RULE, OTHER_RULE = (f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/{name}" for name in ("request-rule", "another"))
OWN = {"aws:PrincipalAccount": ACCOUNT_ID, "aws:SecureTransport": "true"}
STRANGER = {"aws:PrincipalAccount": OTHER_ACCOUNT, "aws:SecureTransport": "true"}
SERVICE = {"aws:SecureTransport": "true"}


@pytest.mark.parametrize("queue", ["RequestQueue", "DeadLetterQueue"])
@pytest.mark.parametrize(
    ("principal", "context", "expected"),
    [
        ("events.amazonaws.com", SERVICE | {"aws:SourceArn": "the rule"}, "allowed"),
        ("events.amazonaws.com", SERVICE | {"aws:SourceArn": OTHER_RULE}, "denied"),
        ("events.amazonaws.com", {"aws:SecureTransport": "false", "aws:SourceArn": "the rule"}, "denied"),
        ("s3.amazonaws.com", SERVICE | {"aws:SourceArn": "arn:aws:s3:::bucket"}, "denied"),
        ("sns.amazonaws.com", SERVICE | {"aws:SourceArn": f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:topic"}, "denied"),
        ("AWS", OWN, "not mentioned"),  # the principal's own policies decide
        ("AWS", OWN | {"aws:SecureTransport": "false"}, "denied"),
        ("AWS", STRANGER, "denied"),
        ("AWS", {"aws:PrincipalAccount": "anonymous", "aws:SecureTransport": "true"}, "denied"),
    ],
)
def test_nobody_but_the_rule_and_the_accounts_own_may_send(
    aws: EmbeddedAWS, queue: str, principal: str, context: dict[str, str], expected: str
) -> None:
    """The schedule's role is one of the account's own. A stranger is refused even if another statement admits him."""
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=aws.resources[queue], AttributeNames=["All"])
    policy, arn = json.loads(attributes["Attributes"]["Policy"])["Statement"], attributes["Attributes"]["QueueArn"]
    rule = aws.client("events").describe_rule(Name=aws.resources["RequestRule"])["Arn"]
    context = {key: rule if value == "the rule" else value for key, value in context.items()}
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": arn}

    asked = {"action": "sqs:SendMessage", "resource": arn, "context": context, "principal": principal}

    assert verdict(policy, **asked) == expected
    if expected == "denied":
        assert verdict([*policy, everybody], **asked) == "denied"


def test_the_topic_takes_alarms_of_this_stack_and_only_over_tls(aws: EmbeddedAWS) -> None:
    """Each of its alarms may publish, and has this topic for its action; no other alarm may, nor another account's."""
    topic = aws.outputs["NotificationTopicArn"]
    policy = json.loads(aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    alarms = aws.client("cloudwatch").describe_alarms()["MetricAlarms"]

    def asked(source: str, account: str = ACCOUNT_ID, tls: str = "true") -> str:
        context = {"aws:SourceArn": source, "aws:SourceAccount": account, "aws:SecureTransport": tls}
        service = "cloudwatch.amazonaws.com"
        return verdict(policy, action="sns:Publish", resource=topic, context=context, principal=service)

    assert len(alarms) == 6
    for alarm in alarms:
        assert alarm["AlarmActions"] == [topic]
        assert asked(alarm["AlarmArn"]) == "allowed"
        assert asked(alarm["AlarmArn"], tls="false") == "denied"
        assert asked(alarm["AlarmArn"], account=OTHER_ACCOUNT) == "not mentioned"
    assert asked(f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:another") == "not mentioned"
