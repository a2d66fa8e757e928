"""Result events: within their size, as their schemas say, complete or counted, and each under a key of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler import events
from handler.models.event_types import COMPLETED, REJECTED, RESULTS, SUMMARIZED
from handler.models.limits import EVENT_BYTES
from handler.models.report import DeletionReport
from handler.models.request import Origin, Registry
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.notifications import report_notice
from handler.notifications.result_events import ResultEvent, completed, rejected, summarized
from local.runtime import FakeLambdaContext
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, sqs_record
from tests.reports import ORIGINS, WORDS, reports, summaries
from tests.values import ACCOUNT, FOREIGN, ORIGIN, deletion_report, deletion_request, failure

ARRIVAL = ("message", "message-1")
REGISTRY = Registry("aws", "eu-west-1", ACCOUNT)
SCHEMAS = Path(__file__).parents[3] / "events" / "schemas"
VALIDATORS: dict[str, Any] = {
    kind: jsonschema.Draft4Validator(
        json.loads((SCHEMAS / f"{kind.rpartition(' ')[2].lower()}.schema.json").read_text())
    )
    for kind in RESULTS
}
LEAST = 4_096
"""Bytes that hold any report of these tests without its entries."""


def data(event: ResultEvent) -> Any:
    """Returns what an event says, checked against its schema, which describes each member."""
    validator, detail = VALIDATORS[event.detail_type], json.loads(event.detail)
    validator.validate(detail)
    assert detail["data"].keys() <= validator.schema["properties"]["data"]["properties"].keys()
    assert event.detail.isascii()
    return detail["data"]


def key(event: ResultEvent) -> str:
    """Returns the key by which a system knows that it has had an event."""
    return json.loads(event.detail)["metadata"]["idempotencyKey"]


def size(event: ResultEvent) -> int:
    """Returns what PutEvents counts of an event, without its source."""
    return len("".join([event.detail_type, event.detail, *event.resources]).encode())


def check_counts(found: Any, report: DeletionReport) -> int:
    """Checks that all of a report is in an event or counted, failures first; returns how much is only counted."""
    words = report.words
    omitted = {name: found.get(f"{name}Omitted", 0) for name in ("failures", "kept", words.images)}
    shown = {name: found.get(name, []) for name in omitted}
    assert {name: len(shown[name]) + omitted[name] for name in omitted} == {
        "failures": report.failed,
        "kept": len(report.kept) + report.kept_omitted,
        words.images: len(report.image_ids) + report.omitted,
    }
    assert shown["failures"] == [f.to_json() for f in report.failures[: len(shown["failures"])]]
    assert shown[words.images] == [i.to_json() for i in report.image_ids[: len(shown[words.images])]]
    assert len(shown["failures"]) == len(report.failures) or not (shown["kept"] or shown[words.images])
    assert len(shown["kept"]) == len(report.kept) or not shown[words.images]
    assert (found["failed"], found[words.number], found["requested"]) == (report.failed, report.done, report.asked)
    return sum(omitted.values())


@given(reports())
@settings(max_examples=40)
def test_the_event_of_any_report_is_as_its_schema_says(report: DeletionReport) -> None:
    """Within its size, of any script; and nothing of the report is neither shown nor counted."""
    event = completed(report, REGISTRY, "claim-1", limit=LEAST)
    assert event.size == size(event) <= LEAST
    found = data(event)
    check_counts(found, report)
    request = report.request
    assert (found["requestId"], found["origin"], found["reason"]) == (
        request.request_id,
        request.origin.to_json(),
        request.reason,
    )
    assert found.get("partOf", found["requestId"]) == request.part_of


@given(summaries())
@settings(max_examples=30)
def test_the_event_of_any_summary_is_as_its_schema_says(report: SummaryReport) -> None:
    """The same, with the numbers of the summary."""
    event = summarized(report, REGISTRY, "claim-1", limit=LEAST)
    assert event.size == size(event) <= LEAST
    found, outcome = data(event), report.outcome
    assert outcome.counts.items() <= found.items()
    named = ("rejectedRepositories", "failedRepositories", "unfinishedRepositories")
    for name, entries in zip(named, (outcome.rejected, outcome.failed, outcome.unfinished), strict=True):
        assert found[name] == list(entries[: len(found[name])])
        assert len(found[name]) + found.get(f"{name}Omitted", 0) == len(entries)


@given(WORDS, ORIGINS, st.none() | WORDS | st.dictionaries(st.sampled_from(["requestId", "reason", "x"]), WORDS))
@settings(max_examples=25)
def test_the_event_of_any_rejection_is_as_its_schema_says(error: str, origin: Origin, content: Any) -> None:
    """Whatever could be read of it."""
    event = rejected(error, origin, content, ARRIVAL)
    assert (event.detail_type, event.resources, event.size) == (REJECTED, (), size(event))
    assert data(event).items() >= {"type": "rejection", "error": error, "origin": origin.to_json()}.items()


def test_half_a_surrogate_pair_costs_no_event() -> None:
    """JSON can spell what UTF-8 cannot hold."""
    event = rejected("no", ORIGIN, {"requestId": "\ud800", "reason": "a\ud800"}, ARRIVAL)
    assert data(event)["requestId"] == "\\ud800"
    event.detail.encode()


def test_the_event_of_a_forged_follow_up_is_as_its_schema_says() -> None:
    """Its origin is one of the four kinds."""
    envelope = {"key": ["message", "m-1"], "requestId": "r-1", "turn": 0, "generation": None}
    forged = {"followUp": envelope | {"origin": ORIGIN.to_json() | {"kind": "forged"}}, "request": {}}
    record = sqs_record("m-1", json.dumps(forged), queue=BULK_QUEUE_ARN)
    context: Any = FakeLambdaContext()
    [arrival] = events.arrivals({"Records": [record]}, context, BULK_QUEUE_URL)
    payload = arrival.read()
    data(rejected("no", payload.origin, payload.named_content, ARRIVAL))


FULL = "\U0001f433" * 250
LARGE = {
    "failures": deletion_report(*(failure(f"{n:0128}") for n in range(2_500))),
    "deleted": deletion_report(failure(), deleted=10_000),
    "long words": deletion_report(*(failure(f"{n}{FULL}") for n in range(200)), reason=FULL, request_id=FULL),
}


@pytest.mark.parametrize("report", LARGE.values(), ids=LARGE)
def test_an_event_is_filled_as_far_as_its_targets_allow(report: DeletionReport) -> None:
    """SNS and Step Functions take 256 KiB, with the envelope that EventBridge puts around it."""
    event = completed(report, REGISTRY, "claim-1")
    assert EVENT_BYTES - 8_192 < event.size == size(event) <= EVENT_BYTES
    assert check_counts(data(event), report) > 0
    envelope = {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "time": "2026-01-01T00:00:00Z",
        "account": ACCOUNT,
        "region": "ap-southeast-1",
        "source": "s" * 128,
        "detail-type": event.detail_type,
    }
    whole = envelope | {"resources": list(event.resources), "detail": json.loads(event.detail)}
    assert len(json.dumps(whole)) <= 256 * 1024


def test_a_summary_of_many_repositories_fits_too() -> None:
    """What is not named is counted."""
    names = [f"team/{n:0200}" for n in range(1_600)]
    request = deletion_request(payload={"repositoryNames": ["team/*"]})
    report = SummaryReport(request, SummaryOutcome.of(request, {name: [] for name in names}, names))
    event = summarized(report, REGISTRY, "claim-1")
    assert EVENT_BYTES - 1_024 < event.size <= EVENT_BYTES
    found = data(event)
    assert len(found["unfinishedRepositories"]) + found["unfinishedRepositoriesOmitted"] == 1_600


def test_an_event_is_about_a_repository() -> None:
    """By its ARN, in the registry that the request names; a rejection and a summary name none."""
    assert completed(deletion_report(), REGISTRY, "claim-1").resources == (
        f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/team/app",
    )
    china = Registry("aws-cn", "cn-north-1", ACCOUNT)
    event = completed(deletion_report(registry_id=FOREIGN), china, "claim-1")
    assert event.resources == (f"arn:aws-cn:ecr:cn-north-1:{FOREIGN}:repository/team/app",)
    assert data(event)["registryId"] == FOREIGN
    assert (event.detail_type, json.loads(event.detail)["metadata"]["version"]) == (COMPLETED, "1")


@given(reports().filter(lambda report: report.request.notify != "always"))
@settings(max_examples=20)
def test_an_event_says_what_the_notice_says(report: DeletionReport) -> None:
    """And names the images that are done, which a notice counts."""
    notice = json.loads(json.loads(report_notice(report, ACCOUNT).message)["default"])
    found = data(completed(report, REGISTRY, "claim-1"))
    assert notice.items() <= found.items()
    assert found.keys() - notice.keys() <= {report.words.images, report.words.omitted}


def of_request(**changes: Any) -> ResultEvent:
    """Returns the event of a report of this request."""
    return completed(deletion_report(failure(), **changes), REGISTRY, "claim-1")


PARENT = ("request", "nightly")


def different() -> Iterator[ResultEvent]:
    """Yields the events of different requests and turns, and of different kinds."""
    for turn in range(3):
        yield of_request(key=PARENT, turn=turn)
        for name in ("team/app", "team/web"):
            for generation in ("claim-1", "claim-2"):
                yield of_request(key=("child", PARENT, name, generation), turn=turn)
    yield of_request(key=("message", "nightly"))
    yield of_request(key=("event", "nightly"))
    for name in ("nightly", "weekly"):
        request = deletion_request(key=("request", name), payload={"repositoryNames": ["team/*"]})
        yield summarized(SummaryReport(request, SummaryOutcome.of(request, {}, [])), REGISTRY, "claim-1")
    for arrival in (ARRIVAL, ("message", "message-2"), ("invocation", "message-1")):
        for error in ("no", "neither"):
            yield rejected(error, ORIGIN, None, arrival)


def test_different_results_have_different_keys() -> None:
    """A system that remembers keys loses none of them."""
    keys = [key(event) for event in different()]
    assert len(set(keys)) == len(keys)
    assert {event.detail_type for event in different()} == RESULTS
    assert keys == [key(event) for event in different()]


def test_a_request_that_is_sent_again_under_its_old_key_is_another_one() -> None:
    """Its requestId is remembered for 30 days; an audit is for longer."""
    keys = {key(completed(deletion_report(deleted=1), REGISTRY, claim)) for claim in ("claim-1", "claim-2")}
    assert len(keys) == 2


def test_the_same_result_has_the_same_key() -> None:
    """However its key was read, whatever is told of it by now, and at whichever look the summary was made."""
    for tuple_like, list_like in (
        (("child", PARENT, "team/app", "claim-1"), ("child", list(PARENT), "team/app", "claim-1")),
        (PARENT, ("request", "nightly")),
    ):
        replayed = completed(
            deletion_report(deleted=1, key=list_like, dry_run=True)._replace(replayed=True), REGISTRY, "claim-1"
        )
        assert key(of_request(key=tuple_like)) == key(replayed)
    looks = []
    for turn, done in ((3, 1), (4, 2)):
        payload = {"repositoryNames": ["team/*"]}
        request = deletion_request(key=PARENT, request_id=f"nightly#{turn}", turn=turn, payload=payload)
        outcome = SummaryOutcome.of(request, {"team/app": [Entry(done=done)]}, [])
        looks.append(summarized(SummaryReport(request, outcome), REGISTRY, "claim-1"))
    assert key(looks[0]) == key(looks[1])
    assert [(event.detail_type, data(event)["requestId"]) for event in looks] == [(SUMMARIZED, "nightly")] * 2
    assert key(rejected("no", ORIGIN, None, ARRIVAL)) == key(rejected("no", ORIGIN, {"reason": "why"}, ARRIVAL))
