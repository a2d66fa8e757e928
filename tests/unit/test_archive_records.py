"""What is remembered of archived images: which archiving an item is about, and for how long it is kept."""

import time
from typing import Any

import pytest

from handler.archive_records import ArchiveRecord, ArchiveRecords, repositories_in_grace
from handler.models.errors import ServiceUnavailableError
from handler.models.images import Image
from handler.step_table import StepTable
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS, refused
from tests.values import DAY, NOW, digest, listed_image

RECORD = ArchiveRecord(NOW, NOW + 120, "r-1", grace_days=30)


def records(clients: Clients, repository: str = "team/app") -> ArchiveRecords:
    """Returns the records of a repository."""
    return ArchiveRecords(table(clients), "123456789012", repository)


def image(name: str, **changes: Any) -> Image:
    """Returns an image as a look-up finds it."""
    return Image(name, frozenset(), NOW)._replace(**changes)


def table(clients: Clients) -> StepTable:
    """Returns the table, in an invocation that has 100 seconds left."""
    context: Any = FakeLambdaContext()
    context.get_remaining_time_in_millis = lambda: 100_000
    return StepTable.of(clients.dynamodb_client, "steps", context)


@pytest.mark.parametrize(
    ("status", "after", "known"),
    [
        *(("ARCHIVED", after, True) for after in (0, 60, 120, -4, 124)),
        *(("ARCHIVED", after, False) for after in (-6, 126, -DAY, DAY)),
        *((status, 60, False) for status in ("ACTIVE", "ACTIVATING")),
        ("ARCHIVED", None, False),
    ],
)
def test_a_record_is_about_one_archiving(status: str, after: float | None, known: bool) -> None:  # noqa: FBT001
    """Between its two times, give or take the clocks; what was archived at another time, or restored, is not it."""
    archived = None if after is None else NOW + after
    listed = listed_image("a", status=status, archived=archived)
    assert RECORD.is_of(listed) == known
    assert RECORD.in_grace(listed, NOW + 29 * DAY) == known
    assert RECORD.grace_ended(listed, NOW + 31 * DAY) == known


def test_the_grace_period_counts_from_the_archiving() -> None:
    """To the second; without one, it neither keeps an listed nor lets it go."""
    listed = listed_image("a", status="ARCHIVED", archived=NOW + 60)
    end = NOW + 60 + 30 * DAY
    assert (RECORD.in_grace(listed, end), RECORD.grace_ended(listed, end)) == (True, False)
    assert (RECORD.in_grace(listed, end + 1), RECORD.grace_ended(listed, end + 1)) == (False, True)
    again = listed._replace(archived=NOW + 90, activated=NOW + 70)  # restored in between
    assert not any((RECORD.is_of(again), RECORD.in_grace(again, end), RECORD.grace_ended(again, end + DAY)))
    assert RECORD.is_of(listed._replace(activated=NOW - 1))
    kept = RECORD._replace(grace_days=None)
    assert not any((kept.in_grace(listed, NOW + 61), kept.grace_ended(listed, end + 1), kept.may_have_ended(end + 1)))


def test_what_may_have_ended_is_known_without_asking_ecr() -> None:
    """Never later than it has: the archiving may be as early as the record."""
    assert not RECORD.may_have_ended(NOW + 29.9 * DAY)
    assert RECORD.may_have_ended(NOW + 30 * DAY)


def test_records_come_back_as_they_were_written(clients: Clients, aws: ScriptedAWS) -> None:
    """Of this repository alone; the invocation is over by the second time."""
    del aws
    before = time.time()
    records(clients).remember(image(digest(1)), "r-1", [digest(2), digest(3)], 30)
    records(clients).remember(image(digest(4)), "r-2", [], None)
    records(clients, "team/web").remember(image(digest(5)), "r-3", [], 30)
    found = records(clients).read()
    assert {name: record[2:3] + record[4:] for name, record in found.items()} == {
        digest(1): ("r-1", (digest(2), digest(3)), 30),
        digest(4): ("r-2", (), None),
    }
    for record in found.values():
        assert before <= record.not_before <= time.time()
        assert 99 < record.not_after - record.not_before <= 100.1


def test_the_last_archiving_counts(clients: Clients, aws: ScriptedAWS) -> None:
    """One that is to be kept takes the grace period of an earlier one away; and so does keeping what is there."""
    mine = records(clients)
    mine.remember(image(digest(1)), "r-1", [], 30)
    aws.let_time_pass(101)
    mine.remember(image(digest(1)), "r-2", [], None)
    assert mine.read()[digest(1)][2:3] + mine.read()[digest(1)][4:] == ("r-2", (), None)
    mine.remember(image(digest(2)), "r-1", [digest(3)], 30)
    for name in (digest(2), digest(2), digest(9)):
        mine.keep(name)
    assert {name: record[2:3] + record[4:] for name, record in mine.read().items()} == {
        digest(1): ("r-2", (), None),
        digest(2): ("r-1", (digest(3),), None),
    }


def test_requests_that_overlap_share_a_record(clients: Clients, aws: ScriptedAWS) -> None:
    """Either may have archived the image, at any time until both are over; what is to stay, stays."""
    mine = records(clients)
    for number, days in enumerate(((30, 30), (30, None), (None, 30))):
        mine.remember(image(digest(number)), "first", [digest(9)], days[0])
        before = mine.read()[digest(number)]
        aws.let_time_pass(60)
        mine.remember(image(digest(number)), "second", [], days[1])
        after = mine.read()[digest(number)]
        assert (after[2:3] + after[4:]) == ("first", (digest(9),), 30 if days == (30, 30) else None)
        assert after.not_before == pytest.approx(before.not_before - 60, abs=1)
        assert after.not_after == pytest.approx(time.time() + 100, abs=1)


def test_an_archiving_that_did_not_happen_is_over(clients: Clients, aws: ScriptedAWS) -> None:
    """For whoever was about to do it; not for another request, which may be about to do it as well."""
    mine, others = records(clients), records(clients)
    for number in range(2):
        mine.remember(image(digest(number)), "first", [], 30)
    before = mine.read()
    others.remember(image(digest(1)), "second", [], 30)
    mine.close(digest(0))
    mine.close(digest(1))
    others.close(digest(1))
    after = mine.read()
    assert after[digest(0)].not_after == pytest.approx(time.time(), abs=1)
    assert after[digest(1)].not_after > before[digest(1)].not_after
    aws.let_time_pass(10)
    mine.remember(image(digest(0)), "third", [], 30)  # it is over, so a new one begins
    assert mine.read()[digest(0)].request_id == "third"


def test_a_restored_image_can_be_archived_anew(clients: Clients, aws: ScriptedAWS) -> None:
    """By another request, at once: the record of the first is about what was before."""
    mine = records(clients)
    mine.remember(image(digest(1)), "first", [], 30)
    aws.let_time_pass(20)
    mine.remember(image(digest(1), activated=time.time() - 10), "second", [], 60)
    found = mine.read()[digest(1)]
    assert (found.request_id, found.grace_days) == ("second", 60)


def test_names_that_do_not_fit_are_left_out(clients: Clients, aws: ScriptedAWS) -> None:
    """The image is remembered all the same."""
    del aws
    mine = records(clients)
    for count, kept in ((3_000, 3_000), (3_001, 0)):
        mine.remember(image(digest(count)), "r" * 530, [digest(n) for n in range(count)], 30)
        assert len(mine.read()[digest(count)].names or ()) == kept
    assert mine.names_of([digest(3_000), digest(3_001), digest(2)]).keys() == {digest(3_000)}


def test_repositories_are_listed_once(clients: Clients, aws: ScriptedAWS) -> None:
    """With the registry that they are in."""
    del aws
    for name in ("team/web", "team/app", "team/web"):
        records(clients, name).announce()
    expected = [("123456789012", "team/app"), ("123456789012", "team/web")]
    assert sorted(repositories_in_grace(table(clients))) == expected


@pytest.mark.parametrize("operation", ["remember", "keep", "announce"])
def test_a_record_that_dynamodb_does_not_take_is_not_forgotten(
    clients: Clients, aws: ScriptedAWS, operation: str
) -> None:
    """Whoever wanted it knows that nothing was written."""
    aws.plays["UpdateItem"] = [refused("ProvisionedThroughputExceededException")] * 20
    mine = records(clients)
    arguments: Any = {"remember": (image(digest(1)), "r-1", [], 30), "keep": (digest(1),), "announce": ()}[operation]
    with pytest.raises(ServiceUnavailableError):
        getattr(mine, operation)(*arguments)


def test_what_dynamodb_does_not_tell_is_no_answer(clients: Clients, aws: ScriptedAWS) -> None:
    """It is asked again later: no image fails for it, and none goes."""
    aws.plays["Query"] = [refused("ProvisionedThroughputExceededException")] * 20
    aws.plays["GetItem"] = [refused("ProvisionedThroughputExceededException")] * 20
    mine = records(clients)
    for ask in (mine.read, lambda: mine.names_of([digest(1)]), lambda: repositories_in_grace(table(clients))):
        with pytest.raises(ServiceUnavailableError):
            ask()
