"""The first line of a notice: what a person must do about it, by what docs/operations.md says of each failure code."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.models.selection_outcome import SelectionOutcome
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.notifications import Notice, rejection_notice, report_notice
from handler.notifications.summary import summary_notice
from tests.values import ACCOUNT, ORIGIN, deletion_report, deletion_request, failure, selection_report

NONE = "Nothing to do."
SPARED = "Nothing to do, if it may stay like that"
MOVED = "To do: see which image the tag names by now"
SENDER = "To do: correct whoever sent this"
LATER = "To do: try again later"
RESEND = "To do: see below what stood in the way; once it is removed, send the retryRequest of this notice."
OTHERWISE = "To do: follow the reason of each failure below"
ELSEWHERE = "To do: see what failed in the repositories below; the log has it"
CAUSE = "To do: remove the cause that stands below"

NAMED = [
    *(("ImageNotFound", SPARED), ("ProtectedTag", SPARED), ("ProtectedRepository", SPARED), ("ImageInUse", SPARED)),
    *(("ImageTagDoesNotMatchDigest", MOVED), ("ImageTagPushedAgain", MOVED)),
    *(("LastTag", SENDER), ("TagRequired", SENDER), ("InvalidImageDigest", SENDER), ("InvalidImageTag", SENDER)),
    *(("MissingDigestAndTag", SENDER), ("RepositoryNotFoundException", SENDER)),
    *(("RestoredInPart", LATER), ("UpstreamTooManyRequests", LATER), ("UpstreamUnavailable", LATER)),
    ("KmsError", RESEND),
    ("Unanswered", RESEND),
    *(("ImageReferencedByManifestList", RESEND), ("UsageUnknown", RESEND), ("StoppedByDryRun", RESEND)),
    *(("ImageStorageClassUpdateNotSupportedException", RESEND), ("AccessDeniedException", RESEND)),
    *(("ArchivedIndex", OTHERWISE), ("UnreadableIndex", OTHERWISE), ("TooManyRelatives", OTHERWISE)),
    ("SomethingNew", RESEND),
]
"""What the row of each code in the table asks of people, where named images failed with it."""
WHOLE = [
    *(("UsageUnknown", RESEND), ("SelectionGrew", CAUSE), ("TooManyTurns", CAUSE), ("StoppedByDryRun", CAUSE)),
    ("TimedOut", RESEND),
    *(("RepositoryNotFoundException", SENDER), ("AccessDeniedException", CAUSE), ("ProtectedRepository", SPARED)),
]
"""The same of a selection as a whole."""
CODES = [code for code, _ in NAMED]


def first_line(notice: Notice) -> str:
    """Returns what a person reads first."""
    return json.loads(notice.message)["email"].partition("\n")[0]


def advice(report: DeletionReport) -> str:
    """Returns what the notice of a report begins with."""
    return first_line(report_notice(report, ACCOUNT))


def failed(*codes: str, **changes: Any) -> DeletionReport:
    """Returns the report of a request whose images failed with these codes."""
    return deletion_report(*(failure(f"tag-{n}", code) for n, code in enumerate(codes)), **changes)


@pytest.mark.parametrize(("code", "expected"), NAMED)
def test_each_code_has_the_advice_of_its_row(code: str, expected: str) -> None:
    """One line, which asks of a person what the table of the documents does."""
    assert advice(failed(code)).startswith(expected)


@pytest.mark.parametrize(("code", "expected"), WHOLE)
def test_a_selection_that_failed_has_the_advice_of_its_row(code: str, expected: str) -> None:
    """It names no image that could be tried again."""
    chunk = ChunkOutcome(failures=(ImageFailure(ImageId(), code, "why"),))
    report = selection_report(SelectionOutcome(chunk=chunk), payload={"selection": {"tagStatus": "any"}})
    assert advice(report).startswith(expected)


def test_every_code_of_the_documents_is_in_these_tables() -> None:
    """A new row needs advice."""
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    section = text[text.index("## Read a notice and act on it") : text.index("`Kept` is not a failure")]
    rows = re.findall(r"^\| (`\w+`(?:, (?:`\w+`|any other))*) \|", section, re.MULTILINE)
    documented = {code for row in rows for code in re.findall(r"`(\w+)`", row)} - {"failure", "rejection", "report"}
    documented -= {"dryRun", "summary"}
    assert documented == {*CODES, *(code for code, _ in WHOLE)} - {"SomethingNew"}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("ProtectedTag", "ImageNotFound", "ImageInUse"), SPARED),
        (("ProtectedTag", "ImageTagPushedAgain"), MOVED),
        (("ImageTagPushedAgain", "InvalidImageTag"), SENDER),
        (("ProtectedTag", "TagRequired"), SENDER),
        (("ProtectedTag", "ArchivedIndex"), OTHERWISE),
        (("InvalidImageTag", "ArchivedIndex"), CAUSE),
        (("ProtectedTag", "UpstreamUnavailable"), LATER),
        (("UpstreamUnavailable", "InvalidImageTag"), RESEND),
        (("UpstreamUnavailable", "AccessDeniedException"), RESEND),
    ],
)
def test_of_several_codes_the_one_counts_that_asks_most(codes: tuple[str, ...], expected: str) -> None:
    """In whatever order they stand: nobody is told that nothing is to be done where something is."""
    for order in itertools.permutations(codes):
        assert advice(failed(*order)).startswith(expected)


@given(st.sets(st.sampled_from(CODES), min_size=1, max_size=4), st.sampled_from(CODES))
@settings(max_examples=80)
def test_advice_is_one_line_that_a_person_can_follow(codes: set[str], another: str) -> None:
    """It says that there is a request where there is one; and a further failure never makes it nothing."""
    notice = report_notice(failed(*sorted(codes)), ACCOUNT)
    line, text = first_line(notice), json.loads(notice.message)["email"]
    assert line.startswith(("Nothing to do, ", "To do: "))
    assert line.endswith(".")
    assert ("retryRequest" in line) == ("To try these again, send this request (retryRequest):" in text)
    if line.startswith("To do"):
        assert advice(failed(*sorted(codes), another)).startswith("To do")


@given(st.sets(st.sampled_from(CODES), max_size=4))
@settings(max_examples=80)
def test_a_protected_tag_never_leads_to_a_request(codes: set[str]) -> None:
    """To send it again is no way around the protection: where nothing else says so, the word does not stand there."""
    before = advice(failed(*sorted(codes))) if codes else NONE
    after = advice(failed(*sorted(codes), "ProtectedTag"))
    assert before in (after, NONE)
    assert "send" not in before or codes - {"ProtectedTag"}
    assert "send" not in advice(failed("ProtectedTag", "ProtectedTag"))


def test_what_went_well_asks_for_nothing() -> None:
    """A report without failures, and a dry run with whatever it foresees."""
    assert advice(deletion_report(deleted=2, notify="always")) == NONE
    assert advice(failed("ProtectedTag", "KmsError", dry_run=True, notify="always")) == NONE


def test_failures_that_did_not_fit_count_too() -> None:
    """A notice shows the first: of those that it only counts, one may need a person."""
    report = failed(*("ImageNotFound",) * 3_000, "AccessDeniedException", "ArchivedIndex")
    notice = report_notice(report, ACCOUNT)
    shown = json.loads(json.loads(notice.message)["default"])["failures"]
    assert {entry["failureCode"] for entry in shown} == {"ImageNotFound"}
    assert first_line(notice).startswith("To do: ")


def test_failures_that_the_store_did_not_take_may_need_a_person() -> None:
    """Nobody knows what they were."""
    report = selection_report(SelectionOutcome(9, chunk=ChunkOutcome(failures=(failure(),)), failures_omitted=5))
    assert advice(report).startswith("To do: ")


def test_what_another_turn_tries_again_is_nobodys_task_yet() -> None:
    """It selects what is left, and reports what stays; to send it as well would find it gone."""
    chunk = ChunkOutcome(failures=(failure("busy", "UpstreamUnavailable"),))
    report = selection_report(SelectionOutcome(9, 5, chunk=chunk, continued_as="r#1"), payload={"selection": {}})
    assert advice(report).startswith("Nothing to do yet")
    assert "retryRequest" not in report_notice(report, ACCOUNT).message


def test_a_rejection_is_for_its_sender() -> None:
    """Its request has to be another one."""
    notice = rejection_notice("no", ORIGIN, None)
    assert first_line(notice) == "To do: correct the request as it says below, and send it as a new one."


@pytest.mark.parametrize(
    ("entries", "changes", "expected"),
    [
        ([Entry(done=1, asked=1)], {}, NONE),
        ([Entry(failed=1, codes={"ProtectedTag": 1})], {}, SPARED),
        ([Entry(failed=1, codes={"ImageTagPushedAgain": 1})], {}, ELSEWHERE),
        ([Entry(failed=1, codes={"StoppedByDryRun": 1})], {}, "To do: send the request again once DryRun is off"),
        ([Entry(failed=1, codes={"UpstreamUnavailable": 1})], {}, "To do: send the request again later"),
        ([Entry(failed=1, codes={"ProtectedTag": 1}), Entry(failed=1, codes={"ArchivedIndex": 1})], {}, ELSEWHERE),
        ([Entry(failed=1, codes={"ArchivedIndex": 1})], {"dry_run": True}, NONE),
        ([Entry.rejected("no", "m-1")], {}, "To do: see why some requests were rejected"),
        (
            [Entry.rejected("no", "m-1"), Entry(failed=1, codes={"KmsError": 1})],
            {},
            "To do: see why some requests were rej",
        ),
        ([Entry.rejected("no", "m-1"), None], {}, "To do: see why some requests have not ended"),
        ([None], {"dry_run": True}, "To do: see why some requests have not ended"),
    ],
)
def test_a_summary_begins_with_what_matters_most(
    entries: list[Entry | None], changes: dict[str, Any], expected: str
) -> None:
    """What has not ended, then what was rejected, then what failed."""
    written = {f"team/{number}": [entry] if entry else [] for number, entry in enumerate(entries)}
    request = deletion_request(repository_name="", payload={"repositoryNames": ["team/*"]}, **changes)
    outcome = SummaryOutcome.of(request, written, [name for name, found in written.items() if not found])
    assert first_line(summary_notice(SummaryReport(request, outcome), ACCOUNT)).startswith(expected)
