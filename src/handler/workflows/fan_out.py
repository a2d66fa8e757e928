"""A request for several repositories: each gets a separate request, on the queue."""

import itertools
from collections.abc import Sequence
from functools import cached_property, partial

from handler import guards, request_queue
from handler.models.errors import (
    RefusedLookUpError,
    RejectedRequestError,
    ServiceUnavailableError,
    UnfinishedRequestError,
    UnknownOutcomeError,
)
from handler.models.outcomes import SentRequests
from handler.models.report import FanOutReport
from handler.registry.listing import repository_names
from handler.steps import Attempt

from .execution import Execution

_REQUESTS_PER_STEP = 1_000
"""Requests that one step sends: what it stores of them fits an item, and it takes some seconds at most."""
_CALLS = 8
"""Calls to SQS that are made side by side."""
_BYTES_IN_FLIGHT = 10_000_000
"""The most that the messages of these calls take: bodies exist only while they are sent."""
MOST_IMAGES = 1_000_000
"""Image ids times repositories: each message names all of the ids."""


class FanOut:
    """The steps of a request for several repositories."""

    def __init__(self, execution: Execution) -> None:
        self._request, self._steps, self._services, self._invocation, self._log = execution
        self._execution, self._rules, self._repository = execution, execution.rules, execution.repository
        selection = self._request.selection
        self._of_grace = selection is not None and selection.count_type == "gracePeriodEnded"

    def carry_out(self) -> FanOutReport:
        """Sends one request for each repository, in the order of their names; a redelivery resumes after those sent.

        Raises RejectedRequestError where it means no repository, and what a redelivery may cure.
        """
        sent: list[str] = []
        for number in itertools.count():
            send = partial(self._send, last=sent[-1] if sent else "")
            outcome, _ = self._steps.run(f"send/{number}", SentRequests, send, store_in_claim=number == 0)
            sent += outcome.repository_names
            if not outcome.more:
                break
        if self._request.notify == "summary":
            from .summary import watch  # noqa: PLC0415  # what is not used is not imported

            self._steps.run("watch", SentRequests, partial(watch, self._execution))
        origin = {"id": self._request.origin.id}
        self._log.info("request spread", extra={"repositories": len(sent), "origin": origin})
        return FanOutReport(self._request, tuple(sent), self._steps.replaying)

    @cached_property
    def _names(self) -> list[str]:
        """The repositories that get a request; stored where all are summed up, for others may exist later."""
        if self._request.notify != "summary":
            return self._meant
        names: list[str] = []
        for number in itertools.count():
            behind = partial(self._behind, last=names[-1] if names else "")
            outcome, _ = self._steps.run(f"names/{number}", SentRequests, behind)
            names += outcome.repository_names
            if not outcome.more:
                break
        return names or self._meant

    def _behind(self, attempt: Attempt, *, last: str) -> SentRequests:
        del attempt
        names = [name for name in self._meant if name > last]
        return SentRequests(tuple(names[:_REQUESTS_PER_STEP]), more=len(names) > _REQUESTS_PER_STEP)

    @cached_property
    def _meant(self) -> list[str]:
        if self._of_grace:
            from .archive import targets_in_grace  # noqa: PLC0415  # what is not used is not imported

            return targets_in_grace(self._execution)
        existing = partial(repository_names, self._repository)
        return guards.allowed_repositories(self._rules, self._request, existing)

    def _send(self, attempt: Attempt, *, last: str) -> SentRequests:
        """Sends the requests for the repositories behind the last, as many as there is time for."""
        # Once something may have been sent, nobody can say that nothing of it was carried out.
        error_type = ServiceUnavailableError if last or attempt.first_attempt_at is not None else RejectedRequestError
        try:
            names = [name for name in self._names if name > last]
        except RefusedLookUpError as error:
            raise error_type(
                f"request.repositoryNames: the repositories cannot be listed: {error}; the function's role must allow "
                "ecr:DescribeRepositories, or name the repositories without a pattern"
            ) from error
        if not names and not last and not self._of_grace:
            raise error_type(
                "request.repositoryNames means no repository; the stack's RepositoryPattern is "
                f"{','.join(self._rules.repository_patterns)!r}"
            )
        child = partial(request_queue.child, self._request, self._steps.generation)
        largest = child(max(names, key=len, default=""))
        messages = [largest]
        if self._request.notify == "summary":
            from .summary import CHECKS  # noqa: PLC0415  # what is not used is not imported

            last_check = self._request._replace(turn=CHECKS - 1)
            messages.append(request_queue.next_turn(last_check, self._steps.generation))
        if too_large := next(filter(None, map(request_queue.over_size, messages)), None):
            raise error_type(too_large)
        if (images := len(self._request.image_ids) * len(names)) > MOST_IMAGES:
            raise error_type(
                f"request.imageIds in {len(names):,} repositories are {images:,} images, and a request may name "
                f"{MOST_IMAGES:,}; send several requests"
            )
        return self._send_to(names, request_queue.size(largest))

    def _send_to(self, names: Sequence[str], largest: int) -> SentRequests:
        """Sends as many as there is time for, in the order of their names."""
        batches = [*itertools.batched(names[:_REQUESTS_PER_STEP], request_queue.ENTRIES, strict=False)]
        width = max(1, min(_CALLS, _BYTES_IN_FLIGHT // (request_queue.ENTRIES * largest)))
        sent: list[str] = []
        for wave in itertools.batched(batches, width, strict=False):
            errors = self._invocation.pool.run(partial(self._send_batch, batch) for batch in wave)
            # Those that are sent behind one that is not, are sent again: their keys are the same.
            taken = list(itertools.takewhile(lambda tried: tried[1] is None, zip(wave, errors, strict=True)))
            sent += itertools.chain.from_iterable(batch for batch, _ in taken)
            if error := next(filter(None, errors), None):
                if sent:
                    break
                nothing_sent = all(tried is not None and tried.nothing_done for tried in errors)
                raise error if nothing_sent else UnknownOutcomeError(str(error))
        return SentRequests(tuple(sent), more=len(sent) < len(names))

    def _send_batch(self, names: Sequence[str]) -> UnfinishedRequestError | None:
        """Sends the requests for these repositories; returns what came in between."""
        messages = [request_queue.child(self._request, self._steps.generation, name) for name in names]
        url, calling = self._services.settings.bulk_queue_url, self._invocation.deadline.calling
        try:
            request_queue.send(self._services.sqs, url, messages, calling, request_queue.group(self._request))
        except UnfinishedRequestError as error:
            return error
        return None
