"""One summary of a request for several repositories: when it comes, what it says, and that nothing is told twice."""

import json
import threading
from importlib import import_module
from time import monotonic, sleep  # the server's own: a test replaces time.sleep for the function

import pytest

from local.poller import Handler, Poll
from tests.harness.in_use import Inventory
from tests.harness.outside import ANY_SHARE, PREVIEWS, Json, Outside, ask
from tests.harness.server_faults import (
    Action,
    Answer,
    Call,
    Perform,
    Rule,
    drop_after,
    drop_before,
    drop_while,
    throttle,
    unavailable,
)

LOOK = 900
"""The most seconds between two looks."""
NAMES = {"team/app", "team/api", "team/web"}


@pytest.fixture
def stack(stack: Outside) -> Outside:
    """A stack with three repositories of a team, each with two previews and one other image."""
    stack.create(*NAMES - {"team/app"})
    for name in NAMES:
        for tag in ("pr-1", "pr-2", "main"):
            stack.push(tag, repository=name, content=f"{name} {tag}")
    return stack


def start(stack: Outside, **variables: str) -> Handler:
    """Starts an instance that lets a selection take any share."""
    return stack.start(**ANY_SHARE, **variables)


def ask_for_all(stack: Outside, **members: object) -> str:
    """Asks for the previews of all three, with one summary."""
    request = {"repositoryNames": ["team/*"], "selection": PREVIEWS, "requestId": "nightly", "notify": "summary"}
    return stack.send_bulk(**{name: value for name, value in {**request, **members}.items() if value is not None})


def look(stack: Outside, function: Handler, looks: int = 1) -> list[Poll]:
    """Lets the time until the next look pass, and carries out what is on the queue then; so many times."""
    polls: list[Poll] = []
    for _ in range(looks):
        stack.let_time_pass(LOOK)
        polls += stack.drain(function)
    return polls


def reject_all(stack: Outside) -> Handler:
    """Lets a summary tell that all three were rejected; returns the instance that did it."""
    ask_for_all(stack)
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="50")
    stack.drain(function)
    look(stack, function)
    assert summary(stack)["rejected"] == 3
    return function


def refuse(digest: str) -> Action:
    """Lets ECR refuse one image of a call, and answer for the others."""

    def action(call: Call, perform: Perform) -> Answer:
        others = [image_id for image_id in call.body["imageIds"] if image_id["imageDigest"] != digest]
        answer = perform({**call.body, "imageIds": others})
        failure = {"imageId": {"imageDigest": digest}, "failureCode": "ImageInaccessible", "failureReason": "no"}
        return answer.with_json({**answer.json, "failures": [*answer.json["failures"], failure]})

    return action


def break_off(stack: Outside, function: Handler, turns: int = 1) -> Rule:
    """Lets the request for the 232 previews of team/app be continued so many times, by a message that waits then.

    In each turn one call gets through, and is refused the same image. Returns the rule that still refuses it.
    """
    [digest, *_] = [stack.push(f"pr-more-{n}", content=f"more {n}") for n in range(230)]
    ask_for_all(stack, repositoryNames=["team/app"])
    stack.receive(function)
    refused = stack.faults.add("BatchDeleteImage", refuse(digest), about=digest)
    for turn in range(1, turns + 1):

        def wait_for_refusal(call: Call, perform: Perform, turn: int = turn) -> Answer:
            deadline = monotonic() + 10
            while refused.strikes < turn and monotonic() < deadline:
                sleep(0.01)
            return throttle(call, perform)

        throttled = stack.faults.add("BatchDeleteImage", wait_for_refusal)
        stack.receive(function)
        throttled.lift()
    assert refused.strikes == turns
    return refused


def summary(stack: Outside) -> Json:
    """Returns the only notice, which is a summary."""
    [notice] = stack.notices()
    assert notice.attributes["type"] == notice.data["type"] == "summary"
    data: Json = notice.data
    return data


def test_one_notice_tells_of_all_repositories(stack: Outside) -> None:
    """Once all are done: how many repositories, images and bytes; nobody hears of each."""
    function = start(stack)
    ask_for_all(stack, reason="nightly clean-up")

    stack.drain(function)
    assert stack.notices() == []
    look(stack, function)

    found = summary(stack)
    assert {name: stack.tags(name) for name in NAMES} == {name: {"main"} for name in NAMES}
    counted = ("repositories", "finished", "rejected", "unfinished", "requested", "deleted", "failed")
    assert [found[name] for name in counted] == [3, 3, 0, 0, 6, 6, 0]
    assert found["bytes"] > 0
    assert (found["requestId"], found["reason"], found["repositoryNames"]) == (
        "nightly",
        "nightly clean-up",
        ["team/*"],
    )
    assert stack.waiting() == stack.dead_letters() == []
    [notice] = stack.notices()
    assert notice.subject == "ECR image deletion: 3 repositories, no failures"
    assert notice.text.startswith("Nothing to do.\n\n3 of 3 repositories are done: 6 of 6 images were deleted.\n")


def test_failures_stand_in_it_by_code_and_repository(stack: Outside) -> None:
    """And those who choose notices by failure code find it."""
    function = start(stack, PROTECTED_TAGS="pr-2")
    ask_for_all(stack, selection=None, imageIds=["imageTag=pr-1", "imageTag=pr-2", "imageTag=gone"])
    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["deleted"], found["failed"]) == (3, 6)
    assert found["failuresByCode"] == {"ProtectedTag": 3, "ImageNotFound": 3}
    assert found["failedRepositories"] == [
        {"repositoryName": name, "failed": 2, "failuresByCode": {"ImageNotFound": 1, "ProtectedTag": 1}}
        for name in sorted(NAMES)
    ]
    [notice] = stack.notices()
    assert notice.attributes["failureCodes"] == ["ImageNotFound", "ProtectedTag"]
    assert "  team/api: 1 ImageNotFound, 1 ProtectedTag\n" in notice.text


def test_rejected_ones_stand_in_it_with_the_reason(stack: Outside) -> None:
    """They end in the dead-letter queue as ever, without a notice of their own."""
    stack.push("main-2", repository="team/web")
    stack.push("main-3", repository="team/web")
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="50")
    ask_for_all(stack)

    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["finished"], found["rejected"], found["unfinished"]) == (1, 2, 0)
    assert [one["repositoryName"] for one in found["rejectedRepositories"]] == ["team/api", "team/app"]
    assert "more than the 50 %" in found["rejectedRepositories"][0]["error"]
    assert len(stack.dead_letters()) == 2
    assert "dead-letter queue" in stack.notices()[0].text.splitlines()[0]


def test_a_rejected_one_that_is_sent_back_tells_by_itself(stack: Outside) -> None:
    """The summary has gone out: what comes of the dead letter stands nowhere else."""
    reject_all(stack)

    stack.redrive()
    stack.drain(start(stack, PROTECTED_REPOSITORIES="team/web"))

    told = [(notice.data["type"], notice.data["requestId"]) for notice in stack.notices()[1:]]
    assert told == [("failure", "nightly/team/web")]
    assert {name: len(stack.tags(name)) for name in NAMES} == {"team/api": 1, "team/app": 1, "team/web": 3}
    assert stack.dead_letters() == []


def test_one_that_fails_after_the_summary_tells_by_itself(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was counted among those that have not ended, and its failures would stand nowhere else."""
    function = start(stack, PROTECTED_TAGS="pr-2")
    monkeypatch.setattr("handler.workflows.summary.CHECKS", 3)
    ask_for_all(stack, selection=None, imageIds=["imageTag=pr-2"])
    stack.receive(function)
    [late] = stack.take('"repositoryName":"team/web"')
    look(stack, function, 3)
    found = summary(stack)
    assert (found["finished"], found["unfinishedRepositories"]) == (2, ["team/web"])

    stack.send_to_bulk(late)
    stack.drain(function)

    told = stack.notices()[1:]
    assert [(notice.data["type"], notice.data["requestId"]) for notice in told] == [("failure", "nightly/team/web")]
    assert told[0].data["partOf"] == "nightly"


def test_it_comes_after_a_day_in_any_case(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are further and further apart, and counted: the chain of messages has an end."""
    function = start(stack)
    assert 60 + 120 + 240 + 480 + (import_module("handler.workflows.summary").CHECKS - 4) * LOOK == 86_400
    monkeypatch.setattr("handler.workflows.summary.CHECKS", 7)
    ask_for_all(stack)
    stack.receive(function)
    stack.take('"repositoryName":"team/web"')
    stack.drain(function)

    for delay in (60, 120, 240, 480, 900, 900, 900):
        assert stack.notices() == []
        stack.let_time_pass(delay - 5)
        assert stack.drain(function) == []
        stack.let_time_pass(5)
        stack.drain(function)

    assert stack.faults.count("SendMessageBatch") == 1 + 7
    assert summary(stack)["unfinished"] == 1
    assert stack.waiting() == stack.dead_letters() == []


def test_delivered_twice_it_is_told_once(stack: Outside) -> None:
    """The request, each of those that it leads to, and each look; also where another message brings the same."""
    function = start(stack, PROTECTED_TAGS="pr-2")
    ask_for_all(stack, selection=None, imageIds=["imageTag=pr-1", "imageTag=pr-2"])
    assert stack.duplicate(stack.receive(function)).failed == ()
    for body in stack.waiting():
        stack.send_to_bulk(body)
    for _ in range(2 * len(NAMES) + 1):  # the requests, and what was sent once more
        assert stack.duplicate(stack.receive(function)).failed == ()
    stack.let_time_pass(LOOK)
    assert stack.duplicate(stack.receive(function)).failed == ()
    look(stack, function, 3)

    assert (summary(stack)["failed"], stack.metric("ImagesFailed")) == (3, 3)
    assert stack.waiting() == stack.dead_letters() == []


FAULTS: dict[str, Action] = {"refused": unavailable, "cut before": drop_before, "cut after": drop_after}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("operation", "calls"), [("UpdateItem", 24), ("Query", 2), ("SendMessageBatch", 2), ("Publish", 1)]
)
def test_no_fault_hides_it(stack: Outside, operation: str, calls: int, fault: str) -> None:
    """Whichever call fails, and those after it, for a whole delivery: everything is told, and once."""
    function = start(stack, PROTECTED_TAGS="pr-2")
    for nth in range(1, calls + 1, 8):  # the fault matrix has them all
        request_id = f"nightly-{nth}"
        ask_for_all(stack, selection=None, imageIds=["imageTag=pr-2"], requestId=request_id)
        rule = stack.faults.add(operation, FAULTS[fault], nth=range(nth, nth + 6))
        stack.receive(function)
        rule.lift()
        look(stack, function, 3)
        told = [notice.data for notice in stack.notices() if notice.data["requestId"].startswith(request_id)]
        assert {data["type"] for data in told} == {"summary"}
        assert (told[0]["failed"], told[0]["finished"]) == (3, 3)
        assert len(told) == 1 or (operation in {"Publish", "UpdateItem"} and fault == "cut after")
    assert stack.waiting() == stack.dead_letters() == []


def test_a_dry_run_has_a_summary_too(stack: Outside) -> None:
    """Nothing was deleted; it says what would have been."""
    function = start(stack)
    ask_for_all(stack, dryRun=True)

    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["dryRun"], found["requested"], found["deleted"]) == (True, 6, 6)
    assert "would have been deleted" in stack.notices()[0].text
    assert "pr-1" in stack.tags()


def test_what_a_grace_period_keeps_is_counted_as_archived(stack: Outside) -> None:
    """It is not deleted yet."""
    function = start(stack, GRACE_PERIOD_DAYS="30", ALLOW_ARCHIVE="true")
    ask_for_all(stack)

    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["archivedCount"], found["deleted"]) == (6, 0)


def test_it_costs_one_write_for_each_repository(stack: Outside) -> None:
    """And for the whole some more, a message and a query with each look; without it, nothing."""
    function = start(stack)
    counts = {}
    for notify in (None, "summary"):
        before = {name: stack.faults.count(name) for name in ("UpdateItem", "Query", "SendMessageBatch", "Publish")}
        for name in NAMES:
            stack.push("pr-9", repository=name, content=f"{name} {notify}")
        members: Json = {"notify": notify} if notify else {}
        stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId=f"r-{notify}", **members)
        stack.drain(function)
        look(stack, function)
        counts[notify] = {name: stack.faults.count(name) - count for name, count in before.items()}
    more = {name: counts["summary"][name] - counts[None][name] for name in counts[None]}
    assert more == {"UpdateItem": 3 + 4 + 4 + 4, "Query": 2, "SendMessageBatch": 1, "Publish": 1}


def test_what_the_stack_has_made_a_dry_run_is_not_called_done(stack: Outside) -> None:
    """DryRun was switched on when the requests were on the queue: nothing was deleted, and somebody must ask again."""
    ask_for_all(stack)
    stack.receive(start(stack))
    function = start(stack, DRY_RUN="true")
    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["requested"], found["deleted"], found["failuresByCode"]) == (6, 0, {"StoppedByDryRun": 6})
    assert found["actionRequired"]
    assert "pr-1" in stack.tags()


@pytest.mark.usefixtures("no_waiting")
def test_an_image_counts_once_however_many_turns_it_takes(stack: Outside) -> None:
    """Those that one turn leaves, the next one selects again."""
    for n in range(130):
        stack.push(f"pr-more-{n}", content=f"more {n}")
    ask_for_all(stack, repositoryNames=["team/app"])
    function = start(stack)
    stack.receive(function)
    throttled = stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    stack.receive(function)
    throttled.lift()
    stack.drain(function)
    look(stack, function)

    assert {entry["request_id"] for entry in stack.log("request done")} == {"nightly/team/app", "nightly/team/app#1"}
    found = summary(stack)
    assert (found["requested"], found["deleted"], found["failed"]) == (132, 132, 0)


ENDINGS: dict[str, dict[str, str]] = {
    "ProtectedRepository": {"PROTECTED_REPOSITORIES": "team/app"},
    "RepositoryNotFoundException": {},
    "SelectionGrew": {},
    "StoppedByDryRun": {"DRY_RUN": "true"},
    "UsageUnknown": {"PROTECT_IN_USE": "ecs", "USAGE_TABLE": "usage"},
}
"""Failures of a turn as a whole, and settings that lead to them."""


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("ending", "turns"), [*((ending, 1) for ending in ENDINGS), ("StoppedByDryRun", 2)])
def test_what_failed_before_a_turn_that_met_no_image_is_not_left_out(stack: Outside, ending: str, turns: int) -> None:
    """No further turn meets it again: it counts, and once, however many turns it has failed in."""
    break_off(stack, start(stack, MAX_IMAGES_PER_REQUEST="232"), turns)
    deleted = 233 - len(stack.left())
    if ending == "RepositoryNotFoundException":
        stack.aws.client("ecr").delete_repository(repositoryName="team/app", force=True)
    if ending == "SelectionGrew":
        stack.push_many([f"pr-new-{n}" for n in range(deleted + 1)])
    if ending == "UsageUnknown":
        Inventory(stack.aws, sources=())
    function = start(stack, **ENDINGS[ending])
    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert found["failuresByCode"] == {"ImageInaccessible": 1, ending: 1}
    assert (found["deleted"], found["failed"]) == (deleted, 2)
    assert [entry["failed"] for entry in found["failedRepositories"]] == [2]
    assert found["requested"] == 232


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("refused_again", [True, False])
def test_what_the_last_turn_meets_again_is_told_once(stack: Outside, *, refused_again: bool) -> None:
    """It counts as what it was in the end: a failure, or deleted."""
    function = start(stack)
    refused = break_off(stack, function, turns=2)
    if not refused_again:
        refused.lift()
    stack.drain(function)
    look(stack, function)

    assert refused.strikes == 2 + refused_again
    found = summary(stack)
    assert (found["requested"], found["deleted"], found["failed"]) == (232, 232 - refused_again, int(refused_again))
    assert found["failuresByCode"] == ({"ImageInaccessible": 1} if refused_again else {})


@pytest.mark.usefixtures("no_waiting")
def test_what_was_restored_in_part_is_told_though_further_turns_do_not_meet_it(stack: Outside) -> None:
    """It is on its way out of the archive by then, and what it names is not."""
    child, other = stack.push(days=40), stack.push("pr-9", days=40)
    index = stack.push_index([child], "pr-8", days=40)
    for digest in (index, child, other):
        stack.change_storage_class(digest, "ARCHIVE")

    def throttle_other(call: Call, perform: Perform) -> Answer:
        return throttle(call, perform) if call.body["imageId"]["imageDigest"] == other else perform(call.body)

    selection = PREVIEWS | {"storageClass": "archive"}
    ask_for_all(stack, repositoryNames=["team/app"], action="restore", selection=selection)
    function = start(stack, ALLOW_ARCHIVE="true")
    stack.receive(function)
    rule = stack.faults.add("UpdateImageStorageClass", throttle_other)
    stack.receive(function)
    rule.lift()
    stack.drain(function)
    look(stack, function)

    assert {entry["request_id"] for entry in stack.log("request done")} == {"nightly/team/app", "nightly/team/app#1"}
    found = summary(stack)
    assert (found["requested"], found["restoredCount"], found["failuresByCode"]) == (2, 1, {"RestoredInPart": 1})


def test_who_was_sent_a_request_is_summed_up_whatever_exists_by_then(stack: Outside) -> None:
    """An answer of SQS's was lost, and before the next try a repository came under protection."""
    ask_for_all(stack)
    stack.faults.add("SendMessageBatch", drop_after, nth=range(1, 7))
    assert stack.receive(start(stack)).failed
    function = start(stack, PROTECTED_REPOSITORIES="team/web")
    stack.drain(function)
    look(stack, function)

    found = summary(stack)
    assert (found["repositories"], found["failuresByCode"]) == (3, {"ProtectedRepository": 1})


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_rejection_that_was_interrupted_is_told_once(stack: Outside, nth: int) -> None:
    """The function died at any moment of it, and the summary came before the message was received again."""
    variables = {"MAX_PERCENT_OF_REPOSITORY": "50"}
    ask_for_all(stack, repositoryNames=["team/web"])
    stack.receive(stack.start(**variables))
    instance = stack.start_process(**variables)
    stack.faults.add("UpdateItem", drop_while(instance.kill, done=True), nth=nth)
    stack.receive(instance)
    function = stack.start(**variables)
    for _ in range(3):
        stack.let_time_pass(LOOK)
        stack.drain(function)

    assert summary(stack)["rejected"] == 1
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)


@pytest.mark.parametrize("fault", [drop_after, drop_before, unavailable])
@pytest.mark.parametrize("operation", ["SendMessageBatch", "UpdateItem"])
def test_a_check_that_was_interrupted_sums_up_no_second_time(stack: Outside, operation: str, fault: Action) -> None:
    """It had sent the next one, which came first: all had ended by then."""
    function = start(stack, RESULT_EVENTS="all")
    stack.listen()
    ask_for_all(stack)
    stack.receive(function)
    [late] = stack.take('"repositoryName":"team/web"')
    stack.drain(function)
    stack.let_time_pass(60)
    before = stack.faults.count("UpdateItem")
    nth = range(1, 7) if operation == "SendMessageBatch" else range(2, 100)
    rule = stack.faults.add(operation, fault, nth=nth)
    poll = stack.receive(function)
    rule.lift()
    assert poll.failed
    assert stack.faults.count("UpdateItem") > before
    stack.send_to_bulk(late)
    stack.receive(function)
    stack.let_time_pass(120)
    if any('"turn":2' in body for body in stack.waiting()):
        stack.receive(function)
        assert len(stack.notices()) == 1
    for _ in range(3):
        stack.let_time_pass(LOOK)
        stack.drain(function)

    assert summary(stack)["finished"] == 3
    assert [event["detail-type"] for event in stack.results()].count("ECR Image Deletion Summarized") == 1


def test_a_part_of_nothing_is_rejected(stack: Outside) -> None:
    """Its message says that it belongs to a request for several repositories, which nobody here knows."""
    key = ["child", ["request", "nightly"], "team/app", "0" * 32]
    origin = {"kind": "message", "id": "m-1", "source": "a queue", "sender": None}
    follow_up = {"key": key, "requestId": "nightly/team/app", "turn": 0, "taken": 0, "seal": None, "origin": origin}
    for request in ({"imageIds": ["imageTag=gone"]}, {"imageIds": "none"}):
        content = {"repositoryName": "team/app", "notify": "summary", **request}
        stack.send_to_bulk({"followUp": follow_up, "request": content})
        follow_up = {**follow_up, "key": [*key[:2], "team/web", key[3]]}
    stack.drain(start(stack))
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection", "rejection"]


def test_the_parts_of_one_request_are_known_as_such(stack: Outside) -> None:
    """Also those that were rejected: one thread, one ticket."""
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="50", CHAT_NOTICES="true")
    ask_for_all(stack, notify=None)
    stack.drain(function)
    assert {notice.data["partOf"] for notice in stack.notices()} == {"nightly"}
    assert {notice.chat["metadata"]["threadId"] for notice in stack.notices()} == {"nightly"}


def test_a_dead_letter_that_comes_back_again_and_again_is_told_each_time(stack: Outside) -> None:
    """A redrive gives it another 14 days; what is remembered of it, lasts from its last meeting."""
    function = reject_all(stack)

    for times in range(1, 5):
        stack.let_time_pass(13 * 86_400)
        stack.expire()
        stack.redrive()
        stack.drain(function)
        assert len(stack.notices("rejection")) == 3 * times


@pytest.mark.parametrize("members", [{"repositoryName": "team/app"}])
def test_for_one_repository_it_is_rejected(stack: Outside, members: Json) -> None:
    """There is nothing to sum up; the error says what to write."""
    with pytest.raises(Exception, match='for one repository say "always"'):
        ask(start(stack), "imageTag=pr-1", notify="summary", **members)
    assert json.dumps(stack.notices()[0].data).count("summary") == 1


def delay_next_turn(stack: Outside, function: Handler) -> str:
    """Lets a turn send another one, lose SQS's answer, and do all of it itself when it is received again.

    Returns the message of the other one, which is not on the queue any more.
    """
    throttled = stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    lost = stack.faults.add("SendMessageBatch", drop_after)
    assert stack.receive(function).failed
    throttled.lift()
    lost.lift()
    late, *_ = stack.take("nightly/team/app#1")
    stack.drain(function)
    return late


@pytest.mark.usefixtures("no_waiting")
def test_a_turn_that_comes_after_the_last_one_tells_its_failures(stack: Outside) -> None:
    """SQS takes a further turn and its answer is lost; received again, the turn before has time for all of it.

    So the summary is made, and the further turn, which waited all the while, has a failure.
    """
    for number in range(108):
        stack.push(f"pr-more-{number}", content=f"more {number}")
    ask_for_all(stack, repositoryNames=["team/app"])
    function = start(stack)
    stack.receive(function)
    late = delay_next_turn(stack, function)
    look(stack, function)
    assert (summary(stack)["finished"], summary(stack)["failed"]) == (1, 0)
    new, _ = stack.push("pr-new", content="new"), stack.push("pr-new-2", content="new 2")
    stack.faults.add("BatchDeleteImage", refuse(new), about=new)
    stack.send_to_bulk(late)
    stack.drain(function)
    look(stack, function, 3)
    assert [notice.data["type"] for notice in stack.notices()] == ["summary", "failure"]


@pytest.mark.usefixtures("no_waiting")
def test_a_rejection_is_told_once_though_sqs_refused_a_message(stack: Outside) -> None:
    """SQS takes all messages of a call but one: that one alone is sent again, and each part is rejected once."""

    def refuse_last(call: Call, perform: Perform) -> Answer:
        entries = call.body["Entries"]
        answer = perform({**call.body, "Entries": entries[:-1]})
        failed = [{"Id": entries[-1]["Id"], "Code": "InternalError", "SenderFault": False}]
        return answer.with_json({**answer.json, "Failed": failed})

    stack.faults.add("SendMessageBatch", refuse_last, nth=1)
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="10")
    ask_for_all(stack, notify=None)
    stack.drain(function)
    told = sorted(notice.data["requestId"] for notice in stack.notices("rejection"))
    assert told == ["nightly/team/api", "nightly/team/app", "nightly/team/web"]
    assert (len(stack.dead_letters()), stack.metric("RequestsRejected")) == (3, 3)


@pytest.mark.usefixtures("no_waiting")
def test_what_a_dry_run_stops_after_the_summary_tells_itself(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the summary says in its last line; before it, that would have been one of its failures."""
    function = start(stack)
    monkeypatch.setattr("handler.workflows.summary.CHECKS", 3)
    ask_for_all(stack)
    stack.receive(function)
    [late] = stack.take('"repositoryName":"team/web"')
    look(stack, function, 3)
    assert summary(stack)["unfinishedRepositories"] == ["team/web"]
    stack.send_to_bulk(late)
    stack.drain(start(stack, DRY_RUN="true"))
    notice = stack.notices()[-1]
    assert (notice.data["type"], notice.data["requestId"]) == ("dryRun", "nightly/team/web")
    assert "pr-1" in stack.tags("team/web")


def test_a_request_whose_checks_would_not_fit_into_a_message_is_rejected(
    stack: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand it may be larger than a message; each of its parts would fit, and nobody would sum them up."""
    names = [f"team/app*{'x' * 230}{number:04}" for number in range(10)]
    function = start(stack)
    monkeypatch.setattr("handler.request_queue.MESSAGE_BYTES", 2_000)  # as 1,048,576
    with pytest.raises(Exception, match="request is too large to be passed on"):
        ask(function, "imageTag=pr-1", repositoryNames=[*names, "team/app"], notify="summary", requestId="r-1")
    assert stack.waiting() == []
    ask(function, "imageTag=pr-1", repositoryNames=[*names, "team/app"], requestId="r-2")
    assert len(stack.waiting_in_bulk()) == 1


def fail_and_doubt(stack: Outside, function: Handler) -> None:
    """Lets a turn be refused one image of the first 100, and lose ECR's answer about the others, and ECR."""
    stack.push_many([f"pr-more-{number}" for number in range(108)])
    ask_for_all(stack, repositoryNames=["team/app"])
    stack.receive(function)
    answered, down = threading.Event(), threading.Event()

    def delete(call: Call, perform: Perform) -> Answer:
        ids = call.body["imageIds"]
        if len(ids) == 100:
            answer = refuse(ids[0]["imageDigest"])(call, perform)
            answered.set()
            return answer
        answered.wait(10)
        down.set()
        return drop_after(call, perform)

    rules = [
        stack.faults.add("BatchDeleteImage", delete),
        stack.faults.add(("BatchDeleteImage", "DescribeImages"), drop_before, when=down.is_set),
    ]
    stack.receive(function)
    for rule in rules:
        rule.lift()


@pytest.mark.usefixtures("no_waiting")
def test_a_turn_that_only_settled_what_was_in_doubt_has_met_no_images(stack: Outside) -> None:
    """It was stopped as a whole: what failed in the turn before is still a failure."""
    function = start(stack)
    fail_and_doubt(stack, function)
    stack.drain(start(stack, DRY_RUN="true"))
    look(stack, function)
    assert summary(stack)["failuresByCode"] == {"ImageInaccessible": 1, "StoppedByDryRun": 1}


@pytest.mark.usefixtures("no_waiting")
def test_a_turn_behind_the_last_one_is_summed_up_while_others_are_waited_for(stack: Outside) -> None:
    """SQS took it and its answer was lost, the turn before ended whole; and there is no summary yet."""
    stack.push_many([f"pr-more-{number}" for number in range(108)])
    ask_for_all(stack, repositoryNames=["team/app", "team/api"])
    function = start(stack)
    stack.receive(function)
    [other] = stack.take('"repositoryName":"team/api"')
    late = delay_next_turn(stack, function)
    stack.push_many([f"pr-new-{number}" for number in range(30)])
    for message in (late, other):
        stack.send_to_bulk(message)
        stack.drain(function)
    look(stack, function, 3)
    done = {entry["request_id"]: entry["deleted"] for entry in stack.log("request done")}
    assert done["nightly/team/app#1"] == 30
    assert summary(stack)["deleted"] == sum(done.values())
