"""The policies that the deployment guide shows are those that the stack needs."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.examples import resolve, stack
from tests.policies import as_list, verdict

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deploy.md").read_text()
RESOURCES: dict[str, Any] = stack()["Resources"]
KEY_POLICY, REPOSITORY_POLICY = (
    json.loads(text)["Statement"] for text in re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL)
)


def test_the_senders_that_must_be_named_are_those_of_the_examples() -> None:
    """Roles and outputs that the guide names are there, and no example that sends is left out."""
    table = GUIDE[GUIDE.index("| who | principal |") :].partition("\n\n")[0]
    named = {
        (name, ROOT / "examples" / folder / file)
        for folder, file, name in [
            ("github-actions", "sender.yaml", "SenderRoleArn"),
            ("gitlab-ci", "sender.yaml", "SenderRoleArn"),
            ("schedules", "template.yaml", "ScheduleRole"),
            ("hub-and-spokes", "hub.yaml", "RuleRole"),
            ("terraform", "schedules.tf", "ecr-image-deletion-schedules"),
        ]
    }
    for name, path in named:
        assert f"`{name}`" in table
        assert f"examples/{path.parent.name}/" in table
        assert name in path.read_text()
    files = [path for path in (ROOT / "examples").rglob("*.*") if path.suffix != ".pyc"]
    senders = {path.parent.name for path in files if "sqs:SendMessage" in path.read_text()}
    assert senders - {"deployer", "results"} <= {path.parent.name for _, path in named}


def services(value: Any) -> set[str]:
    """The services that statements allow to do something, also where they are under a condition."""
    if isinstance(value, list):
        return set().union(*map(services, value))
    if not isinstance(value, dict):
        return set()
    if value.get("Effect") == "Allow" and isinstance(value.get("Principal"), dict) and "Service" in value["Principal"]:
        return {value["Principal"]["Service"]}
    return set().union(*map(services, value.values()))


@pytest.mark.parametrize("action", ["kms:GenerateDataKey", "kms:Decrypt"])
def test_the_key_admits_every_service_that_writes(action: str) -> None:
    """The services that policies of queues and topic let write; without the key, what they write would be lost."""
    writers = services(
        [
            resource["Properties"]
            for resource in RESOURCES.values()
            if resource["Type"] in {"AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"}
        ]
    )
    assert writers == {"events.amazonaws.com", "cloudwatch.amazonaws.com"}
    context = {"aws:SourceAccount": "123456789012"}
    for service in writers:
        assert verdict(KEY_POLICY, action=action, resource="key", context=context, principal=service) == "allowed"
    assert (
        verdict(KEY_POLICY, action=action, resource="key", context=context, principal="s3.amazonaws.com") != "allowed"
    )


def test_the_key_admits_alarms_of_no_other_account() -> None:
    """CloudWatch says for which account it asks; EventBridge may not, so its statement has no such condition."""
    context = {"aws:SourceAccount": "111122223333"}
    action, alarms = "kms:GenerateDataKey", "cloudwatch.amazonaws.com"
    assert verdict(KEY_POLICY, action=action, resource="key", context=context, principal=alarms) != "allowed"
    [rule] = [s for s in KEY_POLICY if s["Principal"].get("Service") == "events.amazonaws.com"]
    assert "Condition" not in rule


@pytest.mark.parametrize(("group", "admitted"), [("ecr-image-deletion-0123-abc", True), ("another", False)])
def test_the_key_admits_the_log_of_the_function(group: str, admitted: bool) -> None:  # noqa: FBT001  # a table
    """CloudWatch Logs may use it for the stack's own log group, whose name ends in an id, and for no other."""
    [statement] = [s for s in KEY_POLICY if s["Principal"].get("Service", "").startswith("logs.")]
    [[pattern]] = [[*keys.values()] for keys in statement["Condition"].values()]
    name = f"arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/{group}"
    assert fnmatchcase(name, pattern) is admitted
    for action in ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:DescribeKey"):
        assert any(fnmatchcase(action, allowed) for allowed in statement["Action"])
    [template, _] = RESOURCES["FunctionLogGroup"]["Properties"]["LogGroupName"]["Fn::Sub"]
    assert template == "/aws/lambda/${AWS::StackName}-${Id}"


def test_the_key_lets_iam_policies_decide_for_the_roles() -> None:
    """And these do: for messages and steps of the function, for messages of the schedules, and for senders."""
    [account] = [s for s in KEY_POLICY if s["Principal"].get("AWS", "").endswith(":root")]
    granted = {
        name: {action for s in RESOURCES[name]["Properties"]["PolicyDocument"]["Statement"] for action in s["Action"]}
        for name in ("FunctionKeyPolicy", "ScheduleKeyPolicy")
    }
    assert account["Action"] == "kms:*"
    assert all({"kms:GenerateDataKey", "kms:Decrypt"} <= actions for actions in granted.values())


def test_repositories_of_other_accounts_admit_what_the_role_may_ask_for() -> None:
    """The example grants what the function's role is granted there, and nothing else."""
    [granted] = RESOURCES["ForeignRegistriesPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert [as_list(statement["Action"]) for statement in REPOSITORY_POLICY] == [resolve(granted["Action"], {})]


def test_repositories_of_other_accounts_admit_the_role_by_a_name_that_lasts() -> None:
    """Its path and the stack's name: also a role that comes after it, and not the schedules' role."""
    [statement] = REPOSITORY_POLICY
    [pattern] = [pattern for keys in statement["Condition"].values() for pattern in keys.values()]
    role = "arn:aws:iam::123456789012:role" + RESOURCES["FunctionRole"]["Properties"]["Path"]
    assert fnmatchcase(f"{role}ecr-image-deletion-FunctionRole-1A2B3C4D5E6F", pattern)
    assert not fnmatchcase(f"{role}ecr-image-deletion-ScheduleRole-1A2B3C4D5E6F", pattern)


def test_what_outlives_the_stack_is_named() -> None:
    """Dead letters and the log, and nothing else of what CloudFormation could delete."""
    kept = {name for name, resource in RESOURCES.items() if resource.get("DeletionPolicy") == "Retain"}
    assert kept == {"DeadLetterQueue", "FunctionLogGroup"}
    assert "The dead-letter queue and the log group are retained" in GUIDE
