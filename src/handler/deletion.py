"""The engine: a request becomes passes of chunks, and their outcomes one report; it knows no AWS client."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from .models import ChunkOutcome, DeletionReport, DeletionRequest, ImageId, OutOfTimeError, names

if TYPE_CHECKING:
    from logging import LoggerAdapter

CHUNK_SIZE = 100
"""Image ids ECR takes in one call."""
TRANSIENT_TRIES = 4
"""How often an image is asked for that ECR cannot delete at the moment."""

_BLOCKED = "ImageReferencedByManifestList"
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

    def run[T](self, steps: Sequence[Step[T]]) -> list[T]:
        """What each step answered, in order; a single one runs in the thread that asks.

        The others begin when the first is taken: it is the one that meets a reused key or a twin still at work. Raises
        what a step raised, or OutOfTimeError; no further step is begun then, and those begun have ended.
        """
        if len(steps) == 1:
            self._check_time()
            return [self._timed(partial(steps[0], _nobody_waits))]
        taken = Event()
        begun: list[Future[T]] = []
        running: set[Future[T]] = set()
        try:
            for step in steps:
                self._check_time()
                begun.append(self._executor.submit(self._timed, partial(step, taken.set)))
                begun[-1].add_done_callback(lambda _: taken.set())  # replayed or failed: that is known, too
                running.add(begun[-1])
                taken.wait()
                while len(running) >= self._width or (begun[0] in running and begun[0].done()):
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

    def _check_time(self) -> None:
        """Twice the slowest step so far must fit: better to stop in good order than to be killed in the middle."""
        if self._remaining_seconds() < 2 * self._slowest:
            raise OutOfTimeError("too little time is left to finish another chunk; a redelivery goes on from here")

    def _timed[T](self, step: Callable[[], T]) -> T:
        start = time.monotonic()
        outcome = step()
        self._slowest = max(self._slowest, time.monotonic() - start)
        return outcome


def carry_out(
    request: DeletionRequest, delete_chunk: DeleteChunk, pool: StepPool, log: "LoggerAdapter[Any]"
) -> DeletionReport:
    """Deletes what the request names and accounts for every id.

    ECR refuses an image that an index still names, whatever the order in a call, so what it refused for that reason is
    asked again in a further pass once a pass has deleted something. What a pass leaves pending follows from its
    outcomes alone: a redelivered request walks the same way again over the steps that are done.

    Raises OutOfTimeError, or what `delete_chunk` raised, where a redelivery must go on.
    """
    failed = {image_id: failure for image_id in request.image_ids if (failure := image_id.malformed())}
    pending = [image_id for image_id in request.image_ids if image_id not in failed]
    deleted: list[ImageId] = []
    omitted, replayed, delay = 0, True, 0.0
    tries: Counter[ImageId] = Counter()
    for sweep in itertools.count():
        if not pending:
            break
        chunks = enumerate(itertools.batched(pending, CHUNK_SIZE, strict=False))
        steps = [partial(delete_chunk, f"{sweep}/{i}", chunk, delay if i == 0 else 0.0) for i, chunk in chunks]
        refused = 0
        for i, outcome in enumerate(pool.run(steps)):
            deleted += outcome.image_ids
            failed |= {failure.image_id: failure for failure in outcome.failures}
            refused += len(outcome.failures)
            omitted += outcome.omitted
            replayed = replayed and outcome.replayed
            log.info(
                "chunk done",
                extra={"step": f"{sweep}/{i}", "failed": len(outcome.failures), "replayed": outcome.replayed},
            )
        tries.update(i for i in pending if i in failed and failed[i].code in _TRANSIENT)
        passing = [i for i, f in failed.items() if f.code in _TRANSIENT and tries[i] < TRANSIENT_TRIES]
        blocked = [i for i, f in failed.items() if f.code == _BLOCKED and refused < len(pending)]
        delay = max((2.0 ** (tries[image_id] - 1) for image_id in passing), default=0.0)
        pending = passing + blocked
        for image_id in pending:
            log.info("asking again", extra={"imageId": image_id.to_json(), "failureCode": failed.pop(image_id).code})
    gone = names(deleted) if failed else set()
    return DeletionReport(
        request=request,
        image_ids=tuple(deleted),
        failures=tuple(
            failed[image_id]
            for image_id in request.image_ids
            # Not found, because another id of this request took it along: by digest, with all its tags.
            if image_id in failed and not (failed[image_id].code == "ImageNotFound" and image_id in gone)
        ),
        omitted=omitted,
        replayed=replayed,
    )
