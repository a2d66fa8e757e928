"""Which images of a repository a selection means, in the sense of ECR's lifecycle policies, and taking them."""

import itertools
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from .models import (
    ChunkOutcome,
    ImageFailure,
    ImageId,
    ListedImage,
    LostAnswerError,
    NotNowError,
    OutOfTimeError,
    RejectedRequestError,
    Selection,
    SelectionOutcome,
)

if TYPE_CHECKING:
    from logging import LoggerAdapter

_CHUNK = 100
_DAY = 24 * 60 * 60
# What a selected digest may meet that is no failure: the selection was made a moment ago, and is only a wish.
_NOT_FAILED = {
    "ImageNotFound": "AlreadyGone",
    "ImageReferencedByManifestList": "StillUsed",
    "TaggedSince": "TaggedSince",
}

type SideBySide = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""Runs all of them, several at a time; raises OutOfTimeError where there is no time for all."""

type Parents = Mapping[str, Sequence[str]]
"""For a digest, those of the indexes that name it and of its subject, as far as they are in the repository."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be deleted of a repository, and why all else is kept."""

    levels: list[list[ListedImage]]
    """Whole images in the order they may go: an index before what it names, a subject before what refers to it."""
    kept: dict[str, str]
    """For each digest that stays, why."""
    parents: Parents

    @property
    def selected(self) -> int:
        return sum(map(len, self.levels))

    @property
    def reasons(self) -> dict[str, int]:
        """How many are kept, by reason."""
        return dict(Counter(self.kept.values()))


def choose(
    selection: Selection,
    images: Sequence[ListedImage],
    children: Mapping[str, Sequence[str]],
    unread: Collection[str],
    protected: Callable[[Sequence[str]], bool],
    now: float,
) -> Choice:
    """What a selection means of these images, `children` being what each index names.

    Images are wholes: what a kept index names stays, however old it is, and what a selected one alone names goes with
    it, as do the signatures of what goes. Where an index is `unread`, no image without tags can be known to be unused.
    """
    parents = _parents(images, children)
    kept = {image.digest: reason for image, reason in _verdicts(selection, images, parents, protected, now) if reason}
    levels: list[list[ListedImage]] = []
    level_of: dict[str, int] = {}
    for image in _parents_first(images, parents):
        above = parents.get(image.digest, ())
        if image.digest in unread or (unread and not image.tags):
            kept[image.digest] = "UnreadableIndex"
        elif not all(parent in level_of for parent in above):
            kept[image.digest] = "StillUsed"
        elif image.digest not in kept:
            level_of[image.digest] = level = max((level_of[parent] + 1 for parent in above), default=0)
            levels.extend([] for _ in range(level + 1 - len(levels)))
            levels[level].append(image)
    for image in images:  # in a circle, if there could be one
        if image.digest not in level_of:
            kept.setdefault(image.digest, "StillUsed")
    return Choice(levels, kept, parents)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a selection may take at most."""

    images: int
    percent: int
    """Of its repository."""


@dataclass(frozen=True, slots=True)
class Repository:
    """What a selection asks of its repository."""

    list: Callable[[], Sequence[ListedImage]]
    read: Callable[[Sequence[str]], Mapping[str, Sequence[str] | None]]
    """What each of up to 100 indexes names; None for one that cannot be read."""
    delete: Callable[[Sequence[ListedImage]], ChunkOutcome]
    """Deletes up to 100 of them, but those that have changed since they were listed."""


def carry_out(
    selection: Selection,
    repository: Repository,
    side_by_side: SideBySide,
    protected: Callable[[Sequence[str]], bool],
    limits: Limits,
    log: "LoggerAdapter[Any]",
) -> tuple[SelectionOutcome, bool]:
    """Takes what a selection means; and whether that is all, or something came in between.

    It is made of what is there: made again, it goes on. Raises RejectedRequestError where it would take too much, and
    what kept it from deleting anything: OutOfTimeError, NotNowError or LostAnswerError.
    """
    images = repository.list()
    indexes = [image.digest for image in images if image.index]
    children: dict[str, Sequence[str]] = {}
    unread: set[str] = set()
    chunks = itertools.batched(indexes, _CHUNK, strict=False)
    for answer in side_by_side([partial(repository.read, chunk) for chunk in chunks]):
        for digest, named in answer.items():
            if named is None:
                unread.add(digest)
            else:
                children[digest] = named
    choice = choose(selection, images, children, unread, protected, time.time())
    log.info("selection made", extra={"images": len(images), "selected": choice.selected, "kept": choice.reasons})
    if log.isEnabledFor(logging.DEBUG):
        for digest, reason in choice.kept.items():
            log.debug("image kept", extra={"imageDigest": digest, "why": reason})
    _check_share(choice, len(images), limits)
    taken = _Taken(choice.reasons)

    def take(chunk: Sequence[ListedImage]) -> None:
        taken.add(chunk, repository.delete(chunk), log)

    whole = True
    try:
        for level in choice.levels:
            free = taken.free(level, choice.parents)
            side_by_side([partial(take, chunk) for chunk in itertools.batched(free, _CHUNK, strict=False)])
    except (OutOfTimeError, NotNowError, LostAnswerError) as error:
        # Begun anew, it would not know what it has deleted; what has got somewhere reports that, and is gone on with.
        if not taken.deleted:
            raise
        log.info("selection stopped", extra={"why": str(error)})
        whole = False
    return taken.outcome(choice.selected), whole


class _Taken:
    """What became of the selected so far; chunks that run side by side add to it."""

    def __init__(self, kept: Mapping[str, int]) -> None:
        self.deleted = 0
        self._bytes = 0
        self._kept = Counter(kept)
        self._image_ids: list[ImageId] = []
        self._failures: list[ImageFailure] = []
        self._stayed: set[str | None] = set()
        self._lock = Lock()

    def free(self, level: Sequence[ListedImage], parents: Parents) -> list[ListedImage]:
        """Those of a level whose indexes and subject are gone: of referrers, ECR itself would not see that."""
        stay = [image for image in level if not self._stayed.isdisjoint(parents.get(image.digest, ()))]
        self._stayed.update(image.digest for image in stay)
        self._kept["StillUsed"] += len(stay)
        return [image for image in level if image.digest not in self._stayed]

    def add(self, chunk: Sequence[ListedImage], outcome: ChunkOutcome, log: "LoggerAdapter[Any]") -> None:
        failed = {failure.image_id.digest: failure for failure in outcome.failures}
        gone = [image for image in chunk if image.digest not in failed]
        with self._lock:
            self.deleted += len(gone)
            self._bytes += sum(image.size for image in gone)
            self._image_ids += outcome.image_ids
            self._stayed.update(digest for digest, f in failed.items() if f.code != "ImageNotFound")
            for failure in outcome.failures:
                if reason := _NOT_FAILED.get(failure.code):
                    self._kept[reason] += 1
                else:
                    self._failures.append(failure)
        log.info("chunk done", extra={"deleted": len(gone), "failed": len(failed)})
        log.debug("images selected", extra={"imageDigests": [image.digest for image in gone]})

    def outcome(self, selected: int) -> SelectionOutcome:
        return SelectionOutcome(
            selected=selected,
            deleted=self.deleted,
            bytes=self._bytes,
            kept=dict(+self._kept),
            image_ids=tuple(self._image_ids),
            failures=tuple(self._failures),
        )


def _check_share(choice: Choice, total: int, limits: Limits) -> None:
    if choice.selected > limits.images:
        raise RejectedRequestError(
            f"request.selection means {choice.selected:,} images, and a request may delete {limits.images:,}; narrow "
            "it, or set the stack's MaxImagesPerRequest"
        )
    if choice.selected * 100 > limits.percent * total:
        raise RejectedRequestError(
            f"request.selection means {choice.selected:,} of the repository's {total:,} images, more than the "
            f'{limits.percent} % that it may take; narrow it, or say "allowPercent": 100'
        )


def _parents(images: Sequence[ListedImage], children: Mapping[str, Sequence[str]]) -> Parents:
    there = {image.digest for image in images}
    parents: defaultdict[str, list[str]] = defaultdict(list)
    for index, named in children.items():
        for child in named:
            parents[child].append(index)
    for image in images:
        if image.subject in there:
            parents[image.digest].append(image.subject)
    return parents


def _parents_first(images: Sequence[ListedImage], parents: Parents) -> Iterator[ListedImage]:
    by_digest = {image.digest: image for image in images}
    below: defaultdict[str, list[str]] = defaultdict(list)
    waiting = {}
    for digest in by_digest:
        waiting[digest] = len(parents.get(digest, ()))
        for parent in parents.get(digest, ()):
            below[parent].append(digest)
    ready = deque(digest for digest, count in waiting.items() if not count)
    while ready:
        digest = ready.popleft()
        yield by_digest[digest]
        for child in below[digest]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)


def _verdicts(
    selection: Selection,
    images: Sequence[ListedImage],
    parents: Parents,
    protected: Callable[[Sequence[str]], bool],
    now: float,
) -> Iterator[tuple[ListedImage, str | None]]:
    """Why each image by itself is kept, or None; those without tags that belong to others follow these."""
    matching: list[ListedImage] = []
    for image in images:
        if not image.tags and parents.get(image.digest):
            continue
        if not image.active:
            yield image, "Archived"
        elif _matched_by_one(image, selection.exclude_tag_patterns):
            yield image, "Excluded"
        elif not _meant(image, selection):
            yield image, "NotMatched"
        else:
            matching.append(image)
    matching.sort(key=lambda image: (-image.pushed, image.digest))
    for rank, image in enumerate(matching):
        yield image, "ProtectedTag" if protected(image.tags) else _too_recent(selection, image, rank, now)


def _meant(image: ListedImage, selection: Selection) -> bool:
    if selection.tag_status == "any":
        return True
    if selection.tag_status == "untagged":
        return not image.tags
    return bool(image.tags) and all(_matched_by_one(image, [pattern]) for pattern in selection.tag_patterns)


def _matched_by_one(image: ListedImage, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(tag, pattern) for tag in image.tags for pattern in patterns)


def _too_recent(selection: Selection, image: ListedImage, rank: int, now: float) -> str | None:
    if rank < selection.keep_most_recent:
        return "MostRecent"
    match selection.count_type:
        case "imageCountMoreThan":
            return "MostRecent" if rank < selection.count_number else None
        case "sinceImagePushed":
            last = image.pushed
        case "sinceImagePulled":
            last = image.pushed if image.pulled is None else max(image.pulled, image.pushed)
        case _:
            return None
    return "TooRecent" if now - last <= selection.count_number * _DAY else None
