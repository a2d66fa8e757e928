"""The poller does what Lambda's event source mapping does."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws import EmbeddedAWS
from local.poller import Poller, failed_ids
from tests.harness.recorder import Recorder

type Json = dict[str, Any]

EVENTS = Path(__file__).resolve().parents[2] / "events"


def test_a_message_may_have_a_mebibyte(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """It reaches the function as it was sent."""
    body = "x" * 1_048_576
    aws.send(body)

    poller.drain()

    assert recorder.bodies == [body]
    with pytest.raises(ClientError):
        aws.send(body + "x")


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
    aws.send(*bodies)

    polls = poller.drain()

    assert [len(event["Records"]) for event in recorder.events] == [10, 10, 5]
    assert sorted(recorder.bodies) == sorted(bodies)
    assert sum(len(poll.succeeded) for poll in polls) == 25
    assert aws.messages("RequestQueue") == []


def test_what_failed_stays_and_is_received_again(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """Not before its visibility time-out is over; the others of its batch are gone."""
    recorder.failing = {"bad"}
    aws.send("good", "bad")

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
    aws.send(body, "good")

    poller.drain()

    assert recorder.bodies.count(body) == 5
    assert recorder.bodies.count("good") == 1
    assert aws.messages("RequestQueue") == []
    assert aws.messages("DeadLetterQueue") == [body]


def test_a_function_that_raises_fails_its_whole_batch(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """And the poller reports with what."""
    recorder.error = ValueError("as the test says")
    aws.send("1", "2")

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
    aws.send("1")
    poll = poller.poll()
    assert poll is not None

    poller.duplicate(poll)

    first, second = (event["Records"][0] for event in recorder.events)
    assert (first["messageId"], first["body"]) == (second["messageId"], second["body"])
    assert first["receiptHandle"] != second["receiptHandle"]
    assert second["attributes"]["ApproximateReceiveCount"] == "2"
    assert aws.messages("RequestQueue") == []


def test_draining_is_bounded(aws: EmbeddedAWS, poller: Poller, recorder: Recorder) -> None:
    """A queue that does not get empty is an error, rather than polled for ever."""
    recorder.failing = {"1"}
    aws.send("1")

    with pytest.raises(RuntimeError, match="not empty after 2 batches"):
        poller.drain(limit=2)


def test_messages_sent_while_others_are_deleted_do_not_get_lost(
    aws: EmbeddedAWS, poller: Poller, recorder: Recorder
) -> None:
    """Producers do not wait for the poller."""
    bodies = [str(number) for number in range(60)]

    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(aws.send, body) for body in bodies]
        while not all(future.done() for future in sending):
            poller.poll()
    poller.drain()

    assert sorted(recorder.bodies) == sorted(bodies)
