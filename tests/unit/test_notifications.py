"""The notice: what machines and people read of what could not be deleted, and how much of it SNS carries."""

import json
from typing import Any

import pytest

from handler.events import parse_request
from handler.models import DeletionReport, DeletionRequest, ImageFailure, ImageId, Origin
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
