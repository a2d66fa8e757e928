"""Histories of images in use: deployments, readings, declarations, requests; and what is wrong with what they led to.

A history is carried out by the real two functions against the embedded AWS, and beside it in books that know only what
was done. After each request, what is gone is compared with the books.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest import mock

from moto.dynamodb.models import dynamodb_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.inspector2.models import inspector2_backends

from local import workloads
from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.poller import FakeLambdaContext, load_function
from tests.environment import READER_VARIABLES
from tests.fakes.lambda_ import ImpatientContext
from tests.harness.direct import Direct, Fault
from tests.harness.faults import Killed
from tests.harness.in_use import Inventory
from tests.harness.outside import ANY_SHARE, REPOSITORY, Outside, request
from tests.harness.usage_model import Books, Declaration, Images, Name, Reading, Relations, Task, Workloads

type Json = dict[str, Any]

DECLARES = "eks/prod"
"""The source that declares what it uses."""
CLUSTERS = ("east", "west")
SERVICES = (("east", "web"), ("west", "web"), ("west", "api"))
"""Two have the same family of task definitions."""
REFUSED = {"ImageInUse", "UsageUnknown"}
_MINUTES = 60
_QUIET_SECONDS = 3 * 3_600.0
"""How long after a fault a source may still be claimed by a reading that has ended."""
_PATIENT = 10_000


@dataclass(frozen=True, slots=True)
class Named:
    """An image as whoever runs it, or a request, names it: by a tag, by its number, or by both."""

    tag: str | None = None
    image: int | None = None


# What happens. Images are named by their number in the order of their pushes, whatever there are: modulo.


@dataclass(frozen=True, slots=True)
class Push:
    """A push of an image; with children, of an index; of a signature, where it has a subject, or signs by its tag."""

    tag: str | None = None
    children: tuple[int, ...] = ()
    subject: int | None = None
    signs: int | None = None


@dataclass(frozen=True, slots=True)
class Retag:
    """A tag that is put on another image."""

    tag: str
    image: int


@dataclass(frozen=True, slots=True)
class Deploy:
    """A deployment of a service, by its number."""

    service: int
    image: Named
    count: int = 1
    in_progress: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What else happens to a service."""

    service: int
    how: str
    """finish, delete, forget its revisions, or how many tasks it is to have."""


@dataclass(frozen=True, slots=True)
class RunTask:
    """A task that belongs to no service."""

    cluster: int
    image: Named
    pending: bool = False


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A task that starts, or stops."""

    task: int
    stop: bool


@dataclass(frozen=True, slots=True)
class UpdateFunction:
    """A function that is created, updated, or deleted where it has no image."""

    name: str
    image: Named | None
    publish: bool = False


@dataclass(frozen=True, slots=True)
class Inspect:
    """What Inspector sees."""

    image: int
    count: int


@dataclass(frozen=True, slots=True)
class Declare:
    """A declaration."""

    images: tuple[Named, ...]
    seconds: int
    fault: Fault | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Time that passes."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Refresh:
    """An invocation of the function that reads; Lambda invokes it again where it failed."""

    fault: Fault | None = None
    patience: int = _PATIENT
    """How often it asks for the time until none is left."""
    skew: int = 0
    """Seconds by which its clock is ahead."""
    retried: bool = False
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A further turn that is delivered, perhaps once more."""

    number: int
    patience: int = _PATIENT
    skew: int = 0
    fault: Fault | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A request by names, or for a selection; a dry run may come before it."""

    images: tuple[Named, ...] = ()
    selection: tuple[tuple[str, Any], ...] = ()
    switches: tuple[tuple[str, bool], ...] = ()
    fault: Fault | None = None
    dry_before: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A request that is delivered again."""

    number: int
    fault: Fault | None = None


type Happening = (
    Push
    | Retag
    | Deploy
    | Change
    | RunTask
    | MoveTask
    | UpdateFunction
    | Inspect
    | Declare
    | Wait
    | Refresh
    | Turn
    | Ask
    | AskAgain
)


@dataclass(frozen=True, slots=True)
class History:
    """What happens in a stack."""

    happenings: tuple[Happening, ...]
    in_use_days: int = 7
    declared: bool = False
    """Whether a source declares."""


@dataclass
class _Sent:
    """A request as it was sent."""

    payload: Json
    request_id: str
    done: bool = False


@dataclass
class _Turn:
    """A further turn as it was handed on."""

    event: Json
    reading: Reading
    offset: float
    """How much time had passed by then that did not."""
    request_id: str


class Functions:
    """The two functions, and the embedded AWS that all histories share."""

    def __init__(self, aws: EmbeddedAWS) -> None:
        self.aws, self.direct = aws, Direct()
        self.outside = Outside(aws, cast(Any, None), cast(Any, None))
        inventory = Inventory(aws, sources=())
        environment = {
            k: v for k, v in (aws.environment | inventory.variables | ANY_SHARE).items() if k != "ENDPOINT_URL"
        }
        load_function(environment)
        app, bootstrap = (sys.modules[f"handler.{name}"] for name in ("app", "bootstrap"))
        with mock.patch.dict(os.environ, environment | READER_VARIABLES):
            self._reader_app = importlib.import_module("handler.usage_app")
            self._reader = self._reader_app.Services.from_env()
        self._app = app
        self._deleter, self._unguarded = (bootstrap.Services.from_env(environment) for _ in range(2))
        for services in (self._deleter, self._unguarded):
            self.direct.connect(services.ecr, services.dynamodb, services.sns, services.sqs)
        self.direct.connect(
            *{
                self._reader.dynamodb,
                self._reader.lambda_,
                *(source.args[0] for source in self._reader.sources.values()),
            }
        )
        self.unguarded = app.create_handler(self._unguarded)

    def start(self, history: History) -> None:
        """Starts instances in a stack in which nothing has happened yet."""
        kinds = (*self._reader.settings.read_sources, *(["declared"] if history.declared else []))
        changes = {"protect_in_use": kinds, "usage_sources": (DECLARES,) if history.declared else ()}
        changes["in_use_days"] = cast(Any, history.in_use_days)
        self._deleter.settings = self._deleter.settings._replace(**changes)
        self._reader.settings = self._reader.settings._replace(**changes)
        self.delete = self._app.create_handler(self._deleter)
        self.read = self._reader_app.create_handler(self._reader)
        for repository in ecr_backends[ACCOUNT_ID][REGION].repositories.values():
            repository.images.clear()
        for table in dynamodb_backends[ACCOUNT_ID][REGION].tables.values():
            table.items.clear()
        ecs_backends[ACCOUNT_ID][REGION].reset()
        cast(Any, inspector2_backends[ACCOUNT_ID][REGION]).covered.clear()
        self.direct.invoked.clear()

    @contextmanager
    def clock(self, skew: float) -> Iterator[None]:
        """Lets the clock of who reads be so much ahead."""
        clock = SimpleNamespace(time=lambda: time.time() + skew, monotonic=time.monotonic, sleep=time.sleep)
        with contextlib.ExitStack() as stack:
            for name in ("refresh", "inventory", "claims", "measures"):
                stack.enter_context(mock.patch.object(sys.modules[f"handler.usage.{name}"], "time", clock))
            yield


class World:
    """A history under way."""

    def __init__(self, functions: Functions, history: History) -> None:
        functions.start(history)
        self.functions, self.outside, self.aws = functions, functions.outside, functions.aws
        self.relations, self.running = Relations(), Workloads(self.resolve)
        sources = (*functions._reader.settings.read_sources, *((DECLARES,) if history.declared else ()))  # noqa: SLF001
        self.books = Books(sources, history.in_use_days * 86_400.0, 3 * 60.0 * 60)
        self.digests: list[str] = []
        """All images that were ever pushed."""
        self.said: list[str] = []
        """What came of each request, for whoever reads a failing example."""
        self._offset = 0.0
        self._number = 0
        self._disturbed = 0.0
        self._sent: list[_Sent] = []
        self._turns: list[_Turn] = []

    # The world as it is

    @property
    def now(self) -> float:
        return time.time() + self._offset

    def images(self) -> dict[str, frozenset[str]]:
        """Returns what the repository holds."""
        images = ecr_backends[ACCOUNT_ID][REGION].repositories[REPOSITORY].images
        return {str(image.image_digest): frozenset(image.image_tags) for image in images}

    def resolve(self, name: Name) -> str | None:
        """Returns the digest of an image that is there, by its digest or a tag."""
        return next((digest for digest, tags in self.images().items() if name == digest or name in tags), None)

    def digest(self, number: int) -> str:
        """Returns the digest of an image by its number."""
        return self.digests[number % len(self.digests)]

    def name(self, image: Named) -> Name:
        """Returns what counts of a name: a digest beside a tag says which image is meant."""
        return image.tag or "latest" if image.image is None else self.digest(image.image)

    def uri(self, image: Named) -> str:
        """Returns what it is pulled by."""
        return workloads.image_uri(REPOSITORY, image.tag, None if image.image is None else self.digest(image.image))

    # What happens

    def carry_out(self, happenings: Sequence[Happening]) -> Iterator[str]:
        """Lets everything happen; yields what is wrong."""
        for happening in happenings:
            self.books.use(self.running.names(), self.now)
            yield from (f"{happening}: {complaint}" for complaint in self._let_happen(happening))
            self.books.use(self.running.names(), self.now)

    def _let_happen(self, happening: Happening) -> Iterator[str]:
        match happening:
            case Push():
                self._push(happening)
            case Retag(tag, image):
                if self.resolve(digest := self.digest(image)) and tag not in self.images()[digest]:
                    self.outside.tag(digest, tag)
            case Deploy(number, image, count, in_progress):
                service = SERVICES[number % len(SERVICES)]
                workloads.deploy_service(self.aws, *service, self.uri(image), count=count, in_progress=in_progress)
                self.running.deploy(service, self.name(image), count, in_progress=in_progress)
            case Change(number, how):
                self._change(SERVICES[number % len(SERVICES)], how)
            case RunTask(number, image, pending):
                cluster, name = CLUSTERS[number % len(CLUSTERS)], self.name(image)
                arn = workloads.run_task(self.aws, cluster, self.uri(image), pending=pending)
                task = Task(cluster, name, arn=arn)
                if not pending:
                    task.start(self.resolve)
                self.running.families.setdefault("job", []).append(name)
                self.running.tasks.append(task)
            case MoveTask(number, stop):
                self._move_task(number, stop=stop)
            case UpdateFunction():
                self._update_function(happening)
            case Inspect(image, count):
                if self.resolve(digest := self.digest(image)):
                    workloads.report_use(self.aws, REPOSITORY, digest, count)
                    self.running.inspected[digest] = count
            case Declare():
                self._declare(happening)
            case Wait(seconds):
                self.outside.let_time_pass(seconds)
                self._offset += seconds
            case Refresh():
                yield from self._refresh(happening)
            case Turn():
                self._take_turn(happening)
            case Ask():
                yield from self._ask(happening)
            case AskAgain(number, fault):
                if self._sent:
                    yield from self._deliver(self._sent[number % len(self._sent)], fault)

    def _push(self, push: Push) -> None:
        tags = (push.tag,) if push.tag else ()
        days = 60.0 - len(self.digests)
        subject = None if push.subject is None else self.digest(push.subject)
        signed = None if push.signs is None else self.digest(push.signs)
        images = self.images()
        signatures = {d for d, tags in images.items() if any(tag.startswith("sha256-") for tag in tags)}
        # Of a signature of a signature that signs by its tag, and of an index of such, the document says nothing.
        may_be_named = images.keys() - signatures
        children = tuple(dict.fromkeys(d for d in map(self.digest, push.children) if d in may_be_named))
        if children:
            same = (d for d, named in self.relations.children.items() if named == children and d in images)
            digest = next(same, None) or self.outside.push_index(children, days=days)
            self.relations.children[digest] = children
            for tag in {*tags} - self.images()[digest]:
                self.outside.tag(digest, tag)
        elif subject in may_be_named:
            digest = self.outside.push_referrer(subject, *tags, days=days)
            self.relations.subjects[digest] = subject
        elif signed in may_be_named:
            digest = self.outside.sign(signed, *tags, days=days)
        else:
            digest = self.outside.push(*tags, days=days, content=f"image {len(self.digests)}")
        if digest not in self.digests:
            self.digests.append(digest)

    def _change(self, service: tuple[str, str], how: str) -> None:
        if service not in self.running.services:
            return
        ecs = self.aws.client("ecs")
        cluster, name = service
        match how:
            case "finish":
                workloads.finish_deployment(*service)
                self.running.finish(service)
            case "delete":
                ecs.delete_service(cluster=cluster, service=name, force=True)
                del self.running.services[service]
            case "forget":
                workloads.forget_revisions(*service)
                self.running.forget_revisions(service)
            case count:
                ecs.update_service(cluster=cluster, service=name, desiredCount=int(count))
                self.running.scale(service, int(count))

    def _move_task(self, number: int, *, stop: bool) -> None:
        if not self.running.tasks:
            return
        task = self.running.tasks[number % len(self.running.tasks)]
        if stop:
            self.aws.client("ecs").stop_task(cluster=task.cluster, task=task.arn)
            self.running.tasks.remove(task)
        else:
            workloads.move_task(task.arn, "RUNNING")
            task.start(self.resolve)

    def _update_function(self, update: UpdateFunction) -> None:
        if update.image is None:
            if self.running.functions.pop(update.name, None):
                self.aws.client("lambda").delete_function(FunctionName=update.name)
        elif digest := self.resolve(self.name(update.image)):  # Lambda refuses what is not there
            version = workloads.deploy_function(self.aws, update.name, self.uri(update.image), publish=update.publish)
            self.running.functions.setdefault(update.name, {}).update({"$LATEST": digest, version: digest})

    def end(self) -> None:
        """Deletes what is not deleted otherwise."""
        for name in list(self.running.functions):
            self._update_function(UpdateFunction(name, None))

    def _declare(self, declare: Declare) -> None:
        names = frozenset(map(self.name, declare.images))
        now, event_id = self.now, self._next("declaration")
        expires = datetime.now(UTC) + timedelta(seconds=declare.seconds)
        addresses = [self.uri(image) for image in declare.images]
        body = {"source": DECLARES, "imagesInUse": addresses, "expiresAt": expires.isoformat()}
        for fault in (declare.fault, None) if declare.again else (declare.fault,):
            self.books.use(names, now, declare.seconds)
            answer, _ = self._invoke(self.functions.delete, body, FakeLambdaContext(event_id), fault)
            if answer is not None:
                self.books.declarations.append(Declaration(DECLARES, names, now, now + declare.seconds))

    # Readings

    def _refresh(self, refresh: Refresh) -> Iterator[str]:
        calm = replace(refresh, retried=False, scheduled=False) == Refresh()
        now, uses = self.now, self.running.uses()
        readings = {source: Reading(source, now, now + refresh.skew, uses[source]) for source in uses}
        quiet = now - self._disturbed > _QUIET_SECONDS and not any(r.claimed > now for r in self.books.readings)
        request_id, event = self._next("reading"), {"whenDue": True} if refresh.scheduled else {}
        complete, failed = self._read(event, request_id, readings, refresh)
        if calm and quiet and not refresh.scheduled and len(complete) < len(readings):
            yield f"was not read, though nothing happened: {readings.keys() - complete}"
        if failed and refresh.retried:
            now, uses = self.now, self.running.uses()
            readings = {source: Reading(source, now, now, uses[source]) for source in uses}
            self._read(event, request_id, readings, Refresh())

    def _take_turn(self, turn: Turn) -> None:
        if not self._turns:
            return
        taken = self._turns[turn.number % len(self._turns)]
        self._disturbed = self.now
        event = taken.event | {"began": taken.event["began"] - (self._offset - taken.offset)}
        source = taken.reading.source
        reading = taken.reading._replace(uses=taken.reading.uses & self.running.uses()[source])
        if turn.again:
            taken.request_id = self._next("turn")
        self._read(event, taken.request_id, {source: reading}, turn)

    def _read(
        self, event: Json, request_id: str, readings: dict[str, Reading], how: Refresh | Turn
    ) -> tuple[set[str], bool]:
        """Invokes the function that reads; returns the sources that it says to have read whole, and whether it failed."""
        context = ImpatientContext(request_id, "UsageFunction", timeout=900)
        context.patience = how.patience
        if how.fault or how.patience != _PATIENT:
            self._disturbed = self.now
        output = io.StringIO()
        with contextlib.redirect_stdout(output), self.functions.clock(how.skew):
            _, failed = self._invoke(self.functions.read, event, context, how.fault)
        complete = {
            entry["source"]
            for entry in map(json.loads, output.getvalue().splitlines())
            if "ImagesInUse" in entry and entry["source"] in readings
        }
        self.books.readings += [readings[source] for source in complete]
        for event in self.functions.direct.invoked:
            reading = readings[event["source"]]
            self._turns.append(_Turn(event, reading, self._offset, self._next("turn")))
        self.functions.direct.invoked.clear()
        return complete, failed

    def _invoke(self, function: Any, event: Json, context: Any, fault: Fault | None) -> tuple[Json | None, bool]:
        """Returns the answer, if there is one, and whether the invocation failed."""
        with self.functions.direct.failing(fault):
            try:
                return function(json.loads(json.dumps(event)), context), False
            except (Exception, Killed) as error:  # noqa: BLE001  # whatever it is, Lambda takes it for a failure
                self.said.append(f"{event}: {error!r}")
                return None, True

    # Requests

    def _ask(self, ask: Ask) -> Iterator[str]:
        what: Json = {"selection": dict(ask.selection), "allowPercent": 100} if ask.selection else {}
        ids = tuple(dict.fromkeys(map(self._image_id, ask.images)))
        payload = request(*map(_shorthand, ids), **what, **dict(ask.switches))
        foreseen = None
        if ask.dry_before:
            dry = _Sent(payload | {"requestId": self._next("request"), "dryRun": True}, self._next("invocation"))
            yield from self._deliver(dry, None)
            foreseen = self._answer
        sent = _Sent(payload | {"requestId": self._next("request")}, self._next("invocation"))
        self._sent.append(sent)
        yield from self._deliver(sent, ask.fault, ids)
        if (
            foreseen
            and self._answer
            and not self.functions.direct.strikes
            and _refused(foreseen) != _refused(self._answer)
        ):
            yield f"the dry run foresaw {_refused(foreseen)}, and it was {_refused(self._answer)}"
        if ask.again:
            yield from self._deliver(sent, None)

    def _image_id(self, image: Named) -> tuple[str | None, str | None]:
        return (None if image.image is None else self.digest(image.image)), image.tag

    def _deliver(
        self, sent: _Sent, fault: Fault | None, ids: Sequence[tuple[str | None, str | None]] = ()
    ) -> Iterator[str]:
        """Delivers a request, perhaps not for the first time; yields what is wrong with what became of it."""
        before, now = self.images(), self.now
        known, names = self.books.known(now), self.books.in_use(now)
        used = self.relations.in_use(before, names)
        related = self.relations.related(before, self.books.perhaps(now))
        selected = self._selected(sent) if "selection" in sent.payload and not sent.done else {}
        self._answer, _ = self._invoke(self.functions.delete, sent.payload, FakeLambdaContext(sent.request_id), fault)
        after = self.images()
        self.said.append(f"{sent.payload}: known {known}, in use {names}, {self._answer}")
        if (known is False or sent.done or "dryRun" in sent.payload) and after != before:
            yield f"{before} became {after}, though what is in use is known: {known}"
        yield from (
            f"{digest} is in use, and gone" for digest in self.relations.below(used) & before.keys() - after.keys()
        )
        kept = {digest: before[digest] & names if "untag" in sent.payload else before[digest] for digest in used}
        yield from (
            f"{digest} is in use, and lost a tag of {tags}"
            for digest, tags in kept.items()
            if not tags <= after.get(digest, tags)
        )
        answer = self._answer
        first, sent.done = not sent.done, sent.done or answer is not None
        if answer is None or not first or self.functions.direct.strikes:
            return
        if "selection" in sent.payload:
            yield from self._check_selection(answer, known, used, related, selected)
        else:
            state = _State(before, after, known, names, used, related)
            yield from self._check_named(sent.payload, answer, state, ids)

    def _selected(self, sent: _Sent) -> set[str]:
        """Returns what the selection would delete if nothing were in use."""
        payload = sent.payload | {"requestId": self._next("request"), "dryRun": True}
        answer = self.functions.unguarded(payload, FakeLambdaContext())
        return {image_id["imageDigest"] for image_id in answer["imageIds"]}

    def _check_selection(
        self, answer: Json, known: bool | None, used: set[str], related: set[str], selected: set[str]
    ) -> Iterator[str]:
        codes = {failure["failureCode"] for failure in answer["failures"]}
        if known is False and codes != {"UsageUnknown"}:
            yield f"it is not known what is in use, and {answer['failures']}"
        if known:
            deleted = {image_id["imageDigest"] for image_id in answer["imageIds"]}
            if codes & REFUSED or (unduly := selected - deleted - related):
                yield f"it is known what is in use, and {answer['failures']}, {unduly} stayed"
            if selected & used and not answer["keptByReason"].get("InUse"):
                yield f"{selected & used} would have been deleted, and nothing is counted as in use"
            if strangers := {kept["imageId"]["imageDigest"] for kept in answer.get("kept", [])} - related:
                yield f"{strangers} are said to be in use"

    def _check_named(
        self, payload: Json, answer: Json, state: "_State", ids: Sequence[tuple[str | None, str | None]]
    ) -> Iterator[str]:
        codes = {_key(failure["imageId"]): failure["failureCode"] for failure in answer["failures"]}
        for image_id in ids:
            code, (digest, tag) = codes.get(image_id), image_id
            image = next((d for d, tags in state.before.items() if (tag in tags if tag else d == digest)), None)
            if state.known is False and code != "UsageUnknown":
                yield f"{image_id}: {code}, though it is not known what is in use"
            if not state.known or image is None or digest not in (None, image):
                continue
            yield from (f"{image_id}: {problem}" for problem in state.check(image, tag, code, payload, self.relations))

    def _next(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self._number}"


class _State(NamedTuple):
    """The state in which a request was carried out, and that which it led to."""

    before: Images
    after: Images
    known: bool | None
    names: set[Name]
    used: set[str]
    related: set[str]

    def check(
        self, image: str, tag: str | None, code: str | None, payload: Json, relations: Relations
    ) -> Iterator[str]:
        """Yields what is wrong with the verdict on an image by a name that it has."""
        untag = "untag" in payload
        if untag and tag in self.names:
            # That it is the last tag is found before.
            if code not in {"ImageInUse", "LastTag"}:
                yield f"{code}, and the tag is in use"
        elif not untag and image in self.used:
            if code != "ImageInUse":
                yield f"{code}, and it is in use"
        elif image not in self.related:
            gone = image not in self.after or (tag is not None and tag not in self.after[image])
            if code in REFUSED:
                yield f"{code}, and it was never in use"
            elif not (untag or gone or "dryRun" in payload or relations.named(self.before, image)):
                yield f"{code}, and it stayed, though it was never in use"


def _shorthand(image_id: tuple[str | None, str | None]) -> Json:
    return {k: v for k, v in zip(("imageDigest", "imageTag"), image_id, strict=True) if v is not None}


def _key(image_id: Json) -> tuple[str | None, str | None]:
    return image_id.get("imageDigest"), image_id.get("imageTag")


def _refused(answer: Json) -> tuple[Any, ...]:
    """Returns what an answer says to be in use, or not known."""
    failures = {(_key(f["imageId"]), f["failureCode"]) for f in answer["failures"] if f["failureCode"] in REFUSED}
    if "selected" not in answer:
        return (failures,)
    kept = {_key(kept["imageId"]) for kept in answer.get("kept", [])}
    return failures, kept, answer["keptByReason"].get("InUse", 0)


def complaints(functions: Functions, history: History) -> tuple[list[str], list[str]]:
    """Returns what is wrong with a history, and what came of each of its requests."""
    world = World(functions, history)
    try:
        return list(world.carry_out(history.happenings)), world.said
    finally:
        world.end()
