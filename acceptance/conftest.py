"""What checks and questions share: a repository of their own."""

import re

import pytest

from acceptance.repositories import Repository
from acceptance.world import World


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of the check's own, as repositories and requests can have it."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:80]


@pytest.fixture
def repository(world: World, name: str) -> Repository:
    """An empty repository."""
    return world.repository(name)


@pytest.fixture(scope="session", autouse=True)
def usage_known(world: World) -> None:
    """Has the stack read what is in use: while that is not known, it deletes nothing."""
    if "UsageFunctionName" in world.stack.outputs:
        world.send.invoke_function(world.stack.usage_function, {})
