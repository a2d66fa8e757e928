"""The embedded AWS deploys the template, and its services do what the real ones do."""

import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from local.aws import EmbeddedAWS, Notice
from local.poller import FakeLambdaContext, load_function
from local.scheduler import send_due
from local.template import cloudformation

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"


def test_queue_settings_come_from_the_template(aws: EmbeddedAWS) -> None:
    """The time-out, the size and the redrive policy."""
    declared = cloudformation()["Resources"]["RequestQueue"]["Properties"]

    attributes = aws.client("sqs").get_queue_attributes(
        QueueUrl=aws.outputs["RequestQueueUrl"], AttributeNames=["All"]
    )["Attributes"]

    assert attributes["VisibilityTimeout"] == str(declared["VisibilityTimeout"])
    assert attributes["MaximumMessageSize"] == str(declared["MaximumMessageSize"])
    redrive_policy = json.loads(attributes["RedrivePolicy"])
    assert redrive_policy["maxReceiveCount"] == declared["RedrivePolicy"]["maxReceiveCount"]
    assert redrive_policy["deadLetterTargetArn"].endswith(aws.resources["DeadLetterQueue"].rpartition("/")[2])


def test_the_functions_environment_comes_from_the_template(aws: EmbeddedAWS) -> None:
    """Every variable, resolved to what was deployed; and what Lambda itself sets."""
    declared = cloudformation()["Resources"]["DeletionFunction"]["Properties"]

    assert set(declared["Environment"]["Variables"]) <= set(aws.environment)
    assert aws.environment["IDEMPOTENCY_TABLE"] in aws.client("dynamodb").list_tables()["TableNames"]
    assert aws.environment["NOTIFICATION_TOPIC_ARN"] == aws.outputs["NotificationTopicArn"]
    assert aws.environment["ENDPOINT_URL"] == aws.endpoint_url
    assert aws.function.timeout == declared["Timeout"] == FakeLambdaContext().timeout
    assert aws.function.memory == declared["MemorySize"]


def test_parameters_reach_the_stack() -> None:
    """Without an expression there is no schedule."""
    with EmbeddedAWS({"ScheduleExpression": "", "MaxImagesPerRequest": "3"}) as aws:
        assert "RequestSchedule" not in aws.resources
        assert aws.environment["MAX_IMAGES_PER_REQUEST"] == "3"


def test_a_connection_serves_one_call_after_another_until_the_end() -> None:
    """As with AWS, whatever becomes of a call; one that is open when the server stops is answered no more."""
    scope = "AWS4-HMAC-SHA256 Credential=testing/20261126/us-east-1/sns/aws4_request"

    def ask(authorization: str) -> tuple[int, bool]:
        connection.request("POST", "/", "Action=ListTopics", {"Authorization": authorization})
        answer = connection.getresponse()
        return answer.status, b"<ListTopicsResponse" in answer.read()

    with EmbeddedAWS() as aws:
        connection = HTTPConnection(aws.endpoint_url.removeprefix("http://"), timeout=10)
        connection.connect()
        opened = connection.sock
        assert [ask(scope), ask("nonsense"), ask(scope)] == [(200, True), (500, False), (200, True)]
        assert connection.sock is opened
    with closing(connection), pytest.raises(ConnectionError):
        ask(scope)


def test_reset_forgets_everything(aws: EmbeddedAWS) -> None:
    """Messages, images, notices; and the stack is there again."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    aws.client("sns").publish(TopicArn=aws.outputs["NotificationTopicArn"], Message="published")
    aws.send("sent")

    aws.reset()

    assert (aws.messages("RequestQueue"), aws.notices()) == ([], [])
    assert aws.client("ecr").describe_repositories()["repositories"] == []


def test_the_rule_sends_the_whole_event_to_the_queue(aws: EmbeddedAWS) -> None:
    """With its id, which is the key of the request; events of another kind do not come."""
    event = json.loads((EVENTS / "eventbridge.json").read_text())

    event_id = aws.put_event(event)
    aws.put_event(event | {"detail-type": "Another"})

    [body] = aws.messages("RequestQueue")
    arrived = json.loads(body)
    assert arrived["id"] == event_id
    assert {key: arrived[key] for key in ("source", "detail-type", "detail")} == {
        key: event[key] for key in ("source", "detail-type", "detail")
    }


def test_the_schedule_fills_its_context_attributes(aws: EmbeddedAWS) -> None:
    """The message is events/schedule.json, apart from the schedule's own name; it waits on the bulk queue."""
    expected = json.loads((EVENTS / "schedule.json").read_text())

    aws.run_schedule(at=datetime(2026, 11, 23, 4, tzinfo=UTC))

    [body] = aws.messages("BulkQueue")
    arrived = json.loads(body)
    names = re.compile("-[0-9A-Z]{12}")  # how CloudFormation makes them its own
    assert names.sub("", arrived.pop("requestId")) == names.sub("", expected.pop("requestId"))
    assert arrived == expected


def test_notices_are_what_subscribers_read(aws: EmbeddedAWS) -> None:
    """Text for e-mail, JSON for the others, attributes by name."""
    aws.client("sns").publish(
        TopicArn=aws.outputs["NotificationTopicArn"],
        Subject="two failed",
        Message=json.dumps({"default": json.dumps({"failed": 1}), "email": "one failed"}),
        MessageStructure="json",
        MessageAttributes={
            "type": {"DataType": "String", "StringValue": "failure"},
            "codes": {"DataType": "String.Array", "StringValue": '["ImageNotFound"]'},
        },
    )

    assert aws.notices() == [
        Notice("two failed", "one failed", {"failed": 1}, None, {"type": "failure", "codes": ["ImageNotFound"]})
    ]


@pytest.mark.parametrize(
    "notice",
    [
        {"Message": "ü" * 131_073},
        {"Message": "x" * 262_144, "MessageAttributes": {"type": {"DataType": "String", "StringValue": "failure"}}},
        {"Message": "no JSON", "MessageStructure": "json"},
        {"Message": '{"email": "no default"}', "MessageStructure": "json"},
        {"Message": "x", "Subject": "x" * 100},
        {"Message": "x", "Subject": "two\nlines"},
        {"Message": "x", "Subject": "ünïcödé"},
    ],
)
def test_sns_refuses_what_the_real_one_refuses(aws: EmbeddedAWS, notice: Json) -> None:
    """Bytes count, not characters, attributes included; and subjects are printable ASCII."""
    with pytest.raises(aws.client("sns").exceptions.InvalidParameterException):
        aws.client("sns").publish(TopicArn=aws.outputs["NotificationTopicArn"], **notice)

    assert aws.notices() == []


def test_conditional_writes_side_by_side_are_won_once(aws: EmbeddedAWS) -> None:
    """Conditions hold, which make a step happen once."""
    dynamodb, table = aws.client("dynamodb"), aws.outputs["IdempotencyTableName"]

    def win(number: int) -> bool:
        try:
            dynamodb.put_item(
                TableName=table,
                Item={"id": {"S": "claim"}, "step": {"S": "delete/0/0"}, "winner": {"N": str(number)}},
                ConditionExpression="attribute_not_exists(id)",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(win, range(100))) == 1


def test_the_function_sees_its_own_environment_only(aws: EmbeddedAWS) -> None:
    """Nothing of a person's account, endpoints or proxy; each load is a new instance; the process stays as it is."""
    processors = os.sched_getaffinity(0)
    person = {"AWS_PROFILE": "production", "AWS_ENDPOINT_URL_ECR": "https://ecr.example", "HTTPS_PROXY": "http://proxy"}
    with mock.patch.dict(os.environ, person):
        first, second = load_function(aws.environment), load_function(aws.environment)

        assert not set(person) & set(os.environ)
        assert os.environ["NOTIFICATION_TOPIC_ARN"] == aws.outputs["NotificationTopicArn"]
        assert first is not second
    assert os.sched_getaffinity(0) == processors


def test_the_context_counts_down() -> None:
    """In milliseconds, to 0."""
    assert 29_000 < FakeLambdaContext(timeout=30).get_remaining_time_in_millis() <= 30_000
    assert FakeLambdaContext(timeout=0).get_remaining_time_in_millis() == 0
    assert FakeLambdaContext().aws_request_id != FakeLambdaContext().aws_request_id


def test_a_one_off_schedule_is_sent_when_it_is_due(aws: EmbeddedAWS) -> None:
    """Once, and not before; those that recur are left to the tests."""
    aws.client("scheduler").create_schedule_group(Name="group")
    aws.client("scheduler").create_schedule(
        Name="once",
        GroupName="group",
        ScheduleExpression="at(2026-11-26T04:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": aws.outputs["RequestQueueArn"], "RoleArn": "arn:aws:iam::1:role/a", "Input": "request"},
    )
    due = datetime(2026, 11, 26, 4, tzinfo=UTC)
    assert send_due(aws, due - timedelta(seconds=1)) == 0
    assert [send_due(aws, due) for _ in range(2)] == [1, 0]
    assert aws.messages("RequestQueue") == ["request"]


def test_dead_letters_are_sent_back(aws: EmbeddedAWS) -> None:
    """All of them, by the call that the guide shows, and each with a new messageId."""
    sqs = aws.client("sqs")
    letters = {
        sqs.send_message(QueueUrl=aws.outputs["DeadLetterQueueUrl"], MessageBody=body)["MessageId"] for body in "ab"
    }
    source = aws.outputs["DeadLetterQueueArn"]
    handle = sqs.start_message_move_task(SourceArn=source, DestinationArn=aws.outputs["RequestQueueArn"])["TaskHandle"]
    [task] = sqs.list_message_move_tasks(SourceArn=source)["Results"]
    assert (task["TaskHandle"], task["Status"], task["ApproximateNumberOfMessagesMoved"]) == (handle, "COMPLETED", 2)
    assert aws.messages("DeadLetterQueue") == []
    received = sqs.receive_message(QueueUrl=aws.outputs["RequestQueueUrl"], MaxNumberOfMessages=10)["Messages"]
    assert sorted(message["Body"] for message in received) == ["a", "b"]
    assert not letters & {message["MessageId"] for message in received}


def test_parameters_are_shown_as_they_were_given(deploy: Callable[[Mapping[str, str]], EmbeddedAWS]) -> None:
    """A list too, as CloudFormation shows it."""
    aws = deploy({"RepositoryPattern": "team/*", "ProtectInUse": "ecs,lambda"})
    [stack] = aws.client("cloudformation").describe_stacks(StackName=aws.stack_name)["Stacks"]
    shown = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack["Parameters"]}
    assert (shown["ProtectInUse"], shown["RepositoryPattern"], shown["DryRun"]) == ("ecs,lambda", "team/*", "false")
