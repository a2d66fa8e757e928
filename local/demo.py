"""The whole job on the embedded AWS: `python -m local.demo`."""

import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from .aws import EmbeddedAWS
from .images import push_image, push_previews, push_running, push_samples
from .poller import FakeLambdaContext, Handler, Poller, load_function
from .runtime import isolate
from .terminal import Terminal, short

type Json = dict[str, Any]
type Images = set[tuple[str, tuple[str, ...]]]

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT / "events"
LOG = ROOT / ".local" / "demo.log"
_UNTAGGED_LEFT = 3  # in team/app the two images of 1.1, and one that nothing names; in team/web three such
REPOSITORIES = ("ubuntu", "my-repository", "team/app", "team/web", "team/api")
PARAMETERS = {
    "ProtectedTags": "release-*",
    "ProtectInUse": "ecs",
    "AllowArchive": "true",
    "ResultEvents": "all",
    "ChatNotices": "true",
}
_WHOLE = 3  # 1.1 and its two platform images


class Demo:
    """One run of it, from the sample images to the notices. What it claims is checked at its end."""

    def __init__(self, aws: EmbeddedAWS, function: Handler, terminal: Terminal) -> None:
        self._aws = aws
        self._function = function
        self._terminal = terminal
        self._poller = Poller(aws, function)
        self._archives = aws.parameters.get("AllowArchive") == "true"
        self._archived = self._restored = 0
        self._sends_results = aws.parameters.get("ResultEvents") == "all"
        self._protects = "ecs" in aws.parameters.get("ProtectInUse", "").split(",")

    def run(self) -> bool:
        """Runs it; returns whether everything came out as it claims."""
        say = self._terminal
        push_samples(self._aws.client("ecr"))
        push_previews(self._aws)
        running = push_running(self._aws)
        before = self._images()
        self._aws.listen()
        say.heading("The images")
        for repository in REPOSITORIES:
            say.images(repository, before[repository])
        say.heading("In use: ECS runs what v1 was when it was deployed, and is read on a schedule")
        say.line(f"  ECS service api in cluster prod runs {short(running)}, untagged by now")
        if self._aws.usage_environment:
            load_function(self._aws.usage_environment, "usage_app")({}, FakeLambdaContext(timeout=900))
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
        say.heading("On a schedule: EventBridge Scheduler sends its request to the bulk queue")
        self._aws.run_schedule()
        self._poll("events/schedule.json, as template.yaml makes it")
        say.heading("Guards: nothing that runs is deleted")
        self._select("schedule-untagged", dry_run=False)
        say.line()
        self._by_hand("by-hand-in-use")
        say.heading("Guards: the stack protects release-*")
        self._by_hand("by-hand-dry-run")
        say.line()
        self._by_hand("by-hand-protected")
        say.heading("A selection: previews older than two weeks, except the last two")
        self._select("schedule-selection", dry_run=True)
        say.line()
        self._select("schedule-selection", dry_run=False)
        if self._archives:
            say.heading("Undo: to the archive with all that belongs to it, and back")
            self._undo()
        say.heading("Delivered twice: after the tag was pushed again")
        newest = self._twice()
        self._show_results(before)
        return self._check(before, running, newest, bodies[1])

    def _by_hand(self, name: str) -> None:
        request = _event(name)
        self._terminal.line(f"  events/{name}.json", "bold")
        self._terminal.paragraph(_readable(request), label="    request  ")
        context = FakeLambdaContext(function_name=self._aws.function.name, invoked_function_arn=self._aws.function.arn)
        answer = self._function(request, context)
        for image_id in answer.get("imageIds", []):
            would = "dryRun" in answer
            self._show_deleted(
                request["repositoryName"], image_id["imageDigest"], image_id.get("imageTag"), would=would
            )
        for failure in answer["failures"]:
            name = ",".join(f"{key}={value}" for key, value in failure["imageId"].items())
            name = re.sub(r"sha256:\w{64}", lambda digest: short(digest[0]), name)
            self._terminal.line(f"    failed   {name}: {failure['failureCode']}", "red")

    def _undo(self) -> None:
        """Archives an image for two platforms, and sends the request that brings it back."""
        request = _event("by-hand-archive")
        self._terminal.line("  events/by-hand-archive.json", "bold")
        for key in ("archived", "restored"):
            self._terminal.paragraph(_readable(request), label="    request  ")
            answer = self._function(request, FakeLambdaContext(invoked_function_arn=self._aws.function.arn))
            for image_id in answer[key]:
                tag = f":{image_id['imageTag']}" if "imageTag" in image_id else ""
                self._terminal.line(f"    {key} {short(image_id['imageDigest'])}  team/app{tag}", "cyan")
            self._archived, self._restored = self._restored, len(answer[key])
            request = answer.get("restoreRequest", request)

    def _select(self, name: str, *, dry_run: bool) -> None:
        """Sends a selection to the request queue, and shows what the report says of it."""
        request = _event(name)
        if dry_run:
            request |= {"dryRun": True, "requestId": f"{request['requestId']}, tried out"}
        self._aws.send(json.dumps(request))
        self._poll(f"events/{name}.json" + (', with "dryRun": true' if dry_run else ""))
        report = self._aws.notices()[-1].data
        kept = ", ".join(f"{count} {reason}" for reason, count in sorted(report["keptByReason"].items()))
        self._terminal.paragraph(f"{report['selected']} images selected; kept: {kept}", label="    report   ")
        for spared in report.get("kept", []):
            text = f"{short(spared['imageId']['imageDigest'])}: {spared['reason']}"
            self._terminal.paragraph(text, label="    kept     ", style="green")

    def _poll(self, title: str) -> None:
        """Delivers what is on the queues to the function, and shows what became of it."""
        say = self._terminal
        say.line(f"  {title}", "bold")
        for body in (*self._aws.messages("RequestQueue"), *self._aws.messages("BulkQueue")):
            say.paragraph(_readable(json.loads(body)), label="    message  ")
        before, notices = self._images(), len(self._aws.notices())
        receives = [record["body"] for poll in self._poller.drain() for record in poll.event["Records"]]
        after = self._images()
        if any('"followUp":' in body for body in receives):
            text = "a selection goes on to the bulk queue: nobody waits behind it"
            say.paragraph(text, label="    moved    ", style="cyan")
        for repository in REPOSITORIES:
            for digest, tags in sorted(before[repository] - after[repository], key=lambda image: (image[1], image[0])):
                self._show_deleted(repository, digest, ", ".join(tags))
        for notice in self._aws.notices()[notices:]:
            say.paragraph(notice.subject, label="    notice   ", style="yellow")
        for body in self._aws.messages("DeadLetterQueue"):
            if times := receives.count(body):
                text = f"after {times} receives, in the dead-letter queue: {body[:44]}..."
                say.paragraph(text, label="    kept     ", style="yellow")

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
        newest = push_image(self._aws.client("ecr"), "team/app", tags=["latest"], content="team/app latest, again")
        say.line(f"    pushed   {short(newest)}  team/app:latest", "cyan")
        self._poller.duplicate(poll)
        say.line(f"    again    message {poll.succeeded[0]}", "cyan")
        if (newest, ("latest",)) in self._images()["team/app"]:
            say.line(f"    kept     {short(newest)}  team/app:latest", "green")
        else:
            self._show_deleted("team/app", newest, "latest")
        return newest

    def _show_deleted(self, repository: str, digest: str, tag: str | None, *, would: bool = False) -> None:
        verb = "dry run" if would else "deleted"
        self._terminal.line(f"    {verb}  {short(digest)}  {repository}{f':{tag}' if tag else ''}", "red")

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
        if self._sends_results:
            self._show_readers()

    def _show_readers(self) -> None:
        """Shows the last failure as a system and as a chat channel have it."""
        say = self._terminal
        event = [event for event in self._aws.results() if event["detail"]["data"]["type"] == "failure"][-1]
        del event["detail"]["metadata"]["idempotencyKey"]  # as long as a line, and for machines
        say.heading("A result, as a rule on the bus receives it")
        for key in ("source", "detail-type", "resources", "detail"):
            say.paragraph(_shortened(json.dumps(event[key])), label=f"    {key:<13}")
        notice = [notice for notice in self._aws.notices() if notice.attributes["type"] == "failure"][-1]
        content = notice.chat["content"]
        say.heading("The same in a chat channel")
        say.paragraph(content["title"], label="    ", style="bold")
        for line in content["description"].splitlines():
            say.paragraph(line, label="    ")
        for step in content["nextSteps"]:
            say.paragraph(step, label="    next     ", style="yellow")

    def _check(self, before: dict[str, Images], running: str, newest: str, rejected: str) -> bool:
        after, notices = self._images(), self._aws.notices()
        tags = {repository: {tag for _, tags in after[repository] for tag in tags} for repository in REPOSITORIES}
        untagged = [digest for digest, tags in after["team/app"] if not tags]
        claims = {
            "precise is deleted from ubuntu, and nothing else": before["ubuntu"] - after["ubuntu"]
            == {image for image in before["ubuntu"] if image[1] == ("precise",)},
            "prod and team1 are deleted from my-repository, team2 is not": tags["my-repository"] == {"team2"},
            "1.0, pr-1 to pr-4 and nightly are deleted from team/app": tags["team/app"]
            == {"1.1", "latest", "pr-5", "pr-6"},
            "so are the two platform images of 1.0, but not those of 1.1": len(untagged) == _UNTAGGED_LEFT,
            "the releases are all still in team/web: they are protected": {"release-1.0", "release-1.1"}
            <= tags["team/web"],
            "so are the previews to be kept; the other old ones are deleted, with their platform images": {
                tag for tag in tags["team/web"] if tag.startswith("pr-")
            }
            == {"pr-13", "pr-13-keep", "pr-18", "pr-19"}
            and sum(not tags for _, tags in after["team/web"]) == _UNTAGGED_LEFT,
            "the untagged image that runs is still in team/api; the one that never ran is not": {
                digest for digest, tags in after["team/api"] if not tags
            }
            == ({running} if self._protects else set()),
            "1.1 was in the archive with its platform images, and all of it is back": self._archived
            == self._restored
            == (_WHOLE if self._archives else 0),
            "latest is the image that was pushed between a message and its duplicate": (newest, ("latest",))
            in after["team/app"],
            "a notice each: a rejection, an image not found, in use, protected; a dry run, two selections": sorted(
                (notice.attributes["type"], *notice.attributes.get("failureCodes", [])) for notice in notices
            )
            == [
                ("dryRun",),
                *(("failure", code) for code in ("ImageInUse" if self._protects else "ImageNotFound", "ImageNotFound")),
                ("failure", "ProtectedTag"),
                ("rejection",),
                ("report",),
                ("report",),
            ],
            "each notice is an event on the bus as well, in the same words": not self._sends_results
            or all(
                any(notice.data.items() <= event["detail"]["data"].items() for event in self._aws.results())
                for notice in notices
            ),
            "the rejected request is a dead letter, as it was sent": self._aws.messages("DeadLetterQueue")
            == [rejected],
            "the queues are empty": self._aws.messages("RequestQueue") == self._aws.messages("BulkQueue") == [],
        }
        self._terminal.heading("Checked")
        for claim, holds in claims.items():
            style = "green" if holds else "red"
            self._terminal.paragraph(claim, label="  yes  " if holds else "  NO   ", style=style)
        return all(claims.values())

    def _images(self) -> dict[str, Images]:
        return {repository: self._aws.images(repository) for repository in REPOSITORIES}


def _event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def _readable(message: Json) -> str:
    """JSON with digests and the names of schedules cut short; of an EventBridge envelope what matters here."""
    if "detail" in message:
        message = {key: message[key] for key in ("detail-type", "source", "id", "detail")}
    return _shortened(re.sub(r'(arn:aws:scheduler:)[^"]*(/\d{4}-)', r"\1...\2", json.dumps(message)))


def _shortened(text: str) -> str:
    return re.sub(r"sha256:\w{64}", lambda digest: short(digest[0]), text)


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
