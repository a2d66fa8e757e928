"""The stack deploys, and does its job, whatever its conditions are."""

import io
import itertools
import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from unittest import mock

import pytest

from local.aws import ACCOUNT_ID, DEFAULT_PARAMETERS, REGION, EmbeddedAWS
from local.demo import EVENTS, PARAMETERS, Demo
from local.poller import load_function
from local.template import LEFT_OUT, cloudformation, evaluate
from local.terminal import Terminal

type Deploy = Callable[[Mapping[str, str]], EmbeddedAWS]

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
SIGNING = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:code-signing-config:csc-0123456789abcdef0"
BOUNDARY = f"arn:aws:iam::{ACCOUNT_ID}:policy/bounds/deployers"

CHOICES: dict[str, dict[str, str]] = {
    "HasForeignRegistries": {"ForeignRegistryIds": "210987654321,345678901234"},
    "HasEventBus": {"EventBusName": "default"},
    "HasEventSources": {"EventSources": "com.example.ci,com.example.cleanup"},
    "HasEventRepositoryPrefix": {"EventRepositoryPrefix": "team/"},
    "HasSchedule": {name: DEFAULT_PARAMETERS[name] for name in ("ScheduleExpression", "ScheduleRequest")},
    "HasCanary": {"CanaryRepository": "team/app"},
    "HasSenders": {"SenderPrincipalArns": f"arn:aws:iam::{ACCOUNT_ID}:role/ci,arn:aws:iam::210987654321:role/*"},
    "HasNotificationEmail": {"NotificationEmail": "team@example.com"},
    "HasPullTimeExclusion": {"ExcludeFromPullTimes": "true"},
    "HasKmsKey": {"KmsKeyArn": KEY},
    "HasCodeSigning": {"CodeSigningConfigArn": SIGNING},
    "HasPermissionsBoundary": {"PermissionsBoundaryArn": BOUNDARY},
}
"""The parameters by which each condition of the template comes true."""

EVERYTHING = frozenset(CHOICES)
COMBINATIONS = list(
    dict.fromkeys(
        [frozenset[str](), EVERYTHING, *(frozenset({n}) for n in CHOICES), *(EVERYTHING - {n} for n in CHOICES)]
    )
)
"""None, all, each alone, and all but each: every pair of conditions is there with each pair of values."""


def parameters_of(true: frozenset[str]) -> dict[str, str]:
    """Parameters by which just these conditions are true."""
    defaults = {name: str(entry.get("Default", "")) for name, entry in cloudformation()["Parameters"].items()}
    defaults["ExcludeFromPullTimes"] = "false"
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
    everything, nothing = parameters_of(EVERYTHING), parameters_of(frozenset())
    conditions = cloudformation()["Conditions"]

    assert CHOICES.keys() <= conditions.keys()
    for name, condition in conditions.items():
        assert (evaluate(condition, nothing), evaluate(condition, everything)) == (False, True), name
        if name not in CHOICES:
            assert "Fn::And" in condition or "Fn::Or" in condition or name == "HasDefaultBus"


def test_every_pair_of_conditions_is_tried_in_every_way() -> None:
    """Both true, both false, and one of them."""
    for one, other in itertools.combinations(CHOICES, 2):
        assert {(one in true, other in true) for true in COMBINATIONS} == set(
            itertools.product((True, False), repeat=2)
        )


def test_the_stack_deploys_and_does_its_job(deployment: EmbeddedAWS) -> None:
    """Exactly the resources that the conditions ask for are there, and everything that the demo claims comes true."""
    parameters = deployment.parameters
    conditions = {name: evaluate(condition, parameters) for name, condition in cloudformation()["Conditions"].items()}

    assert set(deployment.resources) == {
        name
        for name, resource in cloudformation()["Resources"].items()
        if resource["Type"] not in LEFT_OUT and conditions.get(resource.get("Condition"), True)
    }
    assert_took_effect(deployment, scheduler=conditions["HasScheduler"])
    with mock.patch.dict(os.environ):
        demo = Demo(deployment, load_function(deployment.environment), Terminal(io.StringIO()))
        outside_schedule = mock.patch.object(deployment, "run_schedule", partial(send_as_scheduled, deployment))
        outside_rule = mock.patch.object(demo, "_put_event", partial(send_as_delivered, deployment))
        with (
            nullcontext() if conditions["HasSchedule"] else outside_schedule,
            nullcontext() if conditions["HasEventBus"] else outside_rule,
        ):
            assert demo.run()


def assert_took_effect(aws: EmbeddedAWS, *, scheduler: bool) -> None:
    """The key, the boundary, the address and the accounts are where they belong, and nowhere when not given."""
    parameters, topic_arn = aws.parameters, aws.outputs["NotificationTopicArn"]
    for name in ("RequestQueue", "DeadLetterQueue"):
        queue = aws.client("sqs").get_queue_attributes(QueueUrl=aws.resources[name], AttributeNames=["All"])
        assert queue["Attributes"].get("KmsMasterKeyId", "") == parameters["KmsKeyArn"]
    topic = aws.client("sns").get_topic_attributes(TopicArn=topic_arn)["Attributes"]
    assert topic.get("KmsMasterKeyId", "") == parameters["KmsKeyArn"]
    subscriptions = aws.client("sns").list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]
    assert [s["Endpoint"] for s in subscriptions] == list(filter(None, [parameters["NotificationEmail"]]))
    for name in ("FunctionRole", "ScheduleRole") if scheduler else ("FunctionRole",):
        role = aws.client("iam").get_role(RoleName=aws.resources[name])["Role"]
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        assert boundary == parameters["PermissionsBoundaryArn"]
    assert aws.environment["FOREIGN_REGISTRY_IDS"] == parameters["ForeignRegistryIds"]


def send_as_scheduled(aws: EmbeddedAWS) -> str:
    """Sends the scheduled request, as a schedule outside the stack would."""
    request = json.loads(DEFAULT_PARAMETERS["ScheduleRequest"])
    [message_id] = aws.send(json.dumps(request | {"requestId": "a schedule of their own"}))
    return message_id


def send_as_delivered(aws: EmbeddedAWS, name: str) -> None:
    """Sends an event, as a rule outside the stack would."""
    aws.send((EVENTS / f"{name}.json").read_text())
