"""The summary of a fan-out: its numbers add up, whatever was written down, and it fits the store."""

import itertools
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.models.images import ImageFailure, ImageId
from handler.models.limits import STORED_BYTES
from handler.models.outcomes import ChunkOutcome
from handler.models.report import WORDS
from handler.models.selection_outcome import SelectionOutcome
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.tally import Turns, has_ended
from tests import reports
from tests.reports import ENTRIES, summaries, turns
from tests.values import ACCOUNT, FOREIGN, deletion_report, deletion_request, failure, selection_report

REQUEST = deletion_request(repository_name="", payload={"repositoryNames": ["team/*"]})


def summed(written: dict[str, Turns]) -> SummaryOutcome:
    """Returns the summary of what the repositories have written."""
    unfinished = [name for name in written if not has_ended(written[name])]
    return SummaryOutcome.of(REQUEST, {name: [*found.values()] for name, found in written.items()}, unfinished)


def as_stored(outcome: SummaryOutcome) -> Any:
    """Returns an outcome as JSON, which has no tuples."""
    return json.loads(json.dumps(outcome.to_json()))


def test_an_entry_is_what_counts_of_a_report() -> None:
    """Its numbers, and how many failures have each code; of a selection also its bytes, and whether it goes on."""
    failures = (failure("a"), failure("b"), failure("c", "KmsError"))
    named = deletion_report(*failures, deleted=2)
    assert Entry.of(named) == Entry(done=2, asked=5, failed=3, codes={"ImageNotFound": 2, "KmsError": 1})
    archived = deletion_report(deleted=2, action="archive")._replace(bytes=700)
    assert Entry.of(archived) == Entry("archive", done=2, asked=2, bytes=700)
    chosen = SelectionOutcome(9, 5, 400, failures_omitted=3, continued_as="r#1", action="archive")
    assert Entry.of(selection_report(chosen._replace(continued_as=None))) == Entry("archive", 5, 9, 3, 400)


TURN = Entry(done=5, asked=9, failed=2, bytes=400, codes={"KmsError": 2}, continued=True)
WHOLE = Entry(failed=1, codes={"UsageUnknown": 1})
"""Nothing could be selected."""


def numbers(*turns: Entry) -> tuple[int, int, int, dict[str, int]]:
    """Returns what a summary makes of these turns of one repository."""
    counts = summed({"team/app": dict(enumerate(turns))}).counts
    return counts["requested"], counts["deleted"], counts["failed"], counts["failuresByCode"]


def test_an_entry_of_a_turn_says_that_it_goes_on() -> None:
    """With all that it leaves: the summary knows what becomes of that."""
    chunk = ChunkOutcome(failures=(failure("a", "KmsError"), failure("b", "KmsError")))
    chosen = SelectionOutcome(9, 5, 400, chunk=chunk, continued_as="r#1")
    assert Entry.of(selection_report(chosen)) == TURN


@pytest.mark.parametrize(
    "last",
    [Entry(done=4, asked=4), Entry(done=3, asked=4, failed=1, codes={"KmsError": 1}), Entry()],
    ids=["all done", "one refused again", "nothing left"],
)
def test_what_a_turn_leaves_counts_where_it_is_met_again(last: Entry) -> None:
    """Once, and as what it was then."""
    assert numbers(TURN, last) == (5 + last.asked, 5 + last.done, last.failed, last.codes)
    assert numbers(TURN, TURN, last) == (10 + last.asked, 10 + last.done, last.failed, last.codes)


@pytest.mark.parametrize(
    ("last", "more"),
    [([WHOLE], WHOLE.codes), ([Entry.rejected("no", "m-1")], {}), ([], {})],
    ids=["failed as a whole", "rejected", "not finished"],
)
def test_what_no_further_turn_has_met_is_not_left_out(last: list[Entry], more: dict[str, int]) -> None:
    """Only of the turn before: what that has met again, counts there."""
    codes = {"KmsError": 2, **more}
    assert numbers(TURN, *last) == (9, 5, sum(codes.values()), codes)
    assert numbers(TURN, TURN, *last) == (5 + 9, 10, sum(codes.values()), codes)


def test_what_was_restored_in_part_counts_in_its_own_turn() -> None:
    """It is not in the archive any more, so that no further turn meets it."""
    turn = TURN._replace(action="restore", failed=3, codes={"KmsError": 2, "RestoredInPart": 1})
    assert numbers(turn, Entry("restore", done=3, asked=3)) == (5 + 1 + 3, 0, 1, {"RestoredInPart": 1})


def test_a_turn_that_was_stored_without_its_failures_counts_as_before() -> None:
    """As an earlier version of this function has written it."""
    stored = Entry.from_json({"done": 5, "asked": 5, "bytes": 400, "continued": True})
    assert numbers(stored, Entry(done=4, asked=4)) == (9, 9, 0, {})


def test_what_has_become_a_dry_run_on_the_way_is_not_done() -> None:
    """The request for all was a real one; a dry run of all is one by what it says."""
    asked = deletion_report(failure(), deleted=2, dry_run=True)
    assert Entry.of(asked) == Entry(asked=3, failed=3, codes={"StoppedByDryRun": 3})
    said = asked._replace(request=asked.request._replace(payload={"dryRun": True}))
    assert Entry.of(said) == Entry(done=2, asked=3, failed=1, codes={"ImageNotFound": 1})


@given(ENTRIES | st.builds(Entry.rejected, reports.WORDS, reports.WORDS))
@settings(max_examples=50)
def test_an_entry_comes_back_from_the_store(entry: Entry) -> None:
    """From objects with sorted keys; what is as usual takes no room."""
    assert Entry.from_json(json.loads(json.dumps(entry.to_json(), sort_keys=True))) == entry
    assert Entry().to_json() == {}


def test_an_entry_has_the_beginning_of_an_error() -> None:
    """It is stored with each repository."""
    assert Entry.rejected("x" * 10_000, "m-1") == Entry(error="x" * 300, arrival="m-1")


def counted(found: list[Entry]) -> list[Entry]:
    """Returns what counts of the turns of a repository: the others have been met again."""
    return [
        entry.before_another() if following and following.met_images else entry
        for entry, following in itertools.zip_longest(found, found[1:])
    ]


@given(st.dictionaries(reports.NAMES, turns(), max_size=6))
@settings(max_examples=60)
def test_the_numbers_add_up(written: dict[str, Turns]) -> None:
    """Each repository is finished, rejected or unfinished; each image, byte and failure of its turns counts once."""
    counting = {name: counted([*found.values()]) for name, found in written.items()}
    entries = [entry for found in counting.values() for entry in found]
    outcome = summed(written)
    counts = outcome.counts
    assert counts["finished"] + counts["rejected"] + counts["unfinished"] == counts["repositories"] == len(written)
    assert min(counts["finished"], counts["rejected"], counts["unfinished"]) >= 0
    assert counts["finished"] == sum(has_ended(t) and t[max(t)].error is None for t in written.values())
    assert counts["requested"] == sum(entry.asked for entry in entries)
    assert counts["bytes"] == sum(entry.bytes for entry in entries)
    assert counts["failed"] == sum(entry.failed for entry in entries) == sum(e["failed"] for e in outcome.failed)
    for action, words in WORDS.items():
        assert counts.get(words.number, 0) == sum(entry.done for entry in entries if entry.action == action)
    expected = sum((Counter(entry.codes) for entry in entries), Counter[str]())
    assert counts["failuresByCode"] == expected
    assert sum((Counter(e["failuresByCode"]) for e in outcome.failed), Counter[str]()) == expected
    assert list(counts["failuresByCode"]) == sorted(expected)
    assert list(outcome.unfinished) == [name for name in written if not has_ended(written[name])]
    rejected = [(name, t.error) for name, found in written.items() for t in found.values() if t.error is not None]
    assert [(e["repositoryName"], e["error"]) for e in outcome.rejected] == rejected
    assert {e["repositoryName"] for e in outcome.failed} == {
        name for name, found in counting.items() if any(entry.failed for entry in found)
    }


def test_what_was_asked_for_is_counted_though_nothing_came_of_it() -> None:
    """A summary says how many were deleted, or archived, also where that is none."""
    assert summed({}).counts["deleted"] == 0
    archive = SummaryOutcome.of(REQUEST._replace(action="archive"), {}, [])
    assert (archive.counts["archivedCount"], "deleted" in archive.counts) == (0, False)


def test_a_repository_whose_later_turn_was_rejected_counts_once() -> None:
    """Its first turn has not written yet: it is rejected, or unfinished."""
    counts = summed({"team/app": {1: Entry.rejected("no", "m-1")}}).counts
    assert counts["finished"] == 0
    assert counts["rejected"] + counts["unfinished"] == counts["repositories"] == 1


@given(summaries(), st.integers(0, 2_000))
@settings(max_examples=40)
def test_a_summary_is_cut_to_its_limit(report: SummaryReport, room: int) -> None:
    """Its numbers stay; what it names is shown or counted, the rejected first, and as much as there is room for."""
    whole = report.outcome
    least = len(json.dumps(whole.first(0).to_json()))
    cut = whole.truncated(least + room)
    assert len(json.dumps(cut.to_json())) <= least + room
    assert cut.counts == whole.counts
    lists = [(whole.rejected, cut.rejected), (whole.failed, cut.failed), (whole.unfinished, cut.unfinished)]
    for (before, after), omitted in zip(lists, cut.omitted, strict=True):
        assert list(after) == list(before[: len(after)])
        assert len(after) + omitted == len(before)
    shown = [len(after) == len(before) for before, after in lists]
    assert shown[0] or not cut.failed
    assert all(shown[:2]) or not cut.unfinished
    assert all(shown) or len(json.dumps(whole.first(cut.entries + 1).to_json())) > least + room


@given(summaries(), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=25)
def test_a_summary_that_is_cut_twice_counts_all(report: SummaryReport, first: int, second: int) -> None:
    """Once for the store and once for a notice."""
    twice = report.outcome.first(first).first(second)
    assert as_stored(twice) == as_stored(report.outcome.first(min(first, second)))
    assert twice.entries == min(first, second, report.outcome.entries)
    assert sum(twice.omitted) + twice.entries == report.outcome.entries


@given(summaries(), st.integers(0, 40))
@settings(max_examples=25)
def test_a_summary_comes_back_from_the_store(report: SummaryReport, count: int) -> None:
    """With all that it says, although stored objects come back with sorted keys; and so does an earlier look."""
    for outcome in (report.outcome.first(count), SummaryOutcome(continued_as="nightly#6"), SummaryOutcome()):
        back = SummaryOutcome.from_json(json.loads(json.dumps(outcome.to_json(), sort_keys=True)))
        assert as_stored(back) == as_stored(outcome)
        assert back.omitted == outcome.omitted
        assert as_stored(back.first(3)) == as_stored(outcome.first(3))


ALL = [f"{n:0256}" for n in range(10_000)]
"""As many repositories as a registry has, with the longest names."""


@pytest.mark.parametrize(
    "turns",
    [{}, {0: Entry.rejected("\U0001f433" * 300, "m-1")}, {0: Entry(failed=9, codes={f"{c:064}": 1 for c in range(9)})}],
    ids=["unfinished", "rejected", "failed"],
)
def test_a_summary_of_a_full_registry_fits_the_store(turns: Turns) -> None:
    """10,000 repositories with the longest names, errors and codes: as much as fits is named, and all are counted."""
    outcome = summed(dict.fromkeys(ALL, turns)).truncated(STORED_BYTES)
    assert STORED_BYTES - 5_000 < len(json.dumps(outcome.to_json())) <= STORED_BYTES
    assert outcome.entries + sum(outcome.omitted) == outcome.counts["repositories"] == 10_000
    assert 50 < outcome.entries < 2_000


def test_an_answer_says_what_a_look_has_found() -> None:
    """Under the requestId of what was sent: the numbers, or when the next look is."""
    request = REQUEST._replace(request_id="nightly#3", turn=3)
    outcome = summed({"team/app": {0: Entry(done=2, asked=2)}})
    answer = SummaryReport(request, outcome).to_answer(ACCOUNT)
    assert answer == {"requestId": "nightly", "registryId": ACCOUNT, **outcome.counts}
    waiting = SummaryReport(request._replace(registry_id=FOREIGN), SummaryOutcome(continued_as="nightly#4"))
    assert waiting.to_answer(ACCOUNT) == {"requestId": "nightly", "registryId": FOREIGN, "continuedAs": "nightly#4"}


def test_a_failure_of_a_whole_selection_counts() -> None:
    """Nothing was asked for then, and the repository is among those with failures."""
    denied = ImageFailure(ImageId(), "AccessDeniedException", "no")
    entry = Entry.of(selection_report(SelectionOutcome())._replace(failures=(denied,)))
    outcome = summed({"team/app": {0: entry}})
    assert (outcome.counts["requested"], outcome.counts["failed"], outcome.counts["finished"]) == (0, 1, 1)
    assert outcome.failed == [
        {"repositoryName": "team/app", "failed": 1, "failuresByCode": {"AccessDeniedException": 1}}
    ]
