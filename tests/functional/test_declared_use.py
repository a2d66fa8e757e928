"""Declared use: what clusters that the stack does not read itself say to be in use."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.poller import FakeLambdaContext, Handler
from tests.fakes.lambda_ import sqs_record
from tests.harness.arrivals import WAYS, deliver, event_bus
from tests.harness.in_use import DAY, Inventory, address
from tests.harness.outside import REPOSITORY, Outside, ask, by_digest, by_tag, codes, hurried, request
from tests.harness.server_faults import drop_after, server_error

type Json = dict[str, Any]

SOURCE = "eks/prod"


def declaration(*addresses: str, seconds: float = 3_600, **members: Any) -> Json:
    """Returns what a cluster sends."""
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"source": SOURCE, "imagesInUse": list(addresses), "expiresAt": expires.isoformat(), **members}


def answered(images: int, elsewhere: int = 0, unreadable: int = 0) -> Json:
    """Returns the answer to a declaration."""
    counts = {"imagesInUse": images, "imagesElsewhere": elsewhere, "imagesNotUnderstood": unreadable}
    return {"source": SOURCE, **counts}


@pytest.fixture
def start(stack: Outside) -> Callable[..., Handler]:
    """Starts an instance in a stack that protects what two clusters declare; one has declared nothing to be in use."""
    inventory = Inventory(stack.aws, sources=("nomad",))
    variables = inventory.variables | {"PROTECT_IN_USE": "declared", "USAGE_SOURCES": f"nomad,{SOURCE}"}
    return lambda **others: stack.start(**variables | others)


@pytest.mark.parametrize("way", [way for way in WAYS if "schedule" not in way])
def test_what_is_declared_stays(stack: Outside, start: Callable[..., Handler], way: str) -> None:
    """However the declaration arrives; until then, nothing is deleted at all."""
    running, tagged, old = stack.push("v1"), stack.push("v2"), stack.push("v3")
    function = start()
    assert codes(ask(function, *by_digest(old))) == ["UsageUnknown"]

    delivery = deliver(function, way, declaration(address(REPOSITORY, running), address(REPOSITORY, "v2")))

    answer = ask(function, *by_digest(running, tagged, old))
    assert codes(answer) == ["ImageInUse"] * 2
    assert f"{SOURCE} since 20" in answer["failures"][0]["failureReason"]
    assert stack.left() == {running, tagged}
    assert not delivery.failed
    assert delivery.answer in (None, answered(2))


def test_a_source_that_stops_declaring_is_not_known(stack: Outside, start: Callable[..., Handler]) -> None:
    """Once what it declared last has expired, nothing is deleted."""
    stack.push("v1")
    function = start()
    deliver(function, "a message", declaration(seconds=3_600))
    stack.let_time_pass(3_700)
    answer = ask(function, "imageTag=v1")
    assert codes(answer) == ["UsageUnknown"]
    assert SOURCE in answer["failures"][0]["failureReason"]
    assert "nomad" not in answer["failures"][0]["failureReason"]


@pytest.mark.parametrize(("days", "expected"), [("2", "ImageInUse"), ("0", None)])
def test_what_was_declared_counts_for_some_days_more(
    stack: Outside, start: Callable[..., Handler], days: str, expected: str | None
) -> None:
    """InUseDays after it was last declared, though the source goes on without it."""
    stack.push("v1")
    function = start(IN_USE_DAYS=days)
    deliver(function, "a message", declaration(address(REPOSITORY, "v1")))
    stack.let_time_pass(DAY)
    Inventory(stack.aws, sources=("nomad",), table="usage")
    deliver(function, "a message", declaration(), 2)
    assert codes(ask(function, "imageTag=v1")) == ([expected] if expected else [])


def test_a_duplicate_changes_nothing(stack: Outside, start: Callable[..., Handler]) -> None:
    """A queue may deliver twice."""
    stack.push("v1")
    function = start()
    for n in range(3):
        deliver(function, "a message", declaration(address(REPOSITORY, "v1")), n)
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]


def test_the_newest_declaration_says_for_how_long_a_source_is_known(
    stack: Outside, start: Callable[..., Handler]
) -> None:
    """Not the longest: one for a month, sent to try it out, would hide for a month that the cluster is silent.

    Nor the one that arrives last: an older one may be delivered again, or late.
    """
    stack.push("v1")
    function = start()
    trial, usual = declaration(seconds=30 * DAY), declaration(address(REPOSITORY, "v1"), seconds=1_800)
    for sent, content in ((10, trial), (20, usual), (10, trial)):
        record: Any = sqs_record(f"message {sent}", json.dumps(content), 1)
        record["attributes"]["SentTimestamp"] = str(int((time.time() - 60 + sent) * 1_000))
        function({"Records": [record]}, FakeLambdaContext())
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]
    stack.let_time_pass(8 * DAY)
    Inventory(stack.aws, sources=("nomad",), table="usage")
    answer = ask(function, "imageTag=v1")
    assert codes(answer) == ["UsageUnknown"]
    assert SOURCE in answer["failures"][0]["failureReason"]


def test_a_declaration_of_thousands_watches_the_clock(stack: Outside, start: Callable[..., Handler]) -> None:
    """What time does not suffice for is recorded by the next delivery, which does not write again what is written."""
    tags = [f"v{n}" for n in range(60)]
    content = declaration(*(address(REPOSITORY, tag) for tag in tags))
    function, calls = start(), iter(range(1_000))
    message_id = stack.send_body(content)
    assert stack.receive(hurried(function, lambda: 60 if next(calls) < 20 else 0)).failed == (message_id,)
    written = stack.faults.count("UpdateItem")
    assert written < len(tags)
    stack.drain(function)
    assert stack.faults.count("UpdateItem") <= len(tags) + 10
    stack.push("v59")
    assert codes(ask(function, "imageTag=v59")) == ["ImageInUse"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"source": "eks/other"}, "UsageSources"),
        ({"source": None}, "UsageSources"),
        ({"expiresAt": "tomorrow"}, "ISO 8601"),
        ({"expiresAt": 5}, "ISO 8601"),
        ({"expiresAt": "2999-01-01T00:00:00"}, "time zone"),
        ({"expiresAt": "2999-01-01T00:00:00Z"}, "31 days"),
        ({"imagesInUse": "one"}, "list of image addresses"),
        ({"imagesInUse": [5]}, "list of image addresses"),
        ({"more": 1}, "'more'"),
    ],
)
def test_a_declaration_that_can_never_be_recorded_is_rejected(
    stack: Outside, start: Callable[..., Handler], change: Json, why: str
) -> None:
    """With one notice that says what to change; the message ends in the dead-letter queue, and nothing is believed."""
    stack.push("v1")
    function = start()
    stack.send_body(declaration() | change)
    stack.drain(function)
    [notice] = stack.notices()
    assert notice.data["type"] == "rejection"
    assert why in notice.data["error"]
    assert len(stack.dead_letters()) == 1
    assert codes(ask(function, "imageTag=v1")) == ["UsageUnknown"]


def test_images_of_other_registries_are_counted_and_do_not_matter(start: Callable[..., Handler]) -> None:
    """Nothing here can delete them: a cluster need not sort them out."""
    others = ("nginx:1.27", "docker.io/library/nginx", "ghcr.io/a/b@sha256:" + "a" * 64, "public.ecr.aws/x/y:1", "")
    assert deliver(start(), "an invocation by hand, retried by Lambda", declaration(*others)).answer == answered(0, 5)


def test_an_address_that_names_no_image_costs_the_others_nothing(stack: Outside, start: Callable[..., Handler]) -> None:
    """Nobody can run it, and whoever can write a name into a pod must not stop all deletions: it is logged."""
    stack.push("v1")
    function = start()
    bad = f"{address(REPOSITORY, 'v1')}@sha256:12"
    answer = deliver(function, "an invocation by hand, retried by Lambda", declaration(bad, address(REPOSITORY, "v1")))
    assert answer.answer == answered(1, 0, 1)
    assert [entry["addresses"] for entry in stack.log("images not understood")] == [[bad]]
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]


def test_a_declaration_that_comes_too_late_protects_and_is_not_believed(
    stack: Outside, start: Callable[..., Handler]
) -> None:
    """It waited on the queue: the next one counts, and nobody is bothered; nothing is deleted until then."""
    stack.push("v1")
    function = start()
    stack.send_body(declaration(address(REPOSITORY, "v1"), seconds=-10))
    stack.drain(function)
    assert (stack.notices(), stack.dead_letters()) == ([], [])
    assert codes(ask(function, "imageTag=v1")) == ["UsageUnknown"]
    deliver(function, "a message", declaration())
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]


def test_who_may_only_declare_cannot_delete(stack: Outside, start: Callable[..., Handler]) -> None:
    """IAM can admit a sender by the detail-type of its events: a request in such an event is rejected."""
    old = stack.push("v1")
    function = start()
    deliver(function, "a message", declaration())
    event = event_bus(request("imageTag=v1")) | {"detail-type": "ECR Images In Use"}
    stack.send_body(event)
    stack.drain(function)
    assert stack.left() == {old}
    [notice] = stack.notices("rejection")
    assert "must have imagesInUse" in notice.data["error"]


def test_a_stack_without_declared_use_rejects_declarations(stack: Outside) -> None:
    """Otherwise, whoever sends them would believe to be protected."""
    stack.send_body(declaration())
    stack.drain(stack.start())
    [notice] = stack.notices("rejection")
    assert "UsageSources" in notice.data["error"]


@pytest.mark.parametrize("fault", [server_error, drop_after])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.usefixtures("no_waiting")
def test_half_a_declaration_is_none(stack: Outside, start: Callable[..., Handler], fault: Any, nth: int) -> None:
    """Where DynamoDB fails in the middle, the source is not believed until a redelivery has recorded all of it."""
    stack.create("other")
    tags = ["v1", "v2", "v3"]
    stack.push_many(tags)
    function = start()
    stack.faults.add("UpdateItem", fault, nth=range(nth, 100))
    stack.send_body(declaration(*(address(REPOSITORY, tag) for tag in tags)))
    assert stack.receive(function).failed
    stack.faults.lift()
    unknown = ask(function, *by_tag(tags))
    assert set(codes(unknown)) <= {"UsageUnknown", "ImageInUse"}
    assert stack.tags() == set(tags)
    stack.drain(function)
    assert codes(ask(function, *by_tag(tags))) == ["ImageInUse"] * 3
    assert stack.notices("rejection") == []
