"""Selections: which images go by age, count and pattern, and what is told of them."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_index, push_referrer
from local.poller import FakeLambdaContext, Handler, Poller, load_function

type Json = dict[str, Any]
type Start = Callable[..., Handler]

REPOSITORY = "team/app"


@pytest.fixture
def start(aws: EmbeddedAWS) -> Iterator[Start]:
    """Starts the function, with variables as the template would set them from its parameters."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    with mock.patch.dict(os.environ):
        yield lambda **variables: load_function(aws.environment | {"MAX_PERCENT_OF_REPOSITORY": "100"} | variables)


def push(aws: EmbeddedAWS, *tags: str, days: float = 0, pulled: float | None = None) -> str:
    """Pushes an image that is so many days old, and was pulled so many days ago; returns its digest."""
    digest = push_image(aws.client("ecr"), REPOSITORY, tags=tags)
    aws.age(REPOSITORY, digest, days=days, pulled=pulled)
    return digest


def select(function: Handler, more: Json | None = None, /, **selection: object) -> Json:
    """Sends a selection by hand."""
    request = {"repositoryName": REPOSITORY, "selection": selection} | (more or {})
    answer: Json = function(request, FakeLambdaContext())
    return answer


def left(aws: EmbeddedAWS) -> set[str]:
    """The digests the repository still has."""
    return {digest for digest, _ in aws.images(REPOSITORY)}


def test_what_is_old_goes_and_the_newest_stay(aws: EmbeddedAWS, start: Start) -> None:
    """By push, with some kept however old they are, some excluded, and others that do not match at all."""
    old = [push(aws, f"pr-{n}", days=30 + n) for n in range(4)]
    young = push(aws, "pr-9", days=13)
    keep = push(aws, "pr-8", "pr-8-keep", days=99)
    main = push(aws, "main", days=99)

    answer = select(
        start(), tagStatus="tagged", tagPatternList=["pr-*"], excludeTagPatternList=["pr-*-keep"],
        countType="sinceImagePushed", countUnit="days", countNumber=14, keepMostRecent=2,
    )  # fmt: skip

    assert left(aws) == {young, old[0], keep, main}
    assert (answer["selected"], answer["deleted"]) == (3, 3)
    assert answer["keptByReason"] == {"MostRecent": 2, "Excluded": 1, "NotMatched": 1}
    assert answer["bytesReclaimed"] > 0
    assert {i["imageTag"] for i in answer["imageIds"]} == {"pr-1", "pr-2", "pr-3"}
    assert aws.notices() == []


def test_a_request_that_is_delivered_twice_is_carried_out_once(aws: EmbeddedAWS, start: Start) -> None:
    """What has come to match since stays: the report is that of the first time."""
    push(aws, "pr-1", days=30)
    function = start()
    again = {"requestId": "r-1"}
    meant = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
    first = select(function, again, **meant)
    later = push(aws, "pr-2", days=30)
    assert select(function, again, **meant) == first
    assert left(aws) == {later}


def test_what_was_not_pulled_goes(aws: EmbeddedAWS, start: Start) -> None:
    """An image that was never pulled counts from its push."""
    pulled = push(aws, "a", days=200, pulled=10)
    push(aws, "b", days=200, pulled=100)
    push(aws, "c", days=200)
    new = push(aws, "d", days=10)
    select(start(), tagStatus="any", countType="sinceImagePulled", countUnit="days", countNumber=90)
    assert left(aws) == {pulled, new}


def test_all_but_the_newest_go(aws: EmbeddedAWS, start: Start) -> None:
    """By count."""
    digests = [push(aws, f"v{n}", days=n) for n in range(6)]
    select(start(), tagStatus="any", countType="imageCountMoreThan", countNumber=2)
    assert left(aws) == set(digests[:2])


def test_images_are_wholes(aws: EmbeddedAWS, start: Start) -> None:
    """What a kept index names stays, however old and untagged; what a selected one names goes with it."""
    ecr = aws.client("ecr")
    kept_child, gone_child, shared, stray = (push(aws, days=99) for _ in range(4))
    kept = push_index(ecr, REPOSITORY, [kept_child, shared], tags=["main"])
    gone = push_index(ecr, REPOSITORY, [gone_child, shared], tags=["pr-1"])
    kept_signature, gone_signature = (push_referrer(ecr, REPOSITORY, subject) for subject in (kept, gone))
    for digest in (kept, gone, kept_signature, gone_signature):
        aws.age(REPOSITORY, digest, days=99)
    function = start()

    select(function, tagStatus="untagged", countType="sinceImagePushed", countUnit="days", countNumber=14)
    assert left(aws) == {kept_child, gone_child, shared, kept, gone, kept_signature, gone_signature}
    assert stray not in left(aws)

    answer = select(function, tagStatus="tagged", tagPatternList=["pr-*"])
    assert left(aws) == {kept_child, shared, kept, kept_signature}
    assert answer["failures"] == []


def test_guards_speak_for_selections_too(aws: EmbeddedAWS, start: Start) -> None:
    """A protected tag keeps its image without a failure; a dry run deletes nothing; the cap and the share refuse."""
    release = push(aws, "pr-1", "prod", days=99)
    others = [push(aws, f"pr-{n}", days=99) for n in (2, 3)]
    meant = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
    function = start(PROTECTED_TAGS="prod", MAX_PERCENT_OF_REPOSITORY="50")

    with pytest.raises(Exception, match="2 of the repository's 3 images, more than the 50 % that it may take"):
        select(function, **meant)
    with pytest.raises(Exception, match="means 2 images, and a request may delete 1"):
        select(start(PROTECTED_TAGS="prod", MAX_IMAGES_PER_REQUEST="1"), **meant)
    assert left(aws) == {release, *others}

    function = start(PROTECTED_TAGS="prod", MAX_PERCENT_OF_REPOSITORY="50")
    dry = select(function, {"dryRun": True, "allowPercent": 100, "notify": "always"}, **meant)
    assert dry["dryRun"] is True
    assert {i["imageDigest"] for i in dry["imageIds"]} == set(others)
    assert left(aws) == {release, *others}
    assert aws.notices()[-1].data["type"] == "dryRun"

    answer = select(function, {"allowPercent": 100}, **meant)
    assert (answer["failures"], answer["keptByReason"]) == ([], {"ProtectedTag": 1})
    assert left(aws) == {release}


def test_a_report_is_told_when_it_is_asked_for(aws: EmbeddedAWS, start: Start) -> None:
    """Also when nothing failed."""
    push(aws, "pr-1")
    select(start(), {"notify": "always", "reason": "nightly"}, tagStatus="tagged", tagPrefixList=["pr-"])
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("report", 1, 1)
    assert notice.subject == "ECR image deletion: 1 of 1 deleted in team/app"
    assert "Reclaimed:" in notice.text


def test_a_repository_that_is_not_there_is_told(aws: EmbeddedAWS, start: Start) -> None:
    """As a failure under ECR's code."""
    answer = select(start(), {"repositoryName": "team/gone"}, tagStatus="tagged", tagPatternList=["*"])
    assert [f["failureCode"] for f in answer["failures"]] == ["RepositoryNotFoundException"]
    [notice] = aws.notices()
    assert notice.data["type"] == "failure"


def test_an_image_that_gains_a_tag_meanwhile_stays(aws: EmbeddedAWS, start: Start) -> None:
    """Between the selection and the deletion: it is not the image that was meant any more."""
    stray = push(aws, days=99)
    other = push(aws, days=99)
    function = start()
    registry = sys.modules["handler.registry"]
    listed = registry.list_images

    def list_and_tag(*arguments: Any) -> Any:
        images = listed(*arguments)
        manifest = aws.client("ecr").batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": stray}])
        aws.client("ecr").put_image(
            repositoryName=REPOSITORY, imageManifest=manifest["images"][0]["imageManifest"], imageTag="rescued"
        )
        return images

    with mock.patch.object(registry, "list_images", list_and_tag):
        answer = select(function, tagStatus="untagged", countType="sinceImagePushed", countUnit="days", countNumber=1)
    assert answer["keptByReason"] == {"TaggedSince": 1}
    assert (left(aws), answer["failures"]) == ({stray}, [])
    assert other not in left(aws)


def test_many_repositories_get_a_request_each(aws: EmbeddedAWS, start: Start) -> None:
    """By name and by pattern, over the queue, each with a report of its own; patterns stay within what is allowed."""
    ecr = aws.client("ecr")
    for name in ("team/web", "team/base", "other/app"):
        ecr.create_repository(repositoryName=name)
        push_image(ecr, name, tags=["pr-1"])
    push(aws, "pr-1")
    function = start(REPOSITORY_PATTERN="team/*", PROTECTED_REPOSITORIES="team/base")
    request = {
        "repositoryNames": ["*"],
        "requestId": "nightly",
        "selection": {"tagStatus": "tagged", "tagPatternList": ["pr-*"]},
    }
    answer = function(request, FakeLambdaContext())

    assert answer["repositoryNames"] == ["team/app", "team/web"]
    bodies = [json.loads(body) for body in aws.messages("RequestQueue")]
    assert {(body["requestId"], body["repositoryName"]) for body in bodies} == {
        ("nightly/team/app", "team/app"),
        ("nightly/team/web", "team/web"),
    }
    poller = Poller(aws, function)
    while poller.poll():
        pass
    assert aws.images("team/app") == aws.images("team/web") == set()
    assert len(aws.images("team/base")) == len(aws.images("other/app")) == 1


def test_when_time_runs_short_a_further_request_goes_on(aws: EmbeddedAWS, start: Start) -> None:
    """It stops in good order, and each goes on where the last one stopped."""
    for n in range(250):
        push(aws, f"pr-{n}")
    function = start(MAX_CONCURRENT_CALLS="1")
    context = FakeLambdaContext()
    asked = 0

    def remaining() -> int:
        nonlocal asked
        asked += 1
        return 100_000 if asked < 4 else 100

    with mock.patch.object(context, "get_remaining_time_in_millis", remaining):
        request = {
            "repositoryName": REPOSITORY,
            "requestId": "r",
            "selection": {"tagStatus": "tagged", "tagPatternList": ["pr-*"]},
        }
        answer = function(request, context)
    assert 0 < answer["deleted"] < 250 == answer["selected"]
    assert answer["continuedAs"] == "r#"
    poller = Poller(aws, function)
    while poller.poll():
        pass
    assert aws.images(REPOSITORY) == set()
    assert aws.messages("RequestQueue") == []


def test_without_time_for_anything_the_message_stays(aws: EmbeddedAWS, start: Start) -> None:
    """Without progress there is no further request: the message is received again, and at last a dead letter."""
    digest = push(aws, "pr-1")
    function = start()
    context = FakeLambdaContext()
    request = {"repositoryName": REPOSITORY, "selection": {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}}
    with (
        mock.patch.object(context, "get_remaining_time_in_millis", return_value=100),
        pytest.raises(Exception, match="too little time"),
    ):
        function(request, context)
    assert left(aws) == {digest}
    assert aws.messages("RequestQueue") == []
