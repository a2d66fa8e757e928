"""Relatives of an image: all of them go in the end, however many there are, and guards hold for them too."""

from typing import Any

import pytest

from tests.harness.outside import Outside, ask, by_tag, codes
from tests.harness.server_faults import edit_answer, throttle

type Json = dict[str, Any]

INDEXES = [f"v{n}" for n in range(20)]


@pytest.mark.usefixtures("no_waiting")
def test_more_relatives_than_one_call_takes_all_go_after_a_redelivery(stack: Outside) -> None:
    """20 indexes of 6 platforms each: a call for the platforms is throttled, and the redelivery deletes the rest."""
    for tag in INDEXES:
        stack.push_index([stack.push() for _ in range(6)], tag)
    stack.send(*by_tag(INDEXES), cascade=True, notify="always")
    stack.faults.add("BatchDeleteImage", throttle, nth=range(3, 100))
    assert stack.receive(stack.start()).failed
    assert 0 < len(stack.left()) < 120
    stack.faults.lift()

    stack.drain(stack.start())

    assert stack.left() == set()
    [notice] = stack.notices()
    assert notice.data["type"] == "report"
    assert "kept" not in notice.data
    assert stack.waiting() == stack.dead_letters() == []


def test_relatives_that_many_indexes_share_are_no_dead_letter(stack: Outside) -> None:
    """260 images that belong to each of 20 indexes all go: how much is stored about them does not matter."""
    shared = [stack.push() for _ in range(260)]
    for n, tag in enumerate(INDEXES):
        stack.push_index(shared[n:] + shared[:n], tag)  # in another order, or it were the same index
    stack.send(*by_tag(INDEXES), cascade=True)

    stack.drain(stack.start())

    assert stack.waiting() == stack.dead_letters() == []
    assert stack.left() == set()
    assert stack.notices() == []


def test_an_unreadable_manifest_fails_only_what_it_belongs_to(stack: Outside) -> None:
    """Of 20 indexes, the one stays that names an image whose manifest cannot be read; the others go, with theirs."""
    children = [stack.push() for _ in INDEXES]
    indexes = [stack.push_index([child], tag) for child, tag in zip(children, INDEXES, strict=True)]

    def corrupt(answer: Json) -> Json:
        for image in answer["images"]:
            if image["imageId"]["imageDigest"] == children[7]:
                image["imageManifest"] = "no JSON"
        return answer

    stack.faults.add("BatchGetImage", edit_answer(corrupt))

    answer = ask(stack.start(), *by_tag(INDEXES), cascade=True)

    assert [(f["imageId"], f["failureCode"]) for f in answer["failures"]] == [({"imageTag": "v7"}, "UnreadableIndex")]
    assert stack.left() == {indexes[7], children[7]}


@pytest.mark.usefixtures("no_waiting")
def test_a_repository_that_is_protected_meanwhile_keeps_the_relatives(stack: Outside) -> None:
    """ProtectedRepositories holds for each chunk as it is set by then: the platform images stay, and are failures.

    ECR is asked nothing more about the repository.
    """
    children = [stack.push(), stack.push()]
    stack.push_index(children, "1.0")
    stack.send("imageTag=1.0", cascade=True)
    stack.faults.add("BatchDeleteImage", throttle, nth=range(2, 100))
    assert stack.receive(stack.start()).failed
    assert stack.left() == set(children)
    stack.faults.lift()
    stack.faults.calls.clear()

    stack.drain(stack.start(PROTECTED_REPOSITORIES="team/*"))

    assert {call.operation for call in stack.faults.calls} <= {"GetItem", "Query", "UpdateItem", "Publish"}

    assert stack.left() == set(children)
    [notice] = stack.notices()
    assert codes(notice.data) == ["ProtectedRepository"] * 2
    assert "retryRequest" not in notice.data
    assert stack.waiting() == stack.dead_letters() == []
