"""Requests that a request leads to: their messages, the keys that nobody else can use, and how many go to a call."""

import json
import re
from typing import Any

import pytest

from handler import events, request_parser, request_queue
from handler.models.errors import OutOfTimeError, UnknownOutcomeError
from handler.models.images import Json
from handler.models.request import DeletionRequest, Selection, mark_of
from handler.step_table import partition_key
from local.runtime import FakeLambdaContext
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, sqs_record
from tests.fakes.scripted import time_for
from tests.values import payload

MANY: Json = {"repositoryNames": ["team/*"], "imageIds": ["imageTag=a"], "requestId": "cleanup-1", "reason": "why"}
SELECTION: Json = {"tagStatus": "any", "keepMostRecent": 3}
ONE: Json = {"repositoryName": "team/app", "selection": SELECTION, "requestId": "cleanup-1"}


def parsed(content: Json, **changes: Any) -> DeletionRequest:
    """Returns the request in a message, with what has become of it since."""
    return request_parser.parse_request(payload(content))._replace(**changes)


def sent(message: Json) -> DeletionRequest:
    """Returns the request in a message that this function has sent to itself, as it arrives."""
    context: Any = FakeLambdaContext()
    record = sqs_record("m-2", json.dumps(message), queue=BULK_QUEUE_ARN)
    [arrival] = events.arrivals({"Records": [record]}, context, BULK_QUEUE_URL)
    return request_parser.parse_request(arrival.read())


def test_a_child_of_a_fan_out_is_the_request_for_one_repository() -> None:
    """It says what its request said, has a name that people can read, and the origin and the key of its request."""
    request = parsed(MANY)
    child = sent(request_queue.child(request, "claim-1", "team/app"))
    expected = {key: value for key, value in MANY.items() if key not in ("repositoryNames", "requestId")}
    assert child.payload == expected | {"repositoryName": "team/app"}
    assert (child.request_id, child.origin, child.turn) == ("cleanup-1/team/app", request.origin, 0)
    assert partition_key(child.key) == partition_key(("child", request.key, "team/app", mark_of("claim-1")))
    assert request.payload == MANY


def test_a_selection_goes_on_under_its_own_key() -> None:
    """Each turn has the key of the first, the same content hash but for that, and a name that counts."""
    turn, names = parsed(ONE), []
    for number in range(1, 4):
        after = sent(request_queue.next_turn(turn, "claim-1"))
        assert (after.turn, after.selection) == (number, Selection("any", keep_most_recent=3))
        assert partition_key(after.key) == partition_key(("request", "cleanup-1"))
        assert after.origin == turn.origin
        names.append(after.request_id)
        turn = after
    assert names == ["cleanup-1#1", "cleanup-1#2", "cleanup-1#3"]


def test_a_child_can_go_on_too() -> None:
    """A selection in several repositories: each child goes on under the child's key."""
    request = parsed({"repositoryNames": ["team/*"], "selection": SELECTION, "requestId": "cleanup-1"})
    child = sent(request_queue.child(request, "claim-1", "team/app"))
    after = sent(request_queue.next_turn(child, "claim-1"))
    assert partition_key(after.key) == partition_key(child.key)
    assert after.request_id == "cleanup-1/team/app#1"


EVENT: Json = {"id": "event-1", "detail-type": "ECR Image Deletion Request", "source": "team.cleaner", "detail": ONE}


@pytest.mark.parametrize(
    "content", [ONE, MANY, {**ONE, "requestId": None}, {**ONE, "dryRun": True, "reason": "\u00fc\u2028"}, EVENT]
)
def test_a_request_moves_as_it_is(content: Json) -> None:
    """With its key, its name and its origin, and not a word of what was sent is another one."""
    content = {name: value for name, value in content.items() if value is not None}
    context: Any = FakeLambdaContext()
    [arrival] = events.arrivals({"Records": [sqs_record("m-1", json.dumps(content))]}, context, BULK_QUEUE_URL)
    request = request_parser.parse_request(arrival.read())
    moved = sent(request_queue.forwarded(request, arrival.key))
    assert moved._replace(key=()) == request._replace(key=())
    assert partition_key(moved.key) == partition_key(request.key)


def test_that_the_stack_makes_it_a_dry_run_does_not_move_with_it() -> None:
    """What the stack says then, it says where the request is carried out; only what its sender says is passed on."""
    assert not sent(request_queue.forwarded(parsed(ONE, dry_run=True), ("message", "m-1"))).dry_run
    assert sent(request_queue.forwarded(parsed({**ONE, "dryRun": True}), ("message", "m-1"))).dry_run


def test_a_message_that_sqs_would_not_take_says_how_large_it_is() -> None:
    """To the byte: the largest that it takes is none of them."""
    message = request_queue.forwarded(parsed(ONE), ("message", "m-1"))
    room = request_queue.MESSAGE_BYTES - request_queue.size(message)
    message["request"] = {**message["request"], "requestId": ONE["requestId"] + "x" * room}
    assert request_queue.over_size(message) is None
    message["request"]["requestId"] += "x"
    assert "has 1,048,577 bytes, and SQS takes 1,048,576" in str(request_queue.over_size(message))


def test_what_follows_a_dry_run_is_one() -> None:
    """Also where only the stack had made it one; a real request leads to real ones."""
    for request in (parsed(MANY, dry_run=True), parsed({**MANY, "dryRun": True})):
        assert sent(request_queue.child(request, "claim-1", "team/app")).dry_run
    assert sent(request_queue.next_turn(parsed(ONE, dry_run=True), "claim-1")).dry_run
    assert not sent(request_queue.child(parsed(MANY), "claim-1", "team/app")).dry_run
    assert not sent(request_queue.child(parsed({**MANY, "dryRun": False}), "claim-1", "team/app")).dry_run


class Sqs:
    """An SQS that takes all messages but some, and remembers what it was sent."""

    def __init__(self, *refused: str, cut_short: bool = False) -> None:
        self.refused = refused
        self.cut_short = cut_short
        self.calls: list[list[str]] = []
        self.delays: list[int] = []

    def send_message_batch(self, **call: Any) -> Json:
        assert call["QueueUrl"] == "https://queue"
        entries = {entry["Id"]: entry["MessageBody"] for entry in call["Entries"]}
        assert 0 < len(entries) == len(call["Entries"]) <= 10
        self.calls.append(list(entries.values()))
        self.delays += [entry["DelaySeconds"] for entry in call["Entries"]]
        assert sum(map(len, self.calls[-1])) <= 1_048_576
        assert {entry["MessageGroupId"] for entry in call["Entries"]} == {"group-1"}
        failed = [{"Id": i, "Code": "InternalError"} for i, body in entries.items() if body in self.refused]
        accepted = [{"Id": i} for i, body in entries.items() if body not in self.refused]
        return {} if self.cut_short else {"Successful": accepted, "Failed": failed}


def send(sqs: Sqs, messages: list[Json], calls: int = 1_000) -> None:
    """Puts messages on the queue, while there is time for so many calls."""
    request_queue.send(sqs, "https://queue", messages, time_for(calls), "group-1")  # type: ignore[arg-type]  # what it uses of a client


def test_ten_messages_go_to_a_call() -> None:
    """In order, each once; without messages there is no call."""
    sqs, messages = Sqs(), [{"n": n} for n in range(23)]
    send(sqs, messages)
    assert [len(call) for call in sqs.calls] == [10, 10, 3]
    assert [json.loads(body) for call in sqs.calls for body in call] == messages
    nothing = Sqs()
    send(nothing, [])
    assert nothing.calls == []


@pytest.mark.parametrize(("characters", "calls"), [(300_000, [3, 3, 1]), (1_000_000, [1] * 7)])
def test_large_messages_go_fewer_to_a_call(characters: int, calls: list[int]) -> None:
    """As many as one call takes; a very large one goes alone."""
    sqs = Sqs()
    send(sqs, [{"reason": "x" * characters} for _ in range(7)])
    assert [len(call) for call in sqs.calls] == calls


@pytest.mark.parametrize(
    ("sqs", "message"),
    [
        (Sqs('{"n":12}'), "SQS did not take 1 of 10 requests: InternalError"),
        (Sqs(cut_short=True), "SQS did not take 10 of 10 requests: its response did not arrive whole"),
    ],
)
def test_a_message_that_sqs_does_not_take_is_no_success(sqs: Sqs, message: str) -> None:
    """SQS says so in a response of 200, or half of it is lost: others may be on the queue, and a redelivery goes on."""
    with pytest.raises(UnknownOutcomeError) as error:
        send(sqs, [{"n": n} for n in range(23)])
    assert str(error.value) == message


def test_only_what_sqs_has_not_taken_is_sent_again() -> None:
    """What it has taken would be there twice, and be received, and perhaps rejected, twice."""
    sqs, messages = Sqs('{"n":2}', '{"n":7}'), [{"n": n} for n in range(12)]
    accept = sqs.send_message_batch

    def recover(**call: Any) -> Json:
        answer = accept(**call)
        sqs.refused = sqs.refused[1:]
        return answer

    sqs.send_message_batch = recover  # type: ignore[method-assign]
    send(sqs, messages)
    assert [[json.loads(body)["n"] for body in call] for call in sqs.calls] == [[*range(10)], [2, 7], [7], [10, 11]]
    late = Sqs('{"n":2}')
    with pytest.raises(UnknownOutcomeError):  # others are on the queue
        send(late, messages, calls=1)
    assert len(late.calls) == 1


@pytest.mark.parametrize(("calls", "error"), [(0, OutOfTimeError), (2, UnknownOutcomeError)])
def test_each_call_asks_for_the_time(calls: int, error: type[Exception]) -> None:
    """Where it is short, the calls before are made, and no other; after one, nobody can say that nothing was done."""
    sqs = Sqs()
    with pytest.raises(error):
        send(sqs, [{"n": n} for n in range(23)], calls=calls)
    assert len(sqs.calls) == calls


def test_messages_can_wait() -> None:
    """Each of them, for so many seconds; those of a fan-out and of a selection are received at once."""
    sqs, messages = Sqs(), [{"n": n} for n in range(12)]
    queue: Any = sqs
    request_queue.send(queue, "https://queue", messages, time_for(2), "group-1", delay=900)
    assert sqs.delays == [900] * 12
    assert [json.loads(body) for call in sqs.calls for body in call] == messages
    at_once = Sqs()
    send(at_once, messages)
    assert at_once.delays == [0] * 12


def test_all_that_one_request_leads_to_is_one_group() -> None:
    """Its parts, their turns and its looks; no other request's. SQS takes letters and digits, 128 of them at most."""
    root = parsed(MANY)
    child = sent(request_queue.child(root, "claim-1", "team/app"))
    turn = sent(request_queue.next_turn(child, "claim-2"))
    groups = {request_queue.group(request) for request in (root, child, turn)}
    assert len(groups) == 1
    assert re.fullmatch("[0-9a-f]{64}", groups.pop())
    others = (parsed({**MANY, "requestId": "another"}), parsed(ONE, key=("child",)), parsed(ONE, key=("child", "x")))
    assert len({request_queue.group(request) for request in (root, *others)}) == 4


def sender_group(content: Json = ONE, **origin: Any) -> str:
    """Returns the group of a request that moves, with an origin like this one."""
    request = parsed(content)
    return request_queue.sender_group(request._replace(origin=request.origin._replace(**origin)))


def test_all_requests_of_a_sender_that_move_are_one_group() -> None:
    """Whatever they are and by whichever message they come; a session of a role is no sender of its own."""
    role = "AROAEXAMPLE"
    first = sender_group(sender=f"{role}:i-1")
    assert first == sender_group(MANY, sender=f"{role}:i-2", id="another") == sender_group(sender=role)
    assert re.fullmatch("[0-9a-f]{64}", first)
    others = [sender_group(sender=sender) for sender in (None, "", "AROAOTHER:i-1", "AIDAEXAMPLE")]
    others += [sender_group(sender=f"{role}:i-1", source=source) for source in ("another queue", "team.cleaner")]
    assert first not in others
    assert len({*others}) == 5  # of whom nothing is known, there is one
