"""Steps without a table, and threads without threads, for tests with many generated examples."""

import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from handler.concurrency import TaskPool
from handler.models.errors import UnfinishedRequestError
from handler.models.images import Json
from handler.models.outcomes import Outcome
from handler.steps import Done, StepRunner, Work


class KilledError(BaseException):
    """Lambda ends the invocation."""


@dataclass
class StepMemory:
    """The steps that outlive an invocation."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """By step, as Powertools stores them: JSON with sorted keys."""
    began: dict[str, float] = field(default_factory=dict)
    """When the first try began of a step that has no outcome."""
    unfinished: bool = False
    """An invocation has left the request unfinished."""


@dataclass
class Try:
    """One try of a step."""

    first_attempt_at: float | None


class MemorySteps(StepRunner):
    """The steps of a request in one invocation, which is killed after so many, maybe with the work of the next done."""

    def __init__(
        self,
        memory: StepMemory | None = None,
        turn: int = 0,
        *,
        survives: int | None = None,
        does_the_next: bool = False,
    ) -> None:
        self.memory = memory or StepMemory()
        self.done: list[str] = []
        """The steps that were done in this invocation."""
        self.replaying = False
        self.met_unfinished = self.memory.unfinished
        self._turn, self._survives, self._does_the_next = turn, survives, does_the_next

    @property
    def generation(self) -> str:
        return "generation"

    def remembered(self, prefix: str) -> list[Json]:
        return [json.loads(text) for name, text in self.memory.outcomes.items() if name.startswith(prefix)]

    def run[T: Outcome](
        self, step: str, kind: type[T], work: Work[T], *, store_in_claim: bool = False, of_all_turns: bool = False
    ) -> Done[T]:
        del store_in_claim
        memory = self.memory
        step = step if of_all_turns or not self._turn else f"turn/{self._turn}/{step}"
        if step in memory.outcomes:
            return Done(kind.from_json(json.loads(memory.outcomes[step])), replayed=True)
        assert not self.replaying, f"{step} was not done before"
        killed = len(self.done) == self._survives
        memory.unfinished |= killed
        if killed and not self._does_the_next:
            raise KilledError
        first_attempt_at = memory.began.get(step)
        memory.began.setdefault(step, time.time())
        try:
            outcome = work(Try(first_attempt_at))
        except UnfinishedRequestError as error:
            memory.unfinished = True
            if error.nothing_done and first_attempt_at is None:
                del memory.began[step]
            raise
        if killed:
            raise KilledError
        memory.outcomes[step] = json.dumps(outcome.to_json(), sort_keys=True)
        self.done.append(step)
        return Done(outcome, replayed=False)


class InlineExecutor(Executor):
    """Runs what it is given at once: only the thread of a test may draw what happens."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # as executors do
            future.set_exception(error)
        return future


INLINE = TaskPool(InlineExecutor(), 4)
"""Runs tasks one after the other."""
