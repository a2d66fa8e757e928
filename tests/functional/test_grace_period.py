"""The grace period: what a selection would delete is archived first, and goes later, unless somebody wants it back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.ecr_storage import StorageChoices
from local.poller import Handler
from local.template import cloudformation
from tests.harness.in_use import Inventory, address
from tests.harness.outside import (
    ANY_SHARE,
    BULK_VISIBILITY_SECONDS,
    DAY,
    PREVIEWS,
    REPOSITORY,
    Outside,
    ask,
    by_digest,
    by_tag,
    codes,
    select,
)
from tests.harness.server_faults import Answer, Call, Perform, do_after, drop_while, refuse_with, server_error

type Json = dict[str, Any]

GRACE = {"GRACE_PERIOD_DAYS": "30", "ALLOW_ARCHIVE": "true", **ANY_SHARE}
DAILY: Json = json.loads(cloudformation()["Resources"]["GracePeriodRule"]["Properties"]["Targets"][0]["Input"])
"""What the stack sends to itself each day."""


@pytest.fixture(params=[None, "ImageInaccessible"], ids=str)
def whether_archived_manifests_are_shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody outside AWS knows."""
    monkeypatch.setattr(StorageChoices, "archived_image_failure", request.param)


def next_days(stack: Outside, function: Handler, days: float) -> None:
    """Lets time pass, and delivers the daily request then."""
    stack.let_time_pass(days * DAY)
    stack.send_to_bulk(DAILY)
    stack.drain(function)


def push_whole(stack: Outside, tag: str) -> set[str]:
    """Pushes an old image for two platforms, with a signature."""
    children = [stack.push(days=40), stack.push(days=40)]
    index = stack.push_index(children, tag, days=40)
    return {*children, index, stack.push_referrer(index, days=40)}


@pytest.mark.usefixtures("whether_archived_manifests_are_shown")
def test_what_a_selection_would_delete_goes_later(stack: Outside) -> None:
    """Nothing before the 30 days are over, and everything then, whole; the notice says until when it can come back."""
    whole, kept = push_whole(stack, "pr-1"), stack.push("main", days=40)
    function = stack.start(**GRACE)
    stack.send(selection=PREVIEWS, requestId="nightly", notify="always")
    stack.drain(function)

    assert (stack.left(), stack.archived()) == ({kept, *whole}, whole)
    [notice] = stack.notices()
    assert (notice.data["action"], notice.data["archivedCount"]) == ("archive", 4)
    assert f"They are deleted after {notice.data['restorableUntil']}. To bring them back, send this" in notice.text
    assert json.dumps(notice.data["restoreRequest"]) in notice.text

    next_days(stack, function, 29.9)
    assert stack.archived() == whole
    next_days(stack, function, 0.2)
    assert stack.left() == {kept}
    assert stack.dead_letters() == []
    assert [notice.data["type"] for notice in stack.notices()] == ["report"]


@pytest.mark.usefixtures("whether_archived_manifests_are_shown")
def test_the_notice_brings_them_back(stack: Outside) -> None:
    """By the request that it shows, until the last day; they stay then, and the next nightly selection leaves them."""
    whole = push_whole(stack, "pr-1")
    function = stack.start(**GRACE)
    stack.send(selection=PREVIEWS, requestId="nightly-1", notify="always")
    stack.drain(function)
    [notice] = stack.notices()
    stack.let_time_pass(29 * DAY)

    assert ask(function, **notice.data["restoreRequest"])["restoredCount"] == 4

    next_days(stack, function, 5)
    answer = select(function, PREVIEWS, requestId="nightly-2")
    assert (answer["archivedCount"], answer["keptByReason"]) == (0, {"Restored": 1, "StillUsed": 3})
    assert set(stack.statuses().values()) == {"ACTIVE"}
    stack.let_time_pass(30 * DAY)
    assert select(function, PREVIEWS, requestId="nightly-3")["archivedCount"] == 4
    next_days(stack, function, 20)
    assert stack.left() == whole
    next_days(stack, function, 11)
    assert stack.left() == set()


def test_named_images_are_deleted_as_ever(stack: Outside) -> None:
    """At once, also while they are in the archive; and tags are removed at once."""
    first, second, third = (stack.push(f"pr-{n}", days=40) for n in range(3))
    function = stack.start(**GRACE)
    ask(function, *by_digest(first))
    assert stack.left() == {second, third}
    select(function, PREVIEWS)
    assert stack.archived() == {second, third}
    assert ask(function, "imageTag=pr-1")["failures"] == []
    assert stack.left() == {third}


def test_it_deletes_nothing_that_others_archived_or_restored(stack: Outside) -> None:
    """Nor what an archive request put away, before or after; nor what somebody archived again; nor what was pushed."""
    by_others, by_request, taken_over, again, restored, due = (stack.push(f"pr-{n}", days=40) for n in range(6))
    function = stack.start(**GRACE)
    stack.change_storage_class(by_others, "ARCHIVE")
    ask(function, *by_digest(by_request), action="archive")
    select(function, PREVIEWS)
    assert stack.archived() == {by_others, by_request, taken_over, again, restored, due}
    ask(function, *by_digest(taken_over), action="archive")
    stack.let_time_pass(DAY)
    for digest in (again, restored):
        stack.change_storage_class(digest, "STANDARD")
    stack.let_time_pass(DAY)
    stack.change_storage_class(again, "ARCHIVE")

    next_days(stack, function, 300)

    assert stack.left() == {by_others, by_request, taken_over, again, restored}


@pytest.mark.parametrize("guard", ["in use", "tag", "repository", "dry run"])
def test_the_guards_are_asked_again(stack: Outside, guard: str) -> None:
    """What came into use meanwhile, or is protected by now, stays; and it goes once it may."""
    digest, other = stack.push("pr-1", days=40), stack.push("pr-2", days=40)
    select(stack.start(**GRACE), PREVIEWS)
    variables, left = GRACE, {digest, other}
    stack.let_time_pass(31 * DAY)
    match guard:
        case "in use":
            inventory = Inventory(stack.aws)
            inventory.use(address(REPOSITORY, digest))
            variables, left = GRACE | inventory.variables, {digest}
        case "tag":
            variables, left = GRACE | {"PROTECTED_TAGS": "pr-1"}, {digest}
        case "repository":
            variables = GRACE | {"PROTECTED_REPOSITORIES": "team/*"}
        case "dry run":
            variables = GRACE | {"DRY_RUN": "true"}
    next_days(stack, stack.start(**variables), 0)
    assert stack.left() == left
    assert stack.notices("failure") == []
    next_days(stack, stack.start(**GRACE), 1)
    assert stack.left() == set()


def test_a_deletion_of_archived_images_leaves_the_grace_period_alone(stack: Outside) -> None:
    """A selection that means the archive keeps what can still be brought back, whatever age it asks for."""
    by_others, in_grace = stack.push("pr-1", days=40), stack.push("pr-2", days=40)
    stack.change_storage_class(by_others, "ARCHIVE")
    function = stack.start(**GRACE)
    select(function, PREVIEWS)
    stack.let_time_pass(2 * DAY)
    since = {"storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 1}
    answer = select(function, PREVIEWS | since)
    assert (stack.left(), answer["keptByReason"]) == ({in_grace}, {"InGracePeriod": 1})


def test_a_promise_outlives_its_parameter(stack: Outside) -> None:
    """What was archived for 30 days stays for 30 days, however short the period is by then, or if there is none."""
    digest = stack.push("pr-1", days=40)
    select(stack.start(**GRACE), PREVIEWS)
    for days in ("1", "0"):
        next_days(stack, stack.start(**GRACE | {"GRACE_PERIOD_DAYS": days}), 10)
        assert stack.archived() == {digest}
    next_days(stack, stack.start(**GRACE | {"GRACE_PERIOD_DAYS": "0"}), 11)
    assert stack.left() == set()


def test_the_limits_hold_where_images_are_archived(stack: Outside) -> None:
    """And not again where they go: months of small selections may fall due on one day."""
    for n in range(6):
        stack.push(f"pr-{n}", days=40)
    small = GRACE | {"MAX_IMAGES_PER_REQUEST": "3"}
    with pytest.raises(Exception, match="means 6 images, and a request may archive 3"):
        select(stack.start(**small), PREVIEWS)
    for half in (["pr-0", "pr-1", "pr-2"], ["pr-3", "pr-4", "pr-5"]):
        for tag in half:
            select(stack.start(**small), {"tagStatus": "tagged", "tagPatternList": [tag]})
    next_days(stack, stack.start(**small), 31)
    assert stack.left() == set()


def test_each_repository_is_asked_about_once_a_day(stack: Outside) -> None:
    """Those in which something is kept, and no other; one that was deleted meanwhile is nobody's trouble."""
    stack.create("team/web", "team/idle", "team/gone")
    function = stack.start(**GRACE)
    for name in (REPOSITORY, "team/web", "team/gone"):
        stack.push("pr-1", repository=name, days=40)
    stack.send(repositoryNames=[REPOSITORY, "team/web", "team/gone"], selection=PREVIEWS)
    stack.drain(function)
    stack.aws.client("ecr").delete_repository(repositoryName="team/gone", force=True)
    stack.let_time_pass(DAY)
    listed = stack.faults.count("DescribeImages")
    next_days(stack, function, 1)
    assert stack.faults.count("DescribeImages") == listed  # nothing can be due
    next_days(stack, function, 31)
    assert (stack.left(), stack.left("team/web"), stack.notices(), stack.dead_letters()) == (set(), set(), [], [])
    assert stack.faults.count("DescribeRepositories") == 0


def test_nothing_is_kept_and_nothing_is_asked(stack: Outside) -> None:
    """On a day like that, the daily request is one query, and nobody hears of it."""
    next_days(stack, stack.start(**GRACE), 1)
    calls = {
        operation: stack.faults.count(operation) for operation in ("SendMessageBatch", "DescribeImages", "Publish")
    }
    assert calls == dict.fromkeys(calls, 0)
    assert stack.dead_letters() == []


def test_a_dry_run_says_what_would_be_archived(stack: Outside) -> None:
    """And for how much; nothing is archived, remembered or deleted."""
    stack.push("pr-1", days=40)
    answer = select(stack.start(**GRACE), PREVIEWS, dryRun=True)
    assert (len(answer["archived"]), answer["dryRun"], answer["bytesArchived"] > 0) == (1, True, True)
    assert not {"restorableUntil", "restoreRequest"} & answer.keys()
    next_days(stack, stack.start(**GRACE), 31)
    assert set(stack.statuses().values()) == {"ACTIVE"}


@pytest.mark.usefixtures("no_waiting")
def test_what_ecr_cannot_archive_is_told_and_stays(stack: Outside) -> None:
    """The retry is the selection again, for images that are named are deleted at once."""
    digest = stack.push("pr-1", days=40)
    refused = refuse_with("ImageStorageClassUpdateNotSupportedException")
    stack.faults.add("UpdateImageStorageClass", refused)
    stack.send(selection=PREVIEWS, requestId="nightly")
    stack.drain(stack.start(**GRACE))
    [notice] = stack.notices()
    assert (codes(notice.data), stack.left()) == (["ImageStorageClassUpdateNotSupportedException"], {digest})
    assert notice.data["retryRequest"]["selection"] == PREVIEWS
    stack.faults.lift()
    ask(stack.start(**GRACE), **notice.data["retryRequest"])
    assert stack.archived() == {digest}


@pytest.mark.parametrize("operation", ["UpdateImageStorageClass", "UpdateItem"])
@pytest.mark.parametrize("nth", [1, 5])
def test_whatever_is_killed_nothing_is_forgotten(stack: Outside, operation: str, nth: int) -> None:
    """Neither to archive what is to be archived, nor to delete it in time, nor by which request it comes back."""
    digests = {stack.push(f"pr-{n}", days=40) for n in range(8)}
    stack.send_bulk(selection=PREVIEWS, requestId="nightly")
    instance = stack.start_process(**GRACE)
    stack.faults.add(operation, drop_while(instance.kill, done=True), nth=nth)
    stack.receive(instance)
    stack.faults.lift()
    function = stack.start(**GRACE)
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    stack.drain(function)
    assert stack.archived() == digests
    next_days(stack, function, 31)
    assert (stack.left(), stack.dead_letters()) == (set(), [])


@pytest.mark.usefixtures("no_waiting")
def test_a_deletion_that_fails_comes_the_next_day(stack: Outside) -> None:
    """Nothing that is due is lost."""
    stack.push("pr-1", days=40)
    function = stack.start(**GRACE)
    select(function, PREVIEWS)
    stack.faults.add("BatchDeleteImage", server_error)
    next_days(stack, function, 31)
    assert len(stack.archived()) == 1
    stack.faults.lift()
    next_days(stack, function, 1)
    assert stack.left() == set()


def test_without_it_nothing_changes(stack: Outside) -> None:
    """A selection deletes, the daily request finds nothing, and named tags cost what they did."""
    stack.push_many(["pr-1", "pr-2", "v1"])
    function = stack.start(**ANY_SHARE)
    answer = select(function, PREVIEWS)
    assert (answer["deleted"], stack.tags()) == (2, {"v1"})
    ask(function, *by_tag(["v1"]))
    assert stack.left() == set()
    assert stack.faults.count("UpdateImageStorageClass") == 0


@pytest.mark.usefixtures("whether_archived_manifests_are_shown")
@pytest.mark.parametrize("nth", [1, 2])
def test_a_whole_that_was_cut_off_goes_as_a_whole(stack: Outside, nth: int) -> None:
    """Its index is in the archive by then, and its report counts all of it, with the date of the first."""
    whole = push_whole(stack, "pr-1")
    stack.send_bulk(selection=PREVIEWS, requestId="nightly", notify="always")
    instance = stack.start_process(**GRACE)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=nth)
    stack.receive(instance)
    stack.faults.lift()
    function = stack.start(**GRACE)
    stack.let_time_pass(2 * DAY)
    stack.drain(function)

    assert stack.archived() == whole
    [notice] = stack.notices()
    assert (notice.data["archivedCount"], notice.data["keptByReason"]) == (4, {})
    until = datetime.fromisoformat(notice.data["restorableUntil"])
    assert timedelta(days=27.9) < until - datetime.now(UTC) < timedelta(days=28.1)
    ask(function, **notice.data["restoreRequest"])
    assert stack.archived() == set()


@pytest.mark.usefixtures("whether_archived_manifests_are_shown")
def test_what_was_left_behind_follows_the_next_night(stack: Outside) -> None:
    """A platform image that two indexes shared, one that ECR refused, and a signature that came later."""
    shared = stack.push(days=40)
    indexes = [stack.push_index([shared, stack.push(days=40)], f"pr-{n}", days=40) for n in range(2)]
    function = stack.start(**GRACE)
    select(function, PREVIEWS | {"tagPatternList": ["pr-0"]})
    assert stack.statuses()[shared] == "ACTIVE"
    select(function, PREVIEWS)
    late = stack.sign(indexes[0], days=1)
    assert stack.statuses()[late] == "ACTIVE"
    select(function, PREVIEWS, requestId="next night")
    assert set(stack.statuses().values()) == {"ARCHIVED"}
    next_days(stack, function, 31)
    next_days(stack, function, 1)
    assert stack.left() == set()


def test_restored_and_archived_again_within_a_minute(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not what the grace period has archived, however soon that was."""
    monkeypatch.setattr(StorageChoices, "activation_seconds", 0)
    digest = stack.push("pr-1", days=40)
    function = stack.start(**GRACE)
    select(function, PREVIEWS)
    for target in ("STANDARD", "ARCHIVE"):
        stack.let_time_pass(20)
        stack.change_storage_class(digest, target)
    next_days(stack, function, 31)
    assert stack.left() == {digest}


@pytest.mark.parametrize("seconds", [0, 10])
def test_requests_that_overlap_on_an_image(stack: Outside, seconds: float) -> None:
    """One archives for good what the other would delete later, between its look and its call: it stays for good."""
    digest = stack.push("pr-1", days=40)
    function = stack.start(**GRACE)

    def meanwhile() -> None:
        ask(stack.start(**GRACE), *by_digest(digest), action="archive", requestId="for good")
        stack.let_time_pass(seconds)

    stack.faults.add("DescribeImages", do_after(meanwhile), nth=2)
    select(function, PREVIEWS)
    stack.faults.lift()
    assert stack.archived() == {digest}
    next_days(stack, function, 40)
    assert stack.left() == {digest}
    restore = {"tagStatus": "any", "storageClass": "archive", "archivedBy": "for good"}
    assert select(function, restore, action="restore")["restoredCount"] == 1


def test_an_archive_that_is_listed_late_is_known(stack: Outside) -> None:
    """A deletion of archived images that began before the archiving does not take what is in its grace period."""
    digest = stack.push("pr-1", days=40)
    function = stack.start(**GRACE)
    others = stack.start(**GRACE)

    def list_late(call: Call, perform: Perform) -> Answer:
        select(others, PREVIEWS)
        return perform(call.body)

    stack.faults.add("DescribeImages", list_late, nth=1)
    answer = select(function, PREVIEWS | {"storageClass": "archive"})
    assert (answer["deleted"], answer["keptByReason"], stack.left()) == (0, {"InGracePeriod": 1}, {digest})


def test_a_part_that_was_restored_by_itself_stays(stack: Outside) -> None:
    """Somebody wants one platform image; its index goes on its way."""
    child, other = stack.push(days=40), stack.push(days=40)
    index = stack.push_index([child, other], "pr-1", days=40)
    function = stack.start(**GRACE)
    select(function, PREVIEWS)
    stack.change_storage_class(child, "STANDARD")
    stack.let_time_pass(DAY)
    select(function, PREVIEWS, requestId="next night")
    assert stack.archived() == {index, other}
    next_days(stack, function, 31)
    assert stack.left() == {child}


def test_what_somebody_else_archived_after_ecr_refused_it_stays(stack: Outside) -> None:
    """That the stack had tried to does not make it the stack's."""
    digest = stack.push("pr-1", days=40)
    function = stack.start(**GRACE)
    stack.faults.add("UpdateImageStorageClass", refuse_with("ImageStorageClassUpdateNotSupportedException"))
    select(function, PREVIEWS)
    stack.faults.lift()
    stack.let_time_pass(60)
    stack.change_storage_class(digest, "ARCHIVE")
    next_days(stack, function, 40)
    assert stack.left() == {digest}


def test_what_ecr_refused_to_another_request_goes_in_time(stack: Outside) -> None:
    """That one was to archive the image for good, and did not."""
    stack.push("pr-1", days=40)
    function = stack.start(**GRACE)
    stack.faults.add("UpdateImageStorageClass", refuse_with("ImageStorageClassUpdateNotSupportedException"))
    ask(function, *by_tag(["pr-1"]), action="archive", requestId="for good")
    stack.faults.lift()
    select(function, PREVIEWS, requestId="nightly")
    next_days(stack, function, 40)
    assert stack.left() == set()


def test_what_came_later_comes_back_by_its_own_request(stack: Outside) -> None:
    """A signature that followed its image into the archive, without the image that an earlier request has archived."""
    index = stack.push_index([stack.push(days=40)], "pr-1", days=40)
    function = stack.start(**GRACE)
    select(function, PREVIEWS, requestId="first night")
    late = stack.sign(index, days=1)
    answer = select(function, PREVIEWS, requestId="second night")
    assert (answer["archivedCount"], stack.statuses()[late]) == (1, "ARCHIVED")
    ask(function, **answer["restoreRequest"])
    assert stack.statuses() == dict.fromkeys(stack.left(), "ARCHIVED") | {late: "ACTIVATING"}


@pytest.mark.parametrize("variable", [{"DRY_RUN": "true"}, {"PROTECTED_REPOSITORIES": "team/*"}], ids=str)
def test_a_try_that_is_stopped_tells_what_one_before_has_archived(stack: Outside, variable: dict[str, str]) -> None:
    """Until when it can come back, and by which request: nobody else would."""
    push_whole(stack, "pr-1")
    stack.send_bulk(selection=PREVIEWS, requestId="nightly", notify="always")
    instance = stack.start_process(**GRACE)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=1)
    stack.receive(instance)
    stack.faults.lift()
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    function = stack.start(**GRACE, **variable)
    stack.drain(function)
    [notice] = stack.notices()
    until = datetime.fromisoformat(notice.data["restorableUntil"])
    assert timedelta(days=29.9) < until - datetime.now(UTC) < timedelta(days=30)
    assert len(stack.archived()) == 1
    ask(stack.start(**GRACE), **notice.data["restoreRequest"])
    assert stack.archived() == set()


@pytest.mark.usefixtures("no_waiting")
def test_the_longer_promise_holds(stack: Outside) -> None:
    """An image is about to be archived for seven days by a function that is killed, and then for sixty by another."""
    digest = stack.push("pr-1", days=40)
    stack.push("main", days=40)
    stack.send_bulk(selection=PREVIEWS, requestId="first")
    instance = stack.start_process(**GRACE | {"GRACE_PERIOD_DAYS": "7"})
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=False), nth=1)
    stack.receive(instance)
    stack.faults.lift()
    stack.let_time_pass(60)
    function = stack.start(**GRACE | {"GRACE_PERIOD_DAYS": "60"})
    assert select(function, PREVIEWS, requestId="second")["archivedCount"] == 1
    next_days(stack, function, 8)
    assert digest in stack.left()


@pytest.mark.parametrize(
    ("how", "variables"),
    [("subject", GRACE), ("tag", GRACE), ("index", GRACE), ("index", ANY_SHARE)],
    ids=["subject", "tag", "index", "index, without grace"],
)
def test_what_belongs_to_an_archived_image_is_not_counted(
    stack: Outside, how: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has archived an image: its signature, or what it names, is no image of its own, whatever deletes."""
    monkeypatch.setattr(StorageChoices, "archived_image_failure", None)
    newest = stack.push("v2", days=8)
    if how == "index":
        away = stack.push_index([stack.push(days=7)], "v1", days=7)
    else:
        away = stack.push("v1", days=9)
        _ = stack.push_referrer(away, days=7) if how == "subject" else stack.sign(away, days=7)
    stack.change_storage_class(away, "ARCHIVE")
    answer = select(stack.start(**variables), {"tagStatus": "any", "keepMostRecent": 1})
    assert answer["keptByReason"] == {"Archived": 1, "MostRecent": 1, "StillUsed": 1}
    assert newest in stack.left() - stack.archived()
