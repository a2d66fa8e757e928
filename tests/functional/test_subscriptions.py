"""The filters of the guide: who subscribes with one gets what it says, and not more; moto's SNS is the judge."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness.outside import ANY_SHARE, PREVIEWS, Json, Outside, ask

GUIDE = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
FILTERS: dict[str, Json] = {
    address: json.loads(policy)
    for address, policy in re.findall(r"^subscribe (\S+)@example\.com '(.*?)'$", GUIDE, re.MULTILINE | re.DOTALL)
}
[CHAT] = [json.loads(policy) for policy in re.findall(r"--attribute-value '(.*?)'", GUIDE)]


@pytest.fixture
def readers(stack: Outside) -> dict[str, str]:
    """Subscribes a queue with each filter, and one without any; returns their addresses."""
    sqs, sns = stack.aws.client("sqs"), stack.aws.client("sns")
    urls = {}
    for name, policy in {**FILTERS, "chat": CHAT, "all": None}.items():
        urls[name] = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=urls[name], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic, attributes = (
            stack.aws.outputs["NotificationTopicArn"],
            {"FilterPolicy": json.dumps(policy)} if policy else {},
        )
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    return urls


def received(stack: Outside, url: str) -> list[Any]:
    """Returns the requestIds of what a reader got; of a rejection, its type."""
    messages: list[Any] = []
    while more := stack.aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        messages += [json.loads(json.loads(message["Body"])["Message"]) for message in more]
    return sorted(message.get("requestId", message["type"]) for message in messages)


def test_each_reader_gets_what_it_asked_for(stack: Outside, readers: dict[str, str]) -> None:
    """Whoever is on call hears of nothing that can be left alone, and of everything else that failed."""
    stack.create("other/app")
    stack.push("prod")
    platform = stack.push()
    stack.push_index([platform], "index")
    function = stack.start(PROTECTED_TAGS="prod", **ANY_SHARE)
    ask(function, "imageTag=gone", "imageTag=prod", requestId="left alone")
    ask(function, {"imageDigest": platform}, "imageTag=gone", requestId="to be looked at")
    ask(function, "imageTag=gone", repositoryName="other/app", requestId="of others")
    ask(function, "imageTag=gone", dryRun=True, notify="always", requestId="dry")
    ask(function, selection=PREVIEWS, notify="always", requestId="report")
    stack.send_text("no JSON")
    stack.send(repositoryNames=["team/*"], imageIds=["imageTag=x"], notify="summary", requestId="summed up")
    for _ in range(2):
        stack.drain(function)
        stack.let_time_pass(900)

    failures = ["left alone", "of others", "to be looked at"]
    assert {name: received(stack, url) for name, url in readers.items()} == {
        "on-call": ["rejection", "to be looked at"],
        "team": ["left alone", "to be looked at"],
        "platform": ["summed up"],
        "chat": sorted([*failures, "rejection", "summed up"]),
        "all": sorted([*failures, "rejection", "summed up", "dry", "report"]),
    }


def test_the_log_tells_what_became_of_one_message(stack: Outside) -> None:
    """Under its messageId: a request, its duplicate, one for several repositories, one that can never work."""
    stack.create("team/web")
    stack.push("pr-1")
    function = stack.start(**ANY_SHARE)
    first, again = (stack.send("imageTag=pr-1", requestId="r-1") for _ in range(2))
    several = stack.send(repositoryNames=["team/*"], selection=PREVIEWS, requestId="nightly")
    never = stack.send_text("{")
    stack.drain(function)

    def found(message_id: str) -> list[tuple[str, Any]]:
        """Returns what the guide's query finds, without how often a rejected one was received."""
        ends = ("request done", "request rejected", "request spread")
        entries = [e for e in stack.log() if message_id in (e.get("origin", {}).get("id"), e["request_id"])]
        shown = [(e["message"], e["request_id"] if e["request_id"] != message_id else None) for e in entries]
        return sorted({(message, name) for message, name in shown if message in ends}, key=str)

    assert found(first) == found(again) == [("request done", "r-1")]
    assert sorted(e["replayed"] for e in stack.log("request done") if e["request_id"] == "r-1") == [False, True]
    assert found(several) == [
        *(("request done", f"nightly/{name}") for name in ("team/app", "team/web")),
        ("request spread", "nightly"),
    ]
    assert found(never) == [("request rejected", None)]
