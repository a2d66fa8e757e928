"""What is in use, kept as plain books: who runs what, what was read of it, and what was declared.

Written from docs/in-use.md alone. It knows what the test did, and nothing of the code: who runs what, which digest a
tag had then, and which readings were whole.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

type Name = str
"""A digest or a tag, by which an image is used."""
type Images = Mapping[str, frozenset[str]]
"""What a repository holds: the tags of each digest."""
type Uses = frozenset[tuple[str, Name]]
"""What a source uses, with the part of the source that says so: a cluster, a family, a function."""

DAY = 86_400.0
SLACK = 30.0
"""Seconds for which it is not said what holds just then."""
CLOCK = 300.0
"""How far in the future a source may have been read, and still be believed."""
READ = ("ecs", "inspector", "lambda")
"""The sources that are read."""


@dataclass
class Task:
    """A task of ECS."""

    cluster: str
    name: Name
    pin: str | None = None
    """The digest that its service's revision has pinned."""
    digest: str | None = None
    """The one that it has pulled."""
    arn: str = ""

    def start(self, resolve: Callable[[Name], str | None]) -> None:
        """Pulls its image, unless it has one."""
        self.digest = self.digest or self.pin or resolve(self.name)

    @property
    def names(self) -> set[Name]:
        """Returns what it has pulled, or what it is going to."""
        return {self.digest or self.name}


@dataclass
class Revision:
    """A service's revision, with the tasks that it has started."""

    name: Name
    pinned: str | None
    tasks: list[Task]


@dataclass
class Workloads:
    """Who runs what; a family's revisions are the names that they have in turn."""

    resolve: Callable[[Name], str | None]
    """Returns the digest that a name means now; None if there is no such image."""
    definitions_count: bool = True
    """Whether what nothing runs counts as well, because a task definition names it."""
    families: dict[str, list[Name]] = field(default_factory=dict)
    services: dict[tuple[str, str], list[Revision]] = field(default_factory=dict)
    """The revisions that are current, the newest first."""
    tasks: list[Task] = field(default_factory=list)
    """Those that belong to no service."""
    functions: dict[str, dict[str, str]] = field(default_factory=dict)
    """The digest of each version."""
    inspected: dict[str, int] = field(default_factory=dict)
    """In how many tasks and pods Inspector sees a digest."""

    def deploy(self, service: tuple[str, str], name: Name, count: int, *, in_progress: bool) -> None:
        """Deploys a service; while that is in progress, the revisions before it run."""
        self.families.setdefault(service[1], []).append(name)
        pinned = self.resolve(name)
        revision = Revision(name, pinned, [Task(service[0], name, pinned) for _ in range(count)])
        former = [r for r in self.services.get(service, []) if r.tasks]
        self.services[service] = [revision, *former]
        if not in_progress:
            self.finish(service)

    def finish(self, service: tuple[str, str]) -> None:
        """Ends a deployment."""
        self.services[service] = self.services[service][:1]
        for task in self.services[service][0].tasks:
            task.start(self.resolve)

    def scale(self, service: tuple[str, str], count: int) -> None:
        """Starts tasks of the newest revision, or stops some."""
        newest = self.services[service][0]
        del newest.tasks[count:]
        while len(newest.tasks) < count:
            newest.tasks.append(Task(service[0], newest.name, newest.pinned))
            newest.tasks[-1].start(self.resolve)

    def forget_revisions(self, service: tuple[str, str]) -> None:
        """Makes a service one for which nothing is pinned."""
        for revision in self.services[service]:
            revision.pinned = None

    def uses(self) -> dict[str, Uses]:
        """Returns what each source that is read would say now: by the table of sources in the document."""
        ecs = {(f"cluster {task.cluster}", name) for task in self.tasks for name in task.names}
        for (cluster, _), revisions in self.services.items():
            for revision in revisions:
                ecs.add((f"cluster {cluster}", revision.pinned or revision.name))
                ecs |= {(f"cluster {cluster}", name) for task in revision.tasks for name in task.names}
        if self.definitions_count:
            ecs |= {(f"family {family}", name) for family, names in self.families.items() for name in names[-3:]}
        lambda_ = {(function, digest) for function, all_ in self.functions.items() for digest in all_.values()}
        inspector = {("coverage", digest) for digest, count in self.inspected.items() if count}
        return {"ecs": frozenset(ecs), "lambda": frozenset(lambda_), "inspector": frozenset(inspector)}

    def names(self) -> set[Name]:
        """Returns all names by which anything is used in any way, also those that the document does not promise."""
        tasks = [*self.tasks, *(t for revisions in self.services.values() for r in revisions for t in r.tasks)]
        told = {name for uses in self.uses().values() for _, name in uses}
        return told | {t.name for t in tasks} | {r.name for revisions in self.services.values() for r in revisions}


class Reading(NamedTuple):
    """A reading of a source that is under way, or was whole."""

    source: str
    began: float
    claimed: float
    """When it began by the clock of who read."""
    uses: Uses
    """What was in use in all of its turns."""


class Declaration(NamedTuple):
    """What a source said to be in use."""

    source: str
    names: frozenset[Name]
    declared: float
    expires: float


@dataclass
class Books:
    """What is known to be in use at a time, and what may be."""

    sources: tuple[str, ...]
    """Those that must be known."""
    in_use_seconds: float
    max_age: float
    """Seconds after which a source that was not read is not known."""
    readings: list[Reading] = field(default_factory=list)
    """Those that were whole."""
    declarations: list[Declaration] = field(default_factory=list)
    _perhaps: dict[Name, float] = field(default_factory=dict)

    def in_use(self, now: float) -> set[Name]:
        """Returns what no request may delete: what the last reading saw, and what was seen since InUseDays."""
        names: set[Name] = set()
        last = {r.source: r for r in sorted(self.readings, key=lambda r: r.began)}
        for reading in self.readings:
            seen = min(reading.began, reading.claimed)
            age = now + SLACK - seen
            if age < self.in_use_seconds or (reading is last[reading.source] and age < self.max_age):
                names |= {name for _, name in reading.uses}
        for declaration in self.declarations:
            if now + SLACK < max(declaration.expires, declaration.declared + self.in_use_seconds):
                names |= declaration.names
        return names

    def use(self, names: Iterable[Name], now: float, seconds: float = 0.0) -> None:
        """Notes that something is used now, or for so long: whoever reads that may keep it for somewhat longer."""
        longest = 1.2 * max(seconds, self.in_use_seconds + self.max_age + 3_600)
        self._perhaps |= {name: max(self._perhaps.get(name, 0.0), now + longest) for name in names}

    def perhaps(self, now: float) -> set[Name]:
        """Returns what may be taken to be in use: all else must go when it is asked for."""
        return {name for name, until in self._perhaps.items() if now < until}

    def known(self, now: float) -> bool | None:
        """Returns whether it is known what is in use; None where that depends on how wrong a clock was, or on luck."""
        known = [self._known(source, now) for source in self.sources]
        return False if False in known else None if None in known else True

    def _known(self, source: str, now: float) -> bool | None:
        if source not in READ:
            # The newest says for how long, whatever was said before.
            declared = [(d.declared, d.expires) for d in self.declarations if d.source == source]
            expires = max(declared, default=(0.0, 0.0))[1]
            return None if abs(expires - now) < SLACK else now < expires
        readings = [reading for reading in self.readings if reading.source == source]
        if not any(r.claimed - CLOCK - SLACK < now < max(r.began, r.claimed) + self.max_age + SLACK for r in readings):
            return False
        last = readings[-1]
        ahead = last.claimed > now + CLOCK - SLACK
        return None if ahead or now > min(last.began, last.claimed) + self.max_age - SLACK else True


@dataclass
class Relations:
    """What images have to do with each other: what an index names, and of what something is a signature."""

    children: dict[str, tuple[str, ...]] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def in_use(self, images: Images, names: set[Name]) -> set[str]:
        """Returns the images that are in use, by the list in the document, where these names are."""
        run = names | {digest for digest, tags in images.items() if tags & names}
        while more := {c for d in run if d in images for c in self.children.get(d, ())} - run:
            run |= more
        while more := {d for d in images if run & {*self.children.get(d, ()), *self._signs(images, d)}} - run:
            run |= more
        return run & images.keys()

    def related(self, images: Images, names: set[Name]) -> set[str]:
        """Returns the images that have to do with these names in whatever way."""
        run = names | {digest for digest, tags in images.items() if tags & names}
        edges = [(d, other) for d in images for other in {*self.children.get(d, ()), *self._signs(images, d)}]
        while more := {b if a in run else a for a, b in edges if (a in run) != (b in run)}:
            run |= more
        return run

    def below(self, digests: Iterable[str]) -> set[str]:
        """Returns these and all that they name, at any depth: ECR itself deletes none of it while an index is there."""
        run = set(digests)
        while more := {child for digest in run for child in self.children.get(digest, ())} - run:
            run |= more
        return run

    def named(self, images: Images, digest: str) -> bool:
        """Returns whether an index that is there names an image."""
        return any(digest in self.children.get(index, ()) for index in images)

    def _signs(self, images: Images, digest: str) -> set[str]:
        signed = {subject for tag in images[digest] if (subject := signed_by(tag))}
        return signed | ({self.subjects[digest]} if digest in self.subjects else set())


def signature_tag(digest: str) -> str:
    """Returns the tag of an image's signature."""
    return digest.replace(":", "-") + ".sig"


def signed_by(tag: str) -> str | None:
    """Returns the image whose signature has this tag; None for any other tag."""
    return tag.removesuffix(".sig").replace("-", ":", 1) if tag.startswith("sha256-") else None
