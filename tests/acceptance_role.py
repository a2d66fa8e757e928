"""What the role of acceptance/role.yaml allows, and which of it no call of a run shows."""

from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROLE = Path(__file__).parents[1] / "acceptance" / "role.yaml"

IMPLIED = {
    "ecr:TagResource": "CreateRepository with tags",
    "sqs:TagQueue": "CreateQueue with tags",
    "events:TagResource": "PutRule with tags",
    "scheduler:TagResource": "CreateScheduleGroup with tags",
    "scheduler:DeleteSchedule": "DeleteScheduleGroup with schedules in it",
    "lambda:TagResource": "CreateFunction with tags",
    "iam:TagRole": "CreateRole with tags",
    "iam:PassRole": "CreateFunction and CreateSchedule with a role",
    "iam:CreateServiceLinkedRole": "PutReplicationConfiguration, the first time",
    "ecr:GetRepositoryPolicy": "CreateFunction of an image",
    "kms:GenerateDataKey": "SendMessage to a queue with a key",
    "kms:Decrypt": "ReceiveMessage from a queue with a key",
}.keys()
"""Actions that IAM asks for beside the call that is made, and by which."""
NOT_CALLED = {
    "kms:ListGrants",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:DescribeAlarms",
    "cloudformation:DescribeStackResource",
    "lambda:GetFunctionRecursionConfig",
    "lambda:PutFunctionRecursionConfig",
    "lambda:CreateEventSourceMapping",
    "lambda:DeleteEventSourceMapping",
}
"""Calls of what the embedded AWS does not serve; each stands in the code."""


@cache
def allowed() -> frozenset[str]:
    """Returns all actions that the role allows."""
    role: Any = yaml_parse(ROLE.read_text())["Resources"]["AcceptanceRole"]["Properties"]
    statements = [
        statement["Fn::If"][1] if "Fn::If" in statement else statement
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    actions = [[action] if isinstance(action := statement["Action"], str) else action for statement in statements]
    return frozenset(action for listed in actions for action in listed)
