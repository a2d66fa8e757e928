"""The hub takes the requests of the accounts that it names, from buses that only they may use, and loses none."""

import json
from typing import Any

import pytest

from tests.examples import ROOT, resolve, stack, template
from tests.policies import as_list, verdict

HUB, SPOKE = template("hub-and-spokes/hub.yaml"), template("hub-and-spokes/spoke.yaml")
SPOKE_ACCOUNT, OTHER_ACCOUNT = "111122223333", "999999999999"
BUS = "arn:aws:events:eu-west-1:123456789012:event-bus/image-deletion-hub"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:requests"


def event(account: str) -> dict[str, Any]:
    """A request as EventBridge delivers it, from an account."""
    read: dict[str, Any] = json.loads((ROOT / "events" / "eventbridge.json").read_text())
    return read | {"account": account}


def matches(pattern: dict[str, list[str]], event: dict[str, Any]) -> bool:
    """Whether EventBridge's pattern, of plain values, takes an event."""
    return all(event[key] in values for key, values in pattern.items())


def rule(example: Any, names: dict[str, Any]) -> Any:
    """The rule of the hub or of a spoke."""
    return resolve(example["Resources"]["RequestRule"]["Properties"], names)


def test_a_request_goes_from_the_spoke_to_the_hubs_bus() -> None:
    """Its own account's alone: what others put on the spoke's bus is not passed on under its name."""
    spoke = rule(SPOKE, {"AWS::AccountId": SPOKE_ACCOUNT, "HubEventBusArn": BUS})
    assert matches(spoke["EventPattern"], event(SPOKE_ACCOUNT))
    assert not matches(spoke["EventPattern"], event(OTHER_ACCOUNT))
    [target] = spoke["Targets"]
    assert target["Arn"] == BUS
    assert HUB["Outputs"]["EventBusArn"]["Value"] == {"Fn::GetAtt": ["Bus", "Arn"]}


def test_a_request_goes_from_the_hubs_bus_to_the_queue() -> None:
    """Of the accounts that it names, and of no other. EventBridge keeps the account that an event comes from."""
    hub = rule(HUB, {"RequestQueueArn": QUEUE})
    pattern = hub["EventPattern"] | {"account": [SPOKE_ACCOUNT]}
    assert HUB["Resources"]["RequestRule"]["Properties"]["EventPattern"]["account"] == {"Ref": "SpokeAccountIds"}
    assert matches(pattern, event(SPOKE_ACCOUNT))
    assert not matches(pattern, event(OTHER_ACCOUNT))
    [target] = hub["Targets"]
    assert target["Arn"] == QUEUE
    assert not target.keys() & {"Input", "InputPath", "InputTransformer"}  # the event's id is the request's key


def test_the_rules_take_the_detail_type_that_the_stack_documents() -> None:
    """Those of the stack's own rule, so senders need not know where the stack is."""
    pattern = stack()["Resources"]["RequestRule"]["Properties"]["EventPattern"]
    kinds = resolve(pattern["$or"], {"UsageSources": "eks/prod", "EventRepositoryPrefix": "team/"})
    own = [kind for each in kinds for kind in each["detail-type"]]
    for example in (HUB, SPOKE):
        assert example["Resources"]["RequestRule"]["Properties"]["EventPattern"]["detail-type"] == own


def test_the_bus_admits_the_spokes_alone() -> None:
    """To put events on it, and nothing else."""
    statement = HUB["Resources"]["BusPolicy"]["Properties"]["Statement"]
    assert statement["Principal"] == {"AWS": {"Ref": "SpokeAccountIds"}}
    assert statement["Action"] == "events:PutEvents"
    assert statement["Resource"] == {"Fn::GetAtt": ["Bus", "Arn"]}


def test_the_stacks_queue_admits_the_hubs_rule() -> None:
    """It sends under a role of the stack's account; under EventBridge's own name the queue would refuse it."""
    names = {"RequestQueue.Arn": QUEUE}
    document = stack()["Resources"]["RequestQueuePolicy"]["Properties"]["PolicyDocument"]
    policy = resolve(document, names, false={"HasSenders"})
    [target] = HUB["Resources"]["RequestRule"]["Properties"]["Targets"]
    assert target["RoleArn"] == {"Fn::GetAtt": ["RuleRole", "Arn"]}
    under_the_role = {"aws:PrincipalAccount": "123456789012", "aws:SecureTransport": "true"}
    verdicts = [
        verdict(policy["Statement"], action="sqs:SendMessage", resource=QUEUE, context=context)
        for context in (under_the_role, under_the_role | {"aws:PrincipalAccount": SPOKE_ACCOUNT})
    ]
    assert verdicts[0] != "denied"
    assert verdicts[1] == "denied"


def test_where_senders_are_named_the_hubs_role_must_be_one_of_them() -> None:
    """The README says so."""
    role = "arn:aws:iam::123456789012:role/image-deletion-hub-RuleRole-1A2B"
    document = stack()["Resources"]["RequestQueuePolicy"]["Properties"]["PolicyDocument"]
    context = {"aws:PrincipalArn": role, "aws:PrincipalAccount": "123456789012", "aws:SecureTransport": "true"}
    for senders, expected in ((role, "allowed"), (f"{role}s", "denied")):
        policy = resolve(document, {"RequestQueue.Arn": QUEUE, "SenderPrincipalArns": senders})
        verdict_ = verdict(policy["Statement"], action="sqs:SendMessage", resource=QUEUE, context=context)
        assert verdict_ == expected
    assert "SenderPrincipalArns" in (ROOT / "examples" / "hub-and-spokes" / "README.md").read_text()


@pytest.mark.parametrize(("example", "action"), [(HUB, "sqs:SendMessage"), (SPOKE, "events:PutEvents")])
def test_the_rules_role_does_one_thing(example: Any, action: str) -> None:
    """On one resource, which is a parameter."""
    [policy] = example["Resources"]["RuleRole"]["Properties"]["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert as_list(statement["Action"]) == [action]
    assert statement["Resource"]["Ref"] in example["Parameters"]


@pytest.mark.parametrize("example", [HUB, SPOKE])
def test_what_cannot_be_delivered_is_kept_and_raises_an_alarm(example: Any) -> None:
    """In a queue that EventBridge may send to, for this rule."""
    resources = example["Resources"]
    [target] = resources["RequestRule"]["Properties"]["Targets"]
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["Undelivered", "Arn"]}}
    names = {"Undelivered.Arn": "queue", "RequestRule.Arn": "rule"}
    policy = resolve(resources["UndeliveredPolicy"]["Properties"]["PolicyDocument"], names)["Statement"]
    sends = {"action": "sqs:SendMessage", "resource": "queue", "principal": "events.amazonaws.com"}
    assert verdict(policy, context={"aws:SourceArn": "rule"}, **sends) == "allowed"
    assert verdict(policy, context={"aws:SourceArn": "another"}, **sends) == "not mentioned"
    [dimension] = resources["UndeliveredAlarm"]["Properties"]["Dimensions"]
    assert dimension["Value"] == {"Fn::GetAtt": ["Undelivered", "QueueName"]}
