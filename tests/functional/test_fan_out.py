"""Fan-out: a request for several repositories becomes a separate one for each, over the queue."""

import json

import pytest

from tests.harness.outside import ANY_SHARE, BULK_VISIBILITY_SECONDS, PREVIEWS, REPOSITORY, Outside, select
from tests.harness.server_faults import drop_while


def push_everywhere(stack: Outside, names: set[str], tag: str) -> None:
    """Pushes an image to each of several repositories."""
    for name in names:
        stack.push(tag, repository=name)


def test_each_repository_gets_a_request_of_its_own(stack: Outside) -> None:
    """By name and by pattern; patterns stay within what the stack allows and does not protect."""
    stack.create("team/web", "team/base", "other/app")
    names = {"team/app", "team/web", "team/base", "other/app"}
    push_everywhere(stack, names, "pr-1")
    function = stack.start(REPOSITORY_PATTERN="team/*", PROTECTED_REPOSITORIES="team/base", **ANY_SHARE)
    stack.send(repositoryNames=["*", "team/gone"], selection=PREVIEWS, requestId="nightly", notify="always")

    stack.drain(function)

    assert {name for name in names if stack.left(name)} == {"team/base", "other/app"}
    assert {notice.data["requestId"]: notice.data["type"] for notice in stack.notices()} == {
        "nightly/team/app": "report",
        "nightly/team/web": "report",
        "nightly/team/gone": "failure",
    }
    assert stack.waiting() == stack.dead_letters() == []


def test_an_invocation_answers_with_the_repositories(stack: Outside) -> None:
    """In the order of their names; their requests wait on the bulk queue."""
    stack.create("team/web", "other/app")
    answer = select(stack.start(), PREVIEWS, repositoryNames=["team/*"])
    assert answer["repositoryNames"] == ["team/app", "team/web"]
    assert len(stack.waiting()) == len(stack.waiting_in_bulk()) == 2


def test_delivered_twice_it_is_done_once(stack: Outside) -> None:
    """The request and those that it leads to: what has come to match since stays, and nothing is counted again."""
    names = {"team/app", "team/base", "team/web"}
    stack.create(*names - {"team/app"})
    push_everywhere(stack, names, "pr-1")
    function = stack.start(**ANY_SHARE)
    stack.send_bulk(repositoryNames=["team/*"], selection=PREVIEWS, notify="always")

    first = stack.receive(function)
    sent = stack.waiting()
    assert stack.duplicate(first).failed == ()
    assert (len(sent), stack.waiting()) == (3, sent)
    parts = [stack.receive(function) for _ in names]
    assert [stack.left(name) for name in names] == [set()] * 3
    push_everywhere(stack, names, "pr-2")
    assert [stack.duplicate(part).failed for part in parts] == [()] * 3

    assert [stack.tags(name) for name in names] == [{"pr-2"}] * 3
    assert {notice.data["repositoryName"] for notice in stack.notices()} == names
    assert (stack.faults.count("BatchDeleteImage"), len(stack.notices()), stack.metric("Requests")) == (3, 3, 4)
    assert stack.waiting() == stack.dead_letters() == []


def test_one_that_was_killed_and_means_no_repository_is_a_dead_letter(stack: Outside) -> None:
    """It may have sent something before, so it cannot be rejected; but it does not end without a word either."""
    stack.send_bulk(repositoryNames=["web/*"], selection=PREVIEWS)
    instance = stack.start_process()
    stack.faults.add("DescribeRepositories", drop_while(instance.kill, done=True), nth=1)
    assert stack.receive(instance).failed
    stack.let_time_pass(BULK_VISIBILITY_SECONDS)

    stack.drain(stack.start())

    assert (stack.waiting(), stack.notices(), len(stack.dead_letters())) == ([], [], 1)


@pytest.mark.parametrize("name", ["a", "team/app-", "team//x"])
def test_a_name_that_no_repository_can_have_is_rejected(stack: Outside, name: str) -> None:
    """With the request, rather than one by one in messages that the sender never wrote."""
    stack.send("imageTag=x", repositoryNames=["team/app", name])

    stack.drain(stack.start())

    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert notice.data["error"].startswith("request.repositoryNames[1] must be a name as ECR has them")
    assert len(stack.dead_letters()) == 1


def test_a_request_that_is_too_large_to_be_passed_on_is_rejected(stack: Outside) -> None:
    """SQS takes a message of 1 MiB, and each of those that it becomes needs some bytes more."""
    digests = [{"imageDigest": f"sha256:{n:064x}"} for n in range(11_650)]
    body = json.dumps({"repositoryNames": [REPOSITORY], "imageIds": digests}, separators=(",", ":"))
    assert 0 <= 1_048_576 - len(body) < 200
    stack.send_text(body)

    stack.drain(stack.start(MAX_IMAGES_PER_REQUEST="100000"))

    [notice] = stack.notices()
    assert (notice.data["type"], "split imageIds" in notice.data["error"]) == ("rejection", True)
    assert len(stack.dead_letters()) == 1
