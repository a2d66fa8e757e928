"""The policies of the queues and of the topic: whoever can send a request can delete images."""

import json
from typing import Any

import pytest

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
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
