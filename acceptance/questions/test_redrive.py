"""Who may send dead letters back."""

import pytest

from acceptance import dead_letters
from acceptance.questions.conftest import Ask
from acceptance.world import World


@pytest.mark.slow
def test_a_redrive(world: World, ask: Ask) -> None:
    """Does StartMessageMoveTask pass the policies of the queues?

    Asked with an empty dead-letter queue: the check of dead letters shows whether a letter arrives.
    """
    if dead_letters.read(world.clients, world.stack):
        pytest.skip("there are dead letters, which this would send back")
    ask("StartMessageMoveTask to the queue of requests", lambda: dead_letters.redrive(world.clients, world.stack))
    world.seconds_until(lambda: dead_letters.redrive_status(world.clients, world.stack) != "RUNNING", 120)
    ask("ListMessageMoveTasks", lambda: dead_letters.redrive_status(world.clients, world.stack))
    if senders := world.stack.parameters.get("SenderPrincipalArns", ""):
        ask.note("the stack's SenderPrincipalArns", f"{len(senders.split(','))} of them")
