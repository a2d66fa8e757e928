"""The schedules of examples/ send requests that the function takes, each run a separate one, and can only send."""

from typing import Any

import pytest

from tests.examples import check_scheduled_request, resolve, stack, template
from tests.policies import verdict

RESOURCES = template("schedules/template.yaml")["Resources"]
SCHEDULES = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::Scheduler::Schedule"}

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:requests"
DEAD_LETTERS = "arn:aws:sqs:eu-west-1:123456789012:dead-letters"
NAMES = {"RequestQueueArn": QUEUE, "DeadLetterQueueArn": DEAD_LETTERS, "Group.Arn": "group"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_input_is_a_request_and_a_dry_run_at_first(name: str) -> None:
    """With Scheduler's placeholders filled in, it satisfies the schema."""
    request = check_scheduled_request(SCHEDULES[name]["Target"]["Input"])
    assert request["dryRun"] is True
    assert request["notify"] == "always"


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_cannot_be_delivered_is_kept(name: str) -> None:
    """It goes to the request queue, under the role of the group, and to the dead-letter queue after a day."""
    target = resolve(SCHEDULES[name]["Target"], NAMES)
    assert target["Arn"] == QUEUE
    assert target["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 86400
    assert SCHEDULES[name]["GroupName"] == {"Ref": "Group"}


def test_several_schedules_are_there() -> None:
    """Which is what the example is for."""
    assert len(SCHEDULES) > 1


def test_the_role_only_sends_and_only_this_group_has_it() -> None:
    """To the two queues."""
    role = resolve(RESOURCES["ScheduleRole"]["Properties"], NAMES)
    [policy] = role["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert set(statement["Resource"]) == {QUEUE, DEAD_LETTERS}
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["ArnEquals"] == {"aws:SourceArn": "group"}


@pytest.mark.parametrize("queue", ["RequestQueue", "DeadLetterQueue"])
def test_the_stacks_queues_admit_the_role(queue: str) -> None:
    """It is a principal of the stack's account; the queue's policy refuses what is not."""
    names = {f"{queue}.Arn": QUEUE}
    document = stack()["Resources"][f"{queue}Policy"]["Properties"]["PolicyDocument"]
    statements: list[Any] = resolve(document, names, false={"HasSenders"})["Statement"]
    context = {"aws:PrincipalAccount": "123456789012", "aws:SecureTransport": "true"}
    assert verdict(statements, action="sqs:SendMessage", resource=QUEUE, context=context) != "denied"
