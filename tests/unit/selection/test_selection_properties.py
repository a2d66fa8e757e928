"""Selections against a plain model of a repository, in the words of the README, and whatever comes in between."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import guards, selection
from handler.concurrency import TaskPool
from handler.models.errors import OutOfTimeError, ServiceUnavailableError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.images import Image, ImageFailure, ImageId, ListedImage
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Selection
from handler.models.selection_outcome import SelectionOutcome
from handler.selection import Plan
from tests.values import DAY, LOG, NOW, digest

PROTECTED = "prod*"
TAGS = [(), (), ("pr-{}",), ("pr-{}",), ("pr-{}", "v1.{}"), ("v1.{}",), ("pr-{}-keep",), ("pr-{}", "prod-{}")]
"""Those of an image, but for its number."""
PATTERNS = ["*", "pr-*", "*-keep", "p*-*-*", "v1.*", "*1*", "main", "sha256-*"]
MISSING = digest(99)


class Crash(Exception):  # noqa: N818  # what happens, not what code reports
    """The end of an invocation in the middle of a selection."""


type Stop = type[Crash | UnfinishedRequestError]
BEFORE: list[Stop] = [Crash, ServiceUnavailableError, OutOfTimeError]
AFTER: list[Stop] = [Crash, UnknownOutcomeError]


@dataclass
class Model:
    """A repository as ECR has it, in which something may come in between before or after any call."""

    images: dict[str, ListedImage]
    children: dict[str, list[str]]
    """The digests that each index names."""
    unread: set[str] = field(default_factory=set)
    """Indexes that ECR does not show."""
    stops: list[tuple[int, bool, Stop]] = field(default_factory=list)
    """After how many calls the next one is stopped, after its work or before it, and how."""
    before_deleting: Callable[[], None] = lambda: None
    """Changes that others make once the repository is listed."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Failures of some digests."""
    refused: set[str] = field(default_factory=set)
    """Images that ECR refused to delete because an index named them."""
    calls: int = 0
    remembered: set[str] = field(default_factory=set)

    def call[T](self, work: Callable[[], T]) -> T:
        at, done, kind = self.stops[0] if self.stops else (-1, False, Crash)
        if self.calls != at:
            self.calls += 1
            return work()
        self.calls = 0
        del self.stops[0]
        if done:
            work()
        raise kind

    def indexes_of(self, name: str) -> list[str]:
        """Returns the indexes that name an image."""
        return [index for index, named in self.children.items() if name in named and index in self.images]

    def subjects_of(self, image: ListedImage) -> list[str]:
        """Returns what an image is the signature of: its subject, and what its tags say, if it has no other tags."""
        by_tag = [named.replace("-", ":", 1) for tag in image.tags for named in [tag.removesuffix(".sig")]]
        if self.own_tags(image):
            by_tag = []
        return [name for name in {image.subject, *by_tag} if name in self.images and name is not None]

    def own_tags(self, image: ListedImage) -> list[str]:
        """Returns the tags of an image, unless they only say whose signature it is."""
        there = {name.replace(":", "-", 1) for name in self.images}
        belongs = any(tag.removesuffix(".sig") in there for tag in image.tags)
        return [tag for tag in image.tags if not (belongs and tag.startswith("sha256-"))]

    def plan(self, meant: Selection) -> Plan:
        """Lists the repository, reads its indexes, and plans."""
        listed = self.call(lambda: list(self.images.values()))
        indexes = {image.digest: image for image in listed if image.is_index}
        named = self.call(lambda: {name: None if name in self.unread else self.children[name] for name in indexes})
        protects = partial(guards.protects, guards.Rules((PROTECTED,)))
        return selection.make_plan(
            meant, listed, named, selection.Protection(protects), NOW, frozenset(self.remembered)
        )

    def remember(self, plan: Plan) -> None:
        self.remembered |= plan.followers.intersection(image.digest for level in plan.levels for image in level)

    def delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        return self.call(lambda: self._delete(chunk))

    def _delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        """Does what ECR does, behind the guard that looks up again; judged by the state at the start of the call."""
        listed = {ImageId(image.digest): image for image in chunk}
        failures = dict(guards.on_selected(listed, list(listed), self._look_up))
        for image_id, image in listed.items():
            code = self.codes.get(image.digest)
            if code is None and image.digest in self.images and self.indexes_of(image.digest):
                self.refused.add(image.digest)
                code = "ImageReferencedByManifestList"
            if code:
                failures.setdefault(image_id, ImageFailure(image_id, code, "why"))
        gone = [self.images.pop(image.digest) for image_id, image in listed.items() if image_id not in failures]
        image_ids = tuple(ImageId(image.digest, tag) for image in gone for tag in image.tags or [None])
        return ChunkOutcome(image_ids, tuple(failures.values()))

    def _look_up(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
        there = [(i, self.images[str(i.digest)]) for i in image_ids if i.digest in self.images]
        return {i: Image(image.digest, frozenset(image.tags), image.pushed) for i, image in there}


def matches(tag: str, pattern: str) -> bool:
    """Returns whether a tag matches a pattern, in which a star is any characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag) is not None


def any_tag(image: ListedImage, patterns: Sequence[str]) -> bool:
    """Returns whether a tag of an image matches one of the patterns."""
    return any(matches(tag, pattern) for tag in image.tags for pattern in patterns)


def meant_by(model: Model, meant: Selection) -> set[str]:
    """Returns what a selection means of a repository, as plainly as the README says it."""
    images = model.images
    readable = {
        name: [i for i in model.indexes_of(name) if i not in model.unread] + model.subjects_of(image)
        for name, image in images.items()
    }
    candidates = [
        image
        for name, image in images.items()
        if (model.own_tags(image) or not readable[name])
        and image.status == "ACTIVE"
        and not any_tag(image, meant.exclude_tag_patterns)
        and (meant.tag_status != "tagged" or image.tags)
        and (meant.tag_status != "untagged" or not image.tags)
        and all(any_tag(image, [pattern]) for pattern in meant.tag_patterns)
    ]
    by_pull = meant.count_type == "sinceImagePulled"

    def counts_from(image: ListedImage) -> float:
        return max(image.pushed, image.activated or 0) if by_pull else image.pushed

    def pulled(name: str) -> float:
        """The last pull of an image, or of what belongs to it."""
        return max([images[name].pulled or 0, *(pulled(other) for other in images if name in readable[other])])

    candidates.sort(key=lambda image: (-counts_from(image), image.digest))
    kept_by_count = meant.keep_most_recent
    if meant.count_type == "imageCountMoreThan":
        kept_by_count = max(kept_by_count, meant.count_number)
    chosen = set()
    for image in candidates[kept_by_count:]:
        last = max(counts_from(image), pulled(image.digest) if by_pull else 0)
        old = NOW - last > meant.count_number * DAY or not str(meant.count_type).startswith("since")
        if old and not any_tag(image, [PROTECTED]):
            chosen.add(image.digest)

    def goes(name: str) -> bool:
        image = images[name]
        own = model.own_tags(image)
        if name in model.unread or (model.unread and not own):
            return False
        along = not own and readable[name] and image.status == "ACTIVE" and not any_tag(image, [PROTECTED])
        return bool(name in chosen or along) and all(map(goes, model.indexes_of(name) + model.subjects_of(image)))

    return set(filter(goes, images))


@st.composite
def models(draw: st.DrawFn, *, wholes: bool = True) -> Model:
    """Draws repositories; `wholes` says whether there are indexes, and images that refer to others."""
    names = [digest(n) for n in range(draw(st.integers(1, 7)))]
    days = st.integers(-1, 4).map(lambda ago: NOW - (ago + 0.5) * DAY)
    images: dict[str, ListedImage] = {}
    children: dict[str, list[str]] = {}
    for n, name in enumerate(names):
        before, after = names[:n], names[n + 1 :]
        index = wholes and bool(after) and draw(st.booleans())
        if index:
            children[name] = draw(st.lists(st.sampled_from([*after, MISSING]), min_size=1, max_size=3))
        tags = [tag.format(n) for tag in draw(st.sampled_from(TAGS))]
        if wholes and draw(st.integers(0, 3)) == 3:
            signed = st.sampled_from([*before, *before, MISSING]).map(lambda of: of.replace(":", "-"))
            tags = tags[: draw(st.integers(0, 3)) // 3] + draw(st.lists(signed, min_size=1, max_size=2, unique=True))
            tags[-1] += draw(st.sampled_from(["", ".sig"]))
        images[name] = ListedImage(
            digest=name,
            tags=tuple(tags),
            pushed=draw(days),
            pulled=draw(st.none() | days),
            size=n,
            is_index=index,
            subject=draw(st.sampled_from([None, None, MISSING, *before])) if wholes else None,
            status="ACTIVE" if draw(st.integers(0, 9)) < 9 else "ARCHIVED",
            activated=draw(st.sampled_from([None, None]) | days),
        )
    # One in the archive that cannot be read hinders nothing.
    readable = sorted(name for name in children if images[name].status == "ACTIVE")
    unread = {draw(st.sampled_from(readable))} if readable and draw(st.integers(0, 3)) == 3 else set()
    order = draw(st.permutations(list(images.values())))
    return Model({image.digest: image for image in order}, children, unread)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Draws all that a request may mean."""
    status = draw(st.sampled_from(["tagged", "untagged", "any"]))
    patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple)
    return Selection(
        status,
        draw(patterns) if status == "tagged" else (),
        draw(st.one_of(st.just(()), st.just(()), patterns)),
        draw(st.sampled_from([None, "imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"])),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


STOPS = st.one_of(
    st.tuples(st.integers(0, 7), st.just(False), st.sampled_from(BEFORE)),  # noqa: FBT003  # a value, not a switch
    st.tuples(st.integers(0, 7), st.just(True), st.sampled_from(AFTER)),  # noqa: FBT003  # ditto
)


@pytest.fixture(scope="module")
def pool() -> Iterator[TaskPool]:
    """Returns threads for the calls of one level."""
    with ThreadPoolExecutor(2) as executor:
        yield TaskPool(executor, 2)


def select(model: Model, meant: Selection, pool: TaskPool) -> tuple[SelectionOutcome, bool]:
    """Carries a selection out once; what goes along with something is remembered before anything goes."""
    plan = model.plan(meant)
    model.call(lambda: model.remember(plan))
    model.before_deleting()
    return selection.take_planned(plan, model.delete, lambda *_, **__: None, pool, LOG)


def select_all(model: Model, meant: Selection, pool: TaskPool) -> Iterator[SelectionOutcome]:
    """Carries a selection out as redeliveries and further turns do, until one comes to the end."""
    for _ in range(len(model.stops) + 1):
        try:
            outcome, whole = select(model, meant, pool)
        except (Crash, UnfinishedRequestError):
            continue  # the message is delivered again
        yield outcome
        if whole:
            return
        assert outcome.deleted, "a further turn, although nothing was done"
    raise AssertionError("nothing comes in between any more, and yet it did not come to its end")


@given(models(), selections())
def test_what_is_meant_goes_and_all_else_stays(pool: TaskPool, model: Model, meant: Selection) -> None:
    """In one go, and each image is accounted for once."""
    there, going = dict(model.images), meant_by(model, meant)
    before = Model(there, model.children)
    outcome, whole = select(model, meant, pool)
    gone = there.keys() - model.images.keys()
    assert whole
    assert gone == going
    assert (outcome.deleted, outcome.chunk.failures) == (len(going), ())
    assert outcome.bytes == sum(there[name].size for name in going)
    assert outcome.deleted + sum(outcome.kept.values()) == len(there)
    assert {image_id.digest for image_id in outcome.chunk.image_ids} == going
    for image in map(there.__getitem__, gone):  # seen from outside, without asking why
        assert not any_tag(image, [PROTECTED])
        assert not (before.own_tags(image) and any_tag(image, meant.exclude_tag_patterns))
        assert not {*before.indexes_of(image.digest), *before.subjects_of(image)} & model.images.keys()
        assert image.status == "ACTIVE"
        assert before.own_tags(image) or not model.unread
    # It knows what ECR would refuse, but for what an index names that it cannot read.
    assert model.refused <= {name for index in model.unread for name in model.children[index]}


@given(models(), selections())
def test_a_plan_never_selects_what_something_kept_needs(model: Model, meant: Selection) -> None:
    """Nor one image before another that needs it, nor one twice; what stays has a reason."""
    plan = model.plan(meant)
    level_of = {image.digest: n for n, level in enumerate(plan.levels) for image in level}
    assert len(level_of) == plan.selected
    assert level_of.keys() | plan.kept.keys() == model.images.keys()
    assert level_of.keys() & plan.kept.keys() == set()
    assert sum(plan.reasons.values()) == len(plan.kept)
    for name, level in level_of.items():
        needed_by = {i for i in model.indexes_of(name) if i not in model.unread} | set(
            model.subjects_of(model.images[name])
        )
        assert all(level_of.get(parent, level) < level for parent in needed_by)


@pytest.mark.parametrize("wholes", [False, True], ids=["single images", "images as wholes"])
@given(data=st.data(), meant=selections(), stops=st.lists(STOPS, min_size=1, max_size=3))
def test_whatever_comes_in_between_the_end_is_the_same(
    pool: TaskPool,
    data: st.DataObject,
    meant: Selection,
    stops: list[tuple[int, bool, Stop]],
    wholes: bool,  # noqa: FBT001
) -> None:
    """A crash before or after any call, a lost answer, an ECR that refuses for now, and time that runs short."""
    model = data.draw(models(wholes=wholes))
    there, going = dict(model.images), meant_by(model, meant)
    model.stops = stops
    outcomes = list(select_all(model, meant, pool))
    assert there.keys() - model.images.keys() == going
    assert sum(outcome.deleted for outcome in outcomes) <= len(going)


@given(models(), selections(), st.data())
def test_an_image_that_gains_a_tag_stays(pool: TaskPool, model: Model, meant: Selection, data: st.DataObject) -> None:
    """Between the listing and the deletion, with all that belongs to it; the others go."""
    there, going = dict(model.images), meant_by(model, meant)
    before = Model(there, model.children)
    rescued = data.draw(st.sets(st.sampled_from(sorted(going)), min_size=1)) if going else set()

    def tag() -> None:
        for name in rescued:
            image = model.images[name]
            model.images[name] = image._replace(tags=(*image.tags, f"rescued-{name[-1]}"))

    model.before_deleting = tag
    outcome, _ = select(model, meant, pool)
    gone = there.keys() - model.images.keys()
    assert gone <= going - rescued
    for name in going - rescued - gone:  # it belongs to one of them, or to what does
        assert {*before.indexes_of(name), *before.subjects_of(there[name])} & model.images.keys()
    assert outcome.chunk.failures == ()
    assert outcome.kept.get("TaggedSince", 0) + outcome.kept.get("StillUsed", 0) >= len(rescued)


CODES = ["ImageNotFound", "ImageReferencedByManifestList", "KmsError", "SomethingNew"]


@given(models(), selections(), st.data())
def test_whatever_ecr_refuses_is_accounted_for(
    pool: TaskPool, model: Model, meant: Selection, data: st.DataObject
) -> None:
    """Nothing more goes than was meant, and nothing that something left needs."""
    there, going = dict(model.images), meant_by(model, meant)
    before = Model(there, model.children)
    model.codes = data.draw(st.dictionaries(st.sampled_from(sorted(going)), st.sampled_from(CODES))) if going else {}
    outcome, whole = select(model, meant, pool)
    gone = there.keys() - model.images.keys()
    assert whole
    assert gone <= going - model.codes.keys()
    assert outcome.deleted == len(gone)
    assert outcome.deleted + sum(outcome.kept.values()) + len(outcome.chunk.failures) == len(there)
    said_to_be_gone = {name for name, code in model.codes.items() if code == "ImageNotFound"}
    for name in gone:
        users = {*before.indexes_of(name), *before.subjects_of(there[name])}
        assert not users & (model.images.keys() - said_to_be_gone)
    failed = {str(failure.image_id.digest): failure.code for failure in outcome.chunk.failures}
    assert failed.items() <= model.codes.items()
    assert set(failed.values()) <= {"KmsError", "SomethingNew"}
