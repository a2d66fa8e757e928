"""The audit: holds a history to the oracle, from outside: images, notices, answers, and both queues.

A job is a request for one repository under its key, with all messages that may have brought it. It is quiet if, from
its first try until it was done, nobody else touched its repository and no setting changed: then its outcome is known
beforehand. Otherwise, what is said of it must be true of some moment in between.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from tests.harness.history import FORGETS, Deletion, History, Try
from tests.harness.oracle import (
    DELETED,
    Id,
    Images,
    Named,
    Request,
    Selected,
    Stack,
    name_images,
    parse,
    select_images,
)

type Json = dict[str, Any]

NEVER_DELETED = {"InvalidImageDigest", "InvalidImageTag", "MissingDigestAndTag", "TagRequired"}
"""Failures of ids that no try can have deleted."""
ON_PURPOSE = {"ImageTagDoesNotMatchDigest", "ImageTagPushedAgain", "LastTag", "ProtectedRepository", "ProtectedTag"}
HOPELESS = NEVER_DELETED | ON_PURPOSE | {"ImageNotFound"}
"""Failures that the same request would meet again."""
HELPED = {"Unanswered", "StoppedByDryRun"}
"""Failures that the same request may get over."""
JUST_NOW = 10 / 86_400
"""Days. What was pushed up to two seconds before a try may be taken for pushed since, and a plan takes its time."""
CUT = {"imageIds", "kept", "failuresOmitted", "imageIdsOmitted", "keptOmitted"}
"""Members that may be shorter in a notice than in an answer, with the count of what it lacks."""


@dataclass(eq=False)
class Job:
    """A request for one repository, under its key."""

    key: str
    request: Request
    repository: str
    messages: list[str] = field(default_factory=list)
    """Those that were sent with it, or with the request for several repositories that it is a part of."""
    sent: list[str] = field(default_factory=list)
    """Those of the function's own that may carry it on, or may be it."""
    child: bool = False
    """It is a part of a request for several repositories."""

    @property
    def carriers(self) -> set[str]:
        """The messages whose delivery may carry it out."""
        return set(self.sent) if self.child else {*self.messages, *self.sent}

    @property
    def names(self) -> set[Id]:
        """The ids as ECR is asked for them."""
        return {(None, tag) if self.request.untag else (digest, tag) for digest, tag in self.request.ids}


class Audit:
    """Looks for what must not be in a history: among deletions, messages, rejections, and the outcome of each job."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.aws = history.aws
        self.tries = history.aws.tries
        self.parsed = {m: parse(body, m) for m, body in history.bodies.items() if m not in history.sent_by}
        self.done: dict[str, int] = {}
        """When each message was first reported as done."""
        for one in self.tries:
            for message in one.done:
                self.done.setdefault(message, one.end)
        self.rejections = Counter(_origin(n) for n in self.aws.notices if n["type"] == "rejection")
        self.lost = [notice for number, notice in enumerate(self.aws.notices) if number in self.aws.unacknowledged]
        self.refused = {
            m
            for m in history.bodies
            if m not in self.done and any(self.rejections[origin] for origin in self.origins(m))
        }
        self._choices: dict[tuple[int, int, Stack], list[Selected]] = {}
        self.jobs = list(self._jobs())

    def complaints(self) -> Iterator[str]:
        """Yields what is not as it must be."""
        yield from self.wrong_deletions()
        yield from self.wrong_endings()
        yield from self.wrong_rejections()
        yield from self.wrong_notices()
        for job in self.jobs:
            yield from (f"{job.key}: {complaint}" for complaint in Outcome(self, job).complaints())

    # Who is who

    def origins(self, message: str) -> set[str]:
        """Returns what a notice may call the origin of a message."""
        if message in self.history.sent_by:
            batch = self.tries[self.history.sent_by[message]].messages
            return set(chain.from_iterable(map(self.origins, batch)))
        try:
            body = json.loads(self.history.bodies[message])
        except ValueError:
            return {message}
        return {body["id"]} if isinstance(body, dict) and "detail-type" in body else {message}

    def _jobs(self) -> Iterator[Job]:
        jobs: dict[tuple[str, str, str], Job] = {}
        repositories = self.history.plan.repositories
        for message, (key, request) in self.parsed.items():
            content = json.dumps(request and request.payload, sort_keys=True)
            if request and request.repository:
                job = jobs.setdefault((key, "", content), Job(key, request, request.repository))
                job.messages.append(message)
            elif request:
                stacks = [one.stack for one in self.tries_with(message)]
                for name, part in chain.from_iterable(request.of_each(repositories, s).items() for s in stacks):
                    job = jobs.setdefault((key, name, content), Job(f"{key}/{name}", part, name, child=True))
                    if message not in job.messages:
                        job.messages.append(message)
        for message, number in self.history.sent_by.items():
            batch = set(self.tries[number].messages)
            for job in jobs.values():
                if (job.child or job.request.selection) and batch.intersection({*job.messages, *job.sent}):
                    job.sent.append(message)
        return iter(jobs.values())

    def tries_with(self, message: str) -> list[Try]:
        """Returns the tries of the batches that a message was in."""
        return [one for one in self.tries if message in one.messages]

    def tries_of(self, job: Job) -> list[int]:
        """Returns the numbers of the tries that may have carried out a job."""
        return [number for number, one in enumerate(self.tries) if job.carriers.intersection(one.messages)]

    def finish(self, job: Job) -> int | None:
        """Returns when a job was done, with all that it led to; None if it never was."""
        first = [self.done[m] for m in job.messages if m in self.done]
        later = [self.done.get(m, self.aws.clock) for m in job.sent if m not in self.refused]
        if not first or (job.child and not later):
            return None
        return max(min(first), *later) if later else min(first)

    def working(self, job: Job) -> list[Try]:
        """Returns the tries of a job until it was done."""
        end = self.finish(job)
        return [self.tries[n] for n in self.tries_of(job) if end is None or self.tries[n].start < end]

    def rivals(self, job: Job) -> list[Job]:
        """Returns the jobs with other content under the same key."""
        return [other for other in self.jobs if other is not job and self._root(other) == self._root(job)]

    def _root(self, job: Job) -> tuple[str, str]:
        return (job.key.removesuffix(f"/{job.repository}"), job.repository) if job.child else (job.key, "")

    def quiet(self, job: Job) -> bool:
        """Whether nobody else touched the repository, and no setting changed, from the first try to the last."""
        working, end = self.working(job), self.finish(job)
        if not working or end is None or self.rivals(job):
            return False
        start = working[0].start
        for other in self.jobs:
            if other is job or other.repository != job.repository or other.request.dry_run:
                continue
            theirs = self.working(other)
            if theirs and theirs[0].start <= end and start <= theirs[-1].end:
                return False
        outside = [at for at, where in self.aws.outside if start <= at <= end and where in ("", job.repository)]
        return not outside and len({one.stack for one in working}) == 1

    def dry(self, job: Job) -> bool | None:
        """Whether a job is a dry run; None where it may be one of the stack's."""
        if job.request.dry_run:
            return True
        found = {one.stack.dry_run for one in self.tries if {*job.messages, *job.sent}.intersection(one.messages)}
        working = {one.stack.dry_run for one in self.working(job)}
        return working.pop() if len(working) == 1 and (found == working or not job.child) else None

    # What must never happen

    def wrong_deletions(self) -> Iterator[str]:
        """Yields deletions that nobody asked for, or that something forbids."""
        for deletion in self.aws.deletions:
            one = self.tries[deletion.by]
            acting = [job for job in self.jobs if job.carriers.intersection(one.messages)]
            for image_id in deletion.ids:
                reasons = [[*self._forbidden(job, deletion, image_id)] for job in acting]
                if [] not in reasons:
                    yield f"{image_id} of {deletion.repository} is deleted by try {deletion.by}, although {reasons}"
            if deletion.by >= self.history.idle:
                yield f"try {deletion.by} deletes {deletion.ids}, although all was done before"

    def _forbidden(self, job: Job, deletion: Deletion, image_id: Id) -> Iterator[str]:
        """Yields why a deletion is not right for this job."""
        one, request = self.tries[deletion.by], job.request
        end = self.finish(job)
        if not job.carriers.intersection(one.messages) - self.refused:
            yield f"{job.key} is rejected"
        if one.stack.dry_run or request.dry_run or self._admitted_dry(job, deletion.at):
            yield f"{job.key} is a dry run"
        if end is not None and end < deletion.at:
            yield f"{job.key} is done"
        if deletion.repository != job.repository or one.stack.protects_repository(deletion.repository):
            yield f"{job.key} is not for this repository, or it is protected"
        elif request.selection:
            yield from self._not_selected(job, deletion, image_id)
        elif image_id in job.names:
            yield from self._not_to_go(job, deletion, image_id)
        elif request.cascade and image_id[1] is None:
            yield from self._no_relative(job, deletion, str(image_id[0]))
        else:
            yield f"{job.key} does not ask for it"

    def _admitted_dry(self, job: Job, until: int) -> bool:
        """Whether a job was done by then, or sent to its repository, as a dry run of the stack."""
        end = min((self.done[m] for m in job.messages if m in self.done), default=until)
        tries = [one for one in self.tries if one.start < end and set(job.messages).intersection(one.messages)]
        return end < until and all(one.stack.dry_run for one in tries)

    def _not_to_go(self, job: Job, deletion: Deletion, image_id: Id) -> Iterator[str]:
        """Yields why an image must not go that a job has named."""
        if not deletion.removed(image_id):
            return
        stack, before = self.tries[deletion.by].stack, deletion.before
        digest, tag = image_id
        target = str(before.target(image_id))
        if tag is not None and stack.protects([tag]):
            yield f"the tag is protected from {job.key}"
        if digest is not None and stack.protects(before[target].tags):
            yield f"the image is protected from {job.key}"
        if job.request.untag and target not in deletion.after:
            yield f"{job.key} says untag"
        if job.request.cascade is not None and any(not before[d].readable for d in before.family([target])):
            yield f"{job.key} cannot know what belongs to it"
        if digest is None and self._pushed_since(job, deletion, image_id, target):
            yield f"{job.key} has deleted that tag before, and it was pushed again"

    def _pushed_since(self, job: Job, deletion: Deletion, image_id: Id, target: str) -> bool:
        """Whether this is an image that was pushed after a try of the job had deleted the tag."""
        return any(
            earlier.at < deletion.at
            and earlier.by != deletion.by
            and target not in earlier.before
            and earlier.removed(image_id)
            and self.whose(earlier, image_id) == [job]
            for earlier in self.aws.deletions
            if earlier.repository == deletion.repository
        )

    def whose(self, deletion: Deletion, image_id: Id) -> list[Job]:
        """Returns the jobs that may have asked ECR for an id, by name or otherwise."""
        messages = self.tries[deletion.by].messages
        return [
            job
            for job in self.jobs
            if job.repository == deletion.repository
            and image_id in deletion.ids
            and job.carriers.intersection(messages)
            and (image_id in job.names or job.request.selection or (job.request.cascade and image_id[1] is None))
            and job.carriers.intersection(messages) - self.refused
        ]

    def _no_relative(self, job: Job, deletion: Deletion, digest: str) -> Iterator[str]:
        """Yields why an image is no relative that goes along."""
        start = self.tries[self.tries_of(job)[0]].start
        seen = [images for images in self.aws.between(deletion.repository, start, deletion.at) if images is not None]
        if not any(digest in images.family(job.request.targets(images).values()) for images in seen):
            yield f"it belongs to nothing that {job.key} names"
        if not deletion.removed((digest, None)):
            return
        # The tag of a signature becomes one of its own only when its subject has gone first.
        signature = any(digest in images and images.signed(digest) for images in seen)
        if deletion.before.own_tags(digest) and not (signature and len(deletion.before[digest].tags) == 1):
            yield f"it has a tag of its own, for {job.key}"
        if deletion.before.owners[digest] & deletion.after.keys():
            yield f"what it belongs to stays, for {job.key}"

    def _not_selected(self, job: Job, deletion: Deletion, image_id: Id) -> Iterator[str]:
        """Yields why an image is not what a job selects."""
        digest, tag = image_id
        if digest is None or tag is not None:
            yield f"{job.key} must name digests"
            return
        if deletion.removed(image_id) and self.tries[deletion.by].stack.protects(deletion.before[digest].tags):
            yield f"it is protected from {job.key}"
        # What belongs to images that an earlier try has deleted is remembered from then.
        tries = [self.tries[number] for number in self.tries_of(job)]
        tags = deletion.before[digest].tags if digest in deletion.before else frozenset[str]()
        if not any(
            digest in choice.planned
            for images in self.aws.between(deletion.repository, tries[0].start, deletion.at - 1)
            if images is not None and digest in images and tags <= images[digest].tags
            for stack in {each.stack for each in tries}
            for choice in self.choices(job.request, images, stack)
        ):
            yield f"{job.key} does not select it"

    def choices(self, request: Request, images: Images, stack: Stack) -> list[Selected]:
        """Returns what may come of a selection, worked out once."""
        key = id(request.payload), id(images), stack
        if key not in self._choices:
            self._choices[key] = list(select_images(request, images, stack))
        return self._choices[key]

    # How messages end

    def wrong_endings(self) -> Iterator[str]:
        """Yields messages that are neither done nor dead, or dead without need, or not as they were sent."""
        queue = self.history.queue
        yield from (f"{message} is still on the queue" for message in queue.bodies)
        yield from (f"{m} is done, although it means no repository" for m in self.done if self._empty(m))
        for message, body in self.history.dead.items():
            if body != self.history.bodies[message]:
                yield f"{message} is not as it was sent"
        for message in queue.dead.keys() - self.refused:
            if self._empty(message) and self._doubtful(message):
                continue
            late = [one for one in self.tries[self.history.healed :] if message in one.messages]
            if len(late) > 1:  # the first one may find what a dead instance still holds
                yield f"{message} is dead, although nothing failed any more"
        for one in self.tries[self.history.idle :]:
            if left := set(one.messages) - one.done:
                yield f"duplicates of what is done are refused: {left}"
        if any(number >= self.history.idle for number in self.aws.published):
            yield "duplicates of what is done are reported on"

    def _empty(self, message: str) -> bool:
        """Whether a message keeps to the contract, and means no repository."""
        request = self.parsed[message][1] if message in self.parsed else None
        return request is not None and not any(message in job.messages for job in self.jobs)

    def _doubtful(self, message: str) -> bool:
        """Whether a try under the key of a message was interrupted, so that nobody knows what it has sent."""
        same = {m for m, (key, _) in self.parsed.items() if key == self.parsed[message][0]}
        return any(one.troubled and same.intersection(one.messages) for one in self.tries)

    def wrong_rejections(self) -> Iterator[str]:
        """Yields rejections that are not due, are missing, or come again."""
        arrivals = Counter(chain.from_iterable(map(self.origins, self.history.bodies)))
        for message in self.done:
            if any(self.rejections[origin] and arrivals[origin] == 1 for origin in self.origins(message)):
                yield f"{message} is done, although it was rejected"
        due, possible, excused = Counter[str](), Counter[str](), Counter[str]()
        for message in self.history.bodies:
            mine = self.tries_with(message)
            if not mine:
                continue
            must = self._must_reject(message)
            for origin in self.origins(message):
                excused[origin] += sum(one.troubled for one in mine)
                possible[origin] += must is not False
                due[origin] += must is True
            if must is True and message in self.done:
                yield f"{message} is done, although it must be rejected"
            if must is False and message in self.refused:
                yield f"{message} is rejected, although there is no reason"
        excused.update(map(_origin, self.lost))
        for origin in self.rejections | due:
            count, most = self.rejections[origin], possible[origin]
            if count < due[origin] or count > most + (excused[origin] if most else 0):
                yield f"{origin} is rejected {count} times, and must be {due[origin]} to {most} times"

    def _must_reject(self, message: str) -> bool | None:
        """Whether a message must be rejected; None where both are right."""
        if message in self.history.sent_by:
            verdicts = {self._over_limits(job) for job in self.jobs if message in job.sent}
            return False if verdicts == {False} else None
        request = self.parsed[message][1]
        if request is None:
            return True
        if self._empty(message):
            return None if self._doubtful(message) else True
        jobs = [job for job in self.jobs if message in job.messages]
        mine = self.tries_with(message)
        if rivals := self._rivals_of_message(jobs):
            began = [min(self.done.get(m, self.aws.clock) for m in rival.messages) for rival in rivals]
            return True if min(began) < mine[0].start else None
        verdicts = {self._over_limits(job) for job in jobs if not job.child}
        if not verdicts and len(request.ids) <= min(one.stack.max_images for one in mine):
            return False
        return verdicts.pop() if len(verdicts) == 1 else None

    def _rivals_of_message(self, jobs: list[Job]) -> list[Job]:
        """Returns what else was asked for under the key of these, which one message brought."""
        key, child = self._root(jobs[0])[0], jobs[0].child
        others = [other for other in self.jobs if other.child != child and self._root(other)[0] == key]
        return [other for job in jobs for other in self.rivals(job)] + others

    def _over_limits(self, job: Job) -> bool | None:
        """Whether a job asks for more than it may, by all that was there while it was tried; None if that changed."""
        found = set[bool | None]()
        if (job.request.selection or job.request.cascade) and len({one.stack.dry_run for one in self.working(job)}) > 1:
            found |= {False}  # stopped by a dry run, it may never come to be judged
        for one in self.working(job):
            for images in self.aws.between(job.repository, one.start, one.end):
                protected = one.stack.protects_repository(job.repository)
                if not job.request.selection:
                    over = name_images(job.request, images, one.stack).rejected
                    found.add(None if job.request.cascade and protected and over else over)
                elif images is None or protected:
                    found |= {False}
                else:
                    found |= {choice.rejected for choice in self.choices(job.request, images, one.stack)}
        return found.pop() if len(found) == 1 else None

    def wrong_notices(self) -> Iterator[str]:
        """Yields notices of what nobody knows."""
        known = {job.key for job in self.jobs if job.carriers - self.refused}
        for notice in self.aws.notices:
            if notice["type"] != "rejection" and _root(notice["requestId"]) not in known:
                yield f"a notice of {notice['requestId']}, which was not carried out: {notice}"


class Outcome:
    """The outcome of one job, held to the oracle: what is said of it, and what is left of its repository."""

    def __init__(self, audit: Audit, job: Job) -> None:
        self.audit, self.job, self.aws = audit, job, audit.aws
        self.working, self.end = audit.working(job), audit.finish(job)
        self.quiet, self.dry = audit.quiet(job), audit.dry(job)
        self.troubled = any(one.troubled for one in self.working)
        self.stacks = {one.stack for one in self.working}
        mine = set(audit.tries_of(job))
        self.deletions = [d for d in self.aws.deletions if d.by in mine and d.repository == job.repository]
        self.published = [n for n in self.aws.notices if n["type"] != "rejection" and _root(n["requestId"]) == job.key]
        answer = audit.history.answers.get(job.key)
        self.answer = answer if answer is not None and not audit.rivals(job) else None

    @cached_property
    def start(self) -> int:
        return self.working[0].start

    @cached_property
    def before(self) -> Images | None:
        return self.aws.at(self.job.repository, self.start)

    @cached_property
    def after(self) -> Images:
        return self.aws.at(self.job.repository, self.end or 0) or Images()

    def complaints(self) -> Iterator[str]:
        """Yields where its reports say what is not so, or keep silent, or images are not what they must be."""
        refused = self.audit.refused.intersection(self.job.carriers)
        if self.end is None or not self.working or self.audit.rivals(self.job):
            return
        if refused == self.job.carriers or refused.intersection(self.job.sent):  # whichever of several it was
            return
        reports = [*self.published, *([self.answer] if self.answer else [])]
        for report in reports:
            yield from self._wrong_words(report)
        yield from self._wrong_number(reports)
        if self.answer:
            for notice in self.published:
                shared = notice.keys() & self.answer.keys() - CUT
                if notice["requestId"] == self.job.key and any(notice[key] != self.answer[key] for key in shared):
                    yield f"the answer {self.answer} differs from the notice {notice}"
        if self.job.request.selection:
            yield from self._wrong_selection(reports)
        else:
            yield from self._wrong_names(reports)

    # What every report must keep to

    def _wrong_words(self, report: Json) -> Iterator[str]:
        """Yields where a report contradicts itself, or its request."""
        if "error" in report:
            yield f"cannot be replayed: {report['error']}"
            return
        failures = report["failures"]
        if len({json.dumps(f["imageId"], sort_keys=True) for f in failures}) < len(failures):
            yield f"a failure is reported twice: {failures}"
        if "failed" in report and report["failed"] != len(failures) + report["failuresOmitted"]:
            yield f"{report['failed']} failed, and {len(failures)} are reported"
        if self.dry is not None and report.get("dryRun", False) != self.dry:
            yield f"dryRun is {report.get('dryRun')}, and it is {self.dry}"
        if "type" in report:
            kind = "dryRun" if report.get("dryRun") else "failure" if report["failed"] else "report"
            if report["type"] != kind:
                yield f"a {report['type']} that is a {kind}"
        if report.get("unconfirmed", 1) < 1 or ("unconfirmed" in report) != ("unconfirmedReason" in report):
            yield f"unconfirmed is {report.get('unconfirmed')}: {report.get('unconfirmedReason')}"
        if report.get("unconfirmed") and not self.troubled and not self._overlap:
            yield f"{report['unconfirmed']} are unconfirmed, although nothing went wrong"
        yield from self._wrong_retry(report)

    def _wrong_retry(self, report: Json) -> Iterator[str]:
        """Yields where the request that a notice offers would not do what the failed rest of this one needs."""
        retry = report.get("retryRequest")
        codes = _failures(report)
        again = {_id(entry) for entry in retry["imageIds"]} if retry else set()
        helped = {image_id for image_id, code in codes.items() if code in HELPED} - again
        if helped and "type" in report and not report.get("dryRun") and not self.job.request.selection:
            yield f"{helped} are not in retryRequest"
        if retry and (again - codes.keys() or any(codes[i] in HOPELESS for i in again & codes.keys())):
            yield f"retryRequest {retry} asks for what cannot be helped: {codes}"
        if retry:
            words = {k: v for k, v in self.job.request.payload.items() if k in ("reason", "notify", "untag", "cascade")}
            got = {k: v for k, v in retry.items() if k in ("reason", "notify", "untag", "cascade", "requestId")}
            if parse(json.dumps(retry), "")[1] is None or words != got:
                yield f"retryRequest {retry} is not of {self.job.request.payload}"

    def _wrong_number(self, reports: list[Json]) -> Iterator[str]:
        """Yields where there are too many notices, or none."""
        for name, count in Counter(notice["requestId"] for notice in self.published).items():
            same = [{**n, "origin": None} for n in self.published if n["requestId"] == name]
            excused = sum(n.get("requestId") == name for n in self.audit.lost) + sum(t.troubled for t in self.working)
            if count > 1 + excused or any(notice != same[0] for notice in same):
                yield f"{count} notices of {name}: {same}"
        failed = any(report.get("failures") for report in reports)
        if self.answer and "error" not in self.answer:
            wanted = self.job.request.notify or (failed and not self.answer.get("dryRun"))
            if bool(self.published) != wanted:
                yield f"{len(self.published)} notices, and {'one is' if wanted else 'none is'} wanted: {self.answer}"
        elif self.job.request.notify and not self.published:
            yield "no notice, although one is wanted"
        elif self.published and not failed and not self.job.request.notify:
            yield f"a notice without need: {self.published}"

    # Named images

    def _wrong_names(self, reports: list[Json]) -> Iterator[str]:
        """Yields where the outcome of a request by name is none that the oracle knows."""
        sure = self.quiet and self.dry is not None
        seen = [self.before] if sure else self.moments
        models = [name_images(self.job.request, images, stack) for images in seen for stack in self.stacks]
        allowed = {i: set(chain.from_iterable(m.codes[i] for m in models)) for i in self.job.request.ids}
        if self.dry is not False:
            for codes in allowed.values():  # what a dry run cannot see
                if codes & {"ImageReferencedByManifestList", "LastTag"}:
                    codes.add(DELETED)
        for report in reports:
            if "error" not in report:
                yield from self._wrong_codes(report, allowed)
                yield from self._wrong_truth(report)
        if not sure:
            return
        [model] = models
        for report in reports or [{"failures": []}]:
            if "error" not in report:
                yield from self._wrong_world(report, model)
        failing = [i for i, codes in model.codes.items() if DELETED not in codes]
        if not reports and not self.dry and (failing or model.one_stays) and not self.troubled:
            yield f"{failing} must fail, and nothing is reported"

    def _wrong_codes(self, report: Json, allowed: Mapping[Id, set[str]]) -> Iterator[str]:
        """Yields ids with a code that they cannot have, and counts that are wrong."""
        ids = self.job.request.ids
        failed = _failures(report)
        omitted = report.get("failuresOmitted", 0)
        others = failed.keys() - set(ids)
        if wrong := {i for i in others if not self._left_behind(i[0], failed[i])}:
            yield f"{wrong} failed, which nobody asked for"
        if "requested" in report:
            counts = {report["requested"], report["deleted"] + report["failed"]}
            if counts != {len(ids) + len(others)} and not omitted:
                yield f"{report['deleted']} and {report['failed']} of {report['requested']}, and {len(ids)} ids"
        unsure = 0
        for image_id in ids:
            code = failed.get(image_id, DELETED)
            if code in allowed[image_id] or omitted:
                continue
            if code == DELETED and self._may_be_gone(image_id, allowed[image_id]):
                unsure += 1
            elif not self._excused(image_id, code):
                yield f"{image_id}: {code}, and it must be one of {sorted(allowed[image_id])}: {report}"
        if unsure > report.get("unconfirmed", 0):
            yield f"{unsure} were not found, and {report.get('unconfirmed')} are unconfirmed: {report}"

    def _left_behind(self, digest: str | None, code: str) -> bool:
        """Whether a relative was to go along, and a changed setting stopped that when its owners were gone already."""
        seen = [images for images in self.moments if images is not None and digest in images]
        return (
            bool(self.job.request.cascade)
            and self._changed(code)
            and any(digest in images.family(self.job.request.targets(images).values()) for images in seen)
            and any(not images.own_tags(str(digest)) for images in seen)
            and any(not images.owners[str(digest)] for images in seen)
        )

    def _changed(self, code: str) -> bool:
        """Whether a setting was changed meanwhile by which ids fail so."""
        if code == "ProtectedRepository":
            return len({stack.protects_repository(self.job.repository) for stack in self.stacks}) > 1
        return code == "StoppedByDryRun" and len({stack.dry_run for stack in self.stacks}) > 1

    @cached_property
    def moments(self) -> list[Images | None]:
        """The contents of the repository from the first try until all was done."""
        return self.aws.between(self.job.repository, self.start, self.end or 0)

    def _may_be_gone(self, image_id: Id, codes: set[str]) -> bool:
        """Whether an interrupted try may have deleted what is not there, for all that the next one knows."""
        missing = any(images is not None and images.target(image_id) is None for images in self.moments)
        return self.troubled and missing and not codes & NEVER_DELETED

    def _excused(self, image_id: Id, code: str) -> bool:
        """Whether what went wrong explains a failure."""
        if code == "RepositoryNotFoundException":  # found when an interrupted try is looked into, before any guard
            return self.troubled and None in self.moments
        if code == "StoppedByDryRun":
            return self._changed(code)
        if code == "Unanswered":
            return any(trouble.kind == FORGETS for trouble in self._troubles())
        if code == "ImageTagPushedAgain":
            return self.troubled and any(
                image_id[1] in image.tags and image.pushed < JUST_NOW
                for images in self.moments
                for image in (images or {}).values()
            )
        return False

    def _troubles(self) -> Iterator[Any]:
        for happening in self.audit.history.plan.happenings:
            yield from getattr(happening, "troubles", ())

    def _wrong_truth(self, report: Json) -> Iterator[str]:
        """Yields what is reported as deleted and is not, or the other way round."""
        failed = _failures(report)
        if report.get("dryRun") or report.get("failuresOmitted"):
            return
        unsure = 0
        for image_id in self.job.request.ids:
            name = (None, image_id[1]) if self.job.request.untag else image_id
            took = [d for d in self.deletions if name in d.ids and d.removed(image_id)]
            alone = all(self.audit.whose(d, name) == [self.job] for d in took)
            code = failed.get(image_id, DELETED)
            if code == DELETED:
                unsure += not took
            elif took and alone and code != "ImageTagPushedAgain" and not self._overlap:
                yield f"{image_id} is deleted, and reported as {code}: {report}"
        if unsure > report.get("unconfirmed", 0) and not self._overlap:
            yield f"{unsure} were not deleted, and {report.get('unconfirmed')} are unconfirmed: {report}"

    @cached_property
    def _overlap(self) -> bool:
        """Whether several ids may name the same."""
        ids = self.job.request.ids
        tags = [tag for _, tag in ids if tag is not None]
        return len(set(tags)) < len(tags) or (bool(tags) and any(tag is None for _, tag in ids))

    def _wrong_world(self, report: Json, model: Named) -> Iterator[str]:
        """Yields where the repository is not what a report of a quiet job makes of it."""
        before = self.before
        if before is None or report.get("failuresOmitted"):
            return
        failed = _failures(report).keys()
        for group in model.one_stays:
            if len(group & failed) != 1 and not self.dry and not self.troubled:
                yield f"one of {group} must stay: {report}"
        if model.rejected is True:
            yield "must have been rejected"
        left = self._left(before, model, failed)
        now = {digest: set(image.tags) for digest, image in self.after.items()}
        if now != left:
            wrong = {d: (left.get(d), now.get(d)) for d in {*now, *left} if left.get(d) != now.get(d)}
            yield f"must be left, and is left: {wrong}, by {report}"
        if "requestId" in report and not self.dry:
            yield from self._wrong_kin(report, model)
            yield from self._wrong_entries(report, before, self.after)

    def _left(self, before: Images, model: Named, failed: Collection[Id]) -> dict[str, set[str]]:
        """Returns the images and their tags that must be left where these ids have failed."""
        left = {digest: set(image.tags) for digest, image in before.items()}
        if self.dry:
            return left
        for (digest, tag), target in self.job.request.targets(before).items():
            if (digest, tag) in failed or DELETED not in model.codes[digest, tag] or target not in left:
                continue
            left[target] -= {tag} if tag is not None else left[target]
            if not left[target]:
                del left[target]
        return {digest: tags for digest, tags in left.items() if digest not in model.relatives}

    def _wrong_kin(self, report: Json, model: Named) -> Iterator[str]:
        """Yields where an answer says of relatives what is not so."""
        kept = {entry["imageId"]["imageDigest"]: entry["code"] for entry in report.get("kept", ())}
        if kept.keys() - model.kept.keys() or model.required - kept.keys():
            yield f"kept {kept}, and it must be {model.kept}, and surely {model.required}"
        wrong = {d: code for d, code in kept.items() if code not in model.kept.get(d, {code})}
        if wrong:
            yield f"kept {wrong}, and it must be {model.kept}"
        least, most = model.left_untagged
        if not least <= report.get("leftUntagged", 0) <= most:
            yield f"leftUntagged {report.get('leftUntagged')}, and it must be {least} to {most}"

    def _wrong_entries(self, report: Json, before: Images, after: Images) -> Iterator[str]:
        """Yields where the ids that are reported as deleted are not what is gone."""
        if "imageIds" not in report or report.get("imageIdsOmitted"):
            return
        said = {_id(entry) for entry in report["imageIds"]}
        gone: set[Id] = {(d, None) for d, image in before.items() if not image.tags and d not in after}
        for digest, image in before.items():
            gone |= {(digest, tag) for tag in image.tags - (after[digest].tags if digest in after else frozenset())}
        if self.troubled:
            names = {tag for _, tag in gone} | {digest for digest, _ in gone}
            odd = {
                i
                for i in said - gone
                if not {i[0], i[1]} & (names | set(chain.from_iterable(self.job.request.ids)) - {None})
            }
            if odd:
                yield f"{odd} are reported as deleted"
        elif said != gone:
            yield f"{said} are reported as deleted, and {gone} are"

    # Selections

    def _wrong_selection(self, reports: list[Json]) -> Iterator[str]:
        """Yields where the outcome of a selection is none that the oracle knows."""
        before = self.before
        protected = {stack.protects_repository(self.job.repository) for stack in self.stacks}
        for report in reports:
            if "error" in report or "selected" not in report:
                continue
            if report["deleted"] > report["selected"]:
                yield f"{report['deleted']} deleted of {report['selected']}"
        if not self.quiet or self.dry is None:
            return
        if before is None or True in protected:
            code = "ProtectedRepository" if True in protected else "RepositoryNotFoundException"
            for report in reports:
                if [(f["imageId"], f["failureCode"]) for f in report["failures"]] != [({}, code)]:
                    yield f"must fail as {code}: {report}"
            return
        [stack] = self.stacks
        choices = list(select_images(self.job.request, before, stack))
        found = [list(self._unlike(choice, before, reports)) for choice in choices]
        if [] not in found:
            yield f"{found[0]} {[sorted(c.planned) for c in choices]} {reports}"

    def _unlike(self, choice: Selected, before: Images, reports: list[Json]) -> Iterator[str]:
        """Yields where the outcome is not that of a choice."""
        if choice.rejected:
            yield "must have been rejected"
        gone = before.keys() - self.after.keys()
        if gone != (set() if self.dry else choice.goes):
            yield f"gone are {sorted(gone)}, and must be {sorted(choice.goes)}"
        for report in reports:
            if "error" in report:
                continue
            if self.troubled or len({r["requestId"] for r in reports}) > 1:
                if report["selected"] > len(choice.planned) or report["failures"]:
                    yield f"more is selected than {len(choice.planned)}"
                continue
            counts = report["selected"], report["deleted"], report["failures"]
            goes = choice.planned if self.dry else choice.goes
            if counts != (len(choice.planned), len(goes), []):
                yield f"{counts}, and it must be {len(choice.planned)}, {len(goes)}"
            if report["bytesReclaimed"] != sum(before[digest].size for digest in goes):
                yield f"{report['bytesReclaimed']} bytes"
            yield from self._wrong_reasons(report["keptByReason"], choice, before.keys() - goes)

    def _wrong_reasons(self, told: Mapping[str, int], choice: Selected, kept: Collection[str]) -> Iterator[str]:
        """Yields reasons that are told of too many images, or of too few."""
        reasons = [choice.reasons[digest] or {"StillUsed"} for digest in kept]
        if sum(told.values()) != len(reasons):
            yield f"{told} for {len(reasons)} images that stay"
        for why, count in told.items():
            if count > sum(why in each for each in reasons):
                yield f"{count} stay as {why}: {reasons}"
        for why in set(chain.from_iterable(reasons)):
            if sum({why} == set(each) for each in reasons) > told.get(why, 0):
                yield f"{told.get(why, 0)} stay as {why}: {reasons}"


def _origin(notice: Json) -> str:
    """Returns where a notice says that its request came from."""
    return str(notice["origin"]["id"])


def _root(key: str) -> str:
    """Returns the key of a request that went on under others."""
    return re.sub(r"#[#\d]*$", "", key)


def _failures(report: Json) -> dict[Id, str]:
    """Returns the failure code of each id that failed."""
    return {_id(failure["imageId"]): failure["failureCode"] for failure in report["failures"]}


def _id(entry: Mapping[str, str]) -> Id:
    return entry.get("imageDigest"), entry.get("imageTag")
