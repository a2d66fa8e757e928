"""The proof of a deployed stack: `make acceptance`, which is `python -m acceptance`."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from . import announcement, facts, options, questions_asked, repositories, safety
from .aws import Clients
from .cleanup import clean
from .names import TAG, Run
from .plugin import Plugin
from .stack import Stack
from .world import World

HERE = Path(__file__).resolve().parent
REFUSED = 2
"""The exit code where nothing was made."""


def main(arguments: Sequence[str] | None = None, output: TextIO | None = None) -> int:
    """Runs the checks, or cleans up; returns the exit code: 0 when everything is as it should be."""
    chosen, out = options.read(arguments), output or sys.stdout

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    try:
        safety.check_prefix(chosen.prefix)
        clients = Clients(chosen.region, long_poll=min(1, int(chosen.patience)))
        stack = Stack.read(clients, chosen.stack)
        if chosen.clean:
            say(f"Removing what runs on {stack.name} in {stack.region} have left under {chosen.prefix}")
            return 1 if clean(clients, stack, chosen.prefix, chosen.run, say) else 0
        run = Run(stack.name, chosen.prefix)
        check_safety(clients, stack, run)
    except (safety.UnsafeError, BotoCoreError, ClientError) as error:
        print(f"Nothing was made: {error}", file=sys.stderr)
        return REFUSED
    say(announcement.text(chosen, stack, run, os.environ.get("AWS_ENDPOINT_URL", "")))
    world = World(chosen, clients, stack, run)
    plugin = Plugin(world, out)
    os.environ.pop("PYTEST_ADDOPTS", None)  # a person's own, for other tests
    with interruptible():
        try:
            code = pytest.main(pytest_arguments(chosen), plugins=[plugin])
        finally:
            with uninterrupted(say):
                say("Removing what this run has made")
                left = clean(clients, stack, chosen.prefix, run.id, lambda line: say(line) if "not " in line else None)
    write_facts(world, plugin.outcomes, say)
    for failure in plugin.failures:
        say(f"\n{failure}")
    if code == pytest.ExitCode.INTERRUPTED:
        say("\nInterrupted")
    say(announcement.summary(plugin.outcomes, left, chosen, run))
    return int(code) or int(left > 0)


def check_safety(clients: Clients, stack: Stack, run: Run) -> None:
    """Raises UnsafeError where a run would touch what is not its own, or could not do its work."""
    safety.check_stack(run, stack.parameters)
    ecr = clients("ecr")
    tagged = {name: TAG in repositories.tags_of(ecr, arn) for name, arn in repositories.under(ecr, run.prefix)}
    safety.check_repositories(run.prefix, tagged)
    try:
        scanning = ecr.get_registry_scanning_configuration()["scanningConfiguration"]
    except ClientError:  # an imitation that has none, or no right to know: the guide says what it may cost
        return
    filters = [one["filter"] for rule in scanning.get("rules", []) for one in rule.get("repositoryFilters", [])]
    safety.check_scanning(run.prefix, scanning.get("scanType", ""), filters)


def pytest_arguments(chosen: options.Options) -> list[str]:
    """Returns pytest's arguments: its own output is replaced by the plugin's, and no other plugin takes part."""
    return [
        "--disable-plugin-autoload", "-p", "no:terminal", "-p", "no:cacheprovider", "--capture=no", "-c", os.devnull,
        "--rootdir", str(HERE), "--import-mode", "importlib", "--strict-markers",
        *(["-k", chosen.only] if chosen.only else []),
        str(HERE / "checks"), str(HERE / "questions"),
    ]  # fmt: skip


def write_facts(world: World, outcomes: dict[str, str], say: Any) -> None:
    """Writes the answers of this run into FACTS.md; of an imitation, into a file that git ignores."""
    real = not os.environ.get("AWS_ENDPOINT_URL")
    path = world.options.facts or (HERE / "FACTS.md" if real else HERE.parent / ".local" / "acceptance" / "FACTS.md")
    if world.clients.durations and world.answers:
        world.answers[questions_asked.DURATIONS] = facts.durations(world.clients.durations)
    when = time.strftime("%Y-%m-%d", time.gmtime())
    where = world.stack.region if real else f"an imitation, {world.options.imitation or 'unnamed'}"
    answers = {
        question: facts.anonymous(fact.rendered(when, where), world.stack.account)
        for question, fact in world.answers.items()
    }
    before = (path if path.exists() else HERE / "FACTS.md").read_text()
    last = f"{when} in {where}: {announcement.counts(outcomes)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(facts.merge(before, questions_asked.QUESTIONS, last, answers))
    say(f"Answers of AWS: {path}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Has SIGTERM end the run as Ctrl-C does, while it lasts."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted(say: Any) -> Iterator[None]:
    """Lets a second Ctrl-C wait: what is left behind would have to be removed by hand."""

    def explain(*_: object) -> None:
        say("Still removing; `make acceptance-clean` removes what is left if this is killed")

    before = {number: signal.signal(number, explain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
