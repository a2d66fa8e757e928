"""Selections see a repository as it is: archived and restored images, and a list that changes while it is read."""

from typing import Any

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, REPOSITORY, Outside, select
from tests.harness.server_faults import Answer, Call, Perform

type Json = dict[str, Any]

NOT_PULLED = {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90}


@pytest.mark.parametrize("pulled", [150, None])
def test_an_image_that_was_restored_counts_from_then(stack: Outside, pulled: float | None) -> None:
    """Restored yesterday, it is in use, whenever it was pulled or pushed before."""
    restored = stack.push("a", days=200, pulled=pulled)
    stack.aws.archive(REPOSITORY, restored, days=50)
    stack.aws.restore(REPOSITORY, restored, days=1)
    long_restored = stack.push("b", days=300, pulled=250)
    stack.aws.archive(REPOSITORY, long_restored, days=200)
    stack.aws.restore(REPOSITORY, long_restored, days=100)

    select(stack.start(**ANY_SHARE), NOT_PULLED)

    assert stack.left() == {restored}


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (NOT_PULLED | {"countNumber": 1, "keepMostRecent": 1}, "restored"),
        ({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "young"),
    ],
    ids=["by last pull", "by count"],
)
def test_selections_by_last_pull_order_images_by_their_restoration(stack: Outside, selection: Json, kept: str) -> None:
    """Of three images the one that was restored last stays; by count it is the one that was pushed last, as in ECR."""
    digests = {name: stack.push(name, days=days) for name, days in (("restored", 200), ("young", 3), ("old", 300))}
    stack.aws.archive(REPOSITORY, digests["restored"], days=150)
    stack.aws.restore(REPOSITORY, digests["restored"], days=2)
    select(stack.start(**ANY_SHARE), selection)
    assert stack.left() == {digests[kept]}


def test_an_archived_signature_stays(stack: Outside) -> None:
    """As every archived image does, although the image that it belongs to goes."""
    image = stack.push("pr-1")
    archived = stack.push_referrer(image)
    stack.aws.archive(REPOSITORY, archived, days=5)
    stack.push_referrer(image)

    answer = select(stack.start(**ANY_SHARE), PREVIEWS)

    assert stack.left() == {archived}
    assert answer["keptByReason"] == {"Archived": 1}
    assert (answer["deleted"], answer["failures"]) == (2, [])


def test_an_image_that_is_listed_twice_counts_once(stack: Outside) -> None:
    """ECR may repeat an image on the next page, when the list changes between the two: all but 10 still keeps 10."""
    digests = [stack.push(f"v{n}", days=n) for n in range(1, 13)]
    kept = set(digests[:10])
    first_page: list[Json] = []

    def repeat(call: Call, perform: Perform) -> Answer:
        if "imageIds" in call.body:
            return perform(call.body)
        answer = perform({**call.body, "maxResults": 5})
        details = answer.json["imageDetails"]
        if not first_page:
            first_page.extend(details)
        else:
            details += [next(detail for detail in first_page if detail["imageDigest"] in kept)]
        return answer.with_json(answer.json | {"imageDetails": details})

    stack.faults.add("DescribeImages", repeat)
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10}

    answer = select(stack.start(**ANY_SHARE), selection)

    assert stack.left() == kept
    assert (answer["selected"], answer["deleted"]) == (2, 2)
