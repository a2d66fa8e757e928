"""What a selection cannot know when its time is up, a lost answer that is, the next message finds out and reports."""

from typing import Any

import pytest

from local.poller import Handler
from tests.harness.outside import (
    ANY_SHARE,
    BULK_VISIBILITY_SECONDS,
    PREVIEWS,
    Clock,
    Json,
    Outside,
)
from tests.harness.server_faults import Action, Answer, Call, Perform, Rule, drop_after, drop_before, throttle

ECR = ("BatchDeleteImage", "DescribeImages", "BatchGetImage", "UpdateImageStorageClass")
KINDS: dict[str, tuple[str, int, dict[str, str], Json]] = {
    "delete": ("BatchDeleteImage", 2, {}, {"selection": PREVIEWS}),
    "untag": ("BatchDeleteImage", 2, {}, {"selection": PREVIEWS, "untag": True}),
    "grace": ("UpdateImageStorageClass", 20, {"GRACE_PERIOD_DAYS": "30"}, {"selection": PREVIEWS}),
    "restore": (
        "UpdateImageStorageClass",
        20,
        {"ALLOW_ARCHIVE": "true"},
        {"selection": PREVIEWS | {"storageClass": "archive"}, "action": "restore"},
    ),
}
"""By what is asked for: the call of which the answer is lost, and which of them; the parameters; the request."""
MANY = {"delete": 110, "untag": 110}
"""More than one call takes; of the storage class, each image has a call."""
FEW = 30


def fill(stack: Outside, kind: str, images: int) -> None:
    """Pushes previews, each of its own content; archived ones where they are to be restored."""
    for number in range(images):
        digest = stack.push(f"pr-{number}", content=f"image {number}")
        if kind == "untag":
            stack.tag(digest, f"v{number}")
        if kind == "restore":
            stack.change_storage_class(digest, "ARCHIVE")


def taken(stack: Outside, kind: str, images: int) -> int:
    """How many have really been deleted, untagged, archived or restored."""
    match kind:
        case "delete":
            return images - len(stack.left())
        case "untag":
            return images - sum(tag.startswith("pr-") for tag in stack.tags())
        case "restore":
            return images - len(stack.archived())
    return len(stack.archived())


def lose_ecr(stack: Outside, operation: str, nth: int, lose: Action = drop_after) -> list[Rule]:
    """Has a call done, its answer lost, and ECR not reached from then on."""
    down = False

    def act(call: Call, perform: Perform) -> Answer:
        nonlocal down
        down = True
        return lose(call, perform)

    return [stack.faults.add(operation, act, nth=nth), stack.faults.add(ECR, drop_before, when=lambda: down)]


def interrupt(stack: Outside, function: Handler, kind: str, lose: Action = drop_after) -> None:
    """Lets a receive end so."""
    operation, nth, *_ = KINDS[kind]
    rules = lose_ecr(stack, operation, nth, lose)
    stack.receive(function)
    for rule in rules:
        rule.lift()


def reported(stack: Outside) -> int:
    """How many all notices together say are done."""
    data = [notice.data for notice in stack.notices()]
    return sum(d.get("deleted", 0) + d.get("archivedCount", 0) + d.get("restoredCount", 0) for d in data)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", KINDS)
def test_each_image_is_reported_once(stack: Outside, kind: str) -> None:
    """Whichever message finds out what became of it; the metric and the summary of many count it as well."""
    _, _, variables, request = KINDS[kind]
    images = MANY.get(kind, FEW)
    fill(stack, kind, images)
    function = stack.start(**ANY_SHARE, **variables)
    stack.send_bulk(**request, requestId="weekly", notify="always")
    interrupt(stack, function, kind)
    assert taken(stack, kind, images) > 0
    stack.drain(function)
    assert (taken(stack, kind, images), reported(stack)) == (images, images)
    metric = {"grace": "ImagesArchived", "restore": "ImagesRestored"}
    assert stack.metric(metric.get(kind, "ImagesDeleted")) == images
    assert [notice.data["failures"] for notice in stack.notices()] == [[]] * len(stack.notices())
    assert stack.dead_letters() == []


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", ["delete", "grace", "restore"])
def test_a_summary_counts_it(stack: Outside, kind: str) -> None:
    """As if its answer had arrived."""
    _, _, variables, request = KINDS[kind]
    images = MANY.get(kind, FEW)
    fill(stack, kind, images)
    function = stack.start(**ANY_SHARE, **variables)
    stack.send_bulk(**request, repositoryNames=["team/app"], requestId="nightly", notify="summary")
    stack.receive(function)
    interrupt(stack, function, kind)
    stack.drain(function)
    stack.let_time_pass(900)
    stack.drain(function)
    [notice] = stack.notices("summary")
    assert (reported(stack), notice.data["requested"], notice.data["failed"]) == (images, images, 0)


@pytest.mark.usefixtures("no_waiting")
def test_what_is_deleted_so_is_unconfirmed(stack: Outside) -> None:
    """One answer is lost when the time is nearly up: ECR works all along, and nobody is killed.

    The report of the next turn says that these images are gone, the event names them, and the log has them.
    """
    fill(stack, "delete", 110)
    clock = Clock()
    function = clock.limit(stack.start(**ANY_SHARE, RESULT_EVENTS="all"), 900)
    stack.listen()
    stack.send_bulk(selection=PREVIEWS, requestId="weekly", notify="always")

    def hang(call: Call, perform: Perform) -> Answer:
        clock.sleep(899.5)
        return drop_after(call, perform)

    stack.faults.add("BatchDeleteImage", hang, nth=2)
    stack.receive(function)
    stack.drain(function)
    first, second = (notice.data for notice in stack.notices())
    assert (first["requestId"], second["requestId"]) == ("weekly", "weekly#1")
    assert (first.get("unconfirmed"), second["unconfirmed"]) == (None, second["deleted"])
    assert first["deleted"] + second["deleted"] == 110 - len(stack.left()) == 110
    told = [image["imageDigest"] for event in stack.results() for image in event["detail"]["data"]["imageIds"]]
    assert len(told) == len({*told}) == 110
    done = sum(entry["done"] for entry in stack.log("chunk done"))
    assert done + sum(len(entry["imageIds"]) for entry in stack.log("images unconfirmed")) == 110


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("done", [True, False])
def test_the_limit_holds_for_what_was_in_doubt(stack: Outside, done: bool) -> None:  # noqa: FBT001
    """What was deleted counts in the limit of the request, and what was not, does not count twice."""
    fill(stack, "delete", 110)
    function = stack.start(**ANY_SHARE, MAX_IMAGES_PER_REQUEST="110")
    stack.send_bulk(selection=PREVIEWS, requestId="weekly", notify="always")
    interrupt(stack, function, "delete", drop_after if done else drop_before)
    if done:
        stack.push_many([f"pr-new-{number}" for number in range(50)])
    stack.drain(function)
    codes = [failure["failureCode"] for notice in stack.notices() for failure in notice.data["failures"]]
    assert codes == (["SelectionGrew"] if done else [])
    assert reported(stack) == 110 == (110 + 50 * done) - len(stack.left())


@pytest.mark.usefixtures("no_waiting")
def test_another_error_does_not_hide_it(stack: Outside) -> None:
    """ECR throttles one call, with which nothing was done, while the answers of others are lost, with which all was."""
    fill(stack, "grace", 110)
    stack.send_bulk(selection=PREVIEWS, requestId="weekly", notify="always")
    function = stack.start(**ANY_SHARE, GRACE_PERIOD_DAYS="30")
    lost = 0

    def throttle_first(call: Call, perform: Perform) -> Answer:
        ids: Any = call.body.get("imageIds")
        return throttle(call, perform) if ids and (len(ids) == 100 or lost) else perform(call.body)

    def lose(call: Call, perform: Perform) -> Answer:
        nonlocal lost
        lost += 1
        return drop_after(call, perform)

    rules = [
        stack.faults.add("DescribeImages", throttle_first),
        stack.faults.add("UpdateImageStorageClass", lose),
    ]
    assert stack.receive(function).failed
    for rule in rules:
        rule.lift()
    assert len(stack.archived()) == 10
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    stack.drain(function)
    assert (reported(stack), len(stack.archived())) == (110, 110)
