"""The reading of the sources: side by side, each in units, over as many turns as it takes.

A source is believed only once it was read whole. What was read of it by then is remembered in any case: rows only
expire, and one too many keeps an image.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.concurrency import Deadline, TaskPool
from handler.models.errors import OutOfTimeError

from .claims import Claims
from .images import UsedImage
from .inventory import Inventory
from .reading import CLOCK_SECONDS, ListUnits, ReadingFailedError
from .settings import ReaderSettings

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

type Json = dict[str, Any]

SCHEDULE_MINUTES = 15
"""How often the function is invoked: each time it says how old every source is, and reads those that are due."""
_EARLY_SECONDS = SCHEDULE_MINUTES * 60 / 2
"""A source is read at the invocation that is nearest to when it is due: none comes at the same second each time."""
_RESERVE_SECONDS = 90
"""Time that a turn keeps, beside twice its slowest unit, to hand its reading on and to report."""
_ON_ITS_WAY_SECONDS = 600
"""How long a source waits for its further turn before a reading may begin anew."""
_WRITERS = 8
"""Threads that write to the table, over all sources."""


class Turn(NamedTuple):
    """A reading of a source, or what is left of it."""

    source: str
    began: float
    """When the whole reading began, in its first turn."""
    after: str = ""
    """The last unit of the turns before."""
    handed_on: str | None = None
    """The id of the turn that handed it on; None for the first."""
    images: int = 0
    """How many images were found in the turns before; one that was found in two of them counts twice."""

    def to_event(self) -> Json:
        """Returns the event by which the function invokes itself."""
        return {
            "source": self.source,
            "began": self.began,
            "after": self.after,
            "reading": self.handed_on,
            "images": self.images,
        }


class Invocation(NamedTuple):
    """One invocation of the function."""

    request_id: str
    """Lambda's, which is the same for a retry."""
    remaining_seconds: Callable[[], float]
    pool: TaskPool
    """Threads that write what was read."""


class Refresh(NamedTuple):
    """The sources that are read, and where what they use is written."""

    settings: ReaderSettings
    sources: Mapping[str, ListUnits]
    inventory: Inventory
    claims: Claims
    invoke: Callable[[Json], object]
    """Invokes this function with an event, without waiting for it."""
    log: "Logger"

    def run(
        self, event: Any, request_id: str, remaining_seconds: Callable[[], float]
    ) -> tuple[dict[str, int], list[str]]:
        """Reads what an invocation is to read.

        Returns how many images each source that was read whole uses, and the sources whose reading failed.
        """
        turns = self.turns(event)
        # Both pools end before the handler returns: a frozen thread would wake up in the next invocation.
        with ThreadPoolExecutor(_WRITERS) as writers, ThreadPoolExecutor(max(1, len(turns))) as readers:
            invocation = Invocation(request_id, remaining_seconds, TaskPool(writers, _WRITERS))
            started = {turn.source: readers.submit(self._read, turn, invocation) for turn in turns}
        failed = {source: error for source, future in started.items() if (error := future.exception())}
        for source, error in failed.items():
            self.log.error("source not read", source=source, exc_info=error)
        images = {
            source: found
            for source, future in started.items()
            if source not in failed and (found := future.result()) is not None
        }
        return images, list(failed)

    def turns(self, event: Any) -> list[Turn]:
        """Returns what is to be read: what a turn has left; what is due, by the schedule; by hand, all of it."""
        now = time.time()
        known = self.inventory.sources() if isinstance(event, dict) and event.get("whenDue") else {}
        if isinstance(event, dict) and "reading" in event:
            turn = Turn(event["source"], event["began"], event["after"], event["reading"], event["images"])
            # A reading that had begun in the future would be believed for ever, and no later one.
            if turn.source not in self.sources or turn.began > now + CLOCK_SECONDS:
                raise ReadingFailedError(f"a turn of {turn.source!r} that began at {turn.began} cannot go on here")
            return [turn]
        due = now - 60 * self.settings.refresh_minutes + _EARLY_SECONDS
        recent = {name for name, source in known.items() if due < source.began and not source.is_ahead(now)}
        return [Turn(source, now) for source in self.sources if source not in recent]

    def _read(self, turn: Turn, invocation: Invocation) -> int | None:
        """Reads a source, or as much of it as time allows; returns how many images it uses once it was read whole."""
        until = time.time() + invocation.remaining_seconds()
        if not self.claims.take(turn.source, invocation.request_id, handed_on=turn.handed_on, until=until):
            self.log.info("source left to another reading", source=turn.source)
            return None
        going_on = False
        try:
            if turn.began + self.settings.max_age < time.time():
                self.log.warning("reading given up", source=turn.source, after=turn.after)
                return None
            images, last = self._read_units(turn, invocation)
            if last is None:
                self.inventory.believe(turn.source, began=turn.began, expires=turn.began + self.settings.max_age)
                self.log.info("source read", source=turn.source, images=images)
                return images
            self._hand_on(turn._replace(after=last, handed_on=invocation.request_id, images=images))
            going_on = True
        finally:
            if not going_on:
                self.claims.release(turn.source, invocation.request_id)
        return None

    def _read_units(self, turn: Turn, invocation: Invocation) -> tuple[int, str | None]:
        """Returns how many images were found so far, and the last unit if there are more; raises OutOfTimeError."""
        deadline, found, last = Deadline(invocation.remaining_seconds), set[UsedImage](), turn.after
        expires = turn.began + self.settings.max_age + self.settings.in_use_seconds
        write = partial(
            self.inventory.add, turn.source, seen=turn.began, expires=expires, run_all=invocation.pool.run, known={}
        )
        for unit in sorted(self.sources[turn.source](), key=lambda unit: unit.name):
            if unit.name <= turn.after:
                continue
            try:
                deadline.check(_RESERVE_SECONDS)
            except OutOfTimeError:
                if last == turn.after:  # it would begin with this unit for ever
                    raise
                return turn.images + len(found), last
            with deadline.calling():
                uses = list(unit.read())
                write(uses)
            found |= {use.image for use in uses}
            last = unit.name
        return turn.images + len(found), None

    def _hand_on(self, turn: Turn) -> None:
        """Has a further turn go on. Raises ReadingFailedError where another reading has the source by now."""
        until = time.time() + _ON_ITS_WAY_SECONDS
        if not self.claims.hand_on(turn.source, str(turn.handed_on), until=until):
            raise ReadingFailedError(f"another reading of {turn.source} has begun")
        self.invoke(turn.to_event())
        self.log.info("source goes on in a further turn", source=turn.source, after=turn.after)
