"""A lost answer of ECR: what the call deleted counts as deleted, in the report and for what depended on it."""

from typing import Any

import pytest

from tests.harness.outside import Outside, ask, by_digest, codes
from tests.harness.server_faults import (
    WRITES,
    Action,
    deny,
    drop_after,
    drop_answer_about,
    drop_while,
    ignore,
    server_error,
    throttle,
)

type Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_children_go_though_the_answer_about_their_index_is_lost(stack: Outside) -> None:
    """100 images and the index that names them in one request, the index in a call of its own."""
    children = [stack.push() for _ in range(100)]
    index = stack.push_index(children)
    lost = stack.faults.add("BatchDeleteImage", drop_answer_about(index))

    answer = ask(stack.start(), *by_digest(*children, index))

    assert lost.strikes
    assert stack.left() == set()
    assert codes(answer) == []
    assert {image_id["imageDigest"] for image_id in answer["imageIds"]} == {*children, index}
    assert answer["unconfirmed"] == 1
    assert stack.notices() == []


def test_relatives_go_though_the_answer_about_their_index_is_lost(stack: Outside) -> None:
    """An index names 100 images and another index that names them too: none is kept for an index that is gone."""
    children = [stack.push() for _ in range(100)]
    inner = stack.push_index(children)
    stack.push_index([*children, inner], "1.0")
    stack.faults.add("BatchDeleteImage", drop_answer_about(inner))

    answer = ask(stack.start(), "imageTag=1.0", cascade=True)

    assert answer.get("kept", []) == []
    assert stack.left() == set()
    assert (answer["failures"], answer["unconfirmed"]) == ([], 1)
    assert stack.notices() == []


def test_no_image_is_reported_as_kept_that_is_gone(stack: Outside) -> None:
    """A tagged image of an inner index is named as well; it goes after that index, and the answer is lost."""
    child = stack.push("v")
    inner = stack.push_index([child])
    stack.push_index([inner], "1.0")
    stack.faults.add("BatchDeleteImage", drop_answer_about("v"))

    answer = ask(stack.start(), "imageTag=1.0", "imageTag=v", cascade=True)

    assert stack.left() == set()
    assert (answer["failures"], answer.get("kept", [])) == ([], [])
    assert answer["unconfirmed"] >= 1
    assert {"imageTag": "v"} in answer["imageIds"]


def test_a_lost_answer_is_no_failure(stack: Outside) -> None:
    """Ids that are gone when they are asked for again are deleted as asked, also one that may never have been there."""
    stack.push_many(["a", "b"])
    digest = stack.push()
    lost = stack.faults.add("BatchDeleteImage", drop_after, nth=1)
    asked: list[Json] = [{"imageTag": "a"}, {"imageTag": "b"}, {"imageDigest": digest}, {"imageTag": "never"}]

    answer = ask(stack.start(), *asked, {})

    assert lost.strikes == 1
    assert stack.left() == set()
    assert codes(answer) == ["MissingDigestAndTag"]
    assert sorted(answer["imageIds"], key=str) == sorted(asked, key=str)
    assert answer["unconfirmed"] == 4
    assert answer["unconfirmedReason"]
    [notice] = stack.notices()
    assert [notice.data[key] for key in ("requested", "deleted", "failed", "unconfirmed")] == [5, 4, 1, 4]
    assert notice.data["unconfirmedReason"] == answer["unconfirmedReason"]
    assert answer["unconfirmedReason"] in " ".join(notice.text.split())
    [entry] = stack.log("images unconfirmed")
    assert sorted(entry["imageIds"], key=str) == sorted(asked, key=str)


def test_confirmed_deletions_are_not_reported_as_unconfirmed(stack: Outside) -> None:
    """ECR confirms what the next try deletes, and a request without a fault."""
    stack.push_many(["a", "b", "c"])
    function = stack.start()
    assert "unconfirmed" not in ask(function, "imageTag=a", notify="always")
    pushed: list[str] = []
    stack.faults.add("BatchDeleteImage", drop_while(lambda: pushed.append(stack.push("b")), done=True), nth=1)

    answer = ask(function, "imageTag=b", "imageTag=c", notify="always")

    assert stack.left() == set()
    assert sorted(answer["imageIds"], key=len) == [{"imageTag": "c"}, {"imageDigest": pushed[0], "imageTag": "b"}]
    assert (answer["failures"], answer["unconfirmed"]) == ([], 1)
    assert ["unconfirmed" in notice.data for notice in stack.notices()] == [False, True]


def test_a_lost_answer_of_the_table_erases_no_outcome(stack: Outside) -> None:
    """A request is throttled; a duplicate of it works while that is stored, and botocore repeats the write.

    When its message comes again, the tag that was pushed since stays.
    """
    stack.push("latest")
    first, second = stack.start(), stack.start()
    throttled = stack.faults.add("BatchDeleteImage", throttle)
    answers: list[Json] = []

    def deliver_a_duplicate() -> None:
        throttled.lift()
        answers.append(ask(second, "imageTag=latest", requestId="once"))

    stack.faults.add(WRITES, drop_while(deliver_a_duplicate, done=True), nth=1, when=lambda: throttled.strikes > 0)
    stack.send("imageTag=latest", requestId="once")
    assert stack.receive(first).failed
    if not answers:  # nothing had to be noted
        deliver_a_duplicate()
    assert stack.left() == set()
    again = stack.push("latest", days=0)

    stack.drain(first)

    assert stack.left() == {again}
    assert codes(answers[0]) == []
    assert stack.notices() == []
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.parametrize("redelivered", [False, True], ids=["within the request", "after a redelivery"])
def test_a_digest_beside_a_tag_is_no_new_image(stack: Outside, redelivered: bool) -> None:  # noqa: FBT001
    """Although it was pushed a moment ago: the tag names the very image that was meant."""
    digest = stack.push("pr-1", days=0)
    stack.faults.add("BatchDeleteImage", server_error, nth=range(1, 4) if redelivered else {1})
    stack.send({"imageDigest": digest, "imageTag": "pr-1"})

    stack.drain(stack.start())

    assert stack.left() == set()
    assert (stack.notices(), stack.dead_letters()) == ([], [])


@pytest.mark.parametrize(("refused", "error"), [(False, server_error), (True, deny)], ids=["for now", "for good"])
def test_what_was_answered_stays_so_if_the_last_look_fails(
    stack: Outside,
    refused: bool,  # noqa: FBT001
    error: Action,
) -> None:
    """ECR says that one image is deleted, and nothing of the other, whatever it is asked; then the look-up fails.

    The tag that was deleted is pushed again: a redelivery does not take the new image, and the report is true.
    """
    kept = stack.push("b")
    stack.push("a")
    stack.send("imageTag=a", "imageTag=b")
    unanswered = stack.faults.add("BatchDeleteImage", ignore({"imageTag": "b"}))
    look_up = stack.faults.add("DescribeImages", error, when=lambda: stack.faults.count("BatchDeleteImage") >= 3)
    function = stack.start()
    first = stack.receive(function)
    assert bool(first.failed) != refused
    new = stack.push("a", days=0)
    unanswered.lift()
    look_up.lift()

    stack.drain(function)

    assert new in stack.left()
    assert (kept in stack.left()) == refused
    failed = [codes(notice.data) for notice in stack.notices()]
    assert failed == ([["AccessDeniedException"]] if refused else [["ImageTagPushedAgain"]])
