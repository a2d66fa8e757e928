"""Whether Lambda lets a function send to its own queue for long."""

from functools import partial

from acceptance import functions
from acceptance.questions.conftest import Ask
from acceptance.world import World

SECONDS = 180


def test_twenty_turns(world: World, ask: Ask) -> None:
    """Do twenty turns of a function that sends to its own queue pass Lambda's detection of recursive loops?

    A selection that runs out of time continues so, and a request for several repositories checks so on them. A small
    function of the run's own does the same, once as this stack's function is set, and once by Lambda's default.
    """
    configured = world.clients("lambda").get_function_recursion_config(FunctionName=world.stack.function)
    ask.note("the setting of the stack's function", configured["RecursiveLoop"])
    for setting in ("Allow", "Terminate"):
        first, record = functions.loop(world.clients, world.run, setting)
        world.clients("sqs").send_message(QueueUrl=first, MessageBody="0")
        world.seconds_until(partial(_all_turns, world, record), SECONDS)
        ask.note(f"{functions.TURNS} turns with RecursiveLoop={setting}", f"{_turns(world, record)} turns")


def _turns(world: World, record: str) -> int:
    """Returns how many turns there were so far: each has left a message in that queue."""
    sqs, name = world.clients("sqs"), "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=record, AttributeNames=[name])["Attributes"][name])


def _all_turns(world: World, record: str) -> bool:
    return _turns(world, record) >= functions.TURNS
