"""A notice as a person reads it by e-mail."""

import json

import pytest

from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome
from handler.models.report import UNCONFIRMED_REASON, DeletionReport
from handler.models.selection_outcome import SelectionOutcome
from handler.notifications import report_notice
from tests.values import ACCOUNT, deletion_report, digest, failure, selection_report

PROTECTED = failure("prod", "ProtectedTag", "the stack protects tags like 'prod'")
STILL_USED = ImageFailure(ImageId(digest(1)), "StillUsed", "an index still needs it")
LEFT = "Left:        3 images without a tag of their own, of those that belonged to the deleted"


def text(report: DeletionReport) -> str:
    """Returns the e-mail of a report's notice."""
    return str(json.loads(report_notice(report, ACCOUNT).message)["email"])


def headline(email: str) -> str:
    """Returns what an e-mail says became of the request; before it stands what a person must do."""
    return email.splitlines()[2]


def below(line: str, report: DeletionReport) -> str:
    """Returns what stands behind the first words of a line, and below it."""
    return text(report).partition(line)[2]


def test_a_person_reads_what_failed_and_how_to_try_again() -> None:
    """The request, its sender and reason; the deleted; every failure; and a request that tries again what may work."""
    report = deletion_report(
        failure("busy", "UpstreamUnavailable", "Not now"),
        ImageFailure(ImageId(digest(1), "v1"), "ImageReferencedByManifestList", "An index names it"),
        ImageFailure(ImageId(), "MissingDigestAndTag", "Both tag and digest cannot be null"),
        deleted=2,
        reason="nightly cleanup",
    )
    assert (
        text(report)
        == f"""\
To do: see below what stood in the way; once it is removed, send the retryRequest of this notice.

3 of 5 images could not be deleted.

Repository:  team/app in registry 123456789012
Request:     cleanup-1
Arrived:     message message-1 from arn:aws:sqs:us-east-1:123456789012:requests
Sent by:     (not known)
Reason:      nightly cleanup
Deleted:     2

Not deleted:
  imageTag=busy
      UpstreamUnavailable: Not now
  imageDigest={digest(1)},imageTag=v1
      ImageReferencedByManifestList: An index names it
  (no tag, no digest)
      MissingDigestAndTag: Both tag and digest cannot be null

To try these again, send this request (retryRequest):
{{"repositoryName": "team/app", "reason": "nightly cleanup", "imageIds": [{{"imageTag": "busy"}}, \
{{"imageDigest": "{digest(1)}", "imageTag": "v1"}}]}}
"""
    )


@pytest.mark.parametrize(("count", "more"), [(50, None), (51, 1), (80, 30)])
def test_a_person_reads_the_first_fifty(count: int, more: int | None) -> None:
    """How many more there are, and where they stand; a request for those alone that are shown would mislead."""
    found = text(deletion_report(*(failure(f"v{n}", "KmsError") for n in range(count))))
    assert found.count("KmsError") == 50
    line = f"  and {more} more; the JSON form of this notice has up to {count} of all"
    line += ", and the request that tries them again.\n"
    assert found.endswith(line) if more else "more" not in found
    assert ("try these again" in found) is (more is None)


def test_a_person_reads_how_many_more_were_kept_and_deleted() -> None:
    """The first fifty of each, and the number of the others, with those that were left out before."""
    report = deletion_report(deleted=80, notify="always")._replace(kept=(STILL_USED,) * 70, omitted=5)
    kept, deleted = text(report).split("\n\n")[-2:]
    assert kept.endswith("\n  and 20 more")
    assert deleted.endswith("  imageTag=gone-49\n  and 35 more\n")


def test_a_request_without_a_reason_says_so() -> None:
    """Nobody gave one."""
    assert "\nReason:      (none given)\n" in text(deletion_report(failure()))
    assert "\nReason:      Aufräumen 🐳\n" in text(deletion_report(failure(), reason="Aufräumen 🐳"))


def test_a_dry_run_reads_as_one() -> None:
    """Nothing was deleted, and there is no request to send again: it would be a real one."""
    report = deletion_report(failure("busy", "KmsError", "Not now"), deleted=2, dry_run=True, notify="always")
    assert (
        below("Deleted:     ", report)
        == """\
0

Would be refused:
  imageTag=busy
      KmsError: Not now

Would be deleted:
  imageTag=gone-0
  imageTag=gone-1
"""
    )


def test_a_report_lists_what_was_deleted_and_kept() -> None:
    """Where it was asked for; what is left untagged is counted."""
    report = deletion_report(deleted=1, notify="always", cascade=False)._replace(kept=(STILL_USED,), left_untagged=3)
    assert (
        below("Deleted:     ", report)
        == f"""\
1
{LEFT}

Kept:
  imageDigest={digest(1)}: an index still needs it

Deleted:
  imageTag=gone-0
"""
    )


def test_a_person_reads_what_is_unconfirmed() -> None:
    """How many of the deleted may have been deleted by an earlier try, and why nobody can say."""
    report = deletion_report(PROTECTED, deleted=3)
    line = f"Deleted:     3\nUnconfirmed: 2 of these; {UNCONFIRMED_REASON}\n"
    assert line in text(report._replace(unconfirmed=report.image_ids[:2]))
    assert "Unconfirmed" not in text(report)


SELECTED = SelectionOutcome(2, 2, 10_000, {"TooRecent": 1, "MostRecent": 4}, continued_as="cleanup-1#1")


def test_a_selection_reads_in_numbers() -> None:
    """Images that stay, and why, the bytes, and the name under which it goes on."""
    lines = """\
Deleted:     2
Kept:        4 MostRecent, 1 TooRecent
Reclaimed:   10,000 bytes at most
Continues:   as cleanup-1#1, with a report of its own
"""
    assert lines in text(selection_report(SELECTED, notify="always"))
    done = text(selection_report(SELECTED._replace(kept={}, continued_as=None), notify="always"))
    assert "\nKept:        none\n" in done
    assert "Continues:" not in done


@pytest.mark.parametrize("dry_run", [False, True])
def test_where_nothing_could_be_selected_a_person_reads_why(dry_run: bool) -> None:  # noqa: FBT001
    """It is the repository that fails: there is no image to count, and none to try again."""
    refusal = ImageFailure(ImageId(), "ProtectedRepository", "the stack protects repositories named 'team/*'")
    found = text(selection_report(SelectionOutcome(chunk=ChunkOutcome(failures=(refusal,))), dry_run=dry_run))
    assert headline(found) == "Nothing could be selected, and this try deleted nothing."
    assert "ProtectedRepository: the stack protects repositories named 'team/*'\n" in found
    assert "try these again" not in found


def test_a_person_reads_how_to_bring_archived_images_back() -> None:
    """Until when that can be done, if they are deleted then; and by which request, however many they are."""
    chunk = ChunkOutcome(tuple(ImageId(digest(n)) for n in range(80)))
    outcome = SelectionOutcome(80, 80, 10_000, {"NotMatched": 2}, chunk, action="archive", restorable_until=0.0)
    found = text(selection_report(outcome, request_id="nightly#2", turn=2))
    assert headline(found) == "80 of 80 images were archived."
    assert "\nArchived:    80\nKept:        2 NotMatched\nSize:        10,000 bytes at most\n" in found
    line = "They are deleted after 1970-01-01T00:00:00Z. To bring them back, send this request:\n"
    assert json.loads(found.partition(line)[2]) == {
        "repositoryName": "team/app",
        "action": "restore",
        "selection": {"tagStatus": "any", "storageClass": "archive", "archivedBy": "nightly"},
    }
    for_good = outcome._replace(restorable_until=None)
    assert "\n\nTo bring them back, send this request:\n" in text(selection_report(for_good))
    assert "bring" not in text(selection_report(outcome, dry_run=True))
    assert "bring" in text(selection_report(outcome._replace(deleted=0)))  # what an earlier try has archived
    assert "bring" not in text(selection_report(for_good._replace(deleted=0)))


def test_a_person_reads_when_restored_images_can_be_pulled() -> None:
    """And what could not be restored."""
    report = deletion_report(failure("v1", "RestoredInPart"), deleted=2, action="restore")._replace(
        activating=2, bytes=7
    )
    found = text(report)
    assert headline(found) == "1 of 3 images could not be restored."
    assert "\nRestored:    2\nActivating:  2, relatives included; they can be pulled in up to 20 minutes\n" in found
    assert "\nSize:        7 bytes at most\n\nNot restored:\n" in found
    assert '"action": "restore", "imageIds": [{"imageTag": "v1"}]}' in found


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_person_reads_of_tags_where_tags_were_removed(dry_run: bool) -> None:  # noqa: FBT001
    """No image was deleted."""
    found = text(deletion_report(failure("v1", "LastTag"), deleted=2, untag=True, dry_run=dry_run, notify="always"))
    dry, real = "A dry run: nothing was removed. 2 of 3 tags would have been.", "1 of 3 tags could not be removed."
    assert headline(found) == (dry if dry_run else real)
    assert ("\nWould be removed:\n" if dry_run else "\nRemoved:\n") in found
