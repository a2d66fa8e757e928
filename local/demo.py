"""The main job as a stranger sees it: `python -m local.demo`."""

import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from .aws import EmbeddedAWS
from .images import push_image, push_previews, push_samples
from .poller import FakeLambdaContext, Handler, Poller, load_function
from .runtime import isolate
from .terminal import Terminal, short

type Json = dict[str, Any]
type Images = set[tuple[str, tuple[str, ...]]]

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT / "events"
LOG = ROOT / ".local" / "demo.log"
_UNTAGGED_LEFT = 3  # in team/app the two images of 1.1, and one that nothing names; in team/web three such
REPOSITORIES = ("ubuntu", "my-repository", "team/app", "team/web")
PARAMETERS = {"ProtectedTags": "release-*"}


class Demo:
    """One run of it, from the sample images to the notices. What it claims is checked at its end."""

    def __init__(self, aws: EmbeddedAWS, function: Handler, terminal: Terminal) -> None:
        self._aws = aws
        self._function = function
        self._terminal = terminal
        self._poller = Poller(aws, function)

    def run(self) -> bool:
        """Whether everything came out as it claims."""
        say = self._terminal
        push_samples(self._aws.client("ecr"))
        push_previews(self._aws)
        before = self._images()
        say.heading("The images")
        for repository in REPOSITORIES:
            say.images(repository, before[repository])
        say.heading("By hand: the function is invoked with a request")
        self._by_hand("by-hand")
        say.line()
        self._by_hand("by-hand-shorthand")
        say.line()
        self._by_hand("by-hand-index")
        say.heading("On the queue: each message is a request; one of these can never work")
        bodies = [record["body"] for record in _event("sqs-batch")["Records"]]
        self._aws.send(*bodies)
        self._poll("events/sqs-batch.json")
        say.heading("On the bus: a rule sends the event to the queue")
        self._aws.put_event(_event("eventbridge"))
        self._poll("events/eventbridge.json")
        say.heading("On a schedule: EventBridge Scheduler sends its request to the queue")
        self._aws.run_schedule()
        self._poll("events/schedule.json, as template.yaml makes it")
        say.heading("What it will never delete: the stack protects release-*")
        self._by_hand("by-hand-dry-run")
        say.line()
        self._by_hand("by-hand-protected")
        say.heading("A selection: previews of two weeks ago and more, but for the last two; tried out, then for real")
        self._select("schedule-selection", dry_run=True)
        say.line()
        self._select("schedule-selection", dry_run=False)
        say.heading("Twice: a queue may deliver a message again, after the tag was pushed again")
        newest = self._twice()
        self._show_results(before)
        return self._check(before, newest, bodies[1])

    def _by_hand(self, name: str) -> None:
        request = _event(name)
        self._terminal.line(f"  events/{name}.json", "bold")
        self._terminal.paragraph(_readable(request), label="    request  ")
        context = FakeLambdaContext(function_name=self._aws.function.name, invoked_function_arn=self._aws.function.arn)
        answer = self._function(request, context)
        for image_id in answer["imageIds"]:
            would = "dryRun" in answer
            self._show_deleted(
                request["repositoryName"], image_id["imageDigest"], image_id.get("imageTag"), would=would
            )
        for failure in answer["failures"]:
            self._terminal.line(f"    failed   {failure['imageId']}: {failure['failureCode']}", "red")

    def _select(self, name: str, *, dry_run: bool) -> None:
        """Sends a selection to the queue, as the schedule would, and shows what the report says of it."""
        request = _event(name)
        if dry_run:
            request |= {"dryRun": True, "requestId": f"{request['requestId']}, tried out"}
        self._aws.send(json.dumps(request))
        self._poll(f"events/{name}.json" + (', with "dryRun": true' if dry_run else ""))
        report = self._aws.notices()[-1].data
        kept = ", ".join(f"{count} {reason}" for reason, count in sorted(report["keptByReason"].items()))
        self._terminal.line(f"    report   {report['selected']} of the repository's images selected; kept: {kept}")

    def _poll(self, title: str) -> None:
        """Delivers what is on the queue to the function, and shows what became of it."""
        say = self._terminal
        say.line(f"  {title}", "bold")
        for body in self._aws.messages("RequestQueue"):
            say.paragraph(_readable(json.loads(body)), label="    message  ")
        before, notices = self._images(), len(self._aws.notices())
        receives = [record["body"] for poll in self._poller.drain() for record in poll.event["Records"]]
        after = self._images()
        for repository in REPOSITORIES:
            for digest, tags in sorted(before[repository] - after[repository], key=lambda image: image[1]):
                self._show_deleted(repository, digest, ", ".join(tags))
        for notice in self._aws.notices()[notices:]:
            say.line(f"    notice   {notice.subject}", "yellow")
        for body in self._aws.messages("DeadLetterQueue"):
            if times := receives.count(body):
                say.line(f"    kept     in the dead-letter queue, after {times} receives: {body[:34]}...", "yellow")

    def _twice(self) -> str:
        """Deletes latest, pushes it again, and delivers the same message a second time; returns the new digest."""
        say = self._terminal
        request = {"repositoryName": "team/app", "imageIds": ["imageTag=latest"]}
        say.paragraph(_readable(request), label="    message  ")
        self._aws.send(json.dumps(request))
        before = self._images()["team/app"]
        [poll] = self._poller.drain()
        for digest, tags in before - self._images()["team/app"]:
            self._show_deleted("team/app", digest, ", ".join(tags))
        newest = push_image(self._aws.client("ecr"), "team/app", tags=["latest"])
        say.line(f"    pushed   {short(newest)}  team/app:latest", "cyan")
        self._poller.duplicate(poll)
        say.line(f"    again    message {poll.succeeded[0]}", "cyan")
        if (newest, ("latest",)) in self._images()["team/app"]:
            say.line(f"    kept     {short(newest)}  team/app:latest", "green")
        else:
            self._show_deleted("team/app", newest, "latest")
        return newest

    def _show_deleted(self, repository: str, digest: str, tag: str | None, *, would: bool = False) -> None:
        verb = "would go" if would else "deleted "
        self._terminal.line(f"    {verb} {short(digest)}  {repository}{f':{tag}' if tag else ''}", "red")

    def _show_results(self, before: dict[str, Images]) -> None:
        after = self._images()
        self._terminal.heading("The images afterwards")
        for repository in REPOSITORIES:
            left = {digest for digest, _ in after[repository]}
            gone = {image for image in before[repository] if image[0] not in left}
            self._terminal.images(repository, gone | after[repository], {digest for digest, _ in gone})
        self._terminal.heading("The notices, as e-mail")
        for notice in self._aws.notices():
            self._terminal.mail(notice)

    def _check(self, before: dict[str, Images], newest: str, rejected: str) -> bool:
        after, notices = self._images(), self._aws.notices()
        tags = {repository: {tag for _, tags in after[repository] for tag in tags} for repository in REPOSITORIES}
        untagged = [digest for digest, tags in after["team/app"] if not tags]
        claims = {
            "precise is gone from ubuntu, and nothing else": before["ubuntu"] - after["ubuntu"]
            == {image for image in before["ubuntu"] if image[1] == ("precise",)},
            "prod and team1 are gone from my-repository, team2 is not": tags["my-repository"] == {"team2"},
            "1.0, pr-1 to pr-4 and nightly are gone from team/app": tags["team/app"]
            == {"1.1", "latest", "pr-5", "pr-6"},
            "so are the two images of 1.0, but not those of 1.1": len(untagged) == _UNTAGGED_LEFT,
            "the releases are all in team/web, for they are protected": {"release-1.0", "release-1.1"}
            <= tags["team/web"],
            "so is what was to be kept, and the other old previews are gone, each with its platform images": {
                tag for tag in tags["team/web"] if tag.startswith("pr-")
            }
            == {"pr-13", "pr-13-keep", "pr-18", "pr-19"}
            and sum(not tags for _, tags in after["team/web"]) == _UNTAGGED_LEFT,
            "latest is what was pushed between a message and its duplicate": (newest, ("latest",)) in after["team/app"],
            "reported once each: a rejection, an image not found, a protected one, a dry run, a selection": sorted(
                (notice.attributes["type"], *notice.attributes.get("failureCodes", [])) for notice in notices
            )
            == [("dryRun",), ("failure", "ImageNotFound"), ("failure", "ProtectedTag"), ("rejection",), ("report",)],
            "the rejected request is a dead letter, as it was sent": self._aws.messages("DeadLetterQueue")
            == [rejected],
            "the queue is empty": self._aws.messages("RequestQueue") == [],
        }
        self._terminal.heading("Was it so?")
        for claim, holds in claims.items():
            self._terminal.line(f"  {'yes' if holds else 'NO '}  {claim}", "green" if holds else "red")
        return all(claims.values())

    def _images(self) -> dict[str, Images]:
        return {repository: self._aws.images(repository) for repository in REPOSITORIES}


def _event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def _readable(message: Json) -> str:
    """JSON with digests cut short; of an EventBridge envelope what matters here."""
    if "detail" in message:
        message = {key: message[key] for key in ("detail-type", "source", "id", "detail")}
    return re.sub(r"sha256:\w{64}", lambda digest: short(digest[0]), json.dumps(message))


def main() -> int:
    """Runs the demo; the exit status is 0 if everything came out as it claims."""
    isolate()
    terminal = Terminal(sys.stdout)
    terminal.line("Starting an AWS in this process, with template.yaml deployed ...", "dim")
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log, redirect_stdout(log), EmbeddedAWS(PARAMETERS) as aws:
        as_claimed = Demo(aws, load_function(aws.environment), terminal).run()
    entries = len(LOG.read_text().splitlines())
    terminal.line()
    terminal.line(f"The function's {entries} log entries and metrics are in {LOG.relative_to(ROOT)}.", "dim")
    return 0 if as_claimed else 1


if __name__ == "__main__":
    sys.exit(main())
