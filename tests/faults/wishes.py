"""Requests with guards, and selections: what each must take, what it must leave, and what it may tell."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.faults.promise import Scene
from tests.faults.queue import Queue
from tests.faults.world import Json, World, subject

ENVIRONMENT = {"PROTECTED_TAGS": "prod*", "PROTECTED_REPOSITORIES": "kept-*", "MAX_CONCURRENT_CALLS": "2"}
OLD, YOUNG = 30, 1
"""Days since the push; two weeks are the limit."""

_OLD_PREVIEWS: Json = {
    "tagStatus": "tagged",
    "tagPatternList": ["pr-*"],
    "excludeTagPatternList": ["*-keep"],
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 14,
}
_RENEWED = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """One request, and what is to come of it."""

    request: Json
    goes: frozenset[str] = frozenset()
    """The tags and digests that are gone in the end. All others stay."""
    fails: Json = field(default_factory=dict)
    """The failure code of each tag, or digest, that is refused."""
    reports: tuple[str, ...] = ("",)
    """The requests that are reported on, by what their requestId has behind the wish's own."""


type Build = Callable[[World, str], Wish]


def protected(world: World, repository: str) -> Wish:
    """Named images, some with a protected tag, in two calls."""
    asked: list[Json] = []
    goes: set[str] = set()
    fails: Json = {}
    for n in range(21):
        tag = f"{repository}-{n}"
        lone = world.put(repository, tag)
        moved, by_both, by_digest = (world.put(repository, f"{tag}-{name}") for name in ("moved", "both", "digest"))
        prod = world.put(repository, f"prod-{tag}", f"{tag}-x")
        other = world.put(repository, f"{tag}-y", f"prod-{tag}-y")
        asked += [{"imageTag": tag}, {"imageDigest": by_digest}, {"imageTag": f"{tag}-both", "imageDigest": by_both}]
        asked += [{"imageTag": f"prod-{tag}"}, {"imageDigest": other}]
        asked += [{"imageTag": f"{tag}-x"}, {"imageTag": f"{tag}-moved", "imageDigest": prod}]
        goes |= {tag, lone, by_digest, f"{tag}-digest", by_both, f"{tag}-both", f"{tag}-x"}
        fails |= {f"prod-{tag}": "ProtectedTag", other: "ProtectedTag", f"{tag}-moved": "ImageTagDoesNotMatchDigest"}
        assert moved not in goes
    missing = f"sha256:{'f' * 63}{repository[-1]}"  # so that all are looked up one by one
    asked.append({"imageDigest": missing})
    fails[missing] = "ImageNotFound"
    return Wish({"repositoryName": repository, "imageIds": asked}, frozenset(goes), fails)


def cascade(world: World, repository: str) -> Wish:
    """Indexes with all that belongs to them, but for what others need, or has a tag of its own."""
    asked: list[Json] = []
    goes: set[str] = set()
    for n in range(12):
        tag = f"{repository}-{n}"
        mine, shared, deep = (world.put(repository) for _ in range(3))
        named = world.put(repository, f"{tag}-amd64")
        inner = world.put(repository, children=(deep,))
        index = world.put(repository, tag, children=(mine, shared, named, inner))
        world.put(repository, f"{tag}-kept", children=(shared,))
        signature = world.put(repository, subject=index)
        asked.append({"imageTag": tag})
        goes |= {tag, index, mine, deep, inner, signature, world.put(repository, subject=signature)}
    return Wish({"repositoryName": repository, "imageIds": asked, "cascade": True, "notify": True}, frozenset(goes))


def untag(world: World, repository: str) -> Wish:
    """One tag of two, of many images; and the only one."""
    tags = [f"{repository}-{n}" for n in range(60)]
    for tag in tags:
        world.put(repository, tag, f"{tag}-stays")
    world.put(repository, f"{repository}-last")
    asked = [{"imageTag": tag} for tag in [*tags, f"{repository}-last"]]
    request = {"repositoryName": repository, "imageIds": asked, "untag": True}
    return Wish(request, frozenset(tags), {f"{repository}-last": "LastTag"})


def selected(world: World, repository: str) -> Wish:
    """Old previews in two calls, among images that are young, excluded, protected, or something else."""
    goes: set[str] = set()
    for n in range(101):
        goes |= {f"pr-{repository}-{n}", world.put(repository, f"pr-{repository}-{n}", days=OLD)}
    for name in (f"pr-{repository}-x", f"pr-{repository}-keep", f"main-{repository}"):
        world.put(repository, name, days=YOUNG if name.endswith("x") else OLD)
    world.put(repository, f"prod-{repository}", f"pr-{repository}-prod", days=OLD)
    index = [world.put(repository, days=OLD), world.put(repository, days=OLD)]
    world.put(repository, f"v1-{repository}", days=OLD, children=tuple(index))
    return Wish({"repositoryName": repository} | _selection(), frozenset(goes))


def wholes(world: World, repository: str) -> Wish:
    """All but the newest two, by what was pushed: with their platform images, and signatures of today."""
    goes: set[str] = set()
    for n in range(6):
        tag = f"pr-{repository}-{n}"
        child = world.put(repository, days=OLD + n)
        index = world.put(repository, tag, days=OLD + n, children=(child,))
        signature = world.put(repository, days=0, subject=index)
        if n > 1:
            goes |= {tag, child, index, signature}
    meant = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}
    return Wish({"repositoryName": repository} | _selection(meant), frozenset(goes))


def spread(world: World, repository: str) -> Wish:
    """A selection in every repository of a team, but for one that is protected."""
    goes: set[str] = set()
    for name in (f"{repository}/a", f"{repository}/b"):
        for n in range(3):
            goes |= {f"pr-{name}-{n}", world.put(name, f"pr-{name}-{n}", days=OLD)}
        world.put(name, f"pr-{name}-keep", days=OLD)
    world.put(f"kept-{repository}/a", f"pr-kept-{repository}", days=OLD)
    request = {"repositoryNames": [f"*{repository}/*"]} | _selection()
    return Wish(request, frozenset(goes), reports=(f"/{repository}/a", f"/{repository}/b"))


def dry(build: Build) -> Build:
    """The same without effect."""

    def build_dry(world: World, repository: str) -> Wish:
        wish = build(world, repository)
        return Wish({**wish.request, "dryRun": True, "notify": True}, fails=wish.fails)

    return build_dry


def _selection(meant: Json = _OLD_PREVIEWS) -> Json:
    return {"selection": meant, "allowPercent": 100, "notify": "always"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, and the services and operations that may fail for it."""

    build: Build
    services: tuple[str, ...]
    batch: int = 1
    """Requests in the SQS batch."""
    hurried: bool = False
    """The first invocations are short of time."""
    counts: bool = False
    """New images would change what is meant."""


_ALL = ("ecr", "dynamodb", "sns")
KINDS = {
    "protected tags": Kind(protected, (*_ALL, "DescribeImages", "BatchGetImage"), batch=2),
    "cascade": Kind(cascade, (*_ALL, "BatchGetImage", "ListImageReferrers")),
    "untag": Kind(untag, ("ecr", "dynamodb", "DescribeImages")),
    "dry run": Kind(dry(protected), _ALL),
    "dry run of a selection": Kind(dry(selected), ("ecr", "dynamodb")),
    "selection": Kind(selected, (*_ALL, "DescribeImages", "BatchGetImage")),
    "selection of wholes": Kind(wholes, ("ecr", "dynamodb", "BatchGetImage"), counts=True),
    "selection in pieces": Kind(selected, ("ecr", "dynamodb", "sqs"), hurried=True),
    "selection spread": Kind(spread, ("ecr", "dynamodb", "sqs", "DescribeRepositories")),
}


@dataclass
class Wishes(Scene):
    """A scene of requests of one kind."""

    kind: Kind = field(kw_only=True)
    wishes: dict[str, Wish] = field(default_factory=dict)
    there: dict[str, set[str]] = field(default_factory=dict)
    """The tags and digests of each repository in the beginning."""
    renewed: set[tuple[str, str]] = field(default_factory=set)
    """Repositories and tags that were pushed again."""

    @classmethod
    def of_kind(cls, kind: Kind) -> "Wishes":
        world = World()
        wishes = {f"repository-{n}": kind.build(world, f"repository-{n}") for n in range(kind.batch)}
        bodies = {name: json.dumps(wish.request | {"requestId": name}) for name, wish in wishes.items()}
        world.digests_may_repeat = any("selection" in wish.request for wish in wishes.values())
        there = {repository: world.names(repository) for repository in list(world.images)}
        return cls(world, Queue(bodies), {}, kind=kind, wishes=wishes, there=there)

    @property
    def goes(self) -> set[str]:
        return {name for wish in self.wishes.values() for name in wish.goes}

    def push_again(self) -> None:
        """Some of the tags that are gone by now get a new image, unless that would change what is meant."""
        if self.kind.counts:
            return
        for repository, there in self.there.items():
            gone = sorted(name for name in there - self.world.names(repository) if not name.startswith("sha256:"))
            for tag in gone[:: max(1, len(gone) // _RENEWED)]:
                self.world.push(repository, tag, time.time())
                self.renewed.add((repository, tag))

    def complaints(self, *, doubts: int = 0, may_be_dead: bool = False) -> Iterator[str]:
        """What the promise does not allow."""
        yield from self.world.violations
        if self.queue.bodies:
            yield f"still on the queue: {list(self.queue.bodies)}"
        if self.queue.dead and not may_be_dead:
            yield f"dead letters, although the fault was lifted: {list(self.queue.dead)}"
        for repository in self.there:
            yield from self._misplaced(repository)
        told = Counter(map(subject, self.world.notices))
        for request_id, count in told.items():
            if count > 1 + doubts:
                yield f"{request_id}: {count} notices"
        expected = {name + report for name, wish in self.wishes.items() for report in wish.reports}
        if (missing := expected - told.keys()) and not self.queue.dead:
            yield f"no notice of {sorted(missing)}"
        for notice in self.world.notices:
            yield from self._untrue(notice)

    def _misplaced(self, repository: str) -> Iterator[str]:
        """Images and tags that are gone and must stay, or the other way round."""
        there, left = self.there[repository], self.world.names(repository)
        if taken := there - left - self.goes:
            yield f"{repository}: gone, although they must stay: {sorted(taken)[:3]} of {len(taken)}"
        if lost := {tag for where, tag in self.renewed if where == repository} - left:
            yield f"{repository}: deleted although pushed again: {sorted(lost)[:3]}"
        stayed = (there & left & self.goes) - {tag for _, tag in self.renewed}
        if stayed and not self.queue.dead:
            yield f"{repository}: left, although they must go: {sorted(stayed)[:3]} of {len(stayed)}"

    def _untrue(self, notice: Json) -> Iterator[str]:
        """Failures that are told and are none, or should be told and are not."""
        name = notice.get("requestId", "?")
        wish = self.wishes.get(name) or Wish({})
        told = {f["imageId"].get("imageTag") or f["imageId"].get("imageDigest"): f for f in notice.get("failures", [])}
        if missing := wish.fails.keys() - told.keys():
            yield f"{name}: not told of {sorted(missing)[:3]} of {len(missing)}"
        for key, failure in told.items():
            code, reason = failure["failureCode"], failure["failureReason"]
            in_doubt = key in self.goes and code == "ImageNotFound" and "an earlier try may have deleted it" in reason
            pushed = code == "ImageTagPushedAgain" and any(tag == key for _, tag in self.renewed)
            if code != wish.fails.get(key) and not in_doubt and not pushed:
                yield f"{name}: {key} is told to have failed with {failure}"
