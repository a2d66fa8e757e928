"""Plans: repositories, messages, and what happens to them; and the history of a plan that was carried out.

The plan is carried out before an AWS in memory, which writes down each deletion with what the repository held before
and after it. One thread does everything, so that a plan has the same history each time.
"""

import contextlib
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse

from tests.environment import VARIABLES
from tests.fakes.aws import FakeAWS, response
from tests.fakes.ecr import DAY, FakeECR, FakeImage
from tests.harness.faults import LOSES_RESPONSE, Fault, FaultyAWS, Killed
from tests.harness.function import Instance, one_after_the_other, still
from tests.harness.oracle import Id, Image, Images, Stack, parse
from tests.harness.request_queue import MAX_RECEIVES, VISIBILITY_SECONDS, RequestQueue

type Json = dict[str, Any]
type Variables = tuple[tuple[str, str], ...]

SINGLE, NAMED, PUSHED = 0x100, 0x400, 0x1000
"""The numbers of the first images of each kind that are not pictures."""
FORGETS = "forgets"
"""Beside the kinds of fault: ECR deletes all, and its answer leaves out every other id."""
_SERVICES = ("ecr", "dynamodb", "sns", "sqs")


def digest_of(number: int) -> str:
    """Returns the digest of an image by its number in its repository."""
    return f"sha256:{number + 1:064x}"


# What is planned


@dataclass(frozen=True)
class Picture:
    """An image that is there to begin with, or is pushed. It names others by their numbers."""

    tags: tuple[str, ...] = ()
    days: float = 1.5
    children: tuple[int, ...] = ()
    subject: int | None = None
    signs: int | None = None
    """The image whose signature this is, by its tag."""
    pulled: float | None = None
    archived: bool = False
    readable: bool = True


@dataclass(frozen=True)
class Repository:
    """The contents of a repository to begin with."""

    pictures: tuple[Picture, ...] = ()
    single: int = 0
    """So many more images, under the tags f-0, f-1 and so on."""
    named: int = 0
    """So many more images without tags, all named by one index with the tag big."""


@dataclass(frozen=True)
class Trouble:
    """A fault at some of the next calls of a service or operation."""

    service: str
    kind: str
    after: int
    calls: int


@dataclass(frozen=True)
class Deliver:
    """Delivers each message that waits, once, to a stack with these variables."""

    variables: Variables = ()
    batch: int = 10
    troubles: tuple[Trouble, ...] = ()
    kill: int | None = None
    """The process is killed before it makes this call, counted from now."""
    patience: int = 0
    """How often the first invocations may ask what time is left before there is none; 0 for no bound."""
    beside: int | None = None
    """Before this call, counted from now, another instance receives the same batch."""


@dataclass(frozen=True)
class Push:
    """Somebody pushes a new image, maybe under tags that others have, maybe an index or a signature."""

    repository: str
    picture: Picture


@dataclass(frozen=True)
class Move:
    """Somebody moves a tag to an image that is there."""

    repository: str
    tag: str
    number: int


@dataclass(frozen=True)
class Wait:
    """Days pass."""

    days: float


@dataclass(frozen=True)
class Redeliver:
    """All messages that are done are delivered again, as SQS may do."""


@dataclass(frozen=True)
class Redrive:
    """The dead letters are sent back."""


type Happening = Deliver | Push | Move | Wait | Redeliver | Redrive


@dataclass(frozen=True)
class Plan:
    """A plan: the images, the requests, and all that happens to them."""

    repositories: Mapping[str, Repository]
    messages: tuple[str, ...]
    happenings: tuple[Happening, ...] = (Deliver(),)
    variables: Variables = ()
    """Of the stack in the end, when nothing fails any more."""


# What has happened


@dataclass
class Try:
    """One invocation for a batch; times are by the ledger's clock."""

    messages: tuple[str, ...]
    stack: Stack
    start: int
    troubled: bool
    """Something failed, or another instance was at work on the same."""
    end: int = 0
    done: frozenset[str] = frozenset()


@dataclass
class Deletion:
    """One BatchDeleteImage that ECR has carried out."""

    at: int
    by: int
    """The number of the try."""
    repository: str
    ids: tuple[Id, ...]
    before: Images
    after: Images

    def removed(self, image_id: Id) -> bool:
        """Whether this has taken what an id names."""
        digest, tag = image_id
        if tag is None:
            return digest in self.before and digest not in self.after
        had, has = (
            {d for d, image in images.items() if tag in image.tags and digest in (None, d)}
            for images in (self.before, self.after)
        )
        return bool(had - has)


@dataclass
class Ledger(FaultyAWS):
    """An AWS in memory that writes down what becomes of the images, and by which try."""

    # The oracle expects an archived image to be deleted with its relatives, for which its manifest must be readable.
    ecr: FakeECR = field(default_factory=lambda: FakeECR(archived_image_failure=None))
    clock: int = 0
    states: dict[str, list[tuple[int, Images]]] = field(default_factory=dict)
    """The contents of each repository, and from when on it had them."""
    outside: list[tuple[int, str]] = field(default_factory=list)
    """When somebody else changed a repository; an empty name is that of all, for days that passed."""
    deletions: list[Deletion] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    """The numbers of the tries under way, the innermost last."""
    troubles: list[tuple[Trouble, int]] = field(default_factory=list)
    """With the number of the call that each begins at."""
    senders: list[int] = field(default_factory=list)
    """For each message that waits to be put on the queue, the number of the try that sent it."""
    published: list[int] = field(default_factory=list)
    """For each notice, the number of the try."""
    unacknowledged: set[int] = field(default_factory=set)
    """The numbers of the notices whose response was lost."""
    beside: tuple[int, Any] | None = None
    """The number of the call before which another instance is at work, and what lets it."""

    def write(self, repository: str) -> Images:
        """Notes what a repository holds now."""
        images = Images({digest: _seen(image) for digest, image in self.ecr.repositories[repository].items()})
        self.states.setdefault(repository, []).append((self.clock, images))
        return images

    def at(self, repository: str, clock: int) -> Images | None:
        """Returns what a repository held at a time; None if there is none."""
        found = [images for since, images in self.states.get(repository, ()) if since <= clock]
        return found[-1] if found else None

    def between(self, repository: str, start: int, end: int) -> list[Images | None]:
        """Returns all that a repository held from one time to another."""
        later = [images for since, images in self.states.get(repository, ()) if start < since <= end]
        return [self.at(repository, start), *later]

    def total(self) -> int:
        """Returns the number of calls so far."""
        return sum(self.calls[service] for service in _SERVICES)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        if self.beside and self.total() >= self.beside[0]:
            _, work = self.beside
            self.beside = None
            work()
        self.clock += 1
        number = {name: self.calls[name] for name in (service, operation)}
        self.fault = next(
            (
                Fault(trouble.service, trouble.kind, lambda _: True)
                for trouble, first in self.troubles
                if first <= number.get(trouble.service, -1) < first + trouble.calls
            ),
            None,
        )
        if self.fault and not self.killed:
            for at in self.running:
                self.tries[at].troubled = True
        lost = self.fault is not None and self.fault.kind in {*LOSES_RESPONSE, FORGETS}
        try:
            return super().answer(service, operation, body, url)
        finally:
            self.senders += self.running[-1:] * (len(self.sent) - len(self.senders))
            self.unacknowledged |= set(range(len(self.published), len(self.notices))) if lost else set()
            self.published += self.running[-1:] * (len(self.notices) - len(self.published))

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        if operation != "BatchDeleteImage":
            return super().serve(service, operation, body)
        call = json.loads(body)
        repository = call["repositoryName"]
        ids = tuple((entry.get("imageDigest"), entry.get("imageTag")) for entry in call["imageIds"])
        before = self.at(repository, self.clock)
        answer = super().serve(service, operation, body)
        if before is not None:
            self.deletions.append(
                Deletion(self.clock, self.running[-1], repository, ids, before, self.write(repository))
            )
        if self.fault and self.fault.kind == FORGETS:
            said = json.loads(answer.content)
            return response(200, json.dumps({key: entries[::2] for key, entries in said.items()}))
        return answer

    def let_time_pass(self, seconds: float) -> None:
        super().let_time_pass(seconds)
        self.clock += 1
        for repository, images in self.ecr.repositories.items():
            for image in images.values():
                if image.pulled is not None:
                    image.pulled -= seconds
            self.write(repository)


def _seen(image: FakeImage) -> Image:
    now = time.time()
    return Image(
        frozenset(image.tags),
        (now - image.pushed) / DAY,
        image.children,
        image.subject,
        None if image.pulled is None else (now - image.pulled) / DAY,
        image.status == "ARCHIVED",
        image.manifest is None,
        image.size,
    )


@dataclass
class Instances(FakeAWS):
    """Processes of the function, which serve one history after another, until they are killed."""

    ledger: Ledger = field(default_factory=Ledger)
    """The AWS that they are before."""
    _instances: dict[tuple[Variables, bool], Instance] = field(default_factory=dict)

    def get(self, variables: Variables, *, second: bool = False) -> Instance:
        """Returns an instance with these variables, or another one beside it."""
        key = variables, second
        if key not in self._instances:
            self._instances[key] = Instance(self, dict(variables))
        return self._instances[key]

    def kill(self) -> None:
        """Lets all of them be started anew."""
        self._instances.clear()

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        return self.ledger.answer(service, operation, body, url)


@dataclass
class History:
    """A plan that was carried out, down to where nothing is left to do."""

    plan: Plan
    instances: Instances
    aws: Ledger = field(default_factory=Ledger)
    queue: RequestQueue = field(default_factory=lambda: RequestQueue({}))
    bodies: dict[str, str] = field(default_factory=dict)
    """Of all messages that ever were on the queue."""
    sent_by: dict[str, int] = field(default_factory=dict)
    """For each message that the function sent, the number of the try."""
    healed: int = 0
    """The number of the first try after which nothing failed."""
    dead: dict[str, str] = field(default_factory=dict)
    """Of all messages that ever were dead letters."""
    idle: int = 0
    """The number of the first try for what is all done before."""
    answers: dict[str, Json] = field(default_factory=dict)
    """The answer of an invocation by hand in the end, by requestId."""


def carry_out(plan: Plan, instances: Instances | None = None) -> History:
    """Carries out a plan; then lets nothing fail any more, and delivers until nothing is left to do.

    In the end, all dead letters are sent back, all that is done is delivered once more, and each request of the plan is
    invoked by hand, for its answer.
    """
    instances = instances or Instances()
    history = History(plan, instances)
    aws, queue = history.aws, history.queue
    instances.ledger = aws
    for name, repository in plan.repositories.items():
        _fill(aws, name, repository)
    queue.bodies |= {f"message-{n}": body for n, body in enumerate(plan.messages)}
    # What would move to the bulk queue starts there, as if a schedule had sent it: test_lanes.py has the move.
    queue.bulk |= {m for m, body in queue.bodies.items() if '"selection"' in body or '"repositoryNames"' in body}
    history.bodies |= queue.bodies
    with still(), one_after_the_other():
        for happening in plan.happenings:
            _let_happen(history, happening)
        history.healed = len(aws.tries)
        last = Deliver(plan.variables)
        _finish(history, last)
        _redrive(history)
        _finish(history, last)
        history.idle = len(aws.tries)
        queue.redeliver()
        _finish(history, last)
        for message in plan_messages(history):
            key, request = parse(history.bodies[message], message)
            if request and "requestId" in request.payload:
                history.answers[key] = _by_hand(history, request.payload)
    return history


def plan_messages(history: History) -> list[str]:
    """Returns the messages of the plan that are done, redriven ones among them."""
    return [message for message in history.queue.done if message not in history.sent_by]


def _finish(history: History, last: Deliver) -> None:
    for _ in range(3 * MAX_RECEIVES):
        if history.queue.bodies:
            _let_happen(history, last)


def _by_hand(history: History, event: Json) -> Any:
    """Invokes the function as one would by hand."""
    aws, variables = history.aws, history.plan.variables
    _begin(aws, Try((), _stack(variables), aws.clock, troubled=False))
    try:
        return history.instances.get(variables)(event)
    except Exception as error:  # noqa: BLE001  # it is for the audit to complain
        return {"error": repr(error)}
    finally:
        _end(aws)


def _fill(aws: Ledger, name: str, repository: Repository) -> None:
    aws.ecr.repositories[name].clear()
    for number, picture in enumerate(repository.pictures):
        _push(aws, name, picture, digest_of(number))
    for number in range(repository.single):
        _push(aws, name, Picture((f"f-{number}",), days=60.5 + number / 100), digest_of(SINGLE + number))
    children = range(NAMED, NAMED + repository.named)
    for number in children:
        _push(aws, name, Picture(days=90.5 + number / 100_000), digest_of(number))
    if children:
        _push(aws, name, Picture(("big",), days=80.5, children=tuple(children)), digest_of(NAMED - 1))
    aws.write(name)


def _push(aws: Ledger, repository: str, picture: Picture, digest: str) -> None:
    tags = picture.tags
    if picture.signs is not None:
        tags = (f"{digest_of(picture.signs).replace(':', '-')}.sig", *tags)
    more: Json = {} if picture.readable else {"manifest": "not a manifest"}
    aws.ecr.push(
        repository,
        *tags,
        days=picture.days,
        children=[digest_of(child) for child in picture.children],
        subject=None if picture.subject is None else digest_of(picture.subject),
        digest=digest,
        pulled=None if picture.pulled is None else time.time() - picture.pulled * DAY,
        status="ARCHIVED" if picture.archived else "ACTIVE",
        **more,
    )


def _let_happen(history: History, happening: Happening) -> None:
    aws, queue = history.aws, history.queue
    aws.clock += 1
    match happening:
        case Deliver():
            _deliver(history, happening)
        case Push(repository) | Move(repository) if repository not in aws.ecr.repositories:
            pass  # ECR refuses it
        case Push(repository, picture):
            _push(aws, repository, picture, digest_of(PUSHED + aws.ecr.pushes))
            _changed(aws, repository)
        case Move(repository, tag, number):
            if (digest := digest_of(number)) in aws.ecr.repositories[repository]:
                aws.ecr.tag(repository, digest, tag)
                _changed(aws, repository)
        case Wait(days):
            aws.let_time_pass(days * DAY)
            aws.outside.append((aws.clock, ""))
        case Redeliver():
            queue.redeliver()
        case Redrive():
            _redrive(history)


def _redrive(history: History) -> None:
    history.queue.redrive()
    for message, body in history.queue.bodies.items():
        history.bodies[message] = body
        if (before := message.removesuffix(", redriven")) in history.sent_by:
            history.sent_by[message] = history.sent_by[before]


def _changed(aws: Ledger, repository: str) -> None:
    aws.outside.append((aws.clock, repository))
    aws.write(repository)


def _deliver(history: History, round_: Deliver) -> None:
    """Delivers one round; what the function sends is on the queue for the next."""
    aws, queue = history.aws, history.queue
    aws.troubles = [(trouble, aws.calls[trouble.service] + trouble.after) for trouble in round_.troubles]
    aws.kill_at = None if round_.kill is None else aws.total() + round_.kill
    at = None if round_.beside is None else aws.total() + round_.beside
    queue.batch_size = round_.batch
    history.instances.get(round_.variables).hurry(round_.patience)

    def invoke(event: Json) -> Any:
        instance = history.instances.get(round_.variables)
        if at is not None and aws.total() <= at:
            aws.beside = at, lambda: _beside(history, round_.variables, event)
        try:
            return _try(aws, instance, event, _stack(round_.variables), troubled=instance.hurried)
        finally:
            aws.beside = None
            if aws.killed:
                aws.restart()
                history.instances.kill()

    queue.deliver(invoke)
    aws.troubles, aws.fault = [], None
    aws.restart()
    for body, number in zip(aws.sent, aws.senders, strict=True):
        message = f"sent-{len(history.bodies)}"
        history.sent_by[message] = number
        history.bodies[message] = body
        queue.send({message: body})
    aws.sent.clear()
    aws.senders.clear()
    history.dead |= queue.dead
    aws.let_time_pass(VISIBILITY_SECONDS)


def _try(aws: Ledger, instance: Instance, event: Json, stack: Stack, *, troubled: bool) -> Any:
    messages = tuple(record["messageId"] for record in event["Records"])
    _begin(aws, Try(messages, stack, aws.clock, troubled))
    one = aws.tries[-1]
    try:
        answer = instance(event)
    except (Exception, Killed):
        one.troubled = True
        raise
    else:
        one.done = frozenset(messages) - {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        return answer
    finally:
        one.troubled |= aws.killed
        _end(aws)


def _begin(aws: Ledger, one: Try) -> None:
    aws.running.append(len(aws.tries))
    aws.tries.append(one)


def _end(aws: Ledger) -> None:
    aws.clock += 1
    aws.tries[aws.running.pop()].end = aws.clock


def _beside(history: History, variables: Variables, event: Json) -> None:
    """Lets another instance receive the same batch, while the first is at work on it."""
    aws = history.aws
    aws.tries[aws.running[-1]].troubled = True
    instance = history.instances.get(variables, second=True)
    with contextlib.suppress(Exception, Killed):
        _try(aws, instance, copy.deepcopy(event), _stack(variables), troubled=True)


def _stack(variables: Variables) -> Stack:
    return Stack.of(VARIABLES | dict(variables))
