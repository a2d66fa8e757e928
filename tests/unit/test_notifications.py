"""The notice: what machines and people read of what could not be deleted, and how much of it SNS carries."""

import json
from copy import replace
from typing import Any

import pytest

from handler.events import parse_request
from handler.models import DeletionReport, DeletionRequest, ImageFailure, ImageId, Origin, Selection, SelectionOutcome
from handler.notifications import MESSAGE_BYTES, Notice, publish, rejection_notice, report_notice

ACCOUNT, FOREIGN = "123456789012", "210987654321"
ORIGIN = Origin("message", "message-1", "arn:aws:sqs:eu-central-1:123456789012:requests")
NOT_FOUND = "Requested image not found"


def report(*failures: ImageFailure, deleted: int = 0, **request: Any) -> DeletionReport:
    """A report of these failures, and of so many images beside them that were deleted."""
    gone = tuple(ImageId(tag=f"gone-{n}") for n in range(deleted))
    fields = {"request_id": "cleanup-1", "repository_name": "team/app", "reason": "nightly cleanup"} | request
    asked = DeletionRequest(
        image_ids=(*(f.image_id for f in failures), *gone), origin=ORIGIN, content_hash="hash", **fields
    )
    return DeletionReport(asked, gone, failures)


def missing(count: int, *, tag_length: int = 8) -> list[ImageFailure]:
    """So many images that were not found."""
    return [ImageFailure(ImageId(tag=f"{n:0{tag_length}}"), "ImageNotFound", NOT_FOUND) for n in range(count)]


def data(notice: Notice) -> Any:
    """What a notice tells machines."""
    return json.loads(json.loads(notice.message)["default"])


def text(notice: Notice) -> str:
    """What a notice tells people."""
    return str(json.loads(notice.message)["email"])


def sns_bytes(notice: Notice) -> int:
    """What SNS counts: the message, and name, type and value of each attribute."""
    values = [(name, a["DataType"], a["StringValue"]) for name, a in notice.attributes.items()]
    return len("".join([notice.message, *(part for value in values for part in value)]).encode())


DIGEST = "sha256:" + "a" * 64
EXAMPLE = report(
    ImageFailure(ImageId(tag="precise"), "ImageNotFound", NOT_FOUND),
    ImageFailure(ImageId(DIGEST, "v1"), "ImageReferencedByManifestList", "An index names it"),
    ImageFailure(ImageId(), "MissingDigestAndTag", "Both tag and digest cannot be null"),
    deleted=2,
)


def test_a_person_reads_what_failed_and_how_to_try_again() -> None:
    """Which request, from where and why; what was deleted; every failure; and the request that tries just these."""
    assert (
        text(report_notice(EXAMPLE, ACCOUNT))
        == f"""\
3 of 5 images could not be deleted.

Repository:  team/app in registry 123456789012
Request:     cleanup-1
Arrived:     message message-1 from arn:aws:sqs:eu-central-1:123456789012:requests
Reason:      nightly cleanup
Deleted:     2

Not deleted:
  imageTag=precise
      ImageNotFound: Requested image not found
  imageDigest={DIGEST},imageTag=v1
      ImageReferencedByManifestList: An index names it
  (no tag, no digest)
      MissingDigestAndTag: Both tag and digest cannot be null

To try just these again, send this request:
{{"repositoryName": "team/app", "reason": "nightly cleanup", "imageIds": [{{"imageTag": "precise"}}, \
{{"imageDigest": "{DIGEST}", "imageTag": "v1"}}, {{}}]}}
"""
    )


def test_a_machine_reads_the_same() -> None:
    """Under the API's own names, with counts that add up."""
    assert data(report_notice(EXAMPLE, ACCOUNT)) == {
        "type": "failure",
        "requestId": "cleanup-1",
        "origin": {"kind": "message", "id": "message-1", "source": ORIGIN.source},
        "reason": "nightly cleanup",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
        "requested": 5,
        "deleted": 2,
        "failed": 3,
        "failures": [failure.to_json() for failure in EXAMPLE.failures],
        "failuresOmitted": 0,
        "retryRequest": {
            "repositoryName": "team/app",
            "reason": "nightly cleanup",
            "imageIds": [{"imageTag": "precise"}, {"imageDigest": DIGEST, "imageTag": "v1"}, {}],
        },
    }


def test_a_request_without_a_reason() -> None:
    """People read that there is none, machines null; nor has the request to try again."""
    notice = report_notice(report(*missing(1), reason=None), ACCOUNT)
    assert "Reason:      (none given)\n" in text(notice)
    assert data(notice)["reason"] is None
    assert data(notice)["retryRequest"] == {"repositoryName": "team/app", "imageIds": [{"imageTag": "00000000"}]}


@pytest.mark.parametrize(
    "failed",
    [
        EXAMPLE,
        report(*missing(1), reason=None),
        report(*missing(2), registry_id=FOREIGN),
        report(*missing(5000, tag_length=300), reason="🐳" * 256),
    ],
)
def test_the_request_to_try_again_can_be_sent_as_it_is(failed: DeletionReport) -> None:
    """It asks for just the failures that are told, under a key of its own: the old one's steps are remembered."""
    told = data(report_notice(failed, ACCOUNT))
    assert "requestId" not in told["retryRequest"]
    origin = Origin("message", "message-2", "queue")
    again = parse_request(told["retryRequest"], origin, (ACCOUNT, FOREIGN), max_images=1_000, dry_run=False)
    assert again.image_ids == tuple(f.image_id for f in failed.failures[: len(told["failures"])])
    assert (again.repository_name, again.registry_id, again.reason, again.request_id) == (
        failed.request.repository_name,
        failed.request.registry_id,
        failed.request.reason,
        "message-2",
    )


@pytest.mark.parametrize(("count", "more"), [(50, None), (51, 1), (80, 30)])
def test_a_person_reads_the_first_fifty(count: int, more: int | None) -> None:
    """And how many more there are, and where they stand."""
    told = text(report_notice(report(*missing(count)), ACCOUNT))
    assert told.count("ImageNotFound") == 50
    line = f"  and {more} more; the JSON form of this notice tells up to {count} of all.\n"
    assert told.endswith(line) if more else "more" not in told
    assert ("To try just these again" in told) is (more is None)


def test_text_of_any_script_is_sent_as_it_is() -> None:
    """Escapes would cost bytes, and people could not read them."""
    notice = report_notice(report(*missing(1), reason="Aufräumen 🐳"), ACCOUNT)
    assert notice.message.count("Aufräumen 🐳") == 3
    assert "Reason:      Aufräumen 🐳\n" in text(notice)


@pytest.mark.parametrize(
    "failed",
    [
        report(*missing(30_000, tag_length=128), deleted=1000),
        report(*missing(30_000, tag_length=300), reason="🐳" * 256, request_id="🐳" * 256, repository_name="a" * 256),
        report(*(ImageFailure(ImageId(DIGEST, f"{n:0300}"), "C" * 64, '"\\' * 250) for n in range(3000))),
    ],
    ids=["many", "emoji", "escapes"],
)
def test_a_notice_fits_sns(failed: DeletionReport) -> None:
    """256 KiB at most, in bytes, filled as far as whole failures go; what does not fit is counted."""
    notice = report_notice(failed, ACCOUNT)
    assert MESSAGE_BYTES == 256 * 1024
    assert MESSAGE_BYTES - 4096 < sns_bytes(notice) <= MESSAGE_BYTES
    told = data(notice)
    assert told["failures"] == [failure.to_json() for failure in failed.failures[: len(told["failures"])]]
    assert len(told["failures"]) + told["failuresOmitted"] == told["failed"] == len(failed.failures)
    assert told["deleted"] + told["failed"] == told["requested"]
    assert f"  and {told['failed'] - 50} more; the JSON form" in text(notice)


def sizes() -> list[int]:
    """Limits from one that holds hardly a failure to one that holds them all."""
    whole = report_notice(report(*missing(60)), ACCOUNT).size
    return [*range(1400, whole, 531), whole - 1, whole]


@pytest.mark.parametrize("limit", sizes())
def test_a_notice_is_filled_to_its_limit(limit: int) -> None:
    """One more failure would not fit."""
    failures = missing(60)
    told = len(data(report_notice(report(*failures), ACCOUNT, limit))["failures"])
    assert report_notice(report(*failures), ACCOUNT, limit).size <= limit
    # Each failure stands in the JSON, in the retryRequest and, if it is one of the first fifty, in the text.
    assert told == 60 or report_notice(report(*failures), ACCOUNT, limit).size > limit - 300


def test_a_notice_counts_its_bytes_as_sns_does() -> None:
    """And its subject on top, which costs nothing but is on the safe side."""
    notice = report_notice(report(*missing(2), reason="🐳"), ACCOUNT)
    assert notice.size == sns_bytes(notice) + len(notice.subject)


@pytest.mark.parametrize(
    ("repository", "subject"),
    [
        ("team/app", "ECR image deletion: 3 of 5 failed in team/app"),
        ("a" * 60, "ECR image deletion: 3 of 5 failed in " + "a" * 60),
        ("a" * 62, "ECR image deletion: 3 of 5 failed in " + "a" * 62),
        ("a" * 63, "ECR image deletion: 3 of 5 failed in " + "a" * 59 + "..."),
        ("a" * 256, "ECR image deletion: 3 of 5 failed in " + "a" * 59 + "..."),
    ],
)
def test_a_subject_is_short(repository: str, subject: str) -> None:
    """SNS takes fewer than 100 ASCII characters."""
    notice = report_notice(report(*EXAMPLE.failures, deleted=2, repository_name=repository), ACCOUNT)
    assert notice.subject == subject
    assert len(subject) < 100


def test_attributes_let_a_subscription_choose() -> None:
    """By kind, repository and codes: each code once, ten at most, as filter policies read lists."""
    notice = report_notice(EXAMPLE, ACCOUNT)
    assert notice.attributes == {
        "type": {"DataType": "String", "StringValue": "failure"},
        "repositoryName": {"DataType": "String", "StringValue": "team/app"},
        "failureCodes": {
            "DataType": "String.Array",
            "StringValue": '["ImageNotFound", "ImageReferencedByManifestList", "MissingDigestAndTag"]',
        },
    }
    many = report(*(ImageFailure(ImageId(tag=f"v{n}"), f"Code{n % 20:02}", "why") for n in range(40)))
    codes = json.loads(report_notice(many, ACCOUNT).attributes["failureCodes"]["StringValue"])
    assert codes == [f"Code{n:02}" for n in range(10)]


def test_a_rejection_tells_why_and_where_the_request_lies() -> None:
    """For people and machines; nothing of the request is repeated but what the error quotes."""
    notice = rejection_notice("request.imageIds must be array", ORIGIN)
    assert notice.subject == "ECR image deletion: request rejected"
    assert notice.attributes == {"type": {"DataType": "String", "StringValue": "rejection"}}
    assert data(notice) == {
        "type": "rejection",
        "error": "request.imageIds must be array",
        "origin": {"kind": "message", "id": "message-1", "source": ORIGIN.source},
    }
    assert (
        text(notice)
        == """\
A request was rejected. Nothing of it was carried out.

Why:       request.imageIds must be array
Arrived:   message message-1 from arn:aws:sqs:eu-central-1:123456789012:requests

A message stays on the queue until its last receive, then in the dead-letter queue, as it was sent.
Correct what is wrong with it and send it again.
"""
    )


class Sns:
    """An SNS that remembers what was published."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, **message: Any) -> dict[str, str]:
        self.published.append(message)
        return {"MessageId": "published-1"}


def test_a_notice_is_published_whole() -> None:
    """Subject, a text for each protocol, and attributes go to the topic; its message id comes back."""
    sns, notice = Sns(), rejection_notice("no", ORIGIN)
    assert publish(sns, "topic", notice) == "published-1"  # type: ignore[arg-type]  # what it uses of a client
    assert sns.published == [
        {
            "TopicArn": "topic",
            "Subject": notice.subject,
            "Message": notice.message,
            "MessageStructure": "json",
            "MessageAttributes": notice.attributes,
        }
    ]


PROTECTED = ImageFailure(ImageId(tag="prod"), "ProtectedTag", "the stack protects tags like 'prod'")
STILL_USED = ImageFailure(ImageId(DIGEST), "StillUsed", "an index still needs it")


@pytest.mark.parametrize(
    ("told", "kind", "subject", "headline"),
    [
        (report(PROTECTED, deleted=2), "failure", "1 of 3 failed", "1 of 3 images could not be deleted."),
        (report(PROTECTED, notify=True), "failure", "1 of 1 failed", "1 of 1 images could not be deleted."),
        (report(deleted=2, notify=True), "report", "2 of 2 deleted", "2 of 2 images were deleted."),
        (
            report(PROTECTED, deleted=2, dry_run=True),
            "dryRun",
            "dry run: 2 of 3 would be deleted",
            "A dry run: nothing was deleted. 2 of 3 images would have been.",
        ),
        (
            report(deleted=2, dry_run=True, notify=True),
            "dryRun",
            "dry run: 2 of 2 would be deleted",
            "A dry run: nothing was deleted. 2 of 2 images would have been.",
        ),
    ],
)
def test_a_notice_says_of_what_kind_it_is(told: DeletionReport, kind: str, subject: str, headline: str) -> None:
    """In its type, in its attribute, in its subject and in its first line; codes only where something failed."""
    notice = report_notice(told, ACCOUNT)
    assert data(notice)["type"] == notice.attributes["type"]["StringValue"] == kind
    assert notice.subject == f"ECR image deletion: {subject} in team/app"
    assert text(notice).splitlines()[0] == headline
    codes = notice.attributes.get("failureCodes")
    assert codes == ({"DataType": "String.Array", "StringValue": '["ProtectedTag"]'} if told.failures else None)
    assert set(notice.attributes) - {"failureCodes"} == {"type", "repositoryName"}


def test_a_dry_run_is_told_as_one() -> None:
    """Nothing was deleted, and there is no request to try again: sent, it would be a real one."""
    notice = report_notice(report(PROTECTED, deleted=2, dry_run=True, notify=True), ACCOUNT)
    told = data(notice)
    assert (told["dryRun"], told["deleted"], told["failed"], "retryRequest" in told) == (True, 2, 1, False)
    assert told["imageIds"] == [{"imageTag": "gone-0"}, {"imageTag": "gone-1"}]
    assert (
        text(notice).split("Deleted:     ")[1]
        == """\
0

Would be refused:
  imageTag=prod
      ProtectedTag: the stack protects tags like 'prod'

Would be deleted:
  imageTag=gone-0
  imageTag=gone-1
"""
    )


@pytest.mark.parametrize("switches", [{}, {"untag": True}, {"cascade": True, "notify": True}, {"cascade": False}])
def test_the_request_to_try_again_has_the_same_switches(switches: dict[str, bool]) -> None:
    """An untag tried again must not become a deletion."""
    retry = data(report_notice(report(PROTECTED, **switches), ACCOUNT))["retryRequest"]
    assert {key: retry[key] for key in retry.keys() - {"repositoryName", "reason", "imageIds"}} == switches


def test_a_report_lists_what_was_deleted_and_kept() -> None:
    """Where it was asked for; what was kept is no failure, and what is left untagged is counted."""
    whole = replace(report(deleted=1, notify=True, cascade=False), kept=(STILL_USED,), left_untagged=3)
    notice = report_notice(whole, ACCOUNT)
    told = data(notice)
    assert (told["type"], told["failed"], told["failures"]) == ("report", 0, [])
    assert told["imageIds"] == [{"imageTag": "gone-0"}]
    assert told["kept"] == [
        {"imageId": {"imageDigest": DIGEST}, "code": "StillUsed", "reason": "an index still needs it"}
    ]
    assert told["leftUntagged"] == 3
    assert (
        text(notice).split("Deleted:     ")[1]
        == f"""\
1
Left:        3 images without tags, of those that belonged to the deleted

Kept, for they are still needed:
  imageDigest={DIGEST}: an index still needs it

Deleted:
  imageTag=gone-0
"""
    )


@pytest.mark.parametrize(("cascade", "counted"), [(None, False), (True, False), (False, True)])
def test_what_is_left_untagged_is_told_where_it_was_looked_for(cascade: bool | None, counted: bool) -> None:  # noqa: FBT001
    """Without a word about a cascade nobody looked, and zero would be a lie."""
    notice = report_notice(report(PROTECTED, cascade=cascade), ACCOUNT)
    assert ("leftUntagged" in data(notice), "Left:        0 images" in text(notice)) == (counted, counted)


def selected(*failures: ImageFailure, deleted: int = 2, **changes: Any) -> DeletionReport:
    """The report of a selection, which names no id."""
    gone = tuple(ImageId(DIGEST, f"gone-{n}") for n in range(deleted))
    count = deleted + len(failures)
    outcome = SelectionOutcome(count, deleted, 5_000 * deleted, {"protectedTag": 4, "pulled": 1}, gone, failures)
    outcome = replace(outcome, **{key: value for key, value in changes.items() if key in outcome._fields})
    request = {key: value for key, value in changes.items() if key not in outcome._fields}
    whole = report(selection=Selection("any", keep_most_recent=1), **request)
    return DeletionReport(whole.request, outcome.image_ids, outcome.failures, outcome.omitted, selection=outcome)


def test_a_selection_is_told_in_numbers() -> None:
    """How many were selected, deleted and kept, and why; the bytes; and the request that goes on."""
    notice = report_notice(selected(STILL_USED, continued_as="cleanup-1/2"), ACCOUNT)
    told = data(notice)
    assert {key: told[key] for key in ("type", "requested", "selected", "deleted", "failed", "bytesReclaimed")} == {
        "type": "failure",
        "requested": 3,
        "selected": 3,
        "deleted": 2,
        "failed": 1,
        "bytesReclaimed": 10_000,
    }
    assert (told["keptByReason"], told["continuedAs"]) == ({"protectedTag": 4, "pulled": 1}, "cleanup-1/2")
    assert notice.subject == "ECR image deletion: 1 of 3 failed in team/app"
    assert "\nDeleted:     2\nKept:        4 protectedTag, 1 pulled\nReclaimed:   10,000 bytes at most\n" in text(
        notice
    )
    assert "\nGoes on as:  cleanup-1/2\n" in text(notice)


def test_a_selection_that_keeps_nothing_and_is_done() -> None:
    """It says that nothing was kept, and goes on nowhere."""
    notice = report_notice(selected(kept={}, notify=True), ACCOUNT)
    assert notice.subject == "ECR image deletion: 2 of 2 deleted in team/app"
    assert data(notice)["keptByReason"] == {}
    assert "continuedAs" not in data(notice)
    assert "\nKept:        none\n" in text(notice)
    assert "Goes on as" not in text(notice)


@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_can_be_selected_in_a_protected_repository(dry_run: bool) -> None:  # noqa: FBT001
    """It is the repository that fails: no count of images, and no image to try again."""
    refusal = ImageFailure(ImageId(), "ProtectedRepository", "the stack protects repositories named 'team/*'")
    notice = report_notice(selected(refusal, deleted=0, selected=0, kept={}, dry_run=dry_run), ACCOUNT)
    told = data(notice)
    assert (told["requested"], told["deleted"], told["failed"], "retryRequest" in told) == (0, 0, 1, False)
    assert notice.attributes["failureCodes"]["StringValue"] == '["ProtectedRepository"]'
    assert text(notice).startswith("Nothing could be selected, and nothing was deleted.\n")
    assert "ProtectedRepository: the stack protects repositories named 'team/*'\n" in text(notice)
    assert "To try just these again" not in text(notice)
    assert notice.subject == "ECR image deletion: nothing could be selected in team/app"
    if dry_run:
        assert told["type"] == "dryRun"


LONG = "🐳" * 250
MUCH = [ImageFailure(ImageId(DIGEST, f"{n:0128}"), "StillUsed", LONG) for n in range(2_000)]
LARGE = {
    "failures first": replace(report(*missing(3_000, tag_length=128), notify=True), kept=tuple(MUCH)),
    "kept next": replace(report(*missing(10), notify=True, deleted=3), kept=tuple(MUCH)),
    "kept, a dry run": replace(report(*missing(10), dry_run=True), kept=tuple(MUCH)),
    "deleted last": replace(report(*missing(10), notify=True, deleted=20_000), kept=tuple(MUCH[:10])),
    "deleted, some already left out": replace(report(notify=True, deleted=20_000), omitted=7),
    "a selection": selected(*missing(10), deleted=5_000, omitted=11, notify=True),
    "a selection that failed": selected(*missing(3_000), deleted=0, omitted=11, failures_omitted=5, notify=True),
}


@pytest.mark.parametrize("large", LARGE.values(), ids=LARGE)
def test_a_notice_with_all_it_can_hold_fits_sns(large: DeletionReport) -> None:
    """Failures before what was kept, and that before what was deleted; what is left out of each is counted."""
    notice = report_notice(large, ACCOUNT)
    assert MESSAGE_BYTES - 8_192 < sns_bytes(notice) <= MESSAGE_BYTES
    told = data(notice)
    counts = {
        "failures": len(large.failures) + large.failures_omitted,
        "kept": len(large.kept),
        "imageIds": len(large.image_ids) + large.omitted,
    }
    if not large.request.notify:
        del counts["imageIds"]
        assert not told.keys() & {"imageIds", "imageIdsOmitted"}
    left_out = 0
    for entries, count in counts.items():
        assert len(told.get(entries, [])) + told.get(f"{entries}Omitted", 0) == count
        assert not (left_out and told.get(entries))
        left_out += told.get(f"{entries}Omitted", 0)
    assert left_out > large.failures_omitted + large.omitted


def test_a_person_reads_how_many_more_were_kept_and_deleted() -> None:
    """The first fifty of each, and the number of those that did not fit beside those that did."""
    large = replace(report(notify=True, deleted=80), kept=tuple(MUCH[:70]), omitted=5)
    kept, deleted = text(report_notice(large, ACCOUNT)).split("\n\n")[-2:]
    assert kept.endswith("\n  and 20 more")
    assert deleted.endswith("  imageTag=gone-49\n  and 35 more\n")
