"""Requests that a request leads to: under which key they go on the queue, and how many to a call."""

import json
from typing import Any

import pytest

from handler import queue
from handler.models import DeletionRequest, NotNowError, Origin

type Json = dict[str, Any]

ORIGIN = Origin("message", "m-1", "queue")


class Sqs:
    """An SQS that takes all but what it is told to refuse, and remembers what it was sent."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.calls: list[list[str]] = []

    def send_message_batch(self, **call: Any) -> Json:
        assert call["QueueUrl"] == "https://queue"
        entries = {entry["Id"]: entry["MessageBody"] for entry in call["Entries"]}
        assert 0 < len(entries) == len(call["Entries"]) <= 10
        self.calls.append(list(entries.values()))
        assert sum(map(len, self.calls[-1])) <= 262_144
        return {"Failed": [{"Id": i, "Code": "InternalError"} for i, body in entries.items() if body in self.refused]}


def send(sqs: Sqs, requests: list[Json]) -> None:
    """Puts them on the queue."""
    queue.send(sqs, "https://queue", requests)  # type: ignore[arg-type]  # what it uses of a client


def following(request_id: str = "r", suffix: str = "#", *, dry_run: bool = False, **changes: object) -> Json:
    """What follows a request for a selection."""
    payload = {"requestId": "sent", "repositoryNames": ["team/*"], "selection": {"tagStatus": "any"}, "reason": "why"}
    request = DeletionRequest(request_id, "", (), ORIGIN, "hash", dry_run=dry_run, payload=payload)
    return queue.following(request, suffix, **changes)


def test_what_follows_says_what_the_request_said() -> None:
    """All of it, but for its key and what is changed; the request itself is as it was."""
    assert following() == {
        "requestId": "r#",
        "repositoryNames": ["team/*"],
        "selection": {"tagStatus": "any"},
        "reason": "why",
    }
    derived = following(suffix="/team/app", repositoryName="team/app", repositoryNames=None)
    assert derived == {
        "requestId": "r/team/app",
        "repositoryName": "team/app",
        "selection": {"tagStatus": "any"},
        "reason": "why",
    }


def test_what_follows_a_dry_run_is_one() -> None:
    """Also where only the stack made it one."""
    assert following(dry_run=True)["dryRun"] is True
    assert "dryRun" not in following()


@pytest.mark.parametrize("length", [255, 256])
def test_a_key_that_grows_too_long_is_another_of_its_own(length: int) -> None:
    """Within the contract's 256 characters, the same each time, and different for each request and suffix."""
    keys = [following("é" * (length - 1) + end, suffix)["requestId"] for end in "ab" for suffix in ("#", "/team/app")]
    assert len(set(keys)) == 4
    assert max(map(len, keys)) <= 256
    assert keys == [following("é" * (length - 1) + e, s)["requestId"] for e in "ab" for s in ("#", "/team/app")]


def test_a_suffix_that_grows_too_long_makes_a_key_of_its_own() -> None:
    """However short the request's own key is, and for each suffix another."""
    keys = [following("r", "/" + "x" * length)["requestId"] for length in (254, 255, 256, 257)]
    assert keys[0] == "r/" + "x" * 254
    assert len(set(keys)) == 4
    assert max(map(len, keys)) <= 256


@pytest.mark.parametrize("length", [1, 199, 200, 201, 256])
def test_what_goes_on_shares_a_root(length: int) -> None:
    """However often a request goes on, what it remembers is found under the same key; another request's is not."""
    keys = ["x" * length]
    for _ in range(20):
        keys.append(following(keys[-1])["requestId"])
    assert len(set(keys)) == 21
    assert max(map(len, keys)) <= 256
    (root,) = {queue.root(key) for key in keys}
    assert root not in {queue.root("y" * length), queue.root("x" * length + "/team/app")}


def test_ten_go_to_a_call() -> None:
    """In order, each once; nothing is asked for nothing."""
    sqs, requests = Sqs(), [{"n": n} for n in range(23)]
    send(sqs, requests)
    assert [len(call) for call in sqs.calls] == [10, 10, 3]
    assert [json.loads(body) for call in sqs.calls for body in call] == requests
    nothing = Sqs()
    send(nothing, [])
    assert nothing.calls == []


def test_large_ones_go_fewer_to_a_call() -> None:
    """As many as one call takes; a very large one goes alone."""
    sqs = Sqs()
    send(sqs, [{"reason": "x" * 60_000} for _ in range(7)])
    assert [len(call) for call in sqs.calls] == [3, 3, 1]
    alone = Sqs()
    send(alone, [{"reason": "x" * 250_000} for _ in range(2)])
    assert [len(call) for call in alone.calls] == [1, 1]


@pytest.mark.parametrize("refused", [0, 12, 22])
def test_one_that_is_not_taken_is_told(refused: int) -> None:
    """SQS says so in an answer that is no error: all are sent again on the next delivery, under the same keys."""
    requests = [{"n": n} for n in range(23)]
    with pytest.raises(NotNowError, match="1 requests: InternalError"):
        send(Sqs(json.dumps(requests[refused])), requests)
