"""Arbitrary reports and summaries, for tests of what is told of them; no sender's word in them is harmless."""

from typing import Any

from hypothesis import strategies as st

from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.models.request import Action, Origin, Selection
from handler.models.selection_outcome import SelectionOutcome
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.tally import Turns, has_ended
from tests.values import ACCOUNT, FOREIGN, deletion_request

MARK = "\u00a7"
"""Stands in senders' words alone."""
ACTIONS: tuple[Action, ...] = ("delete", "archive", "restore")
_CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(f"{MARK}`<>@*_~|[]()&\n\r\t\\\"'\u202e\u2028")
WORDS = st.text(_CHARACTERS, min_size=1, max_size=12)
"""What a sender may write."""
COUNTS = st.integers(0, 10**6)
CODES = st.sampled_from([
    *("ImageNotFound", "ProtectedTag", "KmsError", "ImageTagPushedAgain", "InvalidImageTag", "UsageUnknown"),
    *("AccessDeniedException", "SomethingNew", "UpstreamUnavailable"),
])  # fmt: skip
NAMES = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8})?", fullmatch=True)
"""Of repositories."""
ORIGINS = st.builds(
    Origin, st.sampled_from(["message", "schedule", "event", "invocation"]), WORDS, WORDS, st.none() | WORDS
)
_IDS = st.builds(ImageId, st.none() | WORDS, st.none() | WORDS)
_FAILURES = st.lists(st.builds(ImageFailure, _IDS, CODES, WORDS), max_size=4).map(tuple)
_TIMES = st.sampled_from([1, 1, 1, 50])
PAYLOADS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"selection": st.just({"tagStatus": "tagged", "tagPatternList": ["pr-*"]})}
)


@st.composite
def reports(draw: st.DrawFn) -> DeletionReport:
    """Returns the report of any request, with up to a few hundred entries."""
    failures, kept, gone = (draw(_FAILURES) * draw(_TIMES) for _ in range(3))
    image_ids = tuple(entry.image_id for entry in gone)
    payload, action = draw(PAYLOADS), draw(st.sampled_from(ACTIONS))
    key, name = draw(st.sampled_from([(("request", "r-1"), "r-1"), (("child", ("request", "r-1"), "a", "g"), "r-1/a")]))
    turn = draw(st.integers(0, 2)) if payload else 0
    request = deletion_request(
        *(failed.image_id for failed in failures),
        *image_ids,
        key=key,
        request_id=f"{name}#{turn}" if turn else draw(st.sampled_from([name, draw(WORDS)])),
        turn=turn,
        repository_name=draw(NAMES),
        registry_id=draw(st.sampled_from([None, ACCOUNT, FOREIGN])),
        reason=draw(st.none() | WORDS),
        origin=draw(ORIGINS),
        notify=draw(st.sampled_from(["failures", "always", "summary"])),
        dry_run=draw(st.booleans()),
        untag=action == "delete" and draw(st.booleans()),
        cascade=None if payload else draw(st.none() | st.booleans()),
        action=action,
        selection=Selection("tagged", ("pr-*",)) if payload else None,
        payload=payload,
    )
    unconfirmed = image_ids[: draw(st.integers(0, 2))]
    report = DeletionReport(request, image_ids, failures, unconfirmed, kept=kept, bytes=draw(COUNTS))
    report = report._replace(replicated_to=draw(st.sampled_from([(), (("eu-west-1", ACCOUNT),)])))
    if not payload:
        return report._replace(left_untagged=draw(COUNTS), activating=draw(COUNTS))
    outcome = SelectionOutcome(
        selected=len(image_ids) + len(failures),
        deleted=len(image_ids),
        bytes=draw(COUNTS),
        kept={"TooRecent": draw(COUNTS), "InUse": len(kept) + draw(st.integers(0, 9))},
        chunk=ChunkOutcome(image_ids, failures, unconfirmed),
        failures_omitted=draw(st.integers(0, 9)),
        unconfirmed_omitted=draw(st.integers(0, 9)),
        continued_as=draw(st.none() | st.just(f"{name}#{turn + 1}")),
        action=action,
        restorable_until=draw(st.none() | st.just(1.9e9)),
    )
    return report._replace(selection=outcome, omitted=draw(st.integers(0, 9)))


ENTRIES = st.builds(
    lambda codes, omitted, **numbers: Entry(codes=codes, failed=sum(codes.values()) + omitted, **numbers),
    st.dictionaries(CODES, st.integers(1, 99), max_size=3),
    st.sampled_from([0, 0, 3]),
    action=st.sampled_from(ACTIONS),
    done=COUNTS,
    asked=COUNTS,
    bytes=COUNTS,
)
"""What counts of a report."""


@st.composite
def turns(draw: st.DrawFn) -> Turns:
    """Returns what a part of a fan-out has written: all of its turns, the first of them, or nothing."""
    entries = draw(st.lists(ENTRIES, max_size=3))
    found = {turn: entry._replace(continued=True) for turn, entry in enumerate(entries)}
    match draw(st.sampled_from(["ended", "going on", "rejected"])):
        case "ended" if entries:
            found[len(entries) - 1] = entries[-1]
        case "rejected":
            found[len(entries)] = Entry.rejected(draw(WORDS), "m-1")
    return found


@st.composite
def summaries(draw: st.DrawFn) -> SummaryReport:
    """Returns the summary of any request for several repositories."""
    action = draw(st.sampled_from(ACTIONS))
    request = deletion_request(
        repository_name="",
        request_id="nightly#5",
        turn=5,
        reason=draw(st.none() | WORDS),
        origin=draw(ORIGINS),
        dry_run=draw(st.booleans()),
        untag=action == "delete" and draw(st.booleans()),
        action=action,
        payload={"repositoryNames": draw(st.lists(NAMES, min_size=1, max_size=3)), **draw(PAYLOADS)},
    )
    some, times = draw(st.dictionaries(NAMES, turns(), max_size=5)), draw(_TIMES)
    written = {f"{name}/{time}": entries for name, entries in some.items() for time in range(times)}
    unfinished = [name for name in written if not has_ended(written[name])]
    outcome = SummaryOutcome.of(request, {name: [*found.values()] for name, found in written.items()}, unfinished)
    return SummaryReport(request, outcome)
