"""The JSON, the attributes and the subject of a notice, and how much of a report SNS carries."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.models.images import ImageFailure, ImageId
from handler.models.limits import MESSAGE_BYTES
from handler.models.outcomes import ChunkOutcome
from handler.models.report import UNCONFIRMED_REASON, DeletionReport
from handler.models.request import Origin
from handler.models.selection_outcome import SelectionOutcome
from handler.notifications import Notice, rejection_notice, report_notice
from handler.request_parser import parse_request
from tests.values import (
    ACCOUNT,
    FOREIGN,
    ORIGIN,
    deletion_report,
    deletion_request,
    digest,
    failure,
    payload,
    selection_report,
)

PROTECTED = failure("prod", "ProtectedTag", "the stack protects tags like 'prod'")
BUSY = failure("busy", "UpstreamUnavailable", "Not now")
STILL_USED = ImageFailure(ImageId(digest(1)), "StillUsed", "an index still needs it")


def data(notice: Notice) -> Any:
    """Returns the JSON of a notice."""
    return json.loads(json.loads(notice.message)["default"])


def sns_bytes(notice: Notice) -> int:
    """Returns the size that SNS counts: the message, and name, type and value of each attribute."""
    values = [(name, a["DataType"], a["StringValue"]) for name, a in notice.attributes.items()]
    return len("".join([notice.message, *(part for value in values for part in value)]).encode())


def selected(*failures: ImageFailure, deleted: int = 2, **changes: Any) -> DeletionReport:
    """Returns the report of a selection that deleted some images."""
    chunk = ChunkOutcome(tuple(ImageId(digest(n)) for n in range(deleted)), failures, omitted=11)
    kept, total = {"TooRecent": 4}, deleted + len(failures)
    outcome = SelectionOutcome(total, deleted, 10_000, kept, chunk, 5, continued_as="cleanup-1#1")
    return selection_report(outcome, **changes)


DENIED = ImageFailure(ImageId(), "AccessDeniedException", "no")
NOTHING = selection_report(SelectionOutcome(chunk=ChunkOutcome(failures=(DENIED,))))
"""A selection whose repository could not be listed."""


def test_a_machine_reads_what_became_of_a_request() -> None:
    """Under the API's own names, with counts that add up; what was deleted is only counted, unless it is asked for."""
    report = deletion_report(BUSY, PROTECTED, deleted=2, reason="nightly cleanup")
    assert data(report_notice(report, ACCOUNT)) == {
        "type": "failure",
        "action": "delete",
        "requestId": "cleanup-1",
        "origin": ORIGIN.to_json(),
        "reason": "nightly cleanup",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
        "requested": 4,
        "deleted": 2,
        "failed": 2,
        "failures": [BUSY.to_json(), PROTECTED.to_json()],
        "failuresByCode": {"ProtectedTag": 1, "UpstreamUnavailable": 1},
        "failuresOmitted": 0,
        "actionRequired": True,
        "retryRequest": {
            "repositoryName": "team/app",
            "reason": "nightly cleanup",
            "imageIds": [{"imageTag": "busy"}],
        },
    }
    assert data(report_notice(deletion_report(BUSY, registry_id=FOREIGN), ACCOUNT))["registryId"] == FOREIGN


def test_a_machine_reads_the_rest_of_a_report() -> None:
    """Deleted images where they were asked for, what was kept and why, and what is unconfirmed."""
    report = deletion_report(deleted=2, notify="always", cascade=False)._replace(kept=(STILL_USED,), left_untagged=3)
    found = data(report_notice(report._replace(unconfirmed=report.image_ids[:1]), ACCOUNT))
    assert {key: found[key] for key in ("type", "deleted", "failures", "imageIds", "kept", "leftUntagged")} == {
        "type": "report",
        "deleted": 2,
        "failures": [],
        "imageIds": [{"imageTag": "gone-0"}, {"imageTag": "gone-1"}],
        "kept": [{"imageId": {"imageDigest": digest(1)}, "code": "StillUsed", "reason": "an index still needs it"}],
        "leftUntagged": 3,
    }
    assert (found["unconfirmed"], found["unconfirmedReason"]) == (1, UNCONFIRMED_REASON)


def test_a_machine_reads_a_selection_in_numbers() -> None:
    """Images selected, deleted, failed and kept, the bytes, and the name under which it goes on."""
    found = data(report_notice(selected(BUSY), ACCOUNT))
    expected = {"requested": 3, "selected": 3, "deleted": 2, "failed": 6, "bytesReclaimed": 10_000}
    assert {key: found[key] for key in expected} == expected
    assert (found["keptByReason"], found["continuedAs"]) == ({"TooRecent": 4}, "cleanup-1#1")


NO_CURE = (
    *("ImageNotFound", "ImageTagDoesNotMatchDigest", "ImageTagPushedAgain", "InvalidImageDigest", "InvalidImageTag"),
    *("LastTag", "MissingDigestAndTag", "ProtectedRepository", "ProtectedTag", "TagRequired", "TooManyRelatives"),
    *("RepositoryNotFoundException", "UnreadableIndex"),
)
CURED = (
    *("UpstreamUnavailable", "UpstreamTooManyRequests", "KmsError", "ImageReferencedByManifestList", "Unanswered"),
    *("AccessDeniedException", "StoppedByDryRun", "SomethingNew"),
)


def test_the_request_to_try_again_holds_what_that_can_help() -> None:
    """No id that would fail in the same way, and none that was spared on purpose; without any there is no request."""
    report = deletion_report(*(failure(code, code) for code in (*NO_CURE, *CURED)))
    retry = data(report_notice(report, ACCOUNT))["retryRequest"]
    assert retry["imageIds"] == [{"imageTag": code} for code in CURED]
    for none in (
        deletion_report(*(failure(code, code) for code in NO_CURE)),
        deletion_report(BUSY, dry_run=True),
        deletion_report(deleted=1, notify="always"),
        NOTHING,
    ):
        assert "retryRequest" not in data(report_notice(none, ACCOUNT))


FAILED = deletion_report(PROTECTED, deleted=2)
DRY, DRY_RUN = FAILED.request._replace(dry_run=True), "A dry run: nothing was deleted."
SWITCHES: list[dict[str, Any]] = [{}, {"untag": True}, {"cascade": True, "notify": "always"}, {"cascade": False}]


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize(
    "report",
    [
        deletion_report(BUSY),
        deletion_report(BUSY, registry_id=FOREIGN, reason="why"),
        deletion_report(*(failure(f"{n:0300}", "KmsError") for n in range(5_000)), reason="🐳" * 256),
    ],
    ids=["least", "most", "many"],
)
def test_the_request_to_try_again_can_be_sent_as_it_is(report: DeletionReport, switches: dict[str, Any]) -> None:
    """Under a key of its own, with the same switches: an untag that is tried again must not become a deletion."""
    request = report.request._replace(**switches)
    found = data(report_notice(report._replace(request=request), ACCOUNT))
    assert "requestId" not in found["retryRequest"]
    again = parse_request(payload(found["retryRequest"]))
    assert again.image_ids == tuple(failed.image_id for failed in report.failures[: len(found["failures"])])
    same = ("repository_name", "registry_id", "reason", "switches")
    assert [getattr(again, name) for name in same] == [getattr(request, name) for name in same]


@pytest.mark.parametrize(
    ("report", "kind", "subject", "headline"),
    [
        (FAILED, "failure", "1 of 3 images not deleted", "1 of 3 images could not be deleted."),
        (
            deletion_report(PROTECTED, notify="always"),
            "failure",
            "1 image not deleted",
            "1 image could not be deleted.",
        ),
        (deletion_report(deleted=2, notify="always"), "report", "2 of 2 images deleted", "2 of 2 images were deleted."),
        (
            FAILED._replace(request=DRY),
            "dryRun",
            "dry run: 2 of 3 images would be deleted",
            f"{DRY_RUN} 2 of 3 images would have been.",
        ),
        (
            deletion_report(deleted=2, dry_run=True),
            "dryRun",
            "dry run: 2 of 2 images would be deleted",
            f"{DRY_RUN} 2 of 2 images would have been.",
        ),
        (NOTHING, "failure", "nothing could be selected", "Nothing could be selected, and this try deleted nothing."),
    ],
)
def test_a_notice_says_of_which_type_it_is(report: DeletionReport, kind: str, subject: str, headline: str) -> None:
    """In its JSON and its attributes, which a subscription can choose by, in its subject, and in its text."""
    notice = report_notice(report, ACCOUNT)
    assert data(notice)["type"] == kind
    assert notice.subject == f"ECR image deletion: {subject} in team/app"
    assert json.loads(notice.message)["email"].splitlines()[2] == headline
    expected = {"type": ("String", kind), "repositoryName": ("String", "team/app")}
    expected["actionRequired"] = ("String", json.dumps(report is NOTHING))
    if report.failures:
        expected["failureCodes"] = ("String.Array", json.dumps([report.failures[0].code]))
    assert {name: (a["DataType"], a["StringValue"]) for name, a in notice.attributes.items()} == expected


def test_an_attribute_has_ten_codes_at_most() -> None:
    """Each once, in alphabetical order, as filter policies read lists."""
    report = deletion_report(*(failure(f"v{n}", f"Code{n % 20:02}") for n in range(40)))
    codes = json.loads(report_notice(report, ACCOUNT).attributes["failureCodes"]["StringValue"])
    assert codes == [f"Code{n:02}" for n in range(10)]


@pytest.mark.parametrize("length", [50, 56, 57, 256])
def test_a_subject_is_shorter_than_sns_allows(length: int) -> None:
    """Fewer than 100 characters: a long name is cut."""
    subject = report_notice(deletion_report(PROTECTED, repository_name="a" * length), ACCOUNT).subject
    whole = "ECR image deletion: 1 image not deleted in " + "a" * length
    assert subject == (whole if len(whole) < 100 else whole[:96] + "...")


def test_text_of_any_script_is_sent_as_it_is() -> None:
    """Escapes would cost bytes, and people could not read them."""
    assert report_notice(deletion_report(BUSY, reason="Aufräumen 🐳"), ACCOUNT).message.count("Aufräumen 🐳") == 3


@pytest.mark.parametrize("character", ["\ufffe", "\u202e", "\u2028", "\x07", "\ud800"])
def test_a_character_that_sns_refuses_costs_no_notice(character: str) -> None:
    """It is escaped for machines, as JSON can, and for people; what they read is not turned around."""
    notice = report_notice(deletion_report(BUSY, reason=f"Aufräumen {character}"), ACCOUNT)
    assert character not in notice.message
    assert data(notice)["reason"] == f"Aufräumen {character}"
    assert f"Reason:      Aufräumen {repr(character)[1:-1]}\n" in json.loads(notice.message)["email"]


def test_a_sender_cannot_write_lines_of_ours() -> None:
    """A line break in a reason stays in its line."""
    notice = report_notice(deletion_report(BUSY, reason="x\nDeleted:     3\nhttps://example.com"), ACCOUNT)
    assert "\nDeleted:     3" not in json.loads(notice.message)["email"]


def test_a_rejection_repeats_what_could_be_read_of_the_request() -> None:
    """Its requestId, repository and reason, as far as they are text."""
    content = {"requestId": "close-pr-417", "repositoryName": "team/app", "reason": 7, "force": True}
    notice = rejection_notice("no", ORIGIN, content)
    assert data(notice).items() >= {"requestId": "close-pr-417", "repositoryName": "team/app"}.items()
    assert "reason" not in data(notice)
    assert "\nRepository:  team/app\nRequest:     close-pr-417\nArrived:" in json.loads(notice.message)["email"]


def test_a_rejection_says_why_and_where_the_request_lies() -> None:
    """For people and machines."""
    notice = rejection_notice("request.imageIds must be a list", ORIGIN, None)
    assert notice.subject == "ECR image deletion: request rejected"
    attributes = {"type": "rejection", "actionRequired": "true"}
    expected = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    assert notice.attributes == expected
    assert data(notice) == {
        "type": "rejection",
        "error": "request.imageIds must be a list",
        "origin": ORIGIN.to_json(),
        "actionRequired": True,
    }
    assert (
        json.loads(notice.message)["email"]
        == """\
To do: correct the request as it says below, and send it as a new one.

A request was rejected. Nothing of it was carried out.

Why:         request.imageIds must be a list
Arrived:     message message-1 from arn:aws:sqs:us-east-1:123456789012:requests
Sent by:     (not known)

A message stays on the queue until its last receive, then in the dead-letter queue. Sent back from there,
it is judged anew, and is carried out if the stack admits it by then. Correct what is wrong, send that as a
new request, and delete the dead letter.
"""
    )


LONG = "🐳" * 250
MUCH = tuple(ImageFailure(ImageId(digest(n), "t" * 128), "StillUsed", LONG) for n in range(2_000))
MANY = tuple(failure(f"{n:0128}") for n in range(3_000))
LARGE = {
    "failures": deletion_report(*(failure(f"{n:0128}") for n in range(30_000)), deleted=1_000),
    "long words": deletion_report(*MANY, reason=LONG, request_id=LONG, repository_name="a" * 256),
    "escapes": deletion_report(*(failure(f"{n:0300}", "C" * 64, '"\\' * 250) for n in range(3_000))),
    "failures first": deletion_report(*MANY, notify="always")._replace(kept=MUCH),
    "kept next": deletion_report(*MANY[:10], notify="always", deleted=3)._replace(kept=MUCH),
    "kept, a dry run": deletion_report(*MANY[:10], dry_run=True)._replace(kept=MUCH),
    "deleted last": deletion_report(*MANY[:10], notify="always", deleted=20_000)._replace(kept=MUCH[:10]),
    "deleted, some left out before": deletion_report(notify="always", deleted=20_000)._replace(omitted=7),
    "a selection": selected(*MANY[:10], deleted=5_000, notify="always"),
    "a selection that failed": selected(*MANY, deleted=0, notify="always"),
}


def check_counts(notice: Notice, report: DeletionReport) -> int:
    """Checks that all of a report is in a notice or counted, failures first; returns how much is only counted."""
    found = data(notice)
    counts = {
        "failures": len(report.failures) + report.failures_omitted,
        "kept": len(report.kept),
        "imageIds": len(report.image_ids) + report.omitted,
    }
    if report.request.notify != "always":
        del counts["imageIds"]
        assert not found.keys() & {"imageIds", "imageIdsOmitted"}
    shown = {key: found.get(key, []) for key in counts}
    omitted = {key: found.get(f"{key}Omitted", 0) for key in counts}
    assert {key: len(shown[key]) + omitted[key] for key in counts} == counts
    assert shown["failures"] == [failed.to_json() for failed in report.failures[: len(shown["failures"])]]
    assert len(shown["failures"]) == len(report.failures) or not (shown["kept"] or shown.get("imageIds"))
    assert len(shown["kept"]) == len(report.kept) or not shown.get("imageIds")
    assert (found["failed"], found["deleted"]) == (report.failed, report.done)
    return sum(omitted.values())


@pytest.mark.parametrize("report", LARGE.values(), ids=LARGE)
def test_a_notice_is_filled_as_far_as_sns_allows(report: DeletionReport) -> None:
    """256 KiB in bytes, its subject included; failures before what was kept, and that before what was deleted."""
    notice = report_notice(report, ACCOUNT)
    assert MESSAGE_BYTES == 256 * 1024
    assert MESSAGE_BYTES - 8_192 < notice.size == sns_bytes(notice) + len(notice.subject) <= MESSAGE_BYTES
    assert check_counts(notice, report) > report.failures_omitted + report.omitted


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
IDS = st.builds(ImageId, st.none() | TEXT, st.none() | TEXT)
ENTRIES = st.lists(st.builds(ImageFailure, IDS, TEXT, st.text(max_size=500)), max_size=5)


@settings(max_examples=150)
@given(
    st.tuples(*(st.tuples(ENTRIES, st.sampled_from([1, 1, 60])) for _ in range(3))),
    st.fixed_dictionaries({
        "request_id": st.text(min_size=1, max_size=256),
        "reason": st.none() | st.text(max_size=256),
        "origin": st.builds(Origin, st.just("event"), st.text(max_size=36), st.text(max_size=500)),
        "notify": st.sampled_from(["failures", "always"]),
        "dry_run": st.booleans(),
        "cascade": st.none() | st.booleans(),
    }),
    st.integers(0, 3),
)  # fmt: skip
def test_the_notice_of_any_report_stays_within_its_limit(
    entries: tuple[tuple[list[ImageFailure], int], ...], fields: dict[str, Any], unconfirmed: int
) -> None:
    """Whatever it holds and however much, of any script; and nothing of it is neither shown nor counted."""
    failures, kept, gone = (tuple(some * times) for some, times in entries)
    image_ids = tuple(entry.image_id for entry in gone)
    request = deletion_request(*(failed.image_id for failed in failures), *image_ids)._replace(**fields)
    report = DeletionReport(request, image_ids, failures, image_ids[:unconfirmed], kept=kept)
    notice = report_notice(report, ACCOUNT, limit=32_768)
    assert notice.size <= 32_768
    check_counts(notice, report)
    assert notice.subject.isascii()
    assert len(notice.subject) < 100
