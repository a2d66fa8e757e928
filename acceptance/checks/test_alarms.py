"""A dead letter raises the alarm, which is over when the letter is gone."""

import pytest

from acceptance import dead_letters
from acceptance.world import World

pytestmark = pytest.mark.slow
SECONDS = 30 * 60
"""Lambda tries twice more, after one and two minutes; the alarm looks once a minute, at a metric that lags."""


def test_a_dead_letter_raises_the_alarm(world: World, name: str) -> None:
    """An event that was sent straight to the function and can never work: it is kept, and the alarm says so."""
    request_id = world.run.request_id(name)
    alarm = world.stack.alarm_name(world.clients, "DeadLetterAlarm")
    notices = world.notices
    world.until(lambda: state(world, alarm) == "OK", "alarm that is off: deal with the dead letters first", SECONDS)

    world.send.direct_event({"repositoryName": world.run.repository("none"), "imageIds": [], "requestId": request_id})

    world.until(lambda: state(world, alarm) == "ALARM", "alarm", SECONDS)
    notices.wait_for(
        "notice of the alarm",
        lambda one: one.get("AlarmName") == alarm and one.get("NewStateValue") == "ALARM",
        world.scaled(SECONDS),
    )
    letter = world.until(lambda: dead_letters.of(world.clients, world.stack, request_id), "dead letter")
    assert letter
    dead_letters.delete(world.clients, world.stack, letter)
    world.until(lambda: state(world, alarm) == "OK", "end of the alarm", SECONDS)


def state(world: World, alarm: str) -> str:
    """Returns the state of an alarm."""
    [found] = world.clients("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return str(found["StateValue"])
