"""Keeps the embedded AWS running, with the stack deployed, sample images and a poller: `python -m local.serve`."""

import argparse
import json
import shlex
import signal
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from .aws import ACCOUNT_ID, REGION, EmbeddedAWS
from .demo import PARAMETERS
from .images import push_previews, push_samples
from .poller import Poll, Poller, load_function
from .runtime import isolate
from .template import cloudformation
from .terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
LOG = STATE / "serve.log"
ENVIRONMENT = STATE / "env.json"

POLL_SECONDS = 0.5
REDELIVERY_SECONDS = 5
"""How long a message that failed stays invisible: not the queue's 12 minutes, for someone is watching."""

_CREDENTIALS = f"AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_DEFAULT_REGION={REGION}"
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # asked for with --host, so that containers reach it


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
            while not stop.is_set() and (poll := self._poller.poll()):
                self._show(poll)
            self._show_notices()
            self._show_dead_letters()

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
    resources = cloudformation()["Resources"]
    [(logical_id, function)] = ((k, r) for k, r in resources.items() if r["Type"] == "AWS::Lambda::Function")
    variables = {name: aws.environment[name] for name in function["Properties"]["Environment"]["Variables"]}
    variables["ENDPOINT_URL"] = f"http://host.docker.internal:{aws.port}"
    variables["FOREIGN_REGISTRY_IDS"] = ACCOUNT_ID  # SAM's function believes to live in another account
    path.write_text(json.dumps({logical_id: variables}, indent=2) + "\n")


def commands(aws: EmbeddedAWS) -> dict[str, str]:
    """Returns commands to paste into a terminal in the project's folder, by what they do."""
    url = aws.client("sqs").get_queue_url(QueueName=aws.outputs["RequestQueueUrl"].rpartition("/")[2])["QueueUrl"]
    event = json.loads((ROOT / "events" / "eventbridge.json").read_text())
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
    here = f"aws --endpoint-url {aws.endpoint_url}"
    return {
        "First, in the terminal you paste these into: credentials that open nothing": f"export {_CREDENTIALS}",
        "A request on the queue": f"{here} sqs send-message --queue-url {url} --message-body file://events/by-hand.json",
        "A selection on the queue, as a schedule sends it":
            f"{here} sqs send-message --queue-url {url} --message-body file://events/schedule-selection.json",
        "A request on the bus": f"{here} events put-events --entries {shlex.quote(json.dumps([entry]))}",
        "A request by hand, in Lambda's own runtime (Docker, and `sam build` before)":
            "sam local invoke -e events/by-hand-shorthand.json --env-vars .local/env.json",
        "A dry run by hand, in the same way":
            "sam local invoke -e events/by-hand-dry-run.json --env-vars .local/env.json",
        "The images that are left": f"{here} ecr list-images --repository-name team/app",
        "The command this grew out of":
            f"{here} ecr batch-delete-image --repository-name ubuntu --image-ids imageTag=trusty",
    }  # fmt: skip


def main() -> int:
    """Serves until Ctrl-C or SIGTERM."""
    arguments = argparse.ArgumentParser(prog="python -m local.serve", description=__doc__)
    arguments.add_argument(
        "--host", default="127.0.0.1", help=f"{_EVERYWHERE} lets containers reach it, and others too"
    )
    arguments.add_argument("--port", type=int, default=5000, help="0 means any free one")
    options = arguments.parse_args()
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
        EmbeddedAWS(PARAMETERS, host=options.host, port=options.port) as aws,
    ):
        push_samples(aws.client("ecr"))
        push_previews(aws)
        write_environment(aws)
        for purpose, command in commands(aws).items():
            terminal.line()
            terminal.line(f"# {purpose}", "dim")
            terminal.line(command)
        terminal.line()
        if options.host != _EVERYWHERE:
            terminal.line("Containers reach this only if it was started with: make serve HOST=0.0.0.0", "yellow")
        terminal.paragraph(
            f"Serving at {aws.endpoint_url}. The queue is polled; a message that fails is received again after "
            f"{REDELIVERY_SECONDS} seconds, on AWS after the queue's visibility time-out. Notices appear here, the "
            f"function's logs in {LOG.relative_to(ROOT)}. Ctrl-C ends it.",
        )
        terminal.line()
        poller = Poller(aws, load_function(aws.environment))
        Serve(aws, poller, terminal).run(stop)
    terminal.line("Ended.", "dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
