"""An incomplete answer is a lost answer: look-ups are made again, and after a deletion ECR is asked what is left."""

from typing import Any

import pytest

from tests.harness.outside import Outside, ask, by_digest, codes
from tests.harness.server_faults import (
    SENDS,
    Action,
    Answer,
    Call,
    Perform,
    drop_before,
    edit_answer,
    empty,
    ignore,
    nothing,
    throttle,
    truncate,
)

type Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("no_waiting")

CUT_SHORT = {"cut short": truncate, "empty": empty}
UNTAGGED_FOR_A_WEEK = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
@pytest.mark.parametrize("operation", ["BatchGetImage", "ListImageReferrers"])
def test_an_incomplete_search_for_relatives_is_made_again(stack: Outside, operation: str, action: Action) -> None:
    """Nothing is deleted: the message comes again, and then the platform images and the signature go too."""
    index = stack.push_index([stack.push(), stack.push()], "1.0")
    stack.push_referrer(index)
    before = stack.left()
    function = stack.start()
    stack.send("imageTag=1.0", cascade=True)
    stack.faults.add(operation, action)
    assert stack.receive(function).failed
    assert stack.left() == before
    stack.faults.lift()

    stack.drain(function)

    assert stack.left() == set()
    assert stack.notices() == []


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_incomplete_search_for_relatives_is_not_stored(stack: Outside, action: Action) -> None:
    """The relatives that the next search finds go with the index."""
    stack.push_index([stack.push(), stack.push()], "1.0")
    stack.send("imageTag=1.0", cascade=True)
    spoiled = stack.faults.add("BatchGetImage", action, nth=1)

    stack.drain(stack.start())

    assert spoiled.strikes == 1
    assert stack.left() == set()
    assert stack.notices() == []


def test_an_index_that_is_left_out_of_an_answer_is_looked_up_again(stack: Outside) -> None:
    """An id in no list of the answer is neither known to be there nor known to be gone."""
    indexes = [stack.push_index([stack.push()]) for _ in range(2)]
    before = stack.left()
    function = stack.start()
    stack.send(*by_digest(*indexes), cascade=True)
    stack.faults.add("BatchGetImage", ignore({"imageDigest": indexes[1]}))
    assert stack.receive(function).failed
    assert stack.left() == before
    stack.faults.lift()

    stack.drain(function)

    assert stack.left() == set()
    assert stack.notices() == []


def test_a_tag_that_is_left_out_of_an_answer_is_looked_up_again(stack: Outside) -> None:
    """A tag is compared with its digest; if one were not there, DescribeImages would say so."""
    digests = {tag: stack.push(tag) for tag in ("a", "b")}
    function = stack.start()
    stack.send(*(f"imageDigest={digest},imageTag={tag}" for tag, digest in digests.items()))

    def leave_out(answer: Json) -> Json:
        return {"imageDetails": [d for d in answer["imageDetails"] if d["imageDigest"] != digests["b"]]}

    stack.faults.add("DescribeImages", edit_answer(leave_out))
    assert stack.receive(function).failed
    stack.faults.lift()

    stack.drain(function)

    assert stack.left() == set()
    assert stack.notices() == []


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_incomplete_answer_about_an_index_ends_no_selection(stack: Outside, action: Action) -> None:
    """Its images are not known for now: the message comes again, and the selection is made then."""
    kept = stack.push(days=30)
    index = stack.push_index([kept], "1.0", days=30)
    stack.push(days=30)
    function = stack.start()
    stack.send_bulk(selection=UNTAGGED_FOR_A_WEEK)
    stack.faults.add("BatchGetImage", action)
    assert stack.receive(function).failed
    stack.faults.lift()

    stack.drain(function)

    assert stack.left() == {kept, index}
    assert stack.notices() == []


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_incomplete_answer_about_a_deletion_is_no_failure(stack: Outside, action: Action) -> None:
    """Images that are gone are reported as deleted, though ECR did not say so."""
    stack.push("a")
    digest = stack.push()
    stack.faults.add("BatchDeleteImage", action, nth=1)

    answer = ask(stack.start(), "imageTag=a", {"imageDigest": digest})

    assert stack.left() == set()
    assert codes(answer) == []
    assert sorted(answer["imageIds"], key=str) == [{"imageDigest": digest}, {"imageTag": "a"}]
    assert answer["unconfirmed"] == 2
    assert stack.notices() == []


def test_an_id_that_is_left_out_and_gone_is_deleted(stack: Outside) -> None:
    """It is looked up, and reported as it was asked for."""
    stack.push_many(["a", "b"])

    def leave_out(answer: Json) -> Json:
        return answer | {"imageIds": [i for i in answer["imageIds"] if i.get("imageTag") != "b"]}

    stack.faults.add("BatchDeleteImage", edit_answer(leave_out), nth=1)

    answer = ask(stack.start(), "imageTag=a", "imageTag=b")

    assert codes(answer) == []
    assert {"imageTag": "b"} in answer["imageIds"]
    assert len(answer["imageIds"]) == 2
    assert answer["unconfirmed"] in {1, 2}  # the other id may count as unanswered too
    assert stack.notices() == []


def test_an_id_that_is_left_out_and_still_there_is_asked_for_again(stack: Outside) -> None:
    """The next call deletes it, and confirms that."""
    digests = {tag: stack.push(tag) for tag in ("a", "b")}
    stack.faults.add("BatchDeleteImage", ignore({"imageTag": "b"}), nth=1)

    answer = ask(stack.start(), "imageTag=a", "imageTag=b")

    assert stack.left() == set()
    assert codes(answer) == []
    assert {"imageDigest": digests["b"], "imageTag": "b"} in answer["imageIds"]
    assert answer.get("unconfirmed", 0) <= 1  # the other id may count as unanswered too
    assert stack.notices() == []


def test_an_id_that_is_always_left_out_is_a_failure(stack: Outside) -> None:
    """An image of two tags, asked for by digest and by one of them, is not deleted because that tag is."""
    digest = stack.push("a", "b")
    stack.faults.add("BatchDeleteImage", ignore({"imageDigest": digest}))

    answer = ask(stack.start(), {"imageDigest": digest}, "imageTag=a")

    assert stack.left() == {digest}
    assert stack.tags() == {"b"}
    assert [(f["imageId"], f["failureCode"]) for f in answer["failures"]] == [({"imageDigest": digest}, "Unanswered")]
    [notice] = stack.notices()
    assert notice.data["retryRequest"]["imageIds"] == [{"imageDigest": digest}]
    assert stack.faults.count("BatchDeleteImage") > 1


def test_a_digest_that_is_left_out_once_is_asked_for_again(stack: Outside) -> None:
    """That one of its tags is deleted says nothing about the image."""
    digest = stack.push("a", "b")
    stack.faults.add("BatchDeleteImage", ignore({"imageDigest": digest}), nth=1)

    answer = ask(stack.start(), {"imageDigest": digest}, "imageTag=a")

    assert stack.left() == set()
    assert codes(answer) == []


def test_a_deletion_that_never_arrived_is_made_again(stack: Outside) -> None:
    """The connection breaks before the work: what is still there is deleted, and confirmed."""
    stack.push("a")
    stack.faults.add("BatchDeleteImage", drop_before, nth=1)
    answer = ask(stack.start(), "imageTag=a", "imageTag=gone")
    assert stack.left() == set()
    assert codes(answer) == []
    assert answer["unconfirmed"] == 1
    assert {"imageTag": "gone"} in answer["imageIds"]


def test_an_incomplete_answer_of_the_queue_is_none(stack: Outside) -> None:
    """A request for several repositories is not done before SQS has confirmed each message."""
    stack.create("team/web")
    stack.push("a")
    stack.push("a", repository="team/web")
    function = stack.start()
    stack.send_bulk("imageTag=a", repositoryNames=["team/*"])
    stack.faults.add(SENDS, nothing)
    assert stack.receive(function).failed
    stack.faults.lift()

    stack.drain(function)

    assert stack.left() == stack.left("team/web") == set()
    assert stack.waiting() == stack.dead_letters() == []


def cut_throttle(call: Call, perform: Perform) -> Answer:
    """Refuses the call for now, in an error that breaks off in its code."""
    return throttle(call, perform).with_body(b'{"__type": "Thrott')


@pytest.mark.parametrize("operation", ["DescribeImages", "BatchDeleteImage"])
def test_an_incomplete_error_is_not_final(stack: Outside, operation: str) -> None:
    """Without a code, nobody knows whether it says "not now": the message comes again, and the image goes."""
    digest = stack.push("a")
    function = stack.start(PROTECTED_TAGS="keep")
    stack.send({"imageDigest": digest})
    stack.faults.add(operation, cut_throttle, nth={1})
    assert stack.receive(function).failed

    stack.drain(function)

    assert stack.left() == set()
    assert stack.notices() == []


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_incomplete_answer_about_a_claim_rejects_nothing(stack: Outside, action: Action) -> None:
    """The limit was lowered since the request was admitted, and the table does not say so: the message comes again."""
    stack.push_many([f"pr-{n}" for n in range(150)])
    stack.send(*(f"imageTag=pr-{n}" for n in range(150)))
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert stack.receive(stack.start()).failed
    stack.faults.lift()
    cut = stack.faults.add("GetItem", action)
    function = stack.start(MAX_IMAGES_PER_REQUEST="100")
    stack.redeliver()
    assert stack.receive(function).failed
    cut.lift()

    stack.drain(function)

    assert stack.left() == set()
    assert (stack.notices(), stack.dead_letters()) == ([], [])


@pytest.mark.parametrize("action", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_incomplete_answer_about_a_rejection_forgets_nothing(stack: Outside, action: Action) -> None:
    """The limit was raised since the message was rejected: it stays rejected."""
    stack.push_many(["a", "b"])
    stack.send("imageTag=a", "imageTag=b")
    assert stack.receive(stack.start(MAX_IMAGES_PER_REQUEST="1")).failed
    cut = stack.faults.add("GetItem", action)
    function = stack.start()
    stack.redeliver()
    assert stack.receive(function).failed
    cut.lift()

    stack.drain(function)

    assert stack.tags() == {"a", "b"}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
