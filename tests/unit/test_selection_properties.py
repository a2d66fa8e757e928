"""Selections against a plain model of a repository: whatever it holds, and whatever comes in between."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import guards, selection
from handler.models import (
    ChunkOutcome,
    Image,
    ImageFailure,
    ImageId,
    ListedImage,
    LostAnswerError,
    NotNowError,
    OutOfTimeError,
    Selection,
    SelectionOutcome,
)
from handler.selection import taking

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})
NOW = time.time()
DAY = 86_400
PROTECTED = "prod*"
TAGS = [(), (), ("pr-{}",), ("pr-{}",), ("pr-{}", "v1.{}"), ("v1.{}",), ("pr-{}-keep",), ("pr-{}", "prod-{}")]
"""Those of an image, but for its number."""
PATTERNS = ["*", "pr-*", "*-keep", "p*-*-*", "v1.*", "*1*", "main"]
CHUNK = 2
"""Images to a call, so that few images make many calls."""


class Death(Exception):  # noqa: N818  # what happens, not what code reports
    """The end of an invocation in the middle of a selection."""


type Stop = type[Death | NotNowError | LostAnswerError | OutOfTimeError]
BEFORE: list[Stop] = [Death, NotNowError, OutOfTimeError]
AFTER: list[Stop] = [Death, LostAnswerError]


@dataclass
class Model:
    """A repository as ECR has it, in which something may come in between before or after any call."""

    images: dict[str, ListedImage]
    children: dict[str, list[str]]
    """What each index names."""
    unread: set[str] = field(default_factory=set)
    """Indexes that ECR does not show."""
    stops: list[tuple[int, bool, Stop]] = field(default_factory=list)
    """After how many calls the next one is stopped, before its work or after it, and how."""
    after_list: Callable[[], None] = lambda: None
    """What others do once the repository is listed."""
    refused: set[str] = field(default_factory=set)
    """What ECR refused to delete because an index named it."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Failures of some digests."""
    calls: int = 0
    remembered: dict[int, Sequence[str]] = field(default_factory=dict)

    def call[T](self, work: Callable[[], T]) -> T:
        stop: Stop | None = None
        at, done, kind = self.stops[0] if self.stops else (-1, False, Death)
        if self.calls == at:
            self.calls, stop = 0, kind
            del self.stops[0]
        else:
            self.calls += 1
        if stop and not done:
            raise stop
        answer = work()
        if stop:
            raise stop
        return answer

    def users(self, digest: str) -> list[str]:
        """The indexes that name it."""
        return [index for index, named in self.children.items() if digest in named and index in self.images]

    def listing(self) -> list[ListedImage]:
        listed = self.call(lambda: list(self.images.values()))
        self.after_list()
        return listed

    def read(self, digests: Sequence[str]) -> dict[str, list[str] | None]:
        return self.call(lambda: {d: None if d in self.unread else self.children[d] for d in digests})

    def remember(self, number: int, digests: Sequence[str]) -> Sequence[str] | None:
        return self.call(lambda: self._remember(number, digests))

    def _remember(self, number: int, digests: Sequence[str]) -> Sequence[str] | None:
        if number in self.remembered:
            return self.remembered[number]
        self.remembered[number] = digests
        return None

    def delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        return self.call(lambda: self._delete(chunk))

    def _delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        """One call, behind the guard that looks once more; judged by how things are when it begins."""
        assert 0 < len(chunk) <= CHUNK
        failures = dict(
            guards.verdicts_on_selected(
                {ImageId(i.digest): i for i in chunk}, [ImageId(i.digest) for i in chunk], self._look
            )
        )
        for digest in (i.digest for i in chunk):
            if digest in self.codes:
                failures.setdefault(ImageId(digest), ImageFailure(ImageId(digest), self.codes[digest], "why"))
            elif digest in self.images and self.users(digest):
                self.refused.add(digest)
                code = "ImageReferencedByManifestList"
                failures.setdefault(ImageId(digest), ImageFailure(ImageId(digest), code, "why"))
        gone = [self.images.pop(i.digest) for i in chunk if ImageId(i.digest) not in failures]
        return ChunkOutcome(
            tuple(ImageId(image.digest, tag) for image in gone for tag in image.tags or [None]),
            tuple(failures.values()),
        )

    def _look(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
        there = [(i, self.images[str(i.digest)]) for i in image_ids if i.digest in self.images]
        return {i: Image(image.digest, frozenset(image.tags), image.pushed) for i, image in there}


def matches(tag: str, pattern: str) -> bool:
    """A star is any characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag) is not None


def going(model: Model, meant: Selection) -> set[str]:
    """What a selection means of a repository, said as plainly as can be."""
    images = model.images

    def any_tag(image: ListedImage, patterns: Sequence[str]) -> bool:
        return any(matches(tag, pattern) for tag in image.tags for pattern in patterns)

    def parents(image: ListedImage) -> list[str]:
        return model.users(image.digest) + [d for d in [image.subject] if d in images]

    def readable_parents(image: ListedImage) -> list[str]:
        return [p for p in parents(image) if p not in model.unread or p == image.subject]

    candidates = [
        image
        for image in images.values()
        if (image.tags or not readable_parents(image))
        and image.active
        and not any_tag(image, meant.exclude_tag_patterns)
        and (meant.tag_status != "tagged" or image.tags)
        and (meant.tag_status != "untagged" or not image.tags)
        and all(any_tag(image, [pattern]) for pattern in meant.tag_patterns)
    ]
    candidates.sort(key=lambda image: (-image.pushed, image.digest))
    kept_by_count = meant.keep_most_recent
    if meant.count_type == "imageCountMoreThan":
        kept_by_count = max(kept_by_count, meant.count_number)
    chosen = set()
    for image in candidates[kept_by_count:]:
        last = image.pushed
        if meant.count_type == "sinceImagePulled" and image.pulled:
            last = max(last, image.pulled)
        old = NOW - last > meant.count_number * DAY or not str(meant.count_type).startswith("since")
        if old and not any_tag(image, [PROTECTED]):
            chosen.add(image.digest)

    def goes(image: ListedImage) -> bool:
        if image.digest in model.unread or (model.unread and not image.tags):
            return False
        own = image.digest in chosen or (not image.tags and readable_parents(image) != [])
        return own and all(goes(images[parent]) for parent in parents(image))

    return {image.digest for image in images.values() if goes(image)}


@st.composite
def models(draw: st.DrawFn, *, wholes: bool = True) -> Model:
    """Repositories; `wholes` says whether there are indexes, and images that refer to others."""
    count = draw(st.integers(1, 7))
    days = st.integers(-1, 4)
    images: dict[str, ListedImage] = {}
    children: dict[str, list[str]] = {}
    for n in range(count):
        later = [f"d{m}" for m in range(n + 1, count)]
        index = wholes and bool(later) and draw(st.booleans())
        if index:
            children[f"d{n}"] = draw(st.lists(st.sampled_from([*later, "missing"]), min_size=1, max_size=3))
        subjects = st.sampled_from([None, None, "missing", *(f"d{m}" for m in range(n))]) if wholes else st.none()
        images[f"d{n}"] = ListedImage(
            digest=f"d{n}",
            tags=tuple(tag.format(n) for tag in draw(st.sampled_from(TAGS))),
            pushed=NOW - (draw(days) + 0.5) * DAY,
            pulled=draw(st.none() | days.map(lambda ago: NOW - (ago + 0.5) * DAY)),
            size=n,
            is_index=index,
            subject=draw(subjects),
            active=draw(st.integers(0, 9)) < 9,
        )
    unread = {draw(st.sampled_from(sorted(children)))} if children and draw(st.integers(0, 3)) == 3 else set()
    order = draw(st.permutations(list(images.values())))
    return Model({image.digest: image for image in order}, children, unread)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """All that a request may mean."""
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


def take(model: Model, meant: Selection) -> tuple[SelectionOutcome, bool]:
    """One try."""
    rules = guards.Rules((PROTECTED,))
    with mock.patch.multiple(taking, CHUNK_SIZE=CHUNK, _REMEMBERED=CHUNK):
        return selection.carry_out(
            meant,
            selection.Repository(model.listing, model.read, model.delete, model.remember),
            lambda work: [do() for do in work],
            lambda tags: guards.protects(rules, tags),
            selection.Limits(100_000, 100),
            LOG,
        )


def take_all(model: Model, meant: Selection) -> Iterator[SelectionOutcome]:
    """Tries, as deliveries and further messages make them, until one comes to the end."""
    for _ in range(len(model.stops) + 1):
        try:
            outcome, whole = take(model, meant)
        except (Death, NotNowError, LostAnswerError, OutOfTimeError):
            continue  # the message is delivered again
        yield outcome
        if whole:
            return
        assert outcome.deleted, "a further message, although nothing was done"
    raise AssertionError("there is nothing in the way any more, and yet it did not come to its end")


@given(models(), selections())
def test_what_is_meant_goes_and_all_else_stays(model: Model, meant: Selection) -> None:
    """In one go; each image is accounted for once."""
    there, goes = dict(model.images), going(model, meant)
    outcome, whole = take(model, meant)
    assert whole
    assert there.keys() - model.images.keys() == goes
    assert outcome.failures == ()
    assert outcome.deleted == len(goes) <= outcome.selected
    assert outcome.bytes == sum(there[digest].size for digest in goes)
    assert outcome.deleted + sum(outcome.kept.values()) == len(there)
    assert {image_id.digest for image_id in outcome.image_ids} == goes
    for image in (there[digest] for digest in goes):  # seen from outside, without asking why
        assert not [tag for tag in image.tags for p in (PROTECTED, *meant.exclude_tag_patterns) if matches(tag, p)]
        assert not {image.subject, *model.users(image.digest)} & model.images.keys()
        assert image.tags or not model.unread
        assert image.active or not image.tags
    # It knows what ECR would refuse, but for what an index names that it cannot read.
    assert model.refused <= {named for index in model.unread for named in model.children[index]}


@pytest.mark.parametrize("wholes", [False, True], ids=["single images", "images as wholes"])
@given(data=st.data(), meant=selections(), stops=st.lists(STOPS, min_size=1, max_size=3))
def test_whatever_comes_in_between_the_end_is_the_same(
    data: st.DataObject,
    meant: Selection,
    stops: list[tuple[int, bool, Stop]],
    wholes: bool,  # noqa: FBT001
) -> None:
    """Death before or after any call, an answer that is lost, an ECR that refuses for now, and time that runs short."""
    model = data.draw(models(wholes=wholes))
    there, goes = dict(model.images), going(model, meant)
    model.stops = stops
    outcomes = list(take_all(model, meant))
    assert there.keys() - model.images.keys() == goes
    assert sum(outcome.deleted for outcome in outcomes) <= len(goes)


@given(models(), selections(), st.data())
def test_an_image_that_gains_a_tag_stays(model: Model, meant: Selection, data: st.DataObject) -> None:
    """Between the listing and the deletion, with all that belongs to it; the others go."""
    there, goes = dict(model.images), going(model, meant)
    rescued = data.draw(st.sets(st.sampled_from(sorted(goes)), min_size=1)) if goes else set()

    def tag() -> None:
        for digest in rescued:
            image = model.images[digest]
            model.images[digest] = replace(image, tags=(*image.tags, f"rescued-{digest}"))

    model.after_list = tag
    outcome, _ = take(model, meant)
    gone = there.keys() - model.images.keys()
    assert gone <= goes - rescued
    for digest in goes - rescued - gone:  # it belongs to one of them, or to what does
        assert {there[digest].subject, *model.users(digest)} & model.images.keys()
    assert outcome.failures == ()
    assert outcome.kept.get("TaggedSince", 0) + outcome.kept.get("StillUsed", 0) >= len(rescued)


CODES = ["ImageNotFound", "ImageReferencedByManifestList", "KmsError", "SomethingNew"]


@given(models(), selections(), st.data())
def test_whatever_ecr_refuses(model: Model, meant: Selection, data: st.DataObject) -> None:
    """Nothing more goes than was meant, nothing that something left needs, and each selected image is accounted for."""
    there, goes = dict(model.images), going(model, meant)
    model.codes = data.draw(st.dictionaries(st.sampled_from(sorted(goes)), st.sampled_from(CODES))) if goes else {}
    outcome, whole = take(model, meant)
    assert whole
    gone = there.keys() - model.images.keys()
    assert gone <= goes - model.codes.keys()
    assert outcome.deleted == len(gone)
    assert outcome.deleted + sum(outcome.kept.values()) + len(outcome.failures) == len(there)
    said_to_be_gone = {digest for digest, code in model.codes.items() if code == "ImageNotFound"}
    for digest in gone:
        assert not {there[digest].subject, *model.users(digest)} & (model.images.keys() - said_to_be_gone)
    told = {str(failure.image_id.digest): failure.code for failure in outcome.failures}
    assert told.items() <= model.codes.items()
    assert set(told.values()) <= {"KmsError", "SomethingNew"}
