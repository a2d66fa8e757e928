"""Named images and what belongs to them, in chunks and passes; accounts for every id, and knows no AWS client.

Deleted, archived or restored: what differs is what becomes of a chunk, and which images come first.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .concurrency import TaskPool
from .models.failure_codes import (
    ACCOUNTED_FOR,
    ARCHIVED_INDEX,
    BLOCKED,
    KEPT,
    TRANSIENT,
    UNFINISHED,
)
from .models.images import ImageFailure, ImageId, ids_of
from .models.limits import CHUNK_SIZE
from .models.outcomes import ChunkOutcome
from .models.report import DeletionReport
from .models.request import DeletionRequest
from .steps import Attempt, Done, StepRunner

if TYPE_CHECKING:
    from logging import LoggerAdapter

TRANSIENT_TRIES = 4
"""How often an image is asked for that ECR cannot delete at the moment."""
CHANGING_STEPS = 2
"""Chunks that are archived or restored side by side: each makes its calls side by side as well."""


class Relatives(NamedTuple):
    """The images that belong to those of a request, without those that it names itself."""

    parents: Mapping[str, Sequence[str]] = {}
    """For the digest of each, in the order found: the indexes that name it, and its subject."""
    failures: Mapping[ImageId, ImageFailure] = {}
    """Images that stay, because what belongs to them cannot be known: ids of the request, and relatives."""
    names: Mapping[str, Sequence[str]] = {}
    """For the digest of each image, those of what belongs to it."""
    digests: Mapping[ImageId, str] = {}
    """Of the images that the request names."""

    def of_wholes(self) -> "tuple[Relatives, set[ImageId]]":
        """Returns those of images that are archived or restored, and the indexes of which they cannot be known.

        What is not known of an index in the archive must not keep it there. And by a tag too, it is the image itself
        that is named: it is nobody's relative.
        """
        unread = {i for i, failure in self.failures.items() if failure.code == ARCHIVED_INDEX}
        named = set(self.digests.values())
        parents = {digest: parents for digest, parents in self.parents.items() if digest not in named}
        failures = {i: failure for i, failure in self.failures.items() if i not in unread}
        return self._replace(parents=parents, failures=failures), unread

    @property
    def levels(self) -> list[list[ImageId]]:
        """Returns the relatives, each behind all that it belongs to."""
        depths: dict[str, int] = {}

        def depth(digest: str) -> int:
            if digest in self.parents and digest not in depths:
                depths[digest] = 0  # of a circle, if there could be one
                depths[digest] = 1 + max(map(depth, self.parents[digest]), default=0)
            return depths.get(digest, 0)

        for digest in self.parents:
            depth(digest)
        levels: list[list[ImageId]] = [[] for _ in range(max(depths.values(), default=0))]
        for digest, level in depths.items():
            levels[level - 1].append(ImageId(digest))
        return levels


class DeleteChunk(Protocol):
    """Deletes one chunk of a pass, as a step."""

    def __call__(
        self,
        attempt: Attempt,
        *,
        label: str,
        image_ids: Sequence[ImageId],
        gone: AbstractSet[ImageId],
        not_before: float,
    ) -> ChunkOutcome:
        """`gone` is what a dry run would have deleted before the pass; `not_before` is by time.monotonic()."""


class PassRunner:
    """Deletes, archives or restores the images of a request, pass by pass.

    ECR refuses an image that an index still names, whatever the order in a call, and relatives wait until what they
    belong to is gone: so what was refused for such a reason is asked for again in a further pass, once a pass has
    deleted something. What a pass leaves pending follows from stored outcomes alone: a redelivery walks the same way.
    """

    def __init__(self, request: DeletionRequest, steps: StepRunner, pool: TaskPool, log: "LoggerAdapter[Any]") -> None:
        self._request, self._steps, self._pool, self._log = request, steps, pool, log
        self._failed: dict[ImageId, ImageFailure] = {}
        self._image_ids: list[ImageId] = []
        self._unconfirmed: list[ImageId] = []
        self._omitted = self._activating = self._bytes = 0

    def run(self, relatives: Relatives, delete_chunk: DeleteChunk) -> DeletionReport:
        """Takes what the request names, and then its relatives as well; returns what became of each.

        Of what is restored, the relatives come first: an index can be pulled once what it names can be. Raises what a
        step raised; a redelivery resumes then.
        """
        named = self._request.image_ids
        related = [ImageId(digest=digest) for digest in relatives.parents]
        self._failed = {i: failure for i in named if (failure := i.malformed())} | dict(relatives.failures)
        restoring = self._request.action == "restore"
        waves = [*reversed(relatives.levels), named] if restoring else [named, *([related] if related else [])]
        pending = self._without_failed(waves[0])
        tries: Counter[ImageId] = Counter()
        number = 0
        while pending or number < len(waves):
            # 1, 2 and 4 seconds for what was tried once, twice and three times.
            not_before = time.monotonic() + max((2.0 ** (tries[i] - 1) for i in pending if i in tries), default=0.0)
            gone = frozenset(self._gone) if self._request.dry_run else frozenset()
            chunks = list(itertools.batched(pending, CHUNK_SIZE, strict=False))
            only_step = len(chunks) == 1 and number == 0 and not self._request.finds_relatives
            outcomes = self._pool.run(
                [
                    partial(
                        self._steps.run,
                        f"delete/{number}/{n}",
                        ChunkOutcome,
                        partial(delete_chunk, label=f"{number}/{n}", image_ids=chunk, gone=gone, not_before=not_before),
                        store_in_claim=only_step,
                    )
                    for n, chunk in enumerate(chunks)
                ],
                width=self._width,
            )
            gone_before = len(self._gone) if number else 0
            self._record(number, pending, outcomes)
            pending = self._next_pass(named, related, pending, tries, gone_before) if self._failed else []
            number += 1
            if number < len(waves):
                pending += self._without_failed(waves[number])
        return self._report(named, related)

    @property
    def _width(self) -> int | None:
        """How many chunks go side by side; None for as many as there are threads for."""
        if self._request.untag:  # tags of one image that go side by side would each see the other left
            return 1
        return None if self._request.action == "delete" else CHANGING_STEPS

    def _without_failed(self, image_ids: Iterable[ImageId]) -> list[ImageId]:
        # To look for each of thousands among no failures takes a millisecond.
        return [i for i in image_ids if i not in self._failed] if self._failed else list(image_ids)

    @property
    def _gone(self) -> set[ImageId]:
        """What is gone so far, which matters only where something is not."""
        return {*self._image_ids, *self._unconfirmed}

    def _record(self, number: int, pending: Sequence[ImageId], outcomes: Iterable[Done[ChunkOutcome]]) -> None:
        """Adds what became of a pass."""
        for image_id in self._failed.keys() & pending if self._failed else ():
            del self._failed[image_id]
        for n, (outcome, replayed) in enumerate(outcomes):
            if replayed:
                extra = {"step": f"{number}/{n}", "failed": len(outcome.failures), "replayed": True}
                self._log.info("chunk done", extra=extra)
            self._image_ids += outcome.image_ids
            self._unconfirmed += outcome.unconfirmed
            self._failed |= {failure.image_id: failure for failure in outcome.failures}
            self._omitted += outcome.omitted
            self._activating += outcome.activating
            self._bytes += outcome.bytes

    def _next_pass(
        self,
        named: Sequence[ImageId],
        related: Sequence[ImageId],
        tried: Sequence[ImageId],
        tries: Counter[ImageId],
        gone_before: int,
    ) -> list[ImageId]:
        """Returns what is asked for again, in an order that follows from the request."""
        tries.update(i for i in tried if i in self._failed and self._failed[i].code in TRANSIENT)
        progress = len(self._gone) > gone_before
        pending = [
            image_id
            for image_id in (*named, *related)
            if (failure := self._failed.get(image_id))
            and (
                (failure.code in TRANSIENT and 0 < tries[image_id] < TRANSIENT_TRIES)
                or (failure.code in BLOCKED and progress)
                or failure.code in UNFINISHED
            )
        ]
        for image_id in pending:
            extra = {"imageId": image_id.to_json(), "failureCode": self._failed[image_id].code}
            self._log.info("asking again", extra=extra)
        return pending

    def _report(self, named: Sequence[ImageId], related: Sequence[ImageId]) -> DeletionReport:
        failed = self._failed
        if not failed:
            named = related = ()  # thousands, and none of them would be found
        went_along = ids_of(self._gone) if failed else set()
        failures = [
            failed[image_id]
            for image_id in named
            # Not found, because another id of this request took it along: by digest, with all its tags.
            if image_id in failed and not (failed[image_id].code == "ImageNotFound" and image_id in went_along)
        ]
        of_relatives = [failed[image_id] for image_id in related if image_id in failed]
        failed_relatives = [failure for failure in of_relatives if failure.code not in KEPT | ACCOUNTED_FOR]
        return DeletionReport(
            request=self._request,
            image_ids=tuple(self._image_ids),
            failures=(*failures, *failed_relatives),
            unconfirmed=tuple(self._unconfirmed),
            omitted=self._omitted,
            activating=self._activating,
            bytes=self._bytes,
            failed_relatives=len(failed_relatives),
            kept=tuple(failure for failure in of_relatives if failure.code in KEPT),
            left_untagged=sum(failure.code == "LeftUntagged" for failure in of_relatives),
            replayed=self._steps.replaying,
        )
