"""The policies of the queues and of the topic: whoever can send a request can delete images."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.aws import ACCOUNT_ID, DEFAULT_PARAMETERS, REGION, EmbeddedAWS
from tests.harness.iam import statements
from tests.policies import verdict

OTHER_ACCOUNT = "210987654321"
OTHER_RULE = f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/another"
OWN = {"aws:PrincipalAccount": ACCOUNT_ID, "aws:SecureTransport": "true"}
ANOTHER_ACCOUNT = {"aws:PrincipalAccount": OTHER_ACCOUNT, "aws:SecureTransport": "true"}
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
        ("AWS", ANOTHER_ACCOUNT, "denied"),
        ("AWS", {"aws:PrincipalAccount": "anonymous", "aws:SecureTransport": "true"}, "denied"),
    ],
)
def test_nobody_but_the_rule_and_the_accounts_own_may_send(
    aws: EmbeddedAWS, queue: str, principal: str, context: dict[str, str], expected: str
) -> None:
    """The schedule's role is one of the account's own. Others are refused even if a further statement admits them."""
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=aws.resources[queue], AttributeNames=["All"])
    policy, arn = json.loads(attributes["Attributes"]["Policy"])["Statement"], attributes["Attributes"]["QueueArn"]
    rule = aws.client("events").describe_rule(Name=aws.resources["RequestRule"])["Arn"]
    context = {key: rule if value == "the rule" else value for key, value in context.items()}
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": arn}

    asked: dict[str, Any] = {"action": "sqs:SendMessage", "resource": arn, "context": context, "principal": principal}

    assert verdict(policy, **asked) == expected
    if expected == "denied":
        assert verdict([*policy, everybody], **asked) == "denied"


@pytest.mark.parametrize("grace_days", ["0", "30"])
@pytest.mark.parametrize("senders", ["", f"arn:aws:iam::{ACCOUNT_ID}:role/ci,arn:aws:iam::{OTHER_ACCOUNT}:role/ci"])
def test_nobody_but_the_stack_itself_may_send_to_the_bulk_queue(
    deploy: Callable[[Mapping[str, str]], EmbeddedAWS], grace_days: str, senders: str
) -> None:
    """Its messages may name any key. The queue admits the daily rule alone; its roles' own policies admit them."""
    aws = deploy(DEFAULT_PARAMETERS | {"GracePeriodDays": grace_days, "SenderPrincipalArns": senders})
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=aws.resources["BulkQueue"], AttributeNames=["All"])
    policy, arn = json.loads(attributes["Attributes"]["Policy"])["Statement"], attributes["Attributes"]["QueueArn"]
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": arn}

    def asked(principal: str = "AWS", tls: str = "true", **context: str) -> str:
        about: Any = {"action": "sqs:SendMessage", "resource": arn, "principal": principal}
        about["context"] = {f"aws:{name}": value for name, value in context.items()} | {"aws:SecureTransport": tls}
        found = verdict(policy, **about)
        if found == "denied":
            assert verdict([*policy, everybody], **about) == "denied"
        return found

    rules = {name: aws.resources[name] for name in ("RequestRule", "GracePeriodRule") if name in aws.resources}
    for name, rule in rules.items():
        source = aws.client("events").describe_rule(Name=rule)["Arn"]
        expected = "allowed" if name == "GracePeriodRule" else "denied"
        assert asked("events.amazonaws.com", SourceArn=source) == expected
        assert asked("events.amazonaws.com", tls="false", SourceArn=source) == "denied"
    assert asked("events.amazonaws.com", SourceArn=OTHER_RULE) == "denied"
    assert asked("s3.amazonaws.com", SourceArn="arn:aws:s3:::bucket") == "denied"
    assert asked("sns.amazonaws.com", SourceArn=f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:topic") == "denied"
    assert asked("sqs.amazonaws.com", SourceArn=aws.outputs["DeadLetterQueueArn"]) == "denied"
    for name in ("FunctionRole", "ScheduleRole"):
        role = aws.client("iam").get_role(RoleName=aws.resources[name])["Role"]["Arn"]
        assert asked(PrincipalAccount=ACCOUNT_ID, PrincipalArn=role) == "not mentioned"
        assert asked(PrincipalAccount=ACCOUNT_ID, PrincipalArn=role, tls="false") == "denied"
        own = verdict(statements(aws, name), action="sqs:SendMessage", resource=arn, context={})
        assert own == "allowed"
    # Of this account, whoever their own policies let send: the senders' policy of the stack does not.
    stranger = f"arn:aws:iam::{ACCOUNT_ID}:role/developer"
    assert asked(PrincipalAccount=ACCOUNT_ID, PrincipalArn=stranger) == ("denied" if senders else "not mentioned")
    for account in (OTHER_ACCOUNT, "333333333333"):
        found = asked(PrincipalAccount=account, PrincipalArn=f"arn:aws:iam::{account}:role/developer")
        assert found == "denied"
        # One that is named may send to the request queue. Here no statement admits it, which refuses other accounts.
        found = asked(PrincipalAccount=account, PrincipalArn=f"arn:aws:iam::{account}:role/ci")
        assert found != "allowed"


def test_the_topic_takes_alarms_of_this_stack_and_only_over_tls(aws: EmbeddedAWS) -> None:
    """Each of its alarms may publish, and has this topic for its action; no other alarm may, nor another account's."""
    topic = aws.outputs["NotificationTopicArn"]
    policy = json.loads(aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    alarms = aws.client("cloudwatch").describe_alarms()["MetricAlarms"]

    def asked(source: str, account: str = ACCOUNT_ID, tls: str = "true") -> str:
        context = {"aws:SourceArn": source, "aws:SourceAccount": account, "aws:SecureTransport": tls}
        service = "cloudwatch.amazonaws.com"
        return verdict(policy, action="sns:Publish", resource=topic, context=context, principal=service)

    assert len(alarms) == sum(name.endswith("Alarm") for name in aws.resources) > 0
    for alarm in alarms:
        assert alarm["AlarmActions"] == [topic]
        assert asked(alarm["AlarmArn"]) == "allowed"
        assert asked(alarm["AlarmArn"], tls="false") == "denied"
        assert asked(alarm["AlarmArn"], account=OTHER_ACCOUNT) == "not mentioned"
    assert asked(f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:another") == "not mentioned"
