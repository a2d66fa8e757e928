"""Selections: which images go by age, count and pattern, and what is told of them."""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import botocore.endpoint
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.retries.bucket import TokenBucket

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


def add_tag(aws: EmbeddedAWS, digest: str, tag: str) -> None:
    """Gives an image one more tag."""
    ecr = aws.client("ecr")
    [image] = ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": digest}])["images"]
    ecr.put_image(repositoryName=REPOSITORY, imageManifest=image["imageManifest"], imageTag=tag)


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


@contextmanager
def tagged_meanwhile(aws: EmbeddedAWS, digest: str) -> Iterator[None]:
    """An image gains a tag when its repository has been listed."""
    registry = sys.modules["handler.registry"]
    listed = registry.list_images

    def list_and_tag(*arguments: Any) -> Any:
        images = listed(*arguments)
        add_tag(aws, digest, "rescued")
        return images

    with mock.patch.object(registry, "list_images", list_and_tag):
        yield


def test_an_image_that_gains_a_tag_meanwhile_stays(aws: EmbeddedAWS, start: Start) -> None:
    """Between the selection and the deletion: it is not the image that was meant any more."""
    stray = push(aws, days=99)
    other = push(aws, days=99)
    function = start()
    with tagged_meanwhile(aws, stray):
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
        return 100_000 if asked < 6 else 100

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


PREVIEWS: Json = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}


def enqueue(aws: EmbeddedAWS, **more: object) -> None:
    """Puts a request for the previews on the queue."""
    request = {"repositoryName": REPOSITORY, "requestId": "r", "selection": PREVIEWS} | more
    body = json.dumps({key: value for key, value in request.items() if value is not None})
    aws.client("sqs").send_message(QueueUrl=aws.outputs["RequestQueueUrl"], MessageBody=body)


def waiting(aws: EmbeddedAWS, queue: str = "RequestQueue") -> list[Json]:
    """The requests on a queue."""
    return [json.loads(body) for body in aws.messages(queue)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function does not wait before it asks again, nor asks more slowly."""
    monkeypatch.setattr(TokenBucket, "acquire", lambda *_, **__: True)
    monkeypatch.setattr(botocore.endpoint, "time", mock.Mock(wraps=time, sleep=lambda _: None))


def throttle(*, after: int) -> Callable[[], None]:
    """From now on ECR throttles deletions but for the first few; returns what ends that."""
    events, hook, passes = (
        sys.modules["handler.work"].ecr.meta.events,
        "before-send.ecr.BatchDeleteImage",
        itertools.count(),
    )
    body = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if next(passes) < after:
            return None
        return AWSResponse(request.url, 400, HTTPHeaders(), mock.Mock(stream=lambda **_: iter([body])))

    events.register(hook, answer)
    return lambda: events.unregister(hook, answer)


def test_a_rejected_selection_stays_rejected(aws: EmbeddedAWS, start: Start) -> None:
    """Though it would fit when its message is received again: told once, it ends as a dead letter."""
    images = {push(aws, f"pr-{n}") for n in range(2)}
    poller = Poller(aws, start(MAX_PERCENT_OF_REPOSITORY="50"))
    enqueue(aws)
    first = poller.poll()
    assert first
    assert first.failed
    images |= {push(aws, f"main-{n}") for n in range(3)}

    poller.drain()

    assert left(aws) == images
    [notice] = aws.notices()
    assert notice.data["type"] == "rejection"
    assert "2 of the repository's 2 images" in notice.data["error"]
    assert (waiting(aws), len(waiting(aws, "DeadLetterQueue"))) == ([], 1)

    enqueue(aws, requestId="another")
    poller.drain()
    assert len(left(aws)) == 3


@pytest.mark.usefixtures("impatient")
def test_throttled_in_the_middle_a_further_request_goes_on(aws: EmbeddedAWS, start: Start) -> None:
    """The report says what was deleted and who goes on; what is done is not done again."""
    for n in range(101):
        push(aws, f"pr-{n}")
    poller = Poller(aws, start())
    enqueue(aws, notify="always")
    relent = throttle(after=1)

    first = poller.poll()

    assert first
    assert first.failed == ()
    [notice] = aws.notices()
    deleted = notice.data["deleted"]
    assert (notice.data["type"], notice.data["selected"], notice.data["continuedAs"]) == ("report", 101, "r#")
    assert deleted in {1, 100}
    assert len(left(aws)) == 101 - deleted
    assert waiting(aws) == [
        {"repositoryName": REPOSITORY, "requestId": "r#", "selection": PREVIEWS, "notify": "always"}
    ]

    relent()
    duplicate = poller.duplicate(first)
    assert duplicate.failed == ()
    assert (len(left(aws)), len(waiting(aws))) == (101 - deleted, 1)

    poller.drain()
    assert left(aws) == set()
    assert [n.data["deleted"] for n in aws.notices()] == [deleted, 101 - deleted]
    assert "continuedAs" not in aws.notices()[-1].data
    assert waiting(aws) == waiting(aws, "DeadLetterQueue") == []


@pytest.mark.usefixtures("impatient")
def test_throttled_between_an_index_and_its_images_all_of_it_goes(aws: EmbeddedAWS, start: Start) -> None:
    """The further request takes what the index that went has left behind."""
    push_index(aws.client("ecr"), REPOSITORY, [push(aws), push(aws)], tags=["pr-1"])
    poller = Poller(aws, start())
    enqueue(aws)
    relent = throttle(after=1)
    poller.poll()
    assert len(left(aws)) == 2
    relent()

    poller.drain()

    assert left(aws) == set()


@pytest.mark.usefixtures("impatient")
def test_throttled_before_anything_is_deleted_the_message_stays(aws: EmbeddedAWS, start: Start) -> None:
    """There is no further request; a later delivery of the same one does it all."""
    digest = push(aws, "pr-1")
    poller = Poller(aws, start())
    enqueue(aws, notify="always")
    relent = throttle(after=0)

    first = poller.poll()

    assert first
    assert len(first.failed) == 1
    assert (left(aws), aws.notices(), [r["requestId"] for r in waiting(aws)]) == ({digest}, [], ["r"])
    relent()
    poller.drain()
    assert left(aws) == set()
    [notice] = aws.notices()
    assert (notice.data["deleted"], "continuedAs" in notice.data) == (1, False)
    assert waiting(aws) == waiting(aws, "DeadLetterQueue") == []


def test_a_dry_run_that_runs_out_of_time_leads_to_no_other(aws: EmbeddedAWS, start: Start) -> None:
    """Though it has foreseen some by then, its message stays: those that follow would foresee the same without end."""
    images = {child := push(aws), push_index(aws.client("ecr"), REPOSITORY, [child], tags=["pr-1"])}
    function = start()
    looks: list[str] = []
    sys.modules["handler.work"].ecr.meta.events.register(
        "before-send.ecr.DescribeImages", lambda request, **_: looks.append(request.url)
    )

    def remaining(_: FakeLambdaContext) -> int:
        """Time for the list, and for two looks at the index: its guard's, and what would become of it."""
        return 100_000 if len(looks) < 3 else 100

    enqueue(aws, dryRun=True, notify="always")
    poller = Poller(aws, function)
    with mock.patch.object(FakeLambdaContext, "get_remaining_time_in_millis", remaining):
        first = poller.poll()
    assert first
    assert (len(first.failed), len(looks)) == (1, 3)
    assert (left(aws), aws.notices(), [r["requestId"] for r in waiting(aws)]) == (images, [], ["r"])

    poller.drain()
    assert left(aws) == images
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("dryRun", 2, 2)
    assert waiting(aws) == waiting(aws, "DeadLetterQueue") == []


def test_what_a_dry_run_leads_to_is_dry(aws: EmbeddedAWS, start: Start) -> None:
    """Where the stack makes it one, the requests on the queue say so themselves: set to `false`, it changes nothing."""
    digest = push(aws, "pr-1")
    enqueue(aws, repositoryName=None, repositoryNames=["team/*"], notify="always")
    assert Poller(aws, start(DRY_RUN="true")).poll()
    assert [(r["requestId"], r["dryRun"]) for r in waiting(aws)] == [("r/team/app", True)]

    Poller(aws, start(DRY_RUN="false")).drain()

    assert left(aws) == {digest}
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["selected"]) == ("dryRun", 1)
    assert waiting(aws) == []


def test_a_signature_stays_with_an_image_that_gained_a_tag(aws: EmbeddedAWS, start: Start) -> None:
    """Between the selection and the deletion: the signature still belongs to something."""
    image = push(aws, "pr-1")
    signature = push_referrer(aws.client("ecr"), REPOSITORY, image)
    other = push(aws, "pr-2")
    other_signature = push_referrer(aws.client("ecr"), REPOSITORY, other)
    function = start()
    with tagged_meanwhile(aws, image):
        answer = select(function, **PREVIEWS)

    assert left(aws) == {image, signature}
    assert {i["imageDigest"] for i in answer["imageIds"]} == {other, other_signature}
    assert (answer["keptByReason"], answer["failures"]) == ({"TaggedSince": 1, "StillUsed": 1}, [])


def test_a_selection_in_a_protected_repository_is_told(aws: EmbeddedAWS, start: Start) -> None:
    """As a failure of the repository; nothing is selected."""
    digest = push(aws, "pr-1")
    enqueue(aws)
    Poller(aws, start(PROTECTED_REPOSITORIES="team/*")).drain()
    assert left(aws) == {digest}
    [notice] = aws.notices()
    assert notice.subject == "ECR image deletion: nothing could be selected in team/app"
    assert notice.data["type"] == "failure"
    assert [f["failureCode"] for f in notice.data["failures"]] == ["ProtectedRepository"]
    assert waiting(aws) == waiting(aws, "DeadLetterQueue") == []


def test_many_repositories_delivered_twice_are_cleaned_once(
    aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]
) -> None:
    """The request and those it leads to: what has come to match since stays."""
    ecr, names = aws.client("ecr"), {"team/app", "team/base", "team/web"}
    for name in names - {REPOSITORY}:
        ecr.create_repository(repositoryName=name)
    for name in names:
        push_image(ecr, name, tags=["pr-1"])
    poller = Poller(aws, start())
    enqueue(aws, repositoryName=None, repositoryNames=["team/*"], notify="always")

    polls = poller.drain()

    assert [aws.images(name) for name in names] == [set()] * 3
    assert {call["repositoryName"] for call in ecr_calls} == names
    assert {notice.data["repositoryName"] for notice in aws.notices()} == names
    for name in names:
        push_image(ecr, name, tags=["pr-2"])
    again = [poller.duplicate(poll) for poll in polls]
    poller.drain()
    assert [poll.failed for poll in again] == [()] * len(polls)
    assert [len(aws.images(name)) for name in names] == [1] * 3
    assert (len(ecr_calls), len(aws.notices())) == (3, 3)
    assert waiting(aws) == waiting(aws, "DeadLetterQueue") == []


def test_a_dry_run_of_a_selection_foresees_the_real_one(aws: EmbeddedAWS, start: Start) -> None:
    """The real one, under another requestId, then deletes and keeps just that, with what belongs to its images."""
    ecr = aws.client("ecr")
    push(aws, "pr-1", "prod")
    push(aws, "pr-2", "pr-2-b")
    shared, tagged = push(aws), push(aws, "main")
    push_index(ecr, REPOSITORY, [shared, tagged], tags=["2.0"])
    index = push_index(ecr, REPOSITORY, [push(aws), shared, tagged], tags=["pr-3"])
    push_referrer(ecr, REPOSITORY, index)
    before = left(aws)
    function = start(PROTECTED_TAGS="prod")

    dry = select(function, {"requestId": "dry", "dryRun": True}, **PREVIEWS)
    assert left(aws) == before
    real = select(function, {"requestId": "real"}, **PREVIEWS)

    assert dry == real | {"requestId": "dry", "dryRun": True}
    assert (real["selected"], real["failures"]) == (4, [])
    assert before - left(aws) == {image_id["imageDigest"] for image_id in real["imageIds"]}
