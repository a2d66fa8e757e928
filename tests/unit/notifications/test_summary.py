"""The notice of a summary: its subject, its JSON, its text, and how much of it SNS carries."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from handler.models.limits import MESSAGE_BYTES
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.notifications import Notice
from handler.notifications.summary import summary_notice
from handler.tally import Turns, has_ended
from tests.reports import MARK, summaries
from tests.values import ACCOUNT, FOREIGN, ORIGIN, deletion_request

SELECTION = {"tagStatus": "any", "keepMostRecent": 3}
WRITTEN: dict[str, Turns] = {
    "team/api": {0: Entry(done=2, asked=3, failed=1, bytes=1_234, codes={"ProtectedTag": 1}, continued=True)},
    "team/app": {0: Entry(done=1_000, asked=1_002, failed=2, bytes=10_000, codes={"KmsError": 1, "ProtectedTag": 1})},
    "team/web": {0: Entry.rejected("request.selection means 600 images", "m-1")},
    "team/wiki": {0: Entry(done=4, asked=4, bytes=66)},
}
"""What four repositories have written, of which the first goes on."""
IDLE: dict[str, Turns] = {"team/idle": {0: Entry(asked=1, failed=1, codes={"ProtectedTag": 1})}}
"""One of which nothing was deleted."""


def summary(written: dict[str, Turns], **changes: Any) -> SummaryReport:
    """Returns the summary of a selection in several repositories."""
    payload = {"repositoryNames": ["team/*"], "selection": SELECTION}
    values = {"repository_name": "", "request_id": "nightly#7", "turn": 7, "payload": payload} | changes
    request = deletion_request(**values)
    unfinished = [name for name in written if not has_ended(written[name])]
    entries = {name: [*found.values()] for name, found in written.items()}
    return SummaryReport(request, SummaryOutcome.of(request, entries, unfinished))


def data(notice: Notice) -> Any:
    """Returns the JSON of a notice."""
    return json.loads(json.loads(notice.message)["default"])


def text(notice: Notice) -> str:
    """Returns its e-mail."""
    return json.loads(notice.message)["email"]


def test_a_machine_reads_what_became_of_all_repositories() -> None:
    """The numbers, and the repositories in which something is not as it should be."""
    found = data(summary_notice(summary(WRITTEN, reason="nightly"), ACCOUNT))
    assert found.pop("actionRequired", True) is True
    assert found == {
        "type": "summary",
        "requestId": "nightly",
        "origin": ORIGIN.to_json(),
        "reason": "nightly",
        "registryId": ACCOUNT,
        "repositoryNames": ["team/*"],
        "action": "delete",
        "selection": SELECTION,
        "repositories": 4,
        "finished": 2,
        "rejected": 1,
        "unfinished": 1,
        "requested": 1_009,
        "deleted": 1_006,
        "failed": 3,
        "bytes": 11_300,
        "failuresByCode": {"KmsError": 1, "ProtectedTag": 2},
        "rejectedRepositories": [{"repositoryName": "team/web", "error": "request.selection means 600 images"}],
        "failedRepositories": [
            {"repositoryName": "team/api", "failed": 1, "failuresByCode": {"ProtectedTag": 1}},
            {"repositoryName": "team/app", "failed": 2, "failuresByCode": {"KmsError": 1, "ProtectedTag": 1}},
        ],
        "unfinishedRepositories": ["team/api"],
    }


def test_a_person_reads_the_same() -> None:
    """What to do, what became of it, which request it was, and where to look."""
    body = text(summary_notice(summary(WRITTEN, reason="nightly"), ACCOUNT))
    assert body.partition("\n")[2] == (
        """
2 of 4 repositories are done: 1,006 of 1,009 images were deleted.

Asked for:   team/* in registry 123456789012
Request:     nightly
Arrived:     message message-1 from arn:aws:sqs:us-east-1:123456789012:requests
Sent by:     (not known)
Reason:      nightly
Finished:    2 of 4 repositories
Deleted:     1,006 of 1,009 images
Size:        11,300 bytes at most
Failed:      1 KmsError, 2 ProtectedTag

Rejected:
  team/web: request.selection means 600 images

Not finished:
  team/api

With failures:
  team/api: 1 ProtectedTag
  team/app: 1 KmsError, 1 ProtectedTag

Of those that are not finished, each will tell by itself what fails from now on.
"""
    )


@pytest.mark.parametrize(
    ("names", "changes", "subject"),
    [
        (["team/wiki"], {}, "1 repository, no failures"),
        (["team/web", "team/wiki"], {}, "2 repositories, 1 rejected"),
        (WRITTEN, {}, "4 repositories, 1 rejected, 1 unfinished, 3 failures"),
        (["team/app"], {"dry_run": True}, "dry run: 1 repository, 2 failures"),
        (["team/idle"], {}, "1 repository, 1 failure"),
        ([], {}, "0 repositories, no failures"),
    ],
)
def test_a_subject_says_how_it_went(names: Any, changes: dict[str, Any], subject: str) -> None:
    """In numbers alone, for it may be all that is read."""
    notice = summary_notice(summary({name: (WRITTEN | IDLE)[name] for name in names}, **changes), ACCOUNT)
    assert notice.subject == f"ECR image deletion: {subject}"


def test_subscribers_can_choose_summaries_by_what_failed() -> None:
    """By type, and by failure code like any notice; without failures there is no such attribute."""
    attributes = summary_notice(summary(WRITTEN), ACCOUNT).attributes
    assert attributes["type"] == {"DataType": "String", "StringValue": "summary"}
    assert json.loads(attributes["failureCodes"]["StringValue"]) == ["KmsError", "ProtectedTag"]
    assert "failureCodes" not in summary_notice(summary({"team/wiki": WRITTEN["team/wiki"]}), ACCOUNT).attributes


def test_what_a_grace_period_made_of_a_deletion_is_told() -> None:
    """Both numbers: images were archived that were to be deleted."""
    written = {"team/app": {0: Entry("archive", done=3, asked=3)}, "team/web": {0: Entry(done=1, asked=1)}}
    notice = summary_notice(summary(written), ACCOUNT)
    assert (data(notice)["deleted"], data(notice)["archivedCount"]) == (1, 3)
    assert "\nDeleted:     1 of 4 images\nArchived:    3 of 4 images\n" in text(notice)


def test_a_dry_run_says_that_nothing_was_done() -> None:
    """Beside what would have been."""
    notice = summary_notice(summary({"team/wiki": WRITTEN["team/wiki"]}, dry_run=True), ACCOUNT)
    assert data(notice)["dryRun"] is True
    assert "4 of 4 images would have been deleted." in text(notice)
    assert "\nDeleted:     0 of 4 images\n" in text(notice)


def test_a_summary_names_its_registry_and_the_tags_that_it_removed() -> None:
    """Another account's, where the request says so; and things by their name."""
    notice = summary_notice(summary({"a": {0: Entry(done=1, asked=1)}}, registry_id=FOREIGN, untag=True), ACCOUNT)
    assert (data(notice)["registryId"], data(notice)["untag"]) == (FOREIGN, True)
    assert "1 of 1 tags were removed." in text(notice)


def check_counts(notice: Notice, report: SummaryReport) -> int:
    """Checks that each repository of a summary is named or counted, in order; returns how many are only counted."""
    found, omitted = data(notice), 0
    outcome = report.outcome
    for name, entries, before in zip(
        ("rejectedRepositories", "failedRepositories", "unfinishedRepositories"),
        (outcome.rejected, outcome.failed, outcome.unfinished),
        outcome.omitted,
        strict=True,
    ):
        left_out = found.get(f"{name}Omitted", 0)
        assert found[name] == list(entries[: len(found[name])])
        assert len(found[name]) + left_out == len(entries) + before
        omitted += left_out
    assert outcome.counts.items() <= found.items()
    return omitted


MANY = [f"team/{n:0200}" for n in range(1_600)]
LARGE = {
    "rejected": summary({name: {0: Entry.rejected('"\\' * 150, "m-1")} for name in MANY}),
    "failed": summary({name: {0: Entry(failed=1, codes={f"{c:064}": 1 for c in range(9)})} for name in MANY}),
    "unfinished": summary(
        {name: {} for name in MANY}, payload={"repositoryNames": [f"{n:0256}" for n in range(1_000)]}
    ),
    "cut for the store": summary({name: {} for name in MANY})._replace(
        outcome=summary({name: {} for name in MANY}).outcome.first(1_500)
    ),
}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("report", LARGE.values(), ids=LARGE)
def test_a_summary_is_filled_as_far_as_sns_allows(report: SummaryReport, chat: bool) -> None:  # noqa: FBT001
    """256 KiB with all its forms; what does not fit is counted."""
    notice = summary_notice(report, ACCOUNT, chat=chat)
    attributes = "".join(name + value["DataType"] + value["StringValue"] for name, value in notice.attributes.items())
    assert notice.size == len(f"{notice.subject}{notice.message}{attributes}".encode())
    assert MESSAGE_BYTES - 8_192 < notice.size <= MESSAGE_BYTES
    assert check_counts(notice, report) > 50
    assert len(data(notice)["repositoryNames"]) <= 100
    body = text(notice)
    assert body.count("\n") < 200
    named = len(report.outcome.rejected) + len(report.outcome.failed) + len(report.outcome.unfinished)
    assert f"  and {named + sum(report.outcome.omitted) - 50} more\n" in body


@given(summaries())
@settings(max_examples=30)
def test_the_notice_of_any_summary_stays_within_its_limit(report: SummaryReport) -> None:
    """Nothing of it is neither shown nor counted; no word of a sender writes a line of ours."""
    notice = summary_notice(report, ACCOUNT, limit=16_384, chat=True)
    assert notice.size <= 16_384
    check_counts(notice, report)
    assert notice.subject.isascii()
    lines = text(notice).split("\n")
    assert all(line.isprintable() and not line.startswith(MARK) for line in lines)
