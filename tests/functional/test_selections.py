"""Selections: which images go by age, count and pattern, and what the report says of them."""

from typing import Any

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, codes, request, select
from tests.harness.server_faults import do_after

type Json = dict[str, Any]

UNTAGGED_FOR_TWO_WEEKS: Json = {
    "tagStatus": "untagged",
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 14,
}


def test_what_is_old_goes_and_the_newest_stay(stack: Outside) -> None:
    """By push, with some kept however old they are, some excluded, and others that do not match at all."""
    old = [stack.push(f"pr-{n}", days=30 + n) for n in range(4)]
    kept = {old[0], stack.push("pr-9", days=13), stack.push("pr-8", "pr-8-keep", days=99), stack.push("main", days=99)}
    by_age = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14, "keepMostRecent": 2}

    answer = select(stack.start(**ANY_SHARE), PREVIEWS | by_age | {"excludeTagPatternList": ["pr-*-keep"]})

    assert stack.left() == kept
    assert (answer["selected"], answer["deleted"]) == (3, 3)
    assert answer["keptByReason"] == {"MostRecent": 2, "Excluded": 1, "NotMatched": 1}
    assert answer["bytesReclaimed"] > 0
    assert {image_id["imageTag"] for image_id in answer["imageIds"]} == {"pr-1", "pr-2", "pr-3"}
    assert stack.notices() == []


def test_what_was_not_pulled_goes(stack: Outside) -> None:
    """An image that was never pulled counts from its push."""
    kept = {stack.push("a", days=200, pulled=10), stack.push("d", days=10)}
    stack.push("b", days=200, pulled=100)
    stack.push("c", days=200)
    by_pull = {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90}
    select(stack.start(**ANY_SHARE), by_pull)
    assert stack.left() == kept


def test_all_but_the_newest_go(stack: Outside) -> None:
    """By count."""
    digests = [stack.push(f"v{n}", days=n) for n in range(6)]
    by_count = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}
    select(stack.start(**ANY_SHARE), by_count)
    assert stack.left() == set(digests[:2])


def test_images_are_wholes(stack: Outside) -> None:
    """The images that a kept index names stay, however old and untagged; those that a selected one names go with it."""
    kept_child, gone_child, shared = (stack.push(days=99) for _ in range(3))
    stack.push(days=99)
    kept = {kept_child, shared, index := stack.push_index([kept_child, shared], "main", days=99)}
    kept.add(stack.push_referrer(index, days=99))
    gone = {gone_child, index := stack.push_index([gone_child, shared], "pr-1", days=99)}
    gone.add(stack.push_referrer(index, days=99))
    function = stack.start(**ANY_SHARE)

    select(function, UNTAGGED_FOR_TWO_WEEKS)
    assert stack.left() == kept | gone

    assert select(function, PREVIEWS)["failures"] == []
    assert stack.left() == kept


def test_guards_hold_for_selections_too(stack: Outside) -> None:
    """A protected tag keeps its image without a failure; a dry run deletes nothing; the caps reject."""
    release = stack.push("pr-1", "prod", days=99)
    others = {stack.push(f"pr-{n}", days=99) for n in (2, 3)}
    function = stack.start(PROTECTED_TAGS="prod")
    with pytest.raises(Exception, match="2 of the repository's 3 images, more than the 50 % that it may delete"):
        select(function, PREVIEWS)
    with pytest.raises(Exception, match="allowPercent must be at most 50"):
        select(stack.start(ALLOW_PERCENT_IN_REQUESTS="false"), PREVIEWS, allowPercent=100)
    with pytest.raises(Exception, match="means 2 images, and a request may delete 1"):
        select(stack.start(PROTECTED_TAGS="prod", MAX_IMAGES_PER_REQUEST="1"), PREVIEWS)
    function = stack.start(PROTECTED_TAGS="prod")

    dry = select(function, PREVIEWS, dryRun=True, allowPercent=100, notify="always")
    assert dry["dryRun"] is True
    assert {image_id["imageDigest"] for image_id in dry["imageIds"]} == others
    assert stack.left() == {release, *others}
    assert stack.notices()[-1].data["type"] == "dryRun"

    answer = select(function, PREVIEWS, allowPercent=100)
    assert (answer["failures"], answer["keptByReason"]) == ([], {"ProtectedTag": 1})
    assert stack.left() == {release}


def test_a_selection_happens_once(stack: Outside) -> None:
    """Sent again under its requestId, the report is that of the first time; what has come to match since stays."""
    stack.push("pr-1", days=30)
    function = stack.start(**ANY_SHARE)
    first = select(function, PREVIEWS, requestId="r-1")
    later = stack.push("pr-2", days=30)
    assert select(function, PREVIEWS, requestId="r-1") == first
    assert stack.left() == {later}


def test_a_report_is_published_when_it_is_asked_for(stack: Outside) -> None:
    """Also when nothing failed."""
    stack.push("pr-1")
    selection = {"tagStatus": "tagged", "tagPrefixList": ["pr-"]}
    select(stack.start(**ANY_SHARE), selection, notify="always", reason="nightly")
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("report", 1, 1)
    assert notice.subject == "ECR image deletion: 1 image deleted in team/app"
    assert "Reclaimed:" in notice.text


@pytest.mark.parametrize(
    ("repository", "variables", "code"),
    [
        ("team/gone", {}, "RepositoryNotFoundException"),
        ("team/app", {"PROTECTED_REPOSITORIES": "team/*"}, "ProtectedRepository"),
    ],
)
def test_a_repository_that_cannot_be_selected_from_is_a_failure(
    stack: Outside, repository: str, variables: Json, code: str
) -> None:
    """Of no image in particular; nothing is selected, and the message is done."""
    digest = stack.push("pr-1")
    stack.send_body(request(selection=PREVIEWS) | {"repositoryName": repository})
    stack.drain(stack.start(**variables))
    assert stack.left() == {digest}
    [notice] = stack.notices()
    assert notice.subject == f"ECR image deletion: nothing could be selected in {repository}"
    assert (notice.data["type"], codes(notice.data)) == ("failure", [code])
    assert stack.waiting() == stack.dead_letters() == []


def test_an_image_that_gains_a_tag_meanwhile_stays(stack: Outside) -> None:
    """Between the list and the deletion: it is not the image that was selected any more."""
    stray = stack.push(days=99)
    stack.push(days=99)
    stack.faults.add("DescribeImages", do_after(lambda: stack.tag(stray, "rescued")), nth=1)
    answer = select(stack.start(**ANY_SHARE), UNTAGGED_FOR_TWO_WEEKS)
    assert answer["keptByReason"] == {"TaggedSince": 1}
    assert (stack.left(), answer["failures"]) == ({stray}, [])


def test_a_signature_stays_with_an_image_that_gained_a_tag(stack: Outside) -> None:
    """It still belongs to something."""
    image, other = stack.push("pr-1"), stack.push("pr-2")
    signature, other_signature = stack.push_referrer(image), stack.push_referrer(other)
    stack.faults.add("DescribeImages", do_after(lambda: stack.tag(image, "rescued")), nth=1)

    answer = select(stack.start(**ANY_SHARE), PREVIEWS)

    assert stack.left() == {image, signature}
    assert {image_id["imageDigest"] for image_id in answer["imageIds"]} == {other, other_signature}
    assert (answer["keptByReason"], answer["failures"]) == ({"TaggedSince": 1, "StillUsed": 1}, [])


OLD = {
    "tagStatus": "any",
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 14,
    "excludeTagPatternList": ["release-*"],
}


@pytest.mark.parametrize("undo", ["none", "grace", "archive"])
def test_an_sbom_of_two_images_stays_while_one_of_them_does(stack: Outside, undo: str) -> None:
    """It is one manifest with the tag of each; once the first has gone, or is archived, its tag is nobody's wish."""
    old, kept = stack.push("pr-1", days=40), stack.push("release-1", days=40)
    sbom = stack.sign(old, f"{kept.replace(':', '-')}.sbom", suffix=".sbom", days=40)
    variables = {"GRACE_PERIOD_DAYS": "30"} if undo == "grace" else {"ALLOW_ARCHIVE": "true"}
    function = stack.start(**ANY_SHARE, **({} if undo == "none" else variables))
    action = {"action": "archive"} if undo == "archive" else {}
    for night in range(2):
        answer = select(function, OLD, requestId=f"night-{night}", **action)
        assert answer["keptByReason"]["StillUsed"] == 1
    assert stack.archived() == (set() if undo == "none" else {old})
    assert {kept, sbom} <= stack.left()


def test_a_platform_image_that_was_pulled_by_its_digest_keeps_its_index(stack: Outside) -> None:
    """A multi-architecture image counts as one image: for the others, nobody has pulled it."""
    part = stack.push(days=100, pulled=1)
    index = stack.push_index([part, stack.push(days=100)], "v1", days=100)
    other = stack.push_index([stack.push(days=100)], "v2", days=100)
    meant = {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90}
    answer = select(stack.start(**ANY_SHARE), meant)
    assert (answer["deleted"], answer["keptByReason"]) == (2, {"StillUsed": 2, "TooRecent": 1})
    assert index in stack.left()
    assert other not in stack.left()
