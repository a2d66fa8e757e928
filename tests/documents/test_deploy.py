"""The policies that the deployment guide shows are those that the stack needs."""

import itertools
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
KEY_POLICY, SENDERS_STATEMENT, REPOSITORY_POLICY = (
    read.get("Statement", read) for read in map(json.loads, re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL))
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


SENDING_RULES = {
    name: rule["Condition"]
    for name, rule in RESOURCES.items()
    if rule["Type"] == "AWS::Events::Rule"
    and any("Queue" in target["Arn"]["Fn::GetAtt"][0] for target in rule["Properties"]["Targets"])
}
"""The rules that send to a queue, and under which condition each is there."""


@pytest.mark.parametrize("there", [*itertools.product([False, True], repeat=len(SENDING_RULES))])
def test_the_key_admits_rules_as_long_as_there_is_one(there: tuple[bool, ...]) -> None:
    """The guide says when the statement for rules may be left out: when there is no rule that sends to a queue."""
    [row] = re.findall(r"^\| `RuleSendsEncryptedMessages` \|.*", GUIDE, re.MULTILINE)
    [when] = re.findall(r"Leave it out if (.+?)\. ", row)
    named = dict(re.findall(r"`(\w+)` is (empty|0)", when))
    without = {name: "" if value == "empty" else value for name, value in named.items()}
    conditions = stack()["Conditions"]
    parameters = {}
    for condition, is_there in zip(SENDING_RULES.values(), there, strict=True):
        reference, absent = conditions[condition]["Fn::Not"][0]["Fn::Equals"]
        parameters[reference["Ref"]] = "something" if is_there else absent
    left_out = all(parameters[name] == value for name, value in without.items())
    policy = [s for s in KEY_POLICY if not (left_out and s["Sid"] == "RuleSendsEncryptedMessages")]
    expected = "allowed" if any(there) else "not mentioned"
    for action in ("kms:GenerateDataKey", "kms:Decrypt"):
        assert verdict(policy, action=action, resource="key", context={}, principal="events.amazonaws.com") == expected


def test_the_key_admits_senders_of_other_accounts_by_a_statement_of_their_own() -> None:
    """It has what the policy for senders of this account has, and no more."""
    policy = resolve(RESOURCES["SenderPolicy"]["Properties"]["PolicyDocument"], {})
    [granted] = [s for s in policy["Statement"] if s["Sid"] == "EncryptMessages"]
    assert SENDERS_STATEMENT["Action"] == granted["Action"]
    [service] = as_list(SENDERS_STATEMENT["Condition"]["StringEquals"]["kms:ViaService"])
    assert service in as_list(granted["Condition"]["StringEquals"]["kms:ViaService"])
    assert SENDERS_STATEMENT["Principal"]["AWS"].split(":")[4] not in {"", "123456789012"}


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
