"""IAM before the embedded AWS: calls that a role has signed are checked against the policies of the template.

moto finds out which role signed a call and what its policies are. What these say to the call is decided by
`tests.policies`, for moto itself regards neither resources nor conditions. The embedded AWS's own calls are not
checked.
"""

import copy
import json
import re
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.core.responses import BaseResponse
from moto.iam.access_control import AssumedRoleAccessKey, IAMPolicy, IAMRequestBase, PermissionResult
from moto.iam.models import iam_backends
from moto.logs.models import LogGroup

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from tests.policies import verdict

_RESULTS = {
    "allowed": PermissionResult.PERMITTED,
    "denied": PermissionResult.DENIED,
    "not mentioned": PermissionResult.NEUTRAL,
}


def check_calls(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """From now on every call that a role has signed is checked; returns the actions that were allowed, as they come."""
    allowed: set[str] = set()
    check = ActionAuthenticatorMixin._authenticate_and_authorize_normal_action

    def authorize(call: Any, resource: str = "*") -> None:  # noqa: ARG001  # moto says "*" for all of these services
        if "Credential=testing/" not in call.headers.get("Authorization", "Credential=testing/"):
            try:
                check(call, _resource_arn(call))
            except AccessDeniedError as error:
                if "X-Amz-Target" not in call.headers:
                    raise
                # moto answers in XML, also where AWS answers in JSON.
                raise JsonRESTError("AccessDeniedException", error.message) from error
            allowed.add(_action(f"{call.boto3_service_name}:{call._get_action()}"))

    monkeypatch.setattr(BaseResponse, "_authenticate_and_authorize_normal_action", authorize)
    monkeypatch.setattr(IAMPolicy, "is_action_permitted", _result)
    # moto's own signature differs where a path or a query has something to quote; who signed is what counts here.
    monkeypatch.setattr(IAMRequestBase, "check_signature", lambda _: None)
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
    return allowed


def assume(aws: EmbeddedAWS, role: str) -> EmbeddedAWS:
    """Returns the same AWS, for whoever has assumed one of the stack's roles, as Lambda and Scheduler do."""
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
    variables = {name.upper(): value for name, value in credentials.items()}
    assumed.environment = aws.environment | variables
    assumed.usage_environment = aws.usage_environment | variables
    return assumed


def statements(aws: EmbeddedAWS, role: str) -> list[dict[str, Any]]:
    """Returns all that a role of the stack may do."""
    policies = iam_backends[ACCOUNT_ID]["aws"].get_role(aws.resources[role]).policies.values()
    documents = [json.loads(policy) if isinstance(policy, str) else policy for policy in policies]
    return [statement for document in documents for statement in document["Statement"]]


def _action(name: str) -> str:
    """An action by IAM's name, which is the same for a message and a batch of them."""
    return name.replace("MessageBatch", "Message")


def _resource_arn(call: Any) -> str:  # noqa: PLR0911  # one for each service
    """The resource of a call, as the policies name it."""
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
        case "ecs":  # the first of several; lists and task definitions have no resource to IAM
            names = (call._get_param(name) for name in ("tasks", "services", "serviceRevisionArns"))
            return next((str(found[0]) for found in names if found), "*")
        case "lambda" if function := re.fullmatch(r"/2015-03-31/functions/([^/]+)", call.path):
            return f"{start}:{ACCOUNT_ID}:function:{function[1]}"
        case "logs":
            group, stream = call._get_param("logGroupName"), call._get_param("logStreamName")
            return f"{start}:{ACCOUNT_ID}:log-group:{group}:log-stream:{stream}"
    return "*"


def _result(policy: IAMPolicy, action: str, resource: str = "*", *_: Any) -> PermissionResult:
    """The verdict of a policy on a call."""
    context = {"aws:ResourceAccount": resource.split(":")[4]} if resource != "*" else {}
    result: PermissionResult = _RESULTS[
        verdict(policy._policy_json["Statement"], action=_action(action), resource=resource, context=context)
    ]
    return result
