"""The engine: a request becomes passes of chunks, and their outcomes one report; it knows no AWS client."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from .models import (
    CHUNK_SIZE,
    ChunkOutcome,
    DeletionReport,
    DeletionRequest,
    ImageFailure,
    ImageId,
    OutOfTimeError,
    RejectedRequestError,
    Relatives,
    names,
)

if TYPE_CHECKING:
    from logging import LoggerAdapter

TRANSIENT_TRIES = 4
"""How often an image is asked for that ECR cannot delete at the moment."""

_FAMILIES = 20
"""Image ids whose relatives one step looks for: each may have many."""

_BLOCKED = frozenset({"ImageReferencedByManifestList", "StillUsed"})
_KEPT = _BLOCKED | {"StillTagged"}
_TRANSIENT = frozenset({"UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"})


type Taken = Callable[[], None]
"""What a step calls before its work, once it is known to be neither done nor at work elsewhere."""
type Step[T] = Callable[[Taken], T]
type DeleteChunk = Callable[[str, Sequence[ImageId], float, Taken], ChunkOutcome]
"""The step that deletes one chunk, once: replayed when it was done before.

Its name tells it from the request's other steps; the seconds are waited before ECR is asked.
"""


def _nobody_waits() -> None:
    """A single step has no others that begin when it is taken."""


class StepPool:
    """Runs the steps of several requests side by side."""

    def __init__(self, executor: Executor, width: int, remaining_seconds: Callable[[], float]) -> None:
        """`width` steps of one request are in flight at a time, so that a large request leaves room for the others."""
        self._executor = executor
        self._width = width
        self._remaining_seconds = remaining_seconds
        self._slowest = 0.5

    def run[T](self, steps: Sequence[Step[T]], width: int | None = None) -> list[T]:
        """What each step answered, in order; a single one runs in the thread that asks, several `width` at a time.

        The others begin when the first is taken: it is the one that meets a reused key or a twin still at work. Raises
        what a step raised, or OutOfTimeError; no further step is begun then, and those begun have ended.
        """
        if len(steps) == 1:
            self.check_time()
            return [self._timed(partial(steps[0], _nobody_waits))]
        taken = Event()
        begun: list[Future[T]] = []
        running: set[Future[T]] = set()
        try:
            for step in steps:
                self.check_time()
                begun.append(self._executor.submit(self._timed, partial(step, taken.set)))
                begun[-1].add_done_callback(lambda _: taken.set())  # replayed or failed: that is known, too
                running.add(begun[-1])
                taken.wait()
                while len(running) >= (width or self._width) or (begun[0] in running and begun[0].done()):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise
        finally:
            wait(running)
        return [future.result() for future in begun]

    def check_time(self) -> None:
        """Twice the slowest step so far must fit: better to stop in good order than to be killed in the middle.

        Raises OutOfTimeError.
        """
        if self._remaining_seconds() < 2 * self._slowest:
            raise OutOfTimeError("too little time is left to finish another chunk; a redelivery goes on from here")

    def _timed[T](self, step: Callable[[], T]) -> T:
        start = time.monotonic()
        outcome = step()
        self._slowest = max(self._slowest, time.monotonic() - start)
        return outcome


class Cascade(NamedTuple):
    """The steps that take along what belongs to the images of a request."""

    limit: int
    """Images that a request may delete, relatives included."""
    find: Callable[[str, Sequence[ImageId], Taken], Relatives]
    """The step that looks for the relatives of a chunk, before anything is deleted."""
    delete: Callable[[Relatives, AbstractSet[ImageId]], DeleteChunk]
    """How to delete chunks of relatives; the ids are those deleted so far, and grow."""


def carry_out(
    request: DeletionRequest,
    delete_chunk: DeleteChunk,
    pool: StepPool,
    log: "LoggerAdapter[Any]",
    cascade: Cascade | None = None,
) -> DeletionReport:
    """Deletes what the request names and accounts for every id; then, with a cascade, what belongs to it.

    Raises RejectedRequestError where relatives make it too large, OutOfTimeError, or what a step raised, where a
    redelivery must go on.
    """
    failed = {image_id: failure for image_id in request.image_ids if (failure := image_id.malformed())}
    relatives = Relatives()
    if cascade:
        relatives = _find_relatives([i for i in request.image_ids if i not in failed], cascade, pool)
        failed |= {failure.image_id: failure for failure in relatives.failures}
        if request.cascade and (count := len(request.image_ids) + len(relatives.parents)) > cascade.limit:
            raise RejectedRequestError(
                f"request.cascade: with what belongs to them these are {count:,} images, and a request may delete "
                f"{cascade.limit:,}; send several requests, or set the stack's MaxImagesPerRequest"
            )
    # Tags of one image that go side by side would each see the other left.
    swept = _Swept(pool, log, 1 if request.untag else None, failed)
    swept.sweep([i for i in request.image_ids if i not in failed], "", delete_chunk)
    failed_relatives: dict[ImageId, ImageFailure] = {}
    if cascade and relatives.parents:
        failed_relatives = _take_along(request, relatives, cascade, delete_chunk, swept)
    named = names(swept.deleted) if failed else set()
    failures = [
        failed[image_id]
        for image_id in request.image_ids
        # Not found, because another id of this request took it along: by digest, with all its tags.
        if image_id in failed and not (failed[image_id].code == "ImageNotFound" and image_id in named)
    ]
    asked = len(failures)
    if cascade:
        named_here = set(request.image_ids)
        failures += {f.image_id: f for f in relatives.failures if f.image_id not in named_here}.values()
    failures += [f for f in failed_relatives.values() if f.code not in {*_KEPT, "LeftUntagged", "ImageNotFound"}]
    return DeletionReport(
        request=request,
        image_ids=tuple(swept.deleted),
        failures=tuple(failures),
        omitted=swept.omitted,
        failed_relatives=len(failures) - asked,
        kept=tuple(failure for failure in failed_relatives.values() if failure.code in _KEPT),
        left_untagged=sum(failure.code == "LeftUntagged" for failure in failed_relatives.values()),
        replayed=swept.replayed,
    )


def _find_relatives(image_ids: Sequence[ImageId], cascade: Cascade, pool: StepPool) -> Relatives:
    """Those of all the ids, but for those that are among the ids themselves."""
    chunks = enumerate(itertools.batched(image_ids, _FAMILIES, strict=False))
    found = pool.run([partial(cascade.find, f"relatives/{i}", chunk) for i, chunk in chunks])
    asked = {image_id.digest for image_id in image_ids}
    parents: dict[str, list[str]] = {}
    for relatives in found:
        for digest, of in relatives.parents.items():
            if digest not in asked:
                parents.setdefault(digest, []).extend(of)
    return Relatives(parents, tuple(failure for relatives in found for failure in relatives.failures))


def _take_along(
    request: DeletionRequest, relatives: Relatives, cascade: Cascade, delete_chunk: DeleteChunk, swept: "_Swept"
) -> dict[ImageId, ImageFailure]:
    """Deletes relatives whose own are known, and answers with those that stay.

    What is asked for may be held by a relative, and a relative by what is asked for: they go in turn.
    """
    failed, failed_relatives = swept.failed, dict[ImageId, ImageFailure]()
    delete_relatives = cascade.delete(relatives, swept.deleted_ids)
    pending = [image_id for d in relatives.parents if (image_id := ImageId(digest=d)) not in failed]
    for turn in itertools.count():
        swept.failed = failed_relatives
        swept.sweep(pending, f"relatives/{turn}/", delete_relatives)
        swept.failed = failed
        gone = len(swept.deleted_ids)
        if request.cascade:
            blocked = [i for i in request.image_ids if i in failed and failed[i].code in _BLOCKED]
            swept.sweep(blocked, f"again/{turn}/", delete_chunk)
        if len(swept.deleted_ids) == gone:
            break
        pending = [i for i, f in failed_relatives.items() if f.code in _KEPT]
    return failed_relatives


class _Swept:
    """What became of ids, pass by pass.

    ECR refuses an image that an index still names, whatever the order in a call, so what it refused for that reason is
    asked again in a further pass once a pass has deleted something. What a pass leaves pending follows from its
    outcomes alone: a redelivered request walks the same way again over the steps that are done.
    """

    def __init__(
        self, pool: StepPool, log: "LoggerAdapter[Any]", width: int | None, failed: dict[ImageId, ImageFailure]
    ) -> None:
        """`width` steps are in flight at a time; as many as the pool takes where it is None."""
        self.pool, self.log, self.width = pool, log, width
        self.failed = failed
        self.deleted: list[ImageId] = []
        self.deleted_ids: set[ImageId] = set()
        self.omitted = 0
        self.replayed = True

    def sweep(self, pending: list[ImageId], prefix: str, delete_chunk: DeleteChunk) -> None:
        delay = 0.0
        tries: Counter[ImageId] = Counter()
        asked = set(pending)
        for sweep in itertools.count():
            if not pending:
                return
            for image_id in self.failed.keys() & pending:
                del self.failed[image_id]
            chunks = enumerate(itertools.batched(pending, CHUNK_SIZE, strict=False))
            steps = [
                partial(delete_chunk, f"{prefix}{sweep}/{i}", chunk, delay if i == 0 else 0.0) for i, chunk in chunks
            ]
            refused = 0
            for outcome in self.pool.run(steps, self.width):
                self._add(outcome)
                refused += len(outcome.failures)
            failed = self.failed
            tries.update(i for i in pending if i in failed and failed[i].code in _TRANSIENT)
            refusals = [(i, f.code) for i, f in failed.items() if i in asked]  # not what failed before it was asked
            passing = [i for i, code in refusals if code in _TRANSIENT and tries[i] < TRANSIENT_TRIES]
            blocked = [i for i, code in refusals if code in _BLOCKED and refused < len(pending)]
            delay = max((2.0 ** (tries[image_id] - 1) for image_id in passing), default=0.0)
            pending = passing + blocked
            for image_id in pending:
                self.log.info(
                    "asking again", extra={"imageId": image_id.to_json(), "failureCode": failed[image_id].code}
                )

    def _add(self, outcome: ChunkOutcome) -> None:
        self.deleted += outcome.image_ids
        self.deleted_ids.update(outcome.image_ids)
        self.failed |= {failure.image_id: failure for failure in outcome.failures}
        self.omitted += outcome.omitted
        self.replayed = self.replayed and outcome.replayed
