"""Several stacks in one account and region, and what each of their parameters lets in."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.aws import ACCOUNT_ID, DEFAULT_PARAMETERS, REGION, EmbeddedAWS
from local.images import push_image
from local.poller import Poller, load_function
from local.runtime import FakeLambdaContext
from tests.harness.iam import statements
from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, select
from tests.harness.server_faults import throttle
from tests.policies import verdict

type Json = dict[str, Any]
type Deploy = Callable[[Mapping[str, str]], EmbeddedAWS]

EVENTS = Path(__file__).parents[2] / "events"
OTHER_ACCOUNT = "210987654321"
ONE = {"EventSources": "com.example.one", "EventRepositoryPrefix": "one/", "RepositoryPattern": "one/*"}
TWO = {"EventSources": "com.example.two", "EventRepositoryPrefix": "two/", "RepositoryPattern": "two/*"}


@pytest.fixture
def stacks(deploy: Deploy) -> tuple[EmbeddedAWS, EmbeddedAWS]:
    """Two stacks, each for the repositories of one team, with an image in each."""
    one = deploy(DEFAULT_PARAMETERS | ONE)
    two = one.beside("image-deletion-two", TWO)
    for repository in ("one/app", "two/app"):
        one.client("ecr").create_repository(repositoryName=repository)
        push_image(one.client("ecr"), repository, tags=["old"])
    return one, two


def event(source: str, account: str = ACCOUNT_ID, **scope: Any) -> Json:
    """A request on the bus."""
    read: Json = json.loads((EVENTS / "eventbridge.json").read_text())
    return {**read, "source": source, "account": account, "detail": {"imageIds": ["imageTag=old"], **scope}}


def work(aws: EmbeddedAWS, capsys: pytest.CaptureFixture[str]) -> list[Json]:
    """Has a stack's own function take all of its messages; returns the metrics that it counted."""
    Poller(aws, load_function(aws.environment)).drain()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [entry for entry in map(json.loads, lines) if "_aws" in entry]


def waiting(*stacks: EmbeddedAWS) -> list[int]:
    """How many messages are on the request queue of each."""
    return [len(aws.messages("RequestQueue")) for aws in stacks]


def test_neither_stack_sees_anything_of_the_other(
    stacks: tuple[EmbeddedAWS, EmbeddedAWS], capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests, images, metrics, notices, dead letters and alarms are each stack's own."""
    one, two = stacks
    one.put_event(event("com.example.one", repositoryName="one/app"))
    two.send("no JSON")
    assert waiting(one, two) == [1, 1]

    counted = {aws.stack_name: work(aws, capsys) for aws in stacks}

    assert (one.images("one/app"), len(one.images("two/app"))) == (set(), 1)
    for name, name_of in ((aws.stack_name, {entry["service"] for entry in counted[aws.stack_name]}) for aws in stacks):
        assert name_of == {name}
    assert sum(entry["RequestsRejected"][0] for entry in counted["ecr-image-deletion"]) == 0
    assert sum(entry["RequestsRejected"][0] for entry in counted["image-deletion-two"]) == 1
    assert [len(aws.notices()) for aws in stacks] == [0, 1]
    assert [aws.messages("DeadLetterQueue") for aws in stacks] == [[], ["no JSON"]]
    alarms = one.client("cloudwatch").describe_alarms()["MetricAlarms"]
    own = {aws.stack_name: aws.outputs["NotificationTopicArn"] for aws in stacks}
    for alarm in alarms:
        [stack_name] = [name for name in own if alarm["AlarmName"].startswith(name)]
        assert alarm["AlarmActions"] == [own[stack_name]]
        for dimension in alarm["Dimensions"]:
            assert dimension["Value"].startswith(stack_name)


def test_the_same_request_to_both_is_two_requests(
    stacks: tuple[EmbeddedAWS, EmbeddedAWS], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a memory of its own, and a role that reaches no repository of the other."""
    one, two = stacks
    request = json.dumps({"requestId": "r", "repositoryName": "two/app", "imageIds": ["imageTag=old"]})
    one.send(request)
    two.send(request)

    for aws in stacks:
        work(aws, capsys)

    assert two.images("two/app") == set()
    for aws, others in ((one, "two/app"), (two, "one/app")):
        granted = statements(aws, "FunctionRole")
        arn = f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/{others}"
        assert verdict(granted, action="ecr:BatchDeleteImage", resource=arn, context={}) == "not mentioned"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (event("com.example.one", repositoryName="one/app"), [1, 0]),
        (event("com.example.two", repositoryName="two/app"), [0, 1]),
        (event("com.example.one", repositoryNames=["one/*"]), [1, 0]),
        (event("com.example.one", repositoryNames=["base", "one/app"]), [1, 0]),
        (event("com.example.one", repositoryName="two/app"), [0, 0]),
        (event("com.example.one", repositoryNames=["two/*"]), [0, 0]),
        (event("com.example.three", repositoryName="one/app"), [0, 0]),
        (event("com.example.one", OTHER_ACCOUNT, repositoryName="one/app"), [0, 0]),
        (event("com.example.one", repositoryName="one/app") | {"detail-type": "Another"}, [0, 0]),
    ],
)
def test_a_rule_takes_the_events_that_its_stack_asks_for(
    stacks: tuple[EmbeddedAWS, EmbeddedAWS], sent: Json, expected: list[int]
) -> None:
    """Of this account, from its sources, about its repositories: also where an event names several of them."""
    stacks[0].put_event(sent)
    assert waiting(*stacks) == expected


def test_without_a_bus_no_event_is_a_request(deploy: Deploy) -> None:
    """No rule is there, and the queue's policy admits none."""
    aws = deploy(DEFAULT_PARAMETERS | {"EventBusName": ""})
    aws.put_event(event("com.example.one", repositoryName="one/app"))
    assert waiting(aws) == [0]
    assert "RequestRule" not in aws.resources
    context = {"aws:SourceArn": f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/any", "aws:SecureTransport": "true"}
    assert may_send(aws, principal="events.amazonaws.com", **context) == "denied"


def may_send(aws: EmbeddedAWS, principal: str = "AWS", *, queue: str = "RequestQueue", **context: str) -> str:
    """IAM's verdict on a sender, by a queue's policy."""
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=aws.outputs[f"{queue}Url"], AttributeNames=["Policy"])[
        "Attributes"
    ]
    return verdict(
        json.loads(attributes["Policy"])["Statement"],
        action="sqs:SendMessage",
        resource=aws.outputs[f"{queue}Arn"],
        context={"aws:SecureTransport": "true", **context},
        principal=principal,
    )


def sender(arn: str) -> dict[str, str]:
    """The context of a call that a role signed."""
    return {"aws:PrincipalArn": arn, "aws:PrincipalAccount": arn.split(":")[4]}


def test_where_senders_are_named_only_they_and_the_stack_itself_may_send(deploy: Deploy) -> None:
    """Roles and users of this account and of others, by their ARNs; * stands for any characters."""
    ours, theirs = f"arn:aws:iam::{ACCOUNT_ID}:role", f"arn:aws:iam::{OTHER_ACCOUNT}:role"
    aws = deploy(DEFAULT_PARAMETERS | {"SenderPrincipalArns": f"{ours}/ci,{theirs}/build-*"})
    rule = aws.client("events").describe_rule(Name=aws.resources["RequestRule"])["Arn"]
    own = {
        name: aws.client("iam").get_role(RoleName=aws.resources[name])["Role"]["Arn"]
        for name in ("FunctionRole", "ScheduleRole")
    }
    operator = f"{ours}/operator"  # whoever starts a redrive: SQS sends in that name

    assert may_send(aws, **sender(f"{ours}/ci")) == "allowed"
    assert may_send(aws, **sender(f"{theirs}/build-7")) == "allowed"
    assert may_send(aws, **sender(own["ScheduleRole"])) == "not mentioned"  # the role's own policy allows it
    assert may_send(aws, **sender(own["FunctionRole"])) == "denied"  # it sends to the bulk queue alone
    assert may_send(aws, principal="events.amazonaws.com", **{"aws:SourceArn": rule}) == "allowed"
    for arn in (operator, f"{ours}/ci-2", f"{theirs}/deploy", "arn:aws:iam::333333333333:role/ci"):
        assert may_send(aws, **sender(arn)) == "denied"

    named = deploy(DEFAULT_PARAMETERS | {"SenderPrincipalArns": f"{ours}/ci,{operator}"})
    assert may_send(named, **sender(operator)) == "allowed"


def test_where_senders_are_named_the_bulk_queue_is_for_the_stack_and_for_who_sends_back(deploy: Deploy) -> None:
    """The queue itself admits nobody: of those who are named, their own policies decide, in this account alone."""
    ours, theirs = f"arn:aws:iam::{ACCOUNT_ID}:role", f"arn:aws:iam::{OTHER_ACCOUNT}:role"
    senders = f"{ours}/operator,{theirs}/build-*"
    aws = deploy(DEFAULT_PARAMETERS | {"SenderPrincipalArns": senders, "GracePeriodDays": "30"})
    get_role, describe_rule = aws.client("iam").get_role, aws.client("events").describe_rule
    for role in ("FunctionRole", "ScheduleRole"):
        arn = get_role(RoleName=aws.resources[role])["Role"]["Arn"]
        assert may_send(aws, queue="BulkQueue", **sender(arn)) == "not mentioned"  # the role's own policy allows it
    # For SQS, "not mentioned" is a refusal of other accounts, whatever their own policies say.
    for arn in (f"{ours}/operator", f"{theirs}/build-7"):
        assert may_send(aws, queue="BulkQueue", **sender(arn)) == "not mentioned"
    for arn in (f"{ours}/ci", f"{theirs}/deploy", "arn:aws:iam::333333333333:role/operator"):
        assert may_send(aws, queue="BulkQueue", **sender(arn)) == "denied"
    for name, expected in (("GracePeriodRule", "allowed"), ("RequestRule", "denied")):
        source = {"aws:SourceArn": describe_rule(Name=aws.resources[name])["Arn"]}
        assert may_send(aws, "events.amazonaws.com", queue="BulkQueue", **source) == expected


def test_the_policy_for_senders_lets_them_send_and_nothing_else(aws: EmbeddedAWS) -> None:
    """Messages to the request queue, found by its name; to no other queue, nor anything that they receive."""
    arn = aws.outputs["SenderPolicyArn"]
    policy = aws.client("iam").get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]

    def may(action: str, queue: str = "RequestQueue") -> bool:
        resource = aws.outputs[f"{queue}Arn"]
        return verdict(policy["Statement"], action=action, resource=resource, context={}) == "allowed"

    assert may("sqs:SendMessage")
    assert may("sqs:GetQueueUrl")
    assert not may("sqs:ReceiveMessage")
    for queue in ("BulkQueue", "DeadLetterQueue"):
        assert not may("sqs:SendMessage", queue)
        assert not may("sqs:GetQueueUrl", queue)


def test_five_patterns_bound_the_role_and_what_a_pattern_of_names_means(
    deploy: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them allows its repositories, and none that matches no pattern."""
    aws = deploy(DEFAULT_PARAMETERS | {"RepositoryPattern": "one/*,two/*,three,fo?r/*,five/*-preview"})
    allowed = ("one/app", "two/app", "three", "four/app", "five/app-preview")
    others = ("three/app", "fr/app", "five/app", "six/app")
    for name in (*allowed, *others):
        aws.client("ecr").create_repository(repositoryName=name)
        push_image(aws.client("ecr"), name, tags=["old"])
    granted = statements(aws, "FunctionRole")
    for action in ("ecr:BatchDeleteImage", "ecr:DescribeImages"):
        arns = {name: f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/{name}" for name in (*allowed, *others)}
        permitted = [n for n, a in arns.items() if verdict(granted, action=action, resource=a, context={}) == "allowed"]
        assert permitted == list(allowed)

    selection = {"tagStatus": "tagged", "tagPatternList": ["old"]}
    aws.send(json.dumps({"repositoryNames": ["*"], "selection": selection, "allowPercent": 100}))
    work(aws, capsys)

    assert [name for name in (*allowed, *others) if not aws.images(name)] == list(allowed)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"ScheduleRequest": ""}, "A ScheduleExpression needs a ScheduleRequest"),
        ({"ScheduleRequest": '{"repositoryName": "team/app"}'}, "ScheduleRequest must be empty, or a JSON object"),
        ({"ScheduleRequest": '{"requestId": "nightly"}'}, "requestId contains <aws.scheduler.scheduled-time>"),
        ({"RepositoryPattern": ""}, "RepositoryPattern must be one to five repository names"),
        ({"RepositoryPattern": "1,2,3,4,5,6"}, "RepositoryPattern must be one to five repository names"),
        ({"SenderPrincipalArns": "*"}, "SenderPrincipalArns must be empty, or ARNs"),
        ({"SenderPrincipalArns": "arn:aws:iam::*:role/ci"}, "SenderPrincipalArns must be empty, or ARNs"),
    ],
)
def test_what_would_be_dangerous_or_dead_cannot_be_deployed(
    deploy: Deploy, parameters: Mapping[str, str], reason: str
) -> None:
    """CloudFormation refuses it before it makes anything."""
    with pytest.raises(ValueError, match=reason):
        deploy({**DEFAULT_PARAMETERS, **parameters})


def test_the_canary_arrives_and_changes_nothing(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run is a request that counts, whose dry run finds nothing: no notice, no dead letter, no image less."""
    aws = deploy(DEFAULT_PARAMETERS | {"CanaryRepository": "team/app"})
    aws.client("ecr").create_repository(repositoryName="team/app")
    push_image(aws.client("ecr"), "team/app", tags=["old"])
    before = aws.images("team/app")
    for _ in range(2):
        aws.run_schedule(schedule_name="CanarySchedule")

    counted = work(aws, capsys)

    assert sum(entry["Requests"][0] for entry in counted) >= 1
    assert sum(entry["ImagesFailed"][0] + entry["RequestsRejected"][0] for entry in counted) == 0
    assert (aws.images("team/app"), aws.notices()) == (before, [])
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


@pytest.mark.parametrize(
    ("admitted", "percent", "deleted"), [("false", 50, 0), ("false", 51, None), ("false", 100, None), ("true", 100, 2)]
)
def test_a_request_raises_the_share_of_a_repository_only_where_the_stack_admits_it(
    deploy: Deploy, admitted: str, percent: int, deleted: int | None
) -> None:
    """Where it does not, the rejection names the parameter; a smaller share is always admitted."""
    aws = deploy(DEFAULT_PARAMETERS | {"AllowPercentInRequests": admitted})
    aws.client("ecr").create_repository(repositoryName="team/app")
    for number in range(4):
        push_image(aws.client("ecr"), "team/app", tags=[f"{'pr' if number < 2 else 'v'}-{number}"])
    selection = PREVIEWS if deleted else {"tagStatus": "tagged", "tagPatternList": ["none-*"]}
    request = {"repositoryName": "team/app", "selection": selection, "allowPercent": percent}
    function = load_function(aws.environment)

    if deleted is None:
        with pytest.raises(Exception, match="AllowPercentInRequests"):
            function(request, FakeLambdaContext())
        assert len(aws.images("team/app")) == 4
    else:
        assert function(request, FakeLambdaContext())["deleted"] == deleted


@pytest.mark.usefixtures("no_waiting")
def test_a_chain_that_is_cut_counts_for_its_alarm(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last continuation that there may be has a failure in its report, and counts in what raises TurnLimitAlarm."""
    stack.push_many([f"pr-{n}" for n in range(250)])
    function = stack.start(**ANY_SHARE)
    monkeypatch.setattr("handler.workflows.selection.MAX_TURNS", 1)
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert "continuedAs" in select(function, PREVIEWS, requestId="r")
    stack.faults.lift()
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    alarm = stack.aws.client("cloudwatch").describe_alarms(AlarmNames=[stack.aws.resources["TurnLimitAlarm"]])

    stack.receive(function)

    assert stack.waiting() == []
    [notice] = stack.notices("failure")
    assert "TooManyTurns" in {failure["failureCode"] for failure in notice.data["failures"]}
    counted = [entry for entry in stack.metrics() if "TurnLimitReached" in entry]
    assert [entry["TurnLimitReached"] for entry in counted] == [[1.0]]
    [watched] = alarm["MetricAlarms"]
    assert watched["Dimensions"] == [{"Name": "service", "Value": counted[0]["service"]}]
    assert (watched["Namespace"], watched["MetricName"]) == ("EcrImageDeletion", "TurnLimitReached")
