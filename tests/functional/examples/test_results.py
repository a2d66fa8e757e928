"""The example for result events, beside the stack: which of the function's events reach auditors and ticket systems.

moto judges the patterns, and delivers. A queue stands for the stream, to which moto's rules deliver nothing.
"""

import copy
import json
from typing import Any

import pytest
from moto.sqs.models import sqs_backends

from handler.models.event_types import COMPLETED, REJECTED, SUMMARIZED
from local.aws import ACCOUNT_ID, REGION
from tests.examples import template
from tests.harness.outside import PREVIEWS, Json, Outside, ask, codes
from tests.harness.server_faults import unavailable

ALL = {"RESULT_EVENTS": "all"}
DEPLOYED = {"AWS::Events::Rule", "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::CloudWatch::Alarm"}
"""The types that moto's CloudFormation knows, as far as events go through them."""


class Results:
    """The example as deployed."""

    def __init__(self, stack: Outside, **parameters: str) -> None:
        read = copy.deepcopy(template("results/template.yaml"))
        read["Resources"] = {name: each for name, each in read["Resources"].items() if each["Type"] in DEPLOYED}
        read["Resources"]["AuditStream"] = {"Type": "AWS::SQS::Queue"}
        del read["Resources"]["AuditRule"]["Properties"]["Targets"][0]["RoleArn"]  # SQS takes none
        del read["Outputs"]["AuditBucketName"]
        topic = stack.aws.client("sns").create_topic(Name="alarms-of-results")[
            "TopicArn"
        ]  # the stack's admits no others
        parameters = {"AlarmTopicArn": topic, **parameters}
        cloudformation = stack.aws.client("cloudformation")
        cloudformation.create_stack(
            StackName="results",
            TemplateBody=json.dumps(read),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        [created] = cloudformation.describe_stacks(StackName="results")["Stacks"]
        assert created["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in created["Outputs"]}
        deployed = cloudformation.describe_stack_resources(StackName="results")["StackResources"]
        self._urls = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in deployed}
        self._sqs: Any = stack.aws.client("sqs")

    def trail(self) -> list[Json]:
        """Returns the events that the audit trail got."""
        queue = sqs_backends[ACCOUNT_ID][REGION].get_queue(self._urls["AuditStream"].rpartition("/")[2])
        return [json.loads(message.body) for message in queue._messages]

    def tickets(self) -> list[Json]:
        """Takes the tickets off the queue, as the ticket system does."""
        taken = []
        url = self.outputs["TicketQueueUrl"]
        while messages := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                taken.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return taken


@pytest.fixture
def results(stack: Outside) -> Results:
    """The example beside the stack, with no parameter but a topic for alarms."""
    return Results(stack)


def kinds(events: list[Json]) -> list[str]:
    """Returns the detail types of events, in order."""
    return [event["detail-type"] for event in events]


@pytest.mark.usefixtures("no_waiting")
def test_a_failure_that_needs_a_person_makes_a_ticket(stack: Outside, results: Results) -> None:
    """Beside one that does not; the ticket says who asked, and has the request to send."""
    stack.push("v1")
    stack.faults.add("BatchDeleteImage", unavailable)
    stack.send("imageTag=v1", "imageTag=gone", requestId="r-1", reason="closed")
    stack.drain(stack.start(**ALL))

    [ticket] = results.tickets()
    data = ticket["detail"]["data"]
    assert (ticket["source"], ticket["detail-type"]) == (stack.aws.stack_name, COMPLETED)
    assert "UpstreamUnavailable" in codes(data)
    assert (data["requestId"], data["reason"]) == ("r-1", "closed")
    assert data["origin"]["sender"]
    assert {"imageTag": "v1"} in data["retryRequest"]["imageIds"]


def test_images_that_are_gone_or_kept_make_none(stack: Outside, results: Results) -> None:
    """The audit trail has them all the same, and what went well."""
    stack.push("v1")
    stack.push("latest")
    function = stack.start(**ALL, PROTECTED_TAGS="latest")
    assert codes(ask(function, "imageTag=gone")) == ["ImageNotFound"]
    assert codes(ask(function, "imageTag=v1", "imageTag=latest", "imageTag=gone")) == ["ProtectedTag", "ImageNotFound"]
    ask(function, "imageTag=gone", dryRun=True)

    assert results.tickets() == []
    assert [event["detail"]["data"]["type"] for event in results.trail()] == ["failure", "failure", "dryRun"]


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_rejected_request_makes_a_ticket(stack: Outside, results: Results, by_hand: bool) -> None:  # noqa: FBT001
    """However it arrived: the README tries it by hand."""
    function = stack.start(**ALL)
    if by_hand:
        with pytest.raises(Exception, match="imageIds"):
            ask(function)
    else:
        stack.send_body({"repositoryName": "team/app"})
        stack.drain(function)

    assert kinds(results.tickets()) == kinds(results.trail()) == [REJECTED]


@pytest.mark.parametrize(("percent", "kind"), [("100", []), ("1", [REJECTED, SUMMARIZED])])
def test_a_summary_makes_a_ticket_if_somebody_must_act(
    stack: Outside, results: Results, percent: str, kind: list[str]
) -> None:
    """And the audit trail has each part as well."""
    stack.push("pr-1")
    stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId="nightly", notify="summary")
    for _ in range(2):
        stack.drain(stack.start(**ALL, MAX_PERCENT_OF_REPOSITORY=percent))
        stack.let_time_pass(900)

    assert kinds(results.tickets()) == kind
    assert kinds(results.trail()) == (kind or [COMPLETED, SUMMARIZED])


def test_events_of_others_on_the_bus_are_left_alone(stack: Outside, results: Results) -> None:
    """Such as another stack's."""
    entry = {"Source": "another", "DetailType": REJECTED, "Detail": json.dumps({"data": {"type": "rejection"}})}
    stack.aws.client("events").put_events(Entries=[entry])
    assert results.tickets() == results.trail() == []


def test_it_follows_the_stack_to_another_bus(stack: Outside) -> None:
    """Whose name it gets, with that of the stack."""
    stack.aws.client("events").create_event_bus(Name="results")
    results = Results(stack, EventBusName="results", SourceName=stack.aws.stack_name)
    stack.send_text("no JSON")
    stack.drain(stack.start(**ALL, RESULT_EVENT_BUS_NAME="results"))
    assert kinds(results.tickets()) == kinds(results.trail()) == [REJECTED]
