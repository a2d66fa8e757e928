"""How a question is asked and its answer kept."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from acceptance.facts import Fact, answer
from acceptance.world import World


class Ask:
    """What was sent for one question so far, and what came."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.came: list[str] = []

    def __call__(self, sent: str, call: Callable[[], Any]) -> str:
        """Makes a call that is described in words; returns what came, an error of the service as well."""
        came = answer(call)
        self.note(sent, came)
        return came

    def note(self, sent: str, came: object) -> None:
        """Writes down what was seen."""
        self.sent.append(sent)
        self.came.append(str(came))


@pytest.fixture
def ask(world: World, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Asks the question that the first line of the test is; what came is kept also if the test then stops."""
    asked = Ask()
    yield asked
    if asked.sent:
        question = str(inspect.getdoc(request.function)).splitlines()[0]
        world.answers[question] = Fact(asked.sent, asked.came)
