"""Keeps the embedded AWS running, with the stack deployed, sample images and a poller: `python -m local.serve`."""

import argparse
import json
import shlex
import signal
import socket
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from .aws import ACCOUNT_ID, REGION, EmbeddedAWS
from .demo import PARAMETERS
from .gateway import Gateway, one_at_a_time
from .images import push_previews, push_samples
from .poller import Poll, Poller, load_function
from .runtime import isolate
from .scheduler import send_due
from .template import cloudformation
from .terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
LOG = STATE / "serve.log"
ENVIRONMENT = STATE / "env.json"
FUNCTION = "DeletionFunction"
"""That which is invoked by hand: the other one would do the same."""
CONTAINER_HOST = "host.docker.internal"
"""This machine, as a container calls it."""

POLL_SECONDS = 0.5
REDELIVERY_SECONDS = 5
"""How long a message that failed stays invisible: not the queue's 12 minutes, for someone is watching."""

_CREDENTIALS = f"AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_DEFAULT_REGION={REGION}"
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # asked for with --host, so that containers reach it
_PORTS_TRIED = 20


class Serve:
    """The poller beside the server, which shows a person what happens."""

    def __init__(
        self,
        aws: EmbeddedAWS,
        poller: Poller,
        terminal: Terminal,
        *,
        poll_seconds: float = POLL_SECONDS,
        redelivery_seconds: float = REDELIVERY_SECONDS,
    ) -> None:
        self._aws = aws
        self._poller = poller
        self._terminal = terminal
        self._poll_seconds = poll_seconds
        self._redelivery_seconds = redelivery_seconds
        self._notices = 0
        self._dead = 0
        self._redelivery = 0.0

    def run(self, stop: threading.Event) -> None:
        """Polls, and shows what became of it, until `stop` is set."""
        while not stop.wait(self._poll_seconds):
            if time.monotonic() >= self._redelivery:
                self._poller.redeliver()
            send_due(self._aws)
            while not stop.is_set() and (poll := self._poller.poll()):
                self._show(poll)
            self._show_notices()
            self._show_dead_letters()

    def show_invocation(self, request_id: str, error: Exception | None) -> None:
        """Shows what became of an invocation by hand."""
        now = time.strftime("%H:%M:%S")
        if error:
            self._terminal.line(f"{now}  invocation {request_id} failed: {type(error).__name__}", "red")
        else:
            self._terminal.line(f"{now}  invocation {request_id} is done", "green")

    def _show(self, poll: Poll) -> None:
        now = time.strftime("%H:%M:%S")
        for message_id in poll.succeeded:
            self._terminal.line(f"{now}  message {message_id} is done", "green")
        for record in poll.event["Records"]:
            if record["messageId"] in poll.failed:
                receives = record["attributes"]["ApproximateReceiveCount"]
                self._terminal.line(f"{now}  message {record['messageId']} failed, receive {receives}", "red")
        if poll.error:
            self._terminal.line(f"{now}  the function raised {poll.error!r}", "red")
        if poll.failed:
            self._redelivery = time.monotonic() + self._redelivery_seconds

    def _show_notices(self) -> None:
        notices = self._aws.notices()
        for notice in notices[self._notices :]:
            self._terminal.mail(notice)
        self._notices = len(notices)

    def _show_dead_letters(self) -> None:
        dead = self._aws.messages("DeadLetterQueue")
        for body in dead[self._dead :]:
            self._terminal.line(f"{time.strftime('%H:%M:%S')}  dead letter: {body[:60]}", "red")
        self._dead = len(dead)


def write_environment(aws: EmbeddedAWS, path: Path = ENVIRONMENT) -> None:
    """Writes the file for `sam local invoke --env-vars`: the stack's values, and the way from a container to here."""
    written = {}
    for name, environment in ((FUNCTION, aws.environment), ("BulkFunction", aws.bulk_environment)):
        declared = cloudformation()["Resources"][name]["Properties"]["Environment"]["Variables"]
        written[name] = {variable: environment[variable] for variable in declared} | {
            "ENDPOINT_URL": f"http://{CONTAINER_HOST}:{aws.port}",
            "FOREIGN_REGISTRY_IDS": ACCOUNT_ID,  # SAM CLI reports another account to the function
        }
    path.write_text(json.dumps(written, indent=2) + "\n")


def commands(aws: EmbeddedAWS) -> dict[str, str]:
    """Returns commands to paste into bash or zsh in the project's folder, by what they do."""
    url = aws.client("sqs").get_queue_url(QueueName=aws.outputs["RequestQueueUrl"].rpartition("/")[2])["QueueUrl"]
    event = json.loads((ROOT / "events" / "eventbridge.json").read_text())
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
    here = f"aws --endpoint-url {aws.endpoint_url}"
    sam = "sam local invoke DeletionFunction --env-vars .local/env.json --event"
    return {
        "First: credentials that open nothing": f"export {_CREDENTIALS}",
        "A request by hand, answered as on AWS":
            f"{here} lambda invoke --function-name {aws.outputs['FunctionName']} "
            "--payload fileb://events/by-hand-shorthand.json answer.json && cat answer.json",
        "The same with the built package, in Lambda's runtime emulator": "make invoke EVENT=events/by-hand.json",
        "The same in Docker, after sam build": f"{sam} events/by-hand-dry-run.json",
        "A request on the queue": f"{here} sqs send-message --queue-url {url} --message-body file://events/by-hand.json",
        "A selection on the queue, from where it moves to the bulk queue":
            f"{here} sqs send-message --queue-url {url} --message-body file://events/schedule-selection.json",
        "A request on the bus": f"{here} events put-events --entries {shlex.quote(json.dumps([entry]))}",
        "The images that are left": f"{here} ecr list-images --repository-name team/app",
        "What it is an event-driven form of":
            f"{here} ecr batch-delete-image --repository-name ubuntu --image-ids imageTag=trusty",
    }  # fmt: skip


def is_free(host: str, port: int) -> bool:
    """Returns whether a server can listen there; port 0 means any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def taken(host: str, port: int) -> str:
    """Returns what to do where another program listens."""
    free = next((n for n in range(port + 1, port + _PORTS_TRIED) if is_free(host, n)), 0)
    whose = " (on macOS, AirPlay Receiver takes 5000)" if port == 5000 else ""  # noqa: PLR2004  # the default
    return f"Port {port} is taken{whose}. Take another: make serve PORT={free}"


def main(arguments: list[str] | None = None) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help=f"{_EVERYWHERE} lets containers reach it, and others too")
    parser.add_argument("--port", type=int, default=5000, help="0 means any free one")
    options = parser.parse_args(arguments)
    if not is_free(options.host, options.port):
        print(taken(options.host, options.port), file=sys.stderr)
        return 1
    isolate()
    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    STATE.mkdir(exist_ok=True)
    terminal = Terminal(sys.stdout)
    terminal.line("Starting an AWS in this process, with template.yaml deployed ...", "dim")
    with (
        LOG.open("w", buffering=1) as log,
        redirect_stdout(log),
        EmbeddedAWS(PARAMETERS | {"ProtectInUse": ""}, host=options.host, port=options.port) as aws,
    ):
        push_samples(aws.client("ecr"))
        push_previews(aws)
        write_environment(aws)
        for purpose, command in commands(aws).items():
            terminal.line()
            terminal.line(f"{purpose}:", "dim")  # no comment: zsh would take it for a command
            terminal.line(command)
        terminal.line()
        if options.host != _EVERYWHERE:
            terminal.line("Containers reach it only if started with: make serve HOST=0.0.0.0", "yellow")
        terminal.paragraph(
            f"Serving at {aws.endpoint_url}. The queues are polled; a message that fails is received again after "
            f"{REDELIVERY_SECONDS} seconds, on AWS after the queue's visibility time-out. Notices appear here, the "
            f"function's logs in {LOG.relative_to(ROOT)}. Ctrl-C ends it.",
        )
        terminal.line()
        function = one_at_a_time(load_function(aws.environment))
        serve = Serve(aws, Poller(aws, function), terminal)
        with aws.behind(lambda services: Gateway(services, aws.lanes.values(), function, serve.show_invocation)):
            serve.run(stop)
    terminal.line("Ended.", "dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
