"""The stack deploys, and does its job, with every pair of choices that its parameters offer."""

import io
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from local.aws import ACCOUNT_ID, DEFAULT_PARAMETERS, REGION, EmbeddedAWS
from local.demo import PARAMETERS, Demo
from local.images import push_image
from local.poller import FakeLambdaContext, load_function
from local.template import LEFT_OUT, cloudformation, deployable, evaluate
from local.terminal import Terminal

type Deploy = Callable[[Mapping[str, str]], EmbeddedAWS]

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
SIGNING = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:code-signing-config:csc-0123456789abcdef0"
BOUNDARY = f"arn:aws:iam::{ACCOUNT_ID}:policy/bounds/deployers"

CHOICES: dict[str, dict[str, str]] = {
    "ReadsEcs": {"ProtectInUse": "ecs"},
    "ReadsLambda": {"ProtectInUse": "lambda"},
    "ReadsInspector": {"ProtectInUse": "inspector"},
    "HasDeclaredUse": {"ProtectInUse": "declared", "UsageSources": "eks/prod,nomad"},
    "Archives": {"AllowArchive": "true"},
    "HasForeignRegistries": {"ForeignRegistryIds": "210987654321,345678901234"},
    "HasEventBus": {"EventBusName": "default"},
    "HasEventSources": {"EventSources": "com.example.ci,com.example.cleanup"},
    "HasEventRepositoryPrefix": {"EventRepositoryPrefix": "team/"},
    "HasSchedule": {name: DEFAULT_PARAMETERS[name] for name in ("ScheduleExpression", "ScheduleRequest")},
    "HasCanary": {"CanaryRepository": "team/app"},
    "HasSenders": {"SenderPrincipalArns": f"arn:aws:iam::{ACCOUNT_ID}:role/ci/*"},
    "SendsResults": {"ResultEvents": "all", "ResultEventBusName": "default", "ChatNotices": "true"},
    "HasNotificationEmail": {"NotificationEmail": "team@example.com"},
    "HasPullTimeExclusion": {"ExcludeFromPullTimes": "true"},
    "HasKmsKey": {"KmsKeyArn": KEY},
    "HasCodeSigning": {"CodeSigningConfigArn": SIGNING},
    "HasPermissionsBoundary": {"PermissionsBoundaryArn": BOUNDARY},
}
"""The parameters by which each condition of the template comes true."""
FOLLOWING = {
    *("HasDefaultBus", "HasScheduler", "HasSchedulerAndKmsKey"),
    *("HasSchedulerOrEventBus", "ProtectsInUse", "ProtectsInUseAndHasKmsKey"),
}
"""The conditions that follow from others."""
EXCLUDING = {"HasGracePeriod", "HasRequestsOfPrefixAlone"}
"""Those that hold where one is chosen and another is not; or under which the demo would not delete."""

OFF = {"AllowArchive": "false", "ResultEvents": "none", "ChatNotices": "false"}
"""What the demo's stack has and others need not."""

# Each choice is made in four of seven deployments, and no two in the same four: so any two are made together, apart,
# and in an eighth deployment not at all.
_MADE_IN = dict(zip(CHOICES, itertools.combinations(range(7), 4), strict=False))
DEPLOYMENTS = [frozenset(name for name in CHOICES if number in _MADE_IN[name]) for number in range(8)]


def parameters_of(true: frozenset[str]) -> dict[str, str]:
    """Parameters by which just these conditions are true."""
    defaults = {name: str(entry.get("Default", "")) for name, entry in cloudformation()["Parameters"].items()}
    chosen: dict[str, str] = {"ProtectInUse": ""}
    for name in sorted(true):  # several may add to one list
        chosen |= {key: ",".join(filter(None, [chosen.get(key), value])) for key, value in CHOICES[name].items()}
    others = {"RepositoryPattern": "*", "ExcludeFromPullTimes": "false"} | PARAMETERS | OFF
    return defaults | others | chosen


@pytest.fixture(params=DEPLOYMENTS, ids=range(8))
def deployment(request: pytest.FixtureRequest, deploy: Deploy) -> EmbeddedAWS:
    """The embedded AWS, with the stack deployed so that just these conditions are true."""
    return deploy(parameters_of(request.param))


def test_every_condition_is_chosen_by_a_parameter() -> None:
    """A condition that is added to the template must be added here, or follow from those that are here."""
    everything, nothing = parameters_of(frozenset(CHOICES)), parameters_of(frozenset())
    conditions = cloudformation()["Conditions"]
    assert CHOICES.keys() | FOLLOWING | EXCLUDING == conditions.keys()
    for name, condition in conditions.items():
        if name in EXCLUDING:
            continue
        assert (evaluate(condition, nothing), evaluate(condition, everything)) == (False, True), name


def test_every_pair_of_choices_is_tried() -> None:
    """Both, each alone, and neither of any two."""
    for one, other in itertools.combinations(CHOICES, 2):
        assert {(one in made, other in made) for made in DEPLOYMENTS} == set(itertools.product([True, False], repeat=2))


def test_the_stack_deploys_and_does_its_job(deployment: EmbeddedAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the resources that the conditions ask for are there, and everything that the demo claims comes true."""
    parameters, declared = deployment.parameters, cloudformation()["Resources"]
    conditions = {name: evaluate(condition, parameters) for name, condition in cloudformation()["Conditions"].items()}

    assert set(deployment.resources) == {
        name for name, resource in deployable()["Resources"].items() if conditions.get(resource.get("Condition"), True)
    }
    assert set(LEFT_OUT) <= {resource["Type"] for resource in declared.values()}
    assert_took_effect(deployment, scheduler=conditions["HasScheduler"])
    # Without a rule or a schedule of the stack's, somebody else sends what these would send.
    for name, condition in (("put_event", "HasEventBus"), ("run_schedule", "HasSchedule")):
        if not conditions[condition]:
            monkeypatch.setattr(deployment, name, partial(send_instead, deployment, name))
    function = load_function(deployment.environment)
    for source in filter(None, parameters["UsageSources"].split(",")):
        expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        function({"source": source, "imagesInUse": [], "expiresAt": expires}, FakeLambdaContext())
    assert Demo(deployment, function, Terminal(io.StringIO())).run()


def test_a_stack_with_a_grace_period_deploys(deploy: Deploy) -> None:
    """Its rule may send, and what a selection would delete is archived."""
    aws = deploy({"RepositoryPattern": "team/*", "GracePeriodDays": "30", "MaxPercentOfRepository": "100"})
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="team/one")
    push_image(ecr, "team/one", tags=["pr-1"])
    request = {"repositoryName": "team/one", "selection": {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}}
    answer = load_function(aws.environment)(request, FakeLambdaContext())
    assert (answer["archivedCount"], answer["failures"]) == (1, [])
    assert aws.client("events").list_targets_by_rule(Rule=aws.resources["GracePeriodRule"])["Targets"][0]["Input"]


def assert_took_effect(aws: EmbeddedAWS, *, scheduler: bool) -> None:
    """The key, the boundary, the address and the accounts are where they belong, and nowhere when not given."""
    parameters, topic_arn = aws.parameters, aws.outputs["NotificationTopicArn"]
    for name in ("RequestQueue", "BulkQueue", "DeadLetterQueue"):
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


def send_instead(aws: EmbeddedAWS, name: str, event: Mapping[str, Any] | None = None) -> None:
    """Sends what the rule makes of an event, or what a schedule outside the stack sends."""
    scheduled = json.loads(DEFAULT_PARAMETERS["ScheduleRequest"]) | {"requestId": f"instead of {name}"}
    aws.send(json.dumps(event or scheduled))
