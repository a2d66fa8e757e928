"""Steps: work whose outcome is stored once, under the claim of its request.

A request claims its key, does its steps, and finishes the claim. Delivered again, it finds the claim: steps that are
stored are replayed, the others are done. A step that was begun and left no outcome may have had its effect: it is done
again, once the invocation that began it is over, and is given `first_attempt_at`, so that its work can look first.
`step_table` decides who may do a step, this module what is replayed, and the work itself what is in doubt: see
`registry.batch_delete`.
"""

import json
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, Protocol

from aws_lambda_powertools.utilities.idempotency.base import IdempotencyHandler
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyValidationError,
)
from aws_lambda_powertools.utilities.idempotency.serialization.base import BaseIdempotencySerializer

from .models.errors import RejectedRequestError, StepLostError, UnfinishedRequestError
from .models.images import Json
from .models.outcomes import Outcome
from .models.request import DeletionRequest, Key
from .step_table import StepRecord, StepTable


class Attempt(Protocol):
    """One attempt at a step."""

    first_attempt_at: float | None
    """When the first attempt began that left no outcome, in seconds since the epoch; None if this is the first."""


type Work[T] = Callable[[Attempt], T]
"""The side effect of a step; its outcome is what it returns."""


class Done[T](NamedTuple):
    """The outcome of a step."""

    outcome: T
    replayed: bool
    """The outcome was stored by an earlier attempt, and nothing was done now."""


class StepRunner:
    """The claim of a request and its steps, as one arrival in one invocation meets them."""

    def __init__(self, table: StepTable, key: Key, turn: int = 0) -> None:
        """`turn` is how many messages continued the request before: each has a claim and steps of its own."""
        self._table, self._key = table, key
        self._prefix = _prefix(turn)
        self._stored: dict[str, Json] = {}
        self._first: tuple[str, Outcome] | None = None
        self._saved = False
        self._lock = Lock()
        self._claim: StepRecord  # from claim() on
        self.replaying = False
        """The request is done: its steps are read, and none is begun."""
        self.met_unfinished = False
        """An earlier receive has begun the request, and left it unfinished."""

    @property
    def key(self) -> Key:
        """The key of the request, or of the arrival."""
        return self._key

    @property
    def generation(self) -> str:
        """The mark by which this claim differs from an expired one under the same key."""
        return self._claim.generation

    @contextmanager
    def claim(self, request: DeletionRequest, over_limits: str | None) -> Iterator[bool]:
        """Admits a request, or resumes it as it was admitted; yields whether that was as a dry run.

        `over_limits` is why the current limits do not admit it; ignored if an earlier arrival was admitted. Raises
        RejectedRequestError, StepLostError while another invocation is at work on it, and what the block raises; a
        redelivery can resume at once then. A request that is rejected inside the block leaves no claim behind.
        """
        name = claim_name(request.turn)
        self._claim = record = StepRecord(self._table, self._key, name, request.content_hash, claim=True)
        if over_limits and not request.turn:
            stored = record.stored()
            if stored is None or stored["state"]["S"] == "withdrawn":
                raise RejectedRequestError(over_limits)
        record.dry = request.dry_run
        record.generation = request.generation or record.generation
        try:
            record.begin()
        except IdempotencyValidationError as error:
            raise RejectedRequestError(
                f"requestId {request.request_id!r} was used before by a request that asked for something else; "
                "a separate request needs a requestId of its own"
            ) from error
        except IdempotencyItemAlreadyExistsError as error:
            if not record.done:
                raise StepLostError(
                    "another invocation is carrying out this request, or was stopped while it did; send it again once "
                    "the function's time-out has passed"
                ) from error
        self.replaying, self.met_unfinished = record.done, record.met_unfinished
        claimed = json.loads(record.data or "{}")
        self._stored = claimed.get("steps", {})
        if claimed.get("saved") or self.met_unfinished or request.turn:
            self._stored |= self._table.stored_steps(self._key, record.generation)
        try:
            yield record.dry
        except Exception as error:
            if not record.done:
                record.give_up(error)
            raise
        if not record.done:
            inline = {name: outcome.to_json() for name, outcome in [self._first]} if self._first else {}
            record.finish(json.dumps({"steps": inline, "saved": self._saved or bool(self._stored)}))
        self._first, self.replaying = None, False

    def run[T: Outcome](
        self, step: str, kind: type[T], work: Work[T], *, store_in_claim: bool = False, of_all_turns: bool = False
    ) -> Done[T]:
        """Does a step once: returns the outcome that is stored, or that of the work, which is stored then.

        With `store_in_claim`, for the first step of a claim and perhaps the only one, the outcome is stored with the
        claim when that is finished, which saves two writes; or by itself, if another step follows. Whether it was begun
        is what the claim says of itself. Steps that its own work runs are stored as usual. One `of_all_turns` is shared
        by the turns of a request.
        """
        name = step if of_all_turns else self._prefix + step
        if name in self._stored:
            return Done(kind.from_json(self._stored[name]), replayed=True)
        if self.replaying:
            raise UnfinishedRequestError(
                f"the request is done, but the outcome of its step {name} is missing in the table; to carry it out "
                "again, send it under a new requestId"
            )
        with self._lock:
            if self._first:
                (first, outcome), self._first = self._first, None
                record = StepRecord(self._table, self._key, first, self.generation)
                self._handler(record, type(outcome), lambda _: outcome).handle()
                if record.done:
                    raise StepLostError(f"another invocation has taken over {first}, and has stored its outcome")
        if store_in_claim:
            result = work(self._claim)
            self._first = name, result
            return Done(result, replayed=False)
        record = StepRecord(self._table, self._key, name, self.generation)
        with _or_lost(name):
            return Done(self._handler(record, kind, work).handle(), replayed=record.done)

    def remember[T: Outcome](self, step: str, outcome: T) -> None:
        """Stores an outcome, once for all turns of a request: for `remembered`, for storing it is all that is done."""
        self.run(step, type(outcome), lambda _: outcome, of_all_turns=True)

    def remembered(self, prefix: str) -> list[Json]:
        """Returns the stored outcomes of the steps whose names begin so."""
        return [outcome for name, outcome in self._stored.items() if name.startswith(prefix)]

    def raise_if_rejected(self) -> None:
        """Raises RejectedRequestError where this arrival was rejected, for the reason that was given then."""
        if item := StepRecord(self._table, self._key, "rejected", "").stored():
            raise RejectedRequestError(item["content"]["S"])

    def reject[T: Outcome](self, reason: str, kind: type[T], publish: Work[T], *, step: str = "rejected") -> Done[T]:
        """Rejects this arrival for good; its reason is stored before it is published, so that no receive forgets it.

        What is published in another way as well, is a further `step`.
        """
        return self.run_unclaimed(step, reason, kind, publish)

    def run_unclaimed[T: Outcome](self, step: str, content: str, kind: type[T], work: Work[T]) -> Done[T]:
        """Does a step of an arrival once, which has no claim; `content` is what the step is about."""
        record = StepRecord(self._table, self._key, step, content)
        with _or_lost(step):
            return Done(self._handler(record, kind, work).handle(), replayed=record.done)

    def _handler(self, record: StepRecord, kind: type[Outcome], work: Work[Outcome]) -> IdempotencyHandler:
        """Returns what begins a step, does its work, and stores its outcome or gives it up; or replays it."""
        self._saved = True
        return IdempotencyHandler(
            function=operator.call,
            function_payload=record.step,
            function_args=(work, record),
            function_kwargs={},
            config=self._table.config,
            persistence_store=record,
            output_serializer=_Serializer(kind),
        )


def claim_name(turn: int) -> str:
    """Returns the name of the step that is the claim of a turn."""
    return f"{_prefix(turn)}claim"


def _prefix(turn: int) -> str:
    return f"turn/{turn}/" if turn else ""


@contextmanager
def _or_lost(step: str) -> Iterator[None]:
    """Raises StepLostError where another invocation is at a step."""
    try:
        yield
    except IdempotencyAlreadyInProgressError as error:
        raise StepLostError(f"another invocation is at {step}; a redelivery resumes once it is over") from error


class _Serializer(BaseIdempotencySerializer):
    """Outcomes as Powertools stores them."""

    def __init__(self, kind: type[Outcome]) -> None:
        self._kind = kind

    def to_dict(self, data: Outcome) -> Json:
        return data.to_json()

    def from_dict(self, data: Json) -> Outcome:
        return self._kind.from_json(data)
