"""The embedded AWS deploys the template, and its poller does what Lambda's event source mapping does."""

import io
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from local import serve
from local.aws import EmbeddedAWS, Notice
from local.demo import PARAMETERS, Demo
from local.poller import FakeLambdaContext, Poller, failed_ids, load_function
from local.template import LEFT_OUT, cloudformation
from local.terminal import Terminal

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"


class Recorder:
    """Stands in for the function: keeps what it was invoked with, and answers or raises what it was told."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.failing: set[str] = set()

    def __call__(self, event: Json, context: FakeLambdaContext) -> Any:
        assert context.get_remaining_time_in_millis() > 0
        self.events.append(event)
        if "raise" in self.failing:
            raise ValueError("told to")
        failures = [record for record in event["Records"] if record["body"] in self.failing]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failures]}

    @property
    def bodies(self) -> list[str]:
        return [record["body"] for event in self.events for record in event["Records"]]


@pytest.fixture
def recorder() -> Recorder:
    """A function that succeeds until it is told otherwise."""
    return Recorder()


@pytest.fixture
def poller(aws: EmbeddedAWS, recorder: Recorder) -> Poller:
    """In place of the real function's."""
    return Poller(aws, recorder)


def send(aws: EmbeddedAWS, *bodies: str) -> None:
    """Puts messages on the request queue."""
    for body in bodies:
        aws.client("sqs").send_message(QueueUrl=aws.outputs["RequestQueueUrl"], MessageBody=body)


def test_all_that_the_template_declares_is_deployed_or_left_out_for_a_reason(aws: EmbeddedAWS) -> None:
    """No resource is missing but those of a type in LEFT_OUT; of the optional ones, only the schedule is there."""
    declared = cloudformation()["Resources"]

    assert set(aws.resources) == {
        name
        for name, resource in declared.items()
        if resource["Type"] not in LEFT_OUT and resource.get("Condition") in (None, "HasSchedule")
    }
    assert set(LEFT_OUT) <= {resource["Type"] for resource in declared.values()}


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
    assert aws.environment["AWS_ENDPOINT_URL"] == aws.endpoint_url
    assert aws.function.timeout == declared["Timeout"] == FakeLambdaContext().timeout
    assert aws.function.memory == declared["MemorySize"]


def test_parameters_reach_the_stack() -> None:
    """Without an expression there is no schedule."""
    with EmbeddedAWS({"ScheduleExpression": "", "MaxConcurrentCalls": "3"}) as aws:
        assert "RequestSchedule" not in aws.resources
        assert aws.environment["MAX_CONCURRENT_CALLS"] == "3"


def test_reset_forgets_everything(aws: EmbeddedAWS) -> None:
    """Messages, images, notices; and the stack is there again."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    aws.client("sns").publish(TopicArn=aws.outputs["NotificationTopicArn"], Message="told")
    send(aws, "sent")

    aws.reset()

    assert (aws.messages("RequestQueue"), aws.notices()) == ([], [])
    assert aws.client("ecr").describe_repositories()["repositories"] == []


def test_the_rule_sends_the_whole_event_to_the_queue(aws: EmbeddedAWS) -> None:
    """With its id, which is the key of the request; events of another kind do not come."""
    event = json.loads((EVENTS / "eventbridge.json").read_text())
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}

    [sent, _] = aws.client("events").put_events(Entries=[entry, entry | {"DetailType": "Another"}])["Entries"]

    [body] = aws.messages("RequestQueue")
    arrived = json.loads(body)
    assert arrived["id"] == sent["EventId"]
    assert {key: arrived[key] for key in ("source", "detail-type", "detail")} == {
        key: event[key] for key in ("source", "detail-type", "detail")
    }


def test_the_schedule_fills_its_context_attributes(aws: EmbeddedAWS) -> None:
    """What arrives is events/schedule.json, apart from the schedule's own name."""
    expected = json.loads((EVENTS / "schedule.json").read_text())

    aws.run_schedule(at=datetime(2026, 11, 23, 4, tzinfo=UTC))

    [body] = aws.messages("RequestQueue")
    arrived = json.loads(body)
    schedule_arn = aws.client("scheduler").get_schedule(Name=aws.resources["RequestSchedule"])["Arn"]
    assert arrived["requestId"] == f"{schedule_arn}/2026-11-23T04:00:00Z"
    assert arrived | {"requestId": ""} == expected | {"requestId": ""}
    assert expected["requestId"].startswith(schedule_arn.rpartition("-")[0])


def test_a_message_may_have_a_mebibyte(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """It reaches the function as it was sent."""
    body = "x" * 1_048_576
    send(aws, body)

    poller.drain()

    assert recorder.bodies == [body]
    with pytest.raises(ClientError):
        send(aws, body + "x")


def test_the_function_gets_the_event_that_lambda_makes(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """With the keys of events/sqs-batch.json, and every attribute as text."""
    example = json.loads((EVENTS / "sqs-batch.json").read_text())["Records"][0]
    aws.client("sqs").send_message(
        QueueUrl=aws.outputs["RequestQueueUrl"],
        MessageBody="{}",
        MessageAttributes={"trace": {"DataType": "String", "StringValue": "abc"}},
    )

    poller.poll()

    [record] = recorder.events[0]["Records"]
    assert set(record) == set(example)
    assert set(record["attributes"]) == set(example["attributes"])
    assert all(isinstance(value, str) for value in record["attributes"].values())
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["trace"]["stringValue"] == "abc"
    assert record["eventSourceARN"].endswith(aws.resources["RequestQueue"].rpartition("/")[2])


def test_messages_come_ten_at_a_time_and_go_when_they_succeed(
    aws: EmbeddedAWS, poller: Poller, recorder: Recorder
) -> None:
    """25 messages are three batches, and none is left."""
    bodies = [str(number) for number in range(25)]
    send(aws, *bodies)

    polls = poller.drain()

    assert [len(event["Records"]) for event in recorder.events] == [10, 10, 5]
    assert sorted(recorder.bodies) == sorted(bodies)
    assert sum(len(poll.succeeded) for poll in polls) == 25
    assert aws.messages("RequestQueue") == []


def test_what_failed_stays_and_is_received_again(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """Not before its visibility time-out is over; the others of its batch are gone."""
    recorder.failing = {"bad"}
    send(aws, "good", "bad")

    first = poller.poll()

    assert first is not None
    assert (len(first.succeeded), len(first.failed)) == (1, 1)
    assert aws.messages("RequestQueue") == ["bad"]
    assert poller.poll() is None
    recorder.failing.clear()
    assert poller.redeliver() == 1
    second = poller.poll()
    assert second is not None
    assert second.event["Records"][0]["attributes"]["ApproximateReceiveCount"] == "2"
    assert second.succeeded == first.failed
    assert aws.messages("RequestQueue") == []


def test_what_fails_for_good_is_a_dead_letter_with_its_body_intact(
    aws: EmbeddedAWS, poller: Poller, recorder: Recorder
) -> None:
    """After as many receives as the template says, and not one more."""
    body = '{"half": "a surrogate \\ud800", "and": "ünïcödé"'
    recorder.failing = {body}
    send(aws, body, "good")

    poller.drain()

    assert recorder.bodies.count(body) == 5
    assert recorder.bodies.count("good") == 1
    assert aws.messages("RequestQueue") == []
    assert aws.messages("DeadLetterQueue") == [body]


def test_a_function_that_raises_fails_its_whole_batch(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """And the poller tells with what."""
    recorder.failing = {"raise"}
    send(aws, "1", "2")

    poll = poller.poll()

    assert poll is not None
    assert isinstance(poll.error, ValueError)
    assert (len(poll.failed), poll.succeeded) == (2, ())
    assert sorted(aws.messages("RequestQueue")) == ["1", "2"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, ()),
        ({}, ()),
        ({"batchItemFailures": []}, ()),
        ({"batchItemFailures": None}, ()),
        ({"batchItemFailures": [{"itemIdentifier": "2"}]}, ("2",)),
        ({"batchItemFailures": [{"itemIdentifier": "3"}]}, ("1", "2")),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, ("1", "2")),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, ("1", "2")),
        ({"batchItemFailures": [{"messageId": "2"}]}, ("1", "2")),
        ({"batchItemFailures": ["2"]}, ("1", "2")),
        ({"failures": []}, ("1", "2")),
        ("done", ("1", "2")),
    ],
)
def test_an_answer_that_is_malformed_fails_the_whole_batch(answer: Any, failed: tuple[str, ...]) -> None:
    """An empty one fails none."""
    assert failed_ids(answer, ["1", "2"]) == failed


def test_a_duplicate_is_the_same_messages_once_more(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """With their ids, although they were deleted; the receipt and the count differ."""
    send(aws, "1")
    poll = poller.poll()
    assert poll is not None

    poller.duplicate(poll)

    first, second = (event["Records"][0] for event in recorder.events)
    assert (first["messageId"], first["body"]) == (second["messageId"], second["body"])
    assert first["receiptHandle"] != second["receiptHandle"]
    assert second["attributes"]["ApproximateReceiveCount"] == "2"
    assert aws.messages("RequestQueue") == []


def test_draining_is_bounded(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """A queue that does not get empty is told, rather than polled for ever."""
    recorder.failing = {"raise"}
    send(aws, "1")

    with pytest.raises(RuntimeError, match="not empty after 2 batches"):
        poller.drain(limit=2)


def test_notices_are_what_subscribers_read(aws: EmbeddedAWS) -> None:
    """Text for e-mail, JSON for the others, attributes by name."""
    aws.client("sns").publish(
        TopicArn=aws.outputs["NotificationTopicArn"],
        Subject="told",
        Message=json.dumps({"default": json.dumps({"failed": 1}), "email": "one failed"}),
        MessageStructure="json",
        MessageAttributes={
            "type": {"DataType": "String", "StringValue": "failure"},
            "codes": {"DataType": "String.Array", "StringValue": '["ImageNotFound"]'},
        },
    )

    assert aws.notices() == [
        Notice("told", "one failed", {"failed": 1}, {"type": "failure", "codes": ["ImageNotFound"]})
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
    """What makes a step happen once holds here too."""
    dynamodb, table = aws.client("dynamodb"), aws.outputs["IdempotencyTableName"]

    def win(number: int) -> bool:
        try:
            dynamodb.put_item(
                TableName=table,
                Item={"id": {"S": "step"}, "winner": {"N": str(number)}},
                ConditionExpression="attribute_not_exists(id)",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(win, range(100))) == 1


def test_messages_sent_while_others_are_deleted_do_not_get_lost(
    aws: EmbeddedAWS, poller: Poller, recorder: Recorder
) -> None:
    """Producers do not wait for the poller."""
    bodies = [str(number) for number in range(60)]

    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(send, aws, body) for body in bodies]
        while not all(future.done() for future in sending):
            poller.poll()
    poller.drain()

    assert sorted(recorder.bodies) == sorted(bodies)


def test_the_function_sees_its_own_environment_only(aws: EmbeddedAWS) -> None:
    """Nothing of a person's account, endpoints or proxy; each load is a new copy."""
    person = {"AWS_PROFILE": "production", "AWS_ENDPOINT_URL_ECR": "https://ecr.example", "HTTPS_PROXY": "http://proxy"}
    with mock.patch.dict(os.environ, person):
        first, second = load_function(aws.environment), load_function(aws.environment)

        assert not set(person) & set(os.environ)
        assert os.environ["NOTIFICATION_TOPIC_ARN"] == aws.outputs["NotificationTopicArn"]
        assert first is not second


def test_the_context_counts_down() -> None:
    """In milliseconds, to 0."""
    assert 29_000 < FakeLambdaContext(timeout=30).get_remaining_time_in_millis() <= 30_000
    assert FakeLambdaContext(timeout=0).get_remaining_time_in_millis() == 0
    assert FakeLambdaContext().aws_request_id != FakeLambdaContext().aws_request_id


def test_the_demo_comes_out_as_it_claims(aws: EmbeddedAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real function; and it fits a terminal of 100 columns, without colour where none is wanted."""
    output = io.StringIO()

    with monkeypatch.context() as context:
        context.setattr(os, "environ", os.environ.copy())
        function = load_function(aws.environment | {"PROTECTED_TAGS": PARAMETERS["ProtectedTags"]})
        assert Demo(aws, function, Terminal(output)).run()

    assert "ImageNotFound" in output.getvalue()
    assert "\033" not in output.getvalue()
    assert max(map(len, output.getvalue().splitlines())) <= 100


def test_serve_tells_what_happens(
    aws: EmbeddedAWS, poller: Poller, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done, what failed, and what became a dead letter, without waiting for the queue's time-out."""
    monkeypatch.setattr(serve, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serve, "REDELIVERY_SECONDS", 0.01)
    recorder.failing = {"bad"}
    send(aws, "good", "bad")
    output, stop = io.StringIO(), threading.Event()
    serving = threading.Thread(target=serve.Serve(aws, poller, Terminal(output)).run, args=[stop])

    serving.start()
    deadline = time.monotonic() + 30
    while "dead letter: bad" not in output.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    serving.join()

    assert output.getvalue().count(" is done") == 1
    assert [f"receive {count}" in output.getvalue() for count in range(1, 7)] == [*[True] * 5, False]
    assert aws.messages("DeadLetterQueue") == ["bad"]


def test_serve_leads_containers_here(aws: EmbeddedAWS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file for `sam local invoke --env-vars` has the variables of the template, and this server as their AWS."""
    monkeypatch.setattr(serve, "ENVIRONMENT", tmp_path / "env.json")
    declared = cloudformation()["Resources"]["DeletionFunction"]["Properties"]["Environment"]["Variables"]

    serve.write_environment(aws)

    [(name, variables)] = json.loads((tmp_path / "env.json").read_text()).items()
    assert name == "DeletionFunction"
    assert set(variables) == set(declared)
    assert variables["IDEMPOTENCY_TABLE"] == aws.outputs["IdempotencyTableName"]
    assert variables["AWS_ENDPOINT_URL"] == f"http://host.docker.internal:{aws.port}"


def test_events_are_laid_out_for_reading() -> None:
    """Each file in events/ is JSON, indented."""
    for path in EVENTS.glob("*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", path.name
