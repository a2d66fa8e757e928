"""Selections by tag: the tags that match go, and every image stays."""

from typing import Any

import pytest

from tests.harness.in_use import Inventory, address
from tests.harness.outside import ANY_SHARE, BULK_VISIBILITY_SECONDS, PREVIEWS, REPOSITORY, Outside, ask, codes, select
from tests.harness.server_faults import do_after, drop_while, server_error

type Json = dict[str, Any]

OLD: Json = PREVIEWS | {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}


def test_matching_tags_go_and_images_stay(stack: Outside) -> None:
    """Of the images that are meant; other tags stay, and those of images that are too young or excluded."""
    stack.push("pr-1", "pr-2", "main", days=40)
    stack.push("pr-3", "v1", days=3)
    stack.push("pr-4", "keep", days=40)
    left = stack.left()

    answer = select(stack.start(**ANY_SHARE), OLD | {"excludeTagPatternList": ["keep"]}, untag=True)

    assert (stack.tags(), stack.left()) == ({"main", "pr-3", "v1", "pr-4", "keep"}, left)
    assert {image["imageTag"] for image in answer["imageIds"]} == {"pr-1", "pr-2"}
    assert (answer["selected"], answer["deleted"], answer["bytesReclaimed"]) == (2, 2, 0)
    assert (answer["failures"], answer["keptByReason"]) == ([], {"TooRecent": 1, "Excluded": 1})


def test_the_last_tag_of_an_image_stays(stack: Outside) -> None:
    """Of several, the last in alphabetical order; also of one with more tags than a call takes."""
    stack.push("pr-1")
    stack.push(*(f"pr-x-{n:03}" for n in range(230)))
    answer = select(stack.start(**ANY_SHARE), PREVIEWS, untag=True)
    assert stack.tags() == {"pr-1", "pr-x-229"}
    assert len(stack.left()) == 2
    assert (answer["selected"], answer["deleted"], answer["keptByReason"]) == (231, 229, {"LastTag": 2})


def test_an_index_keeps_what_it_names(stack: Outside) -> None:
    """Platform images and signatures have no tag that matches, and nothing that could go with one."""
    child = stack.push()
    index = stack.push_index([child], "pr-1", "v1")
    stack.sign(index)
    left = stack.left()
    select(stack.start(**ANY_SHARE), PREVIEWS, untag=True)
    assert (stack.left(), "pr-1" in stack.tags(), "v1" in stack.tags()) == (left, False, True)


def test_the_guards_hold(stack: Outside) -> None:
    """A protected tag stays, and others of its image may go; so does one in use, and everything in a dry run."""
    stack.push("pr-1", "pr-prod", "main")
    stack.push("pr-2", "pr-3", "v2")
    inventory = Inventory(stack.aws)
    inventory.use(address(REPOSITORY, "pr-3"))
    variables = ANY_SHARE | inventory.variables | {"PROTECTED_TAGS": "*prod"}

    foreseen = select(stack.start(**variables), PREVIEWS, untag=True, dryRun=True)
    assert len(stack.tags()) == 6
    answer = select(stack.start(**variables), PREVIEWS, untag=True)

    assert stack.tags() == {"pr-prod", "main", "pr-3", "v2"}
    assert answer["keptByReason"] == foreseen["keptByReason"] == {"ProtectedTag": 1, "InUse": 1}
    assert [image["imageTag"] for image in answer["imageIds"]] == [i["imageTag"] for i in foreseen["imageIds"]]


def test_limits_count_tags_and_the_share_counts_images(stack: Outside) -> None:
    """Before anything is removed."""
    stack.push("pr-1", "pr-2", "pr-3", "main")
    stack.push("v1")
    with pytest.raises(Exception, match="means 3 tags, and a request may delete 2"):
        select(stack.start(**ANY_SHARE, MAX_IMAGES_PER_REQUEST="2"), PREVIEWS, untag=True)
    with pytest.raises(Exception, match="means 1 of the repository's 2 images, more than the 49 %"):
        select(stack.start(MAX_PERCENT_OF_REPOSITORY="49"), PREVIEWS, untag=True)
    assert len(stack.tags()) == 5
    assert select(stack.start(MAX_PERCENT_OF_REPOSITORY="50"), PREVIEWS, untag=True)["deleted"] == 3


def test_a_tag_that_moves_meanwhile_stays(stack: Outside) -> None:
    """It names another image by then, which nobody selected."""
    stack.push("pr-1", "main", days=40)
    stack.faults.add("DescribeImages", do_after(lambda: stack.push("pr-1", "other")), nth=1)
    answer = select(stack.start(**ANY_SHARE), OLD, untag=True)
    assert stack.tags() == {"pr-1", "main", "other"}
    assert answer["keptByReason"] == {"TaggedSince": 1}


@pytest.mark.usefixtures("no_waiting")
def test_what_fails_is_done_later(stack: Outside) -> None:
    """A tag that is gone by then is not asked for again, and the last of an image stays throughout."""
    stack.push(*(f"pr-{n:03}" for n in range(250)), "main")
    stack.faults.add("BatchDeleteImage", server_error, nth=range(2, 20))
    stack.send_bulk(selection=PREVIEWS, untag=True, requestId="r-1", notify="always")
    function = stack.start(**ANY_SHARE)
    stack.receive(function)
    stack.faults.lift()
    stack.drain(function)
    assert (stack.tags(), len(stack.left()), stack.dead_letters()) == ({"main"}, 1, [])
    assert all(codes(notice.data) == [] for notice in stack.notices())


def test_signatures_are_not_counted(stack: Outside) -> None:
    """They are no images of their own, and keep the tags by which they belong to one."""
    old, new = stack.push("a-1", "b-1", days=40), stack.push("a-2", "b-2", days=30)
    stack.sign(old, days=1)
    digest = stack.sign(new, days=1)
    stack.tag(digest, f"{new.replace(':', '-')}.att")
    meant = {"tagStatus": "tagged", "tagPatternList": ["*"], "keepMostRecent": 1}
    answer = select(stack.start(**ANY_SHARE), meant, untag=True)
    assert (answer["selected"], answer["deleted"]) == (2, 1)
    assert sorted(tag for tag in stack.tags() if not tag.startswith("sha256")) == ["a-2", "b-1", "b-2"]
    assert len([tag for tag in stack.tags() if tag.startswith("sha256")]) == 3


@pytest.mark.parametrize("by_name", [False, True])
def test_a_tag_in_use_is_one_that_its_image_keeps(stack: Outside, by_name: bool) -> None:  # noqa: FBT001
    """So the other one may go; and the report names who uses it."""
    stack.push("pr-1", "pr-2")
    inventory = Inventory(stack.aws)
    inventory.use(address(REPOSITORY, "pr-1"))
    function = stack.start(**ANY_SHARE, **inventory.variables)
    if by_name:
        assert codes(ask(function, "imageTag=pr-1", "imageTag=pr-2", untag=True)) == ["ImageInUse"]
    else:
        answer = select(function, PREVIEWS, untag=True)
        assert [(kept["imageId"]["imageTag"], kept["code"]) for kept in answer["kept"]] == [("pr-1", "ImageInUse")]
        assert "keptOmitted" not in answer
    assert stack.tags() == {"pr-1"}


def test_an_image_that_must_match_twice_loses_all_its_tags_or_none(stack: Outside) -> None:
    """Its tags go in one call: cut off between two calls, nothing of it is left that does not match any more."""
    for n in range(60):
        stack.push(f"a-{n}", f"b-{n}", f"keep-{n}", days=40)
    meant = {"tagStatus": "tagged", "tagPatternList": ["a-*", "b-*"]}
    stack.send_bulk(selection=meant, untag=True, requestId="r-1")
    instance = stack.start_process(**ANY_SHARE)
    stack.faults.add("BatchDeleteImage", drop_while(instance.kill, done=True), nth=1)
    stack.receive(instance)
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)
    stack.drain(stack.start(**ANY_SHARE))
    assert stack.tags() == {f"keep-{n}" for n in range(60)}


def test_a_notice_speaks_of_tags(stack: Outside) -> None:
    """No image was deleted, and nobody reads that one was."""
    stack.push("pr-1", "main")
    stack.send(selection=PREVIEWS, untag=True, notify="always")
    stack.drain(stack.start(**ANY_SHARE))
    [notice] = stack.notices()
    assert "\n1 tag was removed.\n" in notice.text
    assert notice.subject.endswith("1 tag removed in team/app")
