"""Takes what a plan selects, level by level, whatever comes in between."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from handler.concurrency import TaskPool
from handler.models.errors import OutOfTimeError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.failure_codes import KEPT_REASONS, UNFINISHED
from handler.models.images import ImageId, ListedImage
from handler.models.limits import CHUNK_SIZE
from handler.models.outcomes import ChunkOutcome
from handler.models.selection_outcome import SelectionOutcome

from .plan import Plan

if TYPE_CHECKING:
    from logging import LoggerAdapter

type TakeImages = Callable[[Sequence[ListedImage]], ChunkOutcome]
"""Deletes, archives or restores up to 100 images, but those that have changed since they were listed."""


class LeaveInDoubt(Protocol):
    """Writes down images, or tags, of which it is not known what became."""

    def __call__(self, image_ids: Sequence[ImageId], *, goes_on: bool) -> None:
        """Says whether a further turn goes on with them."""


def take_planned(
    plan: Plan,
    take_images: TakeImages,
    leave_in_doubt: LeaveInDoubt,
    pool: TaskPool,
    log: "LoggerAdapter[Any]",
    width: int | None = None,
) -> tuple[SelectionOutcome, bool]:
    """Takes what a plan selects; returns what became of it, and whether that is all, or something came in between.

    `width` is how many chunks go side by side; None for as many as there are threads for. Raises UnfinishedRequestError
    if something came in between before anything was done; UnknownOutcomeError if something may have been.
    """
    progress = _Progress(plan, log)

    def take(chunk: Sequence[ListedImage]) -> None:
        try:
            outcome = take_images(chunk)
        except UnknownOutcomeError:
            progress.doubt([plan.image_id(image) for image in chunk])
            raise
        progress.add(chunk, outcome)
        if unfinished := [failure for failure in outcome.failures if failure.code in UNFINISHED]:
            progress.doubt([failure.image_id for failure in unfinished])
            raise OutOfTimeError(unfinished[0].reason)

    try:
        for level in plan.levels:
            free = progress.free(level)
            pool.run((partial(take, chunk) for chunk in itertools.batched(free, CHUNK_SIZE, strict=False)), width)
    except UnfinishedRequestError as error:
        # Begun anew, it would not know what it has done; what has got somewhere reports that, and is continued.
        if progress.doubtful:
            leave_in_doubt(progress.doubtful, goes_on=bool(progress.done))
        if not progress.done:
            if progress.doubtful and error.nothing_done:
                raise UnknownOutcomeError(str(error)) from error
            raise
        log.info("selection stopped", extra={"why": str(error)})
        return progress.outcome(), False
    return progress.outcome(), True


class _Progress:
    """The outcome of a selection so far; chunks that run side by side add to it."""

    def __init__(self, plan: Plan, log: "LoggerAdapter[Any]") -> None:
        self.done = 0
        self.doubtful: list[ImageId] = []
        self._plan, self._log = plan, log
        self._bytes = 0
        self._kept = Counter(plan.reasons)
        self._chunks: list[ChunkOutcome] = []
        self._stayed: set[str | None] = set()
        self._lock = Lock()

    def free(self, level: Sequence[ListedImage]) -> list[ListedImage]:
        """Returns those of a level whose indexes and subjects are gone: of referrers, ECR itself would not see that."""
        stay = {i.digest for i in level if not self._stayed.isdisjoint(self._plan.parents.get(i.digest, ()))}
        self._stayed |= stay
        self._kept["StillUsed"] += len(stay)
        return [image for image in level if image.digest not in stay]

    def add(self, chunk: Sequence[ListedImage], outcome: ChunkOutcome) -> None:
        """Adds what became of a chunk."""
        failed = {failure.image_id: failure for failure in outcome.failures}
        gone = [image for image in chunk if self._plan.image_id(image) not in failed]
        failures = tuple(
            failure for failure in outcome.failures if failure.code not in KEPT_REASONS.keys() | UNFINISHED
        )
        with self._lock:
            self.done += len(gone)
            self._bytes += sum(image.size for image in gone)
            self._stayed.update(i.digest for i, failure in failed.items() if failure.code != "ImageNotFound")
            self._kept.update(
                KEPT_REASONS[failure.code] for failure in outcome.failures if failure.code in KEPT_REASONS
            )
            self._chunks.append(outcome._replace(failures=failures))
        self._log.info("chunk done", extra={"done": len(gone), "failed": len(failed)})
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("images selected", extra={"imageDigests": [image.digest for image in gone]})

    def doubt(self, image_ids: Sequence[ImageId]) -> None:
        """Adds images, or tags, that may have been taken."""
        with self._lock:
            self.doubtful += image_ids

    def outcome(self) -> SelectionOutcome:
        """Returns what became of all of them."""
        merge = itertools.chain.from_iterable
        return SelectionOutcome(
            selected=self._plan.selected,
            deleted=self.done,
            bytes=self._bytes,
            kept=dict(+self._kept),
            chunk=ChunkOutcome(
                image_ids=tuple(merge(chunk.image_ids for chunk in self._chunks)),
                failures=tuple(merge(chunk.failures for chunk in self._chunks)),
                unconfirmed=tuple(merge(chunk.unconfirmed for chunk in self._chunks)),
                omitted=sum(chunk.omitted for chunk in self._chunks),
                activating=sum(chunk.activating for chunk in self._chunks),
            ),
        )
