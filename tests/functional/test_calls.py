"""The calls to ECR that a request costs: a look-up for each guard that is in use, and none for the others."""

from collections import Counter
from typing import Any

import pytest

from tests.harness.guarded import MISSING, Case, populate
from tests.harness.outside import Outside, ask, by_digest, by_tag, codes

type Json = dict[str, Any]

MANY = tuple(f"imageTag=gone-{n}" for n in range(201))
COSTS: dict[str, tuple[Case, dict[str, int]]] = {
    "nothing": (Case(("imageTag=pr-1", "imageDigest={release}", "imageTag=gone"), {}, {}), {"BatchDeleteImage": 1}),
    "nothing, in three calls": (Case(MANY, {}, {}), {"BatchDeleteImage": 3}),
    "protected tags, by tag": (Case(("imageTag=pr-1",), {}, {"PROTECTED_TAGS": "prod"}), {"BatchDeleteImage": 1}),
    "protected tags, by tag in three calls": (Case(MANY, {}, {"PROTECTED_TAGS": "prod"}), {"BatchDeleteImage": 3}),
    "protected tags, all refused": (
        Case(("imageDigest={release}",), {}, {"PROTECTED_TAGS": "prod"}),
        {"DescribeImages": 1},
    ),
    "protected tags, by digest": (
        Case(("imageDigest={preview}", "imageDigest={old}"), {}, {"PROTECTED_TAGS": "prod"}),
        {"DescribeImages": 1, "BatchDeleteImage": 1},
    ),
    "protected tags, one missing": (
        Case(("imageDigest={preview}", f"imageDigest={MISSING}"), {}, {"PROTECTED_TAGS": "prod"}),
        {"DescribeImages": 3, "BatchGetImage": 1, "BatchDeleteImage": 1},
    ),
    "everything protected, but nothing of it asked for": (
        Case(
            ("imageTag=pr-1",),
            {"dryRun": False, "untag": False, "notify": "always"},
            {"PROTECTED_TAGS": "prod", "PROTECTED_REPOSITORIES": "other/*", "MAX_IMAGES_PER_REQUEST": "1"},
        ),
        {"BatchDeleteImage": 1},
    ),
    "dry run": (Case(("imageTag=pr-1",), {"dryRun": True}, {}), {"DescribeImages": 1}),
    "dry run, protected tags": (
        Case(("imageDigest={preview}",), {"dryRun": True}, {"PROTECTED_TAGS": "prod"}),
        {"DescribeImages": 2},
    ),
    "tag and digest": (
        Case(("imageDigest={preview},imageTag=pr-1", "imageTag=moved"), {}, {}),
        {"DescribeImages": 1, "BatchDeleteImage": 1},
    ),
    "untag": (
        Case(("imageTag=v1", "imageTag=pr-1"), {"untag": True}, {}),
        {"DescribeImages": 1, "BatchDeleteImage": 1},
    ),
    "cascade, of 41 that are missing": (  # each 20 may be in the archive, or on their way out of it
        Case(MANY[:41], {"cascade": True}, {}),
        {"BatchGetImage": 3, "DescribeImages": 2 + 2 + 1, "BatchDeleteImage": 1},
    ),
    "cascade of an image": (  # one BatchGetImage for manifests, and one for signatures by tag
        Case(("imageTag=pr-1",), {"cascade": True}, {}),
        {"BatchGetImage": 2, "ListImageReferrers": 1, "BatchDeleteImage": 1},
    ),
    # Before its images go, the look-up finds the index missing: four calls; and once more for the one with a tag.
    "cascade of an index": (
        Case(("imageTag=1.0",), {"cascade": True}, {}),
        {"BatchGetImage": 6, "ListImageReferrers": 3, "BatchDeleteImage": 2, "DescribeImages": 6},
    ),
}
"""The settings and requests, and the calls to ECR that they cost."""


@pytest.mark.parametrize("name", COSTS)
def test_what_is_not_in_use_costs_nothing(stack: Outside, name: str) -> None:
    """And what is in use costs as many calls as the README says."""
    case, expected = COSTS[name]
    digests = populate(stack)
    ask(stack.start(**case.variables), *case.request(digests)["imageIds"], **case.switches)
    assert Counter(stack.faults.ecr_calls) == expected


def test_a_request_beyond_the_cap_costs_nothing(stack: Outside) -> None:
    """It is rejected before ECR is asked."""
    function = stack.start(MAX_IMAGES_PER_REQUEST="1", PROTECTED_TAGS="prod")
    with pytest.raises(Exception, match="must name at most 1 images"):
        ask(function, {"imageDigest": MISSING}, "imageTag=a")
    assert stack.faults.ecr_calls == []


def test_what_is_named_by_digest_is_looked_up_a_hundred_a_call(stack: Outside) -> None:
    """With protected tags; what is named by tag is not looked up."""
    digests = [stack.push() for _ in range(101)]

    answer = ask(stack.start(PROTECTED_TAGS="prod"), *by_digest(*digests), *by_tag([f"gone-{n}" for n in range(101)]))

    def sizes(operation: str) -> list[int]:
        return sorted(len(call.names) for call in stack.faults.of(operation))

    assert (sizes("BatchDeleteImage"), sizes("DescribeImages")) == ([2, 100, 100], [1, 100])
    assert codes(answer) == ["ImageNotFound"] * 101
    assert stack.left() == set()
