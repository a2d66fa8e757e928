"""Result events: what a rule on the bus receives, when, and that a stack never takes its own results for requests."""

import json
from pathlib import Path

import jsonschema
import pytest

from local.poller import Handler
from tests.harness.outside import ANY_SHARE, PREVIEWS, VISIBILITY_SECONDS, Json, Outside, ask, by_tag, codes, select
from tests.harness.server_faults import Action, drop_after, drop_before, drop_while, edit_answer, unavailable

SCHEMAS = Path(__file__).parents[2] / "events" / "schemas"
ALL = {"RESULT_EVENTS": "all"}
COMPLETED, REJECTED, SUMMARIZED = (f"ECR Image Deletion {word}" for word in ("Completed", "Rejected", "Summarized"))


@pytest.fixture
def stack(stack: Outside) -> Outside:
    """A stack whose result events are received."""
    stack.listen()
    return stack


def check(event: Json) -> Json:
    """Checks an event against its schema, of which no member may be missing; returns what it says."""
    name = event["detail-type"].rpartition(" ")[2].lower()
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(event["detail"], schema)
    data: Json = event["detail"]["data"]
    assert data.keys() <= schema["properties"]["data"]["properties"].keys()
    return data


def received(stack: Outside) -> list[tuple[str, Json]]:
    """Returns the kind of each event that was received, and what it says."""
    return [(event["detail-type"], check(event)) for event in stack.results()]


def test_a_system_hears_who_asked_what_went_and_what_did_not(stack: Outside) -> None:
    """The images themselves too, which a notice only counts: an audit must name them."""
    gone = stack.push("v1")
    message_id = stack.send("imageTag=v1", "imageTag=v2", requestId="close-1", reason="closed")

    stack.drain(stack.start(**ALL))

    [event] = stack.results()
    data = check(event)
    assert (event["detail-type"], event["source"]) == (COMPLETED, stack.aws.stack_name)
    assert event["resources"] == ["arn:aws:ecr:us-east-1:123456789012:repository/team/app"]
    assert event["detail"]["metadata"]["version"] == "1"
    assert (data["requestId"], data["reason"], data["origin"]["id"]) == ("close-1", "closed", message_id)
    assert data["origin"]["sender"]
    assert data["imageIds"] == [{"imageDigest": gone, "imageTag": "v1"}]
    assert codes(data) == ["ImageNotFound"]
    [notice] = stack.notices()
    assert notice.data.items() <= data.items()


def test_a_rejection_is_an_event_too(stack: Outside) -> None:
    """Under the messageId, by which its sender finds it."""
    message_id = stack.send_text("no JSON")
    stack.drain(stack.start(**ALL))
    [(kind, data)] = received(stack)
    assert (kind, data["type"], data["origin"]["id"]) == (REJECTED, "rejection", message_id)
    assert data["error"].startswith("the message body is not JSON")
    assert len(stack.dead_letters()) == 1


def test_of_a_fan_out_each_part_is_an_event_and_the_summary_another(stack: Outside) -> None:
    """Notices are for people, who get one; systems get all."""
    stack.create("team/web")
    for name in ("team/app", "team/web"):
        stack.push("pr-1", repository=name)
    function = stack.start(**ALL, **ANY_SHARE)
    stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId="nightly", notify="summary")
    for _ in range(2):
        stack.drain(function)
        stack.let_time_pass(900)

    events = received(stack)
    assert sorted(kind for kind, _ in events) == [COMPLETED, COMPLETED, SUMMARIZED]
    assert {data.get("partOf") for kind, data in events if kind == COMPLETED} == {"nightly"}
    assert events[-1][1]["repositories"] == 2
    assert len(stack.notices()) == 1


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [("none", []), ("failures", ["failure", "rejection"]), ("all", ["report", "failure", "dryRun", "rejection"])],
)
def test_a_stack_chooses_which_results_become_events(stack: Outside, wanted: str, kinds: list[str]) -> None:
    """And what it does not choose costs no call."""
    stack.push("v1")
    function = stack.start(RESULT_EVENTS=wanted)
    ask(function, "imageTag=v1")
    ask(function, "imageTag=v2")
    ask(function, "imageTag=v2", dryRun=True)
    stack.send_text("{")
    stack.drain(function)

    assert [data["type"] for _, data in received(stack)] == kinds
    assert stack.faults.count("PutEvents") == len(kinds)


def test_another_bus_can_take_them(stack: Outside) -> None:
    """The one that is named, and no other."""
    stack.aws.client("events").create_event_bus(Name="results")
    ask(stack.start(**ALL, RESULT_EVENT_BUS_NAME="results"), "imageTag=v2")
    assert stack.results() == []
    assert stack.faults.count("PutEvents") == 1


CONTENTS: dict[str, Json] = {
    "untag": {"imageIds": ["imageTag=v1", "imageTag=x"], "untag": True},
    "cascade": {"imageIds": ["imageTag=index"], "cascade": True},
    "without cascade": {"imageIds": ["imageTag=index"], "cascade": False},
    "selection": {"selection": PREVIEWS},
    "dry run": {"selection": PREVIEWS, "dryRun": True},
    "archive": {"imageIds": ["imageTag=index", "imageTag=x"], "action": "archive"},
    "archive selected": {"selection": PREVIEWS, "action": "archive"},
    "restore": {"imageIds": ["imageTag=v1"], "action": "restore"},
    "untag selected": {"selection": PREVIEWS, "untag": True},
    "in a grace period": {"selection": PREVIEWS, "requestId": "grace"},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_every_kind_of_result_is_as_its_schema_says(stack: Outside, content: Json) -> None:
    """Nothing of it is undocumented."""
    stack.push("v1", "v2")
    stack.push_index([stack.push(), stack.push("kept")], "index")
    stack.push("pr-1", "pr-2")
    grace = {"GRACE_PERIOD_DAYS": "30"} if content.get("requestId") == "grace" else {}
    answer = ask(stack.start(**ALL, **ANY_SHARE, **grace, ALLOW_ARCHIVE="true"), **content)
    [(kind, data)] = received(stack)
    assert kind == COMPLETED
    assert answer.keys() <= data.keys()
    assert [data[key] for key in ("failures", "requestId")] == [answer[key] for key in ("failures", "requestId")]


def test_one_that_is_too_large_says_what_is_missing(stack: Outside) -> None:
    """SNS and Step Functions take 256 KiB of an event with all that is around it."""
    stack.send(*by_tag([f"{n:0100}" for n in range(4_000)]))
    stack.drain(stack.start(**ALL, MAX_IMAGES_PER_REQUEST="100000"))
    [event] = stack.results()
    data = check(event)
    assert 240_000 < len(json.dumps(event)) <= 262_144
    assert len(data["failures"]) + data["failuresOmitted"] == data["failed"] == 4_000


def test_a_duplicate_sends_nothing(stack: Outside) -> None:
    """Neither another delivery nor another message under the same requestId."""
    function = stack.start(**ALL)
    stack.send("imageTag=v2", requestId="r-1")
    poll = stack.receive(function)
    stack.duplicate(poll)
    stack.send("imageTag=v2", requestId="r-1")
    stack.drain(function)
    assert len(stack.results()) == 1
    assert stack.metric("Requests") == 1


FAULTS: dict[str, Action] = {
    "refused": unavailable,
    "cut before": drop_before,
    "cut after": drop_after,
    "not taken": edit_answer(
        lambda _: {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "Later"}]}
    ),
    "half an answer": edit_answer(lambda _: {}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_bus_does_not_take_is_sent_again(stack: Outside, fault: str) -> None:
    """A failed entry is no success, although the call was one; images and notice are not touched again."""
    stack.push("v1")
    function = stack.start(**ALL)
    rule = stack.faults.add("PutEvents", FAULTS[fault])
    stack.send("imageTag=v1", "imageTag=v2")
    assert stack.receive(function).failed
    rule.lift()
    before = stack.results()
    stack.push("v1")
    stack.drain(function)

    events = stack.results()
    assert len(events) == len(before) + 1
    assert len({event["detail"]["metadata"]["idempotencyKey"] for event in events}) == 1
    assert stack.tags() == {"v1"}
    assert (len(stack.notices()), stack.metric("Requests"), stack.metric("ImagesDeleted")) == (1, 1, 1)


@pytest.mark.parametrize("operation", ["Publish", "PutEvents"])
@pytest.mark.parametrize("done", [False, True])
def test_a_function_that_dies_on_the_way_is_not_silent(stack: Outside, operation: str, done: bool) -> None:  # noqa: FBT001
    """In the notice, which comes before the event, or in the event; what was told is not told again unless in doubt."""
    stack.push("v1")
    stack.send("imageTag=v1", "imageTag=v2")
    instance = stack.start_process(**ALL)
    stack.faults.add(operation, drop_while(instance.kill, done=done), nth=1)
    assert stack.receive(instance).failed
    stack.let_time_pass(VISIBILITY_SECONDS)
    stack.drain(stack.start(**ALL))

    assert len(stack.notices()) == (2 if operation == "Publish" and done else 1)
    assert len(stack.results()) == (2 if operation == "PutEvents" and done else 1)
    assert stack.tags() == set()


def test_a_bus_that_never_takes_them_makes_a_dead_letter(stack: Outside) -> None:
    """Nobody would hear of it otherwise; sent back, it goes on with the event alone."""
    stack.push("v1")
    rule = stack.faults.add("PutEvents", unavailable)
    stack.send("imageTag=v1", requestId="r-1")
    function = stack.start(**ALL)
    stack.drain(function)
    assert (len(stack.dead_letters()), stack.tags()) == (1, set())
    rule.lift()
    stack.redrive()
    stack.drain(function)
    assert len(stack.results()) == 1
    assert stack.dead_letters() == []


@pytest.mark.parametrize("kind", [COMPLETED, REJECTED, SUMMARIZED])
def test_a_result_that_arrives_as_a_request_ends_there(stack: Outside, kind: str) -> None:
    """A rule of somebody's that sends all events of the stack to its queue: a rejection is told, and makes no event."""
    function = stack.start(**ALL)
    event = {"detail-type": kind, "source": "x", "id": "e-1", "detail": {"metadata": {}, "data": {}}}
    stack.send_body(event)
    stack.drain(function)
    [notice] = stack.notices()
    assert "must leave out the detail types" in notice.data["error"]
    assert stack.results() == []
    assert len(stack.dead_letters()) == 1


def selected(function: Handler) -> Json:
    """Asks for the previews by hand."""
    return select(function, PREVIEWS)


def test_no_rule_of_the_stack_takes_its_results_for_requests(stack: Outside) -> None:
    """Its rule is on the same bus; moto's own matching of patterns is the judge."""
    assert stack.aws.parameters["EventBusName"] == "default"
    stack.push("pr-1")
    function = stack.start(**ALL, **ANY_SHARE)
    selected(function)
    ask(function, "imageTag=gone")
    stack.send_text("{")
    stack.drain(function)
    assert len(stack.results()) == 3
    assert stack.waiting() == []
