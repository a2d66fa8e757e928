"""A rejection belongs to the arrival: it holds for every later receive, and is reported once."""

from typing import Any

import pytest

from local.poller import FakeLambdaContext
from tests.harness.arrivals import RUN, event_bus
from tests.harness.outside import ANY_SHARE, PREVIEWS, REPOSITORY, Outside, request
from tests.harness.server_faults import throttle

type Json = dict[str, Any]

BY_NAME = ("imageTag=pr-1", "imageTag=pr-2")
BY_LIMITS: dict[str, tuple[dict[str, str], Json]] = {
    "the share of a repository": ({"MAX_PERCENT_OF_REPOSITORY": "50"}, request(selection=PREVIEWS)),
    "a share of its own": (
        {"ALLOW_PERCENT_IN_REQUESTS": "false", "MAX_PERCENT_OF_REPOSITORY": "50"},
        request(selection=PREVIEWS, allowPercent=100),
    ),
    "the number of images": ({"MAX_IMAGES_PER_REQUEST": "1"}, request(*BY_NAME)),
    "the number of selected images": ({"MAX_IMAGES_PER_REQUEST": "1"}, request(selection=PREVIEWS)),
    "an action": ({"ALLOW_ARCHIVE": "false"}, request(*BY_NAME, action="archive")),
    "the repositories of the stack": (
        {"REPOSITORY_PATTERN": "web/*"},
        {"repositoryNames": ["team/*"], "imageIds": [*BY_NAME]},
    ),
    "a protected repository": (
        {"PROTECTED_REPOSITORIES": "team/*"},
        {"repositoryNames": ["team/*"], "selection": PREVIEWS},
    ),
}
"""Settings by which the stack rejects a request about two previews, and the request."""


@pytest.mark.parametrize("members", [{}, {"requestId": "once"}])
@pytest.mark.parametrize("limit", BY_LIMITS)
def test_a_dead_letter_is_judged_anew_once_it_is_sent_back(stack: Outside, limit: str, members: Json) -> None:
    """As the notice says, it is carried out if the stack admits it by then: nobody may believe that it is inert."""
    variables, body = BY_LIMITS[limit]
    images = set(stack.push_many(["pr-1", "pr-2"]))
    stack.send_body(body | members)
    stack.drain(stack.start(**{**ANY_SHARE, **variables}))
    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert "Sent back from there, it is judged anew, and is carried out if" in " ".join(notice.text.split())
    assert (stack.left(), len(stack.dead_letters())) == (images, 1)

    stack.redrive()
    stack.drain(stack.start(ALLOW_ARCHIVE="true", **ANY_SHARE))

    assert stack.left() == stack.archived()
    assert stack.notices() == [notice]
    assert stack.waiting() == stack.dead_letters() == []


@pytest.mark.parametrize("body", ["no JSON", '{"repositoryName": "team/app", "imageIds": ["pr-1"]}'])
def test_a_dead_letter_that_nothing_can_cure_is_rejected_each_time(stack: Outside, body: str) -> None:
    """It is judged anew too: each time that it is sent back, there is a notice."""
    digest = stack.push("pr-1")
    function = stack.start()
    stack.send_text(body)
    for times in range(1, 4):
        stack.drain(function)
        assert [notice.data["type"] for notice in stack.notices()] == ["rejection"] * times
        assert (stack.left(), stack.waiting(), stack.dead_letters()) == ({digest}, [], [body])
        stack.redrive()


@pytest.mark.parametrize("members", [{}, {"requestId": "too-much"}])
def test_a_message_that_was_over_the_cap_stays_rejected(stack: Outside, members: Json) -> None:
    """Under a higher cap the request works when it is sent anew; the rejected message never does."""
    stack.push_many(["a", "b"])
    stack.send("imageTag=a", "imageTag=b", **members)
    [rejected] = stack.receive(stack.start(MAX_IMAGES_PER_REQUEST="1")).failed
    function = stack.start(MAX_IMAGES_PER_REQUEST="1000")
    stack.send("imageTag=a", "imageTag=b", **members)
    assert stack.receive(function).failed == ()
    assert stack.tags() == set()
    stack.push("a", days=0)

    stack.drain(function)

    assert stack.tags() == {"a"}
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["origin"]["id"]) == ("rejection", rejected)
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (event_bus(request("imageTag=a", "imageTag=b", reason="clean-up")), "event"),
        (request("imageTag=a", "imageTag=b", reason="clean-up", requestId=RUN), "schedule"),
    ],
    ids=["event", "schedule"],
)
def test_a_rejection_says_where_it_came_from_at_whichever_receive(stack: Outside, body: Json, kind: str) -> None:
    """If the first receive could not publish its notice, that of the next one says the same."""
    function = stack.start(MAX_IMAGES_PER_REQUEST="1")
    stack.send_body(body)
    stack.faults.add("Publish", throttle)
    assert stack.receive(function).failed
    assert stack.notices() == []
    stack.faults.lift()

    stack.drain(function)

    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("rejection", kind)
    assert (notice.data["repositoryName"], notice.data["reason"]) == (REPOSITORY, "clean-up")


def test_a_fan_out_to_no_repository_stays_rejected(stack: Outside) -> None:
    """A repository that is created later gets no request from it."""
    body = {"repositoryNames": ["web/*"], "imageIds": ["imageTag=a"]}
    function = stack.start()
    stack.send_to_bulk(body)
    assert stack.receive(function).failed
    stack.create("web/shop")
    stack.push("a", repository="web/shop")

    stack.drain(function)

    assert stack.tags("web/shop") == {"a"}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)

    stack.send_body(body)
    stack.drain(function)
    assert stack.tags("web/shop") == set()
    assert len(stack.notices()) == 1


def test_an_invocation_that_was_rejected_stays_rejected(stack: Outside) -> None:
    """Lambda's retries have the same request id: they fail again, though the cap is higher, without a second notice."""
    stack.push_many(["a", "b"])
    context = FakeLambdaContext()
    for cap in ("1", "1000"):
        with pytest.raises(Exception, match="at most 1 images") as raised:
            stack.start(MAX_IMAGES_PER_REQUEST=cap)(request("imageTag=a", "imageTag=b"), context)
        assert type(raised.value).__name__ == "RejectedRequestError"
    assert stack.tags() == {"a", "b"}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]


def test_a_rejected_selection_does_not_keep_its_request_id_from_a_corrected_one(stack: Outside) -> None:
    """Sent anew, smaller and under the same requestId, it is judged anew and works."""
    stack.push_many(["pr-1", "pr-2", "main"])
    function = stack.start()
    stack.send_bulk(selection=PREVIEWS, requestId="nightly")
    assert stack.receive(function).failed

    stack.send_bulk(selection=PREVIEWS | {"excludeTagPatternList": ["pr-2"]}, requestId="nightly")
    assert stack.receive(function).failed == ()
    stack.drain(function)

    assert stack.tags() == {"pr-2", "main"}
    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"]
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)


def test_a_selection_that_was_too_large_stays_rejected(stack: Outside) -> None:
    """Though it would fit when its message is received again, or under another requestId."""
    images = set(stack.push_many(["pr-1", "pr-2"]))
    function = stack.start()
    stack.send_bulk(selection=PREVIEWS, requestId="nightly")
    assert stack.receive(function).failed
    images |= set(stack.push_many(["main-1", "main-2", "main-3"]))

    stack.drain(function)

    assert stack.left() == images
    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert "2 of the repository's 2 images" in notice.data["error"]
    assert (stack.waiting(), len(stack.dead_letters())) == ([], 1)

    stack.send(selection=PREVIEWS, requestId="another")
    stack.drain(function)
    assert stack.tags() == {"main-1", "main-2", "main-3"}


@pytest.mark.parametrize("placeholder", ["<aws.scheduler.scheduled-time>", "nightly/<aws.scheduler.execution-id>"])
def test_a_request_id_that_the_scheduler_did_not_fill_is_refused(stack: Outside, placeholder: str) -> None:
    """Under it every later run would be a duplicate of the first one."""
    stack.push("a")
    stack.send("imageTag=a", requestId=placeholder)
    stack.drain(stack.start())
    assert stack.tags() == {"a"}
    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert "requestId" in notice.data["error"]
    assert len(stack.dead_letters()) == 1
