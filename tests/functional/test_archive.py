"""Archive and restore: images leave, whole, for where they cannot be pulled, and come back."""

from typing import Any

import pytest

from local.ecr_storage import StorageChoices
from tests.harness.in_use import Inventory, address
from tests.harness.outside import (
    ANY_SHARE,
    BULK_VISIBILITY_SECONDS,
    DAY,
    PREVIEWS,
    REPOSITORY,
    VISIBILITY_SECONDS,
    Clock,
    Outside,
    ask,
    by_digest,
    by_tag,
    codes,
    select,
)
from tests.harness.server_faults import drop_after, drop_while, refuse_with, server_error, truncate

type Json = dict[str, Any]

ARCHIVES = {"ALLOW_ARCHIVE": "true", **ANY_SHARE}
RESTORED = 20 * 60 + 1
"""Seconds after which what is restored can be pulled."""


@pytest.fixture(params=[(None, False), ("ImageInaccessible", False), ("ImageNotFound", True)], ids=str)
def whatever_ecr_does(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str | None, bool]:
    """What nobody outside AWS knows: how archived manifests are answered, and whether a child can be archived alone."""
    failure, alone = request.param
    monkeypatch.setattr(StorageChoices, "archived_image_failure", failure)
    monkeypatch.setattr(StorageChoices, "children_can_be_archived", alone)
    return failure, alone


def push_whole(stack: Outside, *tags: str) -> list[str]:
    """Pushes an image for two platforms, nested, signed in both ways; returns all its digests, the index first."""
    first, second = stack.push(days=40), stack.push(days=40)
    inner = stack.push_index([second], days=40)
    index = stack.push_index([first, inner], *tags, days=40)
    return [index, first, inner, second, stack.push_referrer(index, days=40), stack.sign(first, days=40)]


@pytest.mark.usefixtures("whatever_ecr_does")
def test_an_image_is_archived_and_restored_as_a_whole(stack: Outside) -> None:
    """By one of its tags: with what its index names, and all signatures; then everything is as it was before."""
    whole, other = push_whole(stack, "v1", "latest"), stack.push("main", days=40)
    tags, function = stack.tags(), stack.start(**ARCHIVES)

    answer = ask(function, "imageTag=v1", action="archive", requestId="put-away")

    assert stack.archived() == set(whole)
    assert stack.statuses()[other] == "ACTIVE"
    assert {image["imageDigest"] for image in answer["archived"]} == set(whole)
    assert (answer["failures"], answer["archivedCount"], answer["bytesArchived"] > 0) == ([], 1, True)
    assert not {"imageIds", "deleted"} & answer.keys()

    restored = ask(function, "imageTag=v1", action="restore")

    assert {image["imageDigest"] for image in restored["restored"]} == set(whole)
    assert (restored["failures"], restored["activatingCount"], restored["bytesRestored"]) == (
        [],
        len(whole),
        answer["bytesArchived"],
    )
    assert set(stack.statuses().values()) == {"ACTIVE", "ACTIVATING"}
    stack.let_time_pass(RESTORED)
    assert set(stack.statuses().values()) == {"ACTIVE"}
    assert (stack.left(), stack.tags(), stack.notices()) == ({*whole, other}, tags, [])


@pytest.mark.usefixtures("whatever_ecr_does")
def test_a_report_has_the_request_that_brings_everything_back(stack: Outside) -> None:
    """Of named images and of a selection: what the request archived, and nothing that others did."""
    foreign = stack.push("v0", days=40)
    stack.change_storage_class(foreign, "ARCHIVE")
    whole, preview = push_whole(stack, "v1"), stack.push("pr-1", days=40)
    function = stack.start(**ARCHIVES)
    stack.send("imageTag=v1", action="archive", requestId="named", notify="always")
    stack.send(selection=PREVIEWS, action="archive", requestId="selected", notify="always")

    stack.drain(function)

    requests = {notice.data["requestId"]: notice.data["restoreRequest"] for notice in stack.notices("report")}
    assert stack.archived() == {foreign, preview, *whole}
    ask(function, **requests["named"])
    assert stack.archived() == {foreign, preview}
    ask(function, **requests["selected"])
    assert stack.archived() == {foreign}


def test_an_image_that_is_already_there_is_no_failure(stack: Outside) -> None:
    """And ECR is not asked for it; two names of one image are one call."""
    digest = stack.push("v1", "v2", days=40)
    function = stack.start(**ARCHIVES, PROTECTED_TAGS="other")

    def both(action: str) -> tuple[Any, ...]:
        answer = ask(function, "imageTag=v1", f"imageDigest={digest},imageTag=v2", action=action)
        return answer["failures"], answer[f"{action}dCount"], stack.faults.count("UpdateImageStorageClass")

    assert both("restore") == ([], 2, 0)
    assert both("archive") == ([], 2, 1)
    assert both("archive") == ([], 2, 1)
    assert both("restore") == ([], 2, 2)
    assert both("restore") == ([], 2, 2)


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"PROTECTED_TAGS": "prod*"}, "ProtectedTag"),
        ({"PROTECTED_REPOSITORIES": "team/*"}, "ProtectedRepository"),
        ({"USAGE_SOURCES": "eks"}, "UsageUnknown"),
        ({}, "ImageInUse"),
    ],
)
def test_the_guards_speak_as_for_a_deletion(stack: Outside, variables: dict[str, str], code: str) -> None:
    """Whichever tag is named: it is the image that would be gone. But none keeps an image from coming back."""
    digest = stack.push("v1", "prod-1", days=40)
    inventory = Inventory(stack.aws)
    guarded = stack.start(**ARCHIVES, **inventory.variables, **variables)
    if code == "ImageInUse":
        inventory.use(address(REPOSITORY, "prod-1"))
    for image_id in ("imageTag=v1", f"imageDigest={digest}"):
        assert codes(ask(guarded, image_id, action="archive")) == [code]
    kept = select(guarded, {"tagStatus": "tagged", "tagPatternList": ["v*"]}, action="archive")
    assert (codes(kept) == [code]) != (code.removeprefix("Image") in kept["keptByReason"])
    assert stack.archived() == set()

    ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive")
    assert stack.archived() == {digest}
    assert ask(guarded, "imageTag=v1", action="restore")["failures"] == []
    assert stack.archived() == set()


def test_limits_and_dry_runs_hold(stack: Outside) -> None:
    """Relatives count; a dry run says how much it would be, and does nothing; both are as for a deletion."""
    whole = push_whole(stack, "v1")
    with pytest.raises(Exception, match=r"^request.action: with .* 6 images, and a request may archive 5"):
        ask(stack.start(**ARCHIVES, MAX_IMAGES_PER_REQUEST="5"), "imageTag=v1", action="archive")
    meant = PREVIEWS | {"tagPatternList": ["v*"]}
    with pytest.raises(Exception, match="means 6 images, and a request may archive 5"):
        select(stack.start(**ARCHIVES, MAX_IMAGES_PER_REQUEST="5"), meant, action="archive")
    foreseen = [
        ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive", dryRun=True),
        select(stack.start(**ARCHIVES), meant, action="archive", dryRun=True),
        ask(stack.start(**ARCHIVES, DRY_RUN="true"), "imageTag=v1", action="archive"),
    ]
    assert stack.faults.count("UpdateImageStorageClass") == 0
    real = ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive")
    for answer in foreseen:
        assert {image["imageDigest"] for image in answer["archived"]} == set(whole)
        assert (answer["dryRun"], answer["bytesArchived"]) == (True, real["bytesArchived"])
        assert "restoreRequest" not in answer
    back = ask(stack.start(**ARCHIVES), "imageTag=v1", action="restore", dryRun=True)
    assert (back["bytesRestored"], stack.archived()) == (real["bytesArchived"], set(whole))


@pytest.mark.parametrize("action", ["archive", "restore"])
def test_a_stack_must_allow_it(stack: Outside, action: str) -> None:
    """It costs money; the request is rejected, and the notice names the parameter."""
    stack.push("v1")
    stack.send("imageTag=v1", action=action)
    stack.drain(stack.start())
    [notice] = stack.notices()
    assert notice.data["error"] == f'request.action "{action}" is for stacks whose AllowArchive is true'
    assert (stack.archived(), stack.faults.count("UpdateImageStorageClass")) == (set(), 0)


def test_what_ecr_refuses_is_told(stack: Outside) -> None:
    """A platform image whose index stays; with its index, in whichever order they are named, it goes."""
    child = stack.push(days=40)
    index = stack.push_index([child], "v1", days=40)
    function = stack.start(**ARCHIVES)
    stack.send(*by_digest(child), action="archive")
    stack.drain(function)
    [notice] = stack.notices("failure")
    assert codes(notice.data) == ["ImageStorageClassUpdateNotSupportedException"]
    assert notice.data["retryRequest"]["action"] == "archive"
    assert stack.archived() == set()

    assert ask(function, *by_digest(child, index), action="archive")["failures"] == []
    assert stack.archived() == {child, index}


def test_what_belongs_to_others_too_stays(stack: Outside) -> None:
    """A platform image with a tag of its own, or of another index; it is told as kept, and the rest goes."""
    tagged, shared, own = stack.push("base", days=40), stack.push(days=40), stack.push(days=40)
    index = stack.push_index([tagged, shared, own], "v1", days=40)
    stack.push_index([shared], "v2", days=40)
    answer = ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive")
    assert stack.archived() == {index, own}
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {
        tagged: "StillTagged",
        shared: "StillUsed",
    }


@pytest.mark.parametrize("by_selection", [False, True])
def test_what_others_archived_comes_back_in_two_steps(stack: Outside, by_selection: bool) -> None:  # noqa: FBT001
    """ECR does not show what an archived index names: it is restored, that is told, and the retry brings the rest."""
    child = stack.push(days=40)
    index = stack.push_index([child], "v1", days=40)
    for digest in (index, child):
        stack.change_storage_class(digest, "ARCHIVE")
    function = stack.start(**ARCHIVES)
    meant: Json = {"imageIds": ["imageTag=v1"]}
    if by_selection:
        meant = {"selection": PREVIEWS | {"tagPatternList": ["v*"], "storageClass": "archive"}}
    stack.send(action="restore", **meant)
    stack.drain(function)
    [notice] = stack.notices("failure")
    assert (codes(notice.data), stack.statuses()) == (["RestoredInPart"], {index: "ACTIVATING", child: "ARCHIVED"})

    stack.let_time_pass(RESTORED)
    assert ask(function, **notice.data["retryRequest"])["failures"] == []
    assert stack.archived() == set()


def test_a_selection_archives_and_another_one_restores(stack: Outside) -> None:
    """By age and by tag; platform images and signatures go and come with what they belong to."""
    whole, young, keep = push_whole(stack, "pr-1"), stack.push("pr-2", days=3), stack.push("main", days=40)
    function = stack.start(**ARCHIVES)
    old = PREVIEWS | {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}

    answer = select(function, old | {"storageClass": "standard"}, action="archive")

    assert stack.archived() == set(whole)
    assert (answer["selected"], answer["archivedCount"]) == (6, 6)
    assert answer["keptByReason"] == {"TooRecent": 1, "NotMatched": 1}
    assert select(function, old, action="archive")["keptByReason"]["Archived"] == 6

    answer = select(function, PREVIEWS | {"storageClass": "archive"}, action="restore")
    assert (answer["restoredCount"], answer["activatingCount"], stack.archived()) == (6, 6, set())
    assert {young, keep} <= {digest for digest, status in stack.statuses().items() if status == "ACTIVE"}


def test_a_selection_means_one_storage_class(stack: Outside) -> None:
    """Standard, unless it says archive; by the time since the archiving, and not by that of the push."""
    active, first, second = (stack.push(f"pr-{n}", days=99) for n in range(3))
    stack.change_storage_class(first, "ARCHIVE")
    stack.let_time_pass(31 * DAY)
    stack.change_storage_class(second, "ARCHIVE")
    long_ago = {
        "storageClass": "archive",
        "countType": "sinceImageTransitioned",
        "countUnit": "days",
        "countNumber": 30,
    }
    answer = select(stack.start(**ANY_SHARE), PREVIEWS | long_ago)
    assert (stack.left(), answer["keptByReason"]) == ({active, second}, {"NotMatched": 1, "TooRecent": 1})
    answer = select(stack.start(**ANY_SHARE), PREVIEWS)
    assert (stack.left(), answer["keptByReason"]) == ({second}, {"Archived": 1})


def test_a_request_that_is_killed_goes_on(stack: Outside) -> None:
    """What is archived by then is not asked for again, and all of it is in the report."""
    tags = [f"v{n}" for n in range(30)]
    digests = stack.push_many(tags)
    stack.send_bulk(*by_tag(tags), action="archive", requestId="r-1", notify="always")
    instance = stack.start_process(**ARCHIVES)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=10)
    stack.receive(instance)
    done = len(stack.archived())
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    asked = stack.faults.count("UpdateImageStorageClass")
    assert 0 < done < 30

    stack.drain(stack.start(**ARCHIVES))

    assert stack.archived() == set(digests)
    [notice] = stack.notices("report")
    assert notice.data["archivedCount"] == 30
    assert stack.faults.count("UpdateImageStorageClass") - asked == 30 - done
    stack.let_time_pass(3)
    ask(stack.start(**ARCHIVES), **notice.data["restoreRequest"])
    assert stack.archived() == set()


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", [server_error, truncate, drop_after])
@pytest.mark.parametrize("action", ["archive", "restore"])
def test_ecr_fails_for_some_images(stack: Outside, fault: Any, action: str) -> None:
    """The others are done at once, those later; a lost answer does no harm, and nothing is told twice."""
    tags = [f"v{n}" for n in range(20)]
    stack.push_many(tags)
    function = stack.start(**ARCHIVES)
    if action == "restore":
        ask(function, *by_tag(tags), action="archive")
    stack.faults.add("UpdateImageStorageClass", fault, nth=range(1, 16))
    stack.send(*by_tag(tags), action=action, notify="always")
    stack.drain(function)
    assert len(stack.archived()) == (20 if action == "archive" else 0)
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data[f"{action}dCount"]) == ("report", 20)
    assert stack.dead_letters() == []


@pytest.mark.parametrize("by_selection", [False, True])
def test_time_runs_out(stack: Outside, by_selection: bool) -> None:  # noqa: FBT001
    """Every image is archived once and counted once, however short the time is."""
    tags = [f"pr-{n:03}" for n in range(120)]
    digests = stack.push_many(tags)
    clock = Clock()
    stack.faults.add("UpdateImageStorageClass", clock.takes(1))
    function = clock.limit(stack.start(**ARCHIVES), 80)  # so that three receives are more than enough
    meant: Json = {"selection": PREVIEWS} if by_selection else {"imageIds": by_tag(tags)}
    stack.send(action="archive", requestId="r-1", notify="always", **meant)
    while stack.waiting():
        stack.receive(function)  # which raises TimedOutError where a step does not look at the clock
        stack.redeliver()
    assert stack.archived() == set(digests)
    assert stack.faults.count("UpdateImageStorageClass") == 120
    assert sum(notice.data["archivedCount"] for notice in stack.notices()) == 120
    assert [notice.data["failures"] for notice in stack.notices()] == [[]] * len(stack.notices())


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("seconds", "archived"), [(1.3, True), (10, False)])
def test_a_repository_that_is_slow_to_list(
    stack: Outside,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    archived: bool,  # noqa: FBT001
) -> None:
    """What may need an image is listed in the time of the bulk function; where that is too short, nothing is archived.

    Whoever names images to delete does not wait for it. Each of the images is a failure then, once it was tried twice.
    """
    index = stack.push_index([stack.push()], "v1")
    stack.push_many([f"other-{n}" for n in range(99)])
    function = stack.start(**ARCHIVES)
    monkeypatch.setattr("handler.registry.listing._PAGE", 1)
    clock = Clock()
    stack.send("imageTag=v1", "imageTag=other-1", action="archive", notify="always", requestId="put-away")
    stack.send("imageTag=other-2")
    assert not stack.receive(clock.limit(function, 120)).failed
    assert "other-2" not in stack.tags()
    slow = stack.faults.add("DescribeImages", clock.takes(seconds))
    stack.drain(clock.limit(function, 900))
    [notice] = stack.notices()
    assert (index in stack.archived(), stack.waiting(), stack.dead_letters()) == (archived, [], [])
    if archived:
        assert (notice.data["archivedCount"], notice.data["failures"]) == (2, [])
        return
    assert notice.data["failuresByCode"] == {"TimedOut": 2}
    assert "BulkTimeout" in notice.data["failures"][0]["failureReason"]
    slow.lift()
    stack.send("imageTag=v1", "imageTag=other-1", action="archive", notify="always", requestId="put-away")
    stack.drain(function)
    assert (len(stack.notices()), stack.archived()) == (1, set())
    stack.send_body(notice.data["retryRequest"])
    stack.drain(function)
    assert index in stack.archived()


def test_a_duplicate_changes_nothing(stack: Outside) -> None:
    """An image that was restored since stays so."""
    digest = stack.push("v1")
    function = stack.start(**ARCHIVES)
    stack.send_bulk("imageTag=v1", action="archive", requestId="r-1")
    first = stack.receive(function)
    stack.change_storage_class(digest, "STANDARD")
    stack.duplicate(first)
    stack.send("imageTag=v1", action="archive", requestId="r-1")
    stack.drain(function)
    assert stack.statuses() == {digest: "ACTIVATING"}
    with pytest.raises(Exception, match="asked for something else"):
        ask(function, "imageTag=v1", action="restore", requestId="r-1")


def test_a_cascade_finds_what_belongs_to_archived_images(stack: Outside) -> None:
    """That this stack archived: the index goes with all that it names. Of others it is told, and nothing goes."""
    whole = push_whole(stack, "v1")
    child = stack.push(days=40)
    foreign = stack.push_index([child], "v2", days=40)
    for digest in (foreign, child):
        stack.change_storage_class(digest, "ARCHIVE")
    function = stack.start(**ARCHIVES)
    ask(function, "imageTag=v1", action="archive")
    assert ask(function, "imageTag=v1", cascade=True)["failures"] == []
    assert stack.left() == {foreign, child}
    assert not set(whole) & stack.left()
    assert codes(ask(function, "imageTag=v2", cascade=True)) == ["ArchivedIndex"]
    assert stack.left() == {foreign, child}


def test_repositories_by_pattern(stack: Outside) -> None:
    """A fan-out passes the action on."""
    stack.create("team/web")
    digests = {name: stack.push("pr-1", repository=name) for name in (REPOSITORY, "team/web")}
    stack.send(repositoryNames=["team/*"], selection=PREVIEWS, action="archive")
    stack.drain(stack.start(**ARCHIVES))
    assert {name: stack.archived(name) for name in digests} == {name: {digest} for name, digest in digests.items()}


def test_metrics_count_what_was_done(stack: Outside) -> None:
    """Archived and restored images, and none as deleted."""
    stack.push("v1")
    function = stack.start(**ARCHIVES)
    ask(function, "imageTag=v1", action="archive")
    ask(function, "imageTag=v1", action="restore")
    done = [
        {name: entry[name] for name in ("ImagesArchived", "ImagesRestored") if name in entry}
        for entry in stack.metrics()
    ]
    assert done == [{"ImagesArchived": [1.0]}, {"ImagesRestored": [1.0]}]
    assert stack.metric("ImagesDeleted") == 0


def test_an_index_that_is_being_restored_needs_what_it_names(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be pulled in some minutes: its platform images stay, whoever asks, and whatever ECR shows and allows."""
    monkeypatch.setattr(StorageChoices, "children_can_be_archived", True)
    shared = stack.push(days=40)
    own = stack.push(days=40)
    coming, other = stack.push_index([shared, own], "v1", days=40), stack.push_index([shared], "v2", days=40)
    function = stack.start(**ARCHIVES)
    ask(function, "imageTag=v1", action="archive")
    assert stack.archived() == {coming, own}
    ask(function, "imageTag=v1", action="restore")

    answer = ask(function, "imageTag=v2", action="archive")
    assert (stack.archived(), [kept["code"] for kept in answer["kept"]]) == ({other}, ["StillUsed"])
    untagged = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
    assert select(function, untagged, action="archive")["keptByReason"]["StillUsed"] == 1
    assert stack.statuses()[shared] == "ACTIVE"


@pytest.mark.parametrize("by_digest_alone", [True, False])
def test_what_an_archived_index_in_use_names_stays(stack: Outside, by_digest_alone: bool) -> None:  # noqa: FBT001
    """Though somebody has archived it, and ECR does not show what it names: on doubt, nothing goes."""
    child = stack.push(days=40)
    index = stack.push_index([child], "main", days=40)
    stack.change_storage_class(index, "ARCHIVE")
    inventory = Inventory(stack.aws)
    inventory.use(address(REPOSITORY, "main"))
    function = stack.start(**ARCHIVES, **inventory.variables)
    if by_digest_alone:
        assert codes(ask(function, *by_digest(child), action="archive")) == ["UnreadableIndex"]
    else:
        untagged = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
        assert select(function, untagged, action="archive")["keptByReason"] == {"UnreadableIndex": 2}
    assert stack.archived() == {index}


@pytest.mark.parametrize("by_selection", [False, True])
def test_dry_run_stops_a_restore_too(stack: Outside, by_selection: bool) -> None:  # noqa: FBT001
    """What it has not restored by then stays in the archive, and is told."""
    tags = [f"pr-{n}" for n in range(20)]
    stack.push_many(tags)
    ask(stack.start(**ARCHIVES), *by_tag(tags), action="archive")
    meant: Json = {"selection": PREVIEWS | {"storageClass": "archive"}} if by_selection else {"imageIds": by_tag(tags)}
    send = stack.send_bulk if by_selection else stack.send
    send(action="restore", requestId="r-1", **meant)
    instance = stack.start_process(**ARCHIVES)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=3)
    stack.receive(instance)
    before = stack.archived()
    stack.faults.lift()
    stack.let_time_pass(BULK_VISIBILITY_SECONDS if by_selection else VISIBILITY_SECONDS)
    stack.drain(stack.start(**ARCHIVES, DRY_RUN="true"))
    assert stack.archived() == before
    [notice] = stack.notices("failure")
    assert set(codes(notice.data)) == {"StoppedByDryRun"}


def test_a_killed_restore_does_not_forget_what_it_could_not_know(stack: Outside) -> None:
    """The index is being restored by then; that what it names is still in the archive, is told all the same."""
    child = stack.push(days=40)
    index = stack.push_index([child], "v1", days=40)
    for digest in (index, child):
        stack.change_storage_class(digest, "ARCHIVE")
    meant = PREVIEWS | {"tagPatternList": ["v*"], "storageClass": "archive"}
    stack.send_bulk(selection=meant, action="restore", requestId="r-1")
    instance = stack.start_process(**ARCHIVES)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=1)
    stack.receive(instance)
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    stack.drain(stack.start(**ARCHIVES))
    [notice] = stack.notices("failure")
    assert (codes(notice.data), stack.archived()) == (["RestoredInPart"], {child})


def test_what_others_archived_with_less_than_its_own_is_told(stack: Outside) -> None:
    """The index is where it is to be; what it names cannot be known, and may still be where it can be pulled."""
    child = stack.push(days=40)
    index = stack.push_index([child], "v1", days=40)
    stack.change_storage_class(index, "ARCHIVE")
    answer = ask(stack.start(**ARCHIVES), "imageTag=v1", action="archive")
    assert (answer["archivedCount"], answer["failures"]) == (1, [])
    assert [kept["code"] for kept in answer["kept"]] == ["ArchivedIndex"]


def test_signatures_in_the_archive_come_back_with_an_image_that_does_not(stack: Outside) -> None:
    """Somebody archived them alone; a restored image has all that belongs to it."""
    digest = stack.push("v1", days=40)
    signature, referrer = stack.sign(digest, days=40), stack.push_referrer(digest, days=40)
    for name in (signature, referrer):
        stack.change_storage_class(name, "ARCHIVE")
    assert ask(stack.start(**ARCHIVES), "imageTag=v1", action="restore")["failures"] == []
    assert stack.archived() == set()


def test_an_image_that_is_named_and_belongs_to_another_one_counts_once(stack: Outside) -> None:
    """Where limits are concerned."""
    stack.push_index([stack.push("base", days=40)], "v1", days=40)
    function = stack.start(**ARCHIVES, MAX_IMAGES_PER_REQUEST="2")
    assert ask(function, *by_tag(["v1", "base"]), action="archive")["archivedCount"] == 2


def test_an_image_can_be_archived_again_at_once(stack: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was restored; and comes back by the request that did it last."""
    monkeypatch.setattr(StorageChoices, "activation_seconds", 0)
    digest = stack.push("v1", days=40)
    function = stack.start(**ARCHIVES)
    ask(function, *by_tag(["v1"]), action="archive", requestId="first")
    stack.let_time_pass(10)
    ask(function, *by_tag(["v1"]), action="restore")
    stack.let_time_pass(10)
    answer = ask(function, *by_tag(["v1"]), action="archive", requestId="second")
    assert (answer["archivedCount"], stack.archived()) == (1, {digest})
    ask(function, **answer["restoreRequest"])
    assert stack.archived() == set()


def kill_during(stack: Outside, call: int, seconds: float = BULK_VISIBILITY_SECONDS) -> int:
    """Receives once, and kills the function after so many images have changed; returns how many are archived then."""
    instance = stack.start_process(**ARCHIVES)
    stack.faults.add("UpdateImageStorageClass", drop_while(instance.kill, done=True), nth=call)
    stack.receive(instance)
    stack.faults.lift()
    stack.let_time_pass(seconds)
    return len(stack.archived())


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("end", ["time", "kill"])
def test_what_was_archived_before_time_ran_out_is_reported(
    stack: Outside, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A receive archives some and runs out of time, or is killed; for the next one ECR is too slow to look again."""
    stack.push_index([stack.push()], "v1")
    tags = [f"pr-{n:03}" for n in range(59)]
    stack.push_many(tags)
    clock = Clock()
    function = clock.limit(stack.start(**ARCHIVES), 900)
    stack.send_bulk("imageTag=v1", *by_tag(tags), action="archive", notify="always", requestId="put-away")
    if end == "time":
        slow = stack.faults.add("UpdateImageStorageClass", clock.takes(16))
        assert stack.receive(function).failed
        slow.lift()
        stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    done = len(stack.archived()) if end == "time" else kill_during(stack, 20)
    assert 0 < done < 60
    monkeypatch.setattr("handler.registry.listing._PAGE", 1)
    slow = stack.faults.add("DescribeImages", clock.takes(20))
    stack.drain(clock.limit(function, 900))
    [notice] = stack.notices()
    assert len(stack.archived()) == done
    assert (notice.data["archivedCount"], notice.data["failuresByCode"]) == (done, {"TimedOut": 61 - done})
    assert notice.data["bytesArchived"] > 0
    assert notice.data["restoreRequest"]["selection"]["archivedBy"] == "put-away"
    assert stack.dead_letters() == []
    slow.lift()
    monkeypatch.undo()
    stack.send_body(notice.data["retryRequest"])
    stack.drain(function)
    assert len(stack.archived()) == 61, "with what belongs to the index"


@pytest.mark.usefixtures("no_waiting")
def test_what_a_killed_try_has_archived_can_be_restored(stack: Outside) -> None:
    """Named images: the report has the size of all of them, and the request that brings them back."""
    tags = [f"v{n}" for n in range(5)]
    stack.push_many(tags)
    stack.send_bulk(*by_tag(tags), action="archive", requestId="put-away", notify="always")
    assert kill_during(stack, 5) == 5
    stack.drain(stack.start(**ARCHIVES))
    [notice] = stack.notices()
    assert (notice.data["archivedCount"], notice.data["bytesArchived"] > 0) == (5, True)
    stack.send_body(notice.data["restoreRequest"])
    stack.drain(stack.start(**ARCHIVES))
    assert stack.archived() == set()


@pytest.mark.usefixtures("no_waiting")
def test_what_was_archived_before_a_dry_run_stopped_it_is_reported(stack: Outside) -> None:
    """A selection: with the request that brings it back."""
    stack.push_many([f"pr-{n}" for n in range(20)])
    stack.send_bulk(selection=PREVIEWS, action="archive", requestId="put-away", notify="always")
    done = kill_during(stack, 3)
    stack.drain(stack.start(**ARCHIVES, DRY_RUN="true"))
    [notice] = stack.notices()
    assert 0 < notice.data["archivedCount"] == done == len(stack.archived())
    assert notice.data["failuresByCode"] == {"StoppedByDryRun": 1}
    assert notice.data["restoreRequest"]["selection"]["archivedBy"] == "put-away"


@pytest.mark.usefixtures("no_waiting")
def test_what_was_restored_before_a_dry_run_stopped_it_is_reported(stack: Outside) -> None:
    """Named images: those that are back are not said to have been left alone."""
    tags = [f"pr-{n}" for n in range(20)]
    for digest in stack.push_many(tags):
        stack.change_storage_class(digest, "ARCHIVE")
    stack.send(*by_tag(tags), action="restore", requestId="r-1")
    left = kill_during(stack, 3, VISIBILITY_SECONDS)
    assert left < 20
    stack.drain(stack.start(**ARCHIVES, DRY_RUN="true"))
    [notice] = stack.notices()
    assert (notice.data["restoredCount"], notice.data["failuresByCode"]) == (20 - left, {"StoppedByDryRun": left})


@pytest.mark.usefixtures("no_waiting")
def test_an_index_that_was_restored_before_a_dry_run_stopped_it_is_reported(stack: Outside) -> None:
    """A selection restores an index of which it does not know what it names: that is RestoredInPart all the same."""
    child = stack.push()
    index = stack.push_index([child], "v1")
    for digest in (index, child):
        stack.change_storage_class(digest, "ARCHIVE")
    meant = {"tagStatus": "tagged", "tagPatternList": ["v*"], "storageClass": "archive"}
    stack.send_bulk(selection=meant, action="restore", requestId="r-1")
    assert kill_during(stack, 1) == 1
    stack.drain(stack.start(**ARCHIVES, DRY_RUN="true"))
    [notice] = stack.notices()
    assert notice.data["failuresByCode"] == {"RestoredInPart": 1, "StoppedByDryRun": 1}


@pytest.mark.parametrize("how", ["subject", "tag"])
def test_a_signed_index_goes_whole_while_something_else_is_in_use(stack: Outside, how: str) -> None:
    """What is in use cannot be found here, as of another region: so it is asked what the archive remembers."""
    inventory = Inventory(stack.aws)
    inventory.use(address(REPOSITORY, f"sha256:{'f' * 64}"))
    index = stack.push_index([stack.push(), stack.push()], "v1")
    signature = stack.push_referrer(index) if how == "subject" else stack.sign(index)
    function = stack.start(**ARCHIVES, **inventory.variables)
    foreseen = ask(function, "imageTag=v1", action="archive", dryRun=True)
    answer = ask(function, "imageTag=v1", action="archive")
    assert (foreseen["failures"], answer["failures"], len(foreseen["archived"])) == ([], [], 4)
    assert signature in stack.archived()


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("how", ["index", "signature"])
def test_what_stayed_behind_follows_with_the_next_selection(stack: Outside, how: str) -> None:
    """ECR refuses what belongs to an archived image once; the same selection takes it a night later."""
    part = stack.push(days=40) if how == "index" else ""
    top = stack.push_index([part], "v1", days=40) if part else stack.push("v1", days=40)
    follower = part or stack.sign(top, days=40)
    stack.push("main")
    function = stack.start(**ARCHIVES)
    old = {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
    refusal = refuse_with("ImageStorageClassUpdateNotSupportedException")
    refused = stack.faults.add("UpdateImageStorageClass", refusal, nth=2)
    select(function, old, action="archive", requestId="one")
    refused.lift()
    assert stack.archived() == {top}
    assert select(function, old, action="archive", requestId="two")["archivedCount"] == 1
    assert stack.archived() == {top, follower}
