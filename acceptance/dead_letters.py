"""The stack's dead-letter queue: which letters are of runs, and how these are sent back. Others are left there."""

import re
from dataclasses import dataclass

from .aws import Clients
from .stack import Stack

_SECONDS = 2
"""How long a letter that was read stays invisible to others."""
_RUN = re.compile(r'"requestId\\*": ?\\*"([0-9a-f]{8})/')
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    message_id: str
    body: str
    receipt: str

    @property
    def run(self) -> str:
        """The id of the run that has sent the request; empty for requests of others."""
        found = _RUN.search(self.body)
        return found[1] if found else ""


def read(clients: Clients, stack: Stack) -> list[Letter]:
    """Returns what is in the queue, and leaves it there."""
    sqs, url, letters = clients("sqs"), stack.outputs["DeadLetterQueueUrl"], dict[str, Letter]()
    while len(letters) < _MOST:
        received = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=_SECONDS, WaitTimeSeconds=clients.long_poll
        ).get("Messages", [])
        if not received or all(message["MessageId"] in letters for message in received):
            break
        for message in received:
            letters[message["MessageId"]] = Letter(message["MessageId"], message["Body"], message["ReceiptHandle"])
    return list(letters.values())


def of(clients: Clients, stack: Stack, request_id: str) -> Letter | None:
    """Returns the dead letter of a request, once it is there."""
    return next((letter for letter in read(clients, stack) if request_id in letter.body), None)


def delete(clients: Clients, stack: Stack, letter: Letter) -> None:
    """Deletes a letter of a run."""
    assert letter.run, "a letter of others"  # noqa: S101  # never delete these
    clients("sqs").delete_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], ReceiptHandle=letter.receipt)


def redrive(clients: Clients, stack: Stack) -> str:
    """Starts to send back all letters; returns the handle of the task. Check first that they are all of this run."""
    answer = clients("sqs").start_message_move_task(
        SourceArn=stack.outputs["DeadLetterQueueArn"], DestinationArn=stack.redrive_arn
    )
    return str(answer["TaskHandle"])


def redrive_status(clients: Clients, stack: Stack) -> str:
    """Returns the status of the newest redrive, with what went wrong, if anything did."""
    tasks = clients("sqs").list_message_move_tasks(SourceArn=stack.outputs["DeadLetterQueueArn"])["Results"]
    if not tasks:
        return "no task"
    return " ".join(filter(None, [tasks[0]["Status"], tasks[0].get("FailureReason", "")]))
