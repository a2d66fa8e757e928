"""What a chat channel is shown, as Amazon Q Developer in chat applications wants it; and what others get then."""

import re
from typing import Any

from tests.custom_notification import CUSTOM_NOTIFICATION
from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside, ask, by_tag

CHAT = {"CHAT_NOTICES": "true"}


def shown(stack: Outside) -> list[Any]:
    """Returns what the channel gets of each notice, checked."""
    messages = [notice.chat for notice in stack.notices()]
    for message in messages:
        CUSTOM_NOTIFICATION.validate(message)
    return messages


def test_a_channel_is_shown_what_failed_and_what_to_do(stack: Outside) -> None:
    """In a thread of the request, under words to filter by."""
    stack.push("v1")
    stack.push("prod")
    function = stack.start(**CHAT, PROTECTED_TAGS="prod")
    ask(function, "imageTag=v1", "imageTag=prod", requestId="close-1", reason="closed")

    [message] = shown(stack)
    content = message["content"]
    assert content["title"] == "\u26a0 ECR image deletion: 1 of 2 images not deleted in team/app"
    assert "*Request:* `close-1`" in content["description"]
    assert "*Reason:* `closed`" in content["description"]
    assert "\u2022 `imageTag=prod`: ProtectedTag: `" in content["description"]
    assert content["keywords"] == ["failure", "team/app", "ProtectedTag"]
    assert content["nextSteps"] == [
        "Nothing to do, if it may stay like that: what is protected, in use or not there was left alone."
    ]
    assert message["metadata"]["threadId"] == "close-1"


def test_it_offers_the_request_that_tries_again(stack: Outside) -> None:
    """As code, to be copied."""
    ask(stack.start(**CHAT, DRY_RUN="false", PROTECTED_REPOSITORIES=""), selection=PREVIEWS, notify="always")
    index = stack.push_index([stack.push("a")], "index")
    del index
    ask(stack.start(**CHAT), "imageTag=a")
    assert shown(stack)[0]["content"]["nextSteps"] == []
    assert shown(stack)[1]["content"]["nextSteps"][1].startswith('Send this request: `{"repositoryName": "team/app"')


def test_without_it_https_subscribers_get_the_json(stack: Outside) -> None:
    """The same as every other protocol: nobody gets a shape that was not chosen."""
    ask(stack.start(), "imageTag=x")
    [notice] = stack.notices()
    assert notice.chat is None


def test_every_kind_of_notice_has_a_form_for_channels(stack: Outside) -> None:
    """A rejection, a report, a dry run, and a summary in the thread of which its parts speak."""
    stack.push("pr-1")
    function = stack.start(**CHAT, **ANY_SHARE)
    stack.send_text("no JSON")
    stack.send("imageTag=pr-1", notify="always", dryRun=True)
    stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId="nightly", notify="summary")
    stack.send(repositoryNames=["team/*"], imageIds=["imageTag=x"], requestId="named")
    for _ in range(2):
        stack.drain(function)
        stack.let_time_pass(900)

    found = {message["metadata"]["eventType"]: message for message in shown(stack)}
    assert found.keys() == {"rejection", "dryRun", "summary", "failure"}
    assert found["failure"]["metadata"]["threadId"] == "named"
    assert found["summary"]["metadata"]["threadId"] == "nightly"


HOSTILE = "x`<!channel> @here *bold*\n\u2022 `imageTag=v1`: deleted <https://example.com|click> \u202e"


def test_a_sender_can_call_nobody_and_write_no_line(stack: Outside) -> None:
    """Senders' words are code, from which nothing leads out."""
    function = stack.start(**CHAT)
    ask(function, {"imageTag": HOSTILE}, reason=HOSTILE[:250], requestId=HOSTILE[:250])
    stack.send_body({"repositoryName": HOSTILE, "reason": HOSTILE, "requestId": HOSTILE, "imageIds": []})
    stack.drain(function)

    for message in shown(stack):
        for text in (message["content"]["title"], message["content"]["description"], *message["content"]["nextSteps"]):
            assert all(line.count("`") % 2 == 0 for line in text.splitlines())
            outside = re.sub("`[^`]*`", "", text)
            assert "x'" not in outside
            assert "here" not in outside.replace("there", "")
            assert not set("<>\u202e") & set(text)
    assert len(shown(stack)) == 2


def test_all_bodies_together_stay_within_what_sns_takes(stack: Outside) -> None:
    """It costs the JSON some entries, which are counted."""
    tags = by_tag([f"{n:0120}" for n in range(3_000)])
    for variables in ({}, CHAT):
        stack.send(*tags)
        stack.drain(stack.start(MAX_IMAGES_PER_REQUEST="100000", **variables))
    plain, chat = stack.notices()
    assert 0 < chat.data["failuresOmitted"] - plain.data["failuresOmitted"] < 100
    assert "and more" in chat.chat["content"]["description"]
