"""Look-ups that fail: nothing is deleted on doubt; a later delivery finishes what could not be looked up for now."""

from typing import Any

import pytest

from tests.harness.arrivals import WAYS, deliver
from tests.harness.guarded import CASES, names_left, populate
from tests.harness.outside import Outside, ask, by_digest, codes
from tests.harness.server_faults import deny, drop_before, edit_answer, server_error, throttle

type Json = dict[str, Any]

FAULTS = {"throttled": throttle, "500": server_error, "connection closed": drop_before}
LOOK_UPS = {
    "protected tag": "DescribeImages",
    "untag": "DescribeImages",
    "tag and digest": "DescribeImages",
    "cascade": "BatchGetImage",
}
"""The operation by which each guard learns what it must know."""


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("name", "fault", "way"),
    [
        *((name, fault, "a message") for name in LOOK_UPS for fault in FAULTS),
        *(("protected tag", "throttled", way) for way in WAYS if way != "a message"),
    ],
)
def test_nothing_is_deleted_on_doubt(stack: Outside, name: str, fault: str, way: str) -> None:
    """While the look-up cannot be made, the request fails for now; the next delivery of the same finishes it."""
    case, digests = CASES[name], populate(stack)
    before = names_left(stack, digests)
    function, request = stack.start(**case.variables), case.request(digests)
    rule = stack.faults.add(LOOK_UPS[name], FAULTS[fault])

    first = deliver(function, way, request)

    assert first.failed
    assert first.error is None or type(first.error).__name__ == "ServiceUnavailableError"
    assert (names_left(stack, digests), stack.notices()) == (before, [])

    rule.lift()
    second = deliver(function, way, request, n=2)

    assert not second.failed
    assert before - names_left(stack, digests) == case.gone
    [notice] = stack.notices()
    assert codes(notice.data) == list(case.codes)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("operation", "gone"), [("ListImageReferrers", set()), ("DescribeImages", {"index", "1.0"})])
def test_relatives_wait_for_their_look_up(stack: Outside, operation: str, gone: set[str], fault: str) -> None:
    """Before the index goes, or after: what belonged to it is remembered, and goes on a later delivery."""
    case, digests = CASES["cascade"], populate(stack)
    before = names_left(stack, digests)
    function = stack.start()
    stack.send_body(case.request(digests))
    rule = stack.faults.add(operation, FAULTS[fault], when=lambda: before - names_left(stack, digests) == gone)
    assert stack.receive(function).failed
    assert (before - names_left(stack, digests), stack.notices()) == (gone, [])
    rule.lift()

    stack.drain(function)

    assert before - names_left(stack, digests) == case.gone
    [notice] = stack.notices()
    assert codes(notice.data) == list(case.codes)
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.parametrize("name", LOOK_UPS)
def test_a_look_up_that_is_denied_is_the_failure_of_each_id(stack: Outside, name: str) -> None:
    """Under ECR's code: nothing is deleted, and no redelivery would help."""
    case, digests = CASES[name], populate(stack)
    before = names_left(stack, digests)
    stack.faults.add(LOOK_UPS[name], deny)

    answer = ask(stack.start(**case.variables), *case.request(digests)["imageIds"], **case.switches)

    assert names_left(stack, digests) == before
    assert len(answer["failures"]) == len(case.image_ids)
    without_look_up = {"ProtectedTag", "TagRequired"}
    assert set(codes(answer)) - without_look_up == {"AccessDeniedException"}
    [notice] = stack.notices()
    assert notice.data["failures"] == answer["failures"]


def test_relatives_whose_look_up_is_denied_stay(stack: Outside) -> None:
    """Each is a failure under ECR's code, though its index is gone, and is offered for another try."""
    digests = populate(stack)
    before = names_left(stack, digests)
    stack.faults.add("DescribeImages", deny)

    answer = ask(stack.start(), "imageTag=1.0", cascade=True)

    assert before - names_left(stack, digests) == {"index", "1.0"}
    assert answer["imageIds"] == [{"imageDigest": digests["index"], "imageTag": "1.0"}]
    relatives = by_digest(digests["child"], digests["base"])
    assert [failure["imageId"] for failure in answer["failures"]] == relatives
    assert codes(answer) == ["AccessDeniedException"] * 2
    [notice] = stack.notices()
    assert notice.data["retryRequest"]["imageIds"] == relatives
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [3, 1, 2]


@pytest.mark.parametrize("name", ["child", "base"])
def test_a_relative_whose_manifest_is_locked_is_not_deleted(stack: Outside, name: str) -> None:
    """ECR lost the key to it: whether it has a tag of its own or not, it is a failure, and the others go."""
    digests = populate(stack)
    before = names_left(stack, digests)

    def lock(answer: Json) -> Json:
        locked = [image["imageId"] for image in answer["images"] if image["imageId"]["imageDigest"] == digests[name]]
        failures = [
            {"imageId": image_id, "failureCode": "KmsError", "failureReason": "the key is gone"} for image_id in locked
        ]
        images = [image for image in answer["images"] if image["imageId"] not in locked]
        return {"images": images, "failures": answer["failures"] + failures}

    stack.faults.add("BatchGetImage", edit_answer(lock))

    answer = ask(stack.start(), "imageTag=1.0", cascade=True)

    assert before - names_left(stack, digests) == {"index", "1.0", "child"} - {name}
    assert [(failure["imageId"], failure["failureCode"]) for failure in answer["failures"]] == [
        ({"imageDigest": digests[name]}, "KmsError")
    ]
