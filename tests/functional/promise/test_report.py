"""Reports: an id that ECR cannot delete now is tried again, and a notice offers only what a retry can help."""

from typing import Any

import pytest

from tests.harness.outside import Outside, ask, by_tag, codes
from tests.harness.server_faults import unavailable

type Json = dict[str, Any]

MISSING = "sha256:" + "0" * 64


def test_all_ids_wait_before_they_are_asked_for_again(stack: Outside) -> None:
    """An id that ECR cannot delete at the moment is asked for again after a second, also beyond the first 100 ids."""
    tags = [f"pr-{n}" for n in range(150)]
    stack.push_many(tags)
    stack.faults.add("BatchDeleteImage", unavailable, nth={1, 2})

    answer = ask(stack.start(), *by_tag(tags))

    assert codes(answer) == []
    asked = {tag: [call.at for call in stack.faults.of("BatchDeleteImage") if tag in call.names] for tag in tags}
    assert {len(times) for times in asked.values()} == {2}
    assert min(second - first for first, second in asked.values()) > 0.9
    assert max(second - first for first, second in asked.values()) < 5


NOT_OFFERED: dict[str, tuple[Json, Json, list[Json | str], str]] = {
    "not there": ({}, {}, ["imageTag=gone", {"imageDigest": MISSING}], "ImageNotFound"),
    "protected by tag": ({"PROTECTED_TAGS": "a*"}, {}, ["imageTag=a"], "ProtectedTag"),
    "protected by repository": ({"PROTECTED_REPOSITORIES": "team/*"}, {}, ["imageTag=a"], "ProtectedRepository"),
    "malformed tag": ({}, {}, [{"imageTag": "a b"}], "InvalidImageTag"),
    "malformed digest": ({}, {}, [{"imageDigest": "sha256:1"}], "InvalidImageDigest"),
    "last tag": ({}, {"untag": True}, ["imageTag=a"], "LastTag"),
    "no tag": ({}, {"untag": True}, [{"imageDigest": MISSING}], "TagRequired"),
    "moved": ({}, {}, [f"imageDigest={MISSING},imageTag=a"], "ImageTagDoesNotMatchDigest"),
}


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_a_retry_that_cannot_help_is_not_offered(stack: Outside, name: str) -> None:
    """There is no request to send again, neither in the JSON nor in the text."""
    variables, members, image_ids, code = NOT_OFFERED[name]
    stack.push("a")
    ask(stack.start(**variables), *image_ids, **members)
    [notice] = stack.notices()
    assert set(codes(notice.data)) == {code}
    assert "retryRequest" not in notice.data
    assert "send this request" not in notice.text


def test_only_ids_that_a_retry_can_help_are_offered(stack: Outside) -> None:
    """Of a protected tag, a missing image and a child of an index that stays, it is the child."""
    child = stack.push("child")
    stack.push_index([child], "1.0")
    stack.push("a")
    ask(stack.start(PROTECTED_TAGS="a"), "imageTag=a", "imageTag=gone", {}, "imageTag=child", reason="closed")
    [notice] = stack.notices()
    assert len(codes(notice.data)) == 4
    assert notice.data["retryRequest"] == {
        "repositoryName": "team/app",
        "reason": "closed",
        "imageIds": [{"imageTag": "child"}],
    }


def test_a_repository_that_is_not_there_is_not_offered(stack: Outside) -> None:
    """The same request would meet that again."""
    answer = ask(stack.start(), "imageTag=a", repositoryName="team/none")
    assert codes(answer) == ["RepositoryNotFoundException"]

    [notice] = stack.notices()
    assert "retryRequest" not in notice.data
