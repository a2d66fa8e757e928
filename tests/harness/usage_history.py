"""What happens around images in use: pushes, deployments, readings, declarations and requests, one after the other.

Images are named by their numbers in the order of their pushes, modulo how many there are; so are tasks and requests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from local import workloads
from local.poller import FakeLambdaContext
from tests.harness.direct import Fault
from tests.harness.outside import REPOSITORY, request
from tests.harness.usage_model import READ, Declaration, Name, Task, signature_tag
from tests.harness.usage_world import DECLARES, PATIENT, Functions, ImageId, Sent, World, refusals

type Json = dict[str, Any]

CLUSTERS = ("east", "west")
SERVICES = (("east", "web"), ("west", "web"), ("west", "api"))
"""Clusters and names; two have the same family of task definitions."""


class Happening(Protocol):
    """Something that happens in the world."""

    def happen(self, world: World) -> Iterable[str] | None:
        """Does it, also in the books; returns what is wrong with what came of it."""


@dataclass(frozen=True, slots=True)
class Named:
    """An image as whoever runs it, or a request, names it: by a tag, by its number, or by both.

    A request may also mean the signature of the image with that number.
    """

    tag: str | None = None
    image: int | None = None
    signature: bool = False

    def digest(self, world: World) -> str | None:
        """Returns the digest in it."""
        return None if self.image is None else _digest(world, self.image)

    def image_id(self, world: World) -> ImageId:
        """Returns the digest and the tag by which a request names it."""
        if self.signature and self.image is not None:
            return None, signature_tag(_digest(world, self.image))
        return self.digest(world), self.tag

    def name(self, world: World) -> Name:
        """Returns what counts to whoever pulls it: a digest beside a tag says which image is meant."""
        return self.digest(world) or str(self.tag)

    def uri(self, world: World) -> str:
        """Returns what it is pulled by."""
        return workloads.image_uri(REPOSITORY, self.tag, self.digest(world))


def _digest(world: World, image: int) -> str:
    return world.digests[image % len(world.digests)]


@dataclass(frozen=True, slots=True)
class Push:
    """A push of an image; with children, of an index; of a signature, where it has a subject, or signs by its tag."""

    tag: str | None = None
    children: tuple[int, ...] = ()
    subject: int | None = None
    signs: int | None = None

    def happen(self, world: World) -> None:
        images, tags = world.images(), (self.tag,) if self.tag else ()
        days = 60.0 - len(world.digests)
        children, subject, signed = (
            tuple(d for d in dict.fromkeys(_digest(world, n) for n in numbers) if d in images)
            for numbers in (self.children, _number(self.subject), _number(self.signs))
        )
        if children:
            same = (d for d, named in world.relations.children.items() if named == children and d in images)
            digest = next(same, None) or world.outside.push_index(children, days=days)
            world.relations.children[digest] = children
            for tag in {*tags} - world.images()[digest]:
                world.outside.tag(digest, tag)
        elif subject:
            digest = world.outside.push_referrer(*subject, *tags, days=days)
            world.relations.subjects[digest] = subject[0]
        elif signed:
            digest = world.outside.sign(*signed, *tags, days=days)
        else:
            digest = world.outside.push(*tags, days=days, content=f"image {len(world.digests)}")
        if digest not in world.digests:
            world.digests.append(digest)


def _number(image: int | None) -> tuple[int, ...]:
    return () if image is None else (image,)


@dataclass(frozen=True, slots=True)
class Retag:
    """A tag that is put on another image."""

    tag: str
    image: int

    def happen(self, world: World) -> None:
        digest = _digest(world, self.image)
        if self.tag not in world.images().get(digest, {self.tag}):
            world.outside.tag(digest, self.tag)


@dataclass(frozen=True, slots=True)
class Deploy:
    """A deployment of a service, by its number."""

    service: int
    image: Named
    count: int = 1
    in_progress: bool = False

    def happen(self, world: World) -> None:
        service = SERVICES[self.service % len(SERVICES)]
        count, in_progress = self.count, self.in_progress
        workloads.deploy_service(world.aws, *service, self.image.uri(world), count=count, in_progress=in_progress)
        world.running.deploy(service, self.image.name(world), count, in_progress=in_progress)


@dataclass(frozen=True, slots=True)
class ChangeService:
    """What else happens to a service."""

    service: int
    how: str
    """finish, delete, forget its revisions, or how many tasks it is to have."""

    def happen(self, world: World) -> None:
        service, running = SERVICES[self.service % len(SERVICES)], world.running
        cluster, name = service
        if service not in running.services:
            return
        ecs = world.aws.client("ecs")
        match self.how:
            case "finish":
                workloads.finish_deployment(*service)
                running.finish(service)
            case "delete":
                ecs.delete_service(cluster=cluster, service=name, force=True)
                del running.services[service]
            case "forget":
                workloads.forget_revisions(*service)
                running.forget_revisions(service)
            case count:
                ecs.update_service(cluster=cluster, service=name, desiredCount=int(count))
                running.scale(service, int(count))


@dataclass(frozen=True, slots=True)
class RunTask:
    """A task that belongs to no service."""

    cluster: int
    image: Named
    pending: bool = False

    def happen(self, world: World) -> None:
        cluster, name = CLUSTERS[self.cluster % len(CLUSTERS)], self.image.name(world)
        task = Task(cluster, name)
        task.arn = workloads.run_task(world.aws, cluster, self.image.uri(world), pending=self.pending)
        if not self.pending:
            task.start(world.resolve)
        world.running.families.setdefault("job", []).append(name)
        world.running.tasks.append(task)


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A task that starts, or stops."""

    task: int
    stop: bool

    def happen(self, world: World) -> None:
        if not (tasks := world.running.tasks):
            return
        task = tasks[self.task % len(tasks)]
        if self.stop:
            world.aws.client("ecs").stop_task(cluster=task.cluster, task=task.arn)
            tasks.remove(task)
        else:
            workloads.move_task(task.arn, "RUNNING")
            task.start(world.resolve)


@dataclass(frozen=True, slots=True)
class UpdateFunction:
    """A function that is created or updated; or deleted, where it has no image."""

    name: str
    image: Named | None
    publish: bool = False

    def happen(self, world: World) -> None:
        functions = world.running.functions
        if self.image is None:
            if functions.pop(self.name, None):
                world.aws.client("lambda").delete_function(FunctionName=self.name)
        elif digest := world.resolve(self.image.name(world)):  # Lambda refuses what is not there
            version = workloads.deploy_function(world.aws, self.name, self.image.uri(world), publish=self.publish)
            functions.setdefault(self.name, {}).update({"$LATEST": digest, version: digest})


@dataclass(frozen=True, slots=True)
class Inspect:
    """In how many tasks and pods Inspector sees an image from now on."""

    image: int
    count: int

    def happen(self, world: World) -> None:
        if world.resolve(digest := _digest(world, self.image)):
            workloads.report_use(world.aws, REPOSITORY, digest, self.count)
            world.running.inspected[digest] = self.count


@dataclass(frozen=True, slots=True)
class Declare:
    """A declaration; one that failed may be delivered again."""

    images: tuple[Named, ...]
    seconds: int
    fault: Fault | None = None
    again: bool = False

    def happen(self, world: World) -> None:
        now, names = world.now, frozenset(image.name(world) for image in self.images)
        expires = datetime.now(UTC) + timedelta(seconds=self.seconds)
        body = {
            "source": DECLARES,
            "imagesInUse": [image.uri(world) for image in self.images],
            "expiresAt": expires.isoformat(),
        }
        context = FakeLambdaContext(world.next("declaration"))
        world.books.use(names, now, self.seconds)
        for fault in (self.fault, None) if self.again else (self.fault,):
            if world.invoke(world.functions.delete, body, context, fault) is not None:
                world.books.declarations.append(Declaration(DECLARES, names, now, now + self.seconds))


@dataclass(frozen=True, slots=True)
class Wait:
    """Time that passes."""

    seconds: int

    def happen(self, world: World) -> None:
        world.let_time_pass(self.seconds)


@dataclass(frozen=True, slots=True)
class Refresh:
    """A reading of all sources; where it failed, Lambda may try it again."""

    fault: Fault | None = None
    patience: int = PATIENT
    """How often it asks for the time until none is left."""
    skew: int = 0
    """Seconds by which its clock is ahead."""
    retried: bool = False
    scheduled: bool = False
    """It reads only what is due."""

    def happen(self, world: World) -> Iterator[str]:
        calm = world.undisturbed and not (self.fault or self.skew or self.scheduled) and self.patience == PATIENT
        request_id, event = world.next("reading"), {"whenDue": True} if self.scheduled else {}
        readings = world.readings(self.skew)
        how: Json = {"fault": self.fault, "patience": self.patience, "skew": self.skew}
        complete, succeeded = world.read(event, request_id, readings, **how)
        if calm and len(complete) < len(readings):
            yield f"{readings.keys() - complete} were not read, though nothing happened"
        if self.retried and not succeeded:
            world.read(event, request_id, world.readings())


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """A further turn that is delivered, perhaps not for the first time; a duplicate may have another request id."""

    number: int
    patience: int = PATIENT
    skew: int = 0
    fault: Fault | None = None
    other_id: bool = False

    def happen(self, world: World) -> None:
        if not world.handed_on:
            return
        turn = world.handed_on[self.number % len(world.handed_on)]
        if self.other_id:
            turn.request_id = world.next("turn")
        event, readings = world.resume(turn)
        world.read(event, turn.request_id, readings, fault=self.fault, patience=self.patience, skew=self.skew)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request by names, or for a selection. A dry run may come before it, and a duplicate after it."""

    images: tuple[Named, ...] = ()
    selection: tuple[tuple[str, Any], ...] = ()
    switches: tuple[tuple[str, bool], ...] = ()
    fault: Fault | None = None
    dry_before: bool = False
    again: bool = False

    def happen(self, world: World) -> Iterator[str]:
        ids = tuple(dict.fromkeys(image.image_id(world) for image in self.images))
        what: Json = {"selection": dict(self.selection)} if self.selection else {}
        payload = request(*map(_image_id, ids), **what, **dict(self.switches))
        asked = Sent(payload | {"requestId": world.next("request")}, world.next("invocation"), ids)
        dry = Sent(payload | {"requestId": world.next("request"), "dryRun": True}, world.next("invocation"), ids)
        world.sent.append(asked)
        answers: list[Json] = []
        for sent, fault in [*([(dry, None)] * self.dry_before), (asked, self.fault), *([(asked, None)] * self.again)]:
            for what_came in world.deliver(sent, fault):
                if isinstance(what_came, str):
                    yield what_came
                else:
                    answers.append(what_came)
            if sent is asked and self.dry_before and len(answers) == 2:
                foreseen, refused = map(refusals, answers)
                if foreseen != refused:
                    yield f"the dry run foresaw {foreseen}, and it was {refused}"


def _image_id(image_id: ImageId) -> Json:
    return {k: v for k, v in zip(("imageDigest", "imageTag"), image_id, strict=True) if v is not None}


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A request that is delivered again."""

    number: int
    fault: Fault | None = None

    def happen(self, world: World) -> Iterator[str]:
        if world.sent:
            said = world.deliver(world.sent[self.number % len(world.sent)], self.fault)
            yield from (complaint for complaint in said if isinstance(complaint, str))


@dataclass(frozen=True, slots=True)
class History:
    """What happens in a stack, and to which of its parameters."""

    happenings: tuple[Happening, ...]
    kinds: tuple[str, ...] = READ
    """What ProtectInUse lists."""
    in_use_days: int = 7


def complaints(functions: Functions, history: History) -> tuple[list[str], list[str]]:
    """Returns what is wrong with what came of a history; and what was said in it."""
    world = World(functions, history.kinds, history.in_use_days)
    wrong: list[str] = []
    for happening in history.happenings:
        world.note_use()
        wrong += (f"{happening}: {complaint}" for complaint in happening.happen(world) or ())
        world.note_use()
    for name in list(world.running.functions):  # all else is forgotten when the next history starts
        UpdateFunction(name, None).happen(world)
    return wrong, world.said
