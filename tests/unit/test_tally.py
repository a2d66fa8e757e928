"""What the requests of a fan-out write down for the one summary: everything is told, and by one of the two."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from handler.models.errors import ServiceUnavailableError
from handler.models.request import mark_of
from handler.models.summary import Entry
from handler.step_table import StepTable
from handler.tally import Tally, Turns, Written, has_ended
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS, cut_short, lost, refused

PARENT = ("request", "nightly")
DONE = Entry(done=3, asked=4, failed=1, bytes=300, codes={"ImageNotFound": 1})
OTHER = Entry(done=5, asked=5)
PART = Entry(done=1, asked=9, continued=True)
REJECTED = Entry.rejected("request.selection means 5 images", "m-1")
THROTTLED = "ProvisionedThroughputExceededException"


def table(clients: Clients) -> StepTable:
    """Returns the table, in an invocation of its own."""
    context: Any = FakeLambdaContext()
    return StepTable.of(clients.dynamodb_client, "steps", context)


def tally(clients: Clients, generation: str = "claim-1") -> Tally:
    """Returns the entries of a fan-out, as its summary has them."""
    return Tally(table(clients), PARENT, mark_of(generation))


def part(clients: Clients, name: str = "team/app", generation: str = "claim-1") -> Tally:
    """Returns the same as the request for one repository has them, by the key that came with its message."""
    found = Tally.of_part(table(clients), ("child", list(PARENT), name, mark_of(generation)))
    assert found
    assert found[1] == name
    return found[0]


def turns(clients: Clients, name: str = "team/app") -> Turns:
    """Returns what is written of a repository."""
    return tally(clients).read()[name].turns


@pytest.mark.usefixtures("aws")
def test_a_summary_reads_what_the_requests_have_written(clients: Clients) -> None:
    """Each under its repository, more of them than a page has, whichever of the invocations wrote it; and no others."""
    names = [f"team/{number}" for number in range(7)]
    for name in names:
        assert part(clients, name).add(name, 0, DONE._replace(done=len(name)))
    part(clients, generation="claim-2").add("team/of another claim", 0, DONE)
    expected = {name: Written({0: DONE._replace(done=len(name))}, late=False) for name in names}
    assert tally(clients).read() == expected
    assert Tally(table(clients), ("request", "weekly"), "claim-1").read() == {}


@pytest.mark.usefixtures("aws")
def test_an_entry_that_is_written_twice_is_the_same(clients: Clients) -> None:
    """A redelivery writes it again: it counts once, and is left to the summary both times."""
    assert [part(clients).add("team/app", 0, DONE) for _ in range(2)] == [True, True]
    assert turns(clients) == {0: DONE}


def test_an_entry_whose_answer_was_lost_is_written_once(clients: Clients, aws: ScriptedAWS) -> None:
    """Also where the summary was made in between: it has counted the entry, so the request does not tell it too."""
    aws.plays["UpdateItem"] = [lost()]
    assert part(clients).add("team/app", 0, PART)
    aws.plays["UpdateItem"] = [lost(lambda: tally(clients).mark_late("team/app", {0: PART, 1: PART}))]
    assert part(clients).add("team/app", 1, PART)
    assert tally(clients).read() == {"team/app": Written({0: PART, 1: PART}, late=True)}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.usefixtures("aws")
def test_the_turns_of_a_request_are_written_in_any_order(clients: Clients, order: Sequence[int]) -> None:
    """A turn that was interrupted writes after those that went on with it; the request has ended once all are there."""
    entries = [PART, PART._replace(done=2), OTHER]
    for count, turn in enumerate(order):
        if count:
            assert not has_ended(turns(clients))
        assert part(clients).add("team/app", turn, entries[turn])
    assert [*turns(clients).items()] == [*enumerate(entries)]
    assert has_ended(turns(clients))


@pytest.mark.usefixtures("aws")
def test_a_request_can_have_many_turns(clients: Clients) -> None:
    """Each of them is there, the tenth behind the ninth."""
    for turn in range(12):
        assert part(clients).add("team/app", turn, PART._replace(done=turn))
    assert [*turns(clients).items()] == [(turn, PART._replace(done=turn)) for turn in range(12)]


@pytest.mark.parametrize(
    ("entries", "ended"),
    [
        ({}, False),
        ({0: DONE}, True),
        ({0: REJECTED}, True),
        ({0: PART}, False),
        ({0: PART, 1: DONE}, True),
        ({0: PART, 1: REJECTED}, True),
        ({0: PART, 1: PART}, False),
        ({1: DONE}, False),
        ({0: PART, 2: DONE}, False),
        (dict.fromkeys(range(10), PART) | {10: DONE}, True),
    ],
)
def test_a_request_has_ended_with_all_of_its_turns(entries: Turns, ended: bool) -> None:  # noqa: FBT001
    """The last says that nothing goes on with it, and none before is missing."""
    assert has_ended(entries) == ended


@pytest.mark.usefixtures("aws")
def test_what_is_late_is_told_by_itself(clients: Clients) -> None:
    """What was counted before is not, and what comes late is not written down; other repositories are not late."""
    part(clients).add("team/app", 0, PART)
    assert tally(clients).mark_late("team/app", {0: PART}) is None
    assert tally(clients).mark_late("team/web", {}) is None
    assert not part(clients).add("team/app", 1, DONE)
    assert not part(clients).add("team/web", 0, DONE)
    assert part(clients).add("team/app", 0, PART)
    assert not part(clients).add("team/app", 0, DONE)
    assert part(clients).add("team/api", 0, DONE)
    expected = {
        "team/app": Written({0: PART}, late=True),
        "team/web": Written({}, late=True),
        "team/api": Written({0: DONE}, late=False),
    }
    assert tally(clients).read() == expected


@pytest.mark.usefixtures("aws")
def test_a_rejected_request_that_is_sent_back_tells_itself(clients: Clients) -> None:
    """Before the summary, it says what became of it last; after it, it is news, another message with the same too.

    The same message is not: it may only have been interrupted.
    """
    assert part(clients).add("team/app", 0, REJECTED)
    assert part(clients).add("team/app", 0, DONE)
    assert turns(clients) == {0: DONE}
    assert part(clients).add("team/web", 0, REJECTED)
    assert tally(clients).mark_late("team/web", {0: REJECTED}) is None
    assert part(clients).add("team/web", 0, REJECTED)
    for entry in (REJECTED._replace(arrival="m-2"), DONE, PART, Entry.rejected("something else", "m-1")):
        assert not part(clients).add("team/web", 0, entry)
    assert turns(clients, "team/web") == {0: REJECTED}


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ({}, {0: DONE}),
        ({0: PART}, {0: PART, 1: DONE}),
        ({0: PART}, {0: PART, 1: PART, 2: DONE}),
        ({0: REJECTED}, {0: DONE}),
        ({0: PART, 1: REJECTED}, {0: PART, 1: DONE}),
        ({1: DONE}, {0: PART, 1: DONE}),
    ],
)
@pytest.mark.usefixtures("aws")
def test_what_has_ended_meanwhile_is_no_late(clients: Clients, read: Turns, written: Turns) -> None:
    """The summary gets it instead, and counts it."""
    for turn, entry in written.items():
        part(clients).add("team/app", turn, entry)
    assert tally(clients).mark_late("team/app", read) == written
    assert tally(clients).read() == {"team/app": Written(written, late=False)}


def test_a_mark_whose_answer_was_lost_is_made_once(clients: Clients, aws: ScriptedAWS) -> None:
    """It is made again by botocore; and so does a look that was stopped before its outcome was stored."""
    part(clients).add("team/app", 0, PART)
    aws.plays["UpdateItem"] = [lost(lambda: part(clients).add("team/app", 1, DONE))]
    assert [tally(clients).mark_late("team/app", {0: PART}) for _ in range(2)] == [None, None]
    assert tally(clients).read() == {"team/app": Written({0: PART}, late=True)}


def look(entries: Tally) -> Iterator[Turns]:
    """Yields what the summary counts of a repository, after each of its calls: it reads, then marks what may go on."""
    found = entries.read().get("team/app")
    counted = found.turns if found else {}
    yield counted
    more: Turns | None = counted
    while more is not None and not (has_ended(counted := more) and counted[max(counted)].error is None):
        more = entries.mark_late("team/app", counted)
        yield counted if more is None else more


def interleaved(
    clients: Clients, writes: Sequence[tuple[int, Entry]], moments: Sequence[int]
) -> tuple[Turns, list[bool]]:
    """Writes each entry before the summary's call of that number; returns what that counts, and what is left to it."""
    clients.use(ScriptedAWS())
    mine, own = look(tally(clients)), part(clients)
    counted: Turns = {}
    left: list[bool] = []
    for moment in range(max(moments) + 1):
        left += [
            own.add("team/app", turn, entry) for (turn, entry), at in zip(writes, moments, strict=True) if at == moment
        ]
        counted = next(mine, counted)
    for later in mine:
        counted = later
    return counted, left


MOMENTS = list(itertools.combinations_with_replacement(range(5), 3))
"""When three entries are written, one after the other: before which of the summary's calls."""
TURNS = [(0, PART), (1, PART._replace(done=2)), (2, OTHER)]


def check_told_once(clients: Clients, order: Sequence[int]) -> None:
    """Checks all ways in which entries in this order and a look can meet."""
    writes = [TURNS[turn] for turn in order]
    for moments in MOMENTS:
        counted, left = interleaved(clients, writes, moments)
        assert [counted.get(turn) == entry for turn, entry in writes] == left, moments
        assert len(counted) == sum(left), moments


def test_a_request_that_ends_at_that_moment_is_told_once(clients: Clients) -> None:
    """However its entries and the calls of the last look meet: each is counted or tells itself, and never both."""
    check_told_once(clients, (0, 1, 2))
    for moments in itertools.combinations_with_replacement(range(3), 1):
        counted, left = interleaved(clients, [(0, DONE)], moments)
        assert (counted, left) == (({0: DONE}, [True]) if moments < (2,) else ({}, [False]))


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_a_request_that_writes_in_another_order_is_told_once_too(clients: Clients, order: Sequence[int]) -> None:
    """A turn that was interrupted before its entry leaves a gap; what the others write is counted, or tells itself."""
    check_told_once(clients, order)


def test_a_request_that_is_corrected_at_that_moment_is_told_once(clients: Clients) -> None:
    """It was rejected, and is sent back: the summary has the rejection, or what became of it after all."""
    writes = [(0, REJECTED), (0, DONE)]
    for moments in itertools.combinations_with_replacement(range(4), 2):
        counted, (rejection, result) = interleaved(clients, writes, moments)
        assert (counted == {0: DONE}) == result, moments
        assert (counted in ({0: REJECTED}, {0: DONE})) == rejection, moments


@pytest.mark.parametrize(
    "key",
    [
        *(("request", "nightly"), ("message", "m-1"), ("event", "e-1"), ()),
        *(("child",), ("child", list(PARENT), "team/app"), ("child", list(PARENT), "team/app", "claim-1", 1)),
        *(("child", parent, "team/app", "claim-1") for parent in ("request", None, {"request": "nightly"}, 7)),
        *(("child", list(PARENT), name, "claim-1") for name in (None, 7, ["team/app"])),
        *(("child", list(PARENT), "team/app", generation) for generation in (None, 7, ["claim-1"])),
        ("other", list(PARENT), "team/app", "claim-1"),
    ],
)
def test_a_key_that_nobody_here_made_is_no_part(clients: Clients, key: tuple[Any, ...]) -> None:
    """Such a request tells by itself."""
    assert Tally.of_part(table(clients), key) is None


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize("code", [THROTTLED, "InternalServerError", "ValidationException", "AccessDeniedException"])
def test_what_dynamodb_does_not_take_or_tell_is_tried_again(clients: Clients, aws: ScriptedAWS, code: str) -> None:
    """Nothing is assumed: neither that it was written nor that there is nothing."""
    for operation in ("UpdateItem", "Query"):
        aws.plays[operation] = [refused(code, 500 if code == "InternalServerError" else 400)] * 20
    for ask in (
        lambda: part(clients).add("team/app", 0, DONE),
        lambda: tally(clients).read(),
        lambda: tally(clients).mark_late("team/app", {}),
    ):
        with pytest.raises(ServiceUnavailableError):
            ask()
    aws.plays.clear()
    assert tally(clients).read() == {}


def test_half_an_answer_is_not_what_is_written(clients: Clients, aws: ScriptedAWS) -> None:
    """A summary of some of the repositories would say that the others have not ended, and be late for them."""
    for number in range(4):
        part(clients).add(f"team/{number}", 0, DONE)
    for plays in ([cut_short], [lambda do: do(), cut_short]):
        aws.plays["Query"] = [*plays]
        with pytest.raises((ServiceUnavailableError, KeyError)):
            tally(clients).read()
    assert len(tally(clients).read()) == 4


def test_entries_are_kept_as_long_as_the_steps_of_their_claims(clients: Clients, aws: ScriptedAWS) -> None:
    """32 days from when the last was written: then DynamoDB removes them."""
    part(clients).add("team/app", 0, PART)
    aws.let_time_pass(1_000)
    part(clients).add("team/app", 1, DONE)
    tally(clients).mark_late("team/web", {})
    now = aws.dynamodb.items("steps")
    part(clients).add("team/api", 0, DONE)
    [other] = [item for item in aws.dynamodb.items("steps") if item not in now]
    for item in now:
        assert float(item["expiration"]["N"]) == pytest.approx(float(other["expiration"]["N"]), abs=2)


@pytest.mark.usefixtures("aws")
def test_a_rejection_takes_nothing_back(clients: Clients) -> None:
    """Another message under the key of what was carried out tells by itself that it was rejected."""
    assert part(clients).add("team/app", 0, DONE)
    assert not part(clients).add("team/app", 0, REJECTED)
    assert turns(clients) == {0: DONE}


def test_the_condition_of_a_mark_is_one_that_dynamodb_takes(clients: Clients, aws: ScriptedAWS) -> None:
    """An expression has 4 KB and 300 operators and functions at most."""
    calls: list[Any] = []
    clients.dynamodb_client.meta.events.register(
        "before-parameter-build.dynamodb.UpdateItem", lambda params, **_: calls.append(params)
    )
    part(clients).add("team/app", 0, PART)
    tally(clients).mark_late("team/app", {0: PART})
    condition = calls[-1]["ConditionExpression"]
    assert condition.count("attribute_not_exists") == 100
    assert len(condition) < 4_096
    assert len(condition.split(" ")) < 300
    del aws
