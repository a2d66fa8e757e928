"""The stack deploys, and does its job, with every combination of its conditions."""

import io
import itertools
import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest import mock

import pytest

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.demo import PARAMETERS, Demo
from local.poller import load_function
from local.template import LEFT_OUT, cloudformation
from local.terminal import Terminal

type Deploy = Callable[[Mapping[str, str]], EmbeddedAWS]

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
BOUNDARY = f"arn:aws:iam::{ACCOUNT_ID}:policy/bounds/deployers"

CHOICES: dict[str, dict[str, str]] = {
    "HasForeignRegistries": {"ForeignRegistryIds": "210987654321,345678901234"},
    "HasSchedule": {"ScheduleExpression": "rate(1 day)"},
    "HasNotificationEmail": {"NotificationEmail": "team@example.com"},
    "HasKmsKey": {"KmsKeyArn": KEY},
    "HasPermissionsBoundary": {"PermissionsBoundaryArn": BOUNDARY},
}
"""The parameters by which each condition of the template comes true."""

COMBINATIONS = [
    frozenset(names) for count in range(len(CHOICES) + 1) for names in itertools.combinations(CHOICES, count)
]


def outcome(condition: Any, parameters: Mapping[str, str]) -> bool:
    """The value that CloudFormation gives a condition."""
    [(function, operands)] = condition.items()
    match function:
        case "Fn::Not":
            return not outcome(operands[0], parameters)
        case "Fn::And":
            return all(outcome(operand, parameters) for operand in operands)
        case "Condition":
            return outcome(cloudformation()["Conditions"][operands], parameters)
        case "Fn::Equals":
            left, right = (parameters[o["Ref"]] if isinstance(o, dict) else o for o in operands)
            return bool(left == right)
    raise ValueError(function)


def parameters_of(true: frozenset[str]) -> dict[str, str]:
    """Parameters by which just these conditions are true."""
    defaults = {name: str(entry.get("Default", "")) for name, entry in cloudformation()["Parameters"].items()}
    chosen = {key: value for name in true for key, value in CHOICES[name].items()}
    return defaults | {"RepositoryPattern": "*"} | PARAMETERS | chosen


@pytest.fixture(
    params=COMBINATIONS, ids=lambda true: "+".join(sorted(name.removeprefix("Has") for name in true)) or "nothing"
)
def deployment(request: pytest.FixtureRequest, deploy: Deploy) -> EmbeddedAWS:
    """The embedded AWS, with the stack deployed so that just these conditions are true."""
    return deploy(parameters_of(request.param))


def test_every_condition_is_chosen_by_a_parameter() -> None:
    """A condition that is added to the template must be added here, or follow from those that are here."""
    everything, nothing = parameters_of(frozenset(CHOICES)), parameters_of(frozenset())
    conditions = cloudformation()["Conditions"]

    assert CHOICES.keys() <= conditions.keys()
    for name, condition in conditions.items():
        assert (outcome(condition, nothing), outcome(condition, everything)) == (False, True), name
        if name not in CHOICES:
            assert "Fn::And" in condition


def test_all_32_combinations_are_tried() -> None:
    """None is left out, none is tried twice."""
    assert len(set(COMBINATIONS)) == 2 ** len(CHOICES) == 32


def test_the_stack_deploys_and_does_its_job(deployment: EmbeddedAWS) -> None:
    """Exactly the resources that the conditions ask for are there, and everything that the demo claims comes true."""
    parameters = deployment.parameters
    conditions = {name: outcome(condition, parameters) for name, condition in cloudformation()["Conditions"].items()}

    assert set(deployment.resources) == {
        name
        for name, resource in cloudformation()["Resources"].items()
        if resource["Type"] not in LEFT_OUT and conditions.get(resource.get("Condition"), True)
    }
    assert_took_effect(deployment, schedule=conditions["HasSchedule"])
    with mock.patch.dict(os.environ):
        demo = Demo(deployment, load_function(deployment.environment), Terminal(io.StringIO()))
        outside_schedule = mock.patch.object(deployment, "run_schedule", partial(send_as_scheduled, deployment))
        with nullcontext() if conditions["HasSchedule"] else outside_schedule:
            assert demo.run()


def assert_took_effect(aws: EmbeddedAWS, *, schedule: bool) -> None:
    """The key, the boundary, the address and the accounts are where they belong, and nowhere when not given."""
    parameters, topic_arn = aws.parameters, aws.outputs["NotificationTopicArn"]
    for name in ("RequestQueue", "DeadLetterQueue"):
        queue = aws.client("sqs").get_queue_attributes(QueueUrl=aws.resources[name], AttributeNames=["All"])
        assert queue["Attributes"].get("KmsMasterKeyId", "") == parameters["KmsKeyArn"]
    topic = aws.client("sns").get_topic_attributes(TopicArn=topic_arn)["Attributes"]
    assert topic.get("KmsMasterKeyId", "") == parameters["KmsKeyArn"]
    subscriptions = aws.client("sns").list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]
    assert [s["Endpoint"] for s in subscriptions] == list(filter(None, [parameters["NotificationEmail"]]))
    for name in ("FunctionRole", "ScheduleRole") if schedule else ("FunctionRole",):
        role = aws.client("iam").get_role(RoleName=aws.resources[name])["Role"]
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        assert boundary == parameters["PermissionsBoundaryArn"]
    assert aws.environment["FOREIGN_REGISTRY_IDS"] == parameters["ForeignRegistryIds"]


def send_as_scheduled(aws: EmbeddedAWS) -> str:
    """Sends the scheduled request, as a schedule outside the stack would."""
    request = json.loads(cloudformation()["Parameters"]["ScheduleRequest"]["Default"])
    [message_id] = aws.send(json.dumps(request | {"requestId": "a schedule of their own"}))
    return message_id
