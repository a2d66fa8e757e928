"""Taking what a selection means, whatever comes in between."""

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.models import (
    CHUNK_SIZE,
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

from .choice import Choice, Parents, choose

if TYPE_CHECKING:
    from logging import LoggerAdapter

_REMEMBERED = 4_000
"""Digests that are remembered at once."""
# What a selected digest may meet that is no failure: the selection was made a moment ago, and is only a wish.
_NOT_FAILED = {
    "ImageNotFound": "AlreadyGone",
    "ImageReferencedByManifestList": "StillUsed",
    "TaggedSince": "TaggedSince",
}

type SideBySide = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""Runs all of them, several at a time; raises OutOfTimeError where there is no time for all."""


class Limits(NamedTuple):
    """What a selection may take at most."""

    images: int
    percent: int
    """Of its repository."""


class Repository(NamedTuple):
    """What a selection asks of its repository."""

    list: Callable[[], Sequence[ListedImage]]
    read: Callable[[Sequence[str]], Mapping[str, Sequence[str] | None]]
    """What each of up to 100 indexes names; None for one that cannot be read."""
    delete: Callable[[Sequence[ListedImage]], ChunkOutcome]
    """Deletes up to 100 of them, but those that have changed since they were listed."""
    remember: Callable[[int, Sequence[str]], Sequence[str] | None]
    """Remembers up to 4,000 digests under a number, once: answers with what an earlier try did, if there was one."""


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
    indexes = itertools.batched([image.digest for image in images if image.is_index], CHUNK_SIZE, strict=False)
    named: dict[str, Sequence[str] | None] = {}
    for some in side_by_side([partial(repository.read, chunk) for chunk in indexes]):
        named |= some
    choose_with = partial(choose, selection, images, named, protected, time.time())
    choice = choose_with()
    if relatives := _relatives(choice, repository):
        choice = choose_with(relatives)
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
            side_by_side([partial(take, chunk) for chunk in itertools.batched(free, CHUNK_SIZE, strict=False)])
    except (OutOfTimeError, NotNowError, LostAnswerError) as error:
        # Begun anew, it would not know what it has deleted; what has got somewhere reports that, and is gone on with.
        if not taken.deleted:
            raise
        log.info("selection stopped", extra={"why": str(error)})
        whole = False
    return taken.outcome(choice.selected), whole


def _relatives(choice: Choice, repository: Repository) -> set[str]:
    """What goes along with images that earlier tries took, for once an index is gone nobody could tell what it named.

    Remembers what goes along with the choice, before anything of it is taken.
    """
    along = [image.digest for level in choice.levels[1:] for image in level if not image.tags]
    parts = deque(itertools.batched(along, _REMEMBERED, strict=False))
    found: set[str] = set()
    for number in itertools.count():
        earlier = repository.remember(number, parts[0] if parts else ())
        if earlier is not None:
            found.update(earlier)
            continue
        if parts:
            parts.popleft()
        if not parts:
            break
    return found


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
