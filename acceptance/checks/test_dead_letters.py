"""What can never work ends in the dead-letter queue as it was sent; sent back when that has changed, it is done."""

import json
import uuid
from collections.abc import Iterator

import pytest

from acceptance import dead_letters
from acceptance.world import World

pytestmark = pytest.mark.slow
SECONDS = 90 * 60
"""Five receives, with the queue's visibility time-out of 12 minutes between them."""


@pytest.fixture(autouse=True)
def no_letters_of_others(world: World) -> Iterator[None]:
    """A redrive sends back all letters: there must be none of others. Those of this run are gone in the end."""
    if [letter for letter in dead_letters.read(world.clients, world.stack) if not letter.run]:
        pytest.skip("there are dead letters of others: deal with them first")
    yield
    for letter in dead_letters.read(world.clients, world.stack):
        if letter.run == world.run.id:
            dead_letters.delete(world.clients, world.stack, letter)


@pytest.mark.needs("BulkTimeout")
def test_a_dead_letter_is_sent_back(world: World, name: str) -> None:
    """Its repositories did not exist; once they do, the redrive carries it out. The letter has it as it was sent."""
    request_id = world.run.request_id(name)
    body = json.dumps({
        "requestId": request_id,
        "repositoryNames": [world.run.repository(f"{name}/*")],
        "imageIds": ["imageTag=old"],
        "reason": uuid.uuid4().hex,
    })  # fmt: skip
    _ = world.notices
    world.send.message(body)
    notice = world.notice(request_id, "rejection")
    assert "means no repository" in notice["error"]
    letter = world.until(lambda: dead_letters.of(world.clients, world.stack, request_id), "dead letter", SECONDS)
    assert letter
    assert json.loads(letter.body)["request"] == json.loads(body)
    repository = world.repository(f"{name}/late")
    repository.push_image(name, "old")
    kept = repository.push_image(f"{name} kept", "kept")

    world.until(lambda: _only_ours(world), "dead letters that are all of this run", 600)
    dead_letters.redrive(world.clients, world.stack)

    world.until(lambda: repository.images() == {(kept, ("kept",))}, "deletion after the redrive", 300)
    world.until(lambda: dead_letters.of(world.clients, world.stack, request_id) is None, "empty dead-letter queue")
    rejections = world.notices.arrived(lambda one: one.get("requestId") == request_id)
    assert len(rejections) == 1


def _only_ours(world: World) -> bool:
    """Whether a redrive now would send back letters of this run alone."""
    letters = dead_letters.read(world.clients, world.stack)
    return bool(letters) and all(letter.run == world.run.id for letter in letters)
