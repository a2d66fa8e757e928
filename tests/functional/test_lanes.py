"""Two lanes: what may take minutes moves to the bulk queue, and nobody who has named images waits behind it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.aws import REGION
from local.poller import Poller
from local.runtime import FakeLambdaContext
from tests.harness.outside import (
    ANY_SHARE,
    BULK_VISIBILITY_SECONDS,
    PREVIEWS,
    REPOSITORY,
    VISIBILITY_SECONDS,
    Json,
    Outside,
    ask,
    hurried,
    request,
    select,
)
from tests.harness.server_faults import SENDS, drop_after, drop_before, drop_while, nothing, throttle, unavailable

EVENTS = Path(__file__).resolve().parents[2] / "events"
RUN = f"arn:aws:scheduler:{REGION}:123456789012:schedule/team/nightly/2026-11-23T04:00:00Z"
"""The requestId that a schedule of somebody else's makes for one run."""


def forwarded(stack: Outside) -> Json:
    """Returns the only message on the bulk queue, which moved there as it was."""
    [body] = stack.waiting_in_bulk()
    message: Json = json.loads(body)
    assert message.keys() == {"followUp", "request"}
    return message


def follow_up(key: list[Any], **content: Any) -> Json:
    """Returns a message that looks like one of the stack's own."""
    origin = {"kind": "message", "id": "m-1", "source": "somewhere", "sender": None}
    envelope = {"key": key, "requestId": "nightly", "turn": 0, "taken": 0, "seal": None, "origin": origin}
    return {"followUp": envelope, "request": request(**content)}


# Who waits for whom.


def test_named_images_never_wait_behind_a_selection_of_their_batch(stack: Outside) -> None:
    """They are gone when the invocation ends; of the selections nothing was begun, and nothing asked of ECR."""
    selected = set(stack.push_many(["pr-1", "pr-2"]))
    stack.push("v1")
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, notify="always")
    stack.send("imageTag=v1")
    stack.send(selection=PREVIEWS, repositoryNames=["team/*"])
    stack.send("imageTag=v1", repositoryNames=["team/*"], dryRun=True)

    poll = stack.receive(function)

    assert (len(poll.succeeded), poll.failed) == (4, ())
    assert (stack.left(), len(stack.waiting_in_bulk()), stack.aws.messages("RequestQueue")) == (selected, 3, [])
    assert [stack.faults.count(name) for name in ("DescribeImages", "DescribeRepositories")] == [0, 0]
    assert stack.notices() == []

    stack.drain(function)
    assert (stack.left(), stack.waiting(), stack.dead_letters()) == (set(), [], [])
    assert [notice.data["deleted"] for notice in stack.notices()] == [2]


@pytest.mark.usefixtures("no_waiting")
def test_named_images_are_deleted_while_no_selection_can_be(stack: Outside) -> None:
    """ECR lists nothing for hours: selections end as dead letters, and whoever names images notices nothing of it."""
    selected = stack.push("pr-1")
    stack.faults.add("DescribeImages", throttle)
    function = stack.start(**ANY_SHARE)
    for number in range(2):
        stack.send(selection=PREVIEWS, requestId=f"night-{number}")
        stack.receive(function)
        stack.push(f"v{number}")
        stack.send(f"imageTag=v{number}")
        assert stack.receive(function).failed == ()  # the request lane comes first, as its own poller would
        assert stack.left() == {selected}
        assert stack.receive(function).failed

    polls = stack.drain(function)

    assert len(polls) == 2 * 2  # two further receives of each
    assert (stack.left(), stack.waiting(), len(stack.dead_letters())) == ({selected}, [], 2)


def test_a_selection_on_the_bulk_queue_stays_in_its_lane(stack: Outside) -> None:
    """As the stack's own schedule sends it: it is carried out where it arrives, and never sent anywhere."""
    stack.push_many(["pr-1", "pr-2"])
    stack.send_bulk(selection=PREVIEWS)
    stack.send_bulk(selection=PREVIEWS)
    function = stack.start(**ANY_SHARE)

    first = stack.receive(function)

    assert (len(first.succeeded), stack.left(), len(stack.waiting())) == (1, set(), 1)  # one at a time
    stack.drain(function)
    assert (stack.faults.count("SendMessageBatch"), stack.waiting()) == (0, [])


def test_named_images_on_the_bulk_queue_are_deleted_there(stack: Outside) -> None:
    """A dead letter of the request queue is sent back there, for everything works there."""
    stack.push("v1")
    stack.send_bulk("imageTag=v1")
    assert stack.receive(stack.start()).failed == ()
    assert (stack.left(), stack.waiting()) == (set(), [])


def test_all_that_the_stack_sends_goes_to_the_bulk_queue(stack: Outside) -> None:
    """A selection that moves, the requests of a fan-out, further turns, and the checks of a summary."""
    stack.create("team/web")
    stack.push("pr-1", repository="team/web")
    stack.push_many([f"pr-{number}" for number in range(250)])
    function = stack.start(MAX_CONCURRENT_CALLS="1", **ANY_SHARE)
    stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId="nightly", notify="summary")
    for _ in range(2):
        stack.receive(function)
    asked = stack.faults.count("BatchDeleteImage")
    stack.receive(hurried(function, lambda: 100 if stack.faults.count("BatchDeleteImage") == asked else 0))
    turns = [json.loads(body)["followUp"]["turn"] for body in stack.waiting_in_bulk()]
    assert sorted(turns) == [0, 1, 1]  # the other repository, what continues this one, and the first check
    for _ in range(3):
        stack.let_time_pass(900)
        stack.drain(function)

    assert (stack.left(), stack.left("team/web"), len(stack.notices("summary"))) == (set(), set(), 1)
    sent = stack.faults.of("SendMessageBatch")
    assert len(sent) >= 4
    assert {call.body["QueueUrl"] for call in sent} == {stack.aws.outputs["BulkQueueUrl"]}


# Once, whatever is delivered twice.


def test_delivered_twice_it_moves_once(stack: Outside) -> None:
    """The second delivery says that it was sent before; the log has both, and the metrics count one request."""
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    sent = stack.send(selection=PREVIEWS, notify="always")

    assert stack.duplicate(stack.receive(function)).failed == ()

    assert len(stack.waiting_in_bulk()) == 1
    told = [(entry["request_id"], entry["replayed"]) for entry in stack.log("request forwarded")]
    assert told == [(sent, False), (sent, True)]
    stack.drain(function)
    assert (stack.left(), len(stack.notices()), stack.metric("Requests")) == (set(), 1, 1)


@pytest.mark.parametrize(("done", "moves"), [(True, 2), (False, 1)], ids=["sent", "not sent"])
def test_an_instance_that_dies_while_it_sends_costs_nothing(stack: Outside, *, done: bool, moves: int) -> None:
    """Nobody knows whether the message was sent: sent once more, it is on the bulk queue twice and carried out once."""
    stack.push("pr-1")
    sent = stack.send(selection=PREVIEWS, notify="always")
    instance = stack.start_process(**ANY_SHARE)
    stack.faults.add("SendMessageBatch", drop_while(instance.kill, done=done), nth=1)
    assert stack.receive(instance).failed == (sent,)
    function = stack.start(**ANY_SHARE)
    stack.let_time_pass(VISIBILITY_SECONDS)
    stack.redeliver()
    assert stack.receive(function).failed == ()
    assert len(stack.waiting_in_bulk()) == moves
    stack.receive(function)
    later = stack.push("pr-2")

    stack.drain(function)

    assert (stack.left(), len(stack.notices())) == ({later}, 1)
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", [unavailable, drop_before, drop_after, nothing])
def test_a_queue_that_does_not_answer_keeps_the_message_where_it_is(stack: Outside, fault: Any) -> None:
    """It moves with a later receive; the others of its batch are done, and the request is carried out once."""
    stack.push_many(["pr-1", "v1"])
    selecting = stack.send(selection=PREVIEWS, notify="always")
    stack.send("imageTag=v1")
    stack.faults.add(SENDS, fault)
    function = stack.start(**ANY_SHARE)

    assert stack.receive(function).failed == (selecting,)

    assert stack.tags() == {"pr-1"}
    stack.faults.lift()
    stack.drain(function)
    assert (stack.left(), len(stack.notices())) == (set(), 1)
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.parametrize("by_bulk", [False, True], ids=["by the request queue", "by the bulk queue"])
def test_the_same_request_that_comes_again_is_replayed(stack: Outside, *, by_bulk: bool) -> None:
    """Under its requestId, on whichever queue: what has come to match since stays, and nothing is told again."""
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    asked: Json = {"selection": PREVIEWS, "requestId": "nightly", "notify": "always"}
    stack.send(**asked)
    stack.drain(function)
    later = stack.push("pr-2")

    (stack.send_bulk if by_bulk else stack.send)(**asked)
    stack.drain(function)

    assert (stack.left(), len(stack.notices())) == ({later}, 1)
    assert stack.waiting() == stack.dead_letters() == []


def test_by_hand_the_same_request_is_replayed_and_another_is_rejected(stack: Outside) -> None:
    """What moved has the key that its sender gave it."""
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, requestId="nightly")
    stack.drain(function)
    later = stack.push("pr-2")

    assert select(function, PREVIEWS, requestId="nightly")["deleted"] == 1
    assert stack.left() == {later}
    with pytest.raises(Exception, match="asked for something else"):
        select(function, PREVIEWS | {"keepMostRecent": 1}, requestId="nightly")
    with pytest.raises(Exception, match="asked for something else"):
        ask(function, "imageTag=pr-2", requestId="nightly")
    assert stack.left() == {later}


def test_two_requests_under_one_id_are_told_apart_in_the_bulk_lane(stack: Outside) -> None:
    """Both move; the second is rejected where they are carried out, with one notice, and is a dead letter."""
    stack.push_many(["pr-1", "old-1"])
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, requestId="nightly")
    stack.send(selection=PREVIEWS | {"tagPatternList": ["old-*"]}, requestId="nightly")

    assert stack.receive(function).failed == ()
    assert len(stack.waiting_in_bulk()) == 2
    stack.drain(function)

    assert len(stack.tags()) == 1  # they move side by side: either may come first
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)


# Whose it is.


def by_request_id(stack: Outside) -> tuple[str, Json]:
    """A message with a requestId of its sender's."""
    message_id = stack.send(selection=PREVIEWS, requestId="nightly", notify="always")
    return "nightly", {"kind": "message", "id": message_id, "source": stack.aws.outputs["RequestQueueArn"]}


def by_message(stack: Outside) -> tuple[str, Json]:
    """A message that has no requestId."""
    message_id = stack.send(selection=PREVIEWS, notify="always")
    return message_id, {"kind": "message", "id": message_id, "source": stack.aws.outputs["RequestQueueArn"]}


def by_event(stack: Outside) -> tuple[str, Json]:
    """An event that the stack's rule puts on the request queue."""
    event = json.loads((EVENTS / "eventbridge.json").read_text())
    event_id = stack.aws.put_event(event | {"detail": request(selection=PREVIEWS, notify="always")})
    return event_id, {"kind": "event", "id": event_id, "source": event["source"]}


def by_schedule(stack: Outside) -> tuple[str, Json]:
    """A run of somebody's schedule that sends to the request queue."""
    message_id = stack.send(selection=PREVIEWS, requestId=RUN, notify="always")
    return RUN, {"kind": "schedule", "id": message_id, "source": RUN.rpartition("/")[0]}


@pytest.mark.parametrize("send", [by_request_id, by_message, by_event, by_schedule])
def test_a_request_that_moves_keeps_its_key_and_its_origin(
    stack: Outside, send: Callable[[Outside], tuple[str, Json]]
) -> None:
    """Its report names the sender and the queue that it came by, and who sends it anew gets its answer."""
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    request_id, origin = send(stack)
    first = stack.receive(function)
    assert forwarded(stack)["request"].get("requestId", request_id) == request_id

    stack.drain(function)

    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["deleted"], notice.data["requestId"]) == ("report", 1, request_id)
    assert {name: notice.data["origin"][name] for name in origin} == origin
    later = stack.push("pr-2")
    assert Poller(stack.aws, function).duplicate(first).failed == ()
    stack.drain(function)
    assert (stack.left(), len(stack.notices())) == ({later}, 1)


def test_requests_of_one_sender_are_one_group(stack: Outside) -> None:
    """Whatever they ask for; so that SQS lets none of them keep the requests of another sender waiting."""
    stack.send(selection=PREVIEWS, requestId="one")
    stack.send(selection=PREVIEWS | {"tagPatternList": ["old-*"]}, requestId="two")
    event = json.loads((EVENTS / "eventbridge.json").read_text())
    stack.aws.put_event(event | {"detail": request(selection=PREVIEWS)})
    stack.receive(stack.start())

    groups: dict[str, list[str]] = {"message": [], "event": []}
    for call in stack.faults.of("SendMessageBatch"):
        for entry in call.body["Entries"]:
            kind = json.loads(entry["MessageBody"])["followUp"]["origin"]["kind"]
            groups[kind].append(entry["MessageGroupId"])
    assert [len(of) for of in groups.values()] == [2, 1]
    assert len(set(groups["message"])) == 1
    assert set(groups["message"]).isdisjoint(groups["event"])


# Limits, and what is changed meanwhile.


def test_a_rejection_by_the_plan_is_told_once_and_can_be_cured(stack: Outside) -> None:
    """Its dead letter is the message as it moved; sent back once the cause is gone, it is carried out under its key."""
    stack.push_many(["pr-1", "pr-2", "main"])
    sent = stack.send(selection=PREVIEWS, requestId="nightly", notify="always")
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="50")
    stack.receive(function)
    moved = stack.waiting_in_bulk()

    polls = stack.drain(function)

    assert len(polls) == 3  # receives on the bulk queue
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["requestId"], notice.data["origin"]["id"]) == (
        "rejection",
        "nightly",
        sent,
    )
    assert "2 of the repository's 3 images" in notice.data["error"]
    assert (stack.tags(), stack.waiting(), stack.dead_letters()) == ({"pr-1", "pr-2", "main"}, [], moved)

    stack.redrive()
    assert stack.waiting_in_bulk() == moved
    stack.drain(stack.start(**ANY_SHARE))
    assert (stack.tags(), stack.waiting(), stack.dead_letters()) == ({"main"}, [], [])
    report = stack.notices()[-1].data
    assert (len(stack.notices()), report["type"], report["requestId"]) == (2, "report", "nightly")
    assert report["origin"]["id"] == sent


def test_what_no_lane_could_read_is_rejected_where_it_arrives(stack: Outside) -> None:
    """It never moves: its sender hears of it at once, and its dead letter is as it was sent."""
    body = json.dumps(request(selection={"tagStatus": "sometimes"}))
    stack.send_text(body)

    stack.drain(stack.start())

    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
    assert (stack.faults.count("SendMessageBatch"), stack.dead_letters()) == (0, [body])


def test_the_limits_are_asked_where_it_is_carried_out(stack: Outside) -> None:
    """Of the stack as it is then: nobody is told no by the lane that only passes it on."""
    stack.push_many(["pr-1", "main"])
    stack.send(selection=PREVIEWS, allowPercent=60)
    stack.receive(stack.start(ALLOW_PERCENT_IN_REQUESTS="false"))
    assert (len(stack.waiting_in_bulk()), stack.notices()) == (1, [])

    stack.drain(stack.start(ALLOW_PERCENT_IN_REQUESTS="true"))

    assert (stack.tags(), stack.notices()) == ({"main"}, [])


def test_a_dry_run_that_is_switched_on_while_it_waits_makes_it_one(stack: Outside) -> None:
    """Nothing of it was admitted before."""
    digest = stack.push("pr-1")
    stack.send(selection=PREVIEWS, notify="always")
    stack.receive(stack.start(**ANY_SHARE))

    stack.drain(stack.start(DRY_RUN="true", **ANY_SHARE))

    assert stack.left() == {digest}
    assert [(notice.data["type"], notice.data["selected"]) for notice in stack.notices()] == [("dryRun", 1)]


def test_a_dry_run_that_is_switched_off_while_it_waits_is_none(stack: Outside) -> None:
    """That the stack was in a dry run when it moved, is nothing that its sender asked for; what he asked for stays."""
    stack.push("pr-1")
    stack.send(selection=PREVIEWS, notify="always", requestId="real")
    stack.send(selection=PREVIEWS, notify="always", requestId="dry", dryRun=True)
    stack.receive(stack.start(DRY_RUN="true", **ANY_SHARE))

    stack.drain(stack.start(DRY_RUN="false", **ANY_SHARE))

    assert stack.left() == set()
    assert {notice.data["requestId"]: notice.data["type"] for notice in stack.notices()} == {
        "real": "report",
        "dry": "dryRun",
    }


def test_one_that_was_killed_in_the_bulk_lane_goes_on_there(stack: Outside) -> None:
    """As any request does: its second receive replays what was done."""
    stack.push_many([f"pr-{number}" for number in range(150)])
    stack.send(selection=PREVIEWS, notify="always", requestId="nightly")
    stack.receive(stack.start())
    instance = stack.start_process(MAX_CONCURRENT_CALLS="1", **ANY_SHARE)
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    assert 0 < len(stack.left()) < 150
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)

    stack.drain(stack.start(**ANY_SHARE))

    [notice] = stack.notices()
    assert (stack.left(), notice.data["requestId"], notice.data["failures"]) == (set(), "nightly", [])
    assert stack.waiting() == stack.dead_letters() == []


# Envelopes that nobody but the stack may write.


@pytest.mark.parametrize(
    "content",
    [
        {"imageIds": ["imageTag=pr-1"]},
        {"selection": PREVIEWS},
        {"selection": PREVIEWS, "repositoryNames": ["team/*"]},
    ],
    ids=["named", "selected", "several"],
)
def test_a_forged_envelope_on_the_request_queue_is_rejected(stack: Outside, content: Json) -> None:
    """Nothing is done under the key that it names, which stays free; the notice says where a dead letter belongs."""
    digest = stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    forged = json.dumps(follow_up(["request", "nightly"], **content))
    stack.send_text(forged)

    stack.drain(function)

    assert stack.left() == {digest}
    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert "BulkQueueArn" in notice.data["error"]
    assert (stack.faults.count("SendMessageBatch"), stack.waiting(), stack.dead_letters()) == (0, [], [forged])
    assert select(function, PREVIEWS, requestId="nightly")["deleted"] == 1


def test_a_forged_envelope_by_hand_is_rejected(stack: Outside) -> None:
    """Whoever may invoke a function may delete images, but not in the name of another request."""
    digest = stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    for content in ({"imageIds": ["imageTag=pr-1"]}, {"selection": PREVIEWS}):
        with pytest.raises(Exception, match="BulkQueueArn"):
            function(follow_up(["request", "nightly"], **content), FakeLambdaContext())
    assert (stack.left(), stack.waiting()) == ({digest}, [])


def test_a_forged_envelope_does_not_reach_a_request_that_is_under_way(stack: Outside) -> None:
    """Its key is that of a selection that waits: this is carried out, as if nobody had sent anything."""
    stack.push("pr-1")
    kept = stack.push("v1")
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, requestId="nightly", notify="always")
    stack.send_body(follow_up(["request", "nightly"], imageIds=["imageTag=v1"]))
    stack.send_body(follow_up(["request", "nightly"], selection=PREVIEWS | {"tagPatternList": ["v*"]}))

    stack.drain(function)

    assert stack.left() == {kept}
    assert sorted(notice.data["type"] for notice in stack.notices()) == ["rejection", "rejection", "report"]


@pytest.mark.parametrize(
    ("key", "arrival"),
    [
        (["request", "nightly"], None),
        (["request", "nightly"], ["message", "m-1"]),
        (["child", ["request", "nightly"], REPOSITORY, "0" * 32], None),
        (["child"], "m-1"),
        ([], ["message"]),
    ],
)
def test_a_forged_envelope_that_is_redriven_is_rejected_too(stack: Outside, key: list[Any], arrival: Any) -> None:
    """Whoever sends dead letters back need not see that one of them was forged: the table knows of none like it."""
    digest = stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    forged = follow_up(key, selection=PREVIEWS)
    forged["followUp"]["forwarded"] = arrival
    stack.send_body(forged)
    stack.drain(function)

    stack.redrive()
    stack.drain(function)

    assert stack.left() == {digest}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection", "rejection"]
    assert "the table knows of nothing" in stack.notices()[1].data["error"]
    assert [json.loads(body) for body in stack.dead_letters()] == [forged]


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message["followUp"].update(key=["request", "another"]),
        lambda message: message["followUp"].update(requestId="another"),
        lambda message: message["followUp"].update(turn=1),
        lambda message: message["followUp"].update(taken=1),
        lambda message: message["followUp"]["origin"].update(sender="somebody else"),
        lambda message: message["request"]["selection"].update(tagPatternList=["*"]),
        lambda message: message["request"].update(repositoryName="team/web"),
    ],
)
def test_an_envelope_that_was_changed_is_rejected(stack: Outside, change: Callable[[Json], None]) -> None:
    """What the table remembers of what was forwarded, is all that it said."""
    stack.create("team/web")
    digests = {stack.push("pr-1"), stack.push("v1")}
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, requestId="nightly")
    stack.receive(function)
    [body] = stack.take("nightly")
    message = json.loads(body)
    change(message)
    stack.send_to_bulk(message)

    stack.drain(function)

    assert stack.left() == digests
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]


# By hand.


@pytest.mark.parametrize("lane", ["RequestQueue", "BulkQueue"])
def test_by_hand_either_function_carries_out_whatever_it_gets(stack: Outside, lane: str) -> None:
    """A selection, named images, several repositories: there is an answer, and only the last needs the queue."""
    stack.push_many(["pr-1", "v1"])
    function = stack.start(**ANY_SHARE)
    deployed = stack.aws.lanes[lane]

    def invoke(**content: Any) -> Json:
        context = FakeLambdaContext(
            function_name=deployed.name, invoked_function_arn=deployed.arn, timeout=deployed.timeout
        )
        answer: Json = function(request(**content), context)
        return answer

    assert invoke(selection=PREVIEWS)["deleted"] == 1
    assert stack.tags() == {"v1"}
    assert len(invoke(imageIds=["imageTag=v1"])["imageIds"]) == 1
    assert (stack.left(), stack.faults.count("SendMessageBatch")) == (set(), 0)
    assert invoke(selection=PREVIEWS, repositoryNames=["team/*"])["repositoryNames"] == [REPOSITORY]
    assert (len(stack.waiting_in_bulk()), stack.aws.messages("RequestQueue")) == (1, [])


def test_an_event_sent_straight_to_a_function_is_carried_out(stack: Outside) -> None:
    """A rule of somebody else's has the function for its target: no queue is in between, and none is used."""
    stack.push("pr-1")
    event = json.loads((EVENTS / "eventbridge.json").read_text()) | {"detail": request(selection=PREVIEWS)}
    assert stack.start(**ANY_SHARE)(event, FakeLambdaContext())["deleted"] == 1
    assert (stack.left(), stack.waiting()) == (set(), [])


def test_a_failed_invocation_that_is_sent_back_works_in_the_bulk_lane(stack: Outside) -> None:
    """Lambda's record of it is a dead letter; it keeps the key of the invocation."""
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    failed = {"requestContext": {"requestId": "invocation-1", "functionArn": stack.aws.bulk_function.arn}}
    for _ in range(2):
        stack.send_to_bulk(failed | {"requestPayload": request(selection=PREVIEWS, notify="always")})
        stack.drain(function)
    [notice] = stack.notices()
    assert (stack.left(), notice.data["requestId"]) == (set(), "invocation-1")
