"""Random repositories that are archived and restored: in between nothing is broken, and in the end all is as it was."""

import sys
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.fakes.ecr import FakeECR
from tests.harness.faults import FAULTS, Fault
from tests.harness.function import function
from tests.harness.grace_world import REPOSITORY, GraceWorld
from tests.harness.scenario import ARCHIVES

EXAMPLES = 40 if settings().derandomize else settings().max_examples
"""In `make test`; with the profile of `make faults` as many as that has."""
_MOST_TAGS = 3
_OPERATIONS = ["ecr", "dynamodb", "UpdateImageStorageClass", "BatchGetImage", "ListImageReferrers", "DescribeImages"]
_VARIABLES = ARCHIVES | {"MAX_PERCENT_OF_REPOSITORY": "100", "PROTECTED_TAGS": "prod*"}

numbers = st.integers(0, 9)
pushes = st.tuples(
    st.sampled_from(["image", "image", "index", "index", "signature by subject", "signature by tag"]),
    st.lists(numbers, min_size=1, max_size=3),
    st.lists(st.sampled_from(["a", "b", "prod"]), max_size=2),
)
faults = st.none() | st.tuples(
    st.sampled_from(_OPERATIONS), st.sampled_from(FAULTS), st.integers(0, 15), st.integers(1, 3)
)
meanings = st.one_of(
    st.lists(numbers, min_size=1, max_size=4),
    st.sampled_from(
        [
            {"tagStatus": "tagged", "tagPatternList": ["a-*"]},
            {"tagStatus": "any", "keepMostRecent": 2},
            {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1},
        ]
    ),
)


def fill(ecr: FakeECR, pushed: list[tuple[str, list[int], list[str]]]) -> None:
    """Pushes images, indexes of those that are there, and signatures of them."""
    digests: list[str] = []
    for number, (kind, others, names) in enumerate(pushed):
        there = list(dict.fromkeys(digests[n % len(digests)] for n in others)) if digests else []
        tags = [f"{name}-{number}-{n}" for n, name in enumerate(names)]
        if kind == "signature by tag" and there:
            tags.append(f"{there[0].replace(':', '-')}.sig")
        subject = there[0] if kind == "signature by subject" and there else None
        children = there if kind == "index" else []
        digests.append(ecr.push(REPOSITORY, *tags, days=30 - number, children=children, subject=subject))


@given(
    pushed=st.lists(pushes, min_size=1, max_size=8),
    meant=meanings,
    fault=faults,
    shown=st.sampled_from([None, "ImageInaccessible", "ImageNotFound"]),
    alone=st.booleans(),
)
@settings(max_examples=EXAMPLES)
def test_to_the_archive_and_back(
    pushed: list[tuple[str, list[int], list[str]]], meant: Any, fault: Any, shown: str | None, *, alone: bool
) -> None:
    """What can be pulled can be pulled whole, nothing protected goes, and the restoreRequest brings all of it back."""
    aws = GraceWorld(ecr=FakeECR(archived_image_failure=shown, children_can_be_archived=alone))
    fill(aws.ecr, pushed)
    images = aws.ecr.repositories[REPOSITORY]
    before = {digest: set(image.tags) for digest, image in images.items()}
    request: dict[str, Any] = {"repositoryName": REPOSITORY, "action": "archive", "notify": "always", "requestId": "r"}
    digests = [*images]
    if isinstance(meant, list):
        request["imageIds"] = [{"imageDigest": digests[n % len(digests)]} for n in meant]
    else:
        request["selection"] = meant
    aws.keeps = True
    with function(aws, _VARIABLES) as invoke:
        service, kind, begins, rounds = fault or ("none", "refused", 0, 0)
        aws.fault = Fault(service, kind, range(begins, sys.maxsize).__contains__)
        notices = aws.deliver(invoke, request, rounds)
        note(f"{[(name, image.current_status()) for name, image in images.items()]}")
        archived = aws.ecr.archived(REPOSITORY)
        named = {i["imageDigest"] for i in request.get("imageIds", ())}
        for digest, image in images.items():
            if digest not in archived:
                assert not archived.intersection(image.children) - named
            elif any(tag.startswith("prod") for tag in image.tags):
                raise AssertionError(f"it is protected: {digest}")
        assert archived == {i["imageDigest"] for notice in notices for i in notice["archived"]}
        for notice in notices:
            if "restoreRequest" in notice:
                aws.deliver(invoke, notice["restoreRequest"])
    assert aws.ecr.archived(REPOSITORY) == set()
    aws.let_time_pass(aws.ecr.activation_seconds)
    assert {digest: image.tags for digest, image in images.items()} == before
    assert {image.current_status() for image in images.values()} == {"ACTIVE"}
    assert aws.complaints == []
