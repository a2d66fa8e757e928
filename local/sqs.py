"""moto's SQS, which here also sends dead letters back: StartMessageMoveTask and ListMessageMoveTasks."""

import time
from typing import Any
from uuid import uuid4

from moto.core.responses import ActionResult
from moto.sqs.responses import SQSResponse

type Json = dict[str, Any]

_tasks: list[Json] = []
"""The redrives so far, the newest first."""


def install() -> None:
    """From now on moto answers these calls too; what was sent back before is forgotten."""
    _tasks.clear()
    SQSResponse.start_message_move_task = _start
    SQSResponse.list_message_move_tasks = _list


def _start(response: SQSResponse) -> ActionResult:
    """Moves all messages at once. As on AWS, each gets a new messageId."""
    source, destination = (response._get_param(name) for name in ("SourceArn", "DestinationArn"))  # noqa: SLF001
    backend = response.sqs_backend
    queue = backend.get_queue(source.rpartition(":")[2])
    moved = list(queue._messages)  # noqa: SLF001  # those too that somebody has read and left there
    queue._messages.clear()  # noqa: SLF001
    for message in moved:
        backend.send_message(destination.rpartition(":")[2], message.body, message.message_attributes)
    handle = str(uuid4())
    _tasks.insert(0, {
        "TaskHandle": handle,
        "Status": "COMPLETED",
        "SourceArn": source,
        "DestinationArn": destination,
        "ApproximateNumberOfMessagesMoved": len(moved),
        "StartedTimestamp": int(time.time() * 1000),
    })  # fmt: skip
    return ActionResult({"TaskHandle": handle})


def _list(response: SQSResponse) -> ActionResult:
    source = response._get_param("SourceArn")  # noqa: SLF001  # how every response of moto's reads
    return ActionResult({"Results": [task for task in _tasks if task["SourceArn"] == source]})
