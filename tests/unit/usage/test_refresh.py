"""The reading of sources: side by side, whole or not at all, one at a time, over as many turns as it takes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier
from typing import Any
from unittest import mock

import pytest
from aws_lambda_powertools import Logger

from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageId
from handler.usage.claims import Claims
from handler.usage.images import Use, UsedImage
from handler.usage.inventory import Inventory, Source
from handler.usage.reading import ListUnits, ReadingFailedError, Unit
from handler.usage.refresh import Refresh
from handler.usage.settings import ReaderSettings
from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS, lost, refused
from tests.fakes.usage import digest

type Json = dict[str, Any]

START = 1_800_000_000.0
MINUTE = 60.0
DAY = 86_400.0
SETTINGS = ReaderSettings(
    "usage", ("ecs", "lambda"), (), in_use_days=2, refresh_minutes=60, task_definition_revisions=3
)
MAX_AGE = 180 * MINUTE


class Clock:
    """All clocks, which stand still until they are moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """Sources whose units a test decides, and the invocations of the function."""

    inventory: Inventory
    claims: Claims
    clock: Clock
    sources: dict[str, list[Unit]] = field(default_factory=dict)
    invoked: list[Json] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    """The units that were read, in order."""
    ids: int = 0

    def unit(self, source: str, name: str, *numbers: int, seconds: float = 0, error: Exception | None = None) -> None:
        """Adds a unit that uses these images, and takes so long."""

        def read() -> Iterator[Use]:
            self.clock.now += seconds
            self.read.append(f"{source}/{name}")
            for number in numbers:
                yield Use(UsedImage("1" * 12, "eu-west-1", "app", ImageId(digest(number))), f"{source}/{name}")
            if error:
                raise error

        self.sources.setdefault(source, []).append(Unit(name, read))

    def meanwhile(self, source: str, happens: Callable[[], object], name: str = "a") -> None:
        """Adds a unit while which something else happens, and that uses nothing."""

        def read() -> tuple[()]:
            happens()
            return ()

        self.sources.setdefault(source, []).append(Unit(name, read))

    def refresh(self) -> Refresh:
        """The function with the sources as they are."""
        listed: dict[str, ListUnits] = {source: partial(list, units) for source, units in self.sources.items()}
        return Refresh(SETTINGS, listed, self.inventory, self.claims, self.invoked.append, Logger(service="test"))

    def run(self, event: Any = None, request_id: str = "", minutes: float = 15) -> tuple[dict[str, int], list[str]]:
        """Invokes the function, which has so many minutes."""
        self.ids += 1
        end = self.clock.now + minutes * MINUTE
        return self.refresh().run(event, request_id or f"id-{self.ids}", lambda: end - self.clock.now)

    def known(self) -> dict[int, float]:
        """When each image that is in use expires, at least."""
        stored = self.inventory.uses("app")
        return {int(str(use.image_id.digest)[7:], 16): use.expires for use in stored}


@pytest.fixture
def world(clients: Clients, aws: ScriptedAWS) -> Iterator[World]:
    """No source, and an empty table."""
    del aws
    clock = Clock()
    table = (clients.dynamodb_client, "usage")
    with mock.patch("time.time", clock), mock.patch("time.monotonic", clock):
        yield World(Inventory(*table), Claims(*table), clock)


def test_a_source_that_was_read_whole_is_believed(world: World) -> None:
    """From when the reading began, for three times as long as until the next; its images for InUseDays more."""
    world.unit("ecs", "a", 1, 2, seconds=30)
    world.unit("ecs", "b", 2, 3, seconds=30)
    assert world.run({}) == ({"ecs": 3}, [])
    assert world.inventory.sources() == {"ecs": Source(START, START + MAX_AGE)}
    assert world.known().keys() == {1, 2, 3}
    assert min(world.known().values()) >= START + MAX_AGE + 2 * DAY


def test_images_are_in_use_for_as_long_as_their_source_is_believed(world: World) -> None:
    """Without InUseDays too: from when the reading began, however long it takes."""
    world.unit("ecs", "a", 1, seconds=30)
    refresh = world.refresh()._replace(settings=SETTINGS._replace(in_use_days=0))
    assert refresh.run({}, "id", lambda: 900.0) == ({"ecs": 1}, [])
    [stored] = world.inventory.uses("app")
    assert stored.since == START
    assert stored.expires >= world.inventory.sources()["ecs"].expires


def test_units_are_read_in_the_order_of_their_names(world: World) -> None:
    """Whatever order they are listed in."""
    for name in "bca":
        world.unit("ecs", name)
    world.run()
    assert world.read == ["ecs/a", "ecs/b", "ecs/c"]


def test_sources_are_read_side_by_side(world: World) -> None:
    """Each waits for the other here."""
    both = Barrier(2, timeout=5)
    for source in ("ecs", "lambda"):
        world.meanwhile(source, both.wait)
    assert world.run() == ({"ecs": 0, "lambda": 0}, [])


def test_a_source_that_fails_is_not_believed_and_the_others_are(world: World) -> None:
    """What was read of it is remembered all the same."""
    world.unit("ecs", "a", 1)
    world.unit("ecs", "b", 2, error=ServiceUnavailableError("half an answer"))
    world.unit("ecs", "c", 3)
    world.unit("lambda", "a", 4)
    assert world.run() == ({"lambda": 1}, ["ecs"])
    assert world.inventory.sources().keys() == {"lambda"}
    assert world.known().keys() == {1, 4}
    assert "ecs/c" not in world.read


def test_a_source_whose_units_cannot_be_listed_fails(world: World) -> None:
    """Nothing of it is known."""
    world.unit("lambda", "a", 4)

    def list_units() -> list[Unit]:
        raise ServiceUnavailableError("half an answer")

    refresh = world.refresh()
    refresh = refresh._replace(sources={**refresh.sources, "ecs": list_units})
    assert refresh.run({}, "id", lambda: 900.0) == ({"lambda": 1}, ["ecs"])
    assert world.inventory.sources().keys() == {"lambda"}


def test_a_source_that_cannot_be_written_is_not_believed(world: World, aws: ScriptedAWS) -> None:
    """It was read, but nobody would know."""
    world.unit("ecs", "a", 1)
    play = aws.plays["UpdateItem"]
    play += [lambda do: do(), refused("ValidationException")]  # the claim is taken, the use is not written
    assert world.run() == ({}, ["ecs"])
    assert world.inventory.sources() == {}


def test_a_retry_of_lambda_reads_what_failed_once_more(world: World) -> None:
    """Its request id is the same, and its predecessor has let go of the source."""
    world.unit("ecs", "a", 1, error=ServiceUnavailableError("half an answer"))
    assert world.run(request_id="same") == ({}, ["ecs"])
    world.sources.clear()
    world.unit("ecs", "a", 1)
    world.clock.now += MINUTE
    assert world.run(request_id="same") == ({"ecs": 1}, [])
    assert world.inventory.sources()["ecs"].began == START + MINUTE


def long_reading(world: World, units: int = 5, minutes: float = 5) -> None:
    """A source whose units take so long that a turn has time for some of them."""
    for n in range(units):
        world.unit("ecs", f"u{n}", n, seconds=minutes * MINUTE)


def test_what_time_does_not_allow_is_read_in_a_further_turn(world: World) -> None:
    """Which goes on behind the last whole unit, as part of the same reading; none is read twice or left out."""
    long_reading(world)
    turns = [world.run()]
    while world.invoked:
        assert world.inventory.sources() == {}
        turns.append(world.run(world.invoked.pop()))
    assert turns == [({}, [])] * 4 + [({"ecs": 5}, [])]
    assert world.read == [f"ecs/u{n}" for n in range(5)]
    assert world.inventory.sources() == {"ecs": Source(START, START + MAX_AGE)}
    assert world.known().keys() == set(range(5))


def test_a_turn_ends_while_there_is_time_to_say_so(world: World) -> None:
    """A minute and a half, and twice its slowest unit so far."""
    long_reading(world, minutes=1)
    world.run(minutes=5)
    assert world.read == ["ecs/u0", "ecs/u1"]  # 3 minutes are left: less than 90 s and two minutes
    assert world.clock.now == START + 2 * MINUTE
    world.sources.clear()
    long_reading(world, 50, minutes=0)
    assert world.run(world.invoked.pop(), minutes=1.6) == ({"ecs": 50}, [])  # 2 of which were found before


def test_a_turn_that_finished_no_unit_fails_instead_of_going_on(world: World) -> None:
    """Or it would go on with the same unit for ever."""
    long_reading(world)
    assert world.run(minutes=1) == ({}, ["ecs"])
    assert (world.invoked, world.read) == ([], [])
    assert world.run(minutes=6) == ({}, [])  # the first unit fits, and nothing else
    [event] = world.invoked
    assert world.run(event, minutes=1) == ({}, ["ecs"])
    assert world.read == ["ecs/u0"]


def test_a_reading_that_takes_longer_than_it_would_be_believed_is_given_up(world: World) -> None:
    """Which bounds the chain of turns; the next scheduled one begins anew."""
    long_reading(world)
    world.run()
    [event] = world.invoked
    world.clock.now = START + MAX_AGE + 1
    assert world.run(event) == ({}, [])
    assert len(world.read) == 1
    assert world.inventory.sources() == {}
    assert world.run({}) == ({}, [])
    assert world.read == ["ecs/u0", "ecs/u0"]


def test_a_source_is_read_by_one_at_a_time(world: World) -> None:
    """A second run meanwhile leaves it to the first, and so does one while a further turn is on its way."""
    found: list[Any] = []
    world.meanwhile("ecs", lambda: found.append(world.run({})))
    assert world.run({}) == ({"ecs": 0}, [])
    assert found == [({}, [])]
    world.sources.clear()
    long_reading(world)
    world.run({})
    world.clock.now += MINUTE
    assert world.run({}) == ({}, [])
    assert world.read == ["ecs/u0"]


def test_a_further_turn_that_is_delivered_twice_is_read_once(world: World) -> None:
    """The second finds that the first has the source, or that it is past."""
    long_reading(world)
    world.run()
    event = world.invoked.pop()
    meanwhile: list[Any] = []
    del world.sources["ecs"][1]
    world.meanwhile("ecs", lambda: meanwhile.append(world.run(event, "turn")), "u1")
    world.run(event, "turn", minutes=6)
    assert meanwhile == [({}, [])]
    before = list(world.read)
    assert world.run(event, "turn") == ({}, [])
    assert world.read == before


def test_a_further_turn_whose_first_try_failed_is_retried(world: World) -> None:
    """By Lambda, with the same event and the same request id; the turns before it are not read again."""
    long_reading(world, 2)
    world.run(minutes=6)
    event = world.invoked.pop()
    whole = world.sources["ecs"][1]
    world.unit("ecs", "u1x", error=ServiceUnavailableError("half an answer"))
    assert world.run(event, "turn", minutes=30) == ({}, ["ecs"])
    world.sources["ecs"] = [world.sources["ecs"][0], whole]
    assert world.run(event, "turn") == ({"ecs": 2}, [])
    assert world.inventory.sources()["ecs"].began == START


def test_a_turn_that_was_killed_is_retried_once_its_time_is_over(world: World) -> None:
    """Not before: it may still be at work."""
    long_reading(world)
    world.run()
    event = world.invoked.pop()
    until = world.clock.now + 14 * MINUTE
    assert world.claims.take("ecs", "turn", handed_on=event["reading"], until=until)  # and then it is killed
    assert world.run(event, "turn") == ({}, [])
    assert world.run({}) == ({}, [])
    assert world.read == ["ecs/u0"]
    world.clock.now = until + 1
    world.run(event, "turn")
    assert world.read == ["ecs/u0", "ecs/u1"]


def test_a_turn_that_comes_too_late_leaves_the_source_to_the_reading_that_began_since(world: World) -> None:
    """A source waits for its further turn, but not for ever."""
    long_reading(world)
    world.run()
    late = world.invoked.pop()
    world.clock.now += 11 * MINUTE
    world.run({})
    assert world.run(late) == ({}, [])
    assert world.read == ["ecs/u0", "ecs/u0"]
    world.clock.now += 11 * MINUTE  # that one's further turn never came either
    assert world.run(late) == ({}, [])
    assert world.read == ["ecs/u0", "ecs/u0"]


def test_a_turn_that_cannot_be_handed_on_fails(world: World) -> None:
    """And lets go of the source."""
    long_reading(world)

    def invoke(_: Json) -> None:
        raise ServiceUnavailableError("no")

    end = world.clock.now + 15 * MINUTE
    assert world.refresh()._replace(invoke=invoke).run({}, "id", lambda: end - world.clock.now) == ({}, ["ecs"])
    assert world.run({}) == ({}, [])
    assert world.read == ["ecs/u0", "ecs/u0"]


def test_a_turn_that_has_lost_its_source_does_not_go_on(world: World) -> None:
    """Another reading has it by now."""
    world.unit("ecs", "u0", seconds=MINUTE)

    def steal() -> None:
        world.clock.now += 16 * MINUTE  # as if Lambda had not ended it
        assert world.claims.take("ecs", "thief", handed_on=None, until=world.clock.now + MINUTE)

    world.meanwhile("ecs", steal, "u1")
    world.unit("ecs", "u2")
    assert world.run({}) == ({}, ["ecs"])
    assert world.invoked == []
    assert not world.claims.take("ecs", "another", handed_on=None, until=world.clock.now + MINUTE)


def test_a_claim_whose_answer_was_lost_is_held_all_the_same(world: World, aws: ScriptedAWS) -> None:
    """The SDK asks again, and is refused what it has already."""
    world.unit("ecs", "a", 1)
    with mock.patch("time.sleep"):
        aws.plays["UpdateItem"].append(lost())
        assert world.run({}) == ({"ecs": 1}, [])


@pytest.mark.parametrize(
    ("age_minutes", "due"), [(None, True), (-10, True), (-4, False), (1, False), (52, False), (53, True), (60, True)]
)
def test_the_schedule_reads_what_is_due(world: World, age_minutes: float | None, due: bool) -> None:  # noqa: FBT001  # a table
    """At the quarter of an hour that is nearest; what was never read, or in the future, at once."""
    world.unit("ecs", "a")
    if age_minutes is not None:
        began = START - age_minutes * MINUTE
        world.inventory.believe_reading("ecs", began=began, expires=began + MAX_AGE)
    world.run({"whenDue": True})
    assert world.read == (["ecs/a"] if due else [])


@pytest.mark.parametrize("event", [None, {}, "", {"whenDue": False}])
def test_by_hand_everything_is_read(world: World, event: Any) -> None:
    """Whenever it was read last."""
    world.unit("ecs", "a")
    world.run(event)
    world.run(event)
    assert world.read == ["ecs/a", "ecs/a"]


@pytest.mark.parametrize("change", [{"source": "other"}, {"began": START + DAY}])
def test_a_turn_of_another_source_or_time_is_refused(world: World, change: Json) -> None:
    """A reading from the future would be believed for ever, and no later one."""
    long_reading(world)
    world.run()
    [event] = world.invoked
    with pytest.raises(ReadingFailedError, match="cannot go on here"):
        world.run({**event, **change})


def test_a_later_reading_is_not_undone_by_one_that_ends_after_it(world: World) -> None:
    """Each has its own time, and the later one counts."""
    began = START + MINUTE
    world.meanwhile("ecs", lambda: world.inventory.believe_reading("ecs", began=began, expires=began + 1))
    world.run({})
    assert world.inventory.sources() == {"ecs": Source(began, began + 1)}
