"""The table of what is in use: rows only expire, never sooner than was said, and half an answer is none."""

import time
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

import pytest
from botocore.awsrequest import AWSResponse

from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageId
from handler.usage.images import Use, UsedImage
from handler.usage.inventory import Inventory, Source
from tests.fakes.clients import Clients
from tests.fakes.scripted import ScriptedAWS, cut_short
from tests.fakes.usage import digest

DAY = 86_400.0
START = 1_800_000_000.0


class Clock:
    """The time of day, which stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The time of day."""
    clock = Clock()
    with mock.patch("time.time", clock):
        yield clock


@pytest.fixture
def inventory(clients: Clients, aws: ScriptedAWS) -> Inventory:
    """An empty table."""
    assert not aws.dynamodb.tables
    return Inventory(clients.dynamodb_client, "usage")


def use(repository: str = "team/app", *, number: int = 1, user: str = "web", registry: str = "123456789012") -> Use:
    """A use of the image with this number."""
    return Use(UsedImage(registry, "eu-west-1", repository, ImageId(digest(number))), user)


def one_by_one(tasks: Iterable[Callable[[], None]]) -> None:
    """Carries out tasks."""
    for task in tasks:
        task()


def add(inventory: Inventory, *uses: Use, source: str = "ecs", lasting: float = DAY) -> None:
    """Remembers uses from now on."""
    now = time.time()
    inventory.add(source, uses, seen=now, expires=now + lasting, run_all=one_by_one)


def test_what_was_added_is_known_until_it_expires(inventory: Inventory, clock: Clock) -> None:
    """In its repository alone, whichever registry that is in; by digest or by tag."""
    by_tag = Use(UsedImage("1" * 12, "eu-west-1", "team/app", ImageId(tag="v1")), "job")
    add(inventory, use(), by_tag, use("other", number=2))
    known = inventory.uses("team/app")
    assert {(stored.image_id, stored.user, stored.source) for stored in known} == {
        (ImageId(digest(1)), "web", "ecs"),
        (ImageId(tag="v1"), "job", "ecs"),
    }
    assert all(stored.since == START and stored.expires >= START + DAY for stored in known)
    clock.now += 2 * DAY
    assert inventory.uses("team/app") == []


def test_it_reads_all_pages_and_only_what_is_written_for_sure(inventory: Inventory, aws: ScriptedAWS) -> None:
    """More uses than a page of the fake has."""
    add(inventory, *(use(number=n) for n in range(10)))
    assert len(inventory.uses("team/app")) == 10
    assert all(call["ConsistentRead"] for call in aws.asked("Query"))


def test_expiries_are_never_shortened(inventory: Inventory, clock: Clock) -> None:
    """Not by a later reading that says less, nor by one that arrives late."""
    add(inventory, use(), lasting=10 * DAY)
    [first] = inventory.uses("team/app")
    clock.now += 60
    add(inventory, use(), lasting=DAY)
    [second] = inventory.uses("team/app")
    assert second == first
    clock.now += 10 * DAY - 60
    add(inventory, use(), lasting=10 * DAY)
    [third] = inventory.uses("team/app")
    assert third.expires >= clock.now + 10 * DAY


def test_an_expiry_that_another_reading_has_made_longer_stays(inventory: Inventory, aws: ScriptedAWS) -> None:
    """Also where that happens between the look and the write."""

    def play(do: Callable[[], AWSResponse]) -> AWSResponse:
        answer = do()
        add(inventory, use(), lasting=10 * DAY)
        return answer

    aws.plays["Query"].append(play)
    add(inventory, use(), lasting=DAY)
    [stored] = inventory.uses("team/app")
    assert stored.expires > time.time() + 9 * DAY


def test_since_lasts_as_long_as_the_use(inventory: Inventory, clock: Clock) -> None:
    """Through readings that follow each other; after a break it begins anew."""
    add(inventory, use())
    clock.now += 0.9 * DAY
    add(inventory, use())
    [stored] = inventory.uses("team/app")
    assert (stored.since, stored.expires >= clock.now + DAY) == (START, True)
    clock.now += 5 * DAY
    add(inventory, use())
    [stored] = inventory.uses("team/app")
    assert stored.since == clock.now


def test_what_is_known_for_long_enough_is_not_written_again(
    inventory: Inventory, clock: Clock, aws: ScriptedAWS
) -> None:
    """Most readings say what the last one said."""
    add(inventory, use(), lasting=8 * DAY)
    clock.now += 3_600
    add(inventory, use(), lasting=8 * DAY)
    assert len(aws.asked("UpdateItem")) == 1


def test_users_sources_and_registries_are_apart(inventory: Inventory) -> None:
    """Each has a row of its own; a use that is named twice has one."""
    add(inventory, use(), use(), use(user="job"), use(registry="2" * 12))
    add(inventory, use(), source="inspector")
    assert len(inventory.uses("team/app")) == 4


def test_a_source_is_believed_by_its_latest_reading(inventory: Inventory, clock: Clock) -> None:
    """A reading that ends after one that began later changes nothing."""
    assert inventory.sources() == {}
    inventory.believe("ecs", began=clock.now, expires=clock.now + 60)
    inventory.believe("ecs", began=clock.now - 60, expires=clock.now + 90)
    assert inventory.sources() == {"ecs": Source(START, START + 60)}
    inventory.believe("ecs", began=clock.now + 1, expires=clock.now + 30)
    assert inventory.sources() == {"ecs": Source(START + 1, START + 30)}


def test_a_clock_that_was_wrong_once_does_not_outlast_the_next_reading(inventory: Inventory, clock: Clock) -> None:
    """What began in the future is no later reading; five minutes are within what clocks may differ by."""
    inventory.believe("ecs", began=clock.now + DAY, expires=clock.now + 2 * DAY)
    inventory.believe("ecs", began=clock.now, expires=clock.now + 60)
    assert inventory.sources() == {"ecs": Source(START, START + 60)}
    inventory.believe("ecs", began=clock.now + 299, expires=clock.now + 360)
    inventory.believe("ecs", began=clock.now + 1, expires=clock.now + 61)
    assert inventory.sources() == {"ecs": Source(START + 299, START + 360)}


@pytest.mark.parametrize("ask", [lambda inventory: inventory.uses("team/app"), lambda inventory: inventory.sources()])
def test_half_an_answer_is_none(inventory: Inventory, aws: ScriptedAWS, ask: Callable[[Inventory], object]) -> None:
    """It would look like a repository of which nothing is in use."""
    add(inventory, use())
    aws.plays["Query"].append(cut_short)
    with pytest.raises(ServiceUnavailableError, match="did not arrive whole"):
        ask(inventory)
