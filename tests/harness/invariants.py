"""Invariants of a scenario, looked at from outside: images left, notices received, messages on the queues."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.harness.scenario import Expected, Scenario
from tests.harness.watched import subject

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The deviations that the faults of a scenario excuse."""

    repeated_notices: int = 0
    """How often SNS may have published a notice without its outcome being stored: only then may it come again."""
    dead_letters: bool = False
    """The fault was not lifted in time."""
    lost_outcomes: bool = False
    """An image that never was may be reported as deleted, though unconfirmed."""


def repeated_notices(scenario: Scenario) -> int:
    """Returns how many notices came more than once."""
    return sum(count > 1 for count in Counter(map(subject, scenario.aws.notices)).values())


def violations(scenario: Scenario, allowed: Allowance) -> Iterator[str]:
    """Yields what is not as promised, once the queue was delivered as often as it may be."""
    yield from scenario.aws.violations
    if scenario.queue.bodies:
        yield f"still on the queue: {list(scenario.queue.bodies)}"
    if scenario.queue.dead and not allowed.dead_letters:
        yield f"dead letters, although the fault was lifted: {list(scenario.queue.dead)}"
    for repository in scenario.there:
        yield from misplaced(scenario, repository)
    yield from _wrong_notices(scenario, allowed)
    yield from _wrong_events(scenario, allowed)
    for notice in scenario.aws.notices:
        if notice["type"] == "summary":
            yield from _wrong_summary(scenario.expected[notice["requestId"]], notice)
        elif notice["type"] != "rejection":
            name, one = next(
                (name, one)
                for name, one in scenario.expected.items()
                if notice["requestId"] == name or notice["requestId"].startswith((f"{name}/", f"{name}#"))
            )
            for problem in (*_wrong_failures(scenario, one, notice, allowed), *_wrong_counts(one, notice)):
                yield f"{name}: {problem}"


def misplaced(scenario: Scenario, repository: str) -> Iterator[str]:
    """Yields images and tags that are gone and must stay, or the other way round."""
    goes = {name for one in scenario.expected.values() for name in one.goes}
    there, left = scenario.there[repository], scenario.aws.ecr.names(repository)
    again = scenario.pushed_again.get(repository, set())
    if gone := there - left - goes:
        yield f"{repository}: gone, although they must stay: {sorted(gone)[:3]} of {len(gone)}"
    if lost := again - left:
        yield f"{repository}: deleted although pushed again: {sorted(lost)[:3]}"
    if (stayed := (there & left & goes) - again) and not scenario.queue.dead:
        yield f"{repository}: left, although they must go: {sorted(stayed)[:3]} of {len(stayed)}"
    wanted = {digest for one in scenario.expected.values() for digest in one.archived} & there
    before, archived = scenario.put_away.get(repository, set()), scenario.aws.ecr.archived(repository)
    if wrong := archived - before - wanted:
        yield f"{repository}: archived, although they must not be: {sorted(wrong)[:3]} of {len(wrong)}"
    if (wrong := (wanted - archived) | ((before - wanted) & archived)) and not scenario.queue.dead:
        yield f"{repository}: not archived, or not restored: {sorted(wrong)[:3]} of {len(wrong)}"


def _wrong_notices(scenario: Scenario, allowed: Allowance) -> Iterator[str]:
    """Yields notices that should not have come, or not so often, or that did not come."""
    published: dict[str, list[Json]] = {}
    for notice in scenario.aws.notices:
        published.setdefault(subject(notice), []).append(notice)
    for name, notices in published.items():
        if name.startswith("rejected"):
            yield f"{name}: nothing here can be rejected: {notices[0]['error']}"
        if len(notices) > 1 + allowed.repeated_notices:
            yield f"{name}: {len(notices)} notices"
        # A redrive gives a message another id, which is where a notice says that its request came from.
        if any(notice | {"origin": None} != notices[0] | {"origin": None} for notice in notices):
            yield f"{name}: notices that differ"
    expected = {
        name + report
        for name, one in scenario.expected.items()
        for report in one.reports
        if "notify" in one.request or not allowed.lost_outcomes or set(one.fails.values()) != {"ImageNotFound"}
    }
    if (missing := expected - published.keys()) and not scenario.queue.dead:
        yield f"no notice of {sorted(missing)}"


def _wrong_summary(one: Expected, notice: Json) -> Iterator[str]:
    """Yields what is not so in the one summary of a fan-out."""
    found = tuple(notice[name] for name in ("repositories", "finished", "rejected", "unfinished"))
    if found != (one.repositories, one.repositories, 0, 0):
        yield f"a summary of {found}"
    # A selection that was cut off reports what its last try has deleted.
    if notice["deleted"] > notice["requested"] or notice["requested"] > (one.asked or 0):
        yield f"a summary of {notice['deleted']} deleted of {notice['requested']}"
    if notice["failuresByCode"] != {"RepositoryNotFoundException": 1}:
        yield f"a summary of {notice['failuresByCode']}"


def _wrong_events(scenario: Scenario, allowed: Allowance) -> Iterator[str]:
    """Yields results that are not on the bus, or too often, or that say something else than the notice."""
    expected = {name for name, one in scenario.expected.items() if one.events}
    found: dict[str, list[Json]] = {}
    for event in scenario.aws.events:
        found.setdefault(event["Detail"]["data"]["requestId"], []).append(event)
    if (wrong := found.keys() ^ expected) and not scenario.queue.dead:
        yield f"events too many or missing: {wrong}"
    for name, events in found.items():
        if len(events) > 1 + allowed.repeated_notices:
            yield f"{name}: {len(events)} events"
        said = {key: events[0]["Detail"]["data"][key] for key in ("failures", "deleted", "failed", "requested")}
        for notice in scenario.aws.notices:
            if notice["requestId"] == name and not said.items() <= notice.items():
                yield f"{name}: the event says {said}, and the notice something else"


def _wrong_failures(scenario: Scenario, one: Expected, notice: Json, allowed: Allowance) -> Iterator[str]:
    """Yields failures that are reported and are none, or are none and are reported."""
    failed = {f["imageId"].get("imageTag") or f["imageId"].get("imageDigest"): f for f in notice["failures"]}
    again = {tag for tags in scenario.pushed_again.values() for tag in tags}
    if len(failed) < len(notice["failures"]):
        yield "a failure is reported twice"
    unreported = [key for key in one.fails if key not in failed]
    unconfirmed = [key for key in unreported if one.fails[key] == "ImageNotFound" and allowed.lost_outcomes]
    if len(unconfirmed) > notice.get("unconfirmed", 0):
        yield f"{unconfirmed} are neither reported nor counted as unconfirmed"
    if missing := [key for key in unreported if key not in unconfirmed][notice["failuresOmitted"] :]:
        yield f"{missing[:3]} of {len(missing)} are not reported"
    for key, failure in failed.items():
        pushed = failure["failureCode"] == "ImageTagPushedAgain" and key in again
        if failure["failureCode"] != one.fails.get(str(key)) and not pushed:
            yield f"{key} is reported to have failed with {failure}"
    kept = {k["imageId"]["imageDigest"]: k["code"] for k in notice.get("kept", [])}
    if one.kept and not one.request.get("dryRun") and kept != one.kept:
        yield f"kept {sorted(kept.items() ^ one.kept.items())[:3]}"


def _wrong_counts(one: Expected, notice: Json) -> Iterator[str]:
    """Yields counts that do not add up."""
    counts = {"delete": "deleted", "archive": "archivedCount", "restore": "restoredCount"}
    requested, deleted, failed = notice["requested"], notice[counts[notice["action"]]], notice["failed"]
    if failed != len(notice["failures"]) + notice["failuresOmitted"]:
        yield f"{failed} failed, and {len(notice['failures'])} are reported"
    if "selected" in notice:
        if not deleted <= notice["selected"] <= (one.asked or 0):
            yield f"{deleted} deleted of {notice['selected']} selected of {one.asked}"
    elif (requested, deleted) != (len(one.request["imageIds"]), requested - failed):
        yield f"{deleted} deleted and {failed} failed of {requested}, and {len(one.request['imageIds'])} were asked for"
    if notice.get("unconfirmed", 0) > deleted + len(one.goes):
        yield f"{notice['unconfirmed']} unconfirmed of {deleted}"
