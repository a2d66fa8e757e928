"""The bus gets an event whole; a call that succeeds is none, if the answer does not say that the event was taken."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from handler.models.errors import UnknownOutcomeError
from handler.models.outcomes import Published
from handler.notifications.event_bus import put_event
from handler.notifications.result_events import ResultEvent
from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS, answered, cut_short, refused

EVENT = ResultEvent(
    "ECR Image Deletion Completed", '{"data": {"reason": "Aufr\\u00e4umen"}}', ("arn:aws:ecr:1", "arn:2")
)


def put(clients: Clients, event: ResultEvent = EVENT) -> Published:
    """Puts an event on the bus of results."""
    return put_event(clients.services().events, "results", "my-stack", event)


def test_an_event_is_put_whole(clients: Clients, aws: ScriptedAWS) -> None:
    """In one call, on the bus that is named, from the stack; the step stores the id that EventBridge gave it."""
    assert put(clients) == Published("event 1")
    put(clients, EVENT._replace(resources=()))
    entry = {
        "EventBusName": "results",
        "Source": "my-stack",
        "DetailType": "ECR Image Deletion Completed",
        "Detail": '{"data": {"reason": "Aufr\\u00e4umen"}}',
        "Resources": ["arn:aws:ecr:1", "arn:2"],
    }
    assert aws.asked("PutEvents") == [{"Entries": [entry]}, {"Entries": [entry | {"Resources": []}]}]
    assert aws.events[0]["Detail"] == {"data": {"reason": "Aufräumen"}}


THROTTLED = {"ErrorCode": "ThrottlingException", "ErrorMessage": "Later"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"FailedEntryCount": 1, "Entries": [THROTTLED]}, "ThrottlingException: Later"),
        ({"Entries": [{"ErrorCode": "InternalFailure"}]}, "InternalFailure: its answer did not arrive whole"),
        ({"FailedEntryCount": 0, "Entries": [{}]}, "no EventId: its answer did not arrive whole"),
        ({"FailedEntryCount": 0, "Entries": []}, "no EventId: its answer did not arrive whole"),
        ({"FailedEntryCount": 0}, "no EventId: its answer did not arrive whole"),
        ({}, "no EventId: its answer did not arrive whole"),
    ],
)
def test_an_event_that_was_not_taken_is_no_success(clients: Clients, aws: ScriptedAWS, answer: Any, why: str) -> None:
    """A failed entry, half an answer or an empty one: it may be on the bus, and is put there again."""
    aws.plays["PutEvents"] = [answered(answer)]
    with pytest.raises(UnknownOutcomeError) as error:
        put(clients)
    assert str(error.value) == f"EventBridge did not take the result event for the bus results: {why}"
    assert put(clients) == Published("event 1")


def test_half_an_answer_is_no_success(clients: Clients, aws: ScriptedAWS) -> None:
    """It was cut off on the way."""
    aws.plays["PutEvents"] = [cut_short]
    with pytest.raises(UnknownOutcomeError, match="for the bus results: no EventId: its answer did not arrive whole"):
        put(clients)


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize(("code", "status"), [("AccessDeniedException", 400), ("InternalException", 500)])
def test_a_call_that_fails_says_so(clients: Clients, aws: ScriptedAWS, code: str, status: int) -> None:
    """As botocore says it."""
    aws.plays["PutEvents"] = [refused(code, status)] * 20
    with pytest.raises(ClientError, match=f"{code}.* PutEvents operation"):
        put(clients)
