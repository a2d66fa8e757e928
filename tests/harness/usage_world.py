"""The real two functions against the embedded AWS, and beside them books of what was done; what is gone against these.

Time passes here as it does in `Outside.let_time_pass`: everything that is stored becomes older.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from moto.dynamodb.models import dynamodb_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.inspector2.models import inspector2_backends

from local import workloads
from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.poller import FakeLambdaContext, Handler, load_function
from tests.fakes.lambda_ import ImpatientContext
from tests.harness.direct import Direct, Fault
from tests.harness.faults import Killed
from tests.harness.outside import DAY, REPOSITORY, Outside
from tests.harness.usage_model import Books, Images, Name, Reading, Relations, Workloads, signed_by

type Json = dict[str, Any]
type ImageId = tuple[str | None, str | None]
"""A digest and a tag."""

DECLARES = "eks/prod"
"""The source that declares what it uses."""
PARAMETERS = {
    "ProtectInUse": "ecs,lambda,inspector,declared",
    "UsageSources": DECLARES,
    "MaxPercentOfRepository": "100",
}
"""Those of the stack."""
REFUSED = {"ImageInUse", "UsageUnknown"}
PATIENT = 10_000
_MAX_AGE = 3 * 60 * 60.0
"""UsageRefreshMinutes are 60."""
_CLAIMED_SECONDS = 3 * 60 * 60.0
"""How long after a fault a source may still be claimed by a reading that has ended."""


@dataclass
class Sent:
    """A request as it was sent."""

    payload: Json
    request_id: str
    ids: tuple[ImageId, ...] = ()
    """What it names."""
    done: bool = False


@dataclass
class HandedOn:
    """A further turn of a reading."""

    event: Json
    reading: Reading
    passed: float
    """The time that had been let pass when it was handed on."""
    request_id: str


class Functions:
    """The two functions, as a stack that protects all sources has them; all histories share them."""

    def __init__(self, aws: EmbeddedAWS) -> None:
        unused: Any = None
        self.aws, self.direct = aws, Direct()
        self.outside = Outside(aws, faults=unused, capsys=unused)
        with mock.patch("boto3.client", self.direct.client):
            load_function(aws.environment)
            load_function(aws.usage_environment, "usage_app")
            app, bootstrap, usage_app = (sys.modules[f"handler.{name}"] for name in ("app", "bootstrap", "usage_app"))
            self._deleter, unguarded = (bootstrap.Services.from_env(aws.environment) for _ in range(2))
            settings = usage_app.ReaderSettings.from_env(aws.usage_environment)
            running = settings._replace(protect_in_use=("ecs-running",))
            self._reader, self._list_running = usage_app.Services(settings), usage_app.Services(running).sources
        self._list_units = self._reader.sources
        unguarded.settings = unguarded.settings._replace(protect_in_use=())
        self.unguarded: Handler = app.create_handler(unguarded)
        """The function that deletes, in a stack that protects nothing that is in use."""
        self._create_deleter, self._create_reader = app.create_handler, usage_app.create_handler
        names = ("refresh", "inventory", "claims", "measures")
        self._read_clocks = [sys.modules[f"handler.usage.{name}"] for name in names]

    def start(self, kinds: tuple[str, ...], in_use_days: int) -> None:
        """Starts an instance of each, in a stack in which nothing has happened yet, and which protects these kinds."""
        sources = (DECLARES,) if "declared" in kinds else ()
        changes = {"protect_in_use": kinds, "usage_sources": sources, "in_use_days": in_use_days}
        for services in (self._deleter, self._reader):
            services.settings = services.settings._replace(**changes)
        running = self._list_running if "ecs-running" in kinds else {}
        self._reader.sources = {s: units for s, units in (self._list_units | running).items() if s in sources_of(kinds)}
        self.delete: Handler = self._create_deleter(self._deleter)
        self.read: Handler = self._create_reader(self._reader)
        ecr_backends[ACCOUNT_ID][REGION].repositories[REPOSITORY].images.clear()
        for table in dynamodb_backends[ACCOUNT_ID][REGION].tables.values():
            table.items.clear()
        ecs_backends[ACCOUNT_ID][REGION].reset()
        inspector: Any = inspector2_backends[ACCOUNT_ID][REGION]
        inspector.covered.clear()
        # It covers something at least, without which it is not known.
        workloads.report_use(self.aws, "elsewhere", f"sha256:{0:064}", 0, account_id="2" * 12)

    @contextmanager
    def clock_ahead(self, seconds: float) -> Iterator[None]:
        """Sets the clock of who reads."""
        clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic, sleep=time.sleep)
        with contextlib.ExitStack() as stack:
            for module in self._read_clocks:
                stack.enter_context(mock.patch.object(module, "time", clock))
            yield


class World:
    """A stack, what runs around it, and the books of both."""

    def __init__(self, functions: Functions, kinds: tuple[str, ...], in_use_days: int) -> None:
        functions.start(kinds, in_use_days)
        self.functions, self.outside, self.aws = functions, functions.outside, functions.aws
        self.relations, self.running = Relations(), Workloads(self.resolve, "ecs-running" not in kinds)
        self.books = Books(sources_of(kinds), in_use_days * float(DAY), _MAX_AGE)
        self.digests: list[str] = []
        """All images that were ever pushed, in this order."""
        self.said: list[str] = []
        """What came of each request and each failed invocation, for whoever reads a failing example."""
        self.sent: list[Sent] = []
        self.handed_on: list[HandedOn] = []
        self._passed = 0.0
        self._number = 0
        self._disturbed = 0.0

    # The world as it is

    @property
    def now(self) -> float:
        """The time in the world, in which some has passed that did not elsewhere."""
        return time.time() + self._passed

    def images(self) -> dict[str, frozenset[str]]:
        """Returns what the repository holds."""
        images = ecr_backends[ACCOUNT_ID][REGION].repositories[REPOSITORY].images
        return {str(image.image_digest): frozenset(image.image_tags) for image in images}

    def resolve(self, name: Name) -> str | None:
        """Returns the digest of an image that is there, by its digest or a tag."""
        return next((digest for digest, tags in self.images().items() if name == digest or name in tags), None)

    def next(self, what: str) -> str:
        """Returns an id that no other has."""
        self._number += 1
        return f"{what}-{self._number}"

    def let_time_pass(self, seconds: float) -> None:
        """Makes everything older."""
        self.outside.let_time_pass(seconds)
        self._passed += seconds

    def note_use(self) -> None:
        """Notes everything that is used now in whatever way: some reading may have seen it."""
        self.books.use(self.running.names(), self.now)

    # Invocations

    def invoke(self, function: Handler, event: Json, context: FakeLambdaContext, fault: Fault | None) -> Json | None:
        """Invokes a function, where some call meets a fault; returns None where it failed."""
        with self.functions.direct.failing(fault):
            try:
                answer: Json | None = function(json.loads(json.dumps(event)), context)
            except (Exception, Killed) as error:  # noqa: BLE001  # whatever it is, Lambda takes it for a failure
                self.said.append(f"{event}: {error!r}")
                return None
            return answer or {}

    def read(
        self,
        event: Json,
        request_id: str,
        readings: dict[str, Reading],
        *,
        fault: Fault | None = None,
        patience: int = PATIENT,
        skew: int = 0,
    ) -> tuple[set[str], bool]:
        """Invokes the function that reads; returns the sources that it says to have read whole, and if it succeeded."""
        context = ImpatientContext(request_id, "UsageFunction", timeout=900)
        context.patience = patience
        if fault or patience != PATIENT or "reading" in event:
            self._disturbed = self.now
        output = io.StringIO()
        with contextlib.redirect_stdout(output), self.functions.clock_ahead(skew):
            answer = self.invoke(self.functions.read, event, context, fault)
        metrics = [json.loads(line) for line in output.getvalue().splitlines()]
        complete = {metric["source"] for metric in metrics if "ImagesInUse" in metric}
        self.books.readings += [readings[source] for source in complete]
        for turn in self.functions.direct.take_invoked():
            reading = readings[turn["source"]]
            self.handed_on.append(HandedOn(turn, reading, self._passed, self.next("turn")))
        return complete, answer is not None

    def readings(self, skew: int = 0) -> dict[str, Reading]:
        """Returns a reading of each source that begins now."""
        now, uses = self.now, self.running.uses()
        return {s: Reading(s, now, now + skew, uses[s]) for s in self.books.sources if s in uses}

    def resume(self, turn: HandedOn) -> tuple[Json, dict[str, Reading]]:
        """Returns the event of a further turn, and its reading: what was in use at its beginning, and still is."""
        event = turn.event | {"began": turn.event["began"] - (self._passed - turn.passed)}
        reading = turn.reading
        return event, {reading.source: reading._replace(uses=reading.uses & self.running.uses()[reading.source])}

    @property
    def undisturbed(self) -> bool:
        """Whether no source can be claimed by a reading that failed, nor have been read in the future."""
        ahead = any(reading.claimed > self.now for reading in self.books.readings)
        return not ahead and self.now - self._disturbed > _CLAIMED_SECONDS

    # Requests

    def deliver(self, sent: Sent, fault: Fault | None = None) -> Iterator[str | Json]:
        """Delivers a request, perhaps not for the first time; yields what is wrong, and the answer if it was new."""
        before, now = self.images(), self.now
        names = self.books.in_use(now)
        state = State(
            before,
            names,
            self.books.known(now),
            self.relations.in_use(before, names),
            self.relations.related(before, self.books.perhaps(now)),
        )
        selected = self._selected(sent) if "selection" in sent.payload and not sent.done else set()
        answer = self.invoke(self.functions.delete, sent.payload, FakeLambdaContext(sent.request_id), fault)
        after = self.images()
        self.said.append(f"{sent.payload}: known: {state.known}, in use: {names}, {answer}")
        yield from state.losses(after, sent, self.relations)
        new, sent.done = not sent.done, sent.done or answer is not None
        if answer is not None and new and not self.functions.direct.strikes:
            if "selection" in sent.payload:
                yield from state.check_selection(answer, selected)
            else:
                yield from state.check_named(answer, after, sent, self.relations)
            yield answer

    def _selected(self, sent: Sent) -> set[str]:
        """Returns what a selection would delete if nothing were in use."""
        payload = sent.payload | {"requestId": self.next("request"), "dryRun": True}
        answer = self.functions.unguarded(payload, FakeLambdaContext())
        return {image_id["imageDigest"] for image_id in answer["imageIds"]}


class State(NamedTuple):
    """The state in which a request was carried out, by the books."""

    images: Images
    names: set[Name]
    """What is in use by itself."""
    known: bool | None
    """Whether that is all; None if nobody can say."""
    used: set[str]
    """The images that are in use."""
    related: set[str]
    """The images that may be taken to be in use; all others must go."""

    def losses(self, after: Images, sent: Sent, relations: Relations) -> Iterator[str]:
        """Yields what is gone and should not be."""
        if after != self.images and (self.known is False or sent.done or "dryRun" in sent.payload):
            yield f"{self.images} became {after}, which is known: {self.known}, done before: {sent.done}"
        for digest in relations.below(self.used) & self.images.keys() - after.keys():
            yield f"{digest} is in use, and gone"
        for digest in self.used & after.keys():
            tags = self.images[digest]
            if lost := (self._in_use_by_name(tags) if "untag" in sent.payload else tags) - after[digest]:
                yield f"{digest} is in use, and lost {lost}"

    def _in_use_by_name(self, tags: Iterable[str]) -> set[str]:
        """Returns those tags that no request may remove."""
        return {tag for tag in tags if tag in self.names or signed_by(tag) in self.used}

    def check_selection(self, answer: Json, selected: set[str]) -> Iterator[str]:
        """Yields what is wrong with the answer to a selection that means these images where nothing is in use."""
        codes = {failure["failureCode"] for failure in answer["failures"]}
        if self.known is False and codes != {"UsageUnknown"}:
            yield f"it is not known what is in use, and the failures are {codes}"
        if not self.known:
            return
        if codes & REFUSED:
            yield f"it is known what is in use, and the failures are {codes}"
        elif unduly := selected - self.related - {image_id["imageDigest"] for image_id in answer["imageIds"]}:
            yield f"{unduly} stayed, and were never in use"
        if selected & self.used and not answer["keptByReason"].get("InUse"):
            yield f"{selected & self.used} would have been deleted, and nothing is counted as in use"
        if strangers := {kept["imageId"]["imageDigest"] for kept in answer.get("kept", ())} - self.related:
            yield f"{strangers} are said to be in use, and never were"

    def check_named(self, answer: Json, after: Images, sent: Sent, relations: Relations) -> Iterator[str]:
        """Yields what is wrong with the verdicts on the images that a request names."""
        codes = {id_of(failure["imageId"]): failure["failureCode"] for failure in answer["failures"]}
        for digest, tag in sent.ids:
            code = codes.get((digest, tag))
            image = next((d for d, tags in self.images.items() if (tag in tags if tag else d == digest)), None)
            if self.known is False and code != "UsageUnknown":
                yield f"{digest} {tag}: {code}, and it is not known what is in use"
            elif self.known and image is not None and digest in {None, image}:
                for problem in self._verdict(image, tag, code, sent.payload):
                    yield f"{digest} {tag}: {code}, and {problem}"
                named = any(image in relations.children.get(index, ()) for index in self.images)
                stays = named or image in self.related or not {"untag", "dryRun"}.isdisjoint(sent.payload)
                if not stays and image in after and (tag is None or tag in after[image]):
                    yield f"{digest} {tag}: {code}, and it stayed, and was never in use"

    def _verdict(self, image: str, tag: str | None, code: str | None, payload: Json) -> Iterator[str]:
        if "untag" in payload:
            if self._in_use_by_name([tag] if tag else []) and code not in {
                "ImageInUse",
                "LastTag",
            }:  # that it is the last is found before
                yield "the tag is in use"
        elif image in self.used and code != "ImageInUse":
            yield "it is in use"
        if image not in self.related and code in REFUSED:
            yield "it was never in use"


def sources_of(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the sources that must be known, by what ProtectInUse lists."""
    return tuple(DECLARES if kind == "declared" else kind.removesuffix("-running") for kind in kinds)


def id_of(image_id: Json) -> ImageId:
    """Returns an imageId's digest and tag."""
    return image_id.get("imageDigest"), image_id.get("imageTag")


def refusals(answer: Json) -> tuple[Collection[Any], ...]:
    """Returns what an answer says to be in use, or not known."""
    failures = {(id_of(f["imageId"]), f["failureCode"]) for f in answer["failures"] if f["failureCode"] in REFUSED}
    if "selected" not in answer:  # a relative may stay for other reasons, which a dry run does not see
        return (failures,)
    kept = {id_of(kept["imageId"]) for kept in answer.get("kept", ())}
    return failures, kept, [answer["keptByReason"].get("InUse", 0)]
